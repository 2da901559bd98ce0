"""Fuzz every route that the OpenAPI document names on a running server, with what its parameters allow, with what they
do not, and with header fields and queries that no client sends. A status of 500 or more, an answer that is not as the
document says, or one that takes long, is an error.

Run ``python -m fuzz.routes [SECONDS [SEED]]``: it starts a server on a small archive of its own, and sends it broken
instances too (see ``fuzz.instances``).
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance

from fuzz.instances import fuzz_instances
from tests.make import ct, uid

SLOW = 20.0
# What is answered until the client goes; `tests/studies/test_feed.py` asks it nonsense.
ENDLESS = ("/api/v1/imaging/events/stream",)
STUDIES = 4
BOUNDARY = "fuzz"
GARBAGE = ("0", "-1", "1.2.3", "x", "%00", "\u00e9", "9" * 19, "1" * 65, "..", "a" * 3000, "1,2,x", "1%2C1", "' or 1=1")
HEADERS: dict[str, tuple[str, ...]] = {
    "Accept": (
        "", ",", ";", "*/*", "*/*;q=0", "a/b", "multipart/related", 'multipart/related; type="', "text/html;q=2",
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.3', "application/dicom;q=0.001," * 100,
        "application/dicom+json;" * 150, "image/jpeg, " * 300, "multipart/related;type=image/jpeg;q=x", "\u00ff" * 9,
        'multipart/related; type="application/octet-stream"; transfer-syntax=*', "application/dicom+xml",
    ),
    "Range": (
        "bytes=0-", "bytes=-1", "bytes=5-2", "bytes=" + "9" * 30 + "-", "bytes=0-0,1-1", "bytes=-", "lines=1-2",
        "bytes=" + "0-1," * 500, "bytes=a-b", "bytes=18446744073709551615-18446744073709551616",
    ),
    "If-None-Match": ("*", '"x"', "W/", '"' * 50, "," * 900),
    "If-Match": ("*", '"1-2"', "x"),
    "If-Modified-Since": ("Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "9" * 60),
    "Accept-Encoding": ("gzip;q=x", "gzip;q=0", "*;q=0", "," * 100),
    "Forwarded": ("for=;;;proto=x", 'host="' + "a" * 500 + '"', "proto=javascript"),
    "X-Forwarded-Host": ("\u00ff", "a b", "x/../y"),
    "Origin": ("null", "http://localhost:99999", "x"),
    "Content-Type": ("", "multipart/related", "multipart/related; boundary=", "application/dicom+json", "a", ";;"),
}  # fmt: skip
QUERIES = (
    ("StudyDate", "99999999-"), ("StudyDate", "-"), ("StudyDate", "20240101-20230101"), ("PatientName", "*" * 200),
    ("PatientName", "?*?*?*" * 60), ("00100010", "\\"), ("7FE00010", "x"), ("limit", "-1"), ("limit", "9" * 40),
    ("offset", "9" * 40), ("offset", "-0"), ("includefield", "all"), ("includefield", "0" * 500), ("fuzzymatching", ""),
    ("00081199.00081155", "1"), ("a.b.c.d.e.f", "x"), ("StudyInstanceUID", ",".join(["1"] * 3000)), ("", ""),
    ("accept", "image/jpeg"), ("viewport", "0,0"), ("viewport", "99999999,99999999"), ("viewport", "1e9,nan,x"),
    ("window", "nan,nan,linear"), ("window", "1,0,sigmoid"), ("quality", "-5"), ("rows", "999999999"), ("scale", "inf"),
    ("frameNumber", "99999999999"), ("center", "1e400"), ("q", "%"), ("sort", "id; drop"), ("\u00e9", "\u0000"),
    ("PatientName", "\u0000"), ("modality", "\ud7ff"), ("patient_id", "\u0000"), ("source", "\u0000"), ("q", "\u0000"),
)  # fmt: skip
BODIES = (
    b"", b"--fuzz--", b"--fuzz\r\n\r\n\r\n--fuzz--", b"--fuzz\r\n" + b"a: b\r\n" * 100 + b"\r\nx\r\n--fuzz--",
    b"[" * 5000, b"{}", b"\xff" * 300, b"--fuzz\r\nContent-Type: x\r\n\r\nDICM\r\n--fuzz--",
)  # fmt: skip


@dataclass
class Report:
    """What was asked, and what went wrong."""

    requests: int = 0
    operations: int = 0
    problems: list[str] = field(default_factory=list[str])


def seed(url: str) -> None:
    """Give a server the small archive that the fuzzing looks at."""
    for study in range(1, STUDIES + 1):
        body = b"".join(
            f"--{BOUNDARY}\r\n\r\n".encode() + ct(study, 1, n, size=16) + b"\r\n" for n in (1, 2)
        ) + f"--{BOUNDARY}--".encode()  # fmt: skip
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        httpx.post(f"{url}/dicom-web/studies", content=body, headers={"Content-Type": kind}).raise_for_status()


def fuzz(url: str, *, examples: int, seconds: float, random_seed: int = 1) -> Report:
    """Ask every operation of a server's OpenAPI document, what deletes last.

    Parameters
    ----------
    url
        Of the server, with the archive that `seed` makes.
    examples
        How many requests an operation gets at most.
    seconds
        After which no further operation is begun.
    random_seed
        The same gives the same requests.
    """
    document: dict[str, Any] = httpx.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [operation for operation in operations if operation.path not in ENDLESS]
    operations.sort(key=lambda operation: (operation.method.upper() == "DELETE", operation.path))
    report = Report()
    until = time.monotonic() + seconds
    with requests.Session() as session:
        for operation in operations:
            if time.monotonic() > until:
                report.problems.append(f"time was up after {report.operations} of {len(operations)} operations")
                break
            report.operations += 1
            _fuzz_operation(url, session, operation, report, examples, random_seed)
    return report


def _fuzz_operation(
    url: str, session: requests.Session, operation: Any, report: Report, examples: int, random_seed: int
) -> None:
    label = f"{operation.method.upper()} {operation.path}"

    @hypothesis.seed(random_seed)
    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy(), data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        problem = _ask(url, session, case, data)
        report.requests += 1
        if problem:
            report.problems.append(f"{label}: {problem}")

    ask()


def _ask(url: str, session: requests.Session, case: Any, data: st.DataObject) -> str:
    for name in list(case.path_parameters or {}):
        known = _known(name, case.path_parameters)
        case.path_parameters[name] = data.draw(st.one_of(st.just(known), st.just(known), st.sampled_from(GARBAGE)))
    names = data.draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=2, unique=True))
    headers = {name: data.draw(st.sampled_from(HEADERS[name])) for name in names}
    query = dict(data.draw(st.lists(st.sampled_from(QUERIES), max_size=2)))
    more: dict[str, Any] = {}
    if not case.operation.body and case.method.upper() in ("POST", "PUT", "PATCH"):
        more["data"] = data.draw(st.sampled_from(BODIES))
    try:
        answer = case.call(url, session=session, params=query, headers=headers, timeout=SLOW, **more)
    except (requests.RequestException, UnicodeError) as error:
        # What the client itself refuses to send says nothing of the server.
        hung = isinstance(error, (requests.Timeout, requests.ConnectionError))
        return f"{type(error).__name__} for {case.formatted_path} {query} {headers}: {error}" if hung else ""
    asked = f"{answer.request.url[:300]} {headers}"
    if answer.status_code >= 500:
        return f"{answer.status_code} for {asked}: {answer.text[:300]}"
    if answer.elapsed > SLOW / 2:
        return f"{answer.elapsed:.1f} s for {asked}"
    try:
        case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])
    except (AssertionError, BaseExceptionGroup) as error:
        return f"{answer.status_code} is not as described, for {asked}: {str(error)[:500]}"
    return ""


def _known(name: str, path: dict[str, Any]) -> str:
    """A value that leads somewhere; a deletion's own address too, which is why deletions come last."""
    study = 1 + len(path) % STUDIES
    known = {
        "study": uid(study), "study_uid": uid(study), "series": uid(study, 1), "series_instance_uid": uid(study, 1),
        "instance": uid(study, 1, 1), "sop_instance_uid": uid(study, 1, 1), "key": "default", "path": "7FE00010",
        "frames": "1", "frame": "1",
    }  # fmt: skip
    return known.get(name, "1")


def main(arguments: Sequence[str]) -> None:
    from tests.conftest import serving

    seconds = float(arguments[0]) if arguments else 600
    random_seed = int(arguments[1]) if len(arguments) > 1 else int(time.time())
    print(f"seed {random_seed}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with serving(Path(folder) / "data") as server:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                seed(server.url)
                report = fuzz(server.url, examples=200, seconds=until - time.monotonic(), random_seed=random_seed)
                found = [one for one in report.problems if not one.startswith("time was up")]
                found += fuzz_instances(server.url, count=200, random_seed=random_seed)
                print(f"{report.requests} requests to {report.operations} operations, 200 broken instances")
                if found:
                    sys.exit("\n".join(_distinct(found)))
                random_seed += 1


def _distinct(problems: Iterable[str]) -> list[str]:
    return list({one.partition(" for ")[0]: one for one in problems}.values())


if __name__ == "__main__":
    main(sys.argv[1:])
