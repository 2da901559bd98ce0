"""What the doors of DICOMweb have in common: the source and base URL that a path names, what the client accepts, and
how the services' endpoints become a router that answers every method of every address. The dependencies are coroutines
though they wait for nothing: a plain function costs a turn of the thread pool."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from hilum.core.http import Router, base_url, path_below
from hilum.imaging.archive.absent import brought
from hilum.imaging.dicomweb.accept import DICOM_JSON, MediaRange, Offer, parse_accept
from hilum.imaging.dicomweb.resources import Holdings, Target

BASES: Final = ("/dicom-web", "/sources/{key}/dicom-web")
"""Base URLs of the service: of the source ``default``, and of any."""
STUDY: Final = "/studies/{study}"
SERIES: Final = f"{STUDY}/series/{{series}}"
INSTANCE: Final = f"{SERIES}/instances/{{instance}}"
STUDY_INSTANCE: Final = f"{STUDY}/instances/{{instance}}"
JSON_OFFERS: Final = (Offer(DICOM_JSON), Offer("application/json"))

_REFUSED: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Door:
    """A method of an address below the base URL of the service, and the endpoint behind it. GET brings HEAD with it.

    Attributes
    ----------
    method, path, endpoint
        What is asked, and who answers.
    answers
        The forms of its answers, the usual one first.
    takes
        The forms of what may be sent to it.
    query
        Names of the query parameters that the endpoint reads by itself.
    short
        For what a viewer asks again and again, and so has a `ShortWay`: what the endpoint takes besides ``request``,
        ``archive``, ``ranges``, ``root``, ``target`` and what else the path names.
    """

    method: str
    path: str
    endpoint: Callable[..., Any]
    answers: Sequence[Offer] = ()
    takes: Sequence[Offer] = ()
    query: Sequence[str] = ()
    short: Callable[[Request], Mapping[str, object]] | None = None


async def the_ranges(request: Request) -> list[MediaRange]:
    """Dependency: what the client accepts."""
    return _ranges_of(request)


async def the_source(request: Request) -> str:
    """Dependency: the key of the source that the path names."""
    return request.path_params.get("key", "default")


async def the_root(request: Request) -> str:
    """Dependency: the base URL of the service, as it stands in the URLs of answers."""
    return root_of(request)


def _ranges_of(request: Request) -> list[MediaRange]:
    return parse_accept(request.headers.get("accept"), request.query_params.getlist("accept"))


def nothing_more(request: Request) -> dict[str, object]:
    """Of a door: that its endpoint takes what all take."""
    del request
    return {}


def root_of(request: Request) -> str:
    """The base URL of the service, as it stands in the URLs of answers."""
    base = base_url(request, request.app.state.settings.public_url)
    holdings = holdings_of(request)
    if holdings is not None:
        return base + holdings.path
    key = request.path_params.get("key")
    return f"{base}/sources/{key}/dicom-web" if key else f"{base}/dicom-web"


def serve(request: Request, holdings: Holdings) -> None:
    """Have a request answered from holdings instead of the catalogue; said by a dependency of the whole router."""
    request.state.holdings = holdings


def holdings_of(request: Request) -> Holdings | None:
    """The holdings that a request is answered from; None for the catalogue."""
    return getattr(request.state, "holdings", None)


Ranges = Annotated[list[MediaRange], Depends(the_ranges)]
Source = Annotated[str, Depends(the_source)]
Root = Annotated[str, Depends(the_root)]


async def the_study(request: Request, source: Source, study: str) -> Target:
    """Dependency: the study that the path names."""
    return Target(source, study, holdings=holdings_of(request))


async def the_series(request: Request, source: Source, study: str, series: str) -> Target:
    """Dependency: the series that the path names."""
    return Target(source, study, series, holdings=holdings_of(request))


async def the_instance(request: Request, source: Source, study: str, series: str, instance: str) -> Target:
    """Dependency: the instance that the path names."""
    return Target(source, study, series, instance, holdings_of(request))


async def the_study_instance(request: Request, source: Source, study: str, instance: str) -> Target:
    """Dependency: the instance that the path names without its series."""
    return Target(source, study, None, instance, holdings_of(request))


TheStudy = Annotated[Target, Depends(the_study)]
TheSeries = Annotated[Target, Depends(the_series)]
TheInstance = Annotated[Target, Depends(the_instance)]
TheStudyInstance = Annotated[Target, Depends(the_study_instance)]


def router(prefix: str, doors: Sequence[Door], before: Callable[..., object] | None = None) -> Router:
    """Make the router of some doors; a method that an address has not is refused with those that it has.

    Parameters
    ----------
    prefix
        What the addresses begin with.
    doors
        What there is.
    before
        A dependency of all of them, which comes first.
    """
    made = Router(prefix=prefix, tags=["DICOMweb"], dependencies=[Depends(before)] if before else [])
    allowed: dict[str, list[str]] = {}
    for door in doors:
        made.add_api_route(
            door.path,
            brought(door.endpoint) if door.method == "GET" else door.endpoint,
            methods=[door.method],
            response_class=Response,
            include_in_schema=door.method != "OPTIONS",
        )
        allowed.setdefault(door.path, []).extend(["GET", "HEAD"] if door.method == "GET" else [door.method])
    # Routes are tried in their order: what is asked most stands first.
    for door in (door for door in doors if door.method == "GET"):
        made.add_api_route(
            door.path, brought(door.endpoint), methods=["HEAD"], response_class=Response, include_in_schema=False
        )
    for path, methods in allowed.items():
        others = [method for method in _REFUSED if method not in methods]
        made.add_api_route(path, _refusal(methods), methods=others, include_in_schema=False)
    return made


class ShortWay(BaseRoute):
    """GET of a door, past the framework's search for routes and dependencies, which takes longer than it takes to find
    and read a frame. The door's own route stays, for the other methods and for the description of the service."""

    def __init__(self, path: str, endpoint: Callable[..., Response], more: Callable[[Request], Mapping[str, object]]):
        self.path: str = path
        """By which its requests are counted, together with those of the door."""
        self._endpoint = brought(endpoint)
        self._more = more
        self._pattern, _, _ = compile_path(self.path)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is meant."""
        asked = scope["type"] == "http" and scope["method"] == "GET"
        found = self._pattern.match(path_below(scope)) if asked else None
        if found is None:
            return Match.NONE, {}
        return Match.FULL, {"path_params": found.groupdict(), "route": self}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = Request(scope, receive)
        answer = await run_in_threadpool(self._answer, request)
        await answer(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        named = dict(request.path_params)
        source = named.pop("key", "default")
        return self._endpoint(
            request=request,
            archive=request.app.state.archive,
            ranges=_ranges_of(request),
            root=root_of(request),
            target=Target(source, named.pop("study"), named.pop("series"), named.pop("instance", None)),
            **named,
            **self._more(request),
        )


def _refusal(allowed: list[str]) -> Callable[[], Response]:
    """An endpoint that names all the methods of its address: the framework would name those of one route."""

    def refuse() -> Response:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})

    return refuse
