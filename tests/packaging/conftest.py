"""A place for fresh clones and environments."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that other users can read; pytest's own ones are closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="hilum-packaging-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
