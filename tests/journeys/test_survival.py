"""What survives: kill -9 of any process or of all, a full disk, a second serve; nothing acknowledged is ever lost."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Server, free_port, serving, wait_until
from tests.journeys.test_coordinator import API, upload
from tests.make import ct, folder


def counts(server: Server) -> tuple[int, int, int]:
    stats = server.get(f"{API}/stats").json()
    return stats["studies"], stats["instances"], stats["images"]


def children(server: Server, word: str) -> list[psutil.Process]:
    return server.children(word)


def test_killed_in_the_middle_of_an_import_and_begun_again_each_file_is_there_once(tmp_path: Path, data: Path) -> None:
    folder(tmp_path / "in", studies=10, series=2, instances=100)
    command = [sys.executable, "-m", "hilum", "import", str(tmp_path / "in"), "--json"]
    with serving(data) as server:
        importing = subprocess.Popen(command, env=server.environment, stdout=subprocess.DEVNULL)
        wait_until(lambda: counts(server)[1] >= 300, what="part of the import")
        importing.kill()
        importing.wait()
        acknowledged = counts(server)[1]
        for process in server.children():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        server.process.kill()
        server.process.wait()
    assert acknowledged < 2000, "the import was over before it could be killed"
    with serving(data) as server:
        assert counts(server)[1] >= acknowledged
        done = subprocess.run(command, env=server.environment, capture_output=True, text=True, check=True)
        assert '"instances"' in done.stdout
        assert counts(server) == (10, 2000, 2000)
        assert len(list((data / "objects").rglob("*.dcm"))) == 2000
        left = [path for path in (data / "objects" / ".tmp").rglob("*") if path.is_file()]
        assert {path.name for path in left} <= {"lock"}  # of the server's own processes, which write records


def test_a_killed_http_process_or_worker_comes_back(server: Server) -> None:
    for word in ("api", "worker"):
        (process,) = children(server, word)
        process.kill()
        wait_until(lambda word=word, pid=process.pid: [p for p in children(server, word) if p.pid != pid])
    wait_until(lambda: _ok(server), 60, "a ready server")
    assert server.job(upload(server, ("a", ct(7))))["state"] == "succeeded"


def test_a_killed_database_comes_back_and_has_what_was_acknowledged(data: Path) -> None:
    with serving(data) as server:
        assert server.job(upload(server, ("a", ct())))["state"] == "succeeded"
        killed = postmaster(data)
        killed.kill()
        wait_until(lambda: _runs_anew(data, killed), 60, "a database in the place of the killed one")
        wait_until(lambda: _ok(server), what="an answer after the database came back")
        assert counts(server) == (1, 1, 1)
        assert server.job(upload(server, ("b", ct(instance=2))))["state"] == "succeeded"
        assert counts(server) == (1, 2, 2)


def postmaster(data: Path) -> psutil.Process:
    """The database's process, wherever it lies and whoever started it."""
    return psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))


def _runs_anew(data: Path, killed: psutil.Process) -> bool:
    """Whether another database has come; until then connections of the killed one may answer for a moment."""
    try:
        return postmaster(data).pid != killed.pid
    except (OSError, IndexError, psutil.NoSuchProcess):
        return False


def _ok(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_serve_stops_cleanly_and_leaves_no_process(data: Path) -> None:
    with serving(data) as server:
        own = server.children()
        assert server.stop() == 0
    psutil.wait_procs(own, timeout=60)
    assert [process for process in own if process.is_running()] == []


def test_a_second_serve_is_refused_in_a_sentence_and_other_commands_join(tmp_path: Path, data: Path) -> None:
    folder(tmp_path / "in")
    with serving(data) as server:
        second = server.hilum("serve", "--port", str(free_port()), check=False)
        assert second.returncode == 1
        assert "already" in second.stderr
        assert "Traceback" not in second.stderr
        assert server.hilum("import", str(tmp_path / "in")).returncode == 0
        assert counts(server) == (1, 3, 3)
    with serving(data) as server:
        assert counts(server) == (1, 3, 3)


def test_a_taken_port_and_a_foreign_address_are_refused_in_a_sentence(tmp_path: Path, server: Server) -> None:
    port = server.url.rpartition(":")[2]
    environment = server.environment | {"HILUM_DATA": str(tmp_path / "other")}
    command = [sys.executable, "-m", "hilum", "serve", "--port"]
    taken = subprocess.run([*command, port], env=environment, capture_output=True, text=True, check=False)
    open_to_all = subprocess.run(
        [*command, str(free_port()), "--host", "0.0.0.0"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    for refused in (taken, open_to_all):
        assert refused.returncode in (1, 2)
        assert "Traceback" not in refused.stderr
        assert refused.stderr.startswith("hilum: ")


def test_a_full_disk_is_told_and_what_was_counted_is_kept(tmp_path: Path, server: Server) -> None:
    folder(tmp_path / "in", instances=4)
    studies, instances, images = counts(server)
    full = server.environment | {"HILUM_MIN_FREE_BYTES": str(1 << 60)}
    command = [sys.executable, "-m", "hilum", "import", str(tmp_path / "in")]
    done = subprocess.run(command, env=full, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "space" in done.stderr
    assert "Traceback" not in done.stderr
    assert counts(server) == (studies, instances, images)
    assert server.hilum("import", str(tmp_path / "in")).returncode == 0
    assert counts(server) == (studies + 1, instances + 4, images + 4)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_really_fills_up_keeps_what_was_acknowledged(tmp_path: Path, database_url: str) -> None:
    small = tmp_path / "data" / "objects"
    small.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        folder(tmp_path / "in", studies=8, instances=25, size=256)
        with serving(tmp_path / "data", database_url) as server:
            done = server.hilum("import", str(tmp_path / "in"), check=False)
            assert done.returncode == 1
            assert "Traceback" not in done.stderr
            _, instances, _ = counts(server)
            assert len(list(small.rglob("*.dcm"))) >= instances
            for item in server.get(f"{API}/studies").json()["items"]:
                for instance in server.get(f"{API}/studies/{item['id']}/instances").json()["items"]:
                    assert len(server.get(instance["wado_url"]).content) == instance["size"]
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_the_whole_tree_killed_at_once_starts_again(data: Path) -> None:
    with serving(data) as server:
        assert server.job(upload(server, ("a", ct())))["state"] == "succeeded"
        supervisor = psutil.Process(server.process.pid)
        everything = [supervisor, *server.children(), postmaster(data)]
        for process in everything:
            with suppress(psutil.NoSuchProcess):  # the supervisor's children end with it
                process.send_signal(signal.SIGKILL)
        server.process.wait()
    with serving(data) as server:
        assert counts(server) == (1, 1, 1)
