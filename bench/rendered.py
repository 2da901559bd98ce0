"""Pictures by WADO-RS: PNG and JPEG of CT slices, each another one, so that nothing decoded before is of use; and
thumbnails, which only Hilum has."""

from collections.abc import Mapping

from bench.client import Client
from bench.hilum_server import Platform
from bench.latency import cost, places
from bench.orthanc_server import Orthanc
from bench.table import Goal, Row

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
        instances = places(client)
        figures: dict[str, float] = {}
        for name, kind in (("png", "image/png"), ("jpeg", "image/jpeg")):
            figures |= cost(server, client, name, [f"{place}/rendered" for place in instances], kind)
        if isinstance(server, Platform):
            paths = [f"{place}/thumbnail" for place in instances]
            figures["thumbnail.first"] = cost(server, client, "first", paths, "image/jpeg")["first.median"]
            figures |= cost(server, client, "thumbnail", paths[:10], "image/jpeg")
    return figures
