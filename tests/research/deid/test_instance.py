"""Single files: what the engine, the pixel seam and the last look do with them."""

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hilum.imaging.dicom.header import Header
from hilum.research.deid.engine import Engine
from hilum.research.deid.identifiers import Patterns, collected
from hilum.research.deid.instance import Deidentifier, Made, Quarantined
from hilum.research.deid.person import Person
from hilum.research.deid.pixels import Decision, Verdict
from hilum.research.deid.profile import Profile, Rules, load_profile
from hilum.research.deid.table import OPTIONS
from hilum.research.deid.uids import UidMap
from hilum.research.deid.verify import Leak, Search, verify
from tests.research.deid.planted import CT, PATIENTS, base, image, item, part10
from tests.research.deid.planted import uid as planted_uid

UIDS = UidMap(b"k" * 32)
PERSON = Person("1001", -100)
LITTLE = "1.2.840.10008.1.2.1"


def ct(sop_class: str = CT, modality: str = "CT") -> Dataset:
    ds = base(PATIENTS[0], 1, sop_class, modality)
    image(ds, np.random.default_rng(1))
    return ds


def make(ds: Dataset, profile: str | Profile = "chorus", step: object = None, **how: object) -> Made:
    chosen = load_profile(profile) if isinstance(profile, str) else profile
    engine = Engine(Rules(chosen), UIDS.new)
    data = part10(ds, LITTLE, **how)  # pyright: ignore[reportArgumentType]
    return Deidentifier(engine, step).make(BytesIO(data), PERSON, "55")  # pyright: ignore[reportArgumentType]


def read(made: Made) -> Dataset:
    verify(made.data, Search(made.patterns, made.old_uids))
    return pydicom.dcmread(BytesIO(made.data))


def test_the_file_says_how_it_was_deidentified() -> None:
    ds = read(make(ct()))
    assert ds.PatientIdentityRemoved == "YES"
    codes = [one.CodeValue for one in ds.DeidentificationMethodCodeSequence]
    options = load_profile("chorus").options
    assert codes[0] == "113100"
    assert set(codes[1:]) == {OPTIONS[option][0] for option in options}
    assert "113101" not in codes
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    assert read(make(ct(), "basic")).LongitudinalTemporalInformationModified == "REMOVED"
    assert read(make(ct(), "limited-dataset")).LongitudinalTemporalInformationModified == "UNMODIFIED"


def test_the_same_file_comes_to_the_same_bytes() -> None:
    assert make(ct()).data == make(ct()).data


def test_file_meta_and_preamble_are_new() -> None:
    made = make(ct(), preamble=b"Hans Peter".ljust(128), meta="MRN00481516 site")
    ds = read(made)
    assert made.data[:128] == bytes(128)
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID != ct().SOPInstanceUID
    assert {element.tag.element for element in ds.file_meta} == {0, 1, 2, 3, 0x10, 0x12, 0x13}


def test_basic_removes_dates_and_descriptions_and_keeps_the_image() -> None:
    ds = read(make(ct(), "basic"))
    assert (ds.StudyDate, ds.PatientBirthDate, ds.ReferringPhysicianName) == ("", "", "")
    assert "SeriesDescription" not in ds
    assert "PatientWeight" not in ds
    assert (ds.Rows, ds.Modality, ds.PatientID) == (16, "CT", "1001")


def test_a_limited_data_set_keeps_full_dates_but_no_name() -> None:
    ds = read(make(ct(), "limited-dataset"))
    assert (ds.StudyDate, ds.PatientBirthDate) == ("20180310", "19610204")
    assert ds.PatientName == "1001"


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_every_option_alone_makes_a_file_that_verifies(option: str) -> None:
    ds = read(make(ct(), Profile("one", options=frozenset((option,)), attributes=load_profile("basic").attributes)))
    assert ds.PatientID == "1001"
    assert (ds.SOPInstanceUID == ct().SOPInstanceUID) == (option == "retain_uids")


def test_all_options_together() -> None:
    options = frozenset(OPTIONS) - {"retain_longitudinal_modified_dates"}
    ds = read(make(ct(), Profile("all", options=options, attributes=load_profile("basic").attributes)))
    assert (ds.InstitutionName, ds.StationName, ds.StudyDate) == ("Saint Bartleby Hospital", "BARTCT01", "20180310")


def test_who_is_over_89_is_90_and_has_no_birth_date() -> None:
    ds = ct()
    ds.PatientBirthDate, ds.PatientAge = "19200101", "098Y"
    made = read(make(ds))
    assert (made.PatientBirthDate, made.PatientAge) == ("", "090Y")
    ds.PatientBirthDate, ds.PatientAge = "19610204", "057Y"
    made = read(make(ds))
    assert (made.PatientBirthDate, made.PatientAge) == ("19601027", "057Y")


def test_values_that_are_none_of_their_representation_go() -> None:
    ds = ct()
    raw = part10(ds, LITTLE)
    broken = raw.replace(b"\x18\x00\x50\x00DS\x04\x005.0 ", b"\x18\x00\x50\x00DS\x04\x00Hans")
    assert broken != raw
    engine = Engine(Rules(load_profile("chorus")), UIDS.new)
    made = Deidentifier(engine).make(BytesIO(broken), PERSON, "55")
    assert b"Hans" not in made.data


def test_dates_of_a_file_whose_dates_have_been_moved_do_not_move_again() -> None:
    ds = ct()
    ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified = "YES", "MODIFIED"
    made = make(ds)
    assert made.before
    assert read(made).StudyDate == "20180310"
    del ds.LongitudinalTemporalInformationModified
    ds.DeidentificationMethodCodeSequence = [item(CodeValue="113107", CodingSchemeDesignator="DCM", CodeMeaning="x")]
    assert read(make(ds)).StudyDate == "20180310"
    del ds.DeidentificationMethodCodeSequence
    assert read(make(ds)).StudyDate == "20171130"


def test_references_and_texts_come_to_the_same_new_uids() -> None:
    ds = ct()
    target = planted_uid(PATIENTS[0], 1, 2)
    ds.ReferencedImageSequence = [item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=target)]
    ds.ImageComments = f"see {target}"
    made = read(make(ds))
    new = UIDS.new(target)
    assert new.startswith("2.25.")
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == new
    assert new in made.ImageComments
    assert UidMap(b"x" * 32).new(target) != new


@pytest.mark.parametrize(
    ("sop_class", "change", "code"),
    [
        ("1.2.840.10008.5.1.4.1.1.7", {}, "pixels_unseen"), ("1.2.840.10008.5.1.4.1.1.6.1", {}, "pixels_unseen"),
        ("1.2.840.10008.5.1.4.1.1.1.1", {}, "pixels_unseen"), (CT, {"BurnedInAnnotation": "YES"}, "pixels_unseen"),
        (CT, {"ImageType": ["DERIVED", "SECONDARY"]}, "pixels_unseen"), ("1.2.3.4.5", {}, "pixels_unseen"),
        ("1.2.840.10008.5.1.4.1.1.104.1", {}, "encapsulated_document"),
    ],
)  # fmt: skip
def test_what_must_be_looked_at_is_held_back(sop_class: str, change: dict[str, object], code: str) -> None:
    ds = ct(sop_class)
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    with pytest.raises(Quarantined) as held:
        make(ds)
    assert held.value.code == code


def test_a_pixel_step_lets_pass_blackens_or_holds_back() -> None:
    asked: list[str] = []

    def clean(file: BinaryIO, header: Header, patterns: Patterns, decision: Decision | None) -> Verdict:
        assert patterns.strong is not None
        assert patterns.strong.search("müller hans")
        asked.append(header.first("SOPClassUID"))
        return Verdict("clean")

    secondary = ct("1.2.840.10008.5.1.4.1.1.7", "OT")
    made = read(make(secondary, step=clean))
    assert asked == ["1.2.840.10008.5.1.4.1.1.7"]
    assert made.BurnedInAnnotation == "NO"
    assert "113101" in [one.CodeValue for one in made.DeidentificationMethodCodeSequence]
    read(make(ct(), step=clean))
    assert len(asked) == 1  # a CT of a chest needs no look

    def blacken(file: BinaryIO, header: Header, patterns: Patterns, decision: Decision | None) -> Verdict:
        file.seek(0)
        ds = pydicom.dcmread(file)
        ds.PixelData = bytes(len(ds.PixelData))
        out = BytesIO()
        ds.save_as(out)
        return Verdict("blackened", data=out.getvalue())

    assert not read(make(secondary, step=blacken)).pixel_array.any()
    with pytest.raises(Quarantined, match="blurred"):
        make(secondary, step=lambda *_: Verdict("unsure", reason="blurred"))


def test_a_head_is_flagged_or_held_back() -> None:
    ds = ct()
    ds.BodyPartExamined = "HEAD"
    assert read(make(ds)).RecognizableVisualFeatures == "YES"
    with pytest.raises(Quarantined) as held:
        make(ds, Profile("own", faces="quarantine"))
    assert held.value.code == "face"
    assert "RecognizableVisualFeatures" not in read(make(ct()))


def test_the_last_look_finds_what_the_engine_might_have_left(tmp_path: Path) -> None:
    made = make(ct())
    known = collected([("name", "Müller^Hans Peter"), ("id", "MRN00481516")]).patterns()
    old = frozenset((planted_uid(PATIENTS[0], 1, 1),))
    clean = pydicom.dcmread(BytesIO(made.data))

    def leak(change: object, code: str) -> None:
        ds = pydicom.dcmread(BytesIO(made.data))
        change(ds)  # pyright: ignore[reportCallIssue]
        out = BytesIO()
        ds.save_as(out)
        with pytest.raises(Leak) as found:
            verify(out.getvalue(), Search(known, old))
        assert found.value.code == code

    verify(made.data, Search(known, old))
    leak(lambda ds: setattr(ds, "StudyDescription", "chest of hans  peter müller"), "identifier")
    leak(lambda ds: setattr(ds, "Manufacturer", "MRN-00481516"), "identifier")
    referenced = [item(ReferencedSOPInstanceUID=next(iter(old)))]
    leak(lambda ds: setattr(ds, "ReferencedImageSequence", referenced), "original_uid")
    leak(lambda ds: setattr(ds, "PixelData", b"..MRN00481516.".ljust(512, b"\0")), "identifier_bytes")
    leak(lambda ds: setattr(ds, "preamble", b"x" * 128), "preamble")
    for trailing in (b"garbage that is none", bytes(16)):
        with pytest.raises(Leak):
            verify(made.data + trailing, Search(known, old))
    with pytest.raises(Leak):
        verify(made.data[: len(made.data) // 2], Search(known, old))
    assert clean.PatientID == "1001"


def test_a_private_sop_class_stays_and_an_invented_uid_of_dicom_does_not() -> None:
    private, invented = "1.3.12.2.1107.5.9.1", "1.2.840.10008.481516.20180310.1"
    ds = ct(private)
    del ds.PixelData, ds.Rows, ds.Columns
    ds.ReferencedImageSequence = [item(ReferencedSOPClassUID=private, ReferencedSOPInstanceUID=invented)]
    made = read(make(ds))
    assert made.SOPClassUID == made.file_meta.MediaStorageSOPClassUID == private
    assert made.ReferencedImageSequence[0].ReferencedSOPClassUID == private
    assert made.ReferencedImageSequence[0].ReferencedSOPInstanceUID == UIDS.new(invented) != invented


@pytest.mark.parametrize("version", ["5.1.7.2", "1.5.0.0.1", "VB40A 2012.05.01", "syngo MR XA30", "MR VE11C"])
def test_versions_stay(version: str) -> None:
    ds = ct()
    ds.SoftwareVersions, ds.ManufacturerModelName = [version, "MRN00481516 x"], "Skyra"
    ds.StationName = "Skyra"
    made = read(make(ds))
    assert list(made.SoftwareVersions) == [version, "x"]
    assert made.ManufacturerModelName == "Skyra"


def test_an_id_as_a_number_goes_and_other_numbers_stay() -> None:
    ds = ct()
    ds.AcquisitionNumber, ds.ExposureTime = "481516", "481517"
    made = read(make(ds))
    assert (made.AcquisitionNumber, made.ExposureTime) == (0, 481517)


def test_the_value_of_a_content_item_is_one_in_whichever_sequence_it_stands() -> None:
    ds = ct()
    ds.ProtocolContextSequence = [
        item(ValueType="PNAME", ConceptNameCodeSequence=[item(CodeValue="1", CodingSchemeDesignator="99X",
             CodeMeaning="by Quattlebaum")], PersonName="Quattlebaum^X", TextValue="for Szczepanski, liver")
    ]  # fmt: skip
    made = read(make(ds)).ProtocolContextSequence[0]
    assert (made.PersonName, made.TextValue) == ("REMOVED", "for liver")
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "by"
