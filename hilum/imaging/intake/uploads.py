"""Uploads over HTTP: the parts of a multipart form stream into objects as they arrive, and a job imports them once all
are durable. A part is a DICOM file or a zip bundle, decided by its content; its file name is only what to call it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from uuid import uuid4

import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from hilum.core.blobs import BlobGroup, BlobItem
from hilum.core.errors import Invalid, TooLarge, Unsupported
from hilum.core.jobs import Jobs
from hilum.core.progress import Progress
from hilum.imaging.archive.catalogue import SourceRef
from hilum.imaging.archive.store import CHUNK, Archive
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.bundle import import_bundle, is_zip_head
from hilum.imaging.intake.tally import Tally

KIND: Final = "upload"
MAX_FIELD_BYTES: Final = 1024
MAX_FILES: Final = 5000
MAX_NAME: Final = 1024
_GROUP_FILES: Final = 100


@dataclass(slots=True)
class _Part:
    name: str = ""
    filename: str | None = None
    item: BlobItem | None = None
    value: bytes = b""
    key: str = ""


class _Form:
    """Receives the parser's callbacks: file parts go to objects, short fields to memory."""

    def __init__(self, group: BlobGroup, boundary: bytes, limit: int) -> None:
        self.files: list[tuple[str, str]] = []
        self.fields: dict[str, str] = {}
        self._group = group
        self._folder = f"uploads/{uuid4().hex}"
        self._limit = limit
        self._received = 0
        self._part = _Part()
        self._header = (bytearray(), bytearray())
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received > self._limit:
            raise TooLarge(f"The upload is larger than HILUM_MAX_UPLOAD_BYTES ({self._limit} bytes).")
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise Invalid("The multipart form cannot be read.") from error

    def finish(self) -> None:
        if not self._ended:
            raise Invalid("The upload ended before its form did; send it again.")
        if not self.files:
            raise Invalid("The form holds no file; send DICOM files or a zip as parts named 'files'.")

    def _begin(self) -> None:
        self._part = _Part()
        self._header = (bytearray(), bytearray())

    def _header_end(self) -> None:
        name, value = bytes(self._header[0]).lower(), bytes(self._header[1])
        self._header = (bytearray(), bytearray())
        if name == b"content-disposition":
            _, options = parse_options_header(value)
            self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self._part.filename = options[b"filename"].decode("utf-8", "replace")[-MAX_NAME:]

    def _headers_finished(self) -> None:
        if self._part.filename is None:
            return
        if len(self.files) >= MAX_FILES:
            raise TooLarge(f"One upload takes at most {MAX_FILES} files; send the rest in another, or as a zip.")
        self._part.item = self._group.create()
        self._part.key = f"{self._folder}/{len(self.files)}"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.item is not None:
            self._part.item.write(memoryview(data)[start:end])
        elif len(self._part.value) + end - start > MAX_FIELD_BYTES:
            raise TooLarge("A field of the form is too long.")
        else:
            self._part.value += data[start:end]

    def _part_end(self) -> None:
        if self._part.item is None:
            self.fields[self._part.name] = self._part.value.decode("utf-8", "replace")
        else:
            self._part.item.finish(self._part.key)
            self.files.append((self._part.key, self._part.filename or f"part {len(self.files) + 1}"))

    def _end(self) -> None:
        self._ended = True


async def receive(
    archive: Archive, jobs: Jobs, content_type: str, length: int | None, stream: AsyncIterator[bytes]
) -> int:
    """Take an upload and queue its import.

    Parameters
    ----------
    archive, jobs
        Where it goes.
    content_type
        Of the request; ``multipart/form-data`` with its boundary.
    length
        Of the request's body, when the client says so.
    stream
        The body.

    Returns
    -------
    int
        The job's id; by then every byte of the upload is on disk.

    Raises
    ------
    Invalid
        The form is broken, holds no file, or a field that is not known.
    NotFound
        There is no such source.
    TooLarge
        The upload is over the limit; said before the body is read when the client tells its length.
    Unsupported
        It is not a multipart form.
    """
    media_type, options = parse_options_header(content_type)
    limit = archive.settings.max_upload_bytes
    if media_type != b"multipart/form-data" or not options.get(b"boundary"):
        raise Unsupported("Send the files as multipart/form-data, in parts named 'files'.")
    if length is not None and length > limit:
        raise TooLarge(f"The upload is larger than HILUM_MAX_UPLOAD_BYTES ({limit} bytes).")
    with archive.blobs.group() as group:
        form = _Form(group, options[b"boundary"], limit)
        async for chunk in _coalesced(stream):
            await anyio.to_thread.run_sync(form.write, chunk)
        form.finish()
        return await anyio.to_thread.run_sync(_queue, archive, jobs, group, form)


def _queue(archive: Archive, jobs: Jobs, group: BlobGroup, form: _Form) -> int:
    unknown = sorted(set(form.fields) - {"source"})
    if unknown:
        raise Invalid(f"The form has a field that is not known: {', '.join(unknown)}.")
    source = archive.source(form.fields.get("source") or "default")
    group.commit()
    title = f"Upload of {len(form.files)} file{'s' if len(form.files) != 1 else ''}"
    with archive.database.transaction() as transaction:
        return jobs.defer(transaction, KIND, title, source.key, files=form.files)


async def _coalesced(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather the small pieces of a socket into chunks worth a thread's while."""
    pieces: list[bytes] = []
    size = 0
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def import_upload(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    """Import the parts of an upload, then drop them; run by a worker, perhaps more than once."""
    source = archive.source(str(arguments["source"]))
    files = [(key, name) for key, name in cast("Sequence[tuple[str, str]]", arguments["files"])]
    present = [(key, name) for key, name in files if archive.blobs.exists(key)]
    tally = Tally(progress)
    progress.expect(len(present))
    for start in range(0, len(present), _GROUP_FILES):
        _import_group(archive, source, present[start : start + _GROUP_FILES], tally)
    archive.blobs.delete([key for key, _ in files])


def _import_group(archive: Archive, source: SourceRef, files: Sequence[tuple[str, str]], tally: Tally) -> None:
    zips: list[tuple[str, str]] = []
    with archive.batch(source, "upload") as batch:
        for key, name in files:
            if is_zip_head(archive.blobs.read(key, 0, 4)):
                zips.append((key, name))
                continue
            try:
                batch.add(name, archive.blobs.stream(key))
            except NotDicom as error:
                tally.skip(error.code, name)
        if len(batch):
            tally.written(batch.commit())
    for key, name in zips:
        with archive.blobs.open(key) as file:
            import_bundle(archive, source, name, file, tally)
