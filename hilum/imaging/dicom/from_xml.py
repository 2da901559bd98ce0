"""The Native DICOM Model (PS3.19 section A.1) as the DICOM JSON Model, from which ``from_json`` makes elements."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast
from xml.etree import ElementTree

from hilum.imaging.dicom.problems import Unreadable

MAX_DEPTH: Final = 32
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_NUMERIC: Final = frozenset(["DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"])

Attribute = dict[str, object]


def read_native_model(document: bytes) -> dict[str, object]:
    """One data set of the Native DICOM Model as an object of the DICOM JSON Model; numbers stay texts.

    Raises
    ------
    Unreadable
        It is no such document. One with a document type is refused, for its entities could be made to fill the memory.
    """
    if b"\0" in document or b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise _problem("Metadata in XML is UTF-8 without a document type.")
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - without a document type there are no entities
    except (ElementTree.ParseError, ValueError, LookupError):
        raise _problem("The metadata is not well-formed XML.") from None
    if _name(root) != "NativeDicomModel":
        raise _problem("Metadata in XML is a NativeDicomModel (PS3.19 section A.1).")
    return _data_set(root, 0)


def _data_set(parent: ElementTree.Element, depth: int) -> dict[str, object]:
    if depth > MAX_DEPTH:
        raise _problem("The metadata is nested deeper than any real data set.")
    found: dict[str, object] = {}
    private: list[tuple[int, str, Attribute]] = []
    for child in parent:
        tag, vr = child.get("tag", ""), child.get("vr", "UN")
        if _name(child) != "DicomAttribute" or not _TAG.fullmatch(tag):
            raise _problem("A data set in XML is made of DicomAttribute elements, each with a tag.")
        attribute = _attribute(child, vr, depth)
        creator = child.get("privateCreator")
        if creator and int(tag, 16) & 0x10000 and int(tag, 16) & 0xFF00 == 0:
            private.append((int(tag, 16), creator, attribute))
        else:
            found[tag.upper()] = attribute
    for tag, creator, attribute in private:
        found[f"{_block(found, tag >> 16, creator) << 8 | tag:08X}"] = attribute
    return found


def _block(found: dict[str, object], group: int, creator: str) -> int:
    """The number of the private block that a creator has reserved in a group, or reserves now (PS3.5 section 7.8)."""
    for number in range(0x10, 0x100):
        name = f"{group:04X}{number:04X}"
        taken = cast("Mapping[str, Sequence[object]] | None", found.get(name))
        if taken is None:
            found[name] = {"vr": "LO", "Value": [creator]}
        if taken is None or list(taken.get("Value", ()))[:1] == [creator]:
            return number
    raise _problem("A group has more private creators than there are blocks.")


def _attribute(element: ElementTree.Element, vr: str, depth: int) -> Attribute:
    found: Attribute = {"vr": vr}
    values: list[object] = []
    for child in element:
        name = _name(child)
        if name == "Item":
            values.append(_data_set(child, depth + 1))
        elif name == "BulkData":
            found["BulkDataURI"] = child.get("uri", "")
        elif name == "InlineBinary":
            found["InlineBinary"] = (child.text or "").strip()
        elif name == "PersonName":
            values.append({_name(group): _person(group) for group in child if _name(group) in _GROUPS})
        elif name == "Value":
            text = child.text or ""
            values.append(text.strip() if vr in _NUMERIC else text)
    if values:
        found["Value"] = values
    return found


def _person(group: ElementTree.Element) -> str:
    parts = {_name(part): part.text or "" for part in group}
    return "^".join(parts.get(component, "") for component in _COMPONENTS).rstrip("^")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _problem(sentence: str) -> Unreadable:
    return Unreadable("metadata", sentence)
