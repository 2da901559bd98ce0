"""What the files of a study say, read as features: acquisition parameters and dose from the header of each series, dose
and measurements from its structured reports. Reading changes nothing; what was read is written in one transaction, and
not at all if the study has changed meanwhile, for then it is read again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, cast

import structlog

from hilum.clinical.cdm.cdm import FEATURES
from hilum.clinical.features import acquisition, dose, reports
from hilum.clinical.features.acquisition import Parameter
from hilum.clinical.features.dose import ImageDose
from hilum.clinical.features.reports import Report
from hilum.clinical.features.said import Extraction, Said
from hilum.clinical.features.store import follow_again, lock_study, write_extraction
from hilum.core.config import Settings
from hilum.core.database import Row, Transaction
from hilum.core.errors import HilumError, NotFound, Unavailable
from hilum.core.progress import Progress
from hilum.imaging.archive.query import Row as CatalogueRow
from hilum.imaging.archive.series_header import instance_header, series_headers
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies import steps

log = structlog.get_logger()

KIND: Final = "extract_features"
_LARGEST: Final = 32 << 20
_AT_ONCE: Final = 500
# Basic Text, Enhanced, Comprehensive, Comprehensive 3D and Extensible SR; X-Ray Radiation Dose SR and its enhanced kin.
_REPORTS: Final = [f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34, 35, 67, 76)]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is read: the extractors by name, and which acquisition parameters (None for all)."""

    extractors: frozenset[str]
    parameters: Mapping[str, Parameter] | None

    @classmethod
    def of(cls, settings: Settings) -> "Choice":
        """As the settings say; raises ``Invalid`` for an attribute that DICOM does not have."""
        return cls(frozenset(settings.feature_extractors), acquisition.parameters(settings.acquisition_tags))


def extract_study(archive: Archive, study: int, choice: Choice, *, again: bool = False) -> int:
    """Read the features of a study from its files and write them.

    Parameters
    ----------
    archive
        Where the study is.
    study
        Hilum's number of it; one that is not there, or deleted, is passed over.
    choice
        What is read.
    again
        Bring the rows of the CDM up to date even where nothing new was read, as after the vocabulary has changed.

    Returns
    -------
    int
        How many features are not as they were.

    Raises
    ------
    Unavailable
        The files cannot be reached now.
    """
    with archive.database.transaction() as sql:
        revisions = steps.revisions_of(sql, [study])
        before = _state(sql, study)
        series = sql.rows(_SERIES, (study,))
        rows = sql.rows(_INSTANCES, (study, _REPORTS, _LARGEST)) if series else []
    read = _read(archive, study, series, rows, choice)
    changed = 0
    with archive.database.transaction() as sql:
        try:
            locked = lock_study(sql, study)
        except NotFound:
            return 0
        if _state(sql, study) != before:
            return 0
        for extraction in read:
            changes = write_extraction(sql, locked, extraction)
            changed += changes.added + changes.changed + changes.removed + changes.superseded
        if again:
            follow_again(sql, locked)
    with archive.database.transaction() as sql:
        steps.finish(sql, FEATURES, revisions)
    return changed


def extract_all(archive: Archive, source: str, choice: Choice, progress: Progress) -> None:
    """Read the features of every study that has files, of one source or, where it is empty, of all.

    Its counts are ``studies`` and ``changed``. It may be run again at any time.
    """
    with archive.database.transaction() as sql:
        (row,) = sql.rows(_HOW_MANY, {"source": source})
    progress.expect(cast("int", row["studies"]))
    after = 0
    while True:
        with archive.database.transaction() as sql:
            found = sql.rows(_NEXT, {"source": source, "after": after, "most": _AT_ONCE})
        if not found:
            return
        for row in found:
            after = cast("int", row["id"])
            progress.count("changed", extract_study(archive, after, choice, again=True))
            progress.count("studies", 1)
            progress.step(1)


def find_studies(sql: Transaction, source: str, uid: str) -> list[int]:
    """The numbers of a study that is not deleted, by its UID."""
    return [cast("int", row["id"]) for row in sql.rows(_FIND, (source, uid))]


def _read(archive: Archive, study: int, series: Sequence[Row], rows: Sequence[Row], choice: Choice) -> list[Extraction]:
    uids = {cast("int", row["id"]): row for row in series}
    parameters: list[Said] = []
    doses: dict[str, ImageDose] = {}
    if choice.extractors & {"acquisition", "dose"}:
        with archive.database.connect() as connection:
            for number, header in series_headers(connection, archive, list(uids)):
                uid, modality = str(uids[number]["series_instance_uid"]), str(uids[number]["modality"])
                if "acquisition" in choice.extractors:
                    parameters += acquisition.read_acquisition(uid, modality, header, choice.parameters)
                doses[uid] = dose.image_dose(uid, header)
    found = _reports(archive, rows) if choice.extractors & {"dose", "structured_report"} else []
    extractions = {
        "acquisition": lambda: (acquisition.VERSION, tuple(parameters)),
        "dose": lambda: (dose.VERSION, dose.read_dose(found, doses)),
        "structured_report": lambda: (reports.VERSION, _measurements(archive, study, series, found)),
    }
    made = {name: make() for name, make in extractions.items() if name in choice.extractors}
    return [Extraction(extractor=name, version=version, features=said) for name, (version, said) in made.items()]


def _reports(archive: Archive, rows: Sequence[Row]) -> list[Report]:
    """The structured reports that can be read, the earliest first."""
    found: list[Report] = []
    for row in rows:
        try:
            attributes = instance_header(archive, cast("CatalogueRow", row))
        except Unavailable:
            raise
        except HilumError as error:
            log.warning("features.report_unreadable", instance=row["id"], problem=type(error).__name__)
            continue
        report = reports.report_of(attributes, str(row["series_instance_uid"]))
        if report:
            found.append(report)
    return sorted(found, key=lambda report: (report.written is not None, report.written, report.uid))


def _measurements(archive: Archive, study: int, series: Sequence[Row], found: Sequence[Report]) -> tuple[Said, ...]:
    named = {uid for report in found for item in report.root.walk() for uid in item.references}
    with archive.database.transaction() as sql:
        rows = sql.rows(_SERIES_OF, (study, list(named))) if named else []
    of = {str(row["sop_instance_uid"]): str(row["series_instance_uid"]) for row in rows}
    known = frozenset(str(row["series_instance_uid"]) for row in series)
    said = [one for report in found for one in reports.read_measurements(report, lambda uid: of.get(uid, ""), known)]
    return reports.latest_versions(said)


def _state(sql: Transaction, study: int) -> list[Row]:
    return sql.rows(_STATE, (study,))


_FIND: Final[LiteralString] = """
  select s.id from hilum.study s join hilum.source k on k.id = s.source_id
  where k.key = %s and s.study_instance_uid = %s and s.deleted_at is null
"""
_STATE: Final[LiteralString] = """
  select count(*) as instances, sum(id)::text as ids from hilum.instance where study_id = %s and deleted_at is null
"""
_SERIES: Final[LiteralString] = """
  select id, series_instance_uid, modality from hilum.series where study_id = %s order by id
"""
_INSTANCES: Final[LiteralString] = """
  select i.id, i.size, i.digest, i.blob_key, i.path, i.path_mtime_ns, e.series_instance_uid
  from hilum.instance i join hilum.series e on e.id = i.series_id
  where i.study_id = %s and i.deleted_at is null and i.sop_class_uid = any(%s) and i.size <= %s order by i.id
"""
_SERIES_OF: Final[LiteralString] = """
  select i.sop_instance_uid, e.series_instance_uid from hilum.instance i join hilum.series e on e.id = i.series_id
  where i.study_id = %s and i.sop_instance_uid = any(%s) and i.deleted_at is null
"""
_WITH_FILES: Final[LiteralString] = """
  from hilum.study s join hilum.source k on k.id = s.source_id
  where s.deleted_at is null and (%(source)s = '' or k.key = %(source)s) and s.num_instances > 0
    and s.availability = 'local'
"""
_HOW_MANY: Final[LiteralString] = f"select count(*) as studies {_WITH_FILES}"
_NEXT: Final[LiteralString] = f"select s.id {_WITH_FILES} and s.id > %(after)s order by s.id limit %(most)s"
