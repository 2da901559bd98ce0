"""The Native DICOM Model equals dcmtk's and GDCM's wherever those are right; where they are not is listed, with why."""

import base64
import io
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.imaging.dicom.dataset import BINARY, read_data_set
from hilum.imaging.dicom.dicom_xml import dataset_xml
from hilum.imaging.dicom.header import NotDicom, Unreadable, scan
from hilum.imaging.dicom.source import inflated_file
from tests.dicom.files import element, item, name, part10, wheel

NAMESPACE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
SOP = element(0x00080018, "UI", b"1.2.3\0")
EVERYTHING = 1 << 30
# Left out of every comparison: there the document's own, added by us, always bulk data, left out on purpose.
APART = {"00080005", "00083002", "7FE00010", "FFFCFFFC"}
# Attributes that dcm2xml 3.6.7 gives otherwise, and why that is wrong.
DCMTK = {
    "chrX1.dcm": ({"00100010"}, "repeats the ideographic group where the phonetic one is empty"),
    "chrX2.dcm": ({"00100010"}, "writes GB18030 as it is into a document without an encoding"),
    "J2K_pixelrep_mismatch.dcm": (None, "does not see that the private blocks are reserved"),
    "UN_sequence.dcm": (None, "gives no items of a sequence that was written as UN"),
    "rtdose_rle.dcm": (None, "takes attributes that were written as UN for unknown"),
    "rtdose_rle_1frame.dcm": (None, "takes attributes that were written as UN for unknown"),
    "waveform_ecg.dcm": (
        {"70011131", "70011132", "70011153", "70010031", "70010032", "70010053"},
        "drops the number of a private block that nobody reserved",
    ),
    "meta_missing_tsyntax.dcm": ({"00010001"}, "pads a value of odd length"),
    "nested_priv_SQ.dcm": ({"00010001"}, "pads a value of odd length"),
}
# What dcm2xml refuses (cut pixels, directories, short representations) or cannot write as XML (code extensions).
REFUSED = {"MR_truncated.dcm", "SC_rgb_jpeg.dcm"}

Told = dict[str, object]


def readable(path: Path) -> bool:
    with suppress(NotDicom, Unreadable):
        return scan(path.read_bytes()).header_length > 0
    return False


READABLE = [path for path in wheel() if readable(path) and "DICOMDIR" not in path.name]


def as_xml(data: bytes, inline_max: int = 1024) -> ET.Element:
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    return ET.fromstring(dataset_xml(read_data_set(file, header), header, "/bulk", inline_max))


def told(node: ET.Element, *, words: bool = False) -> Told:
    """The attributes of a data set by tag and creator, in a form in which two are compared.

    ``words`` is for dcmtk, which gives the words of OW in big endian, against PS3.19 section A.1.
    """
    found: Told = {}
    for attribute in node:
        tag, vr = attribute.attrib["tag"], attribute.attrib["vr"]
        if tag not in APART:
            found[tag + attribute.get("privateCreator", "")] = (vr, [content(vr, child, words) for child in attribute])
    return found


def content(vr: str, node: ET.Element, words: bool) -> object:
    kind = node.tag.rpartition("}")[2]
    if kind == "Item":
        return told(node, words=words)
    if kind == "PersonName":
        return {(group.tag, part.tag): (part.text or "").strip() for group in node for part in group if part.text}
    text = (node.text or "").strip()
    if vr in ("FL", "FD"):
        return round(float(text), 3) + 0.0
    if kind == "InlineBinary":
        value = base64.b64decode(text)
        return b"".join(value[at : at + 2][::-1] for at in range(0, len(value), 2)) if words and vr == "OW" else value
    return (kind, node.get("number"), text)


@pytest.mark.skipif(shutil.which("dcm2xml") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("path", READABLE, ids=name)
def test_xml_agrees_with_dcmtk(path: Path) -> None:
    done = subprocess.run(["dcm2xml", "-nat", "+Eb", str(path)], capture_output=True, check=False)
    if done.returncode:
        assert path.name in REFUSED
        return
    document = done.stdout.replace(b'version="1.0"?>', b'version="1.0" encoding="latin1"?>', 1)
    try:
        theirs = told(ET.fromstring(document), words=True)
    except ET.ParseError:
        assert path.name.startswith(("chrH3", "chrI2", "chrJap", "chrKor", "chrSQ")), "they have escape sequences"
        return
    unlike, _ = DCMTK.get(path.name, (set(), ""))
    ours = told(as_xml(path.read_bytes(), EVERYTHING))
    assert ours
    if unlike is not None:
        namespaced = {key.replace(NAMESPACE, ""): value for key, value in plain(ours).items()}
        wanted = plain(theirs)
        assert {k: v for k, v in namespaced.items() if k not in unlike} == {
            k: v for k, v in wanted.items() if k not in unlike
        }


def plain(found: Told) -> dict[str, str]:
    return {key: str(value).replace(NAMESPACE, "") for key, value in found.items()}


@pytest.mark.skipif(shutil.which("gdcmxml") is None, reason="GDCM's programs (libgdcm-tools) are not installed")
@pytest.mark.parametrize("text", ["CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "priv_SQ.dcm", "examples_palette.dcm"])
def test_gdcm_finds_the_same_attributes(text: str) -> None:
    path = next(path for path in READABLE if path.name == text)
    done = subprocess.run(["gdcmxml", str(path)], capture_output=True, check=True)
    # GDCM keeps the number of a private block, and gives names' components one place too far.
    theirs = {(whole(node), node.get("vr")) for node in ET.fromstring(done.stdout) if node.get("vr") not in BINARY}
    ours = {(whole(node), node.get("vr")) for node in as_xml(path.read_bytes()) if node.get("vr") not in BINARY}
    assert {pair for pair in ours if pair[0][:8] not in APART} == {pair for pair in theirs if pair[0][:8] not in APART}


def whole(node: ET.Element) -> str:
    tag, creator = node.attrib["tag"], node.get("privateCreator")
    return f"{tag[:4]}xx{tag[6:]} {creator}" if creator else tag


def test_each_representation_has_its_form() -> None:
    document = as_xml(
        part10(
            element(0x00080005, "CS", b"ISO_IR 100")
            + SOP
            + element(0x00080060, "CS", b"")
            + element(0x00081140, "SQ", item(element(0x00081150, "UI", b"1.2\0")) + item(b""))
            + element(0x00090010, "LO", b"HILUM ")
            + element(0x00091001, "OB", b"\1\2\3\4")
            + element(0x00091002, "OB", bytes(2000))
            + element(0x00100010, "PN", b"M\xfcller^\xd6^^Dr. ")
            + element(0x00180050, "DS", b"1.50\\\\abc ")
            + element(0x00189073, "FD", struct.pack("<3d", float("inf"), float("nan"), 0.5))
            + element(0x00209165, "AT", struct.pack("<HH", 0x0018, 0x9087))
            + element(0x00280010, "US", b"\0\2")
        )
    )
    found = {node.attrib["tag"]: node for node in document}
    assert document.tag == f"{NAMESPACE}NativeDicomModel"
    assert [node.text for node in found["00080005"]] == ["ISO_IR 100"]
    assert (found["00080018"].get("keyword"), found["00080018"][0].text) == ("SOPInstanceUID", "1.2.3")
    assert list(found["00080060"]) == []
    assert [(node.get("number"), len(node)) for node in found["00081140"]] == [("1", 1), ("2", 0)]
    assert (found["00090001"].get("privateCreator"), found["00090001"][0].text) == ("HILUM", "AQIDBA==")
    assert found["00090002"][0].get("uri") == "/bulk/00091002"
    name = found["00100010"][0][0]
    assert [(part.tag.replace(NAMESPACE, ""), part.text) for part in name] == [
        ("FamilyName", "Müller"),
        ("GivenName", "Ö"),
        ("NamePrefix", "Dr."),
    ]
    assert [(node.get("number"), node.text) for node in found["00180050"]] == [("1", "1.50"), ("2", None), ("3", "abc")]
    assert [node.text for node in found["00189073"]] == ["INF", "NaN", "0.5"]
    assert (found["00209165"][0].text, found["00280010"][0].text) == ("00189087", "512")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back_but_for_what_xml_cannot_hold(text: str) -> None:
    value = text.encode()
    value += b" " * (len(value) % 2)
    data = part10(element(0x00080005, "CS", b"ISO_IR 192") + SOP + element(0x00104000, "LT", value))
    (node,) = [node for node in as_xml(data) if node.attrib["tag"] == "00104000"]
    (back,) = [child.text for child in node] or [""]
    wanted = "".join(one if one >= " " or one in "\t\n\r" else "\ufffd" for one in text.rstrip(" \0"))
    if "\x1b" not in text:
        assert (back or "") == wanted.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


def test_a_creator_cannot_break_out_of_its_attribute() -> None:
    creator = b'A" evil="<&>\n'
    data = part10(SOP + element(0x00090010, "LO", creator + b" ") + element(0x00091001, "LO", b"ok"))
    (node,) = [node for node in as_xml(data) if node.attrib["tag"] == "00090001"]
    assert set(node.attrib) == {"tag", "vr", "privateCreator"}
