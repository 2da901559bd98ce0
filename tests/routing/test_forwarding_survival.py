"""Real servers and their workers: what was to be sent arrives once, whatever is killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.further import chosen
from hilum.imaging.routing import matching
from tests.conftest import Server, _ready, fresh_database, serving, wait_until
from tests.dicomweb.conftest import BOUNDARY
from tests.make import ct

INSTANCES = 200


class Machine:
    """A Hilum with several processes, which all can be killed at once."""

    def __init__(self, server: Server, database: Database) -> None:
        self.server = server
        self.database = database

    def processes(self) -> list[psutil.Process]:
        return [psutil.Process(self.server.process.pid), *self.server.children()]

    def kill(self) -> None:
        found = self.processes()
        for process in found:
            with suppress(psutil.NoSuchProcess):  # the first one's children end with it
                process.kill()
        psutil.wait_procs(found, 60)
        self.server.process.wait(60)
        with self.database.transaction() as sql:  # nobody holds a lease now; to wait for their end would take 20 s
            sql.rows("update hilum.routing_item set leased_until = now() where state = 'sending'")

    def start(self) -> None:
        with self.server.log.open("ab") as output:
            self.server.process = subprocess.Popen(
                [sys.executable, "-m", "hilum", "serve"], env=self.server.environment, stdout=output, stderr=output
            )
        wait_until(lambda: _ready(self.server), 120, "a ready server")

    def post(self, path: str, body: object = None) -> httpx.Response:
        answer = httpx.post(f"{self.server.url}/api/v1/imaging{path}", json=body, timeout=60)
        assert answer.status_code < 300, answer.text
        return answer

    def get(self, path: str) -> httpx.Response:
        return self.server.get(f"/api/v1/imaging{path}")

    def held(self) -> dict[str, str]:
        with self.database.transaction() as sql:
            rows = sql.rows("select sop_instance_uid, digest from hilum.instance")
        return {str(row["sop_instance_uid"]): str(row["digest"]) for row in rows}

    def arrivals(self) -> list[str]:
        with self.database.connect() as connection:
            events = read_events(connection, "http://hilum", limit=10_000, types=[matching.STORED])
        return [str(event["subject"]) for event in events]

    def hear(self) -> None:
        """Tell the rules of every event, twice."""
        with self.database.connect() as connection:
            events = read_events(connection, "http://hilum", limit=10_000, types=[matching.STORED])
        for event in (*events, *events):
            matching.handle(self.database, chosen(()), event)


@pytest.fixture
def machines(cluster: EmbeddedPostgres, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """One that forwards and one that receives."""
    with (
        fresh_database(cluster) as here,
        fresh_database(cluster) as there,
        serving(tmp_path / "here", here, workers=2) as one,
        serving(tmp_path / "there", there) as two,
    ):
        found = Machine(one, Database(here, 2)), Machine(two, Database(there, 2))
        yield found
        for machine in found:  # those that were started anew
            if machine.server.process.poll() is None:
                machine.server.stop()
            machine.database.close()


def stow(url: str, files: list[bytes]) -> None:
    body = b"".join(
        b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (BOUNDARY.encode(), one) for one in files
    )
    headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}
    answer = httpx.post(
        f"{url}/studies", content=body + b"--%s--\r\n" % BOUNDARY.encode(), headers=headers, timeout=120
    )
    assert answer.status_code == 200, answer.text


def in_full_swing(machine: Machine, rule: int) -> bool:
    """Whether something is being sent; on a machine quick enough all may have been."""
    counts = machine.get(f"/rules/{rule}").json()["counts"]
    return bool(counts["sending"]) or counts["sent"] == INSTANCES


def test_each_instance_arrives_once_though_the_target_is_down_and_everything_is_killed_twice(
    machines: tuple[Machine, Machine],
) -> None:
    here, there = machines
    root = f"{there.server.url}/dicom-web"
    there.server.stop()
    address = {"url": root, "retry_seconds": 0.1, "timeout_seconds": 20}
    to = here.post("/destinations", {"name": "PACS", "kind": "stow", "address": address}).json()["id"]
    rule = here.post("/rules", {"name": "All", "destination_id": to}).json()["id"]
    for study in range(1, 5):
        stow(f"{here.server.url}/dicom-web", [ct(study, 1, n, size=128) for n in range(1, INSTANCES // 4 + 1)])
    here.hear()
    wait_until(lambda: here.get(f"/destinations/{to}").json()["failures"] > 1, 60, "a target that is missed")
    here.kill()
    here.start()
    there.start()
    wait_until(there.arrivals, 120, "the first arrival")
    frozen = there.processes()
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    wait_until(lambda: in_full_swing(here, rule), 60, "sending in full swing")
    here.kill()
    for process in frozen:
        process.send_signal(signal.SIGCONT)
    here.start()
    here.hear()
    wait_until(lambda: here.get(f"/rules/{rule}").json()["counts"]["sent"] == INSTANCES, 150, "all of them sent")
    assert here.get(f"/rules/{rule}").json()["counts"] | {"per_minute": 0} == {
        "waiting": 0, "sending": 0, "sent": INSTANCES, "dead": 0, "per_minute": 0, "oldest_at": None
    }  # fmt: skip
    assert len(here.held()) == INSTANCES
    assert there.held() == here.held()
    assert sorted(there.arrivals()) == sorted(here.held())
