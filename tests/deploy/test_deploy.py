"""What deploy/ holds: the same parts in the compose file and in the chart, each of them confined, switched, configured
and scaled alone."""

import re
from collections.abc import Callable

import pytest
import yaml

from hilum.core.config import Settings
from hilum.core.jobs import KINDS
from tests.deploy import plans
from tests.deploy.plans import Part

PARTS = {"api", "dicom", "proxy", "worker", "events", "fhir", "forwarder"}
READERS: dict[str, Callable[[], dict[str, Part]]] = {"compose": plans.compose, "helm": plans.helm}


def test_the_same_parts_are_in_both_and_every_kind_of_work_has_a_worker() -> None:
    for kind, read in READERS.items():
        parts = read()
        assert parts.keys() == PARTS | {"migrate"}, kind
        assert parts["migrate"].command == ["db", "upgrade"], kind
        assert (parts["api"].replicas, parts["dicom"].replicas) == (2, 2)
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
            assert part.variables.keys() <= names
            secret = {"HILUM_DATABASE_URL", "HILUM_BLOBS_OPTIONS"}
            assert "HILUM_DATA" in part.variables
            assert part.variables.keys() & secret == (set() if part.name == "proxy" else secret)


def test_what_must_be_the_same_is_the_same_in_both() -> None:
    compose, helm = (read() for read in READERS.values())
    for name in PARTS:
        assert compose[name].command == helm[name].command
        own = {key: value for key, value in helm[name].variables.items() if key not in plans.SHARED}
        assert own == {key: value for key, value in compose[name].variables.items() if key not in plans.SHARED}


def test_what_is_reached_from_elsewhere_says_who_may_come() -> None:
    """Hilum listens on loopback only, unless it is told which proxies ask who it is, and which AE titles may call."""
    for read in READERS.values():
        for part in read().values():
            told = part.variables
            if told.get("HILUM_HOST") == "0.0.0.0" and "HILUM_PORT" in told:
                assert told["HILUM_TRUSTED_PROXIES"]
            if told.get("HILUM_DICOM_HOST") == "0.0.0.0":
                assert told["HILUM_DICOM_PEERS"]
    services = yaml.safe_load((plans.DEPLOY / "compose.yaml").read_text())["services"]
    opened = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert opened.keys() == {"door", "dicom", "proxy"}, "people come by the door alone"
    assert all(port.startswith("127.0.0.1:") for ports in opened.values() for port in ports)


def test_the_chart_switches_configures_and_scales_each_part_alone() -> None:
    def kinds(values: dict[str, object]) -> set[tuple[str, str]]:
        return {(str(one["kind"]), one["metadata"]["name"]) for one in plans.rendered(values)}

    usual = kinds({})
    assert ("Deployment", "hilum-proxy") not in usual
    assert {("Job", "hilum-migration"), ("Service", "hilum-api"), ("PodDisruptionBudget", "hilum-api")} <= usual
    for name in PARTS:
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


def test_files_that_are_secret_are_there_for_every_pod() -> None:
    found = plans.rendered({"secretFiles": "hilum-files", "components": {"proxy": {"enabled": True}}})
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"}
    assert pods.keys() == {f"hilum-{name}" for name in PARTS}
    for pod in pods.values():
        (files,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == "files")
        assert files["secretName"] == "hilum-files"
        assert {"name": "files", "mountPath": "/etc/hilum", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_the_key_of_data_sets_is_a_secret_of_those_that_need_it() -> None:
    """Who makes data sets or takes instances in has the key file where HILUM_DEID_KEY_FILE names it; nobody else."""
    needed = {"api", "dicom", "worker", "forwarder"}
    place = "/run/secrets/deid.key"
    for read in READERS.values():
        told = {name: part.variables.get("HILUM_DEID_KEY_FILE") for name, part in read().items()}
        assert {name for name, path in told.items() if path == place} == needed
        assert {told[name] for name in told.keys() - needed} == {None}
    services = yaml.safe_load((plans.DEPLOY / "compose.yaml").read_text())
    assert {name for name, one in services["services"].items() if one.get("secrets") == ["deid.key"]} == needed
    assert services["secrets"] == {"deid.key": {"file": "deid.key"}}
    for secret in ("hilum-deid", ""):
        found = plans.rendered({"deidKeySecret": secret, "components": {"proxy": {"enabled": True}}})
        pods = {
            one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"
        }
        having: set[str] = set()
        for name, pod in pods.items():
            volumes = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "deid"]
            if volumes:
                assert volumes[0]["secretName"] == secret
                assert volumes[0]["items"] == [{"key": "deid.key", "path": "deid.key"}]
                mount = {"name": "deid", "mountPath": "/run/secrets", "readOnly": True}
                assert mount in pod["containers"][0]["volumeMounts"]
                having.add(name.removeprefix("hilum-"))
        assert having == (needed if secret else set())


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
        {"components": {"proxy": {"enabled": True, "environment": {"HILUM_RELAY_KEEP": "/data/kept"}}}},
    ],
)
def test_values_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(Exception, match=r"(?i)values|settings|components|missing|required|propertyName"):
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
