"""Every attribute of a set of files is counted, with no value told unless a person at a terminal asks."""

import json
import os
import pty
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from hilum.commands.tags import tags
from hilum.core.errors import Invalid
from hilum.imaging.archive.store import Archive
from hilum.imaging.survey import tally as tallying
from hilum.imaging.survey.run import survey_folder, survey_source
from hilum.imaging.survey.tally import Tally
from tests.make import ct
from tests.research.deid.cases import build


def oracle(paths: list[Path]) -> dict[str, tuple[int, int, int]]:
    """The same by pydicom, for public attributes of any depth: files, filled, distinct values."""
    files: dict[str, int] = defaultdict(int)
    filled: dict[str, int] = defaultdict(int)
    values: dict[str, set[bytes]] = defaultdict(set)

    def walk(ds: Dataset, above: str, here: dict[str, bool]) -> None:
        for tag in sorted(ds.keys()):
            if tag.is_private or tag.element == 0 or tag == 0x7FE00010 or tag.is_private_creator:
                continue
            raw = ds.get_item(tag)
            name = pydicom.datadict.keyword_for_tag(tag) or f"{int(tag):08X}"
            path = f"{above}{name}"
            if ds[tag].VR == "SQ":
                here[path] = any(len(item) for item in ds[tag].value) or here.get(path, False)
                for item in ds[tag].value:
                    walk(item, f"{path}.", here)
                continue
            value = raw.value if isinstance(raw.value, bytes) else pydicom_bytes(ds, tag)
            bare = value.rstrip(b" \0") if ds[tag].VR in TEXT else value
            here[path] = bool(bare) or here.get(path, False)
            if bare:
                values[path].add(bare)

    for path in paths:
        here: dict[str, bool] = {}
        walk(pydicom.dcmread(path, stop_before_pixels=True), "", here)
        for name, there in here.items():
            files[name] += 1
            filled[name] += there
    return {name: (files[name], filled[name], len(values[name])) for name in files}


TEXT = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split()  # noqa: SIM905


def pydicom_bytes(ds: Dataset, tag: pydicom.tag.BaseTag) -> bytes:
    from io import BytesIO

    from pydicom.filewriter import write_data_element

    buffer = pydicom.filebase.DicomFileLike(BytesIO())
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, ds[tag])
    return buffer.parent.getvalue()[8:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with sequences, private blocks, and what is no DICOM."""
    folder = tmp_path_factory.mktemp("tags")
    for number in range(30):
        tags = {"PatientID": f"P{number % 7}", "BodyPartExamined": "CHEST" if number % 2 else ""}
        ds = pydicom.dcmread(pydicom.filebase.BytesIO(ct(number, 1, 1, **tags)))
        if number % 3 == 0:
            item, inner = Dataset(), Dataset()
            inner.CodeValue, inner.CodingSchemeDesignator = f"C{number % 4}", "LN"
            item.RequestedProcedureID, item.RequestedProcedureCodeSequence = f"R{number}", [inner]
            ds.RequestAttributesSequence = [item, item]
            block = ds.private_block(0x0009, "ACME [bold]1", create=True)
            block.add_new(0x02, "LO", f"secret {number % 2}")
        if number == 4:
            ds.RequestAttributesSequence = []
        pydicom.dcmwrite(folder / f"{number}.dcm", ds)
    (folder / "note.txt").write_text("no image")
    (folder / "cut.dcm").write_bytes(ct(99)[:300])
    return folder


def test_counts_are_those_of_another_reader(folder: Path) -> None:
    tally = Tally(1000)
    counts = survey_folder(folder, tally, lambda *_: None)
    assert counts == {"counted": 30, "not_dicom": 1, "unreadable": 1}
    found = {each.path: (each.files, each.filled, each.distinct) for each in tally.attributes()}
    wanted = oracle([folder / f"{number}.dcm" for number in range(30)])
    assert {path: found[path] for path in wanted} == wanted
    assert found["RequestAttributesSequence"] == (11, 10, 0)
    assert found["RequestAttributesSequence.RequestedProcedureCodeSequence.CodeValue"] == (10, 10, 4)
    assert found["0009xx02(ACME [bold]1)"] == (10, 10, 2)
    assert found["PixelData"][:2] == (30, 30)
    assert found["BodyPartExamined"] == (30, 15, 1)
    assert all(not each.values for each in tally.attributes())


def test_a_source_says_what_its_files_say(archive: Archive, tmp_path: Path) -> None:
    made = build()
    made.write(tmp_path / "in")
    of_folder, of_source = Tally(1000), Tally(1000)
    with archive.batch(archive.source(), "import") as batch:
        for path in sorted((tmp_path / "in").rglob("*.dcm")):
            batch.add_file(str(path), str(path))
        batch.commit()
    with archive.database.transaction() as sql:
        rows = sql.rows("select count(*) as n from hilum.instance")
    assert survey_source(archive, "default", of_source, lambda *_: None)["counted"] == rows[0]["n"] > 50
    survey_folder(tmp_path / "in", of_folder, lambda *_: None)
    names = {each.path for each in of_folder.attributes()}
    assert {each.path for each in of_source.attributes()} <= names
    assert len(names) > 200


def test_memory_is_bounded_whatever_files_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tally = Tally(5)
    survey_folder(folder, tally, lambda *_: None)
    found = {each.path: each for each in tally.attributes()}
    assert (found["SOPInstanceUID"].distinct, found["SOPInstanceUID"].more) == (5, True)
    assert found["SOPInstanceUID"].seen == set()
    assert (found["Modality"].distinct, found["Modality"].more) == (1, False)
    monkeypatch.setattr(tallying, "MAX_ATTRIBUTES", 10)
    monkeypatch.setattr(tallying, "MAX_KEPT", 3)
    tally = Tally(1000, keep_values=True)
    survey_folder(folder, tally, lambda *_: None)
    assert len(list(tally.attributes())) == 10
    assert tally.left_out > 100
    assert sum(len(each.seen) + len(each.values) for each in tally.attributes()) <= 6


def hilum(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hilum", *words], capture_output=True, text=True, timeout=120)


def test_the_command_tells_counts_and_values_to_a_terminal_alone(folder: Path) -> None:
    told = hilum("tags", str(folder), "--json")
    assert told.returncode == 1  # one file is cut
    document = json.loads(told.stdout)
    assert document["counts"]["counted"] == 30
    (sex,) = [each for each in document["tags"] if each["path"] == "PatientSex"]
    assert sex == {
        "path": "PatientSex", "tag": "00100040", "vr": "CS", "files": 30, "filled": 30, "fill_rate": 1.0, "distinct": 1,
        "more": False,
    }  # fmt: skip
    assert "Doe" not in told.stdout
    plain = hilum("tags", str(folder))
    assert "RequestAttributesSequence" in plain.stdout
    assert "Doe" not in plain.stdout + plain.stderr
    refused = hilum("tags", str(folder), "--values", "3")
    assert (refused.returncode, refused.stdout) == (2, "")
    with pytest.raises(Invalid, match="terminal alone"):
        tags(folder, values=3, as_json=True)
    with pytest.raises(Invalid, match="no such file"):
        tags(folder / "nowhere")


def test_a_person_at_a_terminal_sees_values(folder: Path) -> None:
    terminal, inside = pty.openpty()
    words = [sys.executable, "-m", "hilum", "tags", str(folder), "--values", "2"]
    process = subprocess.Popen(words, stdout=inside, stderr=subprocess.DEVNULL, env=os.environ | {"COLUMNS": "160"})
    os.close(inside)
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert process.wait(60) == 1
    assert b"secret 0" in shown
    assert b"ACME [bold]1" in shown
    assert b"Doe^Jane" in shown
