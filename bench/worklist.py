"""The worklist (UPS-RS): how long a claim takes, and until a subscriber is told of it. The peer has no such service."""

import json
import time
from itertools import count
from statistics import median, quantiles

from websockets.sync.client import connect

from bench.client import Client
from bench.corpus import Corpus
from bench.hilum_server import Platform

EACH = 200
SUBSCRIBER = "/dicom-web/workitems/1.2.840.10008.5.1.4.34.5/subscribers/BENCH"
_uids = count(1)


def _element(vr: str, value: str) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def _new_uid() -> str:
    return f"1.2.826.0.1.3680043.10.9.7.{next(_uids)}"


def _create(client: Client) -> str:
    uid = _new_uid()
    workitem = {
        "00404005": _element("DT", "20260101"),
        "00404041": _element("CS", "READY"),
        "00741000": _element("CS", "SCHEDULED"),
        "00741200": _element("CS", "MEDIUM"),
        "00741204": _element("LO", "a measured one"),
    }
    client.request("POST", f"/dicom-web/workitems?{uid}", json.dumps(workitem).encode(), expected=201)
    return uid


def claims(server: Platform, files: Corpus) -> dict[str, float]:
    """Claim one after the other, with a subscriber listening to all."""
    del files
    with Client(server.port) as client:
        uids = [_create(client) for _ in range(EACH)]
        client.request("POST", SUBSCRIBER, expected=201)
        claimed: list[float] = []
        told: list[float] = []
        before = server.group.cpu_seconds()
        with connect(f"ws://127.0.0.1:{server.port}/dicom-web/subscribers/BENCH") as socket:
            for uid in uids:
                claim = {"00741000": _element("CS", "IN PROGRESS"), "00081195": _element("UI", _new_uid())}
                began = time.perf_counter()
                client.request("PUT", f"/dicom-web/workitems/{uid}/state", json.dumps(claim).encode())
                claimed.append((time.perf_counter() - began) * 1000)
                socket.recv(timeout=60)
                told.append((time.perf_counter() - began) * 1000)
        cpu = (server.group.cpu_seconds() - before) * 1000 / EACH
    return {
        "claim.median": median(claimed),
        "claim.told": median(told),
        "claim.told95": quantiles(told, n=20)[-1],
        "claim.cpu": cpu,
    }
