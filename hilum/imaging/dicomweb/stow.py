"""STOW-RS (PS3.18 section 10.5): instances that are streamed one by one into the archive's one way in, and an answer
that tells of each what became of it. Nothing is acknowledged before it is durable."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from itertools import chain, count
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from hilum.core.errors import HilumError, OutOfSpace, TooLarge
from hilum.imaging.archive.arrivals import Outcome, SourceRef
from hilum.imaging.archive.store import Archive, Batch
from hilum.imaging.dicom.header import Header, NotDicom, Truncated, Unreadable, scan
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicomweb.bodies import Body, Form, read_bodies, read_form
from hilum.imaging.dicomweb.matching import check_path_uid
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.store_answer import (
    DISCARDED,
    OTHER_CLASS,
    OUT_OF_SPACE,
    TOO_LARGE,
    Stored,
    Told,
    answer,
)

BATCH_INSTANCES: Final = 500
BATCH_BYTES: Final = 1 << 30
"""An instance is kept whole or not at all; so many of one request become durable together."""
BLOCK: Final = 1 << 20
MAX_AT_ONCE: Final = 16
"""Uploads have threads of their own: however many are slow, reading goes on."""

_UNKNOWN_SIZE: Final = 1 << 62

_uploads: Final = anyio.CapacityLimiter(MAX_AT_ONCE)


async def store(request: Request, archive: Archive, source: str, study: str | None, root: str) -> Stored:
    """Store the instances of a request, holding no more of its body than a block of 1 MiB.

    Parameters
    ----------
    request : Request
        ``multipart/related`` with instances, or with metadata and bulk data, or a single ``application/dicom``.
    archive : Archive
        Where they go.
    source : str
        Key of the source they belong to.
    study : str or None
        Study Instance UID that the path names; instances of any other are refused.
    root : str
        Base URL of the service.

    Raises
    ------
    BadRequest
        The body is no multipart body, is cut short, or holds no instance. What had been acknowledged in the catalogue
        before stays.
    Unsupported
        The media type is none that can be stored.
    TooLarge
        Metadata or bulk data is over its limit.
    """
    if study is not None:
        check_path_uid(study)
    form = read_form(request.headers)
    stream = request.stream()

    def blocks() -> Iterator[bytes]:
        while pieces := anyio.from_thread.run(_pieces, stream):
            yield from pieces

    def work() -> Stored:
        sender = request.client.host if request.client else ""
        upload = _Upload(archive, archive.source(source), study, sender)
        upload.take(form, blocks())
        return answer(upload.told(), root, study)

    try:
        return await anyio.to_thread.run_sync(work, limiter=_uploads)
    except ClientDisconnect as error:
        raise BadRequest("The connection ended before the request did.") from error


async def _pieces(stream: AsyncIterator[bytes]) -> list[bytes]:
    """The next pieces of a body as the socket gives them, for each turn to the event loop costs; none at the end. They
    are not joined: what is small is still in the processor's cache when it is parsed, hashed and written."""
    pieces: list[bytes] = []
    size = 0
    async for piece in stream:
        if piece:
            pieces.append(piece)
        size += len(piece)
        if size >= BLOCK:
            break
    return pieces


class _OtherStudy(Exception):
    """The instance belongs to another study than the path names."""


class _Upload:
    """One request on its way in, and what is known of its instances; they are called by their number."""

    def __init__(self, archive: Archive, source: SourceRef, study: str | None, sender: str) -> None:
        self._archive = archive
        self._source = source
        self._sender = sender
        self._study = study
        self._uids: dict[str, tuple[str, str]] = {}
        self._warnings: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._names = (str(number) for number in count(1))
        self._full = ""

    def take(self, form: Form, blocks: Iterator[bytes]) -> None:
        """Store the instances of a body, as many at a time as a batch may hold. Once the archive is full the rest is
        only looked at, so that the answer can name it."""
        limit = self._archive.settings.max_instance_bytes
        try:
            with closing(read_bodies(form, blocks, self._archive.blobs, limit)) as bodies:
                while self._take_batch(bodies):
                    pass
                for body in bodies:
                    name = next(self._names)
                    self._note(name, body)
                    self._no_space(name, next(body.chunks, b""))
        except OutOfSpace as error:  # not even bulk data can wait somewhere
            self._full = str(error)
            self._fail(next(self._names), OUT_OF_SPACE, self._full)
        for _ in blocks:  # the client still sends, and hears nothing before it has
            pass

    def told(self) -> list[Told]:
        """What became of each instance, in the order in which they came.

        Raises
        ------
        BadRequest
            There was none.
        """
        if not self._outcomes:
            raise BadRequest("The request holds no instance.")
        names = sorted(self._outcomes, key=int)
        return [Told(self._outcomes[n], *self._uids.get(n, ("", "")), self._warnings.get(n, 0)) for n in names]

    def _take_batch(self, bodies: Iterator[Body]) -> bool:
        """Fill and commit one batch; false when no other follows, for the bodies are through or the archive is full."""
        added: list[str] = []
        try:
            with self._archive.batch(self._source, "stow", sender=self._sender) as batch:
                more = self._fill(batch, bodies, added)
                if len(batch):
                    self._outcomes.update((outcome.name, outcome) for outcome in batch.commit().outcomes)
        except OutOfSpace as error:
            self._full = str(error)
            for name in added:
                self._fail(name, OUT_OF_SPACE, self._full)
            return False
        return more and not self._full

    def _fill(self, batch: Batch, bodies: Iterator[Body], added: list[str]) -> bool:
        """Fill a batch; false when the last body is in it."""
        size, first = 0, b""

        def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal size, first
            first = next(chunks, b"")
            for chunk in chain([first] if first else [], chunks):
                size += len(chunk)
                yield chunk

        for body in bodies:
            name = next(self._names)
            self._note(name, body)
            try:
                if body.problem:
                    raise body.problem
                batch.add(name, counted(body.chunks), lambda header, name=name: self._inspect(name, header))
                added.append(name)
            except (NotDicom, Unreadable) as error:
                self._fail(name, error.code, str(error))
            except _OtherStudy:
                self._fail(name, "other_study", "It belongs to another study than the path names.")
            except TooLarge as error:
                self._fail(name, TOO_LARGE, str(error))
            except OutOfSpace as error:
                self._full = str(error)
                self._no_space(name, first)
                return False
            if len(batch) >= BATCH_INSTANCES or size >= BATCH_BYTES:
                return True
        return False

    def _no_space(self, name: str, first: bytes) -> None:
        """Refuse an instance for which there is no space, by the UIDs that its first bytes tell."""
        with suppress(HilumError, NotDicom, Unreadable, Truncated, _OtherStudy):
            self._inspect(name, scan(first, _UNKNOWN_SIZE))
        self._fail(name, OUT_OF_SPACE, self._full)

    def _note(self, name: str, body: Body) -> None:
        if any(body.uids):
            self._keep_uids(name, *body.uids)
        if body.discarded:
            self._warnings[name] = DISCARDED

    def _keep_uids(self, name: str, sop_class: str, sop_instance: str) -> None:
        self._uids[name] = sop_class if check_uid(sop_class) else "", sop_instance if check_uid(sop_instance) else ""

    def _inspect(self, name: str, header: Header) -> None:
        said = header.first("SOPClassUID")
        self._keep_uids(name, said, header.first("SOPInstanceUID"))
        if header.first("MediaStorageSOPClassUID") not in ("", said):
            self._warnings[name] = OTHER_CLASS
        if self._study is not None and header.first("StudyInstanceUID") != self._study:
            raise _OtherStudy

    def _fail(self, name: str, code: str, reason: str) -> None:
        self._outcomes[name] = Outcome(name, "set_aside", code, reason)
