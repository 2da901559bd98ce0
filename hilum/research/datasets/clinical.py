"""The persons' rows of the CDM as they go with the images: the tables that CHoRUS uploads and those of the images, as
CSV. Numbers stay, every date moves by the person's days, texts are left out or hold words of radiology only: what a
source called things may name anyone."""

import csv
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, LiteralString, cast

from psycopg import sql as pg

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.core.database import Row, Transaction
from hilum.research.datasets.people import SetPerson
from hilum.research.deid.identifiers import Identifiers
from hilum.research.deid.text import Cleaner

TABLES: Final = (
    "person", "death", "visit_occurrence", "visit_detail", "observation", "observation_period",
    "condition_occurrence", "device_exposure", "drug_exposure", "measurement", "procedure_occurrence", "note",
    "note_nlp",
)  # fmt: skip
"""Of the CHoRUS upload."""
IMAGE_TABLES: Final = ("image_occurrence", "image_feature")
_CLEANED: Final = frozenset(
    ("lexical_variant", "term_exists", "term_temporal", "term_modifiers", "nlp_system", "alg_system")
)
# They name rows of tables that are not given out.
_ELSEWHERE: Final = frozenset(("location_id", "provider_id", "care_site_id"))
_PEOPLE_AT_ONCE: Final = 500
_DATES: Final = frozenset(("date", "timestamp without time zone", "timestamp with time zone"))
_NUMBERS: Final = frozenset(("smallint", "integer", "bigint", "numeric", "real", "double precision", "boolean"))


@dataclass(frozen=True, slots=True)
class Images:
    """What the rows of the image tables become: by image_occurrence_id the new study and series, accession and folder
    of each series that is in the set."""

    occurrences: Mapping[int, tuple[str, str, str, str]]


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str


def write_clinical(
    sql: Transaction, cdm: Cdm, people: Mapping[str, SetPerson], images: Images, folder: Path
) -> dict[str, int]:
    """Write a CSV for each table; how many rows each has.

    Parameters
    ----------
    sql, cdm
        Where the rows are.
    people
        Whose, by their new ids.
    images
        Which rows of the image tables.
    folder
        Where the files go.
    """
    by_number = {one.person_id: one for one in people.values() if one.person_id is not None}
    counts: dict[str, int] = {}
    for table in (*TABLES, *IMAGE_TABLES):
        schema = _schema(sql, cdm, table)
        if schema is None:
            continue
        written = _Table(sql, schema, table, by_number, images)
        counts[table] = written.write(folder / f"{table}.csv")
    return counts


def _schema(sql: Transaction, cdm: Cdm, table: str) -> str | None:
    """Where all rows of a table are seen together."""
    if table in IMAGE_TABLES:
        places: Sequence[str] = (cdm.schemas.imaging,)
    else:
        places = (cdm.schemas.results, cdm.schemas.cdm) if cdm.attached else (cdm.schemas.cdm,)
    return next((schema for schema in places if has_table(sql, schema, table)), None)


class _Table:
    """One table on its way out."""

    def __init__(
        self, sql: Transaction, schema: str, table: str, people: Mapping[int, SetPerson], images: Images
    ) -> None:
        self._sql: Final = sql
        self._table: Final = table
        self._people: Final = people
        self._images: Final = images
        rows = sql.rows(_COLUMNS, (pg.Identifier(schema, table).as_string(),))
        self._columns: Final = [_Column(str(row["name"]), str(row["kind"])) for row in rows]
        self._from: Final = pg.Identifier(schema, table)
        self._notes: Final = pg.Identifier(schema, "note")

    def write(self, path: Path) -> int:
        """Write it; how many rows it has."""
        count = 0
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([column.name for column in self._columns])
            for row in self._rows():
                person = self._whose(row)
                if person is not None:
                    rows.writerow(self._cells(row, person))
                    count += 1
        return count

    def _rows(self) -> Iterator[Row]:
        order = pg.SQL(", ").join(pg.Identifier(column.name) for column in self._columns[:2])
        numbers = sorted(self._people)
        for begin in range(0, len(numbers), _PEOPLE_AT_ONCE):
            some = numbers[begin : begin + _PEOPLE_AT_ONCE]
            if self._table == "note_nlp":
                query = pg.SQL(
                    "select x.*, n.person_id as hilum_person from {} x join {} n on n.note_id = x.note_id "
                    "where n.person_id = any(%s) order by {}"
                ).format(self._from, self._notes, pg.SQL("x.note_nlp_id"))
            else:
                query = pg.SQL(
                    "select *, person_id as hilum_person from {} where person_id = any(%s) order by {}"
                ).format(self._from, order)
            yield from self._sql.rows(cast("LiteralString", query.as_string()), (some,))

    def _whose(self, row: Row) -> SetPerson | None:
        if self._table in IMAGE_TABLES and row["image_occurrence_id"] not in self._images.occurrences:
            return None
        return self._people[cast("int", row["hilum_person"])]

    def _cells(self, row: Row, person: SetPerson) -> list[object]:
        if self._table == "person":
            row = row | _born(row, person)
        if self._table == "image_occurrence":
            row = row | self._image(row)
        return [self._cell(column, row[column.name], person) for column in self._columns]

    def _cell(self, column: _Column, value: object, person: SetPerson) -> object:
        if value is None or column.name in _ELSEWHERE:
            return ""
        if isinstance(value, _Said):
            return str(value)
        if isinstance(value, dt.date):
            return _moved(value, person.person.days)
        if column.kind in _NUMBERS:
            return f"{value:f}" if isinstance(value, Decimal) else value
        if column.name in _CLEANED:
            return _cleaner(person).describe(str(value))
        return ""

    def _image(self, row: Row) -> dict[str, object]:
        study, series, accession, folder = self._images.occurrences[cast("int", row["image_occurrence_id"])]
        new = {
            "image_study_uid": study, "image_series_uid": series, "accession_number": accession, "local_path": folder,
            "modality": row["modality"],
        }  # fmt: skip
        return {name: _Said(str(value)) for name, value in new.items() if name in row}


class _Said(str):
    """A text that is new, and leaves as it is."""

    __slots__ = ()


def _cleaner(person: SetPerson) -> Cleaner:
    patterns = Identifiers(set(person.person.known), {person.person.person_id}).patterns()
    return Cleaner(patterns, lambda _uid: "")


def _moved(value: dt.date, days: int) -> str:
    try:
        moved = value + dt.timedelta(days)
    except OverflowError:
        return ""
    if isinstance(moved, dt.datetime):
        return moved.replace(tzinfo=None).isoformat(" ", "seconds")
    return moved.isoformat()


def _born(row: Row, person: SetPerson) -> dict[str, object]:
    """The day of birth, moved as far as it is known; who is over 89 keeps no more of it than a year that says 90."""
    year, month, day = (cast("int | None", row[f"{part}_of_birth"]) for part in ("year", "month", "day"))
    nothing: dict[str, object] = {"month_of_birth": None, "day_of_birth": None, "birth_datetime": None}
    if not year:
        return nothing
    if person.person.old:
        return {"year_of_birth": person.year_of_90, **nothing}
    try:
        moved = dt.date(year, month or 1, day or 1 if month else 1) + dt.timedelta(person.person.days)
    except (ValueError, OverflowError):
        return nothing
    return {
        "year_of_birth": moved.year, "month_of_birth": moved.month if month else None,
        "day_of_birth": moved.day if month and day else None,
    }  # fmt: skip


_COLUMNS: Final[LiteralString] = """
  select attname as name, format_type(atttypid, null) as kind from pg_attribute
  where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
"""
