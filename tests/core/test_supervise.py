"""What is supervised runs, comes back, and is gone when its supervisor is, by request or by kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hilum.core.errors import InUse, Invalid
from hilum.core.supervise import bind, check_loopback
from tests.ports import free_port

# A supervisor of children that note each start in a file; what it says on its output is what happened.
SUPERVISOR = """
import json, os, sys, time
import structlog
from hilum.core import supervise
structlog.configure([structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
options = json.loads(sys.argv[1])
for name, value in options.get("constants", {}).items():
    setattr(supervise, name, value)
if options.get("beats"):
    supervise._KEEP_ALIVE_SECONDS = 0.02
def keep_alive():
    if options.get("beats"):
        with open(options["beats"], "a") as file:
            file.write("beat\\n")
        raise RuntimeError("one that goes wrong does not end the others")
listener = supervise.bind("127.0.0.1", 0) if options.get("listen") else None
def argv(code):
    return [sys.executable, "-c", code, options["folder"], str(listener.fileno() if listener else -1)]
children = [
    supervise.Child(name, argv(code), bool(listener), dict(os.environ)) for name, code in options["children"].items()
]
def ready():
    print(json.dumps({"ready": listener.getsockname()[1] if listener else 0}), flush=True)
sys.exit(supervise.run(children, listener, keep_alive, ready, options.get("grace", 10)))
"""

CHILD = """
import os, signal, socket, sys, time
from hilum.core.supervise import die_with_parent
die_with_parent()
folder, listener = sys.argv[1:3]
{before}
with open(os.path.join(folder, "{name}"), "a") as file:
    file.write(f"{{os.getpid()}}\\n")
{then}
"""

WAIT = "while True: time.sleep(0.05)"  # pause() would miss a signal that comes just before it
ANSWER = """
server = socket.socket(fileno=int(listener))
while True:
    client, _ = server.accept()
    client.sendall(str(os.getpid()).encode())
    client.close()
"""


@pytest.fixture(autouse=True)
def _as_at_a_terminal() -> Iterator[None]:
    """Have what is started here heed SIGHUP, though the tests themselves may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def child(name: str, then: str = WAIT, before: str = "") -> str:
    return CHILD.format(name=name, then=then, before=before)


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the awaited state did not come"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Supervised:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, children: dict[str, str], **options: object) -> None:
        self.folder = folder
        self.log = folder / "log"
        given = json.dumps({"folder": str(folder), "children": children, **options})
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, given], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        line = next((line for line in self.process.stdout if line.startswith("{")), "")
        assert line, self.log.read_text()
        self.port = int(json.loads(line)["ready"])

    def pids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_start(self, name: str, times: int = 1) -> int:
        eventually(lambda: len(self.pids(name)) >= times)
        return self.pids(name)[-1]

    def delays(self) -> list[float]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line["again_in_seconds"] for line in lines if "again_in_seconds" in line]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@contextmanager
def supervised(folder: Path, children: dict[str, str], **options: object) -> Iterator[Supervised]:
    supervisor = Supervised(folder, children, **options)
    try:
        yield supervisor
    finally:
        if supervisor.process.poll() is None:
            supervisor.process.kill()
            supervisor.process.communicate()


def ask(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        return int(client.recv(100))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_children_in_order_and_the_exit_code_is_0(tmp_path: Path, number: signal.Signals) -> None:
    polite = "signal.signal(signal.SIGTERM, lambda *_: (open(os.path.join(folder, 'bye'), 'w').close(), sys.exit(0)))"
    with supervised(tmp_path, {"a": child("a", before=polite), "b": child("b")}) as supervisor:
        pids = [supervisor.await_start(name) for name in ("a", "b")]
        assert supervisor.stop(number) == 0
        assert not any(map(lives, pids))
        assert (tmp_path / "bye").exists()


def test_a_signal_is_heeded_when_a_shell_started_it_in_the_background_with_sigint_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with supervised(tmp_path, {"a": child("a")}) as supervisor:
            pid = supervisor.await_start("a")
            assert supervisor.stop(signal.SIGINT) == 0
            assert not lives(pid)
    finally:
        signal.signal(signal.SIGINT, before)


def test_children_do_not_inherit_an_ignored_interrupt_and_stand_apart_from_the_terminal(tmp_path: Path) -> None:
    then = (
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, os.getsid(0) == os.getpid(), "
        "file=open(os.path.join(folder, 'state'), 'w'), flush=True); signal.pause()"
    )
    with supervised(tmp_path, {"a": child("a", then)}) as supervisor:
        eventually(lambda: (tmp_path / "state").exists() and (tmp_path / "state").read_text())
        assert (tmp_path / "state").read_text() == "True True\n"
        supervisor.stop()


def test_a_killed_child_is_started_again_while_the_other_runs_on(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": child("a"), "b": child("b")}) as supervisor:
        first, other = supervisor.await_start("a"), supervisor.await_start("b")
        os.kill(first, signal.SIGKILL)
        second = supervisor.await_start("a", 2)
        assert second != first
        assert supervisor.pids("b") == [other]
        assert lives(other)
        assert supervisor.stop() == 0


def test_one_that_ends_at_once_is_started_more_and_more_seldom_and_a_healthy_time_forgives(tmp_path: Path) -> None:
    at_once = "import sys; open(sys.argv[1] + '/a', 'a').write('0\\n')"
    with supervised(tmp_path, {"a": at_once}, constants={"FIRST_DELAY_SECONDS": 0.01}) as supervisor:
        supervisor.await_start("a", 6)
        assert supervisor.delays()[:5] == [0.01, 0.02, 0.04, 0.08, 0.16]
        supervisor.stop()

    healthy = tmp_path / "healthy"
    healthy.mkdir()
    always = {"HEALTHY_SECONDS": 0.0, "FIRST_DELAY_SECONDS": 0.01}
    with supervised(healthy, {"a": at_once}, constants=always) as supervisor:
        supervisor.await_start("a", 6)
        assert set(supervisor.delays()) == {0.01}
        supervisor.stop()


def test_a_program_that_is_missing_does_not_end_the_others(tmp_path: Path) -> None:
    code = SUPERVISOR.replace("sys.exit(", "children.append(supervise.Child('x', ['/no/such'], False, {}));sys.exit(")
    given = json.dumps({"folder": str(tmp_path), "children": {"a": child("a")}})
    with subprocess.Popen([sys.executable, "-c", code, given], stdout=subprocess.DEVNULL) as process:
        eventually(lambda: (tmp_path / "a").exists())
        process.terminate()
        assert process.wait(30) == 0


def test_children_share_the_socket_and_no_connection_is_refused_while_one_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": child("a", ANSWER), "b": child("b", ANSWER)}, listen=True) as supervisor:
        pids = {supervisor.await_start("a"), supervisor.await_start("b")}
        assert ask(supervisor.port) in pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(map(lives, pids)))
        answers = {ask(supervisor.port) for _ in range(20)}
        assert not answers & pids
        assert supervisor.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        ask(supervisor.port)


def test_a_connection_waits_for_the_first_child_to_come_up(tmp_path: Path) -> None:
    before = "\nwhile not os.path.exists(os.path.join(folder, 'go')): time.sleep(0.01)"
    with supervised(tmp_path, {"a": child("a", ANSWER, before)}, listen=True) as supervisor:
        with socket.create_connection(("127.0.0.1", supervisor.port), timeout=20) as client:
            (tmp_path / "go").touch()
            assert int(client.recv(100)) == supervisor.await_start("a")
        supervisor.stop()


def test_after_kill_9_of_the_supervisor_its_children_end(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": child("a"), "b": child("b")}) as supervisor:
        pids = [supervisor.await_start(name) for name in ("a", "b")]
        supervisor.process.kill()
        supervisor.end()
        eventually(lambda: not any(map(lives, pids)))


def test_a_child_that_finds_its_supervisor_gone_before_it_could_ask_the_kernel_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "SUPERVISOR_PID": "1"}
    done = subprocess.run([sys.executable, "-c", child("a"), str(tmp_path), "-1"], env=environment, check=False)
    assert done.returncode == 1
    assert not (tmp_path / "a").exists()


STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def test_one_that_will_not_stop_is_killed_with_its_own_children_in_bounded_time(tmp_path: Path) -> None:
    before = (
        STUBBORN
        + "\nif os.fork() == 0:\n    open(os.path.join(folder, 'grandchild'), 'w').write(f'{os.getpid()}\\n')\n"
        + "    signal.pause()"
    )
    with supervised(tmp_path, {"a": child("a", before=before), "b": child("b")}, grace=0.3) as supervisor:
        pids = [supervisor.await_start(name) for name in ("a", "b", "grandchild")]
        began = time.monotonic()
        assert supervisor.stop() == 1
        assert time.monotonic() - began < 10
        eventually(lambda: not any(map(lives, pids)))


def test_a_second_signal_does_not_wait_for_the_stubborn(tmp_path: Path) -> None:
    with supervised(tmp_path, {"a": child("a", before=STUBBORN), "b": child("b")}, grace=3600) as supervisor:
        pid, other = supervisor.await_start("a"), supervisor.await_start("b")
        supervisor.process.send_signal(signal.SIGINT)
        eventually(lambda: not lives(other))
        assert lives(pid)
        assert supervisor.stop(signal.SIGINT) == 1
        assert not lives(pid)


def test_what_it_keeps_alive_is_looked_after_again_and_again_even_when_that_fails(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    constants = {"LONGEST_DELAY_SECONDS": 0.02}
    with supervised(tmp_path, {"a": child("a")}, beats=str(beats), constants=constants) as supervisor:
        eventually(lambda: beats.exists() and len(beats.read_text().splitlines()) >= 3)
        assert lives(supervisor.await_start("a"))
        assert supervisor.stop() == 0


def test_leaving_on_a_signal_unwinds_what_was_entered(tmp_path: Path) -> None:
    script = (
        "import time\nfrom hilum.core.supervise import exit_on_signals\n"
        "with exit_on_signals():\n    try:\n        print('in', flush=True)\n"
        "        while True: time.sleep(0.05)\n"
        "    finally:\n        print('unwound', flush=True)\n"
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
            process.send_signal(number)
            assert process.stdout.read() == "unwound\n"
        assert process.returncode == 128 + number


def test_only_loopback_is_listened_on() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1"):
        check_loopback(host)
    for host in ("0.0.0.0", "", "::", "8.8.8.8", "192.168.1.1", "::ffff:8.8.8.8", "fe80::1"):
        with pytest.raises(Invalid, match=r"loopback|not an address"):
            check_loopback(host)
    for host in ("no.such.host.invalid", "a" * 300, "exa mple"):
        with pytest.raises(Invalid, match="not an address"):
            check_loopback(host)
    with pytest.raises(Invalid):
        bind("0.0.0.0", 0)


def test_a_taken_port_is_named_and_one_that_was_just_left_is_free() -> None:
    port = free_port()
    with bind("127.0.0.1", port) as listener:
        with pytest.raises(InUse, match=f"Port {port} on 127.0.0.1 is taken"):
            bind("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)
    with bind("127.0.0.1", port) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)
        assert not listener.get_inheritable()
