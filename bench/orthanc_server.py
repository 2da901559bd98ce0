"""The peer: Debian's Orthanc with its DICOMweb plugin, as shipped (fsync on), on loopback without credentials."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bench.client import Client, answers, free_port
from bench.processes import Failed, Group

PROGRAM = Path("/usr/sbin/Orthanc")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
CONNECTIONS = 4


def version() -> str:
    """Orthanc's version, as it says it."""
    output = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    return output.splitlines()[0].split()[-1]


class Orthanc:
    """A running Orthanc with its storage and index in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.dicom_port = free_port()
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(folder)))
        self.group = Group([str(PROGRAM), str(configuration)], dict(os.environ), folder / "log")
        self.group.wait_until(answers(self.port, "/system"), 30)

    def _configuration(self, folder: Path) -> dict[str, object]:
        return {
            "Name": "Benchmark",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "SyncStorageArea": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "HttpPort": self.port,
            "KeepAlive": True,
            "DicomServerEnabled": True,
            "DicomPort": self.dicom_port,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "127.0.0.1", "Ssl": False},
        }

    def upload(self, files: list[Path]) -> tuple[float, float]:
        """Send files by REST over four connections: seconds it took, and of CPU in Orthanc (the client's left out)."""
        waiting, lock, failures = iter(files), threading.Lock(), list[BaseException]()
        before = self.group.cpu_seconds()
        began = time.perf_counter()
        threads = [
            threading.Thread(target=_send, args=(self.port, waiting, lock, failures)) for _ in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - began
        if failures:
            raise failures[0]
        cpu = self.group.cpu_seconds() - before
        with Client(self.port) as client:
            held = client.get_count("/statistics", "CountInstances")
        if held != len(files):
            raise Failed(f"Orthanc holds {held} instances, not the {len(files)} sent.")
        return wall, cpu

    @staticmethod
    def first_page(client: Client) -> None:
        """Ask for the nearest that Orthanc has to a study list's first page."""
        client.request("POST", "/tools/find", b'{"Level": "Study", "Query": {}, "Expand": true, "Limit": 20}')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.group.stop()


def _send(port: int, waiting: Iterator[Path], lock: threading.Lock, failures: list[BaseException]) -> None:
    try:
        with Client(port) as client:
            while True:
                with lock:
                    path = next(waiting, None)
                if path is None:
                    return
                client.request("POST", "/instances", path.read_bytes())
    except BaseException as error:  # the main thread raises it
        failures.append(error)
