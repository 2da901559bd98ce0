"""The addresses of STOW-RS (PS3.18 section 10.5)."""

from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb import stow
from hilum.imaging.dicomweb.accept import DICOM, DICOM_JSON, DICOM_XML, MediaRange, Offer, choose_or_refuse
from hilum.imaging.dicomweb.doors import JSON_OFFERS, Door, Ranges, Root, Source

_OFFERS: Final = (*JSON_OFFERS, Offer(DICOM_XML))
_TAKEN: Final = (
    Offer(DICOM, multipart=True),
    Offer(DICOM),
    Offer(DICOM_JSON, multipart=True),
    Offer(DICOM_XML, multipart=True),
)


async def store_instances(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root
) -> Response:
    """Store instances of any study (PS3.18 section 10.5)."""
    return await _store(request, archive, ranges, source, root, None)


async def store_in_study(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, study: str
) -> Response:
    """Store instances of one study; those of another are refused."""
    return await _store(request, archive, ranges, source, root, study)


async def _store(
    request: Request, archive: TheArchive, ranges: list[MediaRange], source: str, root: str, study: str | None
) -> Response:
    media_type = choose_or_refuse(ranges, _OFFERS).media_type
    stored = await stow.store(request, archive, source, study, root)
    return Response(stored.body(media_type), stored.status, {"Cache-Control": "no-store"}, media_type)


DOORS: Final = (
    Door("POST", "/studies", store_instances, _OFFERS, _TAKEN),
    Door("POST", "/studies/{study}", store_in_study, _OFFERS, _TAKEN),
)
