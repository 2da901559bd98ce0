"""How every route answers: problems as RFC 9457, lists of one shape, and stored bytes with ETag and Range."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Generic, TypeVar

import anyio.to_thread
import structlog
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, SecretStr
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from hilum.core.errors import HilumError, Unavailable
from hilum.core.forwarded import forwarded_prefix

T = TypeVar("T")
log = structlog.get_logger()

SMALL: Final = 4 << 20
CHUNK: Final = 1 << 20

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=2**31, description="How many to pass over.")]


class Router(APIRouter):
    """Routes below a prefix, passed over at once by what is asked elsewhere: the framework would try each of them."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether one of the routes is meant."""
        if not path_below(scope).startswith(self.prefix.partition("{")[0]):
            return Match.NONE, {}
        return super().matches(scope)


def path_below(scope: Scope) -> str:
    """The path of a request below that under which a proxy shows the application."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class Model(BaseModel):
    """Base of every JSON object at the door; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Credentials(Model):
    """Base of what another server asks for. It only ever goes in, and is never returned."""

    def plain(self) -> dict[str, str]:
        """Those that were given, as texts."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in given.items()
            if value is not None
        }


class Page(Model, Generic[T]):
    """One page of a list."""

    items: list[T]
    total: int
    limit: int
    offset: int


class FieldError(Model):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(Model):
    """RFC 9457: what went wrong, in words a person can act on."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem, "description": text}
    for code, text in ((404, "There is no such thing."), (422, "The request is not valid."))
}


def problem(status: int, title: str, detail: str, errors: list[FieldError] | None = None) -> JSONResponse:
    """Answer with a problem document."""
    body = Problem(title=title, status=status, detail=detail, errors=errors)
    headers = {"Retry-After": "2"} if status == Unavailable.status else None
    return JSONResponse(body.model_dump(exclude_none=True), status, headers, "application/problem+json")


def install_problems(app: FastAPI) -> None:
    """Make every error of this application answer as a problem document."""

    async def hilum_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HilumError)
        return problem(error.status, error.title, str(error))

    async def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = problem(error.status_code, str(error.detail), _PLAIN.get(error.status_code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [
            FieldError(field=".".join(str(part) for part in e["loc"][1:]) or str(e["loc"][0]), message=str(e["msg"]))
            for e in error.errors()
        ]
        detail = "; ".join(f"{e.field}: {e.message}" for e in errors)
        return problem(422, "The request is not valid", detail, errors)

    app.add_exception_handler(HilumError, hilum_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


_PLAIN: Final = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
}


def refuse_unknown_parameters(request: Request) -> None:
    """Dependency: a query parameter that the route does not know is an error, not a filter silently without effect.

    Raises
    ------
    RequestValidationError
        Naming each unknown parameter.
    """
    route = request.scope["route"]
    known = {parameter.alias for parameter in _query_parameters(route.dependant)}
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise RequestValidationError(
            [
                {"loc": ("query", name), "msg": "There is no such parameter", "type": "extra_forbidden"}
                for name in unknown
            ]
        )


def _query_parameters(dependant: object) -> Iterator["_Parameter"]:
    yield from getattr(dependant, "query_params", ())
    for inner in getattr(dependant, "dependencies", ()):
        yield from _query_parameters(inner)


class _Parameter:
    alias: str


Read = Callable[[int, int], bytes | Sequence[bytes]]


def stored(
    request: Request, *, size: int, etag: str, media_type: str, read: Read, filename: str | None = None
) -> Response:
    """Answer with stored bytes: conditional (RFC 9110 section 13), in ranges (section 14), never held whole in memory.

    Parameters
    ----------
    request
        What was asked.
    size
        How many bytes there are.
    etag
        A strong validator without its quotes, such as the digest.
    media_type
        What they are.
    read
        Gives ``length`` bytes from ``offset``, whole or in pieces; called in a thread.
    filename
        Name to save them under.
    """
    headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
    if filename:
        headers["Content-Disposition"] = f'attachment; filename="{re.sub(r"[^A-Za-z0-9._-]", "_", filename)}"'
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    start, end, status = 0, size, 200
    wanted = request.headers.get("range")
    if wanted and request.headers.get("if-range", f'"{etag}"') == f'"{etag}"':
        part = _range(wanted, size)
        if part == "unsatisfiable":
            return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        if isinstance(part, tuple):
            start, end = part
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    if end - start <= SMALL:
        data = read(start, end - start)
        return Response(data if isinstance(data, bytes) else b"".join(data), status, headers, media_type)
    return StreamingResponse(_chunks(read, start, end), status, headers, media_type)


def matches(request: Request, etag: str) -> bool:
    """Tell whether the client has this version already (``If-None-Match``)."""
    header = request.headers.get("if-none-match", "")
    return header.strip() == "*" or f'"{etag}"' in {tag.strip().removeprefix("W/") for tag in header.split(",")}


async def _chunks(read: Read, start: int, end: int) -> AsyncIterator[bytes]:
    for offset in range(start, end, CHUNK):
        data = await anyio.to_thread.run_sync(read, offset, min(CHUNK, end - offset))
        for piece in [data] if isinstance(data, bytes) else data:
            yield piece


def _range(header: str, size: int) -> tuple[int, int] | str | None:
    """One byte range as (start, end); several ranges, or nonsense, are answered with the whole."""
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if not found or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return None
    return (start, end) if start < end else "unsatisfiable"


def base_url(request: Request, public_url: str) -> str:
    """The address that stands in URLs: the setting's, else the one that the client used; without a slash at the end.

    Without the setting only this machine's own names are answered, so a ``Host`` without a port (dicomweb-client sends
    such a one to every server) means the port that the request came in by.
    """
    if public_url:
        return public_url.rstrip("/")
    base = request.base_url
    prefix = forwarded_prefix(request.scope)
    _, port = request.scope.get("server") or (None, None)
    if base.port is None and port not in (None, 443 if base.scheme == "https" else 80):
        base = base.replace(port=port)
    return str(base).rstrip("/") + prefix
