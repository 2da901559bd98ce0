"""A version is made, looked at and published: nothing of the originals is in it, folders, tables and dates agree, and
the same definition and data come to the same bytes."""

import csv
import gzip
import io
import json
import re
import subprocess
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.fileset import FileSet

from hilum.clinical.chorus import COLUMNS
from hilum.core.errors import Conflict, Invalid
from hilum.core.progress import job_here
from hilum.demo import DemoManifest
from hilum.research.datasets import versions
from hilum.research.datasets.build import build_version
from hilum.research.datasets.definition import read_definition
from hilum.research.datasets.export import export_version
from hilum.research.datasets.preview import preview
from hilum.research.datasets.zipped import zip_layout
from tests.research.datasets.conftest import Linked

Make = Callable[..., "Version"]


class Version:
    """A version of a data set of the test's own, and what was written of it."""

    def __init__(self, linked: Linked, version_id: int, out: Path) -> None:
        self.linked = linked
        self.id = version_id
        self.out = out
        with linked.archive.database.connect() as connection:
            self.row = versions.version_by_id(connection, version_id)
        layout = versions.definition_of(self.row).layout
        export_version(linked.archive, version_id, layout, str(out), layout, lambda *_: None)

    def files(self) -> dict[str, bytes]:
        """Everything that was written, by path."""
        return {str(p.relative_to(self.out)): p.read_bytes() for p in sorted(self.out.rglob("*")) if p.is_file()}

    def table(self, path: str) -> list[dict[str, str]]:
        with (self.out / path).open(newline="") as file:
            return list(csv.DictReader(file))

    def manifest(self) -> dict[str, object]:
        return json.loads((self.out / "manifest.json").read_text())

    def dicom(self) -> Iterator[tuple[Path, pydicom.Dataset]]:
        for path in sorted(self.out.rglob("*")):
            if path.is_file() and path.name != "DICOMDIR" and path.read_bytes()[128:132] == b"DICM":
                yield path, pydicom.dcmread(path)


def held_in(version: Version) -> list[dict[str, Any]]:
    """The instances that its manifest says are held back, by reason."""
    return version.manifest()["held_back"]["instances"]  # pyright: ignore


def dataset(linked: Linked, **how: object) -> int:
    definition = read_definition({"name": "all", "filter": {}, **how})
    return versions.add_dataset(linked.archive.database, definition, "test")


def begin(linked: Linked, number: int, *, review: bool = False) -> int:
    with linked.archive.database.transaction() as sql:
        found = versions.find_dataset(sql.connection, str(number))
        return versions.add_version(sql, found, "test", review=review)


def build(linked: Linked, version: int) -> None:
    with job_here(linked.archive.database, "dataset", "", "default", lambda *_: None) as progress:
        build_version(linked.archive, version, progress)


@pytest.fixture(scope="module")
def chorus(linked: Linked, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Everything, in the CHoRUS layout."""
    version = begin(linked, dataset(linked, licence="For these tests only."))
    build(linked, version)
    return Version(linked, version, tmp_path_factory.mktemp("chorus"))


@pytest.fixture(scope="module")
def small(linked: Linked) -> list[str]:
    """The smallest CT and MR studies."""
    found = sorted((one for one in linked.studies if one.modalities in (("CT",), ("MR",))), key=lambda s: s.instances)
    return [
        found[0].study_instance_uid,
        next(s for s in found if s.modalities != found[0].modalities).study_instance_uid,
    ]


def identifiers(linked: Linked, manifest: DemoManifest, folder: Path) -> set[bytes]:
    """What names anyone, or any study, of the source."""
    found: set[str] = set()
    for person in csv.DictReader((folder / "cdm" / "person.csv").open(encoding="utf-8", newline="")):
        found.add(person["person_source_value"])
    with linked.archive.database.connect() as connection:
        for query in (
            "select study_instance_uid from hilum.study", "select series_instance_uid from hilum.series",
            "select sop_instance_uid from hilum.instance", "select patient_id from hilum.patient",
            "select patient_name_dicom from hilum.patient", "select accession_number from hilum.study",
            "select referring_physician_dicom from hilum.study", "select facility from hilum.study",
        ):  # fmt: skip
            found |= set(connection.exec_driver_sql(query).scalars())
        names = connection.exec_driver_sql("select patient_name_dicom from hilum.patient").scalars().all()
    found |= {" ".join(name.split("^")[1::-1]) for name in names}
    found |= {study.accession_number for study in manifest.studies}
    return {one.encode() for one in found if len(one) > 4}


def inner(name: str, data: bytes) -> Iterator[bytes]:
    """The bytes of a file, and all that is packed in it."""
    yield data
    if name.endswith(".gz"):
        yield gzip.decompress(data)
    if name.endswith(".parquet"):
        yield str(pq.read_table(io.BytesIO(data)).to_pylist()).encode()
        yield str(pq.read_metadata(io.BytesIO(data)).to_dict()).encode()
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for member in packed.namelist():
                yield member.encode()
                yield from inner(member, packed.read(member))


UID = re.compile(rb"[0-2](?:\.[0-9]+){3,}")


def assert_clean(files: dict[str, bytes], searched: set[bytes]) -> None:
    uids = {one for one in searched if UID.fullmatch(one)}
    others = [one.lower() for one in searched - uids]
    for name, data in files.items():
        for piece in (name.encode(), *inner(name, data)):
            assert uids.isdisjoint(UID.findall(piece)), name
            low = piece.lower()
            for one in others:
                assert one not in low, (name, one)


def test_no_identifier_of_the_source_is_in_any_file(
    linked: Linked, chorus: Version, manifest: DemoManifest, folder: Path
) -> None:
    searched = identifiers(linked, manifest, folder)
    assert len(searched) > 300
    files = chorus.files()
    assert_clean(files, searched)
    layout = zip_layout(linked.archive, chorus.id)
    with zipfile.ZipFile(io.BytesIO(b"".join(layout.read(0, layout.size)))) as packed:
        assert {one.filename for one in packed.infolist()} == set(files)
        assert {one.date_time for one in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert all(packed.read(name) == data for name, data in files.items())
    with linked.archive.database.connect() as connection:
        days = set(connection.exec_driver_sql("select days from hilum.person_shift").scalars())
    assert len(days) > 5
    assert all(-730 <= day <= -1 for day in days)
    assert "shift" not in json.dumps(chorus.manifest()["definition"])


def test_the_search_can_fail(linked: Linked, manifest: DemoManifest, folder: Path) -> None:
    one = next(iter(identifiers(linked, manifest, folder)))
    with pytest.raises(AssertionError):
        assert_clean({"x.gz": gzip.compress(b"a" + one + b"b")}, {one})


def test_folders_say_what_the_tags_say(linked: Linked, chorus: Version) -> None:
    seen = 0
    for path, ds in chorus.dicom():
        person, images, modality, accession, series, name = path.relative_to(chorus.out).parts
        assert (images, name) == ("Images", f"{int(ds.InstanceNumber):03d}.dcm")
        assert (person, modality, accession) == (ds.PatientID, ds.Modality, ds.AccessionNumber)
        assert series == ds.SeriesInstanceUID
        assert ds.PatientIdentityRemoved == "YES"
        seen += 1
    assert seen == chorus.row["counts"]["instances"] > 200
    with linked.archive.database.connect() as connection:
        known = connection.exec_driver_sql("select distinct image_occurrence_id from omop.image_occurrence").scalars()
        assert {row["image_occurrence_id"] for row in chorus.table("Metadata/studies.csv")} <= set(map(str, known))


def test_the_manifest_tells_of_every_file_and_nothing_else(chorus: Version) -> None:
    from blake3 import blake3

    told = {one["path"]: one for one in chorus.manifest()["files"]}  # pyright: ignore
    files = chorus.files()
    assert set(files) == {*told, "manifest.json"}
    for path, one in told.items():
        assert one["size"] == len(files[path])
        assert one["digest"] == f"blake3:{blake3(files[path]).hexdigest()}"
    assert files["LICENSE.txt"] == b"For these tests only.\n"
    assert held_in(chorus) == []
    assert all(study["revision"] == 1 for study in chorus.manifest()["studies"])  # pyright: ignore


def test_registry_metadata_and_clinical_rows_agree(chorus: Version, folder: Path) -> None:
    registry = chorus.table("image_registry.csv")
    assert tuple(registry[0]) == COLUMNS
    assert [row["image_registry_id"] for row in registry] == [str(n) for n in range(1, len(registry) + 1)]
    paths = {str(path.relative_to(chorus.out)): ds for path, ds in chorus.dicom()}
    assert {row["trg_file"] for row in registry} == set(paths)
    procedures = {row["procedure_occurrence_id"]: row for row in chorus.table("OMOP/procedure_occurrence.csv")}
    visits = {row["visit_occurrence_id"] for row in chorus.table("OMOP/visit_occurrence.csv")}
    for row in registry:
        ds = paths[row["trg_file"]]
        assert (row["person_id"], row["file_id"]) == (ds.PatientID, ds.SOPInstanceUID)
        assert procedures[row["proc_id"]]["person_id"] == row["person_id"]
        assert (
            procedures[row["proc_id"]]["procedure_date"] == f"{ds.StudyDate[:4]}-{ds.StudyDate[4:6]}-{ds.StudyDate[6:]}"
        )
        assert row["visit_id"] in {*visits, ""}  # some studies of the demo have none
    instances = pq.read_table(chorus.out / "Metadata" / "instances.parquet").to_pylist()
    assert {row["path"] for row in instances} == set(paths)
    assert instances[0]["PixelSpacing"] == list(map(float, paths[instances[0]["path"]].PixelSpacing))
    assert len(chorus.table("Metadata/series.csv")) == chorus.row["counts"]["series"]
    assert len(chorus.table("Metadata/studies.csv")) == chorus.row["counts"]["studies"]
    occurrences = chorus.table("OMOP/image_occurrence.csv")
    assert {row["image_series_uid"] for row in occurrences} == {ds.SeriesInstanceUID for ds in paths.values()}
    assert {row["local_path"] for row in occurrences} == {path.rpartition("/")[0] for path in paths}


def test_every_date_of_a_person_moved_by_the_same_days(linked: Linked, chorus: Version, folder: Path) -> None:
    import datetime as dt

    with linked.archive.database.connect() as connection:
        days = dict(connection.exec_driver_sql("select person, days from hilum.person_shift").all())
        dates = connection.exec_driver_sql(
            "select distinct n.sop, s.study_date from hilum.dataset_instance n join hilum.instance i "
            "on i.id = n.instance_id join hilum.study s on s.id = i.study_id"
        )
        original = dict(dates.all())
    for _, ds in chorus.dicom():
        moved = original[ds.SOPInstanceUID] + dt.timedelta(days[ds.PatientID])
        assert ds.StudyDate == f"{moved:%Y%m%d}"
    checked = 0
    for table, key, column in (
        ("visit_occurrence", "visit_occurrence_id", "visit_start_date"),
        ("condition_occurrence", "condition_occurrence_id", "condition_start_date"),
        ("observation_period", "observation_period_id", "observation_period_end_date"),
    ):
        with (folder / "cdm" / f"{table}.csv").open(newline="") as file:
            before = {row[key]: row for row in csv.DictReader(file)}
        for row in chorus.table(f"OMOP/{table}.csv"):
            was = dt.date.fromisoformat(before[row[key]][column])
            assert dt.date.fromisoformat(row[column]) - was == dt.timedelta(days[row["person_id"]])
            checked += 1
    assert checked > 20
    assert all(row["person_source_value"] == "" for row in chorus.table("OMOP/person.csv"))
    assert all(row["note_text"] == "" for row in chorus.table("OMOP/note.csv"))


def test_the_report_looks_at_what_a_receiver_would(chorus: Version) -> None:
    report = chorus.row["report"]
    assert report["passed"]
    checks = {check["name"]: check for check in report["checks"]}
    assert set(checks) == {
        "readable", "complete", "folder_is_tags", "ids", "marked", "observed", "one_shift", "valid",
    }  # fmt: skip
    assert checks["readable"]["total"] == chorus.row["counts"]["files"]
    assert checks["one_shift"]["total"] == checks["observed"]["total"] == chorus.row["counts"]["instances"]
    assert checks["complete"]["passed"] == (not held_in(chorus))
    assert checks["valid"]["total"] == chorus.row["counts"]["series"]
    assert report["missing"]["CT"]["KVP"]["missing"] == 0
    assert report["missing"]["MR"]["KVP"]["missing"] == report["missing"]["MR"]["KVP"]["of"]


@pytest.fixture(scope="module")
def whole(linked: Linked, small: list[str]) -> tuple[int, int]:
    """A data set of the smallest studies, and a version of it."""
    number = dataset(linked, name="small", studies=small, filter=None)
    version = begin(linked, number)
    build(linked, version)
    return number, version


def test_a_version_is_rebuilt_byte_for_byte(linked: Linked, whole: tuple[int, int], tmp_path: Path) -> None:
    number, first = whole
    again = begin(linked, number)
    build(linked, again)
    made = [Version(linked, version, tmp_path / str(version)) for version in (first, again)]
    assert made[0].files() == made[1].files()
    assert made[0].row["digest"] == made[1].row["digest"]
    assert made[0].row["number"] != made[1].row["number"]
    assert len(made[0].files()) > 20


def test_an_interrupted_version_goes_on_to_the_same_bytes(linked: Linked, whole: tuple[int, int]) -> None:
    broken = begin(linked, whole[0])

    class Stop(Exception):
        pass

    def stop(done: int, _total: int | None) -> None:
        if done >= 32:
            raise Stop

    with pytest.raises(Stop), job_here(linked.archive.database, "dataset", "", "default", stop) as progress:
        build_version(linked.archive, broken, progress)
    with linked.archive.database.connect() as connection:
        assert versions.version_by_id(connection, broken)["state"] == "building"
    build(linked, broken)
    with linked.archive.database.connect() as connection:
        rows = [versions.version_by_id(connection, one) for one in (whole[1], broken)]
    assert rows[0]["digest"] == rows[1]["digest"]


def test_a_medium_has_a_dicomdir_that_names_its_files(linked: Linked, small: list[str], tmp_path: Path) -> None:
    version = begin(linked, dataset(linked, name="medium", studies=small, filter=None, layout="dicom"))
    build(linked, version)
    made = Version(linked, version, tmp_path / "out")
    media = FileSet(made.out / "DICOMDIR")
    found = {Path(one.path) for one in media}
    assert found == {path for path, _ in made.dicom()}
    assert len(found) == made.row["counts"]["instances"]
    assert {ds.SOPInstanceUID for _, ds in made.dicom()} == {one.SOPInstanceUID for one in media}
    assert (made.out / "Metadata" / "instances.parquet").is_file()
    dumped = subprocess.run(["dcmdump", made.out / "DICOMDIR"], capture_output=True, check=True)
    assert dumped.stdout.count(b"ReferencedFileID") == len(found)
    for path in sorted(found)[:3]:
        assert subprocess.run(["dcmftest", path], capture_output=True, check=True).stdout.startswith(b"yes:")


def test_volumes_have_the_voxels_of_their_series(
    linked: Linked, small: list[str], tmp_path: Path, manifest: DemoManifest, folder: Path
) -> None:
    number = dataset(linked, name="volumes", studies=small, filter=None, layout="nifti")
    made: list[Version] = []
    for turn in range(2):
        version = begin(linked, number)
        build(linked, version)
        made.append(Version(linked, version, tmp_path / str(turn)))
    assert made[0].files() == made[1].files()
    files = made[0].files()
    assert_clean(files, identifiers(linked, manifest, folder))
    packed = [name for name in files if name.endswith(".nii.gz")]
    assert packed
    rows = pq.read_table(made[0].out / "Metadata" / "instances.parquet").to_pylist()
    by_path: dict[str, int] = defaultdict(int)
    for row in rows:
        by_path[row["path"]] += 1
    for name, count in by_path.items():
        data = gzip.decompress(files[name])
        columns, lines, planes = np.frombuffer(data[42:48], "<i2")
        assert planes == count
        row = next(row for row in rows if row["path"] == name)
        assert (columns, lines) == (row["Columns"], row["Rows"])
        sidecar = json.loads(files[name.replace(".nii.gz", ".json")])
        assert sidecar["Modality"] == row.get("Modality", sidecar["Modality"])
        assert name.startswith(f"sub-{row['person_id']}/ses-")
    assert json.loads(files["dataset_description.json"])["BIDSVersion"]


def test_a_preview_tells_what_a_version_then_is(linked: Linked, chorus: Version) -> None:
    definition = read_definition({"name": "p", "filter": {}})
    found = preview(linked.archive.database, linked.archive.settings, definition)
    held = sum(one["instances"] for one in held_in(chorus))
    assert found.files == chorus.row["counts"]["instances"] + held
    looked = sum("113101" in str(ds.DeidentificationMethodCodeSequence) for _, ds in chorus.dicom())
    assert found.to_look_at == looked + held
    assert found.studies == len(linked.studies)
    assert found.persons_by_modality["CT"] == len({s.patient_id for s in linked.studies if "CT" in s.modalities})
    dates = sorted(study.study_date for study in linked.studies)
    assert (f"{found.date_from:%Y%m%d}", f"{found.date_to:%Y%m%d}") == (dates[0], dates[-1])


def test_rules_and_windows_narrow_a_selection(linked: Linked) -> None:
    def files(**how: object) -> int:
        definition = read_definition({"name": "p", "filter": {}, **how})
        return preview(linked.archive.database, linked.archive.settings, definition).files

    everything = files()
    assert 0 < files(modalities=["PT"]) < files(modalities=["CT", "PT"]) < everything
    assert 0 < files(series={"max_slice_thickness": 4.0}) < everything
    assert files(series={"min_instances": 100000}) == 0
    assert 0 < files(window={"days_before": 0, "days_after": 0}) <= everything
    person = linked.studies[0].person_id
    far = files(persons=[{"person_id": person, "index_date": "1950-01-01"}], window={"days_before": 9, "days_after": 9})
    assert far == 0 < files(persons=[{"person_id": person}])


def test_who_is_over_89_has_no_date_of_birth(linked: Linked, small: list[str], tmp_path: Path) -> None:
    database = linked.archive.database
    with database.transaction() as sql:
        (row,) = sql.rows("select person_id from hilum.study where study_instance_uid = %s", (small[0],))
        (before,) = sql.rows("select year_of_birth from omop.person where person_id = %s", (row["person_id"],))
        sql.rows("update omop.person set year_of_birth = 1925 where person_id = %s", (row["person_id"],))
    try:
        version = begin(linked, dataset(linked, name="old", studies=small[:1], filter=None))
        build(linked, version)
    finally:
        values = (before["year_of_birth"], row["person_id"])
        with database.transaction() as sql:
            sql.rows("update omop.person set year_of_birth = %s where person_id = %s", values)
    made = Version(linked, version, tmp_path)
    (person,) = made.table("OMOP/person.csv")
    (period,) = made.table("OMOP/observation_period.csv")
    assert int(person["year_of_birth"]) == int(period["observation_period_end_date"][:4]) - 90
    assert (person["month_of_birth"], person["day_of_birth"], person["birth_datetime"]) == ("", "", "")
    assert {ds.PatientBirthDate for _, ds in made.dicom()} == {""}


def test_a_person_decides_of_a_draft(linked: Linked, small: list[str]) -> None:
    version = begin(linked, dataset(linked, name="draft", studies=small[:1], filter=None), review=True)
    build(linked, version)
    database = linked.archive.database
    with database.connect() as connection:
        assert versions.version_by_id(connection, version)["state"] == "draft"
        before = connection.exec_driver_sql("select count(*) from hilum.event where type like '%%dataset%%'").scalar()
    for _ in range(2):
        with database.transaction() as sql:
            versions.publish(sql, version, "a person", "Looked at.")
    with database.connect() as connection:
        assert versions.version_by_id(connection, version)["decided_by"] == "a person"
        events = connection.exec_driver_sql(
            "select data from hilum.event where type = 'hilum.dataset.published.v1' order by id"
        ).scalars().all()  # fmt: skip
    assert len(events) == (before or 0) + 1
    assert events[-1]["version"] == 1
    with pytest.raises(Conflict, match="only a draft"), database.transaction() as sql:
        versions.reject(sql, version, "a person")


def test_what_is_tied_to_nobody_is_held_back(linked: Linked, small: list[str]) -> None:
    database = linked.archive.database
    link = "update hilum.study set person_id = {} where study_instance_uid = %s returning person_id"
    with database.transaction() as sql:
        (row,) = sql.rows("select person_id from hilum.study where study_instance_uid = %s", (small[0],))
        sql.rows(link.format("null"), (small[0],))
    definition = {"name": "p", "studies": small}
    try:
        found = preview(database, linked.archive.settings, read_definition(definition))
        assert [(one["code"], one["studies"]) for one in found.held_back] == [("no_person", 1)]
        assert found.studies == 1
        named = preview(database, linked.archive.settings, read_definition({**definition, "profile": "research"}))
        assert named.studies == 2
    finally:
        with database.transaction() as sql:
            sql.rows(link.format("%s"), (row["person_id"], small[0]))


def test_a_map_that_contradicts_a_shift_holds_the_person_back(
    linked: Linked, chorus: Version, small: list[str]
) -> None:
    database = linked.archive.database
    with database.transaction() as sql:
        sql.rows(
            "insert into hilum.person_map (source_id, patient_id, person_id, days_shifted) "
            "select source_id, patient_id, person_id, -1000 from hilum.study where study_instance_uid = %s",
            (small[0],),
        )
    try:
        found = preview(database, linked.archive.settings, read_definition({"name": "p", "studies": small}))
        assert "shift_conflict" in {one["code"] for one in found.held_back}
    finally:
        with database.transaction() as sql:
            sql.rows("delete from hilum.person_map")


@pytest.mark.parametrize(
    "given",
    [
        {"name": "x"}, {"name": "../x", "filter": {}}, {"name": "x", "filter": {"modlity": ["CT"]}},
        {"name": "x", "filter": {}, "layout": "zip"},
        {"name": "x", "filter": {}, "window": {"days_before": -1, "days_after": 0}},
        [], {"name": "x", "filter": {}, "series": {"min_instances": "many"}},
    ],
)  # fmt: skip
def test_a_definition_that_says_nothing_or_nonsense_is_refused(given: object) -> None:
    with pytest.raises(Invalid):
        read_definition(given)
