"""The addresses of what is rendered (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4): of studies, series, instances and
frames, and of instances that are named without their series, as some viewers do."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from hilum.imaging.archive.render import Look
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicom.viewport import Viewport
from hilum.imaging.dicomweb.accept import Offer
from hilum.imaging.dicomweb.doors import (
    INSTANCE,
    SERIES,
    STUDY,
    STUDY_INSTANCE,
    Door,
    Ranges,
    Root,
    TheInstance,
    TheSeries,
    TheStudy,
    TheStudyInstance,
)
from hilum.imaging.dicomweb.looks import parse_look, parse_thumbnail_size
from hilum.imaging.dicomweb.rendered import rendered
from hilum.imaging.dicomweb.renditions import DOCUMENTS, HTML, JPEG, PICTURES, PNG, TEXT
from hilum.imaging.dicomweb.thumbnails import thumbnail

_Accept = Annotated[str | None, Query(description="Media types, in the place of the Accept field.")]
_Viewport = Annotated[str | None, Query(description="width,height[,left,top,width,height]; less than 0 turns over.")]
_Size = Annotated[str | None, Query(description="width,height")]
_Window = Annotated[str | None, Query(description="center,width,linear or linear-exact or sigmoid")]


async def the_look(
    request: Request,
    accept: _Accept = None,
    annotation: Annotated[str | None, Query(description="Not drawn: refused.")] = None,
    charset: Annotated[str | None, Query(description="Of text; UTF-8.")] = None,
    iccprofile: Annotated[str | None, Query(description="yes, no or srgb.")] = None,
    quality: Annotated[str | None, Query(description="Of JPEG, 1 to 100.")] = None,
    viewport: _Viewport = None,
    window: _Window = None,
) -> Look:
    """Dependency: how the client wants to see it."""
    del accept, annotation, charset, iccprofile, quality, viewport, window  # named for the description of the service
    return parse_look(request.query_params)


async def the_size(request: Request, accept: _Accept = None, viewport: _Size = None) -> Viewport | None:
    """Dependency: how large a thumbnail the client wants."""
    del accept, viewport
    return parse_thumbnail_size(request.query_params)


TheLook = Annotated[Look, Depends(the_look)]
TheSize = Annotated[Viewport | None, Depends(the_size)]


def rendered_study(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudy, look: TheLook
) -> Response:
    """All instances of a study as people can see them, a part each."""
    return rendered(request, archive, target, ranges, root, look)


def rendered_series(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheSeries, look: TheLook
) -> Response:
    """All instances of a series as people can see them, a part each."""
    return rendered(request, archive, target, ranges, root, look)


def rendered_instance(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance, look: TheLook
) -> Response:
    """An instance as people can see it: a picture, a film, a document, a report."""
    return rendered(request, archive, target, ranges, root, look)


def rendered_frames(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance, look: TheLook, frames: str
) -> Response:
    """Frames of an instance as pictures, by their numbers, counted from 1."""
    return rendered(request, archive, target, ranges, root, look, frames)


def rendered_study_instance(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudyInstance, look: TheLook
) -> Response:
    """An instance, named without its series, as people can see it."""
    return rendered(request, archive, target, ranges, root, look)


def study_thumbnail(request: Request, archive: TheArchive, ranges: Ranges, target: TheStudy, size: TheSize) -> Response:
    """A small picture of a study."""
    return thumbnail(request, archive, target, ranges, size)


def series_thumbnail(
    request: Request, archive: TheArchive, ranges: Ranges, target: TheSeries, size: TheSize
) -> Response:
    """A small picture of a series."""
    return thumbnail(request, archive, target, ranges, size)


def instance_thumbnail(
    request: Request, archive: TheArchive, ranges: Ranges, target: TheInstance, size: TheSize
) -> Response:
    """A small picture of an instance."""
    return thumbnail(request, archive, target, ranges, size)


def frames_thumbnail(
    request: Request, archive: TheArchive, ranges: Ranges, target: TheInstance, size: TheSize, frames: str
) -> Response:
    """A small picture of the first of some frames."""
    return thumbnail(request, archive, target, ranges, size, frames)


def study_instance_thumbnail(
    request: Request, archive: TheArchive, ranges: Ranges, target: TheStudyInstance, size: TheSize
) -> Response:
    """A small picture of an instance that is named without its series."""
    return thumbnail(request, archive, target, ranges, size)


def _seen(request: Request) -> dict[str, object]:
    return {"look": parse_look(request.query_params)}


_PICTURES: Final = tuple(map(Offer, PICTURES))
_RENDERED: Final = (*_PICTURES, *map(Offer, (HTML, TEXT, *DOCUMENTS.values(), "video/mp4", "video/mpeg")))
_THUMBNAILS: Final = (Offer(JPEG), Offer(PNG))

DOORS: Final = (
    Door("GET", f"{STUDY}/rendered", rendered_study, _RENDERED),
    Door("GET", f"{SERIES}/rendered", rendered_series, _RENDERED),
    Door("GET", f"{INSTANCE}/rendered", rendered_instance, _RENDERED, short=_seen),
    Door("GET", f"{INSTANCE}/frames/{{frames}}/rendered", rendered_frames, _PICTURES, short=_seen),
    Door("GET", f"{STUDY_INSTANCE}/rendered", rendered_study_instance, _RENDERED),
    Door("GET", f"{STUDY}/thumbnail", study_thumbnail, _THUMBNAILS),
    Door("GET", f"{SERIES}/thumbnail", series_thumbnail, _THUMBNAILS),
    Door("GET", f"{INSTANCE}/thumbnail", instance_thumbnail, _THUMBNAILS),
    Door("GET", f"{INSTANCE}/frames/{{frames}}/thumbnail", frames_thumbnail, _THUMBNAILS),
    Door("GET", f"{STUDY_INSTANCE}/thumbnail", study_instance_thumbnail, _THUMBNAILS),
)
