"""A version is written to a folder or a bucket. A file that is there already, whole, is not written again, so that an
export which was interrupted goes on; one is put in its place only when it is whole."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from blake3 import blake3

from hilum.core.blobs import Blobs
from hilum.core.blobs.bucket import SCHEMES, open_bucket
from hilum.core.blobs.remote import RemoteBlobs
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.assemble import assemble
from hilum.research.datasets.build import assembly, workplace
from hilum.research.datasets.definition import LayoutName
from hilum.research.datasets.delete import in_use, litter, tidy
from hilum.research.datasets.outputs import CHUNK, OutFile, files_of
from hilum.research.datasets.site_key import site_keys
from hilum.research.datasets.versions import check_given_out, version_by_id

_PART: Final = ".hilum-part"
_AT_ONCE: Final = 64


class Bar(Protocol):
    """What shows how far an export is."""

    def __call__(self, done: int, total: int | None) -> None: ...


@dataclass(slots=True)
class Exported:
    """What an export came to: files written and unchanged, and bytes written."""

    files: int = 0
    unchanged: int = 0
    bytes: int = 0
    left_out: dict[str, int] = field(default_factory=dict[str, int])


def export_version(
    archive: Archive, version_id: int, own: LayoutName, target: str, layout: LayoutName, bar: Bar
) -> Exported:
    """Write a version.

    Parameters
    ----------
    archive
        Where its files are.
    version_id, own
        Hilum's id of the version, and the layout that it has.
    target
        A folder, or ``s3://bucket/prefix``, ``gs://``, ``az://``.
    layout
        The one to write; another than its own is made now.
    bar
        Shows how far it is.

    Raises
    ------
    Conflict
        Something else lies where a file belongs, or the version is not published.
    Invalid
        The target is none.
    """
    done = Exported()
    with ExitStack() as stack:
        stack.enter_context(in_use(archive.database, version_id))
        with archive.database.connect() as connection:
            check_given_out(version_by_id(connection, version_id))
        if layout == own:
            files: Sequence[OutFile] = files_of(archive.database, version_id)
        else:
            folder = stack.enter_context(workplace(archive))
            work = assembly(archive, version_id, layout, site_keys(archive.database, archive.settings), folder)
            assemble(work)
            files, done.left_out = work.outputs.files, work.unplaced
            stack.callback(litter, archive.database, [one.blob_key for one in files])
        writer = _writer(archive, target)
        # Last what tells that all of it is there.
        for number, file in enumerate(sorted(files, key=lambda one: one.path == "manifest.json"), 1):
            if writer.has(file):
                done.unchanged += 1
            else:
                writer.write(archive.blobs, file)
                done.files += 1
                done.bytes += file.size
            bar(number, len(files))
        writer.end()
    if layout != own:
        tidy(archive.database, archive.blobs)
    return done


class _Writer(Protocol):
    def has(self, file: OutFile) -> bool: ...
    def write(self, blobs: Blobs, file: OutFile) -> None: ...
    def end(self) -> None: ...


def _writer(archive: Archive, target: str) -> _Writer:
    scheme = urlsplit(target).scheme
    if scheme in SCHEMES:
        bucket = open_bucket(target, archive.settings.export_options.get_secret_value())
        bucket.check()
        return _Bucket(RemoteBlobs(bucket, archive.settings.data_path / "spool"))
    if scheme and "://" in target:
        raise Invalid(
            "An export goes to a folder, or to s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."
        )
    return _Folder(Path(target).expanduser().absolute())


class _Folder:
    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise Conflict(f"{root} is no folder.")
        root.mkdir(parents=True, exist_ok=True)
        self._root: Final = root.resolve()
        self._touched: set[Path] = set()

    def has(self, file: OutFile) -> bool:
        path = self._root / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        digest = blake3()
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == file.digest

    def write(self, blobs: Blobs, file: OutFile) -> None:
        path = self._root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.resolve().is_relative_to(self._root):
            raise Conflict(f"A link in {self._root} leads out of it.")
        part = path.with_name(path.name + _PART)
        with part.open("wb") as stream:
            for chunk in blobs.stream(file.blob_key):
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
        self._touched.add(path.parent)

    def end(self) -> None:
        for folder in self._touched:
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class _Bucket:
    """Objects are put some at a time; what is there with the right size is taken for what was put before."""

    def __init__(self, remote: RemoteBlobs) -> None:
        self._remote: Final = remote
        self._waiting: list[tuple[Blobs, OutFile]] = []

    def has(self, file: OutFile) -> bool:
        try:
            return file.path != "manifest.json" and self._remote.size(file.path) == file.size
        except NotFound:
            return False

    def write(self, blobs: Blobs, file: OutFile) -> None:
        if file.path == "manifest.json":
            self._put()
        self._waiting.append((blobs, file))
        if len(self._waiting) >= _AT_ONCE:
            self._put()

    def _put(self) -> None:
        with self._remote.group() as group:
            for blobs, file in self._waiting:
                item = group.create()
                for chunk in blobs.stream(file.blob_key):
                    item.write(chunk)
                item.finish(file.path)
            group.commit()
        self._waiting = []

    def end(self) -> None:
        self._put()
        self._remote.close()
