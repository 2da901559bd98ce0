"""The header scanner: the attributes that the catalogue keeps, and where Pixel Data lies, in some 50 microseconds a
file and without reading the pixels. At any doubt about the encoding the file goes to pydicom (``fallback``). Whether
what was found is enough to store an instance is for `identity` to say; what it means, for the rooms that call."""

import datetime as dt
import math
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.names import parse_date, parse_time
from hilum.imaging.dicom.problems import NotDicom, Truncated, Unreadable
from hilum.imaging.dicom.scanner import FIRST_WINDOW, WINDOW, Doubt, Scan
from hilum.imaging.dicom.source import Buffer, BufferSource, FileSource, InflatedSource, Source
from hilum.imaging.dicom.uids import check_uid, is_compressed
from hilum.imaging.dicom.values import Value, decode_texts, settle_sign

__all__ = [
    "Header",
    "Identity",
    "NotDicom",
    "PixelData",
    "Truncated",
    "Unreadable",
    "Value",
    "identity",
    "scan",
    "scan_file",
]

_EXPLICIT: Final = struct.Struct("<I2sH").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from
_MAX_META: Final = 1024 * 1024
_PLAUSIBLE: Final = frozenset(
    (
        "SOPInstanceUID",
        "SOPClassUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "PatientName",
    )
)


@dataclass(frozen=True, slots=True)
class PixelData:
    """Where the pixels of a file lie.

    Attributes
    ----------
    keyword : str
        ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
    vr : str
        Value representation, ``OW`` where it is implicit.
    offset : int
        Of the value, in bytes from the start of the file; in a deflated file, of the file it would be without
        deflation (`hilum.imaging.dicom.source.inflated_file`).
    length : int or None
        Of the value in bytes; None when it is undefined.
    encapsulated : bool
        Whether the value is a sequence of fragments (PS3.5 section A.4).
    """

    keyword: str
    vr: str
    offset: int
    length: int | None
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What the catalogue needs of one DICOM file.

    Attributes
    ----------
    transfer_syntax_uid : str
        As the file meta information says; without that, the one of the encoding found.
    values : dict of str to Value
        By DICOM keyword. Text is decoded and without trailing padding, its values still parted by backslashes; binary
        numbers are numbers, or tuples. What is empty or absent in the file is absent here. Slice, orientation, window
        and rescale values of an enhanced multi-frame object are those of its shared or first frame's functional groups.
    pixel_data : PixelData or None
        Where the pixels lie.
    header_length : int
        Offset of the Pixel Data element, or of the end of the data set when there is none.
    data_set_offset : int
        Offset of the first element after the file meta information; 0 when pydicom read it as part of the header.
    implicit_vr, little_endian : bool
        How the data set is really encoded, whatever the transfer syntax says.
    syntax_source : str
        Which reader read it: ``scanner`` or ``pydicom``.
    """

    transfer_syntax_uid: str
    values: dict[str, Value]
    pixel_data: PixelData | None
    header_length: int
    data_set_offset: int
    implicit_vr: bool
    little_endian: bool
    syntax_source: Literal["scanner", "pydicom"]

    @property
    def deflated(self) -> bool:
        """Whether offsets count in the inflated file rather than in the stored one."""
        return self.transfer_syntax_uid in a.DEFLATED

    def text(self, keyword: str) -> str:
        """The whole value as text, several values parted by backslashes; empty when absent."""
        value = self.values.get(keyword, "")
        if isinstance(value, str):
            return value
        return "\\".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def strings(self, keyword: str) -> list[str]:
        """Each of the values as text without padding; empty when absent."""
        value = self.text(keyword)
        return [part.strip(" \0") for part in value.split("\\")] if value else []

    def first(self, keyword: str) -> str:
        """The first value as text without padding; empty when absent."""
        return self.text(keyword).partition("\\")[0].strip(" \0")

    def floats(self, keyword: str) -> tuple[float, ...]:
        """All values as numbers; empty when absent or when one of them is no finite number."""
        found = [_float(part) for part in self.strings(keyword)]
        return tuple(number for number in found if number is not None) if None not in found else ()

    def number(self, keyword: str) -> float | None:
        """The first value as a finite number (DS, IS or binary), or None."""
        return _float(self.first(keyword))

    def integer(self, keyword: str) -> int | None:
        """The first value as a whole number, or None."""
        number = self.number(keyword)
        return int(number) if number is not None and number.is_integer() and abs(number) < 1 << 53 else None

    def date(self, keyword: str) -> dt.date | None:
        """The first value as a date (DA), or None."""
        return parse_date(self.first(keyword))

    def time(self, keyword: str) -> dt.time | None:
        """The first value as a time of day (TM), or None."""
        return parse_time(self.first(keyword))


@dataclass(frozen=True, slots=True)
class Identity:
    """The four UIDs that make an instance (PS3.3 C.7.2.1, C.7.3.1, C.12.1), each checked."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


_IDENTITY: Final = (
    ("StudyInstanceUID", "no_study_instance_uid"),
    ("SeriesInstanceUID", "no_series_instance_uid"),
    ("SOPInstanceUID", "no_sop_instance_uid"),
    ("SOPClassUID", "no_sop_class_uid"),
)


def identity(header: Header) -> Identity:
    """The identity of an instance.

    Raises
    ------
    Unreadable
        When one of the four UIDs is absent (code ``no_study_instance_uid`` and so on) or is no UID (``invalid_uid``).
    """
    found: list[str] = []
    for keyword, code in _IDENTITY:
        uid = header.first(keyword)
        if not uid:
            raise Unreadable(code, f"The file has no {keyword}, so it cannot be stored as an instance.")
        if not check_uid(uid):
            raise Unreadable("invalid_uid", f"The file's {keyword} is not a valid UID.")
        found.append(uid)
    return Identity(*found)


def scan(data: Buffer, size: int | None = None) -> Header:
    """Read the header of a file of which at least the start is in memory.

    Parameters
    ----------
    data : bytes-like
        The file, or its first bytes.
    size : int, optional
        Size of the whole file in bytes, when ``data`` is not all of it.

    Raises
    ------
    Truncated
        When ``data`` ends before the header does but the file does not: offer more.
    NotDicom
        When the file is empty or no DICOM at all.
    Unreadable
        When the file is DICOM but damaged.
    """
    return _scan(BufferSource(data, size))


def scan_file(file: BinaryIO) -> Header:
    """Read the header of a seekable file, and no more of the file than that takes.

    Raises
    ------
    NotDicom, Unreadable
        As `scan`.
    """
    return _scan(FileSource(file))


def _scan(source: Source) -> Header:
    window = source.read(0, FIRST_WINDOW)
    if not window:
        source.more(0)
        raise NotDicom("empty", "The file is empty.")
    part10 = window[128:132] == b"DICM"
    if not part10:
        if len(window) < 132:
            source.more(132)
        if not _plausible_start(window):
            raise NotDicom("not_dicom", "The file is not DICOM: it has neither the DICM mark nor a data set's start.")
    try:
        header = _fast(source, window, 132 if part10 else 0)
    except Doubt as doubt:
        header = _slow(source, None, {}, doubt)
    if not part10 and _PLAUSIBLE.isdisjoint(header.values):
        raise NotDicom("not_dicom", "The file is not DICOM: nothing in it names an instance, a study or a patient.")
    return header


def _plausible_start(window: bytes) -> bool:
    """Whether bytes without the DICM mark may be a data set: it would begin with group 0002 or 0008, low elements."""
    if len(window) < 8:
        return False
    tag, vr = window[:4], window[4:6]
    explicit = vr in a.SHORT or vr in a.LONG
    if tag[:2] in (b"\x02\x00", b"\x08\x00") and tag[3] == 0:
        return explicit or (tag[2] <= 0x60 and int.from_bytes(window[4:8], "little") <= 256)
    return tag[:3] == b"\x00\x08\x00" and explicit


def _fast(source: Source, window: bytes, start: int) -> Header:
    """The scanner's way: file meta information, then one walk."""
    meta, start, window = _meta(source, window, start)
    syntax = meta.get("TransferSyntaxUID")
    if isinstance(syntax, str) and syntax in a.DEFLATED:
        inflated = InflatedSource(source, start)
        try:
            return _walked(inflated, inflated.read(start, WINDOW), start, start, meta, syntax)
        except Doubt as doubt:
            return _slow(inflated, start, meta, doubt)
    vr = window[start + 4 : start + 6]
    explicit = vr in a.SHORT or vr in a.LONG
    if syntax is None:
        syntax = a.EXPLICIT_LITTLE if explicit else a.IMPLICIT_LITTLE
        if window[start : start + 1] == b"\0":  # big endian, most likely
            raise Doubt
    if not isinstance(syntax, str) or (explicit and syntax in a.IMPLICIT):
        raise Doubt
    if syntax == a.EXPLICIT_BIG and not (explicit and window[start : start + 1] != b"\0"):
        raise Doubt  # but what claims to be big endian and begins with a little-endian tag is read as that
    return _walked(source, window, 0, start, meta, syntax)


def _meta(source: Source, window: bytes, position: int) -> tuple[dict[str, Value], int, bytes]:
    """The wanted values of group 0002 (PS3.10 section 7.1), where it ends, and the window that it was found in."""
    meta: dict[str, Value] = {}
    begin, limit = position, len(window)
    while True:
        if limit < position + 12 and limit < min(source.size, _MAX_META):  # rare: private information makes it long
            window = source.read(0, _MAX_META)
            if len(window) <= limit:
                source.more(position + 12)
            meta, position, limit = {}, begin, len(window)
        try:
            raw, vr, length = _EXPLICIT(window, position)
            if raw & 0xFFFF != 2:
                return meta, position, window
            start = position + 8
            if vr in a.LONG:
                (length,) = _LENGTH(window, position + 8)
                start = position + 12
            elif vr not in a.SHORT:
                raise Doubt
        except struct.error:
            if limit == position == source.size:
                return meta, position, window
            raise Doubt(cut=position + 12 > source.size) from None
        keyword = a.META.get(raw)
        position = start + length
        if keyword is not None and position <= limit:
            value = window[start:position].decode("latin-1").strip(" \0")
            if value:
                meta[keyword] = value


def _walked(source: Source, window: bytes, base: int, start: int, meta: dict[str, Value], syntax: str) -> Header:
    implicit = syntax in a.IMPLICIT
    walk = Scan(source, start, implicit=implicit)
    walk.run(window, base)
    values = walk.values
    for keyword, value in walk.nested.items():
        values.setdefault(keyword, value)
    decode_texts(values)
    settle_sign(values, declared=not implicit)
    values.update(meta)
    return Header(
        transfer_syntax_uid=syntax,
        values=values,
        pixel_data=_pixel_data(walk.pixel_data, syntax),
        header_length=walk.end,
        data_set_offset=start,
        implicit_vr=implicit,
        little_endian=True,
        syntax_source="scanner",
    )


def _slow(source: Source, start: int | None, meta: dict[str, Value], doubt: Doubt) -> Header:
    """pydicom's way; of an inflated data set, which has no file meta information, that which was read before."""
    from hilum.imaging.dicom import fallback

    truncated = Unreadable("truncated", "The file ends inside its header.")
    try:
        found = fallback.read(source, start)
    except Unreadable as problem:
        raise truncated if doubt.cut and problem.code == "unreadable" else problem from None
    if found.truncated:
        raise truncated
    decode_texts(found.values)
    settle_sign(found.values, declared=not found.implicit)
    values = {**found.values, **meta}
    syntax = str(values.get("TransferSyntaxUID", found.transfer_syntax_uid))
    return Header(
        transfer_syntax_uid=syntax,
        values=values,
        pixel_data=_pixel_data(found.pixel_data, syntax),
        header_length=found.end,
        data_set_offset=start or 0,
        implicit_vr=found.implicit,
        little_endian=found.little_endian,
        syntax_source="pydicom",
    )


def _pixel_data(found: tuple[str, str, int, int | None] | None, syntax: str) -> PixelData | None:
    if found is None:
        return None
    keyword, vr, offset, length = found
    return PixelData(keyword, vr, offset, length, encapsulated=length is None or is_compressed(syntax))


def _float(text: str) -> float | None:
    if not text or len(text) > 64 or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
