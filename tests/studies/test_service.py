"""Completeness and revisions of a running server: by REST, by its workers, and through their death."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, fresh_database, serving, wait_until
from tests.make import ct, uid

API = "/api/v1/imaging"
QUIET = 1.0
STORED_BEFORE = 90
"""The study that was stored before the quick server came."""


@pytest.fixture(scope="module")
def server(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a quiet time that no test outlasts."""
    folder = tmp_path_factory.mktemp("server") / "data"
    with fresh_database(cluster) as url, serving(folder, url, study_quiet_seconds=3600, workers=0) as running:
        yield running


@pytest.fixture(scope="module")
def quick(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers and a short quiet time. Before it came, a process stored a study and was killed at once
    while no other ran."""
    folder = tmp_path_factory.mktemp("quick") / "data"
    with fresh_database(cluster) as url:
        storing = subprocess.run([sys.executable, "-c", STORER, str(folder), url], check=False)
        assert storing.returncode == -signal.SIGKILL
        with serving(folder, url, study_quiet_seconds=QUIET, workers=2) as running:
            yield running


def send(server: Server, *files: bytes) -> None:
    body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files) + b"--x--"
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    answer = httpx.post(f"{server.url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code in (200, 202), answer.text


def told(server: Server, study: int) -> list[dict[str, Any]]:
    """The data of the events of a study's revisions."""
    events = server.get(f"{API}/events?type=hilum.study.revised.v1&limit=1000").json()["items"]
    return [e["data"] for e in events if e["subject"] == uid(study)]


def ask(server: Server, method: str, path: str, **options: Any) -> httpx.Response:
    return httpx.request(method, f"{server.url}{API}/studies/{path}", timeout=60, **options)


def test_a_study_is_complete_after_a_quiet_time_that_a_late_instance_begins_anew(quick: Server) -> None:
    send(quick, ct(1), ct(1, instance=2))
    time.sleep(QUIET / 2)  # some of the quiet time passes; on a slow machine perhaps all of it
    send(quick, ct(1, instance=3))
    wait_until(lambda: told(quick, 1) and told(quick, 1)[-1]["num_instances"] == 3, 60, "the revision")
    instances = ask(quick, "GET", f"{uid(1)}/instances").json()["items"]
    received = {each["sop_instance_uid"]: datetime.fromisoformat(each["received_at"]) for each in instances}
    revisions = ask(quick, "GET", f"{uid(1)}/revisions").json()["items"]
    for each in revisions:
        whole = ask(quick, "GET", f"{uid(1)}/revisions/{each['number']}").json()
        latest = max(received[one["sop_instance_uid"]] for series in whole["series"] for one in series["instances"])
        assert each["reason"] == "quiet"
        assert (datetime.fromisoformat(each["made_at"]) - latest).total_seconds() > QUIET - 0.1
    study = ask(quick, "GET", uid(1)).json()
    assert (study["revision"], study["status"]) == (len(revisions), "processed")


def test_a_study_is_complete_at_once_when_what_was_expected_is_there(server: Server) -> None:
    answer = ask(server, "PUT", f"{uid(2)}/expected", json={"instances": 3})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "source": "default", "study_instance_uid": uid(2), "instances": 3, "num_instances": 0, "revision": 0,
    }  # fmt: skip
    send(server, ct(2), ct(2, instance=2))
    send(server, ct(2, instance=3))
    assert [(e["revision"], e["reason"]) for e in told(server, 2)] == [(1, "expected")]
    send(server, ct(3), ct(3, instance=2))
    assert ask(server, "PUT", f"{uid(3)}/expected", json={"instances": 2}).json()["revision"] == 1
    assert [(e["revision"], e["reason"]) for e in told(server, 3)] == [(1, "expected")]


def test_a_study_is_complete_when_a_person_says_so(server: Server) -> None:
    send(server, ct(4))
    answer = ask(server, "POST", f"{uid(4)}/complete")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["revision"], answer.json()["status"]) == (1, "processed")
    assert ask(server, "POST", f"{uid(4)}/complete").json()["revision"] == 1
    assert [e["reason"] for e in told(server, 4)] == ["manual"]


def test_revisions_are_listed_and_opened(server: Server) -> None:
    send(server, ct(5), ct(5, 2, 1))
    ask(server, "POST", f"{uid(5)}/complete")
    send(server, ct(5, seed=3), ct(5, 2, 2), ct(5, 2, 3))
    number = ask(server, "POST", f"{uid(5)}/complete").json()["id"]
    ask(server, "DELETE", f"{uid(5)}/instances/{uid(5, 2, 1)}")
    page = ask(server, "GET", f"{number}/revisions?limit=2").json()
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 0)
    assert [
        (r["number"], r["reason"], r["num_instances"], r["num_added"], r["num_removed"], r["num_replaced"])
        for r in page["items"]
    ] == [(3, "deleted", 3, 0, 1, 0), (2, "manual", 4, 2, 0, 1)]
    one = ask(server, "GET", f"{uid(5)}/revisions/2").json()
    assert one["changes"] == {
        "added": [f"{uid(5, 2)}/{uid(5, 2, n)}" for n in (2, 3)],
        "removed": [],
        "replaced": [f"{uid(5, 1)}/{uid(5, 1, 1)}"],
    }
    assert [(s["modality"], s["num_instances"], len(s["instances"])) for s in one["series"]] == [
        ("CT", 1, 1),
        ("CT", 3, 3),
    ]
    assert one["series"] == told(server, 5)[1]["series"]
    changes = ask(server, "GET", f"{uid(5)}/revisions/2/changes").json()
    assert [(c["series_number"], c["added"], c["removed"], c["replaced"]) for c in changes] == [
        (1, 0, 0, 1),
        (2, 2, 0, 0),
    ]


def test_what_cannot_be_is_refused_in_a_sentence(server: Server) -> None:
    send(server, ct(6))
    for method, path, options, status in (
        ("GET", f"{uid(60)}/revisions", {}, 404),
        ("GET", f"{uid(6)}/revisions/1", {}, 404),
        ("GET", f"{uid(6)}/revisions/0", {}, 422),
        ("POST", f"{uid(60)}/complete", {}, 404),
        ("PUT", "not-a-uid/expected", {"json": {"instances": 1}}, 422),
        ("PUT", "999999/expected", {"json": {"instances": 1}}, 404),
        ("PUT", f"{uid(6)}/expected", {"json": {"instances": 0}}, 422),
        ("PUT", f"{uid(6)}/expected", {"json": {"instances": 1, "x": 1}}, 422),
        ("PUT", f"{uid(61)}/expected?source=nowhere", {"json": {"instances": 1}}, 404),
    ):
        answer = ask(server, method, path, **options)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
        assert answer.json()["detail"]


def test_exactly_one_revision_is_made_though_workers_are_killed(quick: Server) -> None:
    """Twelve studies come while the workers are killed again and again."""
    studies = range(10, 22)
    for study in studies:
        send(quick, *(ct(study, 1, i) for i in range(1, 4)))
    for _ in range(4):
        wait_until(lambda: len(quick.children("worker")) == 2, 60, "two workers")
        for worker in quick.children("worker"):
            worker.send_signal(signal.SIGKILL)
        time.sleep(0.7)  # so that the next ones are met at another moment of their work
    wait_until(lambda: all(told(quick, study) for study in studies), 120, "all revisions")
    assert [[e["revision"] for e in told(quick, study)] for study in studies] == [[1]] * len(studies)


STORER = """
import os, pathlib, signal, sys
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.imaging.archive.store import Archive
from tests.make import ct

data = pathlib.Path(sys.argv[1])
archive = Archive(Database(sys.argv[2], 1), LocalBlobs(data / "objects", 0), Settings(data=data, study_quiet_seconds=1))
with archive.batch(archive.source(), "dimse") as batch:
    batch.add("one", [ct(90)])
    batch.add("two", [ct(90, instance=2)])
    batch.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_timer_outlives_all_processes(quick: Server) -> None:
    """A server that comes makes the revision of what was stored by a process that is no more."""
    wait_until(lambda: told(quick, STORED_BEFORE), 60, "the revision")
    (data,) = told(quick, STORED_BEFORE)
    assert (data["revision"], data["num_instances"]) == (1, 2)
