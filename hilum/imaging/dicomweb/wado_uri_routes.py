"""The address of WADO-URI (PS3.18 chapter 9): one, with everything in its query."""

from typing import Annotated, Final

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from hilum.core.http import base_url
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb import wado_uri
from hilum.imaging.dicomweb.capabilities import capability_doors
from hilum.imaging.dicomweb.doors import Door


def the_base(request: Request) -> str:
    """Dependency: the base URL of the address, as it stands in URLs of answers."""
    return base_url(request, request.app.state.settings.public_url)


_Text = Annotated[str | None, Query()]


async def the_parameters(
    requestType: Annotated[str | None, Query(description="WADO.")] = None,  # noqa: N803 - the names of the standard
    studyUID: _Text = None,  # noqa: N803
    seriesUID: _Text = None,  # noqa: N803
    objectUID: _Text = None,  # noqa: N803
    contentType: Annotated[str | None, Query(description="Media types, with commas between them.")] = None,  # noqa: N803
    charset: Annotated[str | None, Query(description="Of text; UTF-8.")] = None,
    anonymize: Annotated[str | None, Query(description="Not done: refused.")] = None,
    transferSyntax: Annotated[str | None, Query(description="Of the file; *: as stored.")] = None,  # noqa: N803
    annotation: Annotated[str | None, Query(description="Not drawn: refused.")] = None,
    rows: Annotated[str | None, Query(description="Most rows of the picture.")] = None,
    columns: Annotated[str | None, Query(description="Most columns of the picture.")] = None,
    region: Annotated[str | None, Query(description="left,top,right,bottom from 0.0 to 1.0.")] = None,
    windowCenter: _Text = None,  # noqa: N803
    windowWidth: _Text = None,  # noqa: N803
    frameNumber: Annotated[str | None, Query(description="From 1.")] = None,  # noqa: N803
    imageQuality: Annotated[str | None, Query(description="Of JPEG, 1 to 100.")] = None,  # noqa: N803
    presentationUID: Annotated[str | None, Query(description="Not applied: refused.")] = None,  # noqa: N803
    presentationSeriesUID: Annotated[str | None, Query(description="Not applied: refused.")] = None,  # noqa: N803
    source: Annotated[str | None, Query(description="Key of the source, where a UID lies in several.")] = None,
) -> None:
    """Dependency: what the query may hold, for the description of the service; `wado_uri` reads it itself."""


def retrieve_by_query(request: Request, archive: TheArchive, _: Annotated[None, Depends(the_parameters)]) -> Response:
    """One instance by the UIDs of its study, its series and its own: as people can see it, or the file itself."""
    return wado_uri.retrieve(request, archive)


_DOORS: Final = (Door("GET", "/wado", retrieve_by_query),)
DOORS: Final = (*_DOORS, capability_doors(_DOORS, the_base)[-1])
