"""What is taken from a file of the attributes that a path names, however it is encoded, and what is left out."""

import io
from contextlib import nullcontext

import msgspec
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from hilum.imaging.archive.further import Excerpt, chosen
from hilum.imaging.dicom.excerpt import MAX_ITEMS, MAX_VALUE
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.paths import parse_path
from tests.make import ct, written

NAMED = (
    "PatientComments",
    "OperatorsName",
    "EchoNumbers",
    "ProcedureCodeSequence",
    "0009xx01(ACME)",
    "series:OtherStudyNumbers",
)


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def taken(data: bytes, *, above: bool = True) -> Excerpt:
    return chosen(NAMED).take(scan(data), b"", lambda: nullcontext(io.BytesIO(data)), above=above)


def plain(kept: dict[str, msgspec.Raw] | None) -> object:
    return msgspec.json.decode(msgspec.json.encode(kept))


def file(**attributes: object) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(ct(SpecificCharacterSet="ISO_IR 100", **attributes)))


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_every_encoding_says_the_same(syntax: pydicom.uid.UID) -> None:
    ds = file(
        RequestAttributesSequence=[item(ScheduledProcedureStepID="S1", ScheduledProcedureStepDescription="not kept")],
        PatientComments="Zürich", OperatorsName="Doe^Jörg", EchoNumbers=[1, 2],
        ProcedureCodeSequence=[item(CodeValue="A"), item(CodeValue="B")],
    )  # fmt: skip
    ds.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    pydicom.dcmwrite(
        out, ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=False
    )
    found = taken(out.getvalue())
    codes = [{"00080100": {"vr": "SH", "Value": [value]}} for value in "AB"]
    assert plain(found.study) == {
        "00104000": {"vr": "LT", "Value": ["Zürich"]}, "00081032": {"vr": "SQ", "Value": codes},
    }  # fmt: skip
    assert plain(found.series) == {
        "00081070": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jörg"}]},
        "00400275": {"vr": "SQ", "Value": [{"00400009": {"vr": "SH", "Value": ["S1"]}}]},
    }
    assert plain(found.instance) == {"00180086": {"vr": "IS", "Value": [1, 2]}}


def test_what_is_empty_binary_or_huge_is_left_out() -> None:
    ds = file(PatientComments="x" * (MAX_VALUE + 1), OperatorsName="", ProcedureCodeSequence=[item()])
    ds.add_new(0x00090010, "LO", "ACME")
    ds.add_new(0x00091001, "OB", b"\1\2")
    assert taken(written(ds)) == Excerpt()


def test_of_a_long_sequence_the_first_items_are_kept() -> None:
    ds = file(RequestAttributesSequence=[item(RequestedProcedureID=str(n)) for n in range(MAX_ITEMS + 9)])
    kept = taken(written(ds)).series
    assert kept is not None
    assert len(msgspec.json.decode(kept["00400275"])["Value"]) == MAX_ITEMS


def test_a_nul_within_a_text_is_dropped() -> None:
    kept = taken(written(file(PatientComments="a\0b"))).study
    assert plain(kept) == {"00104000": {"vr": "LT", "Value": ["ab"]}}


def test_of_a_series_known_already_only_the_instance_is_read() -> None:
    data = written(file(OperatorsName="Doe", EchoNumbers=3))
    found = taken(data, above=False)
    assert (found.study, found.series) == (None, None)
    assert plain(found.instance) == {"00180086": {"vr": "IS", "Value": [3]}}


@pytest.mark.parametrize(
    ("text", "name", "vr"),
    [
        ("PatientComments", "00104000", "LT"),
        ("00400275.00400009", "00400275.00400009", "SH"),
        ("RequestAttributesSequence.00400009", "00400275.00400009", "SH"),
        ("0019100c(GEMS_ACQU_01)", "0019xx0C(GEMS_ACQU_01)", "UN"),
        ("0009XX01(A, B: C)", "0009xx01(A, B: C)", "UN"),
    ],
)
def test_a_path_is_read_in_all_its_forms(text: str, name: str, vr: str) -> None:
    path = parse_path(text)
    assert path.name == name
    assert vr == "UN" or path.vr == vr
