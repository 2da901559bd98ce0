"""The wheel is all that a user needs: no clone, no Node, and `hilum demo` shows its page and its studies."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin

import pytest

from tests.ports import free_port

pytestmark = pytest.mark.timeout(1200)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(open_folder: Path) -> Path:
    built = subprocess.run(
        [ROOT / "scripts" / "wheel", open_folder / "dist"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="module")
def installed(open_folder: Path, wheel: Path) -> Path:
    """The bin folder of a fresh environment with the wheel and what it asks for, at the locked versions."""
    uv = shutil.which("uv") or str(ROOT / ".uv" / "venv" / "bin" / "uv")
    environment = open_folder / "installed"
    python = environment / "bin" / "python"
    locked = ["--constraint", str(ROOT / "requirements" / "base.txt")]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *locked, str(wheel)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
    return python.parent


@pytest.fixture(scope="module")
def demo(open_folder: Path, installed: Path) -> Iterator[str]:
    """The address of a `hilum demo` from the wheel, on a machine where only the environment's commands are found."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HILUM_", "PYTHON", "VIRTUAL"))}
    command = [installed / "hilum", "demo", "--data", open_folder / "data", "--port", str(port), "--no-open"]
    with (open_folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=kept | {"PATH": str(installed)}, stdout=log, stderr=log, cwd="/")
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while _studies(address) == 0:
            shown = (open_folder / "log").read_text()[-3000:]
            assert process.poll() is None, shown
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        yield address
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()


def _get(url: str) -> tuple[str, bytes]:
    """The type and the bytes of what lies there; anything but 200 raises."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.headers.get_content_type(), response.read()


def _studies(address: str) -> int:
    try:
        return json.loads(_get(f"{address}/api/v1/imaging/stats")[1])["studies"]
    except (URLError, OSError):
        return 0


def test_the_wheel_carries_the_page_and_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "hilum"
    in_tree = {
        str(path.relative_to(ROOT)) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    in_wheel = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("hilum/")}

    assert "hilum/static/index.html" in in_wheel
    assert in_wheel == in_tree


def test_the_demo_serves_its_page_without_node(demo: str) -> None:
    kind, page = _get(f"{demo}/")
    assert kind == "text/html"

    scripts = [_get(demo + path.decode()) for path in re.findall(rb'<script[^>]+src="(/[^"]+)"', page)]
    assert {kind for kind, _ in scripts} <= {"text/javascript", "application/javascript"}
    assert max(len(code) for _, code in scripts) > 10_000


def test_the_demo_shows_a_study_and_hands_out_its_instances(demo: str) -> None:
    [study] = json.loads(_get(f"{demo}/api/v1/imaging/studies?limit=1")[1])["items"]
    instances = json.loads(_get(f"{demo}/api/v1/imaging/studies/{study['id']}/instances?limit=1")[1])["items"]

    kind, stored = _get(urljoin(demo, instances[0]["wado_url"]))
    assert kind == "application/dicom"
    assert stored[128:132] == b"DICM"
