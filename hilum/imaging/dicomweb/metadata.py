"""WADO-RS metadata (PS3.18 section 10.4): the DICOM JSON of every instance of a series, made from the headers once for
a version of the series - a moment after it arrived, else when it is first asked for -, kept compressed, and handed on
as it lies to all who take gzip. As XML it is made on demand."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from hilum.core.database import Database, Transaction
from hilum.core.errors import HilumError
from hilum.imaging.archive.models import SeriesMetadata
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.dataset import DataSet
from hilum.imaging.dicom.dicom_json import dataset_json, read_data_set
from hilum.imaging.dicom.dicom_xml import dataset_xml
from hilum.imaging.dicom.header import Header
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
_MAKER_LOCK: Final = 4_845_114_006
_QUIET_SECONDS: Final = 5.0
_AT_ONCE: Final = 50
_BUSY: Final[LiteralString] = (
    "select exists(select from (select time from hilum.event order by id desc limit 1) last "
    "where time > now() - make_interval(secs => %s)) as busy"
)
_DUE: Final[LiteralString] = """
  select se.id, se.series_instance_uid, se.version, st.study_instance_uid, so.key
  from hilum.series se join hilum.study st on st.id = se.study_id join hilum.source so on so.id = st.source_id
  where se.metadata_version < se.version and st.deleted_at is null
    and st.updated_at < now() - make_interval(secs => %(quiet)s)
  order by se.id limit %(limit)s
"""
_Form = Callable[[DataSet, Header, str, dict[str, object]], bytes]


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
    """What metadata is asked of: the instances that a path names (one, or those of holdings), else its series.

    Attributes
    ----------
    etag : str
        What changes whenever the metadata does.
    """

    target: Target
    root: str
    rows: Sequence[Row]
    etag: str

    @property
    def kept(self) -> bool:
        """Whether it is kept, series by series."""
        return self.target.instance is None and self.target.holdings is None


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
        if target.instance or target.holdings:
            rows = find_instances(connection, target)
            versions = [str(row["digest"]) for row in rows]
        else:
            rows = find_series(connection, target)
            versions = [f"{row['id']}-{row['version']}" for row in rows]
    etag = blake2b("\n".join((_VERSION, root, *versions)).encode(), digest_size=16).hexdigest()
    return Found(target, root, rows, etag)


def metadata(archive: Archive, found: Found) -> Metadata:
    """The metadata of what was found; raises a ``HilumError`` when no instance of it can be read."""
    if not found.kept:
        return _made(archive, found.rows, found.root)
    parts = [_of_series(archive, found.target, row, found.root) for row in found.rows]
    if len(parts) == 1:
        return parts[0]
    bodies = (part.plain[1:-1] for part in parts)
    return Metadata(b"".join(gzip.compressed(_array(bodies))), all(part.complete for part in parts))


@dataclass(slots=True)
class Documents:
    """The metadata of instances as documents of the Native DICOM Model, made one by one.

    Attributes
    ----------
    found : Found
        What was asked of.
    complete : bool
        Whether none had to be left out so far.
    """

    archive: Archive
    found: Found
    complete: bool = True

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """The URL of each instance and its document; raises a ``HilumError`` when none can be read."""
        with self.archive.database.connect() as connection:
            rows = find_instances(connection, self.found.target)
        failures: list[HilumError] = []
        for row, document in _documents(self.archive, rows, self.found.root, _as_xml, failures):
            yield instance_url(self.found.root, row), document
        self.complete = not failures


def make_due(archive: Archive, *, seconds: float, quiet_seconds: float = _QUIET_SECONDS) -> int:
    """Make the metadata of series that have changed; one process at a time does it.

    While something arrives, only a tenth of the time is taken.

    Parameters
    ----------
    archive : Archive
        Where the series are, and where their metadata is kept.
    seconds : float
        For how long; the series that was begun is made to its end.
    quiet_seconds : float
        Series of studies that changed since are left for the next time.

    Returns
    -------
    int
        How many series were made.
    """
    made = 0
    with archive.database.transaction() as lock:
        if not lock.rows("select pg_try_advisory_xact_lock(%s) as mine", (_MAKER_LOCK,))[0]["mine"]:
            return 0
        if lock.rows(_BUSY, (quiet_seconds,))[0]["busy"]:
            seconds /= 10
        deadline = time.monotonic() + seconds
        while due := _due(archive.database, quiet_seconds):
            for series in due:
                _make_beforehand(archive, series)
                made += 1
                if time.monotonic() > deadline:
                    return made
    return made


def _due(database: Database, quiet_seconds: float) -> Sequence[Row]:
    with database.transaction() as sql:
        return cast("Sequence[Row]", sql.rows(_DUE, {"quiet": quiet_seconds, "limit": _AT_ONCE}))


def _make_beforehand(archive: Archive, series: Row) -> None:
    """Make and keep the metadata of a series; one that cannot be made whole is left to whoever asks for it."""
    root = _likely_root(archive, series["key"])
    try:
        _of_series(archive, Target(series["key"], series["study_instance_uid"]), series, root)
    except HilumError as error:
        log.info("metadata.not_made", series=series["id"], problem=type(error).__name__)
    with archive.database.transaction() as sql:
        _settle(sql, series)


def _settle(sql: Transaction, series: Row) -> None:
    sql.rows("update hilum.series set metadata_version = %s where id = %s", (series["version"], series["id"]))


def _likely_root(archive: Archive, source: str) -> str:
    """The base URL that clients will use; empty where only their requests will tell."""
    public = archive.settings.public_url.rstrip("/")
    if not public:
        return ""
    return f"{public}/dicom-web" if source == "default" else f"{public}/sources/{source}/dicom-web"


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
    renamed = Metadata(gzip.compress(kept.plain.replace(_bulk(row.base_url), _bulk(root))))
    if not row.base_url:  # made before anybody had asked
        _keep(database, series, root, renamed.compressed)
    return renamed


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
    objects = (body for _, body in _documents(archive, rows, root, _as_json, failures))
    return Metadata(gzip.compress_to_keep(_array(objects)), complete=not failures)


def _documents(
    archive: Archive, rows: Sequence[Row], root: str, form: _Form, failures: list[HilumError]
) -> Iterator[tuple[Row, bytes]]:
    """What is told of each instance, in some form; what cannot be read goes to the failures, which are raised if they
    leave nothing."""
    for row in rows:
        try:
            with opened_instance(archive.blobs, row, header_only=True) as (file, header):
                data = read_data_set(file, header)
                changes = _identity(row) | metadata_changes(file, header)
            document = form(data, header, f"{instance_url(root, row)}/bulkdata", changes)
        except HilumError as error:
            log.warning("metadata.left_out", instance=row["id"], problem=type(error).__name__)
            failures.append(error)
        else:
            yield row, document
    if len(failures) == len(rows):
        raise failures[0]


def _as_json(data: DataSet, header: Header, url: str, changes: dict[str, object]) -> bytes:
    found = dataset_json(data, header, url)
    return _changed(found, changes) if changes else found


def _as_xml(data: DataSet, header: Header, url: str, changes: dict[str, object]) -> bytes:
    replaced: dict[int, tuple[str, Sequence[str]]] = {}
    for tag, change in changes.items():
        given = cast("dict[str, object]", change)
        values = cast("Sequence[object]", given.get("Value", ()))
        replaced[int(tag, 16)] = str(given["vr"]), [str(value) for value in values]
    return dataset_xml(data, header, url, changes=replaced)


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
