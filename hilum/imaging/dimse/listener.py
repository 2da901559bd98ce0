"""The DICOM listener: accepts connections, gives each association a thread, bounds how many there are, and goes on
whatever becomes of any of them."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import structlog

from hilum.imaging.dimse.association import Association, Manner
from hilum.imaging.dimse.negotiation import too_many
from hilum.imaging.dimse.problems import Rejected
from hilum.imaging.dimse.wire import Wire

HANDSHAKE_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
_ACCEPT_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.2
_REFUSED_AT_ONCE: Final = 16

log = structlog.get_logger()


@dataclass(slots=True)
class Listener:
    """Serves associations on a listening socket.

    Parameters
    ----------
    listening : socket.socket
        Bound and listening; it may be shared with other processes.
    manner : Manner
        How associations are served.
    limit : int
        How many there may be at once; those beyond it are told so.
    tls : ssl.SSLContext or None
        With it connections are taken by TLS alone.
    """

    listening: socket.socket
    manner: Manner
    limit: int
    tls: ssl.SSLContext | None = None
    _open: dict[int, Association] = field(default_factory=dict[int, Association])
    _admitted: set[int] = field(default_factory=set[int])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))
    _stopping: threading.Event = field(default_factory=threading.Event)
    _connected: int = 0

    def run(self) -> None:
        """Accept connections until `stop` is called."""
        self.listening.settimeout(_ACCEPT_SECONDS)
        while not self._stopping.is_set():
            try:
                connection, _ = self.listening.accept()
            except TimeoutError:
                continue
            except OSError as error:  # too many open files, a connection that went before it was taken
                if self._stopping.is_set():
                    return
                log.warning("dimse.not_accepted", errno=error.errno)
                self._stopping.wait(_PAUSE_SECONDS)
                continue
            self._begin(connection, self.tls)

    def take(self, connection: socket.socket) -> None:
        """Serve a connection that came in another way than by the listening socket; without TLS."""
        self._begin(connection, None)

    def stop(self) -> None:
        """Accept no more, and end all associations, each after the message that is being answered."""
        self._stopping.set()
        with self._lock:
            left = list(self._open.values())
        for association in left:
            association.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(association.busy for association in self._snapshot()):
            time.sleep(0.02)

    def _snapshot(self) -> list[Association]:
        with self._lock:
            return list(self._open.values())

    def _begin(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        with self._lock:
            if self._connected >= self.limit + _REFUSED_AT_ONCE:
                connection.close()
                return
            self._connected += 1
        number = next(self._numbers)
        thread = threading.Thread(target=self._serve, args=(number, connection, tls), name=f"association-{number}")
        thread.daemon = True
        try:
            thread.start()
        except RuntimeError:  # no further thread can be had
            log.warning("dimse.no_thread")
            connection.close()
            self._end(number)

    def _serve(self, number: int, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            wire = self._wire(connection, tls)
            if wire is not None:
                association = Association(number, wire, self.manner, self._admission(number))
                with self._lock:
                    self._open[number] = association
                association.run()
        except Exception:
            log.exception("dimse.thread_failed", association=number)
            connection.close()
        finally:
            self._end(number)

    def _wire(self, connection: socket.socket, tls: ssl.SSLContext | None) -> Wire | None:
        try:
            connection.settimeout(HANDSHAKE_SECONDS)
            if tls is None:
                return Wire(connection)
            return Wire(tls.wrap_socket(connection, server_side=True))
        except (OSError, ValueError) as error:
            log.warning("dimse.no_handshake", error=type(error).__name__)
            connection.close()
            return None

    def _admission(self, number: int) -> Callable[[], Rejected | None]:
        def admit() -> Rejected | None:
            with self._lock:
                if len(self._admitted) >= self.limit:
                    return too_many()
                self._admitted.add(number)
            return None

        return admit

    def _end(self, number: int) -> None:
        with self._lock:
            self._connected -= 1
            self._open.pop(number, None)
            self._admitted.discard(number)
