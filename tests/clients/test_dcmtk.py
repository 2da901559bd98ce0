"""dcmtk's view of what the server gives back: its own DICOM JSON of the file against ours of the metadata."""

import json
import subprocess
from pathlib import Path

import pydicom
import pytest

from tests.conftest import Server
from tests.dicom.files import wheel_file

FILES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "reportsi.dcm",
    "examples_palette.dcm",
    "waveform_ecg.dcm",
)
CHARACTER_SET = "00080005"
NUMBERS = ("IS", "DS", "US", "SS", "UL", "SL", "FL", "FD")


def theirs(path: Path) -> dict[str, dict[str, object]]:
    done = subprocess.run(["dcm2json", "-q", path], capture_output=True, check=True)
    return {
        tag: element
        for tag, element in json.loads(done.stdout).items()
        if not tag.startswith("0002") and not tag.endswith("0000")
    }


def trimmed(name: dict[str, str]) -> dict[str, str]:
    """A person's name without the empty components at its end, as dcm2json writes it."""
    return {group: text.rstrip("^") for group, text in name.items()}


def same(ours: dict[str, dict[str, object]], others: dict[str, dict[str, object]]) -> None:
    """Every element is there, of the same representation and with the same values."""
    for tag, element in others.items():
        if tag > "7FE0" or tag == CHARACTER_SET:  # dcm2json names the encoding of its own answer there
            continue
        mine = ours[tag]
        if element["vr"] == "UN" and mine["vr"] != "UN":
            continue
        assert mine["vr"] == element["vr"], tag
        values, expected = mine.get("Value", []), element.get("Value", [])
        if element["vr"] == "SQ":
            for one, two in zip(values, expected, strict=True):
                same(one, two)
        elif element["vr"] in NUMBERS:
            assert [float(value) for value in values] == pytest.approx([float(value) for value in expected]), tag
        elif element["vr"] == "PN":
            assert [trimmed(value) for value in values] == expected, tag
        else:
            assert values == expected, tag


@pytest.mark.parametrize("name", FILES)
def test_the_metadata_is_what_dcmtk_reads_in_the_file(server: Server, tmp_path: Path, name: str) -> None:
    server.hilum("import", str(wheel_file(name)))
    ds = pydicom.dcmread(wheel_file(name), force=True, stop_before_pixels=True)
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    (ours,) = server.get(f"{path}/metadata").json()
    same(ours, theirs(wheel_file(name)))
    back = tmp_path / "back.dcm"
    back.write_bytes(server.get(path, headers={"Accept": "application/dicom"}).content)
    done = subprocess.run(["dcmdump", "-q", "--load-all", back], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same(ours, theirs(back))
