"""What deploy/ runs, read from the compose file and rendered from the Helm chart by Helm's own engine, and started as
processes of this machine: the very commands and variables, but for addresses and folders that only exist there."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import helm_python
import httpx
import pytest
import yaml

from tests.conftest import free_port, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "hilum"
PASSWORDS = {"POSTGRES_PASSWORD": "a-password", "S3_SECRET": "a-secret"}
SECRETS = {"HILUM_DATABASE_URL": "postgresql://hilum@postgres/hilum", "HILUM_BLOBS_OPTIONS": "{}"}
# What stands for a place in those files: each is replaced by the same thing on this machine, and nothing else is.
PLACES = ("HILUM_DATABASE_URL", "HILUM_BLOBS_OPTIONS", "HILUM_NATS_URL", "HILUM_FHIR_PUBLISH_URL", "HILUM_DATA")
# What holds for every process of a place, such as who asks there who it is.
SHARED = (*PLACES, "HILUM_BLOBS_URL", "HILUM_PUBLIC_URL", "HILUM_TRUSTED_PROXIES")
PORTS = ("HILUM_PORT", "HILUM_HEALTH_PORT", "HILUM_DICOM_PORT")


@dataclass(frozen=True)
class Part:
    """One kind of process: what it runs, with which variables, how many."""

    name: str
    command: list[str]
    variables: dict[str, str]
    replicas: int = 1


@dataclass
class Running:
    """A process of a part."""

    part: Part
    process: "subprocess.Popen[bytes]"
    log: Path
    data: Path
    ports: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def url(self) -> str:
        """Of its HTTP server, or of its probe."""
        return f"http://127.0.0.1:{self.ports.get('HILUM_PORT') or self.ports['HILUM_HEALTH_PORT']}"

    def answers(self, path: str = "/ready") -> bool:
        """Whether it answers a question; what takes DICOM is asked for a connection. Fails if it has ended."""
        if self.process.poll() is not None:
            pytest.fail(f"{self.part.name} ended: {self.log.read_text()[-3000:]}")
        if port := self.ports.get("HILUM_DICOM_PORT"):
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        try:
            return httpx.get(self.url + path, timeout=20).status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        """GET below its address, which must succeed."""
        answer = httpx.get(self.url + path, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer


def compose() -> dict[str, Part]:
    """The Hilum services of the compose file, as ``docker compose`` reads it."""
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    found: dict[str, Part] = {}
    for name, service in file["services"].items():
        if service["image"] == "hilum":
            variables = {key: _interpolated(value) for key, value in service["environment"].items()}
            found[name] = Part(name, service["command"], variables, service.get("deploy", {}).get("replicas", 1))
    return found


def _interpolated(text: str) -> str:
    """``${NAME:-default}`` and ``${NAME:?sentence}`` of a compose file."""

    def value(match: re.Match[str]) -> str:
        given = PASSWORDS.get(match[1], "")
        assert given or match[2] != ":?", f"{match[1]} is asked for"
        return given or (match[3] or "" if match[2] == ":-" else "")

    return re.sub(r"\$\{([A-Z0-9_]+)(?:(:-|:\?)([^}]*))?\}", value, text)


def rendered(values: Mapping[str, object] | None = None) -> list[dict[str, object]]:
    """The objects that the chart makes."""
    with helm_python.Chart.load(CHART) as chart:
        given = {"secrets": SECRETS} | dict(values or {})
        chart.validate_schema(given)
        manifests = chart.render(given, name="hilum", namespace="hilum")
    return [one for text in manifests.values() for one in yaml.safe_load_all(text) if one]


def helm() -> dict[str, Part]:
    """The Deployments and the migration of the chart, with the variables that their pods get, its proxy switched on."""
    objects = rendered({"components": {"proxy": {"enabled": True}}, "deidKeySecret": "hilum-deid"})
    given: dict[str, dict[str, str]] = {}
    for one in objects:
        if one["kind"] in ("ConfigMap", "Secret"):
            given[f"{one['kind']}/{one['metadata']['name']}"] = one.get("data") or one["stringData"]
    found: dict[str, Part] = {}
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            (container,) = one["spec"]["template"]["spec"]["containers"]
            variables: dict[str, str] = {}
            for source in container["envFrom"]:
                for kind, reference in source.items():
                    variables |= given[
                        {"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind] + "/" + reference["name"]
                    ]
            variables |= {entry["name"]: entry["value"] for entry in container.get("env", [])}
            name = one["metadata"]["name"].removeprefix("hilum-")
            found["migrate" if name == "migration" else name] = Part(
                name, container["args"], variables, one["spec"].get("replicas", 1)
            )
    return found


@dataclass
class Machines:
    """Starts parts as processes, each with a data folder of its own, as if each had a machine of its own."""

    folder: Path
    places: Mapping[str, str]
    running: list[Running] = field(default_factory=list[Running])

    def start(self, part: Part) -> Running:
        """Start one process of a part."""
        number = len(self.running)
        data = self.folder / f"machine-{number}"
        ports = {name: free_port() for name in PORTS if name in part.variables}
        variables = (
            part.variables
            | {name: value for name, value in self.places.items() if name in part.variables}
            | {name: str(port) for name, port in ports.items()}
            | {"HILUM_DATA": str(data)}
        )
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("HILUM_", "AWS_"))}
        log = self.folder / f"{part.name}-{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "hilum", *part.command], env=clean | variables, stdout=output, stderr=output,
                cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        started = Running(part, process, log, data, ports)
        self.running.append(started)
        return started

    def ready(self, *some: Running, seconds: float = 240) -> None:
        """Wait until processes can be worked with."""
        for one in some:
            wait_until(one.answers, seconds, f"a ready {one.part.name} ({one.log})")

    def stop(self) -> None:
        """End what still runs."""
        for one in self.running:
            if one.process.poll() is None:
                one.process.terminate()
        for one in self.running:
            try:
                one.process.wait(40)
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()


@contextmanager
def machines(folder: Path, places: Mapping[str, str]) -> Iterator[Machines]:
    """Machines that are gone at the end."""
    folder.mkdir(parents=True)
    made = Machines(folder, places)
    try:
        yield made
    finally:
        made.stop()
