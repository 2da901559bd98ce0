"""A small strict FHIR R4 server in a process of its own, for what is published to it: conditional updates that are
atomic, references that must exist, credentials. It can be told to fail or to hang, may be killed, and keeps what it
has in a file. Run: ``python fhir_server.py PORT FILE [AUTHORIZATION]``.

Beside FHIR: ``PUT /_mood`` with a JSON object (``status`` answered, ``times`` how often, ``hang`` seconds before it
answers, ``headers``, ``prefix`` of the paths that are meant; ``apart`` seconds between looking for an identifier and
writing, as in servers whose conditional updates are not atomic), and ``GET /_log``, every request that came, and
whether it has stored something by now."""

import json
import re
import sqlite3
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import fhirkit


class Store:
    """Every version of every resource, in SQLite: one writer at a time, durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.open() as db:
            db.execute(
                "create table if not exists v (type, id int, version int, body, primary key (type, id, version))"
            )

    def open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def matching(self, db: sqlite3.Connection, kind: str, identifier: str) -> list[tuple[int, int, dict]]:
        system, _, value = identifier.rpartition("|")
        query = "select id, max(version), body from v where type = ? group by id"
        found = [(number, version, json.loads(body)) for number, version, body in db.execute(query, (kind,))]
        return [
            each for each in found
            if any(i.get("value") == value and system in ("", i.get("system")) for i in each[2].get("identifier", []))
        ]  # fmt: skip

    def put(self, kind: str, identifier: str, resource: dict, apart: float = 0) -> tuple[int, dict]:
        with self.open() as db:
            looked = self.matching(db, kind, identifier)
        time.sleep(apart)
        with self.open() as db:
            db.execute("begin immediate")
            if kind == "ImagingStudy":
                for reference in resource.get("endpoint", []):
                    named = reference["reference"].removeprefix("Endpoint/")
                    if not db.execute("select 1 from v where type = 'Endpoint' and id = ?", (int(named),)).fetchone():
                        return 422, outcome("not-found", "ImagingStudy.endpoint")
            found = looked if apart else self.matching(db, kind, identifier)
            if len(found) > 1:
                return 412, outcome("multiple-matches", kind)
            if found:
                number, version, before = found[0]
                if {**before, "id": 0, "meta": 0} == {**resource, "id": 0, "meta": 0}:
                    return 200, before
                version += 1
            else:
                number = 1 + db.execute("select count(distinct id) from v where type = ?", (kind,)).fetchone()[0]
                version = 1
            resource |= {"id": str(number), "meta": {"versionId": str(version)}}
            db.execute("insert into v values (?, ?, ?, ?)", (kind, number, version, json.dumps(resource)))
            return 200 if found else 201, resource


def outcome(code: str, place: str) -> dict:
    issue = {"severity": "error", "code": code, "diagnostics": "of Doe^Jane, who is secret", "expression": [place]}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store
    authorization = ""
    mood: ClassVar[dict] = {}
    log: ClassVar[list[dict]] = []
    entry: dict

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_mood":
            type(self).mood = json.loads(body)
            self._answer(200, {})
            return
        if self._refused():
            return
        resource = json.loads(body)
        kind, query = self._asked()
        identifier = query.get("identifier", "")
        if self.headers["Content-Type"] != "application/fhir+json" or kind not in ("ImagingStudy", "Endpoint"):
            self._answer(415, outcome("not-supported", "Bundle"))
            return
        wrong = [str(issue) for issue in fhirkit.validate(json.dumps(resource)) if "error" in str(issue)]
        named = [f"{each.get('system')}|{each.get('value')}" for each in resource.get("identifier", [])]
        if wrong or resource["resourceType"] != kind or identifier not in named or resource.get("meta"):
            self._answer(400, outcome("structure", kind))
            return
        status, answer = self.store.put(kind, identifier, resource, type(self).mood.get("apart", 0))
        self.entry["stored"] = status < 300
        headers = (
            {"Location": f"http://{self.headers['Host']}/fhir/{kind}/{answer['id']}/_history/1"} if status < 300 else {}
        )
        minimal = "minimal" in self.headers.get("Prefer", "") and status < 300
        self._answer(status, None if minimal else answer, headers)

    def do_GET(self) -> None:
        if self.path == "/_log":
            self._answer(200, self.log)
            return
        if self._refused():
            return
        kind, query = self._asked()
        with self.store.open() as db:
            asked = query.get("identifier")
            found = [body for _, _, body in self.store.matching(db, kind, asked)] if asked else []
        self._answer(
            200, {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in found]}
        )

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        return parts.path.removeprefix("/fhir/"), {name: values[0] for name, values in parse_qs(parts.query).items()}

    def _refused(self) -> bool:
        """Behave as told, and let in who is known."""
        kind, query = self._asked()
        self.entry = {"method": self.command, "kind": kind, "identifier": query.get("identifier", ""), "stored": False}
        self.log.append(self.entry)
        mood = type(self).mood
        if mood.get("times", 1) > 0 and re.match(mood.get("prefix", "$"), kind):
            mood["times"] = mood.get("times", 1_000_000) - 1
            time.sleep(mood.get("hang", 0))
            if mood.get("status"):
                self._answer(mood["status"], outcome("exception", kind), mood.get("headers", {}))
                return True
        if self.authorization and self.headers.get("Authorization") != self.authorization:
            self._answer(401, outcome("login", kind))
            return True
        return False

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        fields = {"Content-Type": "application/fhir+json", "Content-Length": str(len(data)), **(headers or {})}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """No access log."""


def main() -> None:
    Handler.store = Store(Path(sys.argv[2]))
    Handler.authorization = sys.argv[3] if len(sys.argv) > 3 else ""
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
