"""The embedded PostgreSQL of a data folder: started by the first process that needs it, joined by the others, stopped
by the last one that leaves. Users are counted by flock, so that kill -9 leaves nothing stale. What is asked of the
operating system (users, folders, processes) lies in ``hilum.core.postgres_host``, tables and sessions in
``hilum.core.database``."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import structlog
from psycopg import conninfo, pq

from hilum.core import postgres_host as host
from hilum.core.errors import InUse, OutOfSpace, Unavailable

DATABASE = "hilum"
_SOCKET = f".s.PGSQL.{host.PORT}"

# Given on the command line, where they win over the files in the cluster.
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "idle_in_transaction_session_timeout": "60s",
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A statement, and what is wrong with a value in it, may name a patient: that goes to the client, not into a log.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
}

# Before it answers at all; and in all, since it may have a long log to recover from.
_SECONDS_TO_ANSWER = 60.0
_SECONDS_TO_RECOVER = 3600.0
_SECONDS_FOR_ORPHANS = 5.0
_LOG_BYTES = 8 << 20
_LOG_BYTES_KEPT = 1 << 20

_log = structlog.get_logger()
# Servers that this process started and others still use: kept so that their end is collected.
_left_running: list[subprocess.Popen[bytes]] = []


class EmbeddedPostgres:
    """A PostgreSQL of one's own for a data folder; a context manager.

    Parameters
    ----------
    data_path
        The data folder; it is made if missing. Its database lies in ``postgres/`` there and is listening on a unix
        socket only. (As root, where the server's user cannot reach that, it lies under ``/var/lib/hilum``.)

    Raises
    ------
    Unavailable
        On entry: the server does not start, with the reason it gave.
    OutOfSpace
        On entry: the disk is full.

    Examples
    --------
    >>> with EmbeddedPostgres(Path("hilum-data")) as postgres:  # doctest: +SKIP
    ...     engine = sqlalchemy.create_engine(postgres.url)
    """

    def __init__(self, data_path: Path) -> None:
        self._given = data_path
        self._data = data_path
        self._cluster: host.Cluster | None = None
        self._users: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """The address as libpq takes it."""
        return conninfo.make_conninfo(
            host=str(self._joined.socket_folder), port=host.PORT, user=host.SUPERUSER, dbname=DATABASE
        )

    @property
    def url(self) -> str:
        """The address as SQLAlchemy takes it."""
        return _url(self._joined)

    @property
    def log_path(self) -> Path:
        """Where the server writes what happens to it."""
        return self._data / "postgres.log"

    def start(self) -> None:
        """Join the server, or start it, with a new cluster if there is none; wait until it takes connections."""
        if self._users is not None:
            return
        self._closing.clear()
        self._data = host.make_data_folder(self._given)
        with host.explained(self._data):
            try:
                with host.locked(self._data / "postgres.start"):
                    self._users = host.lock_file(self._data / "postgres.users", fcntl.LOCK_SH)
                    self._cluster = host.find_cluster(self._data) or host.make_cluster(self._data)
                    self._bring_up(self._cluster)
                    self._ensure_database()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Leave; the last user of the data folder stops the server."""
        if self._users is None:
            return
        self._closing.set()
        try:
            # Where the data folder is deleted nobody can join any more, nor lock.
            lock = host.locked(self._data / "postgres.start") if self._data.is_dir() else nullcontext()
            with host.explained(self._data), lock:
                self._leave(self._users)
        finally:
            os.close(self._users)
            self._users = None
            if self._server is not None and self._server.poll() is None:
                _left_running.append(self._server)
            self._server = None

    def is_alive(self) -> bool:
        """Whether the server takes connections now."""
        return self._cluster is not None and _ping(self._cluster) is pq.Ping.OK

    def ensure_running(self) -> bool:
        """Start the server again if it is gone; for the process that supervises the others.

        Returns
        -------
        bool
            Whether it had to be started.

        Raises
        ------
        Unavailable
            It does not start, or ``close`` was called meanwhile.
        """
        cluster = self._joined
        with host.explained(self._data):
            _trim(self.log_path)
            alive = self._server.poll() is None if self._server is not None else self.is_alive()
            if alive:
                return False
            _log.warning("postgres.gone", folder=str(cluster.folder))
            with host.locked(self._data / "postgres.start"):
                if not self._closing.is_set():
                    self._bring_up(cluster)
            return True

    @property
    def _joined(self) -> host.Cluster:
        if self._cluster is None:
            raise Unavailable(f"The database of {self._given} is not started.")
        return self._cluster

    def _bring_up(self, cluster: host.Cluster) -> None:
        """Wait until the server answers, and start it when nobody is there who could. The start lock is held."""
        host.check_socket_folder(cluster)
        began = time.monotonic()
        if self._server is not None and self._server.poll() is not None:
            self._server = None
        launched = False
        told = False
        while (state := _ping(cluster)) is not pq.Ping.OK:
            waited = time.monotonic() - began
            if state is pq.Ping.NO_RESPONSE:
                if self._server is not None and self._server.poll() is not None:
                    raise self._failure("it ended while starting")
                if not launched and not _listens(cluster) and self._launch_if_alone(cluster, waited):
                    launched = True
                    began = time.monotonic()
                    waited = 0.0
            if self._closing.is_set():
                raise Unavailable(f"The database of {self._data} was closed while it was starting.")
            if waited > (_SECONDS_TO_ANSWER if state is pq.Ping.NO_RESPONSE else _SECONDS_TO_RECOVER):
                raise self._failure(f"it does not answer after {waited:.0f} s")
            if waited > _SECONDS_FOR_ORPHANS and not told:
                told = True
                _log.info(
                    "postgres.starting", reason="it recovers, or waits for its predecessor", log=str(self.log_path)
                )
            self._closing.wait(0.01 if waited < 1 else 0.1)

    def _launch_if_alone(self, cluster: host.Cluster, waited: float) -> bool:
        processes = host.processes_of(cluster)
        if not processes:
            self._launch(cluster)
            return True
        # A server killed outright leaves children that end by themselves, unless they are deep in a computation.
        if waited > _SECONDS_FOR_ORPHANS and not any(processes.values()):
            for pid in processes:
                host.send(pid, signal.SIGQUIT)
        return False

    def _launch(self, cluster: host.Cluster) -> None:
        # Nobody lives here: what would make the server refuse was left by a kill.
        for stale in (
            cluster.folder / "postmaster.pid",
            cluster.socket_folder / _SOCKET,
            cluster.socket_folder / f"{_SOCKET}.lock",
        ):
            stale.unlink(missing_ok=True)
        host.make_socket_folder(cluster)
        binaries = host.find_binaries(cluster.account)
        own = {"cluster_name": cluster.name, "unix_socket_directories": str(cluster.socket_folder)}
        settings = [part for name, value in (_OPTIONS | own).items() for part in ("-c", f"{name}={value}")]
        _trim(self.log_path)
        log = host.open_private(self.log_path, os.O_WRONLY | os.O_APPEND)
        try:
            self._log_start = os.fstat(log).st_size
            self._server = host.spawn(
                [str(binaries / "postgres"), "-D", str(cluster.folder), "-p", str(host.PORT), *settings],
                cluster.account,
                log,
            )
        finally:
            os.close(log)

    def _failure(self, reason: str) -> Unavailable | OutOfSpace:
        output = ""
        if self._server is not None:
            with suppress(OSError), self.log_path.open("rb") as log:
                log.seek(self._log_start)
                output = log.read(1 << 16).decode(errors="replace")
        line = host.last_useful_line(output) if output.strip() else reason
        if "No space left" in output:
            return OutOfSpace(f"The disk of {self._data} is full: {line}. Log: {self.log_path}")
        return Unavailable(f"PostgreSQL did not start: {line}. Log: {self.log_path}")

    def _ensure_database(self) -> None:
        maintenance = conninfo.make_conninfo(self.dsn, dbname="postgres", connect_timeout=30)
        try:
            with psycopg.connect(maintenance, autocommit=True) as connection:
                if not connection.execute("select from pg_database where datname = %s", [DATABASE]).fetchall():
                    connection.execute(f"create database {DATABASE}")
        except psycopg.Error as error:
            raise Unavailable(f"The database of {self._data} refuses the connection: {error}") from error

    def _leave(self, users: int) -> None:
        """Stop the server if nobody else uses it. The start lock is held, so that nobody joins meanwhile."""
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if self._cluster is None:
            return
        if not host.stop_processes(self._cluster, self._has_ended):
            _log.warning("postgres.still_running", folder=str(self._cluster.folder))
            return
        host.remove_socket_folder(self._cluster)

    def _has_ended(self, pid: int) -> bool:
        for server in (self._server, *_left_running):
            if server is not None and server.pid == pid:
                return server.poll() is not None
        return host.has_ended(pid)


def embedded_url(data_path: Path) -> str:
    """The address of a data folder's own database, as SQLAlchemy takes it, whether it runs now or not; empty when there
    is none yet, or none that this user could run."""
    try:
        cluster = host.find_cluster(data_path.resolve())
    except (OSError, Unavailable):
        return ""
    return _url(cluster) if cluster else ""


def remove_database(data_path: Path) -> None:
    """Delete the embedded database of a data folder, wherever it lies; a folder that has none stays as it is.

    Raises
    ------
    InUse
        A process still uses it.
    """
    if not data_path.is_dir():
        return
    data = data_path.resolve()
    with host.explained(data), host.locked(data / "postgres.start"):
        try:
            users = host.lock_file(data / "postgres.users", fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"The database of {data} is in use; stop hilum there first.") from None
        try:
            cluster = host.find_cluster(data)
            if cluster is None:
                return
            host.stop_processes(cluster)
            shutil.rmtree(cluster.folder)
            if cluster.folder != data / "postgres":
                (data / "postgres").unlink()
        finally:
            os.close(users)


@contextmanager
def serve_lock(data_path: Path) -> Generator[None]:
    """Hold the right to serve a data folder, which one process has at a time; other commands do not ask for it.

    Raises
    ------
    InUse
        Another process serves it; the sentence names its pid.
    """
    data = host.make_data_folder(data_path)
    path = data / "serve.lock"
    with host.explained(data):
        try:
            handle = host.lock_file(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = path.read_text(encoding="utf-8", errors="replace").strip()
            raise InUse(
                f"hilum serve already runs on {data} (process {pid or 'unknown'}): stop it first, or give another "
                "folder with --data. Other commands, such as hilum import, work beside it."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    try:
        yield
    finally:
        os.ftruncate(handle, 0)
        os.close(handle)


def _url(cluster: host.Cluster) -> str:
    folder = quote(str(cluster.socket_folder), safe="/")
    return f"postgresql+psycopg://{host.SUPERUSER}@/{DATABASE}?host={folder}&port={host.PORT}"


def _ping(cluster: host.Cluster) -> pq.Ping:
    address = conninfo.make_conninfo(
        host=str(cluster.socket_folder), port=host.PORT, user=host.SUPERUSER, dbname="postgres", connect_timeout=5
    )
    return pq.Ping(pq.PGconn.ping(os.fsencode(address)))


def _listens(cluster: host.Cluster) -> bool:
    """Whether a process listens on the socket, even one that is too busy, or stopped, to answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(os.fsencode(cluster.socket_folder / _SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
    return True


def _trim(log: Path) -> None:
    """Keep the server's log small: its tail goes to ``postgres.log.1``. It is written in append mode, so may be cut."""
    try:
        if log.stat().st_size <= _LOG_BYTES:
            return
    except FileNotFoundError:
        return
    with os.fdopen(host.open_private(log, os.O_RDWR), "r+b") as current:
        current.seek(-_LOG_BYTES_KEPT, os.SEEK_END)
        old = host.open_private(log.with_name(f"{log.name}.1"), os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(old, "wb") as kept:
            kept.write(current.read(_LOG_BYTES_KEPT))
        current.truncate(0)
