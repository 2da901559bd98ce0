"""A folder is de-identified: nothing of anyone is left, what is wanted is, and no run leaves anything half done."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from hilum.clinical.chorus import COLUMNS
from hilum.core.errors import Conflict, Invalid
from hilum.research.deid.crosswalk import Crosswalk
from hilum.research.deid.keys import read_keys
from hilum.research.deid.report import Report
from hilum.research.deid.run import Request, deidentify_folder
from hilum.research.deid.verify import dciodvfy
from tests.research.deid.cases import build
from tests.research.deid.planted import PATIENTS, Set
from tests.research.deid.score import nothing_wrong, score


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Set, Path]:
    """The planted set, written to IN with its maps."""
    folder = tmp_path_factory.mktemp("planted")
    made = build()
    made.write(folder / "in")
    made.write_maps(folder / "maps")
    return made, folder


def request(folder: Path, work: Path, **how: object) -> Request:
    values: dict[str, object] = {
        "source": folder / "in", "target": work / "out", "profile": "chorus", "key_file": work / "site.key",
        "maps": folder / "maps", "crosswalk": work / "local" / "crosswalk", "registry": work / "out" / "registry.csv",
        "report": work / "local" / "report.json", "workers": 1,
    }  # fmt: skip
    return Request(**{**values, **how})  # pyright: ignore[reportArgumentType]


def run(asked: Request) -> Report:
    return deidentify_folder(asked, lambda _done, _total: None)


@pytest.fixture(scope="module")
def done(planted: tuple[Set, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """What became of it under the profile chorus."""
    work = tmp_path_factory.mktemp("done")
    return work, run(request(planted[1], work, workers=2))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.dcm"))}


def test_nothing_that_identifies_anyone_is_left_and_what_is_wanted_stays(
    planted: tuple[Set, Path], done: tuple[Path, Report]
) -> None:
    found = score(planted[0], done[0] / "out")
    nothing_wrong(found)
    assert found.suv == 3
    assert found.kept > 3000
    assert found.moved > 500


def test_the_score_can_fail(planted: tuple[Set, Path]) -> None:
    made, folder = planted
    found = score(made, folder / "in")
    assert len(found.leaks) > 1000
    assert len(found.stray) >= 3
    assert len(found.wrong_dates) > 500
    assert len(found.broken) > 100


def test_what_may_not_leave_is_reported_with_its_reason(done: tuple[Path, Report]) -> None:
    told = json.loads((done[0] / "local" / "report.json").read_text())
    codes = {one["code"]: one["count"] for one in told["reasons"]}
    assert codes == {
        "no_person": 1, "no_accession": 1, "encapsulated_document": 1, "not_dicom": 1,
    }  # fmt: skip
    assert told["counts"]["already_deidentified"] == 1
    assert {one["file"].rpartition("-")[2] for one in told["quarantined"]} >= {"stranger.dcm", "document.dcm"}


def test_folders_say_what_the_tags_say(done: tuple[Path, Report]) -> None:
    out = done[0] / "out"
    paths = sorted(out.rglob("*.dcm"))
    assert paths
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        person, images, modality, accession, series, name = path.relative_to(out).parts
        assert (images, name) == ("Images", f"{int(ds.InstanceNumber):03d}.dcm")
        assert (person, modality) == (ds.PatientID, ds.Modality)
        assert (accession, series) == (ds.AccessionNumber, ds.SeriesInstanceUID)


def test_the_registry_has_a_row_for_each_file_and_no_path_of_the_site(
    planted: tuple[Set, Path], done: tuple[Path, Report]
) -> None:
    out = done[0] / "out"
    with (out / "registry.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert sorted(row["trg_file"] for row in rows) == sorted(files(out))
    assert [row["image_registry_id"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    text = (out / "registry.csv").read_text()
    assert not any(patient.patient_id in text for patient in PATIENTS)
    first = next(row for row in rows if row["person_id"] == "10001001" and "/CT/" in row["trg_file"])
    assert first["datetime"] == "2018-02-07 08:21:30"
    assert all(2000000000 <= int(row["proc_id"]) <= 2000999999 for row in rows)


def test_the_validity_of_each_series_was_compared(done: tuple[Path, Report]) -> None:
    assert dciodvfy()
    assert done[1].counts["validity_checked"] == done[1].counts["series"]


def test_the_crosswalk_goes_both_ways_and_tells_nothing_without_its_key(
    planted: tuple[Set, Path], done: tuple[Path, Report], tmp_path: Path
) -> None:
    path = done[0] / "local" / "crosswalk"
    stored = path.read_bytes()
    for patient in PATIENTS:
        assert patient.patient_id.encode() not in stored
    keys = read_keys(done[0] / "site.key", create=False)
    crosswalk = Crosswalk(path, keys, create=False)
    of_old = list(crosswalk.rows("MRN00481516", "old"))
    of_new = list(crosswalk.rows("10001001", "new"))
    crosswalk.close()
    assert len(of_old) == len(of_new) > 10
    row, changes = of_old[0]
    assert row.path.startswith("MRN00481516/")
    said = {change.path: change for change in changes}
    assert (said["00100020"].original, said["00100020"].new) == ("MRN00481516", "10001001")
    assert (said["00080020"].original, said["00080020"].new) == ("20180310", "20180207")
    assert said["00080020"].action == "shift"
    with pytest.raises(Invalid, match="another key"):
        Crosswalk(path, read_keys(tmp_path / "other.key", create=True))


def test_a_second_run_does_nothing_and_a_changed_map_only_what_it_changes(
    planted: tuple[Set, Path], tmp_path: Path
) -> None:
    made = planted[0]
    small = tmp_path / "small"
    for one in (made.files[0], made.files[20]):
        path = small / "in" / f"{one.number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.data)
    made.write_maps(small / "maps")
    asked = request(small, tmp_path)
    assert run(asked).counts["written"] == 2
    before = files(tmp_path / "out")
    again = run(asked)
    assert (again.counts["written"], again.counts["unchanged"]) == (0, 2)
    assert files(tmp_path / "out") == before
    people = (small / "maps" / "Personal_map.csv").read_text().replace("10001001,-31", "10001001,-32")
    (small / "maps" / "Personal_map.csv").write_text(people)
    third = run(asked)
    assert (third.counts["written"], third.counts["unchanged"]) == (1, 1)
    after = files(tmp_path / "out")
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in after) == 1
    with pytest.raises(Conflict, match="another profile"):
        run(request(small, tmp_path, profile="research"))


def test_a_run_that_was_killed_comes_to_the_same_bytes(
    planted: tuple[Set, Path], done: tuple[Path, Report], tmp_path: Path
) -> None:
    (tmp_path / "site.key").write_text((done[0] / "site.key").read_text())
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "hilum", "deid", str(planted[1] / "in"), str(out), "--profile", "chorus",
        "--maps", str(planted[1] / "maps"), "--crosswalk", str(tmp_path / "crosswalk"),
        "--key-file", str(tmp_path / "site.key"), "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(out.rglob("*.dcm")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert files(out)
    found = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert found.returncode == 1  # something was set aside
    counts = json.loads(found.stdout)["counts"]
    assert counts["written"] + counts["unchanged"] == len(files(done[0] / "out"))
    assert files(out) == files(done[0] / "out")
    assert not (out / ".hilum-deid").exists()


def test_a_dry_run_tells_of_each_attribute_and_writes_nothing(planted: tuple[Set, Path], tmp_path: Path) -> None:
    work = tmp_path / "dry"
    run(request(planted[1], work, dry=True, crosswalk=None, registry=None))
    assert not (work / "out").exists()
    told = json.loads((work / "local" / "report.json").read_text())
    said = {(one["path"], one["action"]): one for one in told["attributes"]}
    assert said["00100010", "person"]["name"] == "PatientName"
    assert said["00080060", "keep"]["count"] > 100
    assert said["00540016/00181078", "shift"]["reason"].startswith("E.1-1")
    assert "Featherstonehaugh" not in json.dumps(told)


def test_what_would_be_dangerous_is_refused_before_anything_is_written(
    planted: tuple[Set, Path], tmp_path: Path
) -> None:
    folder = planted[1]
    before = sorted((folder / "in").rglob("*"))
    for how, sentence in (
        ({"target": folder / "in" / "out"}, "neither in the input"),
        ({"target": folder}, "neither in the input"),
        ({"crosswalk": tmp_path / "out" / "crosswalk"}, "never leave the site"),
        ({"key_file": tmp_path / "out" / "key"}, "never leave the site"),
        ({"report": folder / "in" / "report.json"}, "input folder"),
        ({"maps": None}, "--maps"),
        ({"crosswalk": None}, "--crosswalk"),
        ({"key_file": None}, "--key-file"),
        ({"profile": "nonesuch"}, "There is no profile"),
    ):
        with pytest.raises(Invalid, match=sentence):
            run(request(folder, tmp_path, **how))
    (tmp_path / "link").symlink_to(folder / "in")
    with pytest.raises(Invalid, match="neither in the input"):
        run(request(folder, tmp_path, target=tmp_path / "link" / "below"))
    assert not (tmp_path / "out").exists()
    assert sorted((folder / "in").rglob("*")) == before


def test_without_maps_people_get_pseudonyms_that_the_key_makes(planted: tuple[Set, Path], tmp_path: Path) -> None:
    small = tmp_path / "in"
    small.mkdir()
    for one in planted[0].files[:2]:
        (small / f"{one.number}.dcm").write_bytes(one.data)
    names: list[set[str]] = []
    for work in ("one", "two"):
        run(request(tmp_path, tmp_path / work, maps=None, profile="basic"))
        found = [pydicom.dcmread(path) for path in sorted((tmp_path / work / "out").rglob("*.dcm"))]
        assert len(found) == 2
        assert {ds.StudyDate for ds in found} == {""}
        assert len({ds.PatientID for ds in found}) == 1
        names.append({ds.PatientID for ds in found})
    assert names[0] != names[1]


def test_the_registry_takes_procedure_and_visit_from_the_image_map(planted: tuple[Set, Path], tmp_path: Path) -> None:
    one = planted[0].files[0]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(one.data)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "personal_map.csv").write_text("PatientID,person_id,Days_Shifted\nMRN00481516,7,\n")
    (tmp_path / "maps" / "image_map.csv").write_text(
        "PatientID,AccessionNumber,image_occurrence_id,procedure_occurrence_id,visit_occurrence_id\n"
        "MRN00481516,ACC0018844,70,700,7000\n"
    )
    run(request(tmp_path, tmp_path, registry=tmp_path / "image_registry.csv"))
    with (tmp_path / "image_registry.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["proc_id"], row["visit_id"], row["person_id"], row["group_id"]) == ("700", "7000", "7", "1")
    drawn = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm"))).StudyDate
    assert "20160310" <= drawn < "20180310"  # no Days_Shifted in the map: 1 to 730 days back
