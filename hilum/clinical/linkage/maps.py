"""Mapping tables of a site as CSV: whose a PatientID is (CHoRUS's personal_map among them), and which procedure a
number belongs to. A file is read line by line and loaded as a whole or not at all; lines that cannot be used are
told."""

import csv
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import Cdm
from hilum.core.csv_lines import csv_lines
from hilum.core.database import Transaction
from hilum.core.errors import Invalid

MapKind: TypeAlias = Literal["persons", "procedures"]
Values: TypeAlias = tuple[object, ...]

_EXAMPLES: Final = 20
_SHOWN: Final = 50
_LARGEST: Final = (1 << 63) - 1
# What a column is called, without case, blanks and underscores.
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "patient_id": frozenset(("patientid", "mrn", "personsourcevalue")),
    "issuer": frozenset(("issuerofpatientid", "issuer")),
    "person_id": frozenset(("personid",)),
    "days": frozenset(("daysshifted",)),
    "number": frozenset(("accessionnumber", "number", "requestedprocedureid", "placerordernumber")),
    "procedure": frozenset(("procedureoccurrenceid", "procid")),
}


@dataclass(slots=True)
class Loaded:
    """What became of a mapping table: its kind, how many lines were new, changed or as before, and what was refused:
    line (1 is the header) and why."""

    kind: MapKind
    rows: int = 0
    new: int = 0
    changed: int = 0
    refused: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def refuse(self, line: int, why: str) -> None:
        """Count a line that cannot be used."""
        self.refused += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append((line, why))


@dataclass(frozen=True, slots=True)
class MapLine:
    """A line of a mapping table as it was read: ``number`` is a PatientID or an accession number, ``beside`` the issuer
    or the PatientID that goes with it. ``before`` is what it is mapped to now, ``known`` whether the CDM has the
    target."""

    line: int
    number: str
    beside: str
    target: int
    before: int | None
    known: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What a mapping table would do: its first lines, how many name what is not in the CDM, and how many studies of the
    source have one of its numbers."""

    loaded: Loaded
    lines: tuple[MapLine, ...]
    unknown: int
    studies: int


def load_map(sql: Transaction, source_id: int, file: BinaryIO) -> Loaded:
    """Load a mapping table; a line that is known already is changed.

    Parameters
    ----------
    sql
        Where.
    source_id
        Of the source.
    file
        CSV in UTF-8 with a header. With a ``person_id`` it says whose a ``PatientID`` is, perhaps with
        ``IssuerOfPatientID`` and ``Days_Shifted``; with a ``procedure_occurrence_id`` which procedure an
        ``AccessionNumber`` (or other number) belongs to, perhaps with ``PatientID``.

    Raises
    ------
    Invalid
        The file is no such table.
    """
    loaded = _stage(sql, file)
    _take(sql, source_id, loaded)
    sql.rows("drop table map_given")
    if loaded.new or loaded.changed:
        sql.rows("update hilum.source set recorded = false where id = %s", (source_id,))
    return loaded


class _NotMeant(Exception):
    """Leaves the savepoint in which a table was tried."""


def look_at_map(sql: Transaction, cdm: Cdm, file: BinaryIO) -> Looked:
    """Tell what a mapping table would do, and change nothing: it is tried, and taken back.

    Raises
    ------
    Invalid
        The file is no such table.
    """
    looked: list[Looked] = []
    with suppress(_NotMeant), sql.savepoint():
        loaded = _stage(sql, file)
        persons = loaded.kind == "persons"
        values = {"source": cdm.source_id, "most": _SHOWN}
        rows = sql.rows(cdm.sql(_LOOK_PERSONS if persons else _LOOK_PROCEDURES), values)
        (counted,) = sql.rows(cdm.sql(_COUNT_PERSONS if persons else _COUNT_PROCEDURES), values)
        _take(sql, cdm.source_id, loaded)
        lines = tuple(MapLine(**cast("dict[str, Any]", row)) for row in rows)
        looked.append(Looked(loaded, lines, cast("int", counted["unknown"]), cast("int", counted["studies"])))
        raise _NotMeant
    return looked[0]


def _stage(sql: Transaction, file: BinaryIO) -> Loaded:
    """Read a mapping table into a temporary one."""
    reader = csv.reader(csv_lines(file, "The mapping table"), strict=True)
    try:
        header = next(reader, cast("list[str]", []))
        places = _places(header)
        loaded = Loaded("procedures" if "procedure" in places else "persons")
        persons = loaded.kind == "persons"
        sql.rows(_STAGE_PERSONS if persons else _STAGE_PROCEDURES)
        parse = _person if persons else _procedure
        copy: LiteralString = "copy map_given from stdin"
        with sql.driver.cursor().copy(copy) as into:
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                try:
                    into.write_row((reader.line_num, *parse(_cells(row, places))))
                    loaded.rows += 1
                except ValueError as error:
                    loaded.refuse(reader.line_num, str(error))
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(f"The mapping table is no CSV in UTF-8: line {reader.line_num} cannot be read.") from error
    return loaded


def _take(sql: Transaction, source_id: int, loaded: Loaded) -> None:
    (told,) = sql.rows(_TAKE_PERSONS if loaded.kind == "persons" else _TAKE_PROCEDURES, (source_id,))
    loaded.new, loaded.changed = int(str(told["new"])), int(str(told["changed"]))


def _places(header: Iterable[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(header):
        word = name.strip().replace("_", "").replace(" ", "").casefold()
        for column, names in _NAMES.items():
            if word in names:
                places.setdefault(column, place)
    if {"patient_id", "person_id"} <= places.keys() or {"number", "procedure"} <= places.keys():
        return places
    raise Invalid(
        "The header of a mapping table names PatientID and person_id, or AccessionNumber and procedure_occurrence_id."
    )


def _cells(row: list[str], places: Mapping[str, int]) -> dict[str, str]:
    return {column: row[place].strip() if place < len(row) else "" for column, place in places.items()}


def _person(cells: Mapping[str, str]) -> Values:
    patient = _text(cells["patient_id"], "PatientID")
    days = _number(cells["days"], "Days_Shifted", lowest=-(1 << 31)) if cells.get("days") else None
    if days is not None and days >= 1 << 31:
        raise ValueError("Days_Shifted is too large.")
    return patient, cells.get("issuer", "")[:200], _number(cells["person_id"], "person_id"), days


def _procedure(cells: Mapping[str, str]) -> Values:
    number = _text(cells["number"], "The number")
    return number, cells.get("patient_id", "")[:200], _number(cells["procedure"], "procedure_occurrence_id")


def _text(value: str, name: str) -> str:
    if not value:
        raise ValueError(f"{name} is blank.")
    if len(value) > 200:
        raise ValueError(f"{name} has more than 200 characters.")
    return value


def _number(value: str, name: str, lowest: int = 0) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20 and lowest <= int(value) <= _LARGEST):
        raise ValueError(f"{name} is no number of a row.")
    return int(value)


_STAGE_PERSONS: Final[LiteralString] = (
    "create temporary table map_given (line bigint, patient_id text, issuer text, person_id bigint, days integer) "
    "on commit drop"
)
_STAGE_PROCEDURES: Final[LiteralString] = (
    "create temporary table map_given (line bigint, number text, patient_id text, procedure_id bigint) on commit drop"
)
# Of several lines for one id the last holds.
_TAKE_PERSONS: Final[LiteralString] = """
  with taken as (
    insert into hilum.person_map as m (source_id, patient_id, issuer_of_patient_id, person_id, days_shifted)
    select distinct on (patient_id, issuer) %s, patient_id, issuer, person_id, days from map_given
    order by patient_id, issuer, line desc
    on conflict (source_id, patient_id, issuer_of_patient_id) do update set person_id = excluded.person_id,
      days_shifted = coalesce(excluded.days_shifted, m.days_shifted), loaded_at = now()
    where m.person_id <> excluded.person_id or excluded.days_shifted is distinct from m.days_shifted
    returning xmax = 0 as new
  ) select count(*) filter (where new) as new, count(*) filter (where not new) as changed from taken
"""
_TAKE_PROCEDURES: Final[LiteralString] = """
  with taken as (
    insert into hilum.procedure_map as m (source_id, number, patient_id, procedure_occurrence_id)
    select distinct on (number, patient_id) %s, number, patient_id, procedure_id from map_given
    order by number, patient_id, line desc
    on conflict (source_id, number, patient_id) do update set
      procedure_occurrence_id = excluded.procedure_occurrence_id, loaded_at = now()
    where m.procedure_occurrence_id <> excluded.procedure_occurrence_id
    returning xmax = 0 as new
  ) select count(*) filter (where new) as new, count(*) filter (where not new) as changed from taken
"""
_LOOK_PERSONS: Final[LiteralString] = """
  select g.line, g.patient_id as number, g.issuer as beside, g.person_id as target, m.person_id as before,
    exists (select from {cdm}.person p where p.person_id = g.person_id) as known
  from map_given g left join hilum.person_map m on m.source_id = %(source)s and m.patient_id = g.patient_id
    and m.issuer_of_patient_id = g.issuer
  order by known, line limit %(most)s
"""
_LOOK_PROCEDURES: Final[LiteralString] = """
  select g.line, g.number, g.patient_id as beside, g.procedure_id as target, m.procedure_occurrence_id as before,
    exists (select from {cdm}.procedure_occurrence p where p.procedure_occurrence_id = g.procedure_id) as known
  from map_given g left join hilum.procedure_map m on m.source_id = %(source)s and m.number = g.number
    and m.patient_id = g.patient_id
  order by known, line limit %(most)s
"""
_COUNT_PERSONS: Final[LiteralString] = """
  select (select count(*) from map_given g where not exists (select from {cdm}.person p
      where p.person_id = g.person_id)) as unknown,
    (select count(*) from hilum.study s where s.source_id = %(source)s and s.deleted_at is null
      and s.patient_id in (select patient_id from map_given)) as studies
"""
_COUNT_PROCEDURES: Final[LiteralString] = """
  select (select count(*) from map_given g where not exists (select from {cdm}.procedure_occurrence p
      where p.procedure_occurrence_id = g.procedure_id)) as unknown,
    (select count(*) from hilum.study s where s.source_id = %(source)s and s.deleted_at is null
      and s.accession_number in (select number from map_given)) as studies
"""
