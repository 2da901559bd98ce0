"""Whether a process without a web server lives and is ready, told on a small port of its own to whoever keeps processes
running. It answers two questions with a status and a word, a third with the figures it is given, and knows nothing
else."""

import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from hilum.core.errors import HilumError, InUse, Invalid

ALIVE_SECONDS: Final = 60.0
_READ_SECONDS: Final = 5.0
_KEEP_SECONDS: Final = 2.0


class Pulse:
    """The last sign of life of a process's work."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def beat(self) -> None:
        """Give a sign of life."""
        self._last = time.monotonic()

    @property
    def lives(self) -> bool:
        """Whether there was one not long ago."""
        return time.monotonic() - self._last < ALIVE_SECONDS


@contextmanager
def telling(
    host: str,
    port: int,
    pulse: Pulse,
    check: Callable[[], object],
    *,
    metrics: Callable[[], tuple[bytes, str]] | None = None,
) -> Generator[None]:
    """Answer ``/health`` (it lives), ``/ready`` (it can work) and perhaps ``/metrics`` on a port.

    Parameters
    ----------
    host
        The address to listen on.
    port
        0 tells nobody.
    pulse
        Of the work.
    check
        Raises what keeps the process from working; its result holds for two seconds.
    metrics
        Gives the process's figures for ``/metrics``, with their media type; None where it has none of its own.

    Raises
    ------
    InUse
        Another program listens there.
    Invalid
        There is no such address.
    """
    if not port:
        yield
        return
    answers = {"/health": lambda: _lives(pulse), "/ready": _Readiness(check)}

    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS

        def do_GET(self) -> None:
            if self.path == "/metrics" and metrics is not None:
                return self._tell(200, *metrics())
            answer = answers.get(self.path)
            status, text = answer() if answer else (404, "Ask for /health or /ready.")
            return self._tell(status, text.encode(), "text/plain; charset=utf-8")

        def _tell(self, status: int, body: bytes, media_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
            """A question every few seconds is not worth a line."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = Server((host, port), Handler)
    except socket.gaierror as error:
        raise Invalid(f"{host} is no address of this machine: correct HILUM_HOST.") from error
    except OSError as error:
        raise InUse(f"Port {port} on {host} cannot be listened on: choose another for HILUM_HEALTH_PORT.") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _lives(pulse: Pulse) -> tuple[int, str]:
    return (200, "alive") if pulse.lives else (503, "The work of this process does not go on.")


class _Readiness:
    """The last answer, which is good for a moment: questions must not become load."""

    def __init__(self, check: Callable[[], object]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._until = 0.0
        self._answer = (503, "")

    def __call__(self) -> tuple[int, str]:
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._check()
                    self._answer = 200, "ready"
                except HilumError as error:
                    self._answer = 503, str(error)
                self._until = time.monotonic() + _KEEP_SECONDS
            return self._answer
