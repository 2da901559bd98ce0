"""Published to a FHIR server of others, which runs in a process of its own: once each and as it is now, whatever
happens to either side."""

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from hilum.clinical.fhir.client import checked_url
from hilum.clinical.fhir.publication import publish_now
from hilum.clinical.fhir.publish import Manners, Publisher
from hilum.clinical.fhir.versions import make_missing
from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.delete import delete_study, purge, restore_study
from hilum.imaging.archive.sources import add_source
from tests.clinical.conftest import Fhir
from tests.conftest import free_port, fresh_database, serving, wait_until
from tests.make import ct, folder, uid

HASTY = Manners(answer=60, round=120, server_wait=(0, 0), study_wait=(0, 0))


@dataclass
class Peer:
    """The other server."""

    file: Path
    authorization: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).parent / "fhir_server.py"), str(self.port), str(self.file)]
        self.process = subprocess.Popen([*command, self.authorization])
        wait_until(self._answers, 60, "an answer of the peer")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/_log").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def mood(self, **given: object) -> None:
        httpx.put(f"http://127.0.0.1:{self.port}/_mood", content=json.dumps(given)).raise_for_status()

    def log(self) -> list[dict]:
        return httpx.get(f"http://127.0.0.1:{self.port}/_log").json()

    def has(self, kind: str = "ImagingStudy") -> dict[str, list[dict]]:
        """Every version of each resource, by id."""
        found: dict[str, list[dict]] = {}
        with sqlite3.connect(self.file) as db:
            for number, body in db.execute("select id, body from v where type = ? order by id, version", (kind,)):
                found.setdefault(number, []).append(json.loads(body))
        return found

    def latest(self) -> dict[str, dict]:
        """The newest version of each study, by its UID; each must be there once."""
        found = [versions[-1] for versions in self.has().values()]
        by_uid = {each["identifier"][0]["value"].removeprefix("urn:oid:"): each for each in found}
        assert len(by_uid) == len(found), "a duplicate"
        return by_uid


@contextmanager
def running(path: Path, authorization: str = "") -> Iterator[Peer]:
    peer = Peer(path / "peer.sqlite", authorization)
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    with running(tmp_path) as started:
        yield started


def publisher(fhir: Fhir, peer: Peer, manners: Manners = HASTY, **settings: object) -> Publisher:
    base = fhir.web.root.removesuffix("/dicom-web")
    given = Settings(data=Path("/nowhere"), fhir_publish_url=peer.url, public_url=base, **settings)  # pyright: ignore[reportArgumentType]
    return Publisher(fhir.archive.database, given, manners)


def workers_of(supervisor: int) -> list[int]:
    """The worker processes of a ``hilum serve``."""
    found: list[int] = []
    for child in psutil.Process(supervisor).children():
        with suppress(psutil.Error):  # it has just ended
            if "worker" in child.cmdline():
                found.append(child.pid)
    return found


def state(fhir: Fhir) -> dict:
    return httpx.get(fhir.root.removesuffix("/fhir") + "/api/v1/imaging/fhir/publication").json()


def test_each_study_once_and_as_it_is_now(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1), ct(2))
    fhir.tell(1, study=1)
    fhir.tell(1, study=2)
    ours = publisher(fhir, peer)
    assert [ours.run(), ours.run()] == [2, 0]
    assert set(peer.latest()) == {uid(1), uid(2)}
    fhir.web.keep(ct(1, 1, 2))
    fhir.tell(2)
    assert ours.run() == 1
    theirs = peer.latest()[uid(1)]
    assert (theirs["meta"]["versionId"], theirs["numberOfInstances"]) == ("2", 2)
    mine = fhir.search(("identifier", f"urn:oid:{uid(1)}"))["entry"][0]["resource"]
    assert {**mine, "id": 0, "meta": 0, "endpoint": 0} == {**theirs, "id": 0, "meta": 0, "endpoint": 0}
    (endpoint,) = [versions[-1] for versions in peer.has("Endpoint").values()]
    assert theirs["endpoint"] == [{"reference": f"Endpoint/{endpoint['id']}"}]
    series = httpx.get(f"{endpoint['address']}/studies/{uid(1)}/series/{theirs['series'][0]['uid']}", timeout=60)
    assert (series.status_code, series.content.count(b"DICM")) == (200, 2)
    assert [each["kind"] for each in peer.log()].count("Endpoint") == 1
    told = state(fhir)
    assert (told["published"], told["total"], told["problem"]) == (2, 0, "")


def test_a_deleted_study_is_cancelled_there_and_one_never_told_of_is_not_told_of(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1), ct(2))
    fhir.tell(1, study=1)
    ours = publisher(fhir, peer)
    ours.run()
    fhir.tell(1, study=2)
    ids = {
        study: fhir.search(("identifier", f"urn:oid:{uid(study)}"))["entry"][0]["resource"]["id"] for study in (1, 2)
    }
    for number in ids.values():
        delete_study(fhir.archive.database, int(number), "ann")
    fhir.tell()
    assert ours.run() == 1
    assert {study: each["status"] for study, each in peer.latest().items()} == {uid(1): "cancelled"}
    assert state(fhir)["total"] == 0
    restore_study(fhir.archive.database, uid(1))
    fhir.tell()
    ours.run()
    assert peer.latest()[uid(1)]["status"] == "available"


def test_a_purge_waits_until_the_other_server_knows(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    ours = publisher(fhir, peer)
    ours.run()
    number = fhir.search()["entry"][0]["resource"]["id"]
    delete_study(fhir.archive.database, int(number), "ann")
    fhir.tell()
    purge(fhir.archive.database, fhir.archive.blobs, timedelta(0))
    make_missing(fhir.archive)
    assert fhir.get(f"/ImagingStudy/{number}").status_code == 200
    ours.run()
    assert peer.latest()[uid(1)]["status"] == "cancelled"
    make_missing(fhir.archive)
    assert fhir.get(f"/ImagingStudy/{number}").status_code == 410
    assert ours.run() == 0


@pytest.mark.parametrize("status", [500, 429, 302])
def test_a_server_that_fails_is_asked_again(fhir: Fhir, peer: Peer, status: int) -> None:
    fhir.web.keep(ct(1), ct(2))
    fhir.tell(1, study=1)
    fhir.tell(1, study=2)
    ours = publisher(fhir, peer)
    peer.mood(status=status, times=7, prefix="ImagingStudy", headers={"Location": "http://127.0.0.1:9/"})
    rounds = 0
    while not ours.run() or state(fhir)["total"]:
        rounds += 1
        assert rounds < 20
        told = state(fhir)
        if told["total"]:
            assert any(str(status) in item["problem"] for item in told["items"]), told
            assert "Doe" not in json.dumps(told)
    assert set(peer.latest()) == {uid(1), uid(2)}
    assert state(fhir)["failures"] == 0


def test_a_server_that_is_down_gets_the_newest_version_only(fhir: Fhir, peer: Peer) -> None:
    peer.kill()
    ours = publisher(fhir, peer)
    fhir.web.keep(ct(1))
    for number in range(1, 6):
        fhir.web.keep(ct(1, 1, number))
        fhir.tell(number)
        assert ours.run() == 0
    told = state(fhir)
    assert told["failures"] == 5
    assert told["items"][0]["problem"] == "The server cannot be reached (ConnectError)."
    assert (told["items"][0]["version"], told["items"][0]["published_version"]) == (5, 0)
    peer.start()
    assert ours.run() == 1
    ((only,),) = peer.has().values()
    assert only["numberOfInstances"] == 5


def test_failures_are_waited_for_ever_longer(fhir: Fhir, peer: Peer) -> None:
    peer.kill()
    fhir.web.keep(ct(1))
    fhir.tell(1)
    ours = publisher(fhir, peer, Manners(server_wait=(100, 300)))
    waits = []
    for _ in range(4):
        ours.run()
        assert ours.run() == 0  # it is waited for
        with fhir.archive.database.transaction() as sql:
            (row,) = sql.rows("select extract(epoch from next_at - now()) as wait, failures from hilum.fhir_state")
            waits.append((row["failures"], round(float(row["wait"]), -1)))
            sql.rows("update hilum.fhir_state set next_at = now()")
    assert waits == [(1, 100), (2, 200), (3, 300), (4, 300)]


def test_a_server_that_asks_for_time_gets_it(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    peer.mood(status=503, times=1, prefix="Endpoint", headers={"Retry-After": "1000"})
    ours = publisher(fhir, peer)
    assert [ours.run(), ours.run()] == [0, 0]
    assert len(peer.log()) == 1
    answer = httpx.post(fhir.root.removesuffix("/fhir") + "/api/v1/imaging/fhir/publication/retry")
    assert answer.status_code == 409  # this server of ours publishes nothing


def test_a_server_that_hangs_is_left(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    peer.mood(hang=1.5, times=1, prefix="ImagingStudy")
    ours = publisher(fhir, peer, Manners(answer=0.5, server_wait=(0, 0)))
    assert ours.run() == 0
    assert state(fhir)["items"][0]["problem"] == "The server did not answer within 0.5 s."
    assert publisher(fhir, peer).run() == 1
    wait_until(lambda: all(each["stored"] for each in peer.log()), what="the first request done, too")
    assert set(peer.latest()) == {uid(1)}


def test_one_study_that_is_refused_does_not_hold_up_the_others(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(*(ct(n) for n in range(1, 5)))
    for n in range(1, 5):
        fhir.tell(1, study=n)
    with sqlite3.connect(peer.file) as db:  # two of one identifier: the server cannot say which is meant
        body = json.dumps({"identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid(1)}"}]})
        db.execute("insert into v values ('ImagingStudy', 101, 1, ?), ('ImagingStudy', 102, 1, ?)", (body, body))
    ours = publisher(fhir, peer, Manners(round=120, study_wait=(1000, 1000)))
    assert ours.run() == 3
    told = state(fhir)
    assert told["total"] == 1
    assert "several resources with this identifier" in told["items"][0]["problem"]
    assert (told["failures"], told["published"]) == (0, 3)


def test_a_server_that_lost_everything_gets_its_endpoints_again(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    ours = publisher(fhir, peer)
    ours.run()
    with sqlite3.connect(peer.file) as db:
        db.execute("delete from v")
    fhir.web.keep(ct(2))
    fhir.tell(1, study=2)
    ours.run()
    wait_until(lambda: ours.run() or not state(fhir)["total"], 30, "the study published")
    assert set(peer.latest()) == {uid(2)}
    assert publish_now(fhir.archive.database, everything=True) == 2
    ours.run()
    assert set(peer.latest()) == {uid(1), uid(2)}


def test_another_server_gets_everything(fhir: Fhir, peer: Peer, tmp_path: Path) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    publisher(fhir, peer).run()
    (tmp_path / "other").mkdir()
    with running(tmp_path / "other") as other:
        assert publisher(fhir, other).run() == 1
        assert set(other.latest()) == {uid(1)}


def test_of_one_study_in_two_sources_one_is_published(fhir: Fhir, peer: Peer) -> None:
    add_source(fhir.archive.database, "north", "North")
    for key in ("default", "north"):
        with fhir.archive.batch(fhir.archive.source(key), "import") as batch:
            batch.add("x", [ct(1, StudyDescription=key)])
            batch.commit()
    fhir.found(("identifier", f"urn:oid:{uid(1)}"))
    ours = publisher(fhir, peer)
    assert ours.run() == 1
    assert peer.latest()[uid(1)]["description"] == "default"
    assert state(fhir)["items"][0]["problem"] == "The same study is published from another source."
    (number,) = (entry["resource"]["id"] for entry in fhir.search(("endpoint", "default"))["entry"])
    delete_study(fhir.archive.database, int(number), "ann")
    fhir.tell()
    ours.run()
    assert (peer.latest()[uid(1)]["description"], peer.latest()[uid(1)]["status"]) == ("north", "available")
    restore_study(fhir.archive.database, uid(1), "default")
    fhir.tell()
    ours.run()
    assert peer.latest()[uid(1)]["description"] == "default"


def test_two_workers_at_once_send_each_study_once(fhir: Fhir, peer: Peer) -> None:
    fhir.web.keep(*(ct(n) for n in range(1, 21)))
    for n in range(1, 21):
        fhir.found(("identifier", f"urn:oid:{uid(n)}"))
    workers = [publisher(fhir, peer) for _ in range(3)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(peer.latest()) == 20
    sent = [each["identifier"] for each in peer.log() if each["kind"] == "ImagingStudy"]
    assert len(sent) == len(set(sent)) == 20


def test_a_server_that_looks_and_writes_in_two_steps_gets_no_duplicate(fhir: Fhir, peer: Peer) -> None:
    """Two workers begin at once, so that both have an Endpoint to make; and a UID lies in two sources."""
    add_source(fhir.archive.database, "other", "Other")
    fhir.web.keep(*(ct(n) for n in range(1, 5)))
    with fhir.archive.batch(fhir.archive.source("other"), "import") as batch:
        batch.add("one", [ct(1, StudyDescription="other")])
        batch.commit()
    for n in range(1, 5):
        fhir.found(("identifier", f"urn:oid:{uid(n)}"))
    peer.mood(apart=0.3)
    workers = [publisher(fhir, peer) for _ in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    wait_until(lambda: any(each["identifier"].endswith(f":{uid(1)}") for each in peer.log()), what="a study being sent")
    with fhir.archive.database.connect() as connection:
        (row,) = connection.exec_driver_sql(
            "select t.id from hilum.study t join hilum.source s on s.id = t.source_id "
            "where s.key = 'default' and t.study_instance_uid = %s",
            (uid(1),),
        )
    delete_study(fhir.archive.database, row.id, "ann")  # now that of the other source is to be sent
    fhir.tell()
    for thread in threads:
        thread.join(120)
    for worker in workers:
        worker.run()
    assert len(peer.has("Endpoint")) == 2
    assert len(peer.latest()) == 4
    assert peer.latest()[uid(1)]["description"] == "other"


def test_credentials_are_sent_and_never_shown(fhir: Fhir, tmp_path: Path) -> None:
    fhir.web.keep(ct(1))
    fhir.tell(1)
    basic = "Basic " + base64.b64encode(b"hilum:s3cret-word").decode()
    given = [
        ("Bearer s3cret-word", {"fhir_publish_token": "s3cret-word"}),
        (basic, {"fhir_publish_user": "hilum", "fhir_publish_password": "s3cret-word"}),
    ]
    for number, (authorization, settings) in enumerate(given):
        (tmp_path / str(number)).mkdir()
        with running(tmp_path / str(number), authorization) as peer:
            assert publisher(fhir, peer).run() == 0
            assert "does not know the credentials" in state(fhir)["problem"]
            assert publisher(fhir, peer, **settings).run() == 1
        shown = repr(Settings(data=tmp_path, **settings))  # pyright: ignore[reportArgumentType]
        assert "s3cret-word" not in shown


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("ftp://x", "https://u:p@x/fhir", "http://", "x", "http://x/?a=1", "http://x:99999/", "http://a b/"):
        with pytest.raises(Invalid, match="of the form"):
            checked_url(url)
    with pytest.raises(Invalid, match="metadata"):
        checked_url("http://169.254.169.254/fhir")
    assert checked_url("https://x.example/fhir/") == "https://x.example/fhir"


def test_a_real_server_publishes_and_survives_being_killed(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """``hilum serve`` with the settings of a person; the worker is killed in the middle, and the peer too."""
    folder(tmp_path / "in", studies=12, instances=1)
    with running(tmp_path, "Bearer s3cret-word") as peer, fresh_database(cluster) as url:
        settings = {"fhir_publish_url": peer.url, "fhir_publish_token": "s3cret-word"}
        with serving(tmp_path / "data", url, **settings) as server:
            server.hilum("import", str(tmp_path / "in"))
            peer.mood(hang=0.3, times=1000, prefix="ImagingStudy")
            for n in range(1, 13):
                server.get(f"/fhir/ImagingStudy?identifier=urn:oid:{uid(n)}").raise_for_status()
            wait_until(lambda: len(peer.has()) >= 2, 60, "some studies published")
            for number in workers_of(server.process.pid):
                os.kill(number, signal.SIGKILL)
            wait_until(lambda: len(peer.has()) >= 3, 90, "publication going on")
            peer.kill()
            peer.start()

            def is_done() -> bool:
                return len(peer.has()) == 12

            with psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as connection:
                connection.execute("update hilum.fhir_imaging_study set taken_until = now()")  # as if time had passed
            httpx.post(f"{server.url}/api/v1/imaging/fhir/publication/retry").raise_for_status()
            wait_until(is_done, 120, "every study published")
            assert len(peer.latest()) == 12
            assert "s3cret-word" not in server.log.read_text()
            shown = server.hilum("config", "--json").stdout + server.get("/api/v1/imaging/fhir/publication").text
            assert "s3cret-word" not in shown
