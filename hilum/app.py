"""The HTTP door: every route of Hilum in one application, the page beside them, and what guards them all."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import hilum
from hilum.clinical.features import routes as features_routes
from hilum.clinical.fhir import index_routes, publication_routes
from hilum.clinical.fhir import routes as fhir_routes
from hilum.clinical.linkage import map_routes
from hilum.clinical.linkage import review_routes as link_routes
from hilum.clinical.linkage import routes as linkage_routes
from hilum.clinical.metadata import routes as metadata_routes
from hilum.core import routes as core_routes
from hilum.core.access import Caller, Forbidden, note_caller
from hilum.core.config import Settings
from hilum.core.cors import CrossOrigin, Fields, is_preflight
from hilum.core.delivery import routes as delivery_routes
from hilum.core.errors import HilumError
from hilum.core.feed import Feed
from hilum.core.forwarded import Proxies
from hilum.core.http import install_problems, path_below, problem
from hilum.core.metrics import measure, metrics_text
from hilum.core.supervise import is_loopback
from hilum.imaging.archive import curation as curation_routes
from hilum.imaging.archive import revision_routes
from hilum.imaging.archive import routes as archive_routes
from hilum.imaging.dicomweb import routes as dicomweb_routes
from hilum.imaging.intake import decision_routes
from hilum.imaging.intake import routes as intake_routes
from hilum.imaging.remote import routes as remote_routes
from hilum.imaging.remote.demand import TASK, Demand
from hilum.imaging.routing import routes as routing_routes
from hilum.imaging.worklist import routes as worklist_routes
from hilum.imaging.worklist.courier import Courier
from hilum.research.datasets import crosswalk_routes, review_routes, viewing_routes
from hilum.research.datasets import routes as dataset_routes
from hilum.services import Services

STATIC: Final = Path(str(files("hilum"))) / "static"
_CSP: Final = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self'; font-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'self'; form-action 'self'; object-src 'none'"
)
_LOOPBACK: Final[set[str]] = {"localhost", "127.0.0.1", "::1"}
_UNSAFE: Final = {"POST", "PUT", "PATCH", "DELETE"}
_PROBED: Final = ("/health", "/ready")
_SHARED: Final = ("/dicom-web", "/sources/", "/api/v1/imaging/wado/")
_VERSIONS: Final = re.compile(r"/datasets/[^/]+/versions/[^/]+/dicom-web(/.*)?")
_FOR_RESEARCH: Final = re.compile(
    rf"/api/v1/imaging/datasets/[^/]+/versions(/.*)?|{_VERSIONS.pattern}|/assets/.*|/(imaging|datasets(/[^/]+)?|favicon\.ico)?"
)
"""What the role researcher sees: versions of data sets, their images, and the page without what is in it. A definition
may name patients and original studies."""

log = structlog.get_logger()


def create_app(services: Services) -> FastAPI:
    """Make the application that serves the page, the REST API and DICOMweb."""
    app = _routed()
    app.state.settings = services.settings
    app.state.database = services.database
    app.state.archive = services.archive
    app.state.jobs = services.jobs
    app.state.courier = Courier(services.database)
    app.state.feed = Feed(services.database)
    wait = services.settings.remote_wait_seconds
    app.state.bring = Demand(services.database, lambda: services.jobs.wake(TASK), wait).bring
    app.add_middleware(Guard, settings=services.settings)
    return app


def openapi_document() -> dict[str, object]:
    """The OpenAPI description of every route; needs no database."""
    return _routed().openapi()


@cache
def _dicomweb() -> tuple[APIRouter, ...]:
    """The routers of DICOMweb, made once in a process: their hundreds of routes take half a second."""
    return tuple(dicomweb_routes.routers(worklist_routes.DOORS))


def _routed() -> FastAPI:
    app = FastAPI(
        title="Hilum",
        version=hilum.__version__,
        description="The gate through which medical imaging enters clinical research.",
        separate_input_output_schemas=False,
    )
    install_problems(app)
    # First what is asked a thousand times for a picture: routes are tried one after the other.
    app.router.routes.extend(dicomweb_routes.short_ways())
    for router in (*_dicomweb(), *worklist_routes.routers):
        app.include_router(router)
    app.include_router(core_routes.router)
    app.include_router(delivery_routes.router)
    app.include_router(archive_routes.router)
    app.include_router(revision_routes.router)
    app.include_router(intake_routes.router)
    app.include_router(decision_routes.router)
    app.include_router(curation_routes.router)
    app.include_router(routing_routes.router)
    app.include_router(remote_routes.router)
    app.include_router(fhir_routes.router)
    app.include_router(publication_routes.router)
    app.include_router(index_routes.router)
    app.include_router(linkage_routes.router)
    app.include_router(features_routes.router)
    app.include_router(metadata_routes.router)
    app.include_router(link_routes.router)
    app.include_router(map_routes.router)
    app.include_router(dataset_routes.router)
    app.include_router(review_routes.router)
    app.include_router(crosswalk_routes.router)
    app.include_router(viewing_routes.router)
    _add_service_routes(app)
    _add_page(app)
    return app


def _add_service_routes(app: FastAPI) -> None:
    @app.get("/health", tags=["service"])
    def health() -> dict[str, str]:
        """This process lives."""
        return {"status": "ok", "version": hilum.__version__}

    @app.get("/ready", tags=["service"])
    def ready(request: Request) -> dict[str, str]:
        """The database answers and objects can be kept."""
        request.app.state.database.check()
        request.app.state.archive.blobs.check()
        return {"status": "ready"}

    @app.get("/metrics", tags=["service"], response_class=Response)
    def metrics(request: Request) -> Response:
        """Figures for Prometheus."""
        text, media_type = metrics_text(request.app.state.database)
        return Response(text, media_type=media_type)


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse("/imaging")

    app.mount("/assets", StaticFiles(directory=STATIC / "assets", check_dir=False), "assets")

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        """The page for every address of its own, so that each survives a reload; files of the build beside it."""
        if path.split("/", 1)[0] in ("api", "dicom-web", "sources", "fhir", "wado") or _VERSIONS.fullmatch(f"/{path}"):
            return problem(404, "Not Found", "There is nothing at this address.")
        file = (STATIC / path).resolve()
        if path and STATIC.resolve() in file.parents and file.is_file():
            return FileResponse(file)
        index = STATIC / "index.html"
        if not index.is_file():
            return problem(503, "The page is not built", "Run scripts/run, which builds the web page, or use /docs.")
        return FileResponse(index, headers={"Cache-Control": "no-cache"})


class Guard:
    """Around every request: what a trusted proxy says of it, security headers, a counted and timed answer, no error
    without a sentence, and without credentials no access but from this machine's own browser and programs, from the
    proxies and from pages of the origins that settings name."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        public = urlsplit(settings.public_url).hostname
        self.hosts: set[str] = _LOOPBACK | {settings.host} | ({public} if public else set())
        self.cross_origin = CrossOrigin.parse(settings.cors_origins, self.hosts)
        self.proxies = Proxies.parse(settings.trusted_proxies)
        self.believes_hosts = not public
        self.only_proxies = not is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        added = self._headers(scope)

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in message["headers"] if name != b"vary"}
                message["headers"] = [*message["headers"], *(field for field in added if field[0] not in own)]
            await send(message)

        with measure(scope) as observed:
            try:
                refusal = self._refusal(scope, forwarded=self.proxies.believe(scope))
                if refusal:
                    await refusal(scope, receive, observed(answer))
                else:
                    await self.app(scope, receive, observed(answer))
            except HilumError as error:
                if started:
                    raise
                await problem(error.status, error.title, str(error))(scope, receive, observed(answer))
            except Exception:
                log.exception("http.failed", method=scope["method"], route=_route(scope))
                if started:
                    raise
                failed = problem(500, "Something went wrong", "An unexpected error; the server's log tells where.")
                await failed(scope, receive, observed(answer))

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refusal = self._refusal(scope, forwarded=self.proxies.believe(scope))
        except HilumError as error:
            refusal = problem(error.status, error.title, str(error))
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope, *, forwarded: bool) -> Response | None:
        """A page of another site must neither reach this server under a name of its own nor send anything to it, but
        where it may use DICOMweb; and a character that no name has is in no address."""
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return problem(400, "Bad request", "No address and no parameter holds a NUL character.")
        if scope["path"] in _PROBED:
            return None  # whoever keeps processes running asks by address, and learns nothing else
        if self.only_proxies and not self._is_known(scope):
            return problem(403, "Not from here", "This server answers only the proxies of HILUM_TRUSTED_PROXIES.")
        fields = _fields(scope)
        host = urlsplit(f"//{fields.get(b'host', 'localhost')}").hostname
        if host not in self.hosts and not (forwarded and self.believes_hosts):
            return problem(421, "Unknown host", "This server answers by its own address only; see HILUM_PUBLIC_URL.")
        origin = fields.get(b"origin", "")
        method = scope.get("method", "POST")  # a page can open a WebSocket to any site: it counts as unsafe
        _refuse_role(note_caller(scope, believed=forwarded), method, path_below(scope))
        invited = _is_shared(scope) and self.cross_origin.allows(origin)
        if is_preflight(method, fields) and invited:
            return Response(status_code=204, headers=_texts(self.cross_origin.preflight(origin)))
        foreign = origin and urlsplit(origin).hostname not in {*self.hosts, host} and not invited
        if foreign and (method in _UNSAFE or is_preflight(method, fields)):
            return problem(403, "Foreign origin", "A page of another site may not send anything to this server.")
        return None

    def _is_known(self, scope: Scope) -> bool:
        address = str((scope.get("client") or ("127.0.0.1",))[0])
        return self.proxies.trusts(address) or is_loopback(address)

    def _headers(self, scope: Scope) -> Fields:
        common: Fields = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
        path: str = scope["path"]
        if path.startswith("/assets/"):
            common.append((b"cache-control", b"public, max-age=31536000, immutable"))
        if not path.startswith(("/docs", "/redoc")):
            common.append((b"content-security-policy", _CSP.encode()))
        if _is_shared(scope):
            common.extend(self.cross_origin.answer(_fields(scope).get(b"origin", "")))
        return common


def _refuse_role(caller: Caller, method: str, path: str) -> None:
    """Keep each role to its part of the addresses; what is finer, a route says of itself (`needs`)."""
    if caller.only_reads and method not in ("GET", "HEAD", "OPTIONS"):
        raise Forbidden(f"The role {caller.role} reads, and changes nothing.")
    if caller.role == "researcher" and not _FOR_RESEARCH.fullmatch(path):
        raise Forbidden("The role researcher sees versions of data sets and their de-identified images only.")


def _fields(scope: Scope) -> dict[bytes, str]:
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def _texts(fields: Fields) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields}


def _is_shared(scope: Scope) -> bool:
    """Whether viewers of other origins may be let in: DICOMweb and WADO-URI, but not the page's own API."""
    path: str = scope["path"]
    return path.startswith(_SHARED) or path == "/wado" or _VERSIONS.fullmatch(path) is not None


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")
