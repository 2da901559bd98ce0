"""What Hilum writes, as a conformance checker sees it (dciodvfy of dicom3tools): files wrapped, made and transcoded."""

import io
import shutil
import subprocess
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from hilum.imaging.dicom.encode import HTJ2K, SYNTAXES
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.transcode import transcode
from hilum.imaging.intake.secondary_capture import wrap_image
from hilum.imaging.intake.wrap import make_wrap
from tests.demo.test_demo import folder
from tests.dicom.files import wheel_file

__all__ = ["folder"]

pytestmark = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (Debian: dicom3tools) is not installed")

NAMED = make_wrap("P1", study_date="2024-02-03", study_description="Photos", pdf=True, modality="US")
COLOUR = np.random.default_rng(1).integers(0, 255, (24, 32, 3)).astype(np.uint8)


def errors(path: Path) -> list[str]:
    """The errors that dciodvfy names in a file."""
    told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.jpeg8_encode(COLOUR),
        imagecodecs.jpeg8_encode(np.ascontiguousarray(COLOUR[:, :, 0])),
        imagecodecs.png_encode(COLOUR),
        b"%PDF-1.4\n%%EOF\n",
    ],
    ids=["JPEG", "grey JPEG", "PNG", "PDF"],
)
def test_what_is_wrapped_conforms(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wrapped.dcm"
    path.write_bytes(wrap_image(data, "IMG_7", NAMED, "default"))
    assert errors(path) == []


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm"])
@pytest.mark.parametrize("syntax", [syntax for syntax in SYNTAXES if syntax != HTJ2K])  # younger than the checker
def test_transcoding_adds_no_error(name: str, syntax: str, tmp_path: Path) -> None:
    original, path = wheel_file(name), tmp_path / "transcoded.dcm"
    data = original.read_bytes()
    path.write_bytes(b"".join(transcode(io.BytesIO(data), scan(data, len(data)), [], syntax)))
    assert set(errors(path)) <= set(errors(original))


def test_the_files_of_the_demo_conform(folder: Path) -> None:
    files = sorted(folder.rglob("*.dcm"))[::40]
    assert len(files) > 20
    told = {error for path in files if HTJ2K.encode() not in path.read_bytes()[:1000] for error in errors(path)}
    assert told == set()
