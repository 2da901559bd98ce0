"""WADO-RS of one series: its metadata, a frame, an instance, and all of it as a zip."""

import json
import os
import time
from collections.abc import Callable, Mapping

from bench.client import Client, latency_ms
from bench.hilum_server import Platform
from bench.orthanc_server import Orthanc
from bench.table import Goal, Row

FRAME = 'multipart/related; type="application/octet-stream"'
INSTANCE = 'multipart/related; type="application/dicom"'
ZIPS = 3

ROWS = (
    Row("metadata.first", "metadata of a series of {}, right after it came", "ms", "lower"),
    Row("metadata.median", "the same again, median", "ms", "lower", Goal("times better", 10)),
    Row("metadata.cpu", "CPU of that", "ms", "lower"),
    Row("frame.median", "a frame of 512 x 512, median", "ms", "lower", Goal("times better", 3)),
    Row("frame.cpu", "CPU of that", "ms", "lower"),
    Row("instance.median", "an instance of 528 KB, median", "ms", "lower", Goal("times better", 1)),
    Row("instance.cpu", "CPU of that", "ms", "lower"),
    Row("zip.seconds", "the series of {} as a zip", "s", "lower", Goal("times better", 50)),
    Row("zip.cpu", "CPU of that", "s", "lower", Goal("times better", 50)),
)


def measure(server: Platform | Orthanc) -> Mapping[str, float]:
    """What a server needs to give the only series that it holds."""
    with Client(server.port) as client:
        first = json.loads(client.request("GET", "/dicom-web/instances?limit=1", None, "application/dicom+json"))[0]
        uids = {tag: first[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")}
        series = f"/dicom-web/studies/{uids['0020000D']}/series/{uids['0020000E']}"
        instance = f"{series}/instances/{uids['00080018']}"
        began = time.perf_counter()
        client.request("GET", f"{series}/metadata", None, "application/dicom+json")
        figures = {"metadata.first": (time.perf_counter() - began) * 1000}
        for name, path, accept in (
            ("metadata", f"{series}/metadata", "application/dicom+json"),
            ("frame", f"{instance}/frames/1", FRAME),
            ("instance", instance, INSTANCE),
        ):
            figures |= _latency(
                server, name, lambda path=path, accept=accept: client.request("GET", path, None, accept)
            )
        zipped, kind = (series, "application/zip") if isinstance(server, Platform) else (_archive(client, uids), "*/*")
        os.sync()
        before, began = server.group.cpu_seconds(), time.perf_counter()
        for _ in range(ZIPS):
            client.request("GET", zipped, None, kind)
        figures["zip.seconds"] = (time.perf_counter() - began) / ZIPS
        figures["zip.cpu"] = (server.group.cpu_seconds() - before) / ZIPS
    return figures


def _latency(server: Platform | Orthanc, name: str, request: Callable[[], object]) -> dict[str, float]:
    calls = 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        request()

    before = server.group.cpu_seconds()
    median, _ = latency_ms(counted)
    return {f"{name}.median": median, f"{name}.cpu": (server.group.cpu_seconds() - before) * 1000 / calls}


def _archive(client: Client, uids: Mapping[str, str]) -> str:
    """Where Orthanc, whose DICOMweb gives no zips, has that of the series."""
    found = json.loads(client.request("POST", "/tools/lookup", uids["0020000E"].encode()))
    return f"/series/{found[0]['ID']}/archive"
