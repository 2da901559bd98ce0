"""Every kind of object and every place that an adversary could think of: nothing of anyone is left, what is wanted is,
every reference resolves and no file is less valid than it was."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from hilum.research.deid.engine import Engine
from hilum.research.deid.instance import Deidentifier, Quarantined
from hilum.research.deid.person import Person
from hilum.research.deid.pixels import Verdict
from hilum.research.deid.profile import Rules, load_profile
from hilum.research.deid.run import Request, deidentify_folder
from hilum.research.deid.uids import UidMap
from hilum.research.deid.verify import Search, verify
from tests.research.deid.planted import CT, PATIENTS, Planted, Set, base, image, part10
from tests.research.deid.score import nothing_wrong, score
from tests.research.deid.wide import build_wide, storage_classes

UIDS = UidMap(b"k" * 32)
LITTLE = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def wide() -> Set:
    return build_wide()


def test_every_storage_class_and_every_trick_under_chorus(wide: Set, tmp_path: Path) -> None:
    assert len(storage_classes()) > 150
    wide.write(tmp_path / "in")
    wide.write_maps(tmp_path / "maps")
    work = tmp_path / "site"
    done = deidentify_folder(
        Request(
            tmp_path / "in", tmp_path / "out", "chorus", work / "key", tmp_path / "maps", work / "crosswalk",
            report=work / "report.json", workers=2,
        ),
        lambda _done, _total: None,
    )  # fmt: skip
    found = score(wide, tmp_path / "out")
    nothing_wrong(found)
    assert found.kept > 2900
    assert found.moved > 1100
    assert done.counts["written"] == sum(one.out for one in wide.files)  # dciodvfy has nothing new to say, either


@pytest.mark.parametrize("profile", ["basic", "research", "limited-dataset"])
def test_no_profile_leaves_anything_of_anyone(profile: str, wide: Set, tmp_path: Path) -> None:
    tool = Deidentifier(Engine(Rules(load_profile(profile)), UIDS.new), lambda *_: Verdict("clean"))
    device = {"BARTCT01", "SN77788899", "BARTLINAC", "BARTPACS"} if profile == "limited-dataset" else set[str]()
    for one in wide.files:
        try:
            made = tool.make(BytesIO(one.data), Person(one.patient.person_id, one.patient.days), "55")
        except Quarantined:
            assert not one.out
            continue
        verify(made.data, Search(made.patterns, made.old_uids))
        (tmp_path / f"{one.number}.dcm").write_bytes(made.data)
        one.leaks -= device
    found = score(wide, tmp_path)
    assert (found.leaks, found.stray, found.missing, found.broken, found.changed_pixels) == ([], [], [], [], [])


VALUES: dict[str, object] = {
    "LO": "Hans Peter nodule", "SH": "MRN00481516", "ST": "seen Mueller Hans", "LT": "Mrn 481516\r\nx",
    "UT": "by Hans Peter", "UC": "Mueller^Hans", "PN": "Featherstonehaugh^Zed", "CS": "MRN00481516",
    "AE": "MRN00481516", "UR": "http://x.example/Hans", "DA": "20180310", "DT": "20180310081500.5", "AS": "094Y",
    "DS": "00481516", "IS": "481516", "UI": "1.2.826.0.1.3680043.9.7777.55.481516", "UN": b"MRN00481516 ",
}  # fmt: skip
SECRETS = ("hans", "peter", "481516", "mueller", "featherstonehaugh", "094y", "x.example")


@pytest.mark.parametrize("profile", ["basic", "chorus"])
def test_an_identifier_in_every_attribute_of_the_dictionary_goes(profile: str) -> None:
    ds = base(PATIENTS[0], 1, CT, "CT")
    image(ds, np.random.default_rng(1))
    for tag, (vrs, *_, keyword) in DicomDictionary.items():
        vr = vrs.split(" or ")[0]
        if 0x0008 <= tag >> 16 < 0x7FE0 and tag not in ds and vr in VALUES and keyword != "NumberOfFrames":
            ds[tag] = DataElement(tag, vr, VALUES[vr])
    ds.SpecificCharacterSet, ds.TimezoneOffsetFromUTC = "ISO_IR 100", "+0100"
    ds.PatientIdentityRemoved = ds.BurnedInAnnotation = "NO"
    ds.LongitudinalTemporalInformationModified = "UNMODIFIED"
    made = _make(ds, profile)
    left = {
        element.keyword
        for element in made.iterall()
        if any(secret in str(element.value).lower() for secret in SECRETS)
        or (element.VR in ("DA", "DT") and str(element.value).startswith("20180310"))
    }
    assert left == set()
    assert len(made) > 1500


def _make(ds: Dataset, profile: str) -> Dataset:
    tool = Deidentifier(Engine(Rules(load_profile(profile)), UIDS.new), lambda *_: Verdict("clean"))
    made = tool.make(BytesIO(part10(ds, LITTLE)), Person("1001", -100), "55")
    verify(made.data, Search(made.patterns, made.old_uids))
    return pydicom.dcmread(BytesIO(made.data))


def test_the_set_names_what_it_plants(wide: Set) -> None:
    def holds(one: Planted) -> bool:
        texts = str(pydicom.dcmread(BytesIO(one.data))).lower()
        return any(secret.lower() in texts for secret in one.leaks)

    assert all(map(holds, wide.files))
