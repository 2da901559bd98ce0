"""QIDO-RS over many studies: pages from the start and from deep within, a patient, a range of dates, and how many
searches four connections get answered."""

import json
import threading
import time
from collections.abc import Mapping

from bench.client import Client, latency_ms
from bench.hilum_server import Platform
from bench.orthanc_server import Orthanc
from bench.processes import Failed
from bench.table import Goal, Row

CONNECTIONS = 4
SECONDS = 5.0
PAGE = "/dicom-web/studies?limit=100"

ROWS = (
    Row("qido.median", "QIDO-RS, 100 of {} studies, median", "ms", "lower", Goal("times better", 25)),
    Row("qido.p95", "QIDO-RS, 95th percentile", "ms", "lower"),
    Row("qido.cpu", "CPU of that", "ms", "lower"),
    Row("qido-deep.median", "QIDO-RS, the last 100 of {} studies", "ms", "lower"),
    Row("qido-patient.median", "QIDO-RS, by PatientID", "ms", "lower"),
    Row("qido-dates.median", "QIDO-RS, 100 by a range of dates", "ms", "lower"),
    Row("qido.rate", "QIDO-RS, 100 studies on 4 connections", "answers/s", "higher", Goal("times better", 50)),
)


def measure(server: Platform | Orthanc, studies: int) -> Mapping[str, float]:
    """What a server needs to search so many studies."""
    searches = {
        "qido": PAGE,
        "qido-deep": f"{PAGE}&offset={studies - 100}",
        "qido-patient": f"/dicom-web/studies?PatientID=BENCH-{studies // 2:05}",
        "qido-dates": f"{PAGE}&StudyDate=20180101-20181231",
    }
    figures: dict[str, float] = {}
    with Client(server.port) as client:
        for name, path in searches.items():
            before, calls = server.group.cpu_seconds(), 0

            def search(path: str = path) -> None:
                nonlocal calls
                calls += 1
                _search(client, path)

            median, p95 = latency_ms(search)
            figures |= {
                f"{name}.median": median,
                f"{name}.p95": p95,
                f"{name}.cpu": (server.group.cpu_seconds() - before) * 1000 / calls,
            }
    return figures | {"qido.rate": _rate(server.port)}


def _search(client: Client, path: str) -> bytes:
    return client.request("GET", path, None, "application/dicom+json")


def _rate(port: int) -> float:
    """Answers a second to connections that ask again as soon as they are answered."""
    counts, until = [0] * CONNECTIONS, time.perf_counter() + SECONDS
    failures: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            with Client(port) as client:
                while time.perf_counter() < until:
                    body = _search(client, PAGE)
                    counts[number] += 1
                if len(json.loads(body)) != 100:
                    raise Failed("A search did not answer with 100 studies.")
        except BaseException as error:  # raised below
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) / SECONDS
