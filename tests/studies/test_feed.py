"""The feed as server-sent events: what there is and what comes, once, in order, across whatever ends."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hilum.core import feed
from hilum.core.database import Database
from hilum.core.events import Event
from hilum.imaging.archive.store import Archive
from tests.conftest import serving, wait_until
from tests.dicomweb.conftest import Web, listening

STREAM = "/api/v1/imaging/events/stream"


@pytest.fixture
def web(archive: Archive) -> Iterator[Web]:
    with listening(archive) as running:
        yield running


def emit(database: Database, *subjects: str, kind: str = "a.v1", **data: object) -> None:
    with database.transaction() as sql:
        sql.emit(*(Event(kind, "default", subject, data) for subject in subjects))


class Stream:
    """A client of the feed."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.lines = answer.iter_lines()

    def events(self, count: int) -> list[dict[str, Any]]:
        """The next events, each with the id that it came under."""
        found: list[dict[str, Any]] = []
        number = ""
        while len(found) < count:
            line = next(self.lines)
            if line.startswith("id: "):
                number = line[4:]
            elif line.startswith("data: "):
                found.append(json.loads(line[6:]) | {"under": number})
        return found

    def subjects(self, count: int) -> list[str]:
        return [event["subject"] for event in self.events(count)]


@contextmanager
def streaming(root: str, query: str = "", **headers: str) -> Iterator[Stream]:
    url = root.removesuffix("/dicom-web") + STREAM + query
    with httpx.stream("GET", url, headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        yield Stream(answer)


def test_it_tells_what_there_is_and_then_what_comes(web: Web) -> None:
    database = web.archive.database
    emit(database, "1", "2")
    with streaming(web.root) as stream:
        assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.answer.headers["cache-control"] == "no-store"
        first = stream.events(2)
        emit(database, "3")
        third = stream.events(1)
    listed = httpx.get(web.root.removesuffix("/dicom-web") + "/api/v1/imaging/events").json()["items"]
    assert [{k: v for k, v in e.items() if k != "under"} for e in first + third] == listed
    assert [e["under"] for e in first + third] == [e["sequence"] for e in listed]


def test_it_goes_on_behind_the_id_that_a_client_saw_last(web: Web) -> None:
    emit(web.archive.database, *"12345")
    with streaming(web.root) as stream:
        seen = stream.events(2)[-1]["under"]
    with streaming(web.root, **{"Last-Event-ID": seen}) as stream:
        assert stream.subjects(3) == ["3", "4", "5"]
    with streaming(web.root, f"?after={seen}") as stream:
        assert stream.subjects(1) == ["3"]
    with streaming(web.root, "?after=0", **{"Last-Event-ID": seen}) as stream:
        assert stream.subjects(1) == ["3"], "EventSource comes back to the same address"


def test_it_may_begin_now_and_tell_some_types_only(web: Web) -> None:
    emit(web.archive.database, "old")
    with streaming(web.root, "?after=now&type=b.v1&type=c.v1") as stream:
        next(stream.lines)  # it has begun
        emit(web.archive.database, "x", kind="a.v1")
        emit(web.archive.database, "y", kind="b.v1")
        emit(web.archive.database, "z", kind="c.v1")
        assert stream.subjects(2) == ["y", "z"]


def test_a_cursor_that_is_none_is_refused(web: Web) -> None:
    url = web.root.removesuffix("/dicom-web") + STREAM
    for query, headers in (
        ("?after=x", {}),
        ("?after=-1", {}),
        ("?aftr=1", {}),
        ("", {"Last-Event-ID": "abc"}),
        ("?after=99999999999999999999", {}),
    ):
        assert httpx.get(url + query, headers=headers).status_code == 422, query


def test_a_quiet_stream_is_kept_alive_and_tells_how_far_it_has_looked(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "KEEP_ALIVE_SECONDS", 0.2)
    emit(web.archive.database, "1", "2", kind="a.v1")
    with streaming(web.root, "?type=b.v1") as stream:
        lines: list[str] = []
        while lines.count(": keep-alive") < 2:
            lines.append(next(stream.lines))
    assert [line for line in lines if line.startswith("id")] == ["id: 2"]
    assert not [line for line in lines if line.startswith("data")]


def test_streams_hold_no_database_connection_and_are_as_many_as_may_be(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_STREAMS", 3)
    database = web.archive.database
    with streaming(web.root) as one, streaming(web.root) as two, streaming(web.root) as three:
        refused = httpx.get(web.root.removesuffix("/dicom-web") + STREAM)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        emit(database, "1")
        assert [each.subjects(1) for each in (one, two, three)] == [["1"]] * 3
        wait_until(lambda: database.engine.pool.checkedout() == 0, what="an idle pool")  # pyright: ignore
    wait_until(lambda: connected(web) == 3, what="room again")


def connected(web: Web) -> int:
    """How many streams can be opened."""
    count = 0
    with httpx.Client() as client:
        streams = []
        for _ in range(3):
            request = client.build_request("GET", web.root.removesuffix("/dicom-web") + STREAM)
            answer = client.send(request, stream=True)
            streams.append(answer)
            count += answer.status_code == 200
        for answer in streams:
            answer.close()
    return count


def test_a_client_that_takes_nothing_is_let_go(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SEND_SECONDS", 0.5)
    monkeypatch.setattr(feed, "MAX_STREAMS", 1)
    for _ in range(40):
        emit(web.archive.database, "big", text=os.urandom(200_000).hex())
    host, port = web.root.removeprefix("http://").removesuffix("/dicom-web").split(":")
    with socket.create_connection((host, int(port))) as lazy:
        lazy.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert lazy.recv(15) == b"HTTP/1.1 200 OK"

        def is_free() -> bool:
            with httpx.stream("GET", web.root.removesuffix("/dicom-web") + STREAM) as answer:
                return answer.status_code == 200

        wait_until(is_free, what="the place of the lazy client")


def test_pages_of_large_events_are_short(web: Web) -> None:
    for _ in range(4):
        emit(web.archive.database, "big", text=os.urandom(5_000_000).hex())
    base = web.root.removesuffix("/dicom-web")
    first = httpx.get(f"{base}/api/v1/imaging/events", timeout=60).json()
    assert 1 <= len(first["items"]) < 4
    rest = httpx.get(f"{base}/api/v1/imaging/events?after={first['next']}", timeout=60).json()
    assert len(first["items"]) + len(rest["items"]) == 4


def test_nothing_is_lost_or_told_twice_while_servers_come_and_go(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    """A client follows while the server is killed, restarted and stopped as a service manager does, and events come
    all the while."""
    seen: list[str] = []
    ended, written_all = threading.Event(), threading.Event()
    address: list[str] = []

    def follow() -> None:
        while not ended.is_set():
            try:
                headers = {"Last-Event-ID": seen[-1]} if seen else {}
                with httpx.stream("GET", address[-1] + STREAM, headers=headers, timeout=5) as answer:
                    for line in answer.iter_lines():
                        if line.startswith("id: "):
                            seen.append(line[4:])
            except (httpx.HTTPError, IndexError):
                time.sleep(0.05)

    def write() -> None:
        number = 0
        while not written_all.is_set():
            number += 1
            emit(database, str(number))
            time.sleep(0.02)

    threads = [threading.Thread(target=each, daemon=True) for each in (follow, write)]
    with serving(tmp_path / "one", database_url, workers=0) as server:
        address.append(server.url)
        for thread in threads:
            thread.start()
        wait_until(lambda: len(seen) > 30, what="events")
        (http,) = server.children("api")
        http.send_signal(signal.SIGKILL)
        before = len(seen)
        wait_until(lambda: len(seen) > before + 30, 60, "events after the kill")
        assert server.stop() == 0
        assert "graceful" not in server.log.read_text(), "an open stream keeps no process that is to end"
    with serving(tmp_path / "two", database_url, workers=0) as server:
        address.append(server.url)
        before = len(seen)
        wait_until(lambda: len(seen) > before + 30, 60, "events after the restart")
        written_all.set()
        threads[1].join()
        with database.transaction() as sql:
            written = [str(row["id"]) for row in sql.rows("select id from hilum.event order by id")]
        wait_until(lambda: len(seen) >= len(written), 60, "the last event")
        ended.set()
    threads[0].join(60)
    assert seen == written
