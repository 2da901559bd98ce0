"""Every form in which data sets are found in hospitals is read, by the standard where it is kept and beyond it."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset

from hilum.imaging.dicom import elements
from hilum.imaging.dicom.dataset import DataSet, bulkdata, read_data_set
from hilum.imaging.dicom.dicom_json import dataset_json
from hilum.imaging.dicom.header import Header, Unreadable, identity, scan
from hilum.imaging.dicom.source import inflated_file
from tests.dicom.files import element, item, part10, written
from tests.dicom.test_header import enhanced

IMPLICIT, EXPLICIT, DEFLATED, BIG = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
)
SOP = element(0x00080018, "UI", b"1.2.3\0")
ID = element(0x00100020, "LO", b"ID")
PIXELS = element(0x7FE00010, "OW", b"\1\2")
UNDEFINED = b"\xff\xff\xff\xff"
OPEN_ITEM, ITEM_END, SEQUENCE_END = (
    b"\xfe\xff\0\xe0" + UNDEFINED,
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
)
REFERENCED = {"00081150": {"vr": "UI", "Value": ["1.2"]}}


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def undefined_implicit(items: bytes) -> bytes:
    return struct.pack("<HH", 0x0008, 0x1140) + UNDEFINED + items + SEQUENCE_END


def text(tag: int, value: bytes) -> bytes:
    return element(tag, "LO", value)


def undefined(tag: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), 0) + UNDEFINED + value


def read(data: bytes) -> tuple[Header, dict[str, Any]]:
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 20)
    return header, json.loads(dataset_json(read_data_set(file, header), header, "/bulk"))


def everything() -> Dataset:
    data_set, inner, innermost = Dataset(), Dataset(), Dataset()
    innermost.CodeMeaning = "deep"
    inner.ReferencedSOPClassUID, inner.PurposeOfReferenceCodeSequence = "1.2", [innermost]
    data_set.SOPInstanceUID, data_set.PatientID = "1.2.3", "ID"
    data_set.ReferencedImageSequence = [Dataset(), inner]
    block = data_set.private_block(0x0009, "HILUM", create=True)
    block.add_new(0x01, "UN", b"\1\2\3\4")
    block.add_new(0x02, "OB", b"\5\6")
    data_set.Rows, data_set.RedPaletteColorLookupTableData = 512, b"\1\0\2\0"
    data_set.TransducerData, data_set.RequestAttributesSequence = None, []
    data_set.SelectorFDValue, data_set.SelectorATValue = [1.5, -2], 0x00100020
    return data_set


@pytest.mark.parametrize("preamble", [True, False], ids=["part 10", "no preamble"])
@pytest.mark.parametrize("lengths", ["defined", "undefined"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, DEFLATED, BIG])
def test_one_data_set_reads_alike_in_every_encoding(syntax: str, lengths: str, preamble: bool) -> None:
    data_set = everything()
    if syntax == BIG:
        data_set.RedPaletteColorLookupTableData = b"\0\1\0\2"  # pydicom writes these bytes as they are
    for found in data_set.iterall():
        if found.VR == "SQ":
            found.is_undefined_length = lengths == "undefined"
            for part in found.value:
                part.is_undefined_length_sequence_item = lengths == "undefined"
    data = written(data_set, syntax)
    if not preamble:
        if syntax == DEFLATED:
            pytest.skip("without its meta information nothing tells that a data set is deflated")
        data = data[scan(data).data_set_offset or data.index(b"\0\x08\0\x18" if syntax == BIG else b"\x08\0\x18\0") :]
    header, found = read(data)
    assert (header.text("PatientID"), header.values["Rows"]) == ("ID", 512)
    assert found["00081140"]["Value"] == [
        {},
        REFERENCED | {"0040A170": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["deep"]}}]}},
    ]
    assert found["00091001"] == {"vr": "UN", "InlineBinary": "AQIDBA=="}
    assert found["00091002"] == {"vr": "UN" if syntax == IMPLICIT else "OB", "InlineBinary": "BQY="}
    assert found["00281201"] == {"vr": "OW", "InlineBinary": "AQACAA=="}
    assert found["00400275"] == {"vr": "SQ"}
    assert (found["00720074"]["Value"], found["00720060"]["Value"]) == ([1.5, -2], ["00100020"])


@pytest.mark.parametrize(
    ("data_set", "claimed", "implicit_vr"),
    [
        pytest.param(SOP + ID, BIG, False, id="little endian as big endian"),
        pytest.param(SOP + ID, IMPLICIT, False, id="explicit as implicit"),
        pytest.param(implicit(0x00080018, b"1.2.3\0") + implicit(0x00100020, b"ID"), EXPLICIT, True, id="the reverse"),
        pytest.param(SOP + ID, "1.2.3.4", False, id="a transfer syntax nobody knows"),
        pytest.param(zlib.compress(SOP + ID), DEFLATED, False, id="deflated with a header of zlib"),
    ],
)
def test_a_data_set_is_read_as_it_is_whatever_is_claimed(data_set: bytes, claimed: str, implicit_vr: bool) -> None:
    header, found = read(part10(data_set, claimed))
    assert (header.transfer_syntax_uid, header.implicit_vr, header.little_endian) == (claimed, implicit_vr, True)
    assert (header.text("PatientID"), found["00100020"]["Value"]) == ("ID", ["ID"])


def test_functional_groups_that_were_written_as_unknown_give_their_geometry() -> None:
    data = written(enhanced(), IMPLICIT)
    body = data[scan(data).data_set_offset :]
    at = body.index(struct.pack("<HH", 0x5200, 0x9229))
    (length,) = struct.unpack_from("<I", body, at + 4)
    header, found = read(part10(SOP + element(0x52009229, "UN", body[at + 8 : at + 8 + length])))
    assert header.floats("PixelSpacing") == (0.5, 0.25)
    assert found["52009229"]["vr"] == "SQ"


def test_more_elements_than_any_real_file_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MAX_TREE", 1000)
    empty = struct.pack("<HHI", 9, 0x1001, 0)
    for body in (empty * 1001, undefined_implicit(item(b"") * 1001), undefined_implicit(item(empty * 1001))):
        with pytest.raises(Unreadable) as caught:
            read(part10(implicit(0x00080018, b"1.2.3\0") + body, IMPLICIT))
        assert caught.value.code == "too_deep"


ITEMS = OPEN_ITEM + implicit(0x00081150, b"1.2\0") + ITEM_END
PRIVATE = element(0x00090010, "LO", b"HILUM ")


@pytest.mark.parametrize(
    ("data_set", "reader"),
    [
        pytest.param(SOP + undefined(0x00081140, "UN", ITEMS + SEQUENCE_END) + ID, "scanner", id="undefined"),
        pytest.param(SOP + element(0x00081140, "UN", ITEMS) + ID, "scanner", id="defined"),
        pytest.param(
            SOP + undefined(0x00081140, "UN", item(implicit(0x00081150, b"1.2\0")) + SEQUENCE_END) + ID,
            "scanner",
            id="defined items",
        ),
        pytest.param(
            SOP + undefined(0x00081140, "UN", item(element(0x00081150, "UI", b"1.2\0")) + SEQUENCE_END) + ID,
            "pydicom",
            id="explicit against the rule",
        ),
        pytest.param(
            SOP + element(0x00081140, "UN", item(element(0x00081150, "UI", b"1.2\0"))) + ID, "scanner", id="so, defined"
        ),
    ],
)
def test_a_sequence_written_as_unknown_is_a_sequence(data_set: bytes, reader: str) -> None:
    header, found = read(part10(data_set))
    assert (header.syntax_source, header.text("PatientID")) == (reader, "ID")
    assert found["00081140"] == {"vr": "SQ", "Value": [REFERENCED]}


def test_a_private_sequence_written_as_unknown_is_a_sequence() -> None:
    inside = PRIVATE + undefined(0x00091001, "UN", ITEMS + SEQUENCE_END)
    header, found = read(part10(SOP + inside + ID + element(0x00400555, "SQ", item(inside))))
    assert header.text("PatientID") == "ID"
    assert found["00091001"] == found["00400555"]["Value"][0]["00091001"] == {"vr": "SQ", "Value": [REFERENCED]}


def test_an_unknown_value_has_the_representation_of_the_dictionary() -> None:
    header, found = read(part10(SOP + element(0x00100020, "UN", b"ID") + element(0x00280010, "UN", b"\0\2")))
    assert (header.text("PatientID"), header.values["Rows"]) == ("ID", 512)
    assert (found["00100020"]["vr"], found["00280010"]) == ("LO", {"vr": "US", "Value": [512]})
    _, found = read(part10(SOP + element(0x00081140, "UN", b"no items at all.")))
    assert found["00081140"]["vr"] == "UN", "what cannot be a sequence stays what the file says"


@pytest.mark.parametrize("vr", ["??", "  "])
def test_a_nameless_representation_is_taken_for_unknown(vr: str) -> None:
    data = part10(SOP + b"\x10\0\x20\0" + vr.encode() + b"\2\0ID" + element(0x00100030, "DA", b"20200101"))
    header, found = read(data)
    assert (header.text("PatientID"), header.text("PatientBirthDate")) == ("ID", "20200101")
    assert found["00100020"] == {"vr": "LO", "Value": ["ID"]}


def test_group_lengths_are_not_believed_and_not_told() -> None:
    for claimed in (0, 99_999, 0xFFFFFFFF):
        length = element(0x00080000, "UL", struct.pack("<I", claimed))
        header, found = read(part10(length + SOP + element(0x00100000, "UL", struct.pack("<I", claimed)) + ID))
        assert header.text("PatientID") == "ID"
        assert set(found) == {"00080018", "00083002", "00100020"}


def test_compressed_pixels_inside_an_item_are_its_value() -> None:
    fragments = item(b"") + item(b"ab")
    icon = OPEN_ITEM + undefined(0x7FE00010, "OB", fragments + SEQUENCE_END) + ITEM_END
    data = part10(SOP + ID + undefined(0x00880200, "SQ", icon + SEQUENCE_END) + PIXELS)
    header, found = read(data)
    assert header.pixel_data is not None
    assert (header.syntax_source, header.pixel_data.length) == ("scanner", 2)
    assert found["00880200"]["Value"][0]["7FE00010"]["vr"] == "OB"
    assert bulkdata(DataSet(data), header, ["00880200", "1", "7FE00010"]) == fragments


@pytest.mark.parametrize(
    ("data_set", "patient_id"),
    [
        pytest.param(ID + SOP, "ID", id="out of order"),
        pytest.param(SOP + element(0x00100020, "LO", b"ZZ") + ID, "ID", id="twice: the last counts"),
        pytest.param(SOP + element(0x00100020, "LO", b"ODD") + element(0x00100030, "DA", b"20200101"), "ODD", id="odd"),
        pytest.param(SOP + element(0x00100020, "LO", b"ID \0\0 "), "ID", id="padded"),
        pytest.param(SOP + element(0x00100020, "LO", b"") + PIXELS, "", id="empty"),
        pytest.param(SOP + element(0x00100020, "LO", b"  \0 ") + PIXELS, "", id="nothing but padding"),
        pytest.param(SOP + ITEM_END + SEQUENCE_END + ID, "ID", id="stray delimiters"),
        pytest.param(
            SOP + element(0x00081140, "SQ", item(element(0x00081150, "UI", b"1.2\0")) + SEQUENCE_END) + ID,
            "ID",
            id="a delimiter inside a defined length",
        ),
    ],
)
def test_what_is_out_of_order_twice_odd_or_empty_is_read(data_set: bytes, patient_id: str) -> None:
    header, found = read(part10(data_set))
    assert header.text("PatientID") == patient_id
    assert found["00100020"].get("Value", [""]) == [patient_id]
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    "encode", [lambda tag, value: element(tag, "LO", value), implicit], ids=["explicit", "implicit"]
)
@pytest.mark.parametrize("padding", [b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 513, b"\xff" * 16, b" " * 3])
def test_padding_behind_the_data_set_is_no_damage(encode: Callable[[int, bytes], bytes], padding: bytes) -> None:
    syntax = IMPLICIT if encode is implicit else EXPLICIT
    if syntax == IMPLICIT and len(padding) == 16:
        pytest.skip("in implicit VR this reads as an element of undefined length")
    header, found = read(part10(encode(0x00080018, b"1.2.3\0") + encode(0x00100020, b"ID"), syntax) + padding)
    assert header.text("PatientID") == "ID"
    assert set(found) == {"00080018", "00083002", "00100020"}


def test_a_cut_is_not_taken_for_padding() -> None:
    for rest in (ID[:5], ID[:9], b"\x10\0\x20\0LO"):
        with pytest.raises(Unreadable) as caught:
            scan(part10(SOP + ID + rest))
        assert caught.value.code == "truncated"


SIGNATURE = element(0xFFFAFFFA, "SQ", item(element(0x04000005, "US", b"\1\0")))
PADDING = element(0xFFFCFFFC, "OB", bytes(10))
SIGNED = {"vr": "SQ", "Value": [{"04000005": {"vr": "US", "Value": [1]}}]}


@pytest.mark.parametrize(
    ("pixels", "syntax"),
    [
        pytest.param(PIXELS, EXPLICIT, id="native"),
        pytest.param(
            undefined(0x7FE00010, "OB", item(b"") + item(b"ab") + SEQUENCE_END),
            "1.2.840.10008.1.2.4.90",
            id="compressed",
        ),
        pytest.param(PIXELS, DEFLATED, id="deflated"),
    ],
)
def test_what_stands_behind_pixel_data_is_told(pixels: bytes, syntax: str) -> None:
    body = SOP + ID + pixels + SIGNATURE + PADDING
    _, found = read(part10(zlib.compress(body)[2:-4] if syntax == DEFLATED else body, syntax))
    assert found["FFFAFFFA"] == SIGNED
    assert "FFFCFFFC" not in found


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG])
def test_what_stands_behind_pixel_data_is_told_in_other_encodings(syntax: str) -> None:
    data_set, signature = Dataset(), Dataset()
    signature.MACIDNumber = 1
    data_set.SOPInstanceUID, data_set.PixelData, data_set.DigitalSignaturesSequence = "1.2.3", b"\1\2", [signature]
    data_set["PixelData"].VR = "OW"
    _, found = read(written(data_set, syntax))
    assert found["FFFAFFFA"] == SIGNED


@pytest.mark.parametrize("garbage", [b"garbage behind the pixels", bytes(600), b"\x08\0\x18\0UI\4\0evil"])
def test_garbage_behind_pixel_data_is_left_out(garbage: bytes) -> None:
    header, found = read(part10(SOP + ID + PIXELS + garbage))
    assert header.text("PatientID") == "ID"
    assert found["00080018"]["Value"] == ["1.2.3"]
    assert set(found) == {"00080018", "00083002", "00100020", "7FE00010"}


@pytest.mark.parametrize(
    ("written_uid", "uid", "good"),
    [
        (b"1.2.3\0\0", "1.2.3", True),
        (b"1.2.3 ", "1.2.3", True),
        (b" 1.2.3", "1.2.3", True),
        (b"1.02.3", "1.02.3", True),
        (b"1." * 31 + b"10", "1." * 31 + "10", True),
        (b"1" * 66, "1" * 66, False),
        (b"1..2", "1..2", False),
        (b"1.2.", "1.2.", False),
        (b"1.2.A4", "1.2.A4", False),
        (b"1.2\0x1", "1.2\0x1", False),
    ],
)
def test_which_uids_make_an_instance(written_uid: bytes, uid: str, good: bool) -> None:
    header = scan(
        part10(
            element(0x00080016, "UI", b"1.2\0")
            + element(0x00080018, "UI", written_uid)
            + element(0x0020000D, "UI", b"1.3\0")
            + element(0x0020000E, "UI", b"1.4\0")
        )
    )
    assert header.first("SOPInstanceUID") == uid, "the raw text stays"
    if good:
        assert identity(header).sop_instance_uid == uid
        return
    with pytest.raises(Unreadable) as caught:
        identity(header)
    assert caught.value.code == "invalid_uid"
