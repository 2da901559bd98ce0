"""The lanes of a command: processes that end with it, and tell of their errors."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hilum.core.errors import OutOfSpace
from hilum.core.progress import job_here
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.lanes import process_lanes
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from tests.conftest import wait_until
from tests.make import folder
from tests.watched import has_ended


def imported(archive: Archive, path: Path) -> dict[str, int]:
    with process_lanes(archive.settings) as lanes, job_here(archive.database, "import", "x", "", _shown) as progress:
        import_paths(archive, Manner(archive.source()), [path], Tally(progress), lanes=lanes)
    return progress.counts


def _shown(_done: int, _total: int | None) -> None:
    pass


def test_processes_take_the_groups_of_one_import_together(archive: Archive, tmp_path: Path) -> None:
    folder(tmp_path / "in", studies=3, series=2, instances=50)
    assert imported(archive, tmp_path / "in")["instances"] == 300
    assert imported(archive, tmp_path / "in")["duplicates"] == 300


def test_an_error_of_a_lane_ends_the_import_with_its_sentence(archive: Archive, tmp_path: Path) -> None:
    folder(tmp_path / "in")
    settings = archive.settings.model_copy(update={"min_free_bytes": 1 << 60})
    full = Archive(archive.database, archive.blobs, settings)
    with pytest.raises(OutOfSpace, match="HILUM_MIN_FREE_BYTES"):
        imported(full, tmp_path / "in")


def test_the_processes_end_when_their_command_is_killed(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from hilum.core.config import Settings;"
        "from hilum.imaging.intake.lanes import process_lanes\n"
        f"with process_lanes(Settings(data=Path({str(tmp_path)!r}))):\n print('forked', flush=True); time.sleep(600)"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stdout.readline() == b"forked\n"
    lanes = psutil.Process(command.pid).children()
    assert lanes
    command.kill()
    command.wait()
    wait_until(lambda: all(map(has_ended, lanes)), what="their end")
