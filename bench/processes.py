"""What a group of processes costs in CPU time and resident memory, read from /proc; how it is started and ended.

A group is everything that descends from one started process, found by parenthood and by a mark in the environment, so
that a database which detached itself is counted and ended too.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MARK = "BENCH_RUN"


class Failed(Exception):
    """What was to be measured did not work; the message says how."""


class Group:
    """A started command and all that comes of it.

    Parameters
    ----------
    command
        Program and arguments; its output goes to `log`.
    environment
        The variables it gets, without the mark.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self._mark = f"{MARK}={secrets.token_hex(8)}"
        name, value = self._mark.split("=")
        self._command = command
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=environment | {name: value},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )

    def pids(self) -> set[int]:
        """Every live process of the group."""
        parents: dict[int, int] = {}
        found = {self._process.pid} if self._process.poll() is None else set[int]()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                fields = _stat(int(entry.name))
                marked = self._mark.encode() in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if fields[0] == "Z":
                continue
            parents[int(entry.name)] = int(fields[1])
            if marked:
                found.add(int(entry.name))
        grown = True
        while grown:
            children = {pid for pid, parent in parents.items() if parent in found} - found
            found |= children
            grown = bool(children)
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the group so far, children that ended included."""
        total = 0
        for pid in self.pids():
            try:
                fields = _stat(pid)
            except OSError:
                continue
            total += sum(int(field) for field in fields[11:15])
        return total / TICKS

    def pss_bytes(self) -> int:
        """Resident memory of the group, pages shared by several processes counted once (proportional set size)."""
        total = 0
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total

    def settle(self, window: float = 2.0, share: float = 0.03, limit: float = 60.0) -> None:
        """Wait until the group uses less than `share` of a core over `window` seconds, at most `limit` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(window)
            if self.cpu_seconds() - before < share * window:
                return

    def wait_until(self, ready: Callable[[], bool], limit: float) -> None:
        """Poll `ready` until it says yes; an ended process, or `limit` seconds, is an error that shows the log."""
        deadline = time.monotonic() + limit
        while not ready():
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
                why = "ended" if ended else f"was not ready within {limit:.0f} s"
                raise Failed(f"{' '.join(self._command)} {why}:\n{tail}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the group: by SIGTERM to the command, and what is left after 20 s by SIGKILL."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        deadline = time.monotonic() + 5
        while (left := self.pids()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: [0] state, [1] parent, [11:15] utime, stime, cutime, cstime."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float, bytes]:
    """Run a command to its end: seconds of wall time, seconds of CPU (its children included), standard output."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd="/")
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{output.decode(errors='replace')[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, output
