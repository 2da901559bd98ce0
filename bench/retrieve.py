"""WADO-RS of one series: its metadata, a frame, an instance, and all of it as a zip."""

import json
import os
import time
from collections.abc import Mapping

from bench.client import Client
from bench.hilum_server import Platform
from bench.latency import cost, places
from bench.orthanc_server import Orthanc
from bench.table import Goal, Row

FRAME = 'multipart/related; type="application/octet-stream"'
INSTANCE = 'multipart/related; type="application/dicom"'
ZIPS = 3

ROWS = (
    Row("metadata.first", "metadata of a series of {}, right after it came", "ms", "lower"),
    Row("metadata.median", "the same again, median", "ms", "lower", Goal("times better", 10)),
    Row("metadata.cpu", "CPU of that", "ms", "lower"),
    Row("frame.median", "a frame of 512 x 512, each another one, median", "ms", "lower", Goal("times better", 3)),
    Row("frame.cpu", "CPU of that", "ms", "lower"),
    Row("instance.median", "an instance of 528 KB, each another one, median", "ms", "lower", Goal("times better", 1)),
    Row("instance.cpu", "CPU of that", "ms", "lower"),
    Row("zip.seconds", "the series of {} as a zip", "s", "lower", Goal("times better", 50)),
    Row("zip.cpu", "CPU of that", "s", "lower", Goal("times better", 50)),
)


def measure(server: Platform | Orthanc) -> Mapping[str, float]:
    """What a server needs to give the only series that it holds."""
    with Client(server.port) as client:
        instances = places(client)
        series = instances[0].rpartition("/instances/")[0]
        began = time.perf_counter()
        client.request("GET", f"{series}/metadata", None, "application/dicom+json")
        figures = {"metadata.first": (time.perf_counter() - began) * 1000}
        for name, paths, accept in (
            ("metadata", [f"{series}/metadata"] * 300, "application/dicom+json"),
            ("frame", [f"{instance}/frames/1" for instance in instances], FRAME),
            ("instance", instances, INSTANCE),
        ):
            figures |= cost(server, client, name, paths, accept)
        zipped, kind = (series, "application/zip") if isinstance(server, Platform) else (_zip_of(client, series), "*/*")
        os.sync()
        before, began = server.group.cpu_seconds(), time.perf_counter()
        for _ in range(ZIPS):
            client.request("GET", zipped, None, kind)
        figures["zip.seconds"] = (time.perf_counter() - began) / ZIPS
        figures["zip.cpu"] = (server.group.cpu_seconds() - before) / ZIPS
    return figures


def _zip_of(client: Client, series: str) -> str:
    """Where Orthanc, whose DICOMweb gives no zips, has that of the series."""
    found = json.loads(client.request("POST", "/tools/lookup", series.rpartition("/")[2].encode()))
    return f"/series/{found[0]['ID']}/archive"
