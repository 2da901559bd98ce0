"""A worklist behind a real HTTP server, and the workitem that most tests begin with."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from hilum.imaging.archive.store import Archive
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
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))

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

    def subscribe(self, uid: str, ae_title: str = "NODE", **query: str) -> httpx.Response:
        return self.send("POST", f"/workitems/{uid}/subscribers/{ae_title}", params=query)

    def open(self, ae_title: str = "NODE", query: str = "", **options: object) -> ClientConnection:
        return connect(f"ws{self.root[4:]}/subscribers/{ae_title}{query}", **options)  # pyright: ignore

    def feed(self) -> list[tuple[str, str, object]]:
        with self.archive.database.transaction() as sql:
            rows = sql.rows("select type, subject, data from hilum.event order by id")
        return [(str(row["type"]), str(row["subject"]), row["data"]) for row in rows]


def value(data: Mapping[str, object], tag: str) -> object:
    """The first value of an attribute."""
    return data[tag]["Value"][0]  # pyright: ignore


def read(socket: ClientConnection, count: int) -> list[Json]:
    """The next reports."""
    return [json.loads(socket.recv(timeout=30)) for _ in range(count)]


def gist(report: Mapping[str, object]) -> tuple[str, int, object]:
    """Of a report the workitem, the event type and, of a state report, the state."""
    kind = value(report, "00001002")
    return value(report, "00001000"), kind, value(report, STATE) if kind == 1 else None  # pyright: ignore


def warnings(answer: httpx.Response) -> list[str]:
    """The texts of the Warning fields."""
    found = answer.headers.get_list("warning")
    assert all(one.startswith("299 http://") for one in found), found
    return [one.partition(": ")[2] for one in found]


@pytest.fixture
def worklist(archive: Archive) -> Iterator[Worklist]:
    """The service, listening on loopback."""
    with listening(archive) as web:
        running = Worklist(web.root, archive)
        yield running
        running.client.close()
