"""The process that starts others, passes them a listening socket, restarts what ends and stops them all together. It
knows nothing of what they do; what it should keep alive besides, such as a database, it is given as a function."""

import ctypes
import errno
import ipaddress
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

import structlog

from hilum.core.errors import HilumError, InUse, Invalid, Unavailable

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
GRACE_SECONDS = 20.0

_KEEP_ALIVE_SECONDS = 1.0
_PARENT_VARIABLE = "SUPERVISOR_PID"
_PR_SET_PDEATHSIG = 1
_BACKLOG = 1024

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running.

    Attributes
    ----------
    name
        What the log calls it.
    argv
        The program and its arguments. The program calls ``die_with_parent`` first.
    pass_socket
        Whether it inherits the listening socket, under the same file descriptor number.
    env
        Its environment.
    sockets
        Further sockets that it inherits, in the same way.
    """

    name: str
    argv: Sequence[str]
    pass_socket: bool
    env: Mapping[str, str]
    sockets: Sequence[socket.socket] = ()


def check_loopback(host: str) -> None:
    """Refuse an address that others than this machine could reach.

    Raises
    ------
    Invalid
        It is not a loopback address, or no address at all.
    """
    _resolve(host, 0)


def bind(host: str, port: int, *, anywhere: bool = False) -> socket.socket:
    """Listen on a loopback address, or where ``anywhere`` allows it on any.

    Connections wait in the socket's queue until a process accepts them, so none is refused while processes start.

    Parameters
    ----------
    host
        A name or address; all it stands for must be loopback, unless ``anywhere``.
    port
        0 takes any free one.
    anywhere
        Whether the caller answers only those it trusts.

    Raises
    ------
    Invalid
        The address is not loopback, or the port may not be used.
    InUse
        Another program listens there.
    """
    family, address = _resolve(host, port, anywhere=anywhere)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Only listening keeps a second program from binding the same port.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InUse(f"Port {port} on {host} is taken: stop what listens there, or choose another port.") from error
        raise Invalid(f"Hilum cannot listen on {host} port {port}: {error.strerror}; choose another.") from error
    except BaseException:
        listener.close()
        raise
    return listener


def die_with_parent() -> None:
    """Ask the kernel to end this process when its supervisor ends, however that ends; a child calls it first.

    Raises
    ------
    SystemExit
        The supervisor is gone already.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise Unavailable(f"The kernel does not tell of the supervisor's end: {os.strerror(ctypes.get_errno())}.")
    # It may have ended before the kernel was asked. What this process starts is not to take that process for its own.
    parent = os.environ.pop(_PARENT_VARIABLE, None)
    if parent is not None and os.getppid() != int(parent):
        raise SystemExit("The supervisor of this process is gone.")


@contextmanager
def exit_on_signals() -> Generator[None]:
    """Leave by ``SystemExit`` on SIGTERM, SIGINT and SIGHUP, so that what was entered is left in order.

    A process that a shell started in the background has SIGINT ignored, and Python then does not turn it into a
    KeyboardInterrupt; so it is not left to the default.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    with _handling(leave):
        yield


def run(
    children: Sequence[Child],
    listen_socket: socket.socket | None,
    keep_alive: Callable[[], object],
    ready: Callable[[], object],
    grace_seconds: float = GRACE_SECONDS,
) -> int:
    """Run processes until a signal asks to stop; call it from the main thread.

    One that ends is started again, after 0.2 s at first and twice as long each time up to 30 s; after a minute of
    running the count begins anew. On SIGTERM, SIGINT or SIGHUP all are asked to stop by SIGTERM, and those left after
    ``grace_seconds``, or at a second signal, are killed.

    Parameters
    ----------
    children
        What to run.
    listen_socket
        The socket for the children that take it.
    keep_alive
        Called every second from a thread of its own; it repairs what the children need, and may take its time.
    ready
        Called once, when all children were started for the first time.
    grace_seconds
        How long a child may take to stop.

    Returns
    -------
    int
        The exit code: 0, or 1 when a child had to be killed.
    """
    stopping = threading.Event()
    keeper = threading.Thread(target=_keep_alive, args=(keep_alive, stopping), name="keep-alive", daemon=True)
    slots = [_Slot(child, listen_socket) for child in children]
    with _signals() as signals:
        try:
            keeper.start()
            for slot in slots:
                slot.tend()
            ready()
            while not signals.asked_to_stop:
                signals.wait(min((slot.due for slot in slots if slot.process is None), default=None))
                for slot in slots:
                    slot.tend()
        finally:
            stopping.set()
            killed = _stop(slots, signals, grace_seconds)
    keeper.join(timeout=1.0)
    return 1 if killed else 0


@dataclass(slots=True)
class _Slot:
    """A child and the process that is it now; ``due`` is when the next one is started, if none runs."""

    child: Child
    listen_socket: socket.socket | None
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0
    due: float = field(default_factory=time.monotonic)

    def tend(self) -> None:
        """Note that the process ended, or start it when it is time."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._ended(self.process, now)
        if self.process is None and now >= self.due:
            self._start(now)

    def _ended(self, process: "subprocess.Popen[bytes]", now: float) -> None:
        if now - self.started >= HEALTHY_SECONDS:
            self.failures = 0
        self._wait_longer(now)
        _log.warning(
            "child.ended",
            child=self.child.name,
            pid=process.pid,
            code=process.returncode,
            again_in_seconds=round(self.due - now, 2),
        )
        self.process = None

    def _start(self, now: float) -> None:
        pass_fds = [self.listen_socket.fileno()] if self.child.pass_socket and self.listen_socket else []
        pass_fds += [each.fileno() for each in self.child.sockets]
        try:
            self.process = subprocess.Popen(
                self.child.argv,
                env={**self.child.env, _PARENT_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except OSError as error:
            self._wait_longer(now)
            _log.error("child.not_started", child=self.child.name, reason=error.strerror)
        else:
            self.started = now
            _log.info("child.started", child=self.child.name, pid=self.process.pid)

    def _wait_longer(self, now: float) -> None:
        self.due = now + min(FIRST_DELAY_SECONDS * 2 ** min(self.failures, 20), LONGEST_DELAY_SECONDS)
        self.failures += 1


class _Signals:
    """Signals as they come, each of which ends a wait at once."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self.stops = 0

    @property
    def asked_to_stop(self) -> bool:
        return self.stops > 0

    def note(self, number: int, _: FrameType | None) -> None:
        # Nothing but a count: a handler runs between any two instructions, so it must take no lock.
        if number != signal.SIGCHLD:
            self.stops += 1

    def wait(self, until: float | None) -> None:
        """Wait for a signal, or until a time of the monotonic clock."""
        seconds = None if until is None else max(0.0, until - time.monotonic())
        if select.select([self._reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._reader, 4096)


@contextmanager
def _signals() -> Generator[_Signals]:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signals = _Signals(reader)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        with _handling(signals.note, signal.SIGCHLD):
            yield signals
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None], *more: signal.Signals) -> Generator[None]:
    """Handle the signals that ask to stop, and ``more``; a SIGHUP that nohup made ignored stays so."""
    numbers = [signal.SIGTERM, signal.SIGINT, *more]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)


def _stop(slots: Sequence[_Slot], signals: _Signals, grace_seconds: float) -> bool:
    """Ask all processes to stop, and kill those that do not; tell whether there were such."""
    running = {slot.child.name: slot.process for slot in slots if slot.process is not None}
    for process in running.values():
        process.terminate()
    deadline = time.monotonic() + grace_seconds
    already = signals.stops
    while any(process.poll() is None for process in running.values()):
        if time.monotonic() >= deadline or signals.stops > max(already, 1):
            break
        signals.wait(deadline)
    left = {name: process for name, process in running.items() if process.poll() is None}
    for name, process in left.items():
        _log.warning("child.killed", child=name, pid=process.pid)
        with suppress(ProcessLookupError):
            # Its session is its own, so its own children go with it.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return bool(left)


def _keep_alive(keep_alive: Callable[[], object], stopping: threading.Event) -> None:
    failures = 0
    while not stopping.is_set():
        try:
            keep_alive()
            failures = 0
        except HilumError as error:
            failures += 1
            if not stopping.is_set():
                _log.error("keep_alive.failed", reason=str(error))
        except Exception:
            failures += 1
            _log.exception("keep_alive.failed")
        stopping.wait(_KEEP_ALIVE_SECONDS if not failures else min(2.0 ** min(failures, 20), LONGEST_DELAY_SECONDS))


def is_loopback(host: str) -> bool:
    """Whether all that a name or address stands for is this machine alone."""
    try:
        _resolve(host, 0)
    except Invalid:
        return False
    return True


def _resolve(host: str, port: int, *, anywhere: bool = False) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError) as error:
        raise Invalid(f"{host} is not an address of this machine: use 127.0.0.1.") from error
    addresses = [(family, str(address[0])) for family, _, _, _, address in found]
    loopback = all(ipaddress.ip_address(text.partition("%")[0]).is_loopback for _, text in addresses)
    if not addresses or not (loopback or anywhere):
        raise Invalid(
            f"Without credentials Hilum listens on loopback only, and {host or 'an empty host'} could be reached from "
            "other machines: use 127.0.0.1, or name the proxy that asks who it is in HILUM_TRUSTED_PROXIES."
        )
    family, text = addresses[0]
    return family, (text, port)
