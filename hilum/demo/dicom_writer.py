"""Writing DICOM files from plain headers: what a series shares is encoded once, each instance adds its own elements and
its pixels in the transfer syntax asked for. Equal headers and pixels give equal bytes."""

import math
import struct
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import cast

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import charset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence as DicomSequence

Header = dict[str, object]
Pixels = NDArray[np.integer]

NAMESPACE = uuid.UUID("8f3a2f8e-6f0b-4c1a-9d55-0a7d3c1e5b42")
IMPLEMENTATION_UID = f"2.25.{uuid.uuid5(NAMESPACE, 'hilum demo writer').int}"

SYNTAXES: dict[str, str] = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big_endian": "1.2.840.10008.1.2.2",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_ls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "rle": "1.2.840.10008.1.2.5",
}
_NATIVE = ("implicit", "explicit", "deflated", "big_endian")
_PLAIN = frozenset({"AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"})
_PIXEL_DATA, _NUMBER_OF_FRAMES = 0x7FE00010, 0x00280008


def uid(*parts: str) -> str:
    """A UID below 2.25 that depends on the words only (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(parts)).int}"


def to_dataset(header: Mapping[str, object]) -> Dataset:
    """A header of keywords as a data set; lists of headers become sequences, None an empty value."""
    dataset = Dataset()
    for keyword, value in header.items():
        if isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[object]", value)):
            items = cast("list[Header]", value)
            setattr(dataset, keyword, DicomSequence([to_dataset(item) for item in items]))
        else:
            setattr(dataset, keyword, value)
    return dataset


@dataclass(frozen=True, slots=True)
class _Form:
    """How elements are written."""

    implicit: bool
    little: bool


@cache
def _known(keyword: str) -> tuple[int, str]:
    """Tag and value representation of a keyword."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    return int(tag), dictionary_VR(tag)


def _encode(header: Mapping[str, object], form: _Form, encodings: Sequence[str]) -> dict[int, bytes]:
    """Each element of the header as bytes, by tag."""
    encoded: dict[int, bytes] = {}
    rest: Header = {}
    for keyword, value in header.items():
        tag, vr = _known(keyword)
        if vr in _PLAIN and value is not None:
            encoded[tag] = _plain_element(tag, vr, value, form)
        else:
            rest[keyword] = value
    for element in to_dataset(rest):
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = form.implicit, form.little
        write_data_element(buffer, element, list(encodings))
        encoded[int(element.tag)] = buffer.getvalue()
    return encoded


def _plain_element(tag: int, vr: str, value: object, form: _Form) -> bytes:
    """An element of a VR that is written in ASCII: most of what differs between the images of a series (PS3.5 7.1)."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    text = "\\".join(f"{item:.10g}" if isinstance(item, float) else str(item) for item in values).encode("ascii")
    if len(text) % 2:
        text += b"\0" if vr == "UI" else b" "
    order = "<" if form.little else ">"
    if form.implicit:
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, len(text)) + text
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(text)) + text


class SeriesWriter:
    """Writes the instances of one series.

    Parameters
    ----------
    shared : header all instances have; SpecificCharacterSet in it decides how text is encoded
    syntax : a key of `SYNTAXES`
    offset_table : whether encapsulated pixels get a filled Basic Offset Table (PS3.5 A.4)
    """

    def __init__(self, shared: Header, syntax: str, offset_table: bool = True) -> None:
        self.syntax, self.offset_table = syntax, offset_table
        self.form = _Form(implicit=syntax == "implicit", little=syntax != "big_endian")
        self.encodings = charset.convert_encodings(
            cast("str | list[str]", shared.get("SpecificCharacterSet", "ISO_IR 6"))
        )
        self.shared = _encode(shared, self.form, self.encodings)
        self.meta = _encode(
            {
                "FileMetaInformationVersion": b"\x00\x01",
                "MediaStorageSOPClassUID": shared["SOPClassUID"],
                "TransferSyntaxUID": SYNTAXES[syntax],
                "ImplementationClassUID": IMPLEMENTATION_UID,
                "ImplementationVersionName": "HILUM_DEMO_1",
            },
            _Form(implicit=False, little=True),
            self.encodings,
        )

    def file(self, header: Header, pixels: Pixels) -> bytes:
        """One Part 10 file; `pixels` is (rows, columns[, 3]) or has frames in front.

        The header must hold SOPInstanceUID; NumberOfFrames where there are frames.
        """
        elements = self.shared | _encode(header, self.form, self.encodings)
        frames = pixels if _NUMBER_OF_FRAMES in elements else pixels[None]
        elements[_PIXEL_DATA] = self._pixel_element(frames)
        body = b"".join(elements[tag] for tag in sorted(elements))
        if self.syntax == "deflated":
            packer = zlib.compressobj(1, zlib.DEFLATED, -15)
            body = packer.compress(body) + packer.flush()
            body += b"\0" * (len(body) % 2)
        meta = self.meta | _encode(
            {"MediaStorageSOPInstanceUID": header["SOPInstanceUID"]}, _Form(implicit=False, little=True), self.encodings
        )
        group = b"".join(meta[tag] for tag in sorted(meta))
        length = b"\x02\x00\x00\x00UL\x04\x00" + len(group).to_bytes(4, "little")
        return b"\0" * 128 + b"DICM" + length + group + body

    def _pixel_element(self, frames: Pixels) -> bytes:
        if self.syntax in _NATIVE:
            raw = np.ascontiguousarray(frames, frames.dtype.newbyteorder("<" if self.form.little else ">")).tobytes()
            raw += b"\0" * (len(raw) % 2)
            order = "little" if self.form.little else "big"
            tag = b"\xe0\x7f\x10\x00" if self.form.little else b"\x7f\xe0\x00\x10"
            # Big endian: OW is swapped word by word, so 8-bit samples go as OB.
            kind = b"OB\0\0" if frames.dtype.itemsize == 1 else b"OW\0\0"
            return tag + (b"" if self.form.implicit else kind) + len(raw).to_bytes(4, order) + raw
        return _encapsulate([encode_frame(frame, self.syntax) for frame in frames], self.offset_table)


def encode_frame(frame: Pixels, syntax: str) -> bytes:
    """One frame (rows, columns[, 3]) as the code stream of an encapsulated transfer syntax.

    Colour goes in as RGB; ``jpeg``, for colour only, stores it as YBR_FULL_422, ``jpeg2000`` as YBR_RCT.
    """
    return bytes(_code_stream(np.ascontiguousarray(frame), syntax))


def _code_stream(frame: Pixels, syntax: str) -> bytes | bytearray:
    if syntax == "jpeg":
        return imagecodecs.jpeg8_encode(frame, level=90, colorspace="RGB", outcolorspace="YCBCR", subsampling="422")
    if syntax == "rle":
        return _rle(frame)
    if frame.dtype == np.int16 and syntax in ("jpeg_lossless", "jpeg_ls"):
        frame = frame.view(np.uint16)
    if syntax == "jpeg_lossless":
        bits = 16 if frame.dtype.itemsize == 2 else 8
        return imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=bits)
    if syntax == "jpeg_ls":
        return imagecodecs.jpegls_encode(frame)
    if syntax == "htj2k":
        return imagecodecs.htj2k_encode(frame, reversible=True)
    return imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True)


def _encapsulate(streams: Sequence[bytes], offset_table: bool) -> bytes:
    padded = [stream + b"\0" * (len(stream) % 2) for stream in streams]
    offsets, place = BytesIO(), 0
    for stream in padded:
        offsets.write(place.to_bytes(4, "little"))
        place += len(stream) + 8
    table = offsets.getvalue() if offset_table else b""
    item = b"\xfe\xff\x00\xe0"
    parts = [b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff", item, len(table).to_bytes(4, "little"), table]
    for stream in padded:
        parts += [item, len(stream).to_bytes(4, "little"), stream]
    return b"".join([*parts, b"\xfe\xff\xdd\xe0\0\0\0\0"])


def _rle(frame: Pixels) -> bytes:
    """One frame as RLE segments, the most significant byte of a sample first (PS3.5 G)."""
    planes = [frame] if frame.ndim == 2 else [frame[..., channel] for channel in range(frame.shape[2])]
    segments: list[bytes] = []
    for plane in planes:
        octets = np.ascontiguousarray(plane, plane.dtype.newbyteorder(">")).view(np.uint8)
        octets = octets.reshape(*plane.shape, plane.dtype.itemsize)
        for octet in range(plane.dtype.itemsize):
            coded = _packbits(octets[:, :, octet])
            segments.append(coded + b"\0" * (len(coded) % 2))
    places = np.zeros(16, "<u4")
    places[0] = len(segments)
    places[1 : 1 + len(segments)] = 64 + np.cumsum([0, *(len(segment) for segment in segments[:-1])])
    return places.tobytes() + b"".join(segments)


def _packbits(plane: NDArray[np.uint8]) -> bytes:
    """PackBits of (rows, columns) bytes; each row is cut into equal pieces, a piece of one value becomes a run."""
    size = math.gcd(plane.shape[1], 32)
    pieces = plane.reshape(-1, size)
    even = (pieces == pieces[:, :1]).all(axis=1)
    coded = np.empty((len(pieces), size + 1), np.uint8)
    coded[:, 0] = np.where(even & (size > 1), 257 - size, size - 1)
    coded[:, 1:] = pieces
    kept = np.ones(coded.shape, np.bool_)
    kept[even, 2:] = False
    return coded[kept].tobytes()
