"""Reading again what is archived already for the attributes that are kept beside the catalogue's own columns, after the
setting that names them has changed. A study at a time; stopped and run again it goes on, and what is done stays."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa

from hilum.core.database import Row, Transaction
from hilum.core.errors import HilumError
from hilum.core.progress import Progress
from hilum.imaging.archive.describe import Values
from hilum.imaging.archive.further import Choice, Excerpt, Kept, Level, merged
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.statements import document
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.header import Unreadable, scan_file

KIND: Final = "reindex"
_PAGE: Final = 200
# Not the choice of now; written so that the index serves it.
_PENDING: Final = "(indexed_for < %(choice)s or indexed_for > %(choice)s)"
_INSTANCES: Final = (
    "select id, series_id, sop_instance_uid, digest, size, blob_key, path, path_mtime_ns from hilum.instance "
    "where study_id = %s order by series_id, id"
)

_UPDATE: Final[dict[str, LiteralString]] = {
    table: f"update hilum.{table} t set further = g.further from json_populate_recordset(null::hilum.{table}, %s) g "
    "where t.id = g.id and t.further is distinct from g.further"
    for table in ("series", "instance")
}


def pending(connection: sa.Connection, choice: Choice, source: str) -> int:
    """How many studies of a source have not been read for the attributes that are chosen now."""
    statement = sa.text(
        "select count(*) from hilum.study where (indexed_for < :choice or indexed_for > :choice) "
        "and deleted_at is null and source_id = (select id from hilum.source where key = :source)"
    )
    return connection.scalar(statement, {"choice": choice.name, "source": source}) or 0


def reindex(archive: Archive, progress: Progress) -> None:
    """Read every study that was not read for the attributes that are chosen now.

    Files that cannot be read are left out with their reason, and their studies stay to be read the next time.
    """
    with archive.database.transaction() as sql:
        (count,) = sql.rows(f"select count(*) as n from hilum.study where {_PENDING}", {"choice": archive.choice.name})
    progress.expect(cast("int", count["n"]))
    for study_id in _pending_studies(archive):
        while not _read(archive, study_id, progress):
            continue
        progress.step()


def _pending_studies(archive: Archive) -> Iterator[int]:
    after = 0
    while True:
        with archive.database.transaction() as sql:
            rows = sql.rows(
                f"select id from hilum.study where {_PENDING} and id > %(after)s order by id limit %(page)s",
                {"choice": archive.choice.name, "after": after, "page": _PAGE},
            )
        for row in rows:
            after = cast("int", row["id"])
            yield after
        if len(rows) < _PAGE:
            return


def _read(archive: Archive, study_id: int, progress: Progress) -> bool:
    """Read the files of a study and keep what they say; false when the study has changed meanwhile."""
    each = bool(archive.choice.of(Level.INSTANCE))
    with archive.database.transaction() as sql:
        before = sql.rows(_INSTANCES, (study_id,))
    excerpts: dict[int, Excerpt] = {}
    begun: set[object] = set()
    whole = True
    for row in before:
        first = row["series_id"] not in begun
        if not (first or each):
            continue
        try:
            excerpts[cast("int", row["id"])] = _excerpt(archive, row, above=first)
        except (HilumError, Unreadable, OSError) as error:
            code = error.code if isinstance(error, Unreadable) else "unreadable"
            progress.leave_out(code, "The bytes cannot be read.", cast("str", row["sop_instance_uid"]))
            whole = False
            continue
        begun.add(row["series_id"])
        progress.count("files")
    with archive.database.transaction() as sql:
        found = sql.rows("select id from hilum.study where id = %s for no key update", (study_id,))
        if found and _changed(before, sql.rows(_INSTANCES, (study_id,))):
            return False
        if found:
            _keep(sql, study_id, before, excerpts, archive.choice.name if whole else "")
            progress.count("studies")
    return True


def _excerpt(archive: Archive, row: Row, *, above: bool) -> Excerpt:
    with opened(archive.blobs, cast("sa.RowMapping", row), header_only=True) as file:
        return archive.choice.take(scan_file(file), b"", lambda: nullcontext(file), above=above)


def _changed(before: list[Row], now: list[Row]) -> bool:
    return {row["id"]: row["digest"] for row in before} != {row["id"]: row["digest"] for row in now}


def _keep(sql: Transaction, study_id: int, rows: list[Row], excerpts: Mapping[int, Excerpt], choice: str) -> None:
    """Write what was read; of what could not be read, and so leaves no choice that holds, what was known stays."""
    study: Kept = None
    series: dict[object, Kept] = {}
    instances: list[Values] = []
    for row in rows:
        excerpt = excerpts.get(cast("int", row["id"]))
        if excerpt is not None:
            study = merged(study, excerpt.study)
            series[row["series_id"]] = merged(series.get(row["series_id"]), excerpt.series)
        if excerpt is not None or choice:
            instances.append({"id": row["id"], "further": excerpt.instance if excerpt else None})
    sql.rows(_UPDATE["series"], (document([{"id": key, "further": kept} for key, kept in series.items()]),))
    sql.rows(_UPDATE["instance"], (document(instances),))
    statement: LiteralString = "update hilum.study set further = %(further)s::jsonb, indexed_for = %(choice)s"
    if not choice:
        statement = "update hilum.study set further = coalesce(%(further)s::jsonb, further), indexed_for = %(choice)s"
    text = msgspec.json.encode(study).decode() if study else None
    sql.rows(f"{statement} where id = %(id)s", {"further": text, "choice": choice, "id": study_id})
