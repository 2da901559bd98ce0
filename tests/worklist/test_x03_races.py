"""Many at once, and what survives: one claim a workitem however many race for it, and each change told once, though
servers are killed."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psutil
import pytest
import structlog
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from hilum.core.database import Database
from hilum.core.errors import NotFound
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.worklist import courier, reports, subscriptions, workitems
from hilum.imaging.worklist.dataset import check_data_set
from tests.conftest import Server, fresh_database, serving, wait_until
from tests.journeys.test_survival import children
from tests.worklist.conftest import Json, Worklist, element, gist, new_uid, read, value, workitem

ALL = "1.2.840.10008.5.1.4.34.5"


@contextmanager
def database_of(url: str) -> Iterator[tuple[Database, SourceRef]]:
    """The catalogue that a server works on, and its default source."""
    database = Database(url)
    with database.transaction() as sql:
        (row,) = sql.rows("select id, key from hilum.source where key = 'default'")
    yield database, SourceRef(int(str(row["id"])), "default")
    database.close()


def request(server: Server, method: str, path: str, data: Json | None = None) -> tuple[int, str]:
    """One request on a connection of its own: its status, and the text of its Warning."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request(method, f"/dicom-web{path}", json.dumps(data) if data else None)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, (answer.getheader("Warning") or "").partition(": ")[2]


@pytest.fixture(scope="module")
def two(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two processes; its tests have subscribers and workitems of their own."""
    data = tmp_path_factory.mktemp("two") / "data"
    with fresh_database(cluster) as url, serving(data, url, http_processes=2, workers=0) as server:
        yield server


def test_x03_a_hundred_clients_race_for_twenty_workitems(two: Server, node: str) -> None:
    uids = [new_uid() for _ in range(20)]
    for uid in uids:
        assert request(two, "POST", f"/workitems?{uid}", workitem())[0] == 201
    assert request(two, "POST", f"/workitems/{ALL}/subscribers/{node}")[0] == 201
    start = threading.Barrier(100)
    outcomes: list[tuple[str, str, int, str]] = []

    def race(number: int) -> None:
        uid, transaction = uids[number % 20], new_uid()
        claim = {"00741000": element("CS", "IN PROGRESS"), "00081195": element("UI", transaction)}
        start.wait()
        outcomes.append((uid, transaction, *request(two, "PUT", f"/workitems/{uid}/state", claim)))

    clients = [threading.Thread(target=race, args=(number,)) for number in range(100)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    refused = (400, "The Transaction UID is incorrect.")
    assert Counter(outcome[2:] for outcome in outcomes) == {(200, ""): 20, refused: 80}
    holders = {uid: transaction for uid, transaction, status, _ in outcomes if status == 200}
    assert set(holders) == set(uids)
    # Only the holder changes the state.
    for uid, transaction, status, _ in outcomes:
        cancel = {"00741000": element("CS", "CANCELED"), "00081195": element("UI", transaction)}
        if status != 200:
            assert request(two, "PUT", f"/workitems/{uid}/state", cancel) == refused
    for uid, transaction in holders.items():
        cancel = {"00741000": element("CS", "CANCELED"), "00081195": element("UI", transaction)}
        assert request(two, "PUT", f"/workitems/{uid}/state", cancel) == (200, "")
    with connect(f"ws{two.url[4:]}/dicom-web/subscribers/{node}") as socket:
        told = Counter(gist(one)[::2] for one in read(socket, 40))
    assert told == Counter((uid, state) for uid in uids for state in ("IN PROGRESS", "CANCELED"))


class Watcher:
    """A subscriber that comes back whenever its socket is lost, and says what it has seen."""

    def __init__(self, server: Server, ae_title: str) -> None:
        self.seen: list[Json] = []
        self.lost = 0
        self._url = f"ws{server.url[4:]}/dicom-web/subscribers/{ae_title}"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(30)

    def _watch(self) -> None:
        while not self._done.is_set():
            after = value(self.seen[-1], "00000110") if self.seen else 0
            with suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError):
                self._read(f"{self._url}?after={after}")
            self.lost += 1

    def _read(self, url: str) -> None:
        with connect(url) as socket:
            while not self._done.is_set():
                with suppress(TimeoutError):
                    self.seen.append(json.loads(socket.recv(timeout=0.2)))


def test_x03_each_change_is_told_once_though_the_processes_are_killed(two: Server, node: str) -> None:
    with database_of(two.environment["HILUM_DATABASE_URL"]) as (database, source):
        assert request(two, "POST", f"/workitems/{ALL}/subscribers/{node}")[0] == 201
        watcher = Watcher(two, node)
        made: list[tuple[str, str]] = []

        def change(times: int) -> None:
            for _ in range(times):
                uid = new_uid()
                workitems.create(database, source, check_data_set(workitem()), uid, "test")
                workitems.change_state(database, source, uid, "IN PROGRESS", new_uid(), "test")
                made.extend([(uid, "SCHEDULED"), (uid, "IN PROGRESS")])

        change(10)
        for _ in range(2):
            wait_until(lambda: len(watcher.seen) >= len(made) - 10, 120, "most of the reports")
            changing = threading.Thread(target=change, args=(40,))
            changing.start()
            killed = children(two, "api")
            for process in killed:
                process.kill()
            changing.join()
            wait_until(lambda gone=killed: {*children(two, "api")} - {*gone}, 120, "another process")
        wait_until(lambda: len(watcher.seen) >= len(made), 120, "all reports")
        change(1)
        wait_until(lambda: len(watcher.seen) >= len(made), 120, "the last reports")
        watcher.stop()
        assert watcher.lost >= 2
        assert [gist(one)[::2] for one in watcher.seen] == made


def test_x03_what_happens_while_all_is_killed_is_told_after_the_restart(
    cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    def waiting() -> int:
        with database.transaction() as sql:
            return len(sql.rows("select 1 from hilum.worklist_report where sent_at is null"))

    with fresh_database(cluster) as url, database_of(url) as (database, source):
        uids = [new_uid() for _ in range(3)]
        with serving(tmp_path / "data", url, workers=0) as server:
            for uid in uids:
                assert request(server, "POST", f"/workitems?{uid}", workitem())[0] == 201
                assert request(server, "POST", f"/workitems/{uid}/subscribers/WATCH")[0] == 201
            with connect(f"ws{server.url[4:]}/dicom-web/subscribers/WATCH") as socket:
                assert [gist(one)[::2] for one in read(socket, 3)] == [(uid, "SCHEDULED") for uid in uids]
                wait_until(lambda: not waiting(), what="all noted")
                its = psutil.Process(server.process.pid).children(recursive=True)
                server.process.kill()  # the first, for it would begin others
                server.process.wait()
                for process in its:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
        for uid in uids:
            workitems.change_state(database, source, uid, "IN PROGRESS", new_uid(), "test")
        with (
            serving(tmp_path / "data", url, workers=0) as server,
            connect(f"ws{server.url[4:]}/dicom-web/subscribers/WATCH") as socket,
        ):
            assert [gist(one)[::2] for one in read(socket, 3)] == [(uid, "IN PROGRESS") for uid in uids]
            wait_until(lambda: not waiting(), what="all noted")


def test_x03_changes_of_one_process_are_told_by_another(
    worklist: Worklist, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database rings: the change is not made by the server that holds the socket, which does not look by itself."""
    monkeypatch.setattr(courier, "POLL_SECONDS", 3600)
    uid = worklist.create()
    with worklist.open(node) as socket:
        worklist.subscribe(uid, node)
        read(socket, 1)
        for _ in range(3):
            with worklist.archive.database.transaction() as sql:
                (row,) = sql.rows("select id from hilum.worklist_subscriber where ae_title = %s", (node,))
                reports.tell(sql, [int(str(row["id"]))], ["{}"])
            socket.recv(timeout=60)


def test_x03_a_slow_reader_is_dropped_and_served_again(
    worklist: Worklist, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = worklist.create()
    worklist.subscribe(uid, node)
    large = json.dumps({"00001000": element("UI", uid), "00741238": element("LT", "x" * 60_000)})
    with worklist.archive.database.transaction() as sql:
        (row,) = sql.rows("select id from hilum.worklist_subscriber where ae_title = %s", (node,))
        reports.tell(sql, [int(str(row["id"]))], [large] * 250)
    seen: list[int] = []
    log = structlog.testing.CapturingLogger()
    with monkeypatch.context() as hasty:
        hasty.setattr(courier, "SEND_SECONDS", 0.5)
        hasty.setattr(courier, "log", log)
        with worklist.open(node, compression=None, max_queue=1) as socket:
            wait_until(
                lambda: "worklist.slow_reader" in [call.args[0] for call in log.calls], what="its patience's end"
            )
            with pytest.raises(ConnectionClosed):
                while True:
                    seen.append(int(str(value(json.loads(socket.recv(timeout=60)), "00000110"))))
    assert len(seen) < 251
    with worklist.open(node, f"?after={seen[-1]}") as socket:
        seen += [int(str(value(one, "00000110"))) for one in read(socket, 251 - len(seen))]
    assert seen == list(range(1, 252))


def test_x03_changes_and_subscriptions_at_once_do_not_lock_each_other_out(worklist: Worklist) -> None:
    database, source = worklist.archive.database, worklist.archive.source()
    failed: list[BaseException] = []
    uids = [worklist.create() for _ in range(4)]

    def again(work: Callable[[int], object]) -> Callable[[], None]:
        def loop() -> None:
            try:
                for number in range(25):
                    work(number)
            except BaseException as error:
                failed.append(error)

        return loop

    def widely(number: int) -> None:
        title = f"WIDE{number % 3}"
        keys = [("WorklistLabel", "AI")] if number % 2 else None
        subscriptions.subscribe_widely(database, source, title, keys, deletion_lock=number % 5 == 0)
        with suppress(NotFound):
            subscriptions.unsubscribe(database, source, ALL, title)

    works = [
        widely,
        widely,
        lambda number: workitems.create(database, source, check_data_set(workitem()), "", "test"),
        lambda number: workitems.update(
            database, source, uids[number % 4], {"00741204": element("LO", str(number))}, "", "test"
        ),
        lambda number: subscriptions.subscribe(
            database, source, uids[-number % 4], f"WIDE{number % 3}", deletion_lock=False
        ),
        lambda number: workitems.forget(database, timedelta(0)),
    ]
    threads = [threading.Thread(target=again(work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_x03_an_old_connection_notes_nothing_once_a_new_one_takes_over(worklist: Worklist, node: str) -> None:
    database, source = worklist.archive.database, worklist.archive.source()
    worklist.subscribe(worklist.create(), node)
    old = courier._take_over(database, source, node, None)  # pyright: ignore[reportPrivateUsage]
    noting = threading.Thread(target=lambda: courier._note(database, old, 1))  # pyright: ignore[reportPrivateUsage]

    def waits() -> bool:
        with database.transaction() as sql:
            return bool(
                sql.rows(
                    "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
                )
            )

    with database.transaction() as sql:  # a new connection in the middle of taking over
        sql.rows("update hilum.worklist_subscriber set connection = %s where ae_title = %s", (uuid4(), node))
        noting.start()
        wait_until(lambda: waits() or not noting.is_alive(), what="the note")
    noting.join()
    with database.transaction() as sql:
        (row,) = sql.rows(
            "select sent_at from hilum.worklist_report r join hilum.worklist_subscriber s on s.id = r.subscriber_id "
            "where ae_title = %s",
            (node,),
        )
    assert row["sent_at"] is None
