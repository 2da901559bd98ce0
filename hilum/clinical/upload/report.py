"""What became of an upload: counts, a few examples of each finding for a terminal, and all of them for a file. The
findings are queries over the tables of ``match`` and ``decide``, so none is held in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString, cast

import msgspec
from psycopg.rows import dict_row

from hilum.core.database import Transaction

_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of finding: its name, a sentence, the query that lists it, and whether it is no fault."""

    code: str
    text: str
    query: LiteralString
    harmless: bool = False


@dataclass(slots=True)
class Report:
    """What became of an upload; ``reasons`` are as those of a job."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    reasons: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    tables: dict[str, object] = field(default_factory=dict[str, object])
    waiting: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    missing_columns: list[str] = field(default_factory=list[str])
    complete: bool = True

    def as_json(self) -> dict[str, object]:
        """The report as a document."""
        return {
            "counts": self.counts, "reasons": self.reasons, "omop": self.tables, "waiting": self.waiting,
            "missing_columns": self.missing_columns,
        }  # fmt: skip


def count_findings(sql: Transaction, report: Report, *, registry: bool) -> None:
    """Count the findings, with a few examples each; without a registry no file misses a row."""
    for each in FINDINGS:
        if not registry and each.code == "file_without_row":
            continue
        (row,) = sql.rows(f"select count(*) as n from ({each.query}) q")
        count = cast("int", row["n"])
        if count:
            shown = sql.rows(cast("LiteralString", f"{each.query} limit {_EXAMPLES}"))
            examples = [", ".join(f"{name} {value}" for name, value in one.items()) for one in shown]
            report.reasons.append({"code": each.code, "reason": each.text, "count": count, "examples": examples})
            report.complete = report.complete and each.harmless


def write_findings(sql: Transaction, path: Path) -> None:
    """Write every finding as JSON Lines, one after the other; the file is the owner's alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with part.open("wb") as file:
        file.write(b'{"findings": {')
        for place, each in enumerate(FINDINGS):
            file.write(b",\n" * (place > 0) + msgspec.json.encode(each.code) + b": [")
            for number, row in enumerate(_stream(sql, each)):
                file.write((b",\n" if number else b"\n") + msgspec.json.encode(row))
            file.write(b"]")


def close_findings(path: Path, report: Report) -> None:
    """Add the counts, and put the file where it was wanted."""
    part = path.with_name(f".{path.name}.part")
    with part.open("ab") as file:
        file.write(b"},\n" + msgspec.json.format(msgspec.json.encode(report.as_json()), indent=1)[1:] + b"\n")
    part.replace(path)


def _stream(sql: Transaction, finding: Finding) -> Iterator[dict[str, object]]:
    with sql.driver.cursor("upload_finding", row_factory=dict_row) as cursor:
        cursor.execute(finding.query)
        yield from cursor


_TAGS: Final[LiteralString] = """
  from upload_file f join hilum.instance i on i.id = f.instance_id join hilum.series e on e.id = i.series_id
  join hilum.study s on s.id = i.study_id left join upload_row r on r.path = f.path
"""
FINDINGS: Final = (
    Finding("row_refused", "The row of the registry cannot be used.",
            "select line, reason from upload_refused order by line"),
    Finding("row_without_file", "The registry has a row, and there is no such file.",
            "select line, file_id, person_id from upload_row where path is null and not twice order by line"),
    Finding("row_twice", "The registry has another row for the same file.",
            "select line, file_id, person_id from upload_row where twice order by line"),
    Finding("file_without_row", "The registry has no row for the file; it is linked by its folder.",
            "select f.path from upload_file f where not exists (select from upload_row r where r.path = f.path) "
            "order by f.path"),
    Finding("file_not_taken", "The file is in the layout, and could not be imported.",
            "select path from upload_file where instance_id is null order by path"),
    Finding("person_contradicted", "Folder, PatientID and registry do not say the same person: nobody is linked.",
            "select f.path, f.person_id as folder, s.patient_id as tag, r.person_id as row "
            f"{_TAGS} where s.patient_id <> f.person_id::text or r.person_id <> f.person_id order by f.path"),
    Finding("several_persons", "Files of one study lie in folders of several persons: nobody is linked.",
            "select study_instance_uid from upload_study u where not agrees and exists (select from upload_file f "
            "join hilum.instance i on i.id = f.instance_id where i.study_id = u.id and f.person_id <> u.person_id) "
            "order by 1"),
    Finding("several_procedures", "The registry names several procedures for one study; the rules decide.",
            "select study_instance_uid from upload_study where procedures > 1 order by 1"),
    Finding("several_visits", "The registry names several visits for one study; the rules decide.",
            "select study_instance_uid from upload_study where visits > 1 order by 1"),
    Finding("unknown_procedure", "The CDM has no procedure with the proc_id of the registry; the rules decide.",
            "select u.study_instance_uid, u.procedure from upload_study u where u.agrees and u.procedures = 1 and not "
            "exists (select from upload_wanted w where w.study_instance_uid = u.study_instance_uid and "
            "w.kind = 'procedure') and not exists (select from hilum.minted_procedure m join hilum.study s on "
            "s.source_id = m.source_id where s.id = u.id and m.study_instance_uid = u.study_instance_uid and "
            "m.procedure_occurrence_id = u.procedure) order by 1", harmless=True),
    Finding("unknown_visit", "The CDM has no visit with the visit_id of the registry; the rules decide.",
            "select u.study_instance_uid, u.visit from upload_study u where u.agrees and u.visits = 1 and not "
            "exists (select from upload_wanted w where w.study_instance_uid = u.study_instance_uid and "
            "w.kind = 'visit') order by 1", harmless=True),
    Finding("folder_differs", "Modality, accession or series of the folder are not those of the file.",
            f"select f.path {_TAGS} where f.series <> '' and (f.series <> e.series_instance_uid "
            "or f.accession <> s.accession_number or not (f.modality = e.modality or f.modality = 'XR' "
            "and e.modality in ('CR', 'DX'))) order by f.path", harmless=True),
    Finding("day_differs", "The registry's datetime is of another day than the file.",
            f"select r.line, f.path {_TAGS} where r.moment::date is distinct from e.series_date "
            "and r.moment::date is distinct from s.study_date and r.moment is not null order by r.line",
            harmless=True),
)  # fmt: skip
"""All that is told of an upload."""
