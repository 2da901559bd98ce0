"""What a question costs, asked of one instance of a series after the other: the wait of the client, and the CPU of all
processes of the server."""

import itertools
import json
from collections.abc import Sequence

from bench.client import Client, latency_ms
from bench.hilum_server import Platform
from bench.orthanc_server import Orthanc

UIDS = ("0020000D", "0020000E", "00080018")


def places(client: Client) -> list[str]:
    """The paths of the first thousand instances of a server."""
    listed = client.request("GET", "/dicom-web/instances?limit=1000", None, "application/dicom+json")
    uids = (tuple(one[tag]["Value"][0] for tag in UIDS) for one in json.loads(listed))
    return [f"/dicom-web/studies/{study}/series/{series}/instances/{own}" for study, series, own in uids]


def cost(server: Platform | Orthanc, client: Client, name: str, paths: Sequence[str], kind: str) -> dict[str, float]:
    """Median wait and mean CPU, in ms, of getting each of some paths as a media type, the next one each time."""
    calls = 0
    turn = itertools.cycle(paths)

    def ask() -> None:
        nonlocal calls
        calls += 1
        client.request("GET", next(turn), None, kind)

    before = server.group.cpu_seconds()
    median, _ = latency_ms(ask, most=max(20, min(200, len(paths) - 5)))
    return {f"{name}.median": median, f"{name}.cpu": (server.group.cpu_seconds() - before) * 1000 / calls}
