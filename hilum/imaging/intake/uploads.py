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
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.companions import set_aside
from hilum.imaging.archive.identity import Place
from hilum.imaging.archive.patients import Chosen, check_patient
from hilum.imaging.archive.store import CHUNK, Archive
from hilum.imaging.dicom.header import NotDicom
from hilum.imaging.intake.bundle import import_bundle, is_zip_head
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.imaging.intake.wrap import MAX_IMAGE_BYTES, CannotWrap, Wrap, is_wrappable, make_wrap

KIND: Final = "upload"
MAX_FIELD_BYTES: Final = 1024
MAX_FILES: Final = 5000
MAX_NAME: Final = 1024
STUDY_FIELDS: Final = ("study_instance_uid", "study_date", "study_description", "patient_name")
FIELDS: Final = {"source", "patient_id", "person_id", "modality", "wrap_pdf", *STUDY_FIELDS}
INCOMPLETE: Final = "Some of the zip could not be taken; the job tells what. It is kept whole."
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
    unknown = sorted(set(form.fields) - FIELDS)
    if unknown:
        raise Invalid(f"The form has a field that is not known: {', '.join(unknown)}.")
    source = archive.source(form.fields.get("source") or "default")
    _manner(source, form.fields)
    group.commit()
    title = f"Upload of {len(form.files)} file{'s' if len(form.files) != 1 else ''}"
    with archive.database.transaction() as transaction:
        return jobs.defer(transaction, KIND, title, source.key, files=form.files, fields=form.fields)


def _manner(source: SourceRef, fields: Mapping[str, str]) -> Manner:
    """How an upload is to be taken: whose it is, and the study of images in it, where a person named them.

    Raises
    ------
    Invalid
        A value is not of its kind, or a study is named without a patient.
    """
    patient_id, person_id = fields.get("patient_id", ""), fields.get("person_id", "")
    if person_id and not (person_id.isdecimal() and len(person_id) < 19):
        raise Invalid("person_id is a number.")
    study = {name: fields[name] for name in STUDY_FIELDS if fields.get(name)}
    pdf = fields.get("wrap_pdf", "").lower() in ("true", "1", "yes")
    wrap = make_wrap(patient_id, pdf=pdf, modality=fields.get("modality", ""), **study) if study else None
    if wrap is None and (pdf or fields.get("modality")):
        raise Invalid("To wrap images, name their study: its UID, or its date or description.")
    chosen = None
    if patient_id or person_id:
        chosen = Chosen(check_patient(patient_id) if patient_id else None, int(person_id) if person_id else None)
    return Manner(source, False, "upload", chosen, wrap)


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
    manner = _manner(source, cast("Mapping[str, str]", arguments.get("fields") or {}))
    files = [(key, name) for key, name in cast("Sequence[tuple[str, str]]", arguments["files"])]
    present = [(key, name) for key, name in files if archive.blobs.exists(key)]
    tally = Tally(progress)
    progress.expect(len(present))
    for start in range(0, len(present), _GROUP_FILES):
        _import_group(archive, manner, present[start : start + _GROUP_FILES], tally)
    archive.blobs.delete([key for key, _ in files])


def _import_group(archive: Archive, manner: Manner, files: Sequence[tuple[str, str]], tally: Tally) -> None:
    zips: list[tuple[str, str]] = []
    with archive.batch(manner.source, "upload", manner.chosen) as batch:
        for key, name in files:
            head = archive.blobs.read(key, 0, 16)
            if is_zip_head(head):
                zips.append((key, name))
                continue
            try:
                if manner.wrap and is_wrappable(head, manner.wrap):
                    batch.add(name, [_wrapped(archive, manner.wrap, key, name, manner.source.key)])
                else:
                    folder = name.replace("\\", "/").rpartition("/")[0]
                    batch.add(name, archive.blobs.stream(key), place=Place(key.rpartition("/")[0], folder))
            except CannotWrap as error:
                tally.skip(error.code, name, str(error))
            except NotDicom as error:
                tally.skip(error.code, name)
        if len(batch):
            tally.written(batch.commit())
    for key, name in zips:
        with archive.blobs.open(key) as file:
            whole = import_bundle(archive, manner, name, file, tally)
        if not whole:
            set_aside(archive, manner.source, "upload", name, archive.blobs.stream(key), "incomplete_zip", INCOMPLETE)


def _wrapped(archive: Archive, wrap: Wrap, key: str, name: str, source: str) -> bytes:
    size = archive.blobs.size(key)
    from hilum.imaging.intake.secondary_capture import wrap_image

    if size > MAX_IMAGE_BYTES:
        raise CannotWrap("too_large", "The image is too large to be wrapped.")
    return wrap_image(archive.blobs.read(key, 0, size), name, wrap, source)
