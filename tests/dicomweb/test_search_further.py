"""Attributes that QIDO-RS keeps beside the catalogue's columns: those of sequences that it must know, and whatever the
setting names, read anew for what is there already."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from hilum.core.blobs import LocalBlobs
from hilum.core.errors import Invalid
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import job_here
from hilum.imaging.archive.further import chosen
from hilum.imaging.archive.reindex import KIND, pending, reindex
from hilum.imaging.archive.store import Archive
from tests.conftest import Server
from tests.dicomweb.conftest import Web, listening, shared
from tests.make import ct, folder, uid, written

NAMED = (
    "PatientComments", "00101030", "ProcedureCodeSequence.CodeValue", "0008103F", "series:OperatorsName",
    "AcquisitionDateTime", "00181152", "EchoNumbers", "ContentDate", "ContentTime", "ImageType",
    "0009xx01(ACME 1.1)", "study:0009xx02(ACME 1.1)", "0009xx01(OTHER)",
)  # fmt: skip


def item(**attributes: object) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def requests(*ids: tuple[str, str]) -> list[Dataset]:
    return [item(ScheduledProcedureStepID=step, RequestedProcedureID=asked) for step, asked in ids]


def with_private(data: bytes, *blocks: tuple[int, str, dict[int, str]]) -> bytes:
    """A file with private attributes: for each block its number, its creator, and values by the tag's last digits."""
    ds = pydicom.dcmread(io.BytesIO(data))
    for block, creator, values in blocks:
        ds.add_new(0x00090000 | block, "LO", creator)
        for element, value in values.items():
            ds.add_new(0x00090000 | block << 8 | element, "LO", value)
    return written(ds)


def files() -> list[bytes]:
    """Three studies that say much."""
    first = ct(
        1, 1, 1, RequestAttributesSequence=requests(("S1", "R1"), ("S2", "R2")), PatientComments="Likes Zürich",
        SpecificCharacterSet="ISO_IR 192", PatientWeight="71.5", OperatorsName="Doe^Jörg",
        ProcedureCodeSequence=[item(CodeValue="24627-2", CodingSchemeDesignator="LN")],
        AcquisitionDateTime="20240131101500.5", ContentDate="20240131", ContentTime="101501",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    )  # fmt: skip
    second = ct(1, 1, 2, ImageType=["DERIVED", "SECONDARY"], ContentTime="110000", EchoNumbers=2)
    third = ct(
        2,
        RequestAttributesSequence=requests(
            ("S1", "R2"),
        ),
        PatientWeight="80",
        OperatorsName="Roe^Ann",
    )
    return [
        with_private(first, (0x10, "ACME 1.1", {1: "left", 2: "blue"})),
        with_private(second, (0x10, "OTHER", {1: "under"}), (0x11, "ACME 1.1", {1: "right"})),
        third,
        ct(3),
    ]


@pytest.fixture(scope="module")
def named(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The service with a setting, and the three studies."""
    with shared(cluster, tmp_path_factory.mktemp("named"), qido_attributes=list(NAMED)) as web:
        web.keep(*files())
        yield web


@pytest.fixture(scope="module")
def usual(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The service without a setting, and the three studies."""
    with shared(cluster, tmp_path_factory.mktemp("usual")) as web:
        web.keep(*files())
        yield web


def ids(web: Web, query: str) -> set[str]:
    answer = web.get(f"/studies?{query}")
    assert answer.status_code == 200, answer.text
    assert "warning" not in answer.headers
    return {row["00100020"]["Value"][0] for row in answer.json()}


def instances(web: Web, query: str) -> set[str]:
    answer = web.get(f"/instances?{query}")
    assert answer.status_code == 200, answer.text
    return {row["00080018"]["Value"][0] for row in answer.json()}


STEP = "RequestAttributesSequence.ScheduledProcedureStepID"
ASKED = "RequestAttributesSequence.RequestedProcedureID"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"{STEP}=S1", {"P1", "P2"}),
        ("00400275.00400009=S2", {"P1"}),
        ("00400275.ScheduledProcedureStepID=S2", {"P1"}),
        (f"{STEP}=S*", {"P1", "P2"}),
        (f"{STEP}=s1", set()),
        (f"{STEP}=S1&{ASKED}=R1", {"P1"}),
        (f"{STEP}=S1&{ASKED}=R2", {"P2"}),
        (f"{STEP}=S2&Modality=CT", {"P1"}),
        (f"{STEP}=S2&Modality=MR", set()),
        (f"{STEP}=*&RequestAttributesSequence=", {"P1", "P2", "P3"}),
        (f"{STEP}=S%22%5D", set()),
    ],
)
def test_q37_q38_what_is_requested_is_matched_in_its_sequence(usual: Web, query: str, found: set[str]) -> None:
    assert ids(usual, query) == found


@pytest.mark.parametrize("path", ["/series", f"/studies/{uid(2)}/series", f"/series?{STEP}=S1&PatientID=P2"])
def test_q07_a_series_has_its_request_attributes(web: Web, path: str) -> None:
    web.keep(*files(), ct(4, PerformedProcedureStepStartDate="20240131", PerformedProcedureStepStartTime="1014"))
    rows = {row["0020000D"]["Value"][0]: row for row in web.get(path).json()}
    step = {"00400009": {"vr": "SH", "Value": ["S1"]}, "00401001": {"vr": "SH", "Value": ["R2"]}}
    assert rows[uid(2)]["00400275"] == {"vr": "SQ", "Value": [step]}
    assert list(rows[uid(2)]) == sorted(rows[uid(2)])
    if path == "/series":
        assert "00400275" not in rows[uid(3)]
        assert rows[uid(4)]["00400244"] == {"vr": "DA", "Value": ["20240131"]}
        assert rows[uid(4)]["00400245"] == {"vr": "TM", "Value": ["101400"]}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientComments=likes+Z*", {"P1"}),
        ("00104000=Likes Z%C3%BCrich", {"P1"}),
        ("PatientWeight=71.5", {"P1"}),
        ("PatientWeight=7.15e1", {"P1"}),
        ("PatientWeight=80.0", {"P2"}),
        ("ProcedureCodeSequence.CodeValue=24627-2", {"P1"}),
        ("00081032.00080100=24627%3F2", {"P1"}),
        ("OperatorsName=doe^jorg", {"P1"}),
        ("OperatorsName=roe*", {"P2"}),
        ("OperatorsName=Roe+Anne&fuzzymatching=true", {"P2"}),
        ("AcquisitionDateTime=20240131", {"P1"}),
        ("AcquisitionDateTime=20240131101500.4-2025", {"P1"}),
        ("AcquisitionDateTime=-2023", set()),
        ("ContentDate=20240101-", {"P1"}),
        ("ContentTime=11", {"P1"}),
        ("ContentTime=1016-1059", set()),
        ("EchoNumbers=2", {"P1"}),
        ("ImageType=DERIVED", {"P1"}),
        ("ImageType=AXIAL%5CORIGINAL&multiplevaluematching=true", {"P1"}),
        ("ImageType=AXIAL%5CDERIVED&multiplevaluematching=true", set()),
    ],
)
def test_q37_what_the_setting_names_is_matched_by_its_representation(named: Web, query: str, found: set[str]) -> None:
    assert ids(named, query) == found


@pytest.mark.parametrize("value", ["x", "1-2-3", "2024-01-31", "--", ""])
def test_q28_a_value_of_no_such_representation_is_refused(named: Web, value: str) -> None:
    wanted = 200 if not value else 400
    for key in ("PatientWeight", "EchoNumbers", "ContentDate", "AcquisitionDateTime"):
        assert named.get(f"/studies?{key}={value}").status_code == wanted


def test_q37_includefield_gives_what_the_setting_names(named: Web) -> None:
    (row,) = named.get("/studies?PatientID=P1&includefield=PatientComments,00101030&includefield=EchoNumbers").json()
    assert row["00104000"] == {"vr": "LT", "Value": ["Likes Zürich"]}
    assert row["00101030"] == {"vr": "DS", "Value": [71.5]}
    assert "00180086" not in row  # of the instance, so not of a study
    assert list(row) == sorted(row)
    (plain,) = named.get("/studies?PatientID=P1").json()
    assert "00104000" not in plain
    (empty,) = named.get("/studies?PatientID=P3&includefield=PatientComments").json()
    assert empty["00104000"] == {"vr": "LT"}
    rows = named.get(f"/studies/{uid(1)}/series?includefield=PatientComments&includefield=OperatorsName").json()
    assert rows[0]["00104000"]["Value"] == ["Likes Zürich"]
    assert rows[0]["00081070"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jörg"}]}


def test_q21_all_gives_everything_that_is_kept(named: Web) -> None:
    (study,) = named.get("/studies?PatientID=P1&includefield=all").json()
    code = {"00080100": {"vr": "SH", "Value": ["24627-2"]}}
    assert study["00081032"] == {"vr": "SQ", "Value": [code]}
    assert study["00104000"]["Value"] == ["Likes Zürich"]
    rows = named.get(f"/studies/{uid(1)}/instances?includefield=all").json()
    assert [row["00080008"]["Value"][0] for row in rows] == ["ORIGINAL", "DERIVED"]
    assert rows[1]["00180086"] == {"vr": "IS", "Value": [2]}


def test_q22_a_private_attribute_comes_with_its_creator(named: Web) -> None:
    path = f"/studies/{uid(1)}/instances"
    rows = named.get(f"{path}?00090010=ACME+1.1&includefield=00091001").json()
    assert [row["00091001"] for row in rows] == [{"vr": "LO", "Value": ["left"]}, {"vr": "LO", "Value": ["right"]}]
    assert [row["00090010"] for row in rows] == [{"vr": "LO", "Value": ["ACME 1.1"]}] * 2
    rows = named.get(f"{path}?00090020=OTHER&includefield=00092001").json()
    assert "00092001" not in rows[0]
    assert "00090020" not in rows[0]
    assert (rows[1]["00092001"]["Value"], rows[1]["00090020"]["Value"]) == (["under"], ["OTHER"])
    both = named.get(f"{path}?includefield=00091001").json()[1]
    assert {both[f"0009{block}01"]["Value"][0] for block in (10, 11)} == {"right", "under"}
    assert {both[f"000900{block}"]["Value"][0] for block in (10, 11)} == {"ACME 1.1", "OTHER"}
    (study,) = named.get("/studies?PatientID=P1&includefield=00091002").json()
    assert (study["00091002"]["Value"], study["00090010"]["Value"]) == (["blue"], ["ACME 1.1"])


def test_q22_a_private_attribute_is_matched_with_its_creator(named: Web) -> None:
    assert instances(named, "00090010=ACME+1.1&00091001=right") == {uid(1, 1, 2)}
    assert instances(named, "00090010=OTHER&00091001=right") == set()
    assert instances(named, "00090010=OTHER&00091001=u*") == {uid(1, 1, 2)}
    assert named.get("/instances?00091001=right").status_code == 400  # which creator's?
    assert ids(named, "00091002=blue") == {"P1"}


def test_what_was_archived_before_the_setting_is_read_by_a_job(archive: Archive, tmp_path: Path) -> None:
    with listening(archive) as before:
        before.keep(*files())
    settings = archive.settings.model_copy(update={"qido_attributes": list(NAMED)})
    changed = replace(archive, settings=settings)
    with listening(changed) as web:
        web.keep(ct(4, PatientComments="Likes rain"))
        answer = web.get("/studies?PatientComments=Likes*")
        assert [row["00100020"]["Value"] for row in answer.json()] == [["P4"]]
        assert answer.headers["warning"] == (
            f"299 {web.root}: 3 studies have not been indexed for these attributes yet; run hilum reindex"
        )
        with job_here(archive.database, KIND, "a test", "", lambda _done, _total: None) as progress:
            reindex(changed, progress)
        assert (progress.counts, progress.done, progress.total) == ({"files": 4, "studies": 3}, 3, 3)
        assert ids(web, "PatientComments=Likes*") == {"P1", "P4"}
        assert ids(web, "00091002=blue") == {"P1"}
        assert instances(web, "00090010=ACME+1.1&00091001=right") == {uid(1, 1, 2)}
        with job_here(archive.database, KIND, "again", "", lambda _done, _total: None) as progress:
            reindex(changed, progress)
        assert progress.counts == {}


def test_a_file_that_cannot_be_read_leaves_its_study_to_be_read_later(archive: Archive) -> None:
    with listening(archive) as before:
        before.keep(*files())
    changed = replace(archive, settings=archive.settings.model_copy(update={"qido_attributes": list(NAMED)}))
    assert isinstance(archive.blobs, LocalBlobs)
    (key,) = [key for key, _ in archive.blobs.list(f"default/{uid(2)}") if key.endswith(".dcm")]
    data = archive.blobs.read(key, 0, archive.blobs.size(key))
    archive.blobs.delete([key])

    def run() -> dict[str, int]:
        with job_here(archive.database, KIND, "a test", "", lambda _done, _total: None) as progress:
            reindex(changed, progress)
        return progress.counts | {"left_out": sum(each.count for each in progress.reasons.values())}

    assert run() == {"files": 3, "studies": 3, "left_out": 1}
    with archive.database.connect() as connection:
        assert pending(connection, changed.choice, "default") == 1
    with ExitStack() as stack:
        group = stack.enter_context(archive.blobs.group())
        object_ = group.create()
        object_.write(data)
        object_.finish(key)
        group.commit()
    assert run() == {"files": 1, "studies": 1, "left_out": 0}
    with listening(changed) as web:
        assert ids(web, f"{STEP}=S1") == {"P1", "P2"}
        assert ids(web, "PatientWeight=80") == {"P2"}


@pytest.mark.parametrize(
    "name",
    [
        "NoSuchKeyword",
        "99999999",
        "PatientName.PatientID",
        "0009xx01",
        "0008xx01(X)",
        "patient:PatientID",
        "a.b.c",
        ".",
    ],
)
def test_a_setting_that_names_nothing_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="HILUM_QIDO_ATTRIBUTES"):
        chosen((name,))


def test_reindex_is_a_command(server: Server, tmp_path: Path) -> None:
    files = folder(tmp_path / "files", studies=2, PatientComments="Of a folder")
    server.hilum("import", str(files))
    server.environment["HILUM_QIDO_ATTRIBUTES"] = "PatientComments, 0009xx01(ACME, Inc.)"
    done = server.hilum("reindex", "--json")
    assert '"studies": 2' in done.stdout
    assert '"studies"' not in server.hilum("reindex", "--json").stdout
    jobs = server.get("/api/v1/imaging/jobs").json()["items"]
    assert [job["state"] for job in jobs if job["kind"] == "reindex"] == ["succeeded", "succeeded"]
    server.environment["HILUM_QIDO_ATTRIBUTES"] = "Nothing"
    failed = server.hilum("reindex", check=False)
    assert failed.returncode == 2
    assert "'Nothing' is no attribute" in failed.stderr
