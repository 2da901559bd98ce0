"""STOW-RS (PS3.18 section 10.5): instances that are streamed part by part into the archive's one way in, and an answer
that tells of each what became of it. Nothing is acknowledged before it is durable."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread
import msgspec
from fastapi import Request
from starlette.requests import ClientDisconnect

from hilum.core.errors import Unsupported
from hilum.imaging.archive.catalogue import Outcome, SourceRef
from hilum.imaging.archive.store import Archive, Batch
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.header import Header, NotDicom
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicomweb import multipart
from hilum.imaging.dicomweb.accept import DICOM, RELATED, parse_media_type
from hilum.imaging.dicomweb.matching import check_path_uid
from hilum.imaging.dicomweb.problems import BadRequest

BATCH_INSTANCES: Final = 500
BATCH_BYTES: Final = 1 << 30
"""An instance is kept whole or not at all; so many of one request become durable together."""
BLOCK: Final = 1 << 20
MAX_AT_ONCE: Final = 16
"""Uploads have threads of their own: however many are slow, reading goes on."""

# Failure and warning reasons (PS3.18 annex I.2, PS3.7 annex C).
CANNOT_UNDERSTAND: Final = 0xC000
OTHER_STUDY: Final = 0xA900
DUPLICATE: Final = 0x0111
_REASONS: Final[Mapping[str, int]] = {
    "other_study": OTHER_STUDY,
    "sop_instance_uid_taken": DUPLICATE,
    "replacement_rejected": DUPLICATE,
}
_MAX_COMMENT: Final = 64

Bodies = Iterator[Iterator[bytes]]
Json = dict[str, object]

_encode = msgspec.json.Encoder().encode
_uploads: Final = anyio.CapacityLimiter(MAX_AT_ONCE)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a request.

    Attributes
    ----------
    status : int
        200 when all was stored, 202 when some was or there is something to tell of it, 409 when nothing was.
    body : bytes
        The Store Instances Response (PS3.18 section 10.5.3.3) in DICOM JSON.
    """

    status: int
    body: bytes


async def store(request: Request, archive: Archive, source: str, study: str | None, root: str) -> Stored:
    """Store the instances of a request, holding no more of its body than a block of 1 MiB.

    Parameters
    ----------
    request : Request
        ``multipart/related`` with parts of ``application/dicom``, or a single ``application/dicom``.
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
        The body is no multipart body, is cut short, or holds no part.
    Unsupported
        The media type is none that can be stored.
    TooLarge, OutOfSpace
        An instance is over the limit, or the disk is full. What had been acknowledged in the catalogue before stays.
    """
    if study is not None:
        check_path_uid(study)
    boundary = _boundary(request.headers)
    stream = request.stream()

    def blocks() -> Iterator[bytes]:
        while block := anyio.from_thread.run(_block, stream):
            yield block

    def work() -> Stored:
        bodies = _single(blocks()) if boundary is None else (p.chunks for p in multipart.read_parts(blocks(), boundary))
        upload = _Upload(archive, archive.source(source), study)
        upload.take(bodies)
        return upload.answer(root)

    try:
        return await anyio.to_thread.run_sync(work, limiter=_uploads)
    except ClientDisconnect as error:
        raise BadRequest("The connection ended before the request did.") from error


def _boundary(headers: Mapping[str, str]) -> bytes | None:
    """The boundary of a multipart request, None for a single instance."""
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Unsupported("Send the body without a content coding.")
    given = headers.get("content-type", "")
    if not given:
        raise Unsupported(_TAKEN)
    media_type, parameters = parse_media_type(given)
    if media_type == DICOM:
        return None
    if media_type != RELATED or parameters.get("type", DICOM).strip().lower() != DICOM:
        raise Unsupported(_TAKEN)
    return multipart.check_boundary(parameters.get("boundary"))


_TAKEN: Final = 'Send multipart/related; type="application/dicom", or one instance as application/dicom.'


async def _block(stream: AsyncIterator[bytes]) -> bytes:
    """The next stretch of a body, gathered from the small pieces of a socket; empty at the end."""
    pieces: list[bytes] = []
    size = 0
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size >= BLOCK:
            break
    return b"".join(pieces)


def _single(blocks: Iterator[bytes]) -> Bodies:
    first = next(blocks, b"")
    if first:
        yield _joined(first, blocks)


def _joined(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


class _OtherStudy(Exception):
    """The instance belongs to another study than the path names."""


class _Upload:
    """One request on its way in, and what is known of its instances; they are called by their number."""

    def __init__(self, archive: Archive, source: SourceRef, study: str | None) -> None:
        self._archive = archive
        self._source = source
        self._study = study
        self._identities: dict[str, tuple[str, str]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._names = (str(number) for number in count(1))

    def take(self, bodies: Bodies) -> None:
        """Store the bodies, as many at a time as a batch may hold."""
        more = True
        while more:
            with self._archive.batch(self._source, "stow") as batch:
                more = self._fill(batch, bodies)
                if len(batch):
                    self._outcomes.update((outcome.name, outcome) for outcome in batch.commit().outcomes)

    def answer(self, root: str) -> Stored:
        """Tell of every instance what became of it.

        Raises
        ------
        BadRequest
            There was none.
        """
        if not self._outcomes:
            raise BadRequest("The request holds no instance.")
        outcomes = sorted(self._outcomes.values(), key=lambda outcome: int(outcome.name))
        stored = [outcome for outcome in outcomes if outcome.state != "set_aside"]
        failed = [outcome for outcome in outcomes if outcome.state == "set_aside"]
        body: Json = {}
        studies = {outcome.study_instance_uid for outcome in stored} or {self._study or ""}
        if len(studies) == 1 and "" not in studies:
            body["00081190"] = element("UR", f"{root}/studies/{studies.pop()}")
        if failed:
            body["00081198"] = element("SQ", *(self._failure(outcome) for outcome in failed))
        if stored:
            body["00081199"] = element("SQ", *(_success(outcome, root) for outcome in stored))
        clean = not failed and all(outcome.state != "replaced" for outcome in stored)
        return Stored(200 if clean else 202 if stored else 409, _encode(body))

    def _fill(self, batch: Batch, bodies: Bodies) -> bool:
        """Fill a batch; false when the last body is in it."""
        size = 0

        def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield chunk

        for body in bodies:
            name = next(self._names)
            try:
                batch.add(name, counted(body), lambda header, name=name: self._inspect(name, header))
            except NotDicom as error:
                self._outcomes[name] = Outcome(name, "set_aside", error.code, str(error))
            except _OtherStudy:
                reason = "It belongs to another study than the path names."
                self._outcomes[name] = Outcome(name, "set_aside", "other_study", reason)
            if len(batch) >= BATCH_INSTANCES or size >= BATCH_BYTES:
                return True
        return False

    def _inspect(self, name: str, header: Header) -> None:
        uids = header.first("SOPClassUID"), header.first("SOPInstanceUID")
        self._identities[name] = (uids[0] if check_uid(uids[0]) else "", uids[1] if check_uid(uids[1]) else "")
        if self._study is not None and header.first("StudyInstanceUID") != self._study:
            raise _OtherStudy

    def _failure(self, outcome: Outcome) -> Json:
        """An item of Failed SOP Sequence (0008,1198); the comment in Failed Attributes Sequence is for people."""
        sop_class, sop_instance = self._identities.get(outcome.name, ("", ""))
        return {
            "00081150": element("UI", outcome.sop_class_uid or sop_class),
            "00081155": element("UI", outcome.sop_instance_uid or sop_instance),
            "00081197": element("US", _REASONS.get(outcome.code, CANNOT_UNDERSTAND)),
            "00741048": element("SQ", {"00000902": element("LO", outcome.reason[:_MAX_COMMENT])}),
        }


def _success(outcome: Outcome, root: str) -> Json:
    """An item of Referenced SOP Sequence (0008,1199), with a Warning Reason where other bytes were replaced."""
    url = (
        f"{root}/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
        f"/instances/{outcome.sop_instance_uid}"
    )
    item: Json = {
        "00081150": element("UI", outcome.sop_class_uid),
        "00081155": element("UI", outcome.sop_instance_uid),
        "00081190": element("UR", url),
    }
    if outcome.state == "replaced":
        item["00081196"] = element("US", DUPLICATE)
    return dict(sorted(item.items()))
