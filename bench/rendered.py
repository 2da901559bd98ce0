"""Pictures by WADO-RS: PNG and JPEG of CT slices, each another one, so that nothing decoded before is of use; and
thumbnails, which only Hilum has."""

import itertools
import json
from collections.abc import Mapping

from bench.client import Client, latency_ms
from bench.hilum_server import Platform
from bench.orthanc_server import Orthanc
from bench.table import Goal, Row

UIDS = ("0020000D", "0020000E", "00080018")

ROWS = (
    Row("png.median", "a CT of 512 x 512 as PNG, median", "ms", "lower", Goal("times better", 15)),
    Row("png.cpu", "CPU of that", "ms", "lower", Goal("times better", 15)),
    Row("jpeg.median", "the same as JPEG, median", "ms", "lower"),
    Row("jpeg.cpu", "CPU of that", "ms", "lower"),
    Row("thumbnail.first", "its thumbnail, for the first time, median", "ms", "lower"),
    Row("thumbnail.median", "the same again, median", "ms", "lower"),
    Row("thumbnail.cpu", "CPU of that", "ms", "lower"),
)


def measure(server: Platform | Orthanc) -> Mapping[str, float]:
    """What a server needs to show the slices of the only series that it holds."""
    with Client(server.port) as client:
        listed = client.request("GET", "/dicom-web/instances?limit=1000", None, "application/dicom+json")
        uids = (tuple(one[tag]["Value"][0] for tag in UIDS) for one in json.loads(listed))
        places = [f"/dicom-web/studies/{study}/series/{series}/instances/{own}" for study, series, own in uids]
        figures: dict[str, float] = {}
        for name, kind in (("png", "image/png"), ("jpeg", "image/jpeg")):
            figures |= _latency(server, client, name, [f"{place}/rendered" for place in places], kind)
        if isinstance(server, Platform):
            paths = [f"{place}/thumbnail" for place in places]
            figures["thumbnail.first"] = _latency(server, client, "first", paths, "image/jpeg")["first.median"]
            figures |= _latency(server, client, "thumbnail", paths[:10], "image/jpeg")
    return figures


def _latency(server: Platform | Orthanc, client: Client, name: str, paths: list[str], kind: str) -> dict[str, float]:
    calls = 0
    turn = itertools.cycle(paths)

    def ask() -> None:
        nonlocal calls
        calls += 1
        client.request("GET", next(turn), None, kind)

    before = server.group.cpu_seconds()
    median, _ = latency_ms(ask, most=max(20, min(200, len(paths) - 5)))
    return {f"{name}.median": median, f"{name}.cpu": (server.group.cpu_seconds() - before) * 1000 / calls}
