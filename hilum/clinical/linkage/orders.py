"""What the files of a series say of the order that it answers: its numbers, the codes of the procedure, and the days of
acquisition and content. A series is read once for each of its versions, before it is linked and outside of that
transaction; afterwards its row tells, so that linking reads no files."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from itertools import islice
from typing import Final, LiteralString, cast

import msgspec

from hilum.core.database import Transaction
from hilum.imaging.archive.check import chunks
from hilum.imaging.archive.series_header import DicomJson, series_headers
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.names import parse_date

KINDS: Final = (
    "accession_number", "requested_procedure_id", "placer_order_number", "filler_order_number",
    "accession_number_of_request", "performed_procedure_step_id", "scheduled_procedure_step_id",
)  # fmt: skip
"""The numbers by which a procedure is found, the most telling first; the first is the study's own."""

_ACCESSION: Final = "00080050"
_OF_REQUEST: Final = {
    "00401001": "requested_procedure_id",
    "00402016": "placer_order_number",
    "00402017": "filler_order_number",
    "00400253": "performed_procedure_step_id",
    "00400009": "scheduled_procedure_step_id",
}
# Request Attributes Sequence (PS3.3 table 10-9) and Referenced Request Sequence (table C.17-3).
_REQUESTS: Final = ("00400275", "0040A370")
# Procedure Code Sequence, then Requested Procedure Code Sequence (PS3.3 section C.7.2.1.1, table 10-9).
_PERFORMED, _REQUESTED = "00081032", "00321064"
_MOST_ITEMS: Final = 20
_LONGEST: Final = 64
_AT_ONCE: Final = 100
_READERS: Final = 4


@dataclass(frozen=True, slots=True)
class Number:
    """A number of an order, and which: one of ``KINDS``."""

    kind: str
    number: str


@dataclass(frozen=True, slots=True)
class Code:
    """The code of a procedure, the designator of its scheme (``LN`` for LOINC), and what it means."""

    scheme: str
    code: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Order:
    """What one file says: each number and each code once, and the days."""

    numbers: tuple[Number, ...]
    codes: tuple[Code, ...]
    acquired: date | None
    made: date | None


def order_of(header: DicomJson) -> Order:
    """What a header says of its order.

    Parameters
    ----------
    header
        An instance in the DICOM JSON Model (PS3.18 annex F). Of a sequence the first 20 items count, of a text the
        first 64 characters.
    """
    requests = [item for tag in _REQUESTS for item in _items(header, tag)]
    numbers = [Number(kind, _text(item, tag)) for item in (header, *requests) for tag, kind in _OF_REQUEST.items()]
    numbers += [Number("accession_number_of_request", _text(item, _ACCESSION)) for item in requests]
    coded = [*_items(header, _PERFORMED), *_items(header, _REQUESTED)]
    coded += [code for item in requests for code in _items(item, _REQUESTED)]
    codes = [
        Code(_text(item, "00080102"), _text(item, "00080100") or _text(item, "00080119"), _text(item, "00080104"))
        for item in coded
    ]
    return Order(
        tuple(dict.fromkeys(number for number in numbers if number.number)),
        tuple(dict.fromkeys(code for code in codes if code.code and code.scheme)),
        parse_date(_text(header, "00080022") or _text(header, "0008002A")[:8]),
        parse_date(_text(header, "00080023")),
    )


def read_orders(archive: Archive, studies: Sequence[int]) -> int:
    """Read the series of studies (and of others of their UIDs) that have not been read as they are now.

    Parameters
    ----------
    archive
        The catalogue and the objects.
    studies
        Their numbers.

    Returns
    -------
    int
        How many series were read. One that cannot be read is tried again the next time.

    Raises
    ------
    Unavailable
        The objects cannot be reached now.
    """
    with archive.database.transaction() as sql:
        due = {cast("int", row["id"]): cast("int", row["version"]) for row in sql.rows(_DUE, (list(studies),))}
    if not due:
        return 0
    with ThreadPoolExecutor(_READERS, "orders") as readers:
        return sum(readers.map(partial(_read, archive, due), chunks(due, _AT_ONCE)))


def _read(archive: Archive, versions: Mapping[int, int], series: Sequence[int]) -> int:
    with archive.database.connect() as connection:
        found = {number: order_of(header) for number, header in series_headers(connection, archive, series)}
    with archive.database.transaction() as sql:
        keep_orders(sql, versions, found)
    return len(found)


def keep_orders(sql: Transaction, versions: Mapping[int, int], orders: Mapping[int, Order]) -> None:
    """Keep what was read of series, by their numbers, as of the versions that they had before."""
    given = sorted(orders.items())
    values = {
        "series": [number for number, _ in given],
        "versions": [versions[number] for number, _ in given],
        "numbers": [_json(order.numbers) for _, order in given],
        "codes": [_json(order.codes) for _, order in given],
        "acquired": [order.acquired for _, order in given],
        "made": [order.made for _, order in given],
    }
    sql.rows(_KEEP, values)


def _json(items: Sequence[Number] | Sequence[Code]) -> str:
    return msgspec.json.encode([asdict(item) for item in items]).decode()


def _items(item: Mapping[str, object], tag: str) -> Iterator[DicomJson]:
    for value in islice(_values(item, tag), _MOST_ITEMS):
        if isinstance(value, dict):
            yield cast("DicomJson", value)


def _text(item: Mapping[str, object], tag: str) -> str:
    value = next(_values(item, tag), None)
    return value.replace("\0", "").strip()[:_LONGEST] if isinstance(value, str) else ""


def _values(item: Mapping[str, object], tag: str) -> Iterator[object]:
    attribute = item.get(tag)
    values = cast("Mapping[str, object]", attribute).get("Value") if isinstance(attribute, dict) else None
    return iter(cast("list[object]", values) if isinstance(values, list) else ())


_DUE: Final[LiteralString] = """
  select e.id, e.version from hilum.study g join hilum.study s on s.source_id = g.source_id
    and s.study_instance_uid = g.study_instance_uid and s.deleted_at is null
  join hilum.series e on e.study_id = s.id left join hilum.series_order o on o.series_id = e.id
  where g.id = any(%s) and o.version is distinct from e.version
    and exists (select from hilum.instance i where i.series_id = e.id and i.deleted_at is null)
"""
_KEEP: Final[LiteralString] = """
  insert into hilum.series_order as o (series_id, version, numbers, procedure_codes, acquisition_date, content_date)
  select e.id, g.version, g.numbers::jsonb, g.codes::jsonb, g.acquired, g.made
  from unnest(%(series)s::bigint[], %(versions)s::bigint[], %(numbers)s::text[], %(codes)s::text[],
    %(acquired)s::date[], %(made)s::date[]) g (id, version, numbers, codes, acquired, made)
  join hilum.series e on e.id = g.id
  on conflict (series_id) do update set version = excluded.version, numbers = excluded.numbers,
    procedure_codes = excluded.procedure_codes, acquisition_date = excluded.acquisition_date,
    content_date = excluded.content_date
  where o.version <> excluded.version
"""
