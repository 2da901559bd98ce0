"""dcmtk's view of what the server gives back: its own DICOM JSON of the file against ours of the metadata."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import httpx
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


def stored(server: Server, name: str) -> None:
    headers = {"Content-Type": "application/dicom"}
    answer = httpx.post(f"{server.url}/dicom-web/studies", content=wheel_file(name).read_bytes(), headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", FILES)
def test_the_metadata_is_what_dcmtk_reads_in_the_file(server: Server, tmp_path: Path, name: str) -> None:
    stored(server, name)
    ds = pydicom.dcmread(wheel_file(name), force=True, stop_before_pixels=True)
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
    (ours,) = server.get(f"{path}/metadata").json()
    same(ours, theirs(wheel_file(name)))
    back = tmp_path / "back.dcm"
    back.write_bytes(server.get(path, headers={"Accept": "application/dicom"}).content)
    done = subprocess.run(["dcmdump", "-q", "--load-all", back], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same(ours, theirs(back))


def xml(document: bytes | str) -> dict[str, tuple[str, list[str | None]]]:
    """Representation and values of the elements of the top level, sequences by their number of items."""
    found: dict[str, tuple[str, list[str | None]]] = {}
    for attribute in ElementTree.fromstring(document):
        values: list[str | None] = [value.text for value in attribute.findall("{*}Value")]
        names = ["".join("".join(name.itertext()).split()) for name in attribute.findall("{*}PersonName")]
        items = [str(len(attribute.findall("{*}Item")))] if attribute.get("vr") == "SQ" else []
        found[attribute.get("tag", "")] = attribute.get("vr", ""), values + names + items
    return found


@pytest.mark.parametrize("name", FILES)
def test_w27_the_xml_is_what_dcmtk_reads_in_the_file(server: Server, name: str) -> None:
    stored(server, name)
    ds = pydicom.dcmread(wheel_file(name), force=True, stop_before_pixels=True)
    path = f"/dicom-web/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/metadata"
    answer = server.get(path, headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
    document = answer.content.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    done = subprocess.run(["dcm2xml", "-q", "--native-format", wheel_file(name)], capture_output=True, check=True)
    ours, others = xml(document), xml(done.stdout)
    for tag, (vr, values) in others.items():
        if tag.startswith("0002") or tag.endswith("0000") or tag > "7FE0" or tag == CHARACTER_SET:
            continue
        if int(tag[:4], 16) % 2 or vr == "UN":  # dcm2xml writes the block, not the creator, into private tags
            continue
        mine = ours[tag]
        assert mine[0] == vr, tag
        if vr in NUMBERS:
            assert [float(value or 0) for value in mine[1]] == pytest.approx([float(value or 0) for value in values]), (
                tag
            )
        else:
            assert [(value or "").rstrip() for value in mine[1]] == [(value or "").rstrip() for value in values], tag
