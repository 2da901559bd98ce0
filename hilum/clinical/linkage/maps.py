"""Mapping tables of a site as CSV: whose a PatientID is (CHoRUS's personal_map among them), and which procedure a
number belongs to. A file is read line by line and loaded as a whole or not at all; lines that cannot be used are
told."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal, LiteralString, TypeAlias, cast

from hilum.core.csv_lines import csv_lines
from hilum.core.database import Transaction
from hilum.core.errors import Invalid

MapKind: TypeAlias = Literal["persons", "procedures"]
Values: TypeAlias = tuple[object, ...]

_EXAMPLES: Final = 20
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
    (told,) = sql.rows(_TAKE_PERSONS if persons else _TAKE_PROCEDURES, (source_id,))
    loaded.new, loaded.changed = int(str(told["new"])), int(str(told["changed"]))
    sql.rows("drop table map_given")
    return loaded


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
