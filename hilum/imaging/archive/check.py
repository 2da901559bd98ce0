"""Integrity: whether every row of the catalogue has its bytes, with the right size and digest, and every object a row.
It only looks; ``repair`` acts on what is found. Memory stays the same however much there is, and it may run beside
imports: what seems wrong is looked at a second time."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Literal, LiteralString, TypeAlias, TypeVar

from blake3 import blake3

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Row
from hilum.core.errors import NotFound, Unavailable
from hilum.imaging.archive.delete import stop_writers
from hilum.imaging.archive.sidecar import RECORDS
from hilum.imaging.archive.store import CHUNK
from hilum.imaging.archive.thumbnails import AREA as THUMBNAILS

Kind: TypeAlias = Literal["missing", "damaged", "changed", "orphan"]
Step: TypeAlias = Callable[[int, int | None, str], None]
T = TypeVar("T")

MEANING: Final[dict[Kind, str]] = {
    "missing": "The bytes of a catalogued file are not there, or cannot be read.",
    "damaged": "The stored bytes are not those that were taken.",
    "changed": "A file that was indexed in place is gone or has changed.",
    "orphan": "An object that no row of the catalogue names.",
}
# First components of keys that hold no source: pictures made anew, uploads on their way, files of data sets, what was
# moved out of the way, and what the doctor tries.
DAMAGED: Final = "_damaged"
AREAS: Final = frozenset((THUMBNAILS, "uploads", "_datasets", "_doctor", DAMAGED))
EXAMPLES: Final = 1000
_PAGE: Final = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes
    ----------
    kind
        See ``MEANING``.
    what
        Key of the object, or path of the file that was indexed in place.
    """

    kind: Kind
    what: str


@dataclass(slots=True)
class Report:
    """What a check looked at and found; of each kind a bounded number of findings is kept."""

    files: int = 0
    objects: int = 0
    bytes: int = 0
    found: dict[Kind, int] = field(default_factory=dict[Kind, int])
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it while there are few."""
        self.found[finding.kind] = self.found.get(finding.kind, 0) + 1
        if self.found[finding.kind] <= EXAMPLES:
            self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects that were listed together: those that no row names, and the rest."""

    orphans: Sequence[str]
    others: Sequence[str]


def check(
    database: Database,
    blobs: Blobs,
    *,
    source: str | None = None,
    digests: bool = True,
    step: Step = lambda _done, _total, _text: None,
    told: Callable[[Finding], None] = lambda _finding: None,
    listed: Callable[[Objects], None] = lambda _objects: None,
) -> Report:
    """Compare the catalogue with the objects.

    Parameters
    ----------
    database, blobs
        What to compare.
    source
        Key of the source to look at; None for all.
    digests
        Read all bytes and compare their digests; False compares sizes alone.
    step
        Told how many files are done, of how many, and which part is going on.
    told
        Told of every finding that is not an orphan.
    listed
        Told of every stretch of objects.
    """
    report = Report()
    total = _total(database, source)
    with ThreadPoolExecutor((os.cpu_count() or 1) * 2, "check") as pool:
        for query in _ROWS.values():
            for page in _pages(database, query, source):
                kinds = list(pool.map(partial(_verify, blobs, digests=digests), page))
                wrong: dict[object, Kind] = {}
                wrong.update((row["id"], kind) for row, kind in zip(page, kinds, strict=True) if kind is not None)
                for row in _still_there(database, query, page, wrong):
                    finding = Finding(wrong[row["id"]], str(row["path"] or row["blob_key"]))
                    report.add(finding)
                    told(finding)
                report.files += len(page)
                report.bytes += sum(int(str(row["size"])) for row in page)
                step(report.files, total, "Checking files")
    for chunk in chunks(_own_objects(blobs, source), _PAGE):
        orphans = find_orphans(database, [key for key in chunk if f"/{RECORDS}/" not in key])
        for key in orphans:
            report.add(Finding("orphan", key))
        gone = set(orphans)
        listed(Objects(orphans, [key for key in chunk if key not in gone]))
        report.objects += len(chunk)
        step(report.objects, None, "Checking objects")
    return report


def find_orphans(database: Database, keys: Sequence[str]) -> list[str]:
    """Those of some objects that no row names, also not one that is being written just now."""
    orphans = _unnamed(database, keys, wait=False)
    return _unnamed(database, orphans, wait=True) if orphans else []


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut something long into lists of a size."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _unnamed(database: Database, keys: Sequence[str], *, wait: bool) -> list[str]:
    with database.transaction() as sql:
        if wait:
            stop_writers(sql)
        named = {row["key"] for row in sql.rows(_NAMED, {"keys": list(keys)})}
    return [key for key in keys if key not in named]


def _own_objects(blobs: Blobs, source: str | None) -> Iterator[str]:
    for key, _ in blobs.list(source or ""):
        if key.partition("/")[0] not in AREAS:
            yield key


def _pages(database: Database, query: LiteralString, source: str | None) -> Iterator[list[Row]]:
    after: object = 0
    while True:
        with database.transaction() as sql:
            page = sql.rows(query, {"source": source, "after": after, "ids": None, "limit": _PAGE})
        if not page:
            return
        yield page
        after = page[-1]["id"]


def _still_there(database: Database, query: LiteralString, page: list[Row], wrong: dict[object, Kind]) -> list[Row]:
    """The rows of findings that still say the same: a purge or a replacement may have come in between."""
    if not wrong:
        return []
    with database.transaction() as sql:
        now = sql.rows(query, {"source": None, "after": 0, "ids": list(wrong), "limit": len(wrong)})
    before = {row["id"]: row for row in page}
    return [row for row in now if row == before[row["id"]]]


def _verify(blobs: Blobs, row: Row, *, digests: bool) -> Kind | None:
    if row["path"] is not None:
        return None if _same_file(row, digests) else "changed"
    key = str(row["blob_key"])
    try:
        if blobs.size(key) != row["size"]:
            return "damaged"
        if digests and _digest(blobs.stream(key)) != row["digest"]:
            return "damaged"
    except (NotFound, Unavailable):
        return "missing"
    return None


def _same_file(row: Row, digests: bool) -> bool:
    try:
        status = Path(str(row["path"])).stat()
        if status.st_size != row["size"] or row["path_mtime_ns"] not in (None, status.st_mtime_ns):
            return False
        if not digests:
            return True
        with Path(str(row["path"])).open("rb", buffering=0) as file:
            return _digest(iter(lambda: file.read(CHUNK), b"")) == row["digest"]
    except OSError:
        return False


def _digest(pieces: Iterable[bytes]) -> str:
    digest = blake3()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _total(database: Database, source: str | None) -> int:
    with database.transaction() as sql:
        return int(str(sql.rows(_COUNT, {"source": source})[0]["total"]))


_OF_SOURCE: Final[LiteralString] = (
    "(%(source)s::text is null or s.key = %(source)s) and x.id > %(after)s "
    "and (%(ids)s::bigint[] is null or x.id = any(%(ids)s)) order by x.id limit %(limit)s"
)
_ROWS: Final[dict[str, LiteralString]] = {
    "instance": f"""
      select x.id, x.digest, x.size, x.blob_key, x.path, x.path_mtime_ns from hilum.instance x
      join hilum.source s on s.id = x.source_id where {_OF_SOURCE}
    """,
    "replaced_instance": f"""
      select x.id, x.digest, x.size, x.blob_key, x.path, null::bigint as path_mtime_ns from hilum.replaced_instance x
      join hilum.instance i on i.id = x.instance_id join hilum.source s on s.id = i.source_id
      where x.blob_key is not null and {_OF_SOURCE}
    """,
    "set_aside": f"""
      select x.id, x.digest, x.size, x.blob_key, x.path, null::bigint as path_mtime_ns from hilum.set_aside x
      join hilum.source s on s.id = x.source_id where {_OF_SOURCE}
    """,
    "bundle_file": f"""
      select x.id, x.digest, x.size, x.blob_key, null as path, null::bigint as path_mtime_ns from hilum.bundle_file x
      join hilum.study t on t.id = x.study_id join hilum.source s on s.id = t.source_id where {_OF_SOURCE}
    """,
}
_COUNT: Final[LiteralString] = """
  select coalesce(sum(t.num_instances), 0)
    + (select count(*) from hilum.set_aside a join hilum.source s on s.id = a.source_id
       where %(source)s::text is null or s.key = %(source)s)
    + (select count(*) from hilum.bundle_file) as total
  from hilum.study t join hilum.source s on s.id = t.source_id where %(source)s::text is null or s.key = %(source)s
"""
# An object of an instance lies in the folder of its study and series; the others are found by their key.
_NAMED: Final[LiteralString] = """
  with folder as materialized (
    select distinct split_part(key, '/', 1) as source, split_part(key, '/', 2) as study,
      split_part(key, '/', 3) as series
    from unnest(%(keys)s::text[]) key
  ), series as materialized (
    select se.id from folder join hilum.source s on s.key = folder.source
    join hilum.study t on t.source_id = s.id and t.study_instance_uid = folder.study
    join hilum.series se on se.study_id = t.id and se.series_instance_uid = folder.series
  )
  select i.blob_key as key from hilum.instance i
    where i.series_id in (select id from series) and i.blob_key = any(%(keys)s)
  union all select r.blob_key from hilum.replaced_instance r join hilum.instance i on i.id = r.instance_id
    where i.series_id in (select id from series) and r.blob_key = any(%(keys)s)
  union all select blob_key from hilum.bundle_file where blob_key = any(%(keys)s)
  union all select blob_key from hilum.set_aside where blob_key = any(%(keys)s)
  union all select key from hilum.doomed_object where key = any(%(keys)s)
"""
