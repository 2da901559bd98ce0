"""An upload in the CHoRUS layout, taken in: its tables of the CDM, its images, its registry, and then the links that
follow. It may be run again, also after kill -9, and comes to the same."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm, require_cdm
from hilum.clinical.linkage.settle import Manner, settle
from hilum.clinical.upload.decide import decide_studies
from hilum.clinical.upload.folder import Upload, find_upload
from hilum.clinical.upload.match import match_rows, stage_files, stage_rows
from hilum.clinical.upload.omop import load_tables
from hilum.clinical.upload.report import Report, close_findings, count_findings, write_findings
from hilum.clinical.upload.rows import RegistryFile
from hilum.core.config import Settings
from hilum.core.database import Database, open_database
from hilum.imaging.intake.command import Step, Summary, run_import
from hilum.imaging.intake.lanes import Lanes

_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an upload: of its files as of any import, and of its registry and links."""

    files: Summary
    report: Report

    def as_json(self) -> dict[str, object]:
        """Both as one document."""
        files = self.files.as_json()
        return files | {"upload": self.report.as_json()}


def take_upload(
    settings: Settings,
    source: str,
    folder: Path,
    step: Step,
    *,
    lanes: Lanes,
    in_place: bool = False,
    report_path: Path | None = None,
) -> Taken:
    """Take in an upload.

    Parameters
    ----------
    settings
        Which data folder.
    source
        Key of the source; it has a CDM.
    folder
        With ``PERSON_ID/Images/…``, and beside them perhaps ``OMOP/`` and ``image_registry.csv``.
    step
        Told how many files are done, then how many studies are linked.
    lanes
        What takes the files side by side.
    in_place
        Index files where they lie.
    report_path
        Where every finding is written as JSON; None writes none.

    Raises
    ------
    Conflict
        The source has no CDM.
    Invalid
        The folder is no such upload, or its registry no registry; nothing is taken then.
    NotFound
        There is no such source.
    """
    upload = find_upload(folder)
    _check_registry(upload)
    report, manner = Report(), Manner.of(settings)
    with open_database(settings, pool_size=2) as database:
        with database.transaction() as sql:
            cdm = require_cdm(sql, source)
        report.tables = load_tables(database, cdm, upload.tables)
        files = run_import(
            settings, source, upload.images, step, in_place=in_place, lanes=lanes, within=upload.root
        )  # fmt: skip
        studies = _register(database, cdm, upload, report, report_path, mint=manner.mint)
        _link(database, cdm, studies, manner, step)
        _count_links(database, cdm, studies, report)
    if report_path:
        close_findings(report_path, report)
    return Taken(files, report)


def _check_registry(upload: Upload) -> None:
    """Read the registry once for nothing but errors, before anything is taken."""
    if upload.registry:
        with upload.registry.open("rb") as file:
            for _ in RegistryFile(file).rows():
                pass


def _register(
    database: Database, cdm: Cdm, upload: Upload, report: Report, report_path: Path | None, *, mint: bool
) -> list[int]:  # fmt: skip
    """Match the registry with the files and note what it says; gives the studies of the upload."""
    with database.transaction() as sql, upload.registry.open("rb") if upload.registry else nullcontext() as file:
        report.counts["files"] = stage_files(sql, cdm.source_id, upload)
        registry = RegistryFile(file) if file else None
        report.counts["rows"] = stage_rows(sql, registry)
        report.missing_columns = list(registry.missing) if registry else []
        match_rows(sql)
        studies = decide_studies(sql, cdm, mint=mint)
        count_findings(sql, report, registry=registry is not None)
        if report_path:
            write_findings(sql, report_path)
    for name in upload.unknown:
        report.complete = False
        report.reasons.append(
            {"code": "no_person_folder", "reason": "The folder has Images, and its name is no person_id.", "count": 1,
             "examples": [name]}
        )  # fmt: skip
    return studies


def _link(database: Database, cdm: Cdm, studies: list[int], manner: Manner, step: Step) -> None:
    for start in range(0, len(studies), _AT_ONCE):
        batch = studies[start : start + _AT_ONCE]
        with database.transaction() as sql:
            settle(sql, cdm, batch, manner)
        step(start + len(batch), len(studies))


def _count_links(database: Database, cdm: Cdm, studies: list[int], report: Report) -> None:
    with database.transaction() as sql:
        (row,) = sql.rows(cdm.sql(_COUNTS), {"studies": studies, "source": cdm.source_id})
        report.counts |= {name: cast("int", count) for name, count in row.items()}
        report.waiting = sql.rows(_WAITING, (studies,))


_COUNTS: Final[LiteralString] = """
  select count(*) as studies, count(p.target_id) as studies_linked,
    count(*) filter (where r.method = 'by_hand') as procedures_of_the_registry,
    count(*) filter (where r.method = 'minted') as procedures_minted,
    coalesce(sum((select count(*) from {imaging}.image_occurrence x join hilum.series_occurrence o
      on o.image_occurrence_id = x.image_occurrence_id and o.source_id = %(source)s
      where o.study_instance_uid = s.study_instance_uid)), 0)::bigint as image_occurrences,
    coalesce(sum((select count(*) from {imaging}.image_registry x join hilum.registry_file k
      on k.image_registry_id = x.image_registry_id and k.source_id = %(source)s
      where k.study_instance_uid = s.study_instance_uid)), 0)::bigint as registry_rows
  from hilum.study s left join hilum.study_link p on p.study_id = s.id and p.kind = 'person'
  left join hilum.study_link r on r.study_id = s.id and r.kind = 'procedure'
  where s.id = any(%(studies)s)
"""
_WAITING: Final[LiteralString] = """
  select kind, reason, count(*) as studies from hilum.study_link
  where study_id = any(%s) and reason <> '' group by kind, reason order by 3 desc, 1, 2
"""
