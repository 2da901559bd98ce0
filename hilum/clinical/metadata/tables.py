"""The metadata tables of a source as Parquet or CSV: read some hundred rows at a time, in order, so that memory stays
flat. What the catalogue does not have of orders, linkage keeps; headers are read only for what a setting adds."""

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import find_cdm
from hilum.clinical.linkage.orders import read_orders
from hilum.clinical.metadata.fields import Field, Table, fields_of
from hilum.core.database import Row
from hilum.imaging.archive.series_header import DicomJson, series_headers
from hilum.imaging.archive.store import Archive

Format: TypeAlias = Literal["parquet", "csv"]

_AT_ONCE: Final = 1000


def write_table(archive: Archive, source: str, table: Table, form: Format, file: BinaryIO) -> int:
    """Write a metadata table of a source; gives how many rows it has.

    Parameters
    ----------
    archive
        Where.
    source
        Key of the source; without a CDM the columns of links are empty.
    table
        ``studies`` or ``series``: a row each that is not deleted, in the order in which they came.
    form
        ``parquet``, typed; or ``csv`` in UTF-8 with a header, dates and times in ISO 8601.
    file
        To write to.

    Raises
    ------
    Invalid
        ``HILUM_METADATA_TAGS`` names what is no attribute.
    NotFound
        There is no such source.
    """
    pa, csv, parquet = _arrow()
    fields = fields_of(table, archive.settings.metadata_tags)
    with archive.database.transaction() as sql:
        find_cdm(sql, source)  # that there is such a source
    types = {
        "text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "date": pa.date32(), "time": pa.time64("us")
    }  # fmt: skip
    schema = pa.schema([(field.name, types[field.kind]) for field in fields])
    count = 0
    writer = parquet.ParquetWriter(file, schema) if form == "parquet" else csv.CSVWriter(file, schema)
    with writer:
        for rows in _batches(archive, source, table, fields):
            arrays = [pa.array([row[field.name] for row in rows], type=types[field.kind]) for field in fields]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(rows)
    return count


def _arrow() -> tuple[Any, Any, Any]:
    """The library, which has no types and is large to load."""
    import pyarrow
    from pyarrow import csv, parquet

    return cast("Any", pyarrow), cast("Any", csv), cast("Any", parquet)


def _batches(archive: Archive, source: str, table: Table, fields: Sequence[Field]) -> Iterator[list[Row]]:
    columns = ", ".join(f'{field.sql} as "{field.name}"' for field in fields if field.sql)
    query = cast("LiteralString", f"select {_KEY[table]} as _number, {columns} {_FROM[table]}")
    taken = [field for field in fields if field.take]
    after = 0
    while numbers := _next(archive, source, table, after):
        after = numbers[-1]
        if table == "studies":
            read_orders(archive, numbers)
        with archive.database.transaction() as sql:
            rows = sql.rows(query, (numbers,))
        headers = _headers(archive, table, numbers) if taken else {}
        for row in rows:
            header = headers.get(cast("int", row["_number"]), {})
            row.update({field.name: field.take(header) for field in taken if field.take})
        yield rows


def _next(archive: Archive, source: str, table: Table, after: int) -> list[int]:
    with archive.database.transaction() as sql:
        rows = sql.rows(_NEXT[table], {"source": source, "after": after, "limit": _AT_ONCE})
    return [cast("int", row["id"]) for row in rows]


def _headers(archive: Archive, table: Table, numbers: Sequence[int]) -> dict[int, DicomJson]:
    """A header of each study or series: of a study that of its first series."""
    with archive.database.transaction() as sql:
        firsts = sql.rows(_FIRST, (list(numbers),)) if table == "studies" else []
    of = {cast("int", row["series"]): cast("int", row["study"]) for row in firsts}
    series = list(of) if table == "studies" else list(numbers)
    with archive.database.connect() as connection:
        return {of.get(number, number): header for number, header in series_headers(connection, archive, series)}


_FIRST: Final[LiteralString] = """
  select distinct on (study_id) study_id as study, id as series from hilum.series
  where study_id = any(%s) and num_instances > 0 order by study_id, series_number nulls last, id
"""
_NEXT: Final[dict[Table, LiteralString]] = {
    "studies": """
      select s.id from hilum.study s join hilum.source k on k.id = s.source_id
      where k.key = %(source)s and s.deleted_at is null and s.id > %(after)s order by s.id limit %(limit)s
    """,
    "series": """
      select e.id from hilum.series e join hilum.study s on s.id = e.study_id join hilum.source k on k.id = s.source_id
      where k.key = %(source)s and s.deleted_at is null and e.id > %(after)s order by e.id limit %(limit)s
    """,
}
_KEY: Final = {"studies": "s.id", "series": "e.id"}
_PERSON: Final = "left join hilum.study_link p on p.study_id = s.id and p.kind = 'person'"
_FROM: Final = {
    "studies": f"""
      from hilum.study s {_PERSON}
      left join hilum.study_link r on r.study_id = s.id and r.kind = 'procedure'
      left join hilum.study_link v on v.study_id = s.id and v.kind = 'visit'
      left join lateral (
        select o.procedure_codes from hilum.series e join hilum.series_order o on o.series_id = e.id
        where e.study_id = s.id and o.procedure_codes <> '[]' order by e.series_number nulls last, e.id limit 1
      ) c on true
      where s.id = any(%s) order by s.id
    """,
    "series": f"""
      from hilum.series e join hilum.study s on s.id = e.study_id {_PERSON}
      left join hilum.series_occurrence o on o.source_id = s.source_id and o.study_instance_uid = s.study_instance_uid
        and o.series_instance_uid = e.series_instance_uid and p.target_id is not null
      where e.id = any(%s) order by e.id
    """,
}
