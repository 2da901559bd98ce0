"""The addresses of FHIR R4 below ``/fhir``: read, vread, history and search of ImagingStudy and Endpoint, and the
CapabilityStatement. Endpoints read the request, call one function of this room and shape the answer."""

from collections.abc import Callable
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Final
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from hilum.clinical.fhir import bundles, search, versions
from hilum.clinical.fhir.capability import capability_statement
from hilum.clinical.fhir.endpoint import find_endpoint, list_endpoints
from hilum.clinical.fhir.outcome import FHIR_JSON, BadRequest, FhirRoute
from hilum.core.errors import NotAcceptable, NotFound, TooLarge, Unsupported
from hilum.core.http import base_url, matches
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb.accept import parse_accept

BASE: Final = "/fhir"
PRIVATE: Final = "private, no-cache"
MAX_FORM: Final = 64 << 10
_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = frozenset((FHIR_JSON, "application/json", "application/*", "*/*", "json", "text/json"))
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_HISTORY_CONTROLS: Final = frozenset(("_count", "_offset", "_since", "_format", "_pretty"))


async def the_parameters(request: Request) -> list[tuple[str, str]]:
    """Dependency: the parameters of a search, of the address and of a form that was sent; JSON must be acceptable."""
    given = request.query_params.multi_items()
    if request.method == "POST":
        if request.headers.get("content-type", _FORM).partition(";")[0].strip().lower() != _FORM:
            raise Unsupported(f"A search is sent as {_FORM}.")
        given = given + _form(await _body(request))
    formats = [value for name, value in given if name == "_format"]
    _check_format(formats[0] if formats else "", request.headers.get("accept"))
    return given


async def the_root(request: Request) -> str:
    """Dependency: the base URL of FHIR, as it stands in answers."""
    return base_url(request, request.app.state.settings.public_url) + BASE


Parameters = Annotated[list[tuple[str, str]], Depends(the_parameters)]
Root = Annotated[str, Depends(the_root)]


def get_metadata(root: Root, given: Parameters) -> Response:
    """What this server can do (CapabilityStatement)."""
    return _answer(msgspec.json.encode(capability_statement(root)), given)


def get_study(request: Request, archive: TheArchive, given: Parameters, number: str) -> Response:
    """An ImagingStudy as it is now."""
    return _versioned(request, versions.find(archive, _number(number)), given)


def get_version(request: Request, archive: TheArchive, given: Parameters, number: str, version: str) -> Response:
    """An ImagingStudy as it was in one version."""
    return _versioned(request, versions.find_version(archive.database, _number(number), _number(version)), given)


def get_history(archive: TheArchive, root: Root, given: Parameters, number: str) -> Response:
    """The versions of an ImagingStudy, latest first."""
    asked = dict(given)
    page = search.parse_search([pair for pair in given if pair[0] in ("_count", "_offset")], strict=False)
    since = search.span_of("_since", asked["_since"])[1] if asked.get("_since") else None
    study = _number(number)
    count = page.count or search.COUNT
    found, total = versions.history(archive.database, study, limit=count, offset=page.offset, since=since)
    used = [pair for pair in given if pair[0] in _HISTORY_CONTROLS]
    return _answer(bundles.history_bundle(root, study, found, total, used, (count, page.offset)), given)


def search_studies(request: Request, archive: TheArchive, root: Root, given: Parameters) -> Response:
    """The ImagingStudy resources that match, a page at a time."""
    asked = search.parse_search(given, strict="handling=strict" in request.headers.get("prefer", "").replace(" ", ""))
    if asked.uids:
        versions.ensure(archive, asked.uids)
    found = search.find_studies(archive.database, asked)
    endpoints = []
    if asked.include:
        named = {f'"Endpoint/{each.id}"': each for each in _endpoints(archive, root)}
        endpoints = [each for name, each in named.items() if any(name in (v.content or "") for v in found.versions)]
    return _answer(bundles.search_bundle(root, asked, found, endpoints), given)


def get_endpoint(archive: TheArchive, root: Root, given: Parameters, name: str) -> Response:
    """Where the images of a source, or of its remote archive, can be fetched."""
    with archive.database.connect() as connection:
        return _answer(bundles.endpoint_json(find_endpoint(connection, root.removesuffix(BASE), name)), given)


def search_endpoints(archive: TheArchive, root: Root, given: Parameters) -> Response:
    """Every Endpoint, or that of an id or an address."""
    used = [(name, value) for name, value in given if name in ("_id", "identifier") and value]
    found = _endpoints(archive, root)
    for name, value in used:
        wanted = {each.rpartition("|")[2] for each in value.split(",")}
        found = [each for each in found if (each.id if name == "_id" else each.address) in wanted]
    return _answer(bundles.endpoint_bundle(root, used, found), given)


def nothing_here() -> Response:
    """No resource of another kind is here."""
    raise NotFound("There is nothing at this address; /fhir/metadata tells what this server has.")


def _endpoints(archive: TheArchive, root: str) -> list[bundles.Endpoint]:
    with archive.database.connect() as connection:
        return list_endpoints(connection, root.removesuffix(BASE))


def _versioned(request: Request, version: versions.Version, given: list[tuple[str, str]]) -> Response:
    """Answer with a version, or with nothing when the client has it already (RFC 9110 section 13)."""
    headers = {
        "ETag": f'W/"{version.version}"',
        "Last-Modified": format_datetime(version.last_updated.astimezone(UTC), usegmt=True),
        "Cache-Control": PRIVATE,
    }
    if _is_known(request, version):
        return Response(status_code=304, headers=headers)
    return _answer(bundles.study_json(version), given, headers)


def _is_known(request: Request, version: versions.Version) -> bool:
    if "if-none-match" in request.headers:
        return matches(request, str(version.version))
    try:
        since = parsedate_to_datetime(request.headers["if-modified-since"])
        return version.last_updated.replace(microsecond=0) <= since.replace(tzinfo=since.tzinfo or UTC)
    except (KeyError, ValueError):
        return False


def _answer(body: bytes, given: list[tuple[str, str]], headers: dict[str, str] | None = None) -> Response:
    if ("_pretty", "true") in given:
        body = msgspec.json.format(body)
    return Response(body, headers=headers or {"Cache-Control": PRIVATE}, media_type=FHIR_JSON)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise NotFound("There is no such ImagingStudy.")
    return int(text)


def _check_format(wanted: str, accept: str | None) -> None:
    """Refuse who takes no JSON; ``_format`` stands for the header field, and in it a ``+`` may have become a blank."""
    if wanted:
        acceptable = wanted.partition(";")[0].strip().replace(" ", "+").lower() in _JSON
    else:
        acceptable = any(each.quality and each.media_type in _JSON for each in parse_accept(accept))
    if not acceptable:
        raise NotAcceptable(f"FHIR is served as {FHIR_JSON} only.")


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise TooLarge(f"A search has at most {MAX_FORM} bytes.")
    return body


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=search.MAX_VALUES)
    except ValueError:
        raise BadRequest(f"The body is no {_FORM}.") from None


def _make_router() -> APIRouter:
    made = APIRouter(prefix=BASE, tags=["FHIR"], route_class=FhirRoute)
    study = "/ImagingStudy/{number}"
    doors: list[tuple[str, Callable[..., Response], str]] = [
        ("/metadata", get_metadata, "GET"),
        ("/ImagingStudy", search_studies, "GET"),
        ("/ImagingStudy/_search", search_studies, "POST"),
        ("/Endpoint", search_endpoints, "GET"),
        ("/Endpoint/_search", search_endpoints, "POST"),
        (study, get_study, "GET"),
        (f"{study}/_history", get_history, "GET"),
        (f"{study}/_history/{{version}}", get_version, "GET"),
        ("/Endpoint/{name}", get_endpoint, "GET"),
    ]
    for path, endpoint, method in doors:
        made.add_api_route(path, endpoint, methods=[method], response_class=Response)
        allowed = ["GET", "HEAD"] if method == "GET" else [method]
        if method == "GET":
            made.add_api_route(path, endpoint, methods=["HEAD"], response_class=Response, include_in_schema=False)
        others = [other for other in _METHODS if other not in allowed]
        made.add_api_route(path, _refusal(allowed), methods=others, include_in_schema=False)
    made.add_api_route("", nothing_here, methods=list(_METHODS), include_in_schema=False)
    made.add_api_route("/{rest:path}", nothing_here, methods=list(_METHODS), include_in_schema=False)
    return made


def _refusal(allowed: list[str]) -> Callable[[], Response]:
    def refuse() -> Response:
        raise HTTPException(405, headers={"Allow": ", ".join(allowed)})

    return refuse


router: Final = _make_router()
