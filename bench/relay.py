"""The relay beside a server: a NATS of its own, and a proxy that modalities call."""

import re
import socket
import sys
from pathlib import Path
from typing import Self

from bench.client import free_port
from bench.hilum_server import HILUM, environment
from bench.processes import Group

_PROGRAM = str(Path(sys.executable).with_name("nats-server"))
_ADDRESS = re.compile(rb"The proxy is at \S*?:(\d+) ")


class Relay:
    """NATS in `folder`, for a server that gets `settings`; and once that runs, a proxy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        port = free_port()
        self.settings = {"HILUM_NATS_URL": f"nats://127.0.0.1:{port}", "HILUM_RELAY_CHANNELS": "main"}
        command = [_PROGRAM, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "jetstream")]
        self._nats = Group(command, {}, folder / "nats.log")
        self._nats.wait_until(lambda: _is_open(port), 30)
        self._proxy: Group | None = None
        self.port = 0

    def start_proxy(self) -> None:
        """Have a proxy that has found NATS; `port` is where it listens."""
        log = self._folder / "proxy.log"
        given = environment(self._folder / "edge") | {"HILUM_NATS_URL": self.settings["HILUM_NATS_URL"]}
        self._proxy = Group([*HILUM, "proxy", "--listen-port", "0"], given, log)
        self._proxy.wait_until(lambda: b"relay.connected" in log.read_bytes(), 60)
        found = _ADDRESS.search(log.read_bytes())
        assert found, "the proxy says where it is before it looks for NATS"
        self.port = int(found[1])

    def cpu_seconds(self) -> float:
        """User and system time of NATS and proxy so far."""
        return self._nats.cpu_seconds() + (self._proxy.cpu_seconds() if self._proxy else 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in (self._proxy, self._nats):
            if group is not None:
                group.stop()


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
