"""Three judges of FHIR R4 that are not ours, each with faults that only it finds: fhirkit (Rust), fhir.resources (R4B)
and npm's fhir. A resource is right when none of them has anything to say."""

import json
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import fhirkit
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

STATE = Path(__file__).parents[2] / ".uv" / "oracle"
SCRIPT = Path(__file__).parent / "oracle" / "validate.js"
# What R4B does not know of R4, or npm's fhir of the specification.
_EXCUSED = re.compile(r"Code \"4\.0\.1\" not found")


def assert_valid(resources: Iterable[dict]) -> None:
    """Fail, with the words of the judge, at the first resource that is not right."""
    given = list(resources)
    for resource, *said in zip(given, by_fhirkit(given), by_fhir_resources(given), by_npm(given), strict=True):
        problems = [problem for judge in said for problem in judge if not _EXCUSED.search(problem)]
        assert not problems, f"{problems}\n{json.dumps(resource, indent=1)[:4000]}"


def by_fhirkit(resources: list[dict]) -> list[list[str]]:
    return [[str(issue) for issue in fhirkit.validate(json.dumps(each)) if "error" in str(issue)] for each in resources]


def by_fhir_resources(resources: list[dict]) -> list[list[str]]:
    return [_by_model(each) for each in resources]


def _by_model(resource: dict) -> list[str]:
    try:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    except ValidationError as error:
        return [f"{each['loc']}: {each['msg']}" for each in error.errors()]
    return []


def by_npm(resources: list[dict]) -> list[list[str]]:
    if not (STATE / "node_modules" / "fhir").is_dir():
        pytest.skip("npm's fhir is not installed; scripts/test does that")
    judge = _npm()
    assert judge.stdin
    assert judge.stdout
    said: list[list[str]] = []
    for each in resources:
        judge.stdin.write(json.dumps(each) + "\n")
        judge.stdin.flush()
        said.append(json.loads(judge.stdout.readline()))
    return said


@cache
def _npm() -> subprocess.Popen[str]:
    """The judge's process, which is slow to start; it ends with the tests, when its input does."""
    command = ["node", str(SCRIPT), str(STATE)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
