"""What deploy/ says runs: its very commands and variables, as processes that share PostgreSQL, S3 and NATS alone."""

import io
import json
import re
import secrets
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from hilum.core.config import Settings
from hilum.core.jobs import KINDS
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import administration, free_port, named, wait_until
from tests.deploy import plans
from tests.deploy.plans import Machines, Part, Running
from tests.make import ct, uid
from tests.s3 import S3

API = "/api/v1/imaging"
BOUNDARY = "a-boundary"
# Settings and commands of rooms that this version may not have yet are not looked for.
PLANNED = re.compile(r"HILUM_(NATS|DICOM|AET|FHIR)")
READERS: dict[str, Callable[[], dict[str, Part]]] = {"compose": plans.compose, "helm": plans.helm}


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real NATS server with JetStream."""
    folder, port = tmp_path_factory.mktemp("nats"), free_port()
    command = [
        str(Path(sys.executable).parent / "nats-server"),
        "-a",
        "127.0.0.1",
        "-p",
        str(port),
        "-js",
        "-sd",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield f"nats://127.0.0.1:{port}"
        process.kill()


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
def running(empty_database: str, s3: S3, nats_url: str, tmp_path: Path) -> Iterator[Machines]:
    places = {
        "HILUM_DATABASE_URL": empty_database, "HILUM_BLOBS_OPTIONS": s3.options(), "HILUM_NATS_URL": nats_url,
    }  # fmt: skip
    with plans.machines(tmp_path / "machines", places) as made:
        yield made


def known_commands() -> set[str]:
    done = subprocess.run([sys.executable, "-m", "hilum", "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^\W*([a-z]+)\s", done.stdout, re.MULTILINE))


def stow(url: str, *instances: bytes) -> httpx.Response:
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + one + b"\r\n" for one in instances
    )
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    return httpx.post(
        f"{url}/dicom-web/studies", content=body + f"--{BOUNDARY}--\r\n".encode(), headers={"Content-Type": kind},
        timeout=120,
    )  # fmt: skip


def answers(one: Running, path: str) -> bool:
    if one.process.poll() is not None:
        pytest.fail(f"{one.part.name} ended: {one.log.read_text()[-3000:]}")
    try:
        return httpx.get(one.url + path, timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def listens(one: Running) -> bool:
    if one.process.poll() is not None:
        pytest.fail(f"{one.part.name} ended: {one.log.read_text()[-3000:]}")
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", one.ports["HILUM_DICOM_PORT"])) == 0


def send_dicom(one: Running, path: Path, content: bytes) -> None:
    """C-STORE a file with dcmtk, as a peer that the listener's variables name."""
    path.write_bytes(content)
    own, called = one.part.variables["HILUM_DICOM_PEERS"], one.part.variables["HILUM_AET"]
    command = ["storescu", "-aet", own, "-aec", called, "127.0.0.1", str(one.ports["HILUM_DICOM_PORT"]), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def get(one: Running, path: str) -> httpx.Response:
    answer = httpx.get(one.url + path, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def test_stored_through_one_found_by_all_and_any_killed_nothing_lost(running: Machines, tmp_path: Path) -> None:
    """One of each process of the compose file and one of each of the chart, side by side on the same three servers."""
    commands = known_commands()
    both = [read() for read in READERS.values()]
    migrations = [running.start(parts.pop("migrate")) for parts in both]  # at the same time: one does it
    for one in migrations:
        assert one.process.wait(120) == 0, one.log.read_text()
    everything = [
        running.start(part) for parts in both for part in parts.values() if part.command[0] in commands - {"proxy"}
    ]
    apis = [one for one in everything if one.part.name == "api"]
    workers = [one for one in everything if one.part.command[0] == "worker"]
    general = [one for one in workers if one.part.name == "worker"]
    assert len(apis) == 2
    assert len(general) == 2
    assert len(workers) == 7
    listeners = [one for one in everything if one.part.name == "dicom"]
    for one in everything:
        if one not in listeners:
            wait_until(lambda one=one: answers(one, "/ready"), 180, f"a ready {one.part.name} ({one.log})")
            assert answers(one, "/health")
    one_api, other_api = apis

    # Stored through one, found by all, byte by byte.
    files = {uid(1, 1, n): ct(1, 1, n) for n in (1, 2, 3)}
    assert stow(one_api.url, *files.values()).status_code == 200
    assert len(get(other_api, "/dicom-web/studies").json()) == 1
    for instance, content in files.items():
        assert get(other_api, f"{API}/wado/{instance}").content == content
    assert get(other_api, f"/dicom-web/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 2)}/frames/1").content

    # Sent to one listener or the other, found by all.
    for number, one in enumerate(listeners):
        wait_until(lambda one=one: listens(one), 180, f"a DICOM listener ({one.log})")
        send_dicom(one, tmp_path / f"{number}.dcm", ct(3, 1, number + 1))
        assert get(other_api, f"{API}/wado/{uid(3, 1, number + 1)}").content

    # An upload through one is imported by a worker elsewhere, also when the one that does it is killed.
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(150):
            archive.writestr(f"{number}", ct(7, 1, number + 1))
    answer = httpx.post(f"{one_api.url}{API}/uploads", files={"files": ("a.zip", made.getvalue())}, timeout=60)
    assert answer.status_code == 202, answer.text
    job = f"{API}/jobs/{answer.json()['id']}"
    wait_until(lambda: get(other_api, job).json()["state"] != "queued", 60, "a started job")
    general[0].process.kill()

    # One api is killed in the middle of storing: what it acknowledged is there.
    acknowledged: list[str] = []

    def send() -> None:
        for number in range(1, 400):
            try:
                answer = stow(one_api.url, ct(2, 1, number))
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(uid(2, 1, number))

    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: len(acknowledged) >= 10, 120, "some instances stored")
    one_api.process.kill()
    sender.join()
    stored = get(other_api, f"/dicom-web/studies/{uid(2)}/instances?limit=1000").json()
    found = [each["00080018"]["Value"][0] for each in stored]
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + 1
    for instance in found:
        assert get(other_api, f"{API}/wado/{instance}").headers["content-type"] == "application/dicom"

    wait_until(lambda: get(other_api, job).json()["state"] == "succeeded", 120, "the job done by another worker")
    assert len(get(other_api, f"/dicom-web/studies/{uid(7)}/instances?limit=1000").json()) == 150

    # A new one in its place serves all of it, and nothing that lasts lies with any of them.
    again = running.start(one_api.part)
    wait_until(lambda: answers(again, "/ready"), 120, "an api in its place")
    assert len(get(again, "/dicom-web/studies").json()) == 3 + bool(listeners)
    for one in [*everything, again]:
        assert not [path for path in one.data.rglob("*.dcm") if path.is_file()]
    # SIGTERM ends each in order, and each line of its log is one JSON object.
    alive = [one for one in [*everything, again] if one.process.poll() is None]
    for one in alive:
        one.process.terminate()
    for one in alive:
        assert one.process.wait(60) in (0, 143), one.log.read_text()
    for one in running.running:
        for line in one.log.read_text().splitlines():
            assert line.startswith(("The database", "DICOM is at")) or json.loads(line)["event"], line
    assert [one.part.name for one in everything if one.process.returncode == -9] == ["api", "worker"]


def test_the_same_parts_are_in_both_and_every_kind_of_work_has_a_worker() -> None:
    for kind, read in READERS.items():
        parts = read()
        assert parts["migrate"].command == ["db", "upgrade"], kind
        assert {part.command[0] for part in parts.values()} >= {"db", "api", "dicom", "worker"}
        done: list[str] = []
        for part in parts.values():
            if part.command[0] == "worker":
                assert part.command[1] == "--only"
                done += part.command[2].split(",")
        assert sorted(done) == sorted(KINDS), "each kind of work is done by one sort of worker"


def test_every_variable_is_a_setting() -> None:
    names = {f"HILUM_{name.upper()}" for name in Settings.model_fields}
    for read in READERS.values():
        for part in read().values():
            assert {name for name in part.variables if name not in names and not PLANNED.match(name)} == set()
            assert {
                "HILUM_DATABASE_URL",
                "HILUM_BLOBS_URL",
                "HILUM_BLOBS_OPTIONS",
                "HILUM_DATA",
            } <= part.variables.keys()
    Settings(**{  # the values that are not places are taken as they stand
        name.removeprefix("HILUM_").lower(): value
        for name, value in plans.compose()["api"].variables.items()
        if name in names and name not in plans.PLACES
    })  # fmt: skip


def test_a_server_for_proxies_answers_others_with_nothing_but_its_health(
    running: Machines,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    part = plans.compose()["api"]
    trusting = Part("api", part.command, part.variables | {"HILUM_TRUSTED_PROXIES": address})
    strict, open_ = running.start(part), running.start(trusting)
    for one in (strict, open_):
        wait_until(lambda one=one: answers(one, "/ready"), 180, f"a ready api ({one.log})")
    outside = f"http://{address}:{strict.ports['HILUM_PORT']}"
    assert httpx.get(f"{outside}/health").status_code == httpx.get(f"{outside}/ready").status_code == 200
    for path in ("/dicom-web/studies", f"{API}/studies", "/metrics", "/openapi.json", "/"):
        assert httpx.get(outside + path, headers={"Host": "127.0.0.1"}).status_code == 403
    answer = httpx.get(f"http://{address}:{open_.ports['HILUM_PORT']}/dicom-web/studies", headers={"Host": "127.0.0.1"})
    assert answer.status_code in (200, 204)


def test_the_chart_switches_configures_and_scales_each_part_alone() -> None:
    def kinds(values: dict[str, object]) -> set[tuple[str, str]]:
        return {(str(one["kind"]), one["metadata"]["name"]) for one in plans.rendered(values)}

    usual = kinds({})
    assert ("Deployment", "hilum-proxy") not in usual
    assert {("Job", "hilum-migration"), ("Service", "hilum-api"), ("PodDisruptionBudget", "hilum-api")} <= usual
    every = ["api", "dicom", "proxy", "worker", "events", "fhir", "forwarder"]
    for name in every:
        on = kinds({"components": {name: {"enabled": True, "autoscaling": {"enabled": True}}}})
        assert {("Deployment", f"hilum-{name}"), ("HorizontalPodAutoscaler", f"hilum-{name}")} <= on
        off = kinds({"components": {name: {"enabled": False}}})
        assert {found for found in usual if found[1] == f"hilum-{name}"}.isdisjoint(off)
        others = {found for found in usual if found[1] != f"hilum-{name}"}
        assert others <= on
        assert others <= off
    assert ("Ingress", "hilum") in kinds({"ingress": {"enabled": True}})
    own = kinds({"existingSecret": "mine", "secrets": {}})
    assert ("Secret", "hilum") not in own


def test_every_pod_is_confined_and_probed() -> None:
    for one in plans.rendered({"components": {"proxy": {"enabled": True}}}):
        if one["kind"] not in ("Deployment", "Job"):
            continue
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}
        assert all("emptyDir" in volume for volume in pod["volumes"])
        if one["kind"] == "Deployment":
            assert {"startupProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"HILUM_TRUSTED_PROXIES": ""}},
        {"settings": {"HILUM_BLOBS_URL": "file:///data/objects"}},
        {"settings": {"PATH": "/tmp"}},
        {"components": {"apy": {"enabled": True}}},
        {"components": {"api": {"replicas": "two"}}},
        {"secrets": {"HILUM_DATABASE_URL": ""}},
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(Exception, match=r"(?i)values|settings|components|missing|required"):
        plans.rendered(values)


def test_the_image_runs_as_nobody_special_and_holds_no_secret() -> None:
    text = (plans.DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001", text, re.MULTILINE)
    assert "--require-hashes" in text
    file = yaml.safe_load((plans.DEPLOY / "compose.yaml").read_text())
    images = {service["image"] for service in file["services"].values()}
    assert all(image.count("/") <= 1 and "." not in image.partition("/")[0].partition(":")[0] for image in images)
    for service in file["services"].values():
        if service["image"] == "hilum":
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
    for path in plans.DEPLOY.rglob("*"):
        if path.is_file():
            assert not re.search(r"(?i)password[\"']?: *[\"']?[a-z0-9]{6,}", path.read_text()), path
