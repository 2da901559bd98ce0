"""Elements to bytes in Explicit VR Little Endian, or on request in Implicit VR (PS3.5 section 7.1, PS3.10 section 7.1).
What is written is for ``explicit`` and ``transcode`` to say."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header

IMPLEMENTATION_CLASS_UID: Final = "2.25.120353406281467106293786482130571986021"
IMPLEMENTATION_VERSION: Final = "HILUM"
UNDEFINED: Final = 0xFFFFFFFF

_LONG: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))


def file_start(header: Header, transfer_syntax_uid: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 section 7.1) of a file that Hilum writes anew."""
    sop_class = header.first("SOPClassUID") or header.first("MediaStorageSOPClassUID")
    sop_instance = header.first("SOPInstanceUID") or header.first("MediaStorageSOPInstanceUID")
    return meta_information(sop_class, sop_instance, transfer_syntax_uid)


def meta_information(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """Preamble and File Meta Information (PS3.10 section 7.1) of an instance; ``source_ae_title`` is who sent it."""
    told = [
        Element(0x00020001, "OB", b"\0\1", None),
        _uid(0x00020002, sop_class_uid),
        _uid(0x00020003, sop_instance_uid),
        _uid(0x00020010, transfer_syntax_uid),
        _uid(0x00020012, IMPLEMENTATION_CLASS_UID),
        Element(0x00020013, "SH", IMPLEMENTATION_VERSION.encode(), None),
    ]
    if source_ae_title:
        told.append(Element(0x00020016, "AE", source_ae_title.encode("ascii", "replace"), None))
    elements = b"".join(element_bytes(told))
    length = element_start(0x00020000, "UL", 4) + struct.pack("<I", len(elements))
    return bytes(128) + b"DICM" + length + elements


def element_bytes(elements: Iterable[Element], *, implicit: bool = False) -> Iterator[bytes]:
    """A data set, or an item's, in pieces; group lengths, which are retired and would be wrong, are left out."""
    for tag, vr, value, items in elements:
        if tag & 0xFFFF == 0:
            continue
        if items is not None:
            yield element_start(tag, "SQ", UNDEFINED, implicit=implicit)
            for item in items:
                yield struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
                yield from element_bytes(item, implicit=implicit)
                yield struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
            yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            continue
        padding = (b"\0" if vr in _LONG - {"UC", "UR", "UT"} or vr == "UI" else b" ") * (len(value) % 2)
        # What is too long for a short length field is written as PS3.5 section 6.2.2 (note 3) says: as UN.
        fitting = vr if vr in _LONG or len(value) + len(padding) <= 0xFFFF else "UN"
        yield element_start(tag, fitting, len(value) + len(padding), implicit=implicit)
        yield value
        yield padding


def element_start(tag: int, vr: str, length: int, *, implicit: bool = False) -> bytes:
    """What stands before a value: tag, value representation unless it is implicit, length in bytes."""
    if implicit:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
    code = vr.encode("ascii")
    if vr in _LONG:
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, code, 0, length)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)


def _uid(tag: int, uid: str) -> Element:
    return Element(tag, "UI", uid.encode("ascii"), None)
