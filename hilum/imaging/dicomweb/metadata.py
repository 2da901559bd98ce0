"""WADO-RS metadata (PS3.18 section 10.4): the DICOM JSON of every instance of a series, made from the headers once for
a version of the series, kept compressed, and handed on as it lies to all who take gzip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from hilum.core.database import Database
from hilum.core.errors import HilumError
from hilum.imaging.archive.models import SeriesMetadata
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.dicom_json import dataset_json, read_data_set
from hilum.imaging.dicomweb import gzip
from hilum.imaging.dicomweb.corrections import metadata_changes
from hilum.imaging.dicomweb.resources import Target, find_instances, find_series, instance_url

log = structlog.get_logger()

_VERSION: Final = "2"
"""Of the way metadata is made: another whenever it comes out otherwise. Then a migration empties what is kept."""
_IDENTITY: Final = {
    "00080016": "sop_class_uid",
    "00080018": "sop_instance_uid",
    "0020000D": "study_instance_uid",
    "0020000E": "series_instance_uid",
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """Metadata that is ready to be sent.

    Attributes
    ----------
    compressed : bytes
        A JSON array, gzip.
    complete : bool
        Whether no instance had to be left out because its bytes are gone or damaged.
    """

    compressed: bytes
    complete: bool = True

    @property
    def plain(self) -> bytes:
        """The JSON array itself."""
        return gzip.decompress(self.compressed)


@dataclass(frozen=True, slots=True)
class Found:
    """What metadata is asked of: the one instance that a path names, or its series.

    Attributes
    ----------
    etag : str
        What changes whenever the metadata does.
    """

    target: Target
    root: str
    rows: Sequence[Row]
    etag: str


def look_up(archive: Archive, target: Target, root: str) -> Found:
    """Find what metadata is asked of.

    Parameters
    ----------
    archive : Archive
        Where it is kept.
    target : Target
        A study, series or instance.
    root : str
        Base URL of the service, with which BulkDataURIs begin.

    Raises
    ------
    NotFound
        There is no such thing.
    """
    with archive.database.connect() as connection:
        if target.instance:
            rows = find_instances(connection, target)
            versions = [str(row["digest"]) for row in rows]
        else:
            rows = find_series(connection, target)
            versions = [f"{row['id']}-{row['version']}" for row in rows]
    etag = blake2b("\n".join((_VERSION, root, *versions)).encode(), digest_size=16).hexdigest()
    return Found(target, root, rows, etag)


def metadata(archive: Archive, found: Found) -> Metadata:
    """The metadata of what was found; raises a ``HilumError`` when no instance of it can be read."""
    if found.target.instance:
        return _made(archive, found.rows, found.root)
    parts = [_of_series(archive, found.target, row, found.root) for row in found.rows]
    if len(parts) == 1:
        return parts[0]
    bodies = (part.plain[1:-1] for part in parts)
    return Metadata(gzip.compress_to_keep(_array(bodies)), all(part.complete for part in parts))


def _of_series(archive: Archive, target: Target, series: Row, root: str) -> Metadata:
    kept = _kept(archive.database, series, root)
    if kept is not None:
        return kept
    # The version was read before the instances: should one arrive in between, what is made here counts as outdated.
    wanted = Target(target.source, target.study, series["series_instance_uid"])
    with archive.database.connect() as connection:
        rows = find_instances(connection, wanted)
    made = _made(archive, rows, root)
    if made.complete:
        _keep(archive.database, series, root, made.compressed)
    return made


def _kept(database: Database, series: Row, root: str) -> Metadata | None:
    with database.connect() as connection:
        row = connection.execute(
            sa.select(SeriesMetadata.base_url, SeriesMetadata.body).where(
                SeriesMetadata.series_id == series["id"], SeriesMetadata.version == series["version"]
            )
        ).first()
    if row is None:
        return None
    kept = Metadata(row.body)
    if row.base_url == root:
        return kept
    # Asked for under another name of this server: inside a text the quotes would stand escaped.
    plain = kept.plain.replace(_bulk(row.base_url), _bulk(root))
    return Metadata(gzip.compress(plain))


def _keep(database: Database, series: Row, root: str, body: bytes) -> None:
    values = {"series_id": series["id"], "version": series["version"], "base_url": root, "body": body}
    statement = insert(SeriesMetadata).values(values)
    newer = statement.on_conflict_do_update(
        index_elements=["series_id"],
        set_={name: statement.excluded[name] for name in ("version", "base_url", "body")},
        where=SeriesMetadata.version <= statement.excluded.version,
    )
    try:
        with database.transaction() as transaction:
            transaction.connection.execute(newer)
    except IntegrityError:  # the series was deleted in the meantime
        log.info("metadata.not_kept", series=series["id"])


def _bulk(root: str) -> bytes:
    return f'"BulkDataURI":"{root}/studies/'.encode()


def _made(archive: Archive, rows: Sequence[Row], root: str) -> Metadata:
    """Make metadata from the headers. An instance that cannot be read is left out, unless that leaves none."""
    failures: list[HilumError] = []

    def objects() -> Iterator[bytes]:
        for row in rows:
            try:
                with opened_instance(archive.blobs, row) as (file, header):
                    data = read_data_set(file, header)
                    changes = _identity(row) | metadata_changes(file, header)
                found = dataset_json(data, header, f"{instance_url(root, row)}/bulkdata")
                yield _changed(found, changes) if changes else found
            except HilumError as error:
                log.warning("metadata.left_out", instance=row["id"], problem=type(error).__name__)
                failures.append(error)

    body = gzip.compress_to_keep(_array(objects()))
    if len(failures) == len(rows):
        raise failures[0]
    return Metadata(body, complete=not failures)


def _identity(row: Row) -> dict[str, object]:
    """The UIDs that the catalogue derived for an instance, which its bytes do not hold."""
    return {tag: element("UI", row[column]) for tag, column in _IDENTITY.items()} if row["derived"] else {}


def _changed(body: bytes, changes: dict[str, object]) -> bytes:
    """A data set's JSON with some elements in the place of its own."""
    return msgspec.json.encode(dict(sorted({**msgspec.json.decode(body), **changes}.items())))


def _array(bodies: Iterator[bytes]) -> Iterator[bytes]:
    """A JSON array in pieces, of objects that come in stretches without brackets."""
    separator = b"["
    for body in bodies:
        if body:
            yield separator
            yield body
            separator = b","
    yield b"]" if separator == b"," else b"[]"
