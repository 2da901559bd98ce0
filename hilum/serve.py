"""The processes of Hilum: the supervisor behind ``hilum serve`` and what it starts, each of which can also be run
alone. The supervisor imports as little as it can, for it does nothing but watch."""

import os
import shutil
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket
from subprocess import run as run_process
from typing import cast

from pydantic import SecretStr

from hilum.core.config import Settings
from hilum.core.errors import InUse, Invalid, Unavailable
from hilum.core.log import configure_logging
from hilum.core.postgres import EmbeddedPostgres, serve_lock
from hilum.core.supervise import Child, bind, die_with_parent, run

_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Of WebSockets: clients have nothing to say, and one that answers no ping is gone.
_LARGEST_MESSAGE = 64 << 10
_PING_SECONDS = 20.0
_TOLD = {"delivery": ("webhooks", "nats", "sites"), "fhir": ("fhir",), "routing": ("routing",)}
"""Whom the courier brings events to in a worker of some kinds only."""


def serve(settings: Settings, ready: Callable[[str, str], None], *, any_dicom_port: bool = False) -> int:
    """Run everything: HTTP processes, the DICOM listener and job workers, watched and restarted.

    Parameters
    ----------
    settings
        Which folder, address and how many processes.
    ready
        Told the addresses of the page and of the DICOM listener once they are listening.
    any_dicom_port
        Whether DICOM may listen on any free port when its own is taken.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    InUse
        Another ``serve`` runs on this data folder, or the port is taken.
    Invalid
        The address is not loopback.
    Unavailable
        The database does not start.
    """
    configure_logging(settings, "serve")
    with ExitStack() as stack:
        stack.enter_context(serve_lock(settings.data_path))
        listener = stack.enter_context(_bind(settings))
        dicom = stack.enter_context(_bind_dicom(settings, any_port=any_dicom_port))
        stack.enter_context(_told_port(settings, dicom))
        keep_alive = _keep_nothing
        if not settings.database_url:
            keep_alive = stack.enter_context(EmbeddedPostgres(settings.data_path)).ensure_running
        environment = _environment(settings)
        _migrate(environment)
        children = [
            Child(f"http-{n + 1}", _command("api", "--listener", str(listener.fileno())), True, environment)
            for n in range(settings.http_processes)
        ]
        children.append(
            Child("dicom", _command("dicom", "--listener", str(dicom.fileno())), False, environment, (dicom,))
        )
        children += [Child(f"worker-{n + 1}", _command("worker"), False, environment) for n in range(settings.workers)]
        if settings.inbox:
            children.append(Child("inbox", _command("watch"), False, environment))
        host, port = listener.getsockname()[:2]
        return run(
            children,
            listener,
            keep_alive,
            lambda: ready(f"http://{_in_url(host)}:{port}", dicom_address(settings, dicom)),
        )


def serve_http(settings: Settings, listener: int | None) -> None:
    """Run one HTTP process, on a socket handed down by the supervisor or on one of its own."""
    import uvicorn

    from hilum.app import create_app
    from hilum.core.database import open_database
    from hilum.core.feed import Feed
    from hilum.core.jobs import open_jobs
    from hilum.services import assemble

    if listener is not None:
        die_with_parent()
    configure_logging(settings, "http")
    with ExitStack() as stack:
        own = socket(fileno=listener) if listener is not None else stack.enter_context(_bind(settings))
        database = stack.enter_context(open_database(settings, migrate=listener is None))
        jobs = stack.enter_context(open_jobs(database))
        app = create_app(assemble(settings, database, jobs))
        options = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # `core.forwarded` believes none but the proxies that a setting names
            timeout_graceful_shutdown=10,
            lifespan="off",
            ws_max_size=_LARGEST_MESSAGE,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
        )
        feed: Feed = app.state.feed

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket] | None = None) -> None:
                feed.close()  # streams never end by themselves, and would keep the process
                await super().shutdown(sockets)

        Server(options).run(sockets=[own])


def work(settings: Settings, only: Sequence[str] = (), *, supervised: bool) -> None:
    """Run one process of job workers, which also brings events to those who want to know.

    Parameters
    ----------
    settings
        Of which Hilum.
    only
        The kinds of work, of ``hilum.core.jobs.KINDS``; empty for all.
    supervised
        Whether ``serve`` runs it.
    """
    from hilum.core.database import open_database
    from hilum.core.health import Pulse, telling
    from hilum.core.jobs import check_kinds, open_jobs
    from hilum.services import assemble

    kinds = check_kinds(only)
    if supervised:
        die_with_parent()
    configure_logging(settings, "worker")
    pulse = Pulse()
    with open_database(settings, migrate=not supervised) as database, open_jobs(database) as jobs:
        services = assemble(settings, database, jobs)

        def check() -> None:
            database.check()
            services.archive.blobs.check()

        with ExitStack() as stack:
            told = [name for kind in kinds for name in _TOLD.get(kind, ())]
            if told or not kinds:
                stack.enter_context(services.courier.running(told))
            stack.enter_context(telling(settings.host, 0 if supervised else settings.health_port, pulse, check))
            jobs.work(kinds, alive=pulse.beat)


def _bind(settings: Settings) -> socket:
    """Listen; off loopback only where the application then answers none but the proxies of the setting."""
    return bind(settings.host, settings.port, anywhere=bool(settings.trusted_proxies.strip()))


def serve_dicom(settings: Settings, listener: int | None, ready: Callable[[str], None], *, supervised: bool) -> None:
    """Run one process of the DICOM listener, on a socket handed down by the supervisor or on one of its own."""
    from hilum.core.database import open_database
    from hilum.imaging.dimse.provider import open_listener
    from hilum.imaging.relay.inside import open_inside
    from hilum.services import open_archive

    if supervised:
        die_with_parent()
    configure_logging(settings, "dicom")
    with ExitStack() as stack:
        own = socket(fileno=listener) if listener is not None else stack.enter_context(_bind_dicom(settings))
        database = stack.enter_context(open_database(settings, migrate=not supervised))
        relay, settings = stack.enter_context(open_inside(settings))
        running = stack.enter_context(open_listener(open_archive(settings, database), own))
        if relay is not None:
            stack.callback(relay.leave)
            relay.answer(running.take)
        if not supervised:
            ready(dicom_address(settings, own))
        running.run()


def dicom_address(settings: Settings, listening: socket) -> str:
    """Title and address of the DICOM listener, as people write them."""
    host, port = listening.getsockname()[:2]
    return f"{settings.aet}@{_in_url(host)}:{port}"


def told_dicom_port(settings: Settings) -> int | None:
    """The port that a running ``serve`` of this data folder took for DICOM, None where none runs."""
    try:
        return int(_port_file(settings).read_text("ascii"))
    except (OSError, ValueError):
        return None


def _port_file(settings: Settings) -> Path:
    return settings.data_path / "run" / "dicom-port"


@contextmanager
def _told_port(settings: Settings, listening: socket) -> Generator[None]:
    """Have the port of the DICOM listener in a file as long as it is listened on."""
    file = _port_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(f"{listening.getsockname()[1]}\n", "ascii")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _bind_dicom(settings: Settings, *, any_port: bool = False) -> socket:
    from hilum.imaging.dimse.setup import check_settings
    from hilum.imaging.relay.inside import check_inside

    peers = check_settings(settings)
    check_inside(settings)
    try:
        return bind(settings.dicom_host, settings.dicom_port, anywhere=bool(peers))
    except InUse as error:
        if any_port:
            return bind(settings.dicom_host, 0, anywhere=bool(peers))
        raise InUse(
            f"DICOM port {settings.dicom_port} on {settings.dicom_host} is taken: stop what listens there, or choose "
            "another by --dicom-port; 0 takes any free one."
        ) from error


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hilum", *words, "--supervised"]


def _environment(settings: Settings) -> dict[str, str]:
    """Hand the settings of the command line down, and give the HTTP processes a folder to count in together."""
    folder = settings.data_path / "run" / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    given = {f"HILUM_{name.upper()}": _text(getattr(settings, name)) for name in settings.model_fields_set}
    return os.environ | given | {"HILUM_DATA": str(settings.data_path), _METRICS_FOLDER: str(folder)}


def _text(value: object) -> str:
    if isinstance(value, list):
        parts = cast("list[object]", value)
        return (os.pathsep if any(isinstance(part, Path) for part in parts) else ",").join(map(str, parts))
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "hilum", "db", "upgrade", "--quiet", "--objects"]
    done = run_process(command, env=environment, check=False)
    if done.returncode == 2:
        raise Invalid("The database cannot be used; see above.")
    if done.returncode:
        raise Unavailable("The database could not be brought up to date, or the objects cannot be used; see above.")


def _keep_nothing() -> None:
    """A database by URL is somebody else's to keep alive."""


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
