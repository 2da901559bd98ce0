"""kill -9 in the middle of 2,000 C-STOREs over 4 associations: what was acknowledged is there, and after the modalities
have sent the rest again, as they do, every instance is there once and every revision is right."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.conftest import Server, free_port, serving, wait_until
from tests.dimse.conftest import dcmtk
from tests.make import uid
from tests.sender import Ended, Sender, instances

API = "/api/v1/imaging"
EACH = 500
KILLED_AFTER = 700
PAUSE = 0.05
"""Seconds between two instances of a sender from then on, so that it has not sent all before the kill."""
QUIET = 1.0
SECONDS = 240

pytestmark = pytest.mark.timeout(900)


@dataclass
class Modality:
    """Sends the instances of a study until each has been acknowledged."""

    study: int
    acknowledged: list[str] = field(default_factory=list[str])

    def run(self, port: int, quick: int = EACH) -> None:
        """Send what is left, the first few as fast as can be."""
        left = instances(self.study, EACH)
        for done in self.acknowledged:
            del left[done]
        with suppress(Ended), Sender(port) as sender:
            for one, data in left.items():
                if sender.store(one, data) == 0:  # a listener that outlives its database for a moment refuses
                    self.acknowledged.append(one)
                if len(self.acknowledged) > quick:
                    time.sleep(PAUSE)
            sender.release()


class Modalities:
    """Four modalities, which send side by side."""

    def __init__(self, studies: Sequence[int]) -> None:
        self.each = [Modality(study) for study in studies]
        self._threads: list[threading.Thread] = []

    def begin(self, port: int, quick: int = EACH) -> None:
        self._threads = [threading.Thread(target=one.run, args=(port, quick), daemon=True) for one in self.each]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "an association hangs"

    @property
    def acknowledged(self) -> int:
        return sum(len(one.acknowledged) for one in self.each)

    def send_until(self, port: int, count: int) -> None:
        """Send, and return in the middle of it, when so many are acknowledged."""
        self.begin(port, count // len(self.each))
        wait_until(lambda: self.acknowledged >= count, SECONDS, f"{count} acknowledged instances")

    def check_acknowledged(self, server: Server) -> None:
        """Everything acknowledged is there."""
        assert KILLED_AFTER <= self.acknowledged < EACH * len(self.each), "all were sent before anything was killed"
        for one in self.each:
            found = server.get(f"/dicom-web/studies/{uid(one.study)}/instances?limit={EACH}").json()
            there = [each["00080018"]["Value"][0] for each in found]
            assert len(there) == len(set(there))
            assert set(one.acknowledged) <= set(there)

    def send_rest(self, port: int) -> None:
        self.begin(port)
        self.end()
        assert [len(one.acknowledged) for one in self.each] == [EACH] * len(self.each)

    def check_revisions(self, server: Server) -> None:
        """Every instance is there once, the latest revision of each study holds all, and its history adds up."""
        for one in self.each:
            path = f"{API}/studies/{uid(one.study)}"
            wait_until(lambda p=path: server.get(p).json()["status"] == "processed", SECONDS, "the last revision")
            revisions = server.get(f"{path}/revisions").json()["items"][::-1]
            assert [each["number"] for each in revisions] == list(range(1, len(revisions) + 1))
            so_far = 0
            for each in revisions:
                so_far += each["num_added"]
                assert (each["num_instances"], each["num_removed"], each["num_replaced"]) == (so_far, 0, 0)
            latest = server.get(f"{path}/revisions/{len(revisions)}").json()
            listed = [i["sop_instance_uid"] for series in latest["series"] for i in series["instances"]]
            assert sorted(listed) == list(instances(one.study, EACH))
            assert server.get(path).json()["num_instances"] == EACH
        every = {given for one in self.each for given in instances(one.study, EACH)}
        stored = [one for one in _stored(server) if one in every]
        assert len(stored) == len(set(stored)) == EACH * len(self.each)
        assert server.hilum("check", "--json").returncode == 0


def _stored(server: Server) -> Iterator[str]:
    """Who was stored, by the feed."""
    path = f"{API}/events?type=hilum.instance.stored.v1&limit=1000"
    after = 0
    while items := server.get(f"{path}&after={after}").json()["items"]:
        yield from (each["subject"] for each in items)
        after = int(items[-1]["sequence"])


def kill_all(server: Server) -> None:
    """Kill a server with its whole family, its database included, as a power cut does."""
    family = [psutil.Process(server.process.pid), *server.children()]
    database = psutil.Process(int((server.data / "postgres" / "postmaster.pid").read_text().split()[0]))
    for process in (*family, *database.children(recursive=True), database):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.process.wait()


def test_serve_killed_whole(data: Path) -> None:
    sent = Modalities((1, 2, 3, 4))
    with serving(data, study_quiet_seconds=QUIET) as server:
        sent.send_until(server.dicom_port, KILLED_AFTER)
        kill_all(server)
        sent.end()
    with serving(data, study_quiet_seconds=QUIET) as server:
        sent.check_acknowledged(server)
        sent.send_rest(server.dicom_port)
        sent.check_revisions(server)


@contextmanager
def listener(server: Server, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``hilum dicom`` on a port, beside a server."""
    environment = server.environment | {"HILUM_STUDY_QUIET_SECONDS": str(QUIET)}
    command = [sys.executable, "-m", "hilum", "dicom", "--dicom-port", str(port)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_until(lambda: dcmtk("echoscu", port, check=False).returncode == 0, 120, "the listener")
            yield process
        finally:
            process.terminate()


def test_a_dicom_process_killed(server: Server) -> None:
    sent, port = Modalities((5, 6, 7, 8)), free_port()
    with listener(server, port) as process:
        sent.send_until(port, KILLED_AFTER)
        process.kill()
        sent.end()
    sent.check_acknowledged(server)
    with listener(server, port):
        sent.send_rest(port)
    sent.check_revisions(server)
