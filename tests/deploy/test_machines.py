"""What deploy/ says runs: the very commands and variables of the compose file and of the chart, side by side as
processes that share PostgreSQL, S3 and NATS alone. What is stored through one is found by all; any may be killed."""

import io
import json
import secrets
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind

from hilum.core.database import Database
from hilum.core.delivery.jetstream import STREAM
from hilum.core.postgres import EmbeddedPostgres
from tests.clinical.test_fhir_publish import Peer
from tests.clinical.test_fhir_publish import running as fhir_server
from tests.conftest import administration, fresh_database, named, wait_until
from tests.delivery.conftest import Nats, nats_server
from tests.deploy import plans
from tests.deploy.plans import Machines, Part, Running
from tests.dicomweb.conftest import Web
from tests.make import ct, uid
from tests.routing.conftest import arrivals_at, held_by, target
from tests.s3 import S3

__all__ = ["nats_server", "target"]

API = "/api/v1/imaging"
BOUNDARY = "a-boundary"
ZIPPED = 100
"""Instances of the upload."""
SOME = 20
"""Instances that each sender has stored before, and again after, processes are killed."""
PAGE = 1000
"""Instances that one search tells of at most."""
PAUSE = 0.05
"""Seconds between two instances of a sender, so that a fast machine is not filled while processes start."""
Send = Callable[[bytes], bool]


@pytest.fixture
def empty_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A database without a schema."""
    name = f"test_{secrets.token_hex(6)}"
    with administration(cluster.url) as connection:
        connection.execute(f"create database {name}")
    yield named(cluster.url, name)
    with administration(cluster.url) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def fhir(tmp_path: Path) -> Iterator[Peer]:
    """A FHIR server of others."""
    with fhir_server(tmp_path) as started:
        yield started


@pytest.fixture
def running(empty_database: str, s3: S3, nats_server: Nats, fhir: Peer, tmp_path: Path) -> Iterator[Machines]:
    places = {
        "HILUM_DATABASE_URL": empty_database, "HILUM_BLOBS_OPTIONS": s3.options(), "HILUM_NATS_URL": nats_server.url,
        "HILUM_FHIR_PUBLISH_URL": fhir.url,
    }  # fmt: skip
    with plans.machines(tmp_path / "machines", places) as made:
        yield made


@pytest.fixture
def enough() -> Iterator[threading.Event]:
    """Says that senders have sent enough; at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def by_stow(api: Running) -> Iterator[Send]:
    """Store by STOW-RS."""
    with httpx.Client(base_url=api.url, timeout=60) as client:

        def send(instance: bytes) -> bool:
            head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            body = head + instance + f"\r\n--{BOUNDARY}--\r\n".encode()
            kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
            return client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind}).is_success

        yield send


@contextmanager
def associated(one: Running, sop_class: str) -> Iterator[object]:
    """An association, as a peer that the listener's or the proxy's variables name."""
    ae = AE(one.part.variables["HILUM_DICOM_PEERS"])
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", one.ports["HILUM_DICOM_PORT"], ae_title="HILUM")  # pyright: ignore
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        ae.shutdown()


@contextmanager
def by_c_store(one: Running) -> Iterator[Send]:
    """Store by C-STORE, to a listener or to a proxy."""
    with associated(one, CTImageStorage) as association:

        def send(instance: bytes) -> bool:
            if not association.is_established:  # pyright: ignore
                return False
            answer = association.send_c_store(pydicom.dcmread(io.BytesIO(instance)))  # pyright: ignore
            return getattr(answer, "Status", None) == 0

        yield send


@dataclass
class Sender:
    """Sends a study as a modality does: what is not acknowledged is sent again, to the other of two when one fails."""

    study: int
    way: Callable[[Running], AbstractContextManager[Send]]
    to: list[Running]
    enough: threading.Event
    acknowledged: list[str] = field(default_factory=list[str])

    def start(self) -> None:
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        turn = 0
        while not self.enough.is_set():
            # What breaks off with a process that was killed: the connection, or the association.
            with suppress(httpx.TransportError, OSError, RuntimeError), self.way(self.to[turn % 2]) as send:
                while not self.enough.is_set() and send(ct(self.study, 1, number := len(self.acknowledged) + 1)):
                    self.acknowledged.append(uid(self.study, 1, number))
                    self.enough.wait(PAUSE)
            turn += 1
            self.enough.wait(0.1)


def found_by_qido(api: Running, study: int) -> list[str]:
    found: list[str] = []
    while True:
        page = {"limit": PAGE, "offset": len(found)}
        answer = httpx.get(f"{api.url}/dicom-web/studies/{uid(study)}/instances", params=page, timeout=60)
        more = [each["00080018"]["Value"][0] for each in answer.json()] if answer.status_code == 200 else []
        found += more
        if len(more) < PAGE:
            return found


def found_by_c_find(dicom: Running, study: int) -> list[str]:
    wanted = pydicom.Dataset()
    wanted.QueryRetrieveLevel = "IMAGE"
    wanted.StudyInstanceUID, wanted.SeriesInstanceUID, wanted.SOPInstanceUID = uid(study), uid(study, 1), ""
    with associated(dicom, StudyRootQueryRetrieveInformationModelFind) as association:
        answers = association.send_c_find(wanted, StudyRootQueryRetrieveInformationModelFind)  # pyright: ignore
        return [str(one.SOPInstanceUID) for _, one in answers if one is not None]


def own_address() -> str:
    """An address of this machine that is not loopback; empty when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        found = probe.getsockname()[0]
        return "" if found.startswith("127.") else found


@pytest.mark.timeout(1200)  # seventeen processes start
def test_stored_through_one_found_by_all_and_any_killed_nothing_lost(
    running: Machines, nats_server: Nats, fhir: Peer, target: Web, enough: threading.Event
) -> None:
    both = [plans.compose(), plans.helm()]
    migrations = [running.start(parts.pop("migrate")) for parts in both]  # at the same time: one does it
    for one in migrations:
        assert one.process.wait(240) == 0, one.log.read_text()
    theirs, others = ({name: running.start(part) for name, part in parts.items()} for parts in both)
    everything = [*theirs.values(), *others.values()]
    running.ready(*everything)
    assert sum(one.part.command[0] == "worker" for one in everything) == 8
    api, other_api = theirs["api"], others["api"]

    # Everything that arrives is to be forwarded.
    address = {"url": target.root, "retry_seconds": 0.1, "timeout_seconds": 20}
    destination = httpx.post(f"{api.url}{API}/destinations", json={"name": "PACS", "kind": "stow", "address": address})
    rule = {"name": "All", "destination_id": destination.json()["id"]}
    assert httpx.post(f"{other_api.url}{API}/rules", json=rule).status_code == 201

    # Instances come by STOW-RS, by C-STORE and through the proxies; an upload is imported.
    senders = [
        Sender(1, by_stow, [api, other_api], enough),
        Sender(2, by_c_store, [theirs["dicom"], others["dicom"]], enough),
        Sender(3, by_c_store, [theirs["proxy"], others["proxy"]], enough),
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(1, ZIPPED + 1):
            archive.writestr(f"{number}", ct(4, 1, number))
    answer = httpx.post(f"{api.url}{API}/uploads", files={"files": ("a.zip", packed.getvalue())}, timeout=60)
    assert answer.status_code == 202, answer.text
    job = f"{API}/jobs/{answer.json()['id']}"
    for sender in senders:
        sender.start()
    wait_until(lambda: all(len(sender.acknowledged) >= SOME for sender in senders), 120, "instances from all sides")
    wait_until(lambda: other_api.get(job).json()["state"] != "queued", 60, "a started job")

    # In the middle of that one of each is killed; others take over, and later ones come in the place of some.
    for one in theirs.values():
        one.process.kill()
    before = [len(sender.acknowledged) for sender in senders]
    replaced = [running.start(theirs[name].part) for name in ("api", "dicom")]
    for sender, number in zip(senders, before, strict=True):
        wait_until(lambda one=sender, n=number: len(one.acknowledged) >= n + SOME, 240, "instances after the kill")
    enough.set()
    for sender in senders:
        sender.thread.join(120)
        assert not sender.thread.is_alive()
    wait_until(lambda: other_api.get(job).json()["state"] == "succeeded", 120, "the job done by another worker")
    running.ready(*replaced)
    new_api, new_dicom = replaced

    # Found by all, each instance once.
    studies = {sender.study: sorted(sender.acknowledged) for sender in senders}
    studies[4] = sorted(uid(4, 1, number) for number in range(1, ZIPPED + 1))
    for study, instances in studies.items():
        for one in (other_api, new_api):
            assert sorted(found_by_qido(one, study)) == instances
        for one in (others["dicom"], new_dicom):
            assert sorted(found_by_c_find(one, study)) == instances
    assert new_api.get(f"{API}/wado/{uid(1, 1, 2)}").content == ct(1, 1, 2)
    assert other_api.get(f"/dicom-web/studies/{uid(3)}/series/{uid(3, 1)}/instances/{uid(3, 1, 1)}/frames/1").content

    # Each study is complete once: no instance is new in two revisions, and the last has them all.
    for study, instances in studies.items():
        answer = httpx.put(f"{new_api.url}{API}/studies/{uid(study)}/expected", json={"instances": len(instances)})
        assert answer.is_success, answer.text
        assert answer.json()["revision"] >= 1
        made = revisions(other_api, study)
        assert [one["number"] for one in made] == list(range(len(made), 0, -1))
        assert made[0]["num_instances"] == len(instances)
        added = [place.rpartition("/")[2] for one in made for place in one["changes"]["added"]]
        assert sorted(added) == instances

    # Published once, forwarded once with the same digests, and every event is in the stream once.
    wait_until(lambda: published(fhir) == {uid(study): len(found) for study, found in studies.items()}, 120, "FHIR")
    every = sorted(one for instances in studies.values() for one in instances)
    wait_until(lambda: held_by(target.archive).keys() >= set(every), 120, "all of it at the other archive")
    database = Database(running.places["HILUM_DATABASE_URL"], pool_size=1)
    with database.transaction() as sql:
        rows = sql.rows("select sop_instance_uid, digest from hilum.instance")
    assert held_by(target.archive) == {str(row["sop_instance_uid"]): str(row["digest"]) for row in rows}
    assert sorted(arrivals_at(target.archive)) == every

    def events() -> list[str]:
        with database.connect() as connection:
            return [str(row[0]) for row in connection.exec_driver_sql("select uuid from hilum.event order by id")]

    wait_until(lambda: nats_server.count(STREAM) >= len(events()), 120, "all events in the stream")
    told = [(message.headers or {})["Nats-Msg-Id"] for message in nats_server.messages(STREAM)]
    assert told == events()[: len(told)]
    database.close()

    # Off loopback nobody but the proxies is answered, and nothing that lasts lies with any of them.
    if outside := own_address():
        for one in (other_api, new_api):
            url = f"http://{outside}:{one.ports['HILUM_PORT']}"
            assert httpx.get(f"{url}/health").status_code == httpx.get(f"{url}/ready").status_code == 200
            for path in ("/dicom-web/studies", f"{API}/studies", "/metrics", "/openapi.json", "/fhir/metadata", "/"):
                assert httpx.get(url + path, headers={"Host": "127.0.0.1"}).status_code == 403
    for one in running.running:
        assert not [path for path in one.data.rglob("*.dcm") if path.is_file()]

    # SIGTERM ends each in order, and each line of its log is one JSON object.
    alive = [one for one in running.running if one.process.poll() is None]
    assert len(alive) == len(others) + len(replaced)
    for one in alive:
        one.process.terminate()
    for one in alive:
        assert one.process.wait(60) in (0, 143), one.log.read_text()
    for one in running.running:
        for line in one.log.read_text().splitlines():
            assert line.startswith(("The database", "DICOM is at", "The proxy is at")) or json.loads(line)["event"], (
                line
            )


def revisions(api: Running, study: int) -> list[dict]:
    """The revisions of a study with their changes, latest first."""
    path = f"{API}/studies/{uid(study)}/revisions"
    return [api.get(f"{path}/{one['number']}").json() for one in api.get(path).json()["items"]]


def published(fhir: Peer) -> dict[str, int]:
    """How many instances each study has at the FHIR server; none is there twice."""
    return {study: resource["numberOfInstances"] for study, resource in fhir.latest().items()}


def test_an_api_answers_the_proxies_that_it_is_told(cluster: EmbeddedPostgres, s3: S3, tmp_path: Path) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but loopback")
    told = {"HILUM_TRUSTED_PROXIES": address, "HILUM_NATS_URL": "", "HILUM_FHIR_PUBLISH_URL": ""}
    part = plans.compose()["api"]
    with fresh_database(cluster) as url:
        places = {"HILUM_DATABASE_URL": url, "HILUM_BLOBS_OPTIONS": s3.options()}
        with plans.machines(tmp_path / "machines", places) as made:
            one = made.start(Part("api", part.command, part.variables | told))
            made.ready(one)
            outside = f"http://{address}:{one.ports['HILUM_PORT']}/dicom-web/studies"
            assert httpx.get(outside, headers={"Host": "127.0.0.1"}).status_code in (200, 204)
