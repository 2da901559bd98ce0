"""Hilum, as a user runs it: `hilum serve` on a data directory of its own, and the other commands beside it."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from bench.client import Client, answers, free_port
from bench.processes import Failed, Group, run

HILUM = [sys.executable, "-m", "hilum"]


def environment(data: Path) -> dict[str, str]:
    """The variables for a command on `data`: defaults in all else, so that the user's own settings do not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HILUM_", "PYTHON"))}
    return kept | {"HILUM_DATA": str(data), "PYTHONSAFEPATH": "1"}


class Platform:
    """A running `hilum serve` (or `hilum demo`) on the data directory `folder`/data."""

    def __init__(
        self, folder: Path, command: str = "serve", ready: str = "/ready", settings: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self.environment = environment(self.data) | dict(settings or ())
        arguments = [command, "--data", str(self.data), "--port", str(self.port)]
        if command == "serve":
            arguments += ["--dicom-port", "0"]
        if command == "demo":
            arguments.append("--no-open")
        began = time.perf_counter()
        self.group = Group([*HILUM, *arguments], self.environment, folder / "log")
        self.group.wait_until(answers(self.port, ready), 600)
        self.seconds_to_ready = time.perf_counter() - began

    def import_folder(self, source: Path, expected: int, *options: str) -> tuple[float, float]:
        """Run `hilum import` beside the server: seconds it took, and of CPU in command, server and database."""
        before = self.group.cpu_seconds()
        wall, command_cpu, _ = run([*HILUM, "import", str(source), "--json", *options], self.environment)
        cpu = command_cpu + self.group.cpu_seconds() - before
        held = self.instances()
        if held != expected:
            raise Failed(f"Hilum holds {held} instances, not the {expected} imported.")
        return wall, cpu

    @property
    def dicom_port(self) -> int:
        """The port that its DICOM listener took."""
        return int((self.data / "run" / "dicom-port").read_text())

    def instances(self) -> int:
        """How many instances the catalogue holds."""
        with Client(self.port) as client:
            return client.get_count("/api/v1/imaging/stats", "instances")

    @staticmethod
    def first_page(client: Client) -> None:
        """Ask for what the study list shows first."""
        client.request("GET", "/api/v1/imaging/studies?limit=20")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.group.stop()
