"""A worklist behind a real HTTP server, and the workitem that most tests begin with."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from tests.conftest import fresh_database
from tests.dicomweb.conftest import listening

Json = dict[str, object]

STATE = "00741000"
TRANSACTION = "00081195"
_numbers = itertools.count(1)


def element(vr: str, *values: object) -> Json:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def code(value: str, meaning: str = "a meaning") -> Json:
    return {
        "00080100": element("SH", value),
        "00080102": element("SH", "99TEST"),
        "00080104": element("LO", meaning),
    }


def new_uid() -> str:
    return f"1.2.826.0.1.3680043.10.9.{next(_numbers)}"


def workitem(**changes: Json) -> Json:
    """A workitem as one is created, whole by PS3.4 table CC.2.5-3; changes by tag with a t before it."""
    data: Json = {
        "00081080": element("LO"),
        "00081084": element("SQ"),
        TRANSACTION: element("UI"),
        "00100010": element("PN", {"Alphabetic": "Doe^Jane"}),
        "00100020": element("LO", "P-1"),
        "00100021": element("LO"),
        "00100024": element("SQ"),
        "00100030": element("DA", "19700101"),
        "00100040": element("CS", "F"),
        "00101002": element("SQ"),
        "0020000D": element("UI", "1.2.3"),
        "00380010": element("LO"),
        "00380014": element("SQ"),
        "00400400": element("LT"),
        "00404005": element("DT", "20260101120000"),
        "00404018": element("SQ", code("SEG", "Segment the liver")),
        "00404021": element("SQ"),
        "00404025": element("SQ"),
        "00404026": element("SQ"),
        "00404027": element("SQ"),
        "00404041": element("CS", "READY"),
        "0040A370": element("SQ"),
        STATE: element("CS", "SCHEDULED"),
        "00741002": element("SQ"),
        "00741200": element("CS", "MEDIUM"),
        "00741202": element("LO", "AI"),
        "00741204": element("LO", "Liver segmentation"),
        "00741210": element("SQ"),
        "00741216": element("SQ"),
    }
    return data | {name.removeprefix("t"): one for name, one in changes.items()}


def performed() -> Json:
    """What a performer sets before it completes."""
    return {
        "00741216": element(
            "SQ",
            {
                "00404019": element("SQ", code("SEG")),
                "00404028": element("SQ", code("NODE")),
                "00404033": element("SQ"),
                "00404050": element("DT", "20260101120000"),
                "00404051": element("DT", "20260101120100"),
            },
        )
    }


@dataclass
class Worklist:
    """UPS-RS under test."""

    root: str
    archive: Archive
    client: httpx.Client

    def send(self, method: str, path: str, data: object = None, **options: object) -> httpx.Response:
        if data is not None:
            options |= {
                "content": json.dumps(data),
                "headers": {"Content-Type": "application/dicom+json"} | options.get("headers", {}),  # pyright: ignore
            }
        return self.client.request(method, self.root + path, **options)  # pyright: ignore

    def create(self, **changes: Json) -> str:
        uid = new_uid()
        answer = self.send("POST", f"/workitems?{uid}", workitem(**changes))
        assert answer.status_code == 201, answer.text
        return uid

    def get(self, uid: str) -> Json:
        answer = self.send("GET", f"/workitems/{uid}")
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()
        return found

    def change(self, uid: str, state: str, transaction: str | None) -> httpx.Response:
        data = {STATE: element("CS", state)} | ({TRANSACTION: element("UI", transaction)} if transaction else {})
        return self.send("PUT", f"/workitems/{uid}/state", data)

    def update(self, uid: str, data: Mapping[str, object], transaction: str = "") -> httpx.Response:
        query = f"?transaction-uid={transaction}" if transaction else ""
        return self.send("POST", f"/workitems/{uid}{query}", data)

    def claim(self, uid: str) -> str:
        transaction = new_uid()
        answer = self.change(uid, "IN PROGRESS", transaction)
        assert answer.status_code == 200, answer.text
        return transaction

    def complete(self, uid: str) -> str:
        transaction = self.claim(uid)
        assert self.update(uid, performed(), transaction).status_code == 200
        answer = self.change(uid, "COMPLETED", transaction)
        assert answer.status_code == 200, answer.text
        return transaction

    def search(self, query: str = "", **options: object) -> list[Json]:
        answer = self.send("GET", f"/workitems{query}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def uids(self, query: str = "") -> list[str]:
        return [found["00080018"]["Value"][0] for found in self.search(query)]  # pyright: ignore

    def subscribe(self, uid: str, ae_title: str, **query: str) -> httpx.Response:
        return self.send("POST", f"/workitems/{uid}/subscribers/{ae_title}", params=query)

    def open(self, ae_title: str, query: str = "", **options: object) -> ClientConnection:
        return connect(f"ws{self.root[4:]}/subscribers/{ae_title}{query}", **options)  # pyright: ignore

    def feed(self, uid: str) -> list[tuple[str, object]]:
        """The platform's events of a workitem."""
        with self.archive.database.transaction() as sql:
            rows = sql.rows("select type, data from hilum.event where subject = %s order by id", (uid,))
        return [(str(row["type"]), row["data"]) for row in rows]


def value(data: Mapping[str, object], tag: str) -> object:
    """The first value of an attribute."""
    return data[tag]["Value"][0]  # pyright: ignore


def read(socket: ClientConnection, count: int) -> list[Json]:
    """The next reports."""
    return [json.loads(socket.recv(timeout=60)) for _ in range(count)]


def gist(report: Mapping[str, object]) -> tuple[str, int, object]:
    """Of a report the workitem, the event type and, of a state report, the state."""
    kind = value(report, "00001002")
    return value(report, "00001000"), kind, value(report, STATE) if kind == 1 else None  # pyright: ignore


def warnings(answer: httpx.Response) -> list[str]:
    """The texts of the Warning fields."""
    found = answer.headers.get_list("warning")
    assert all(one.startswith("299 http://") for one in found), found
    return [one.partition(": ")[2] for one in found]


@contextmanager
def serving_worklist(archive: Archive) -> Iterator[Worklist]:
    """Serve an archive's worklist on loopback."""
    with listening(archive) as web, httpx.Client(timeout=60) as client:
        yield Worklist(web.root, archive, client)


@contextmanager
def fresh_worklist(cluster: EmbeddedPostgres, folder: Path) -> Iterator[Worklist]:
    """Serve a worklist with a database of its own."""
    with fresh_database(cluster) as url:
        database = Database(url)
        archive = Archive(database, LocalBlobs(folder, 0), Settings(data=folder / "data", min_free_bytes=0))
        with serving_worklist(archive) as running:
            yield running
        database.close()


@pytest.fixture(scope="module")
def worklist(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worklist]:
    """A worklist that the tests of a module share: each looks at its own workitems and its own AE titles."""
    with fresh_worklist(cluster, tmp_path_factory.mktemp("worklist")) as running:
        yield running


@pytest.fixture
def alone(archive: Archive) -> Iterator[Worklist]:
    """A worklist of the test's own, empty."""
    with serving_worklist(archive) as running:
        yield running


@pytest.fixture
def node() -> str:
    """An AE title of the test's own."""
    return f"NODE{next(_numbers)}"
