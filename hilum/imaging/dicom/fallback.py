"""The same reading as the scanner's, by pydicom: slower and more forgiving, for whatever the fast walk will not decide.
The one place of this room where pydicom parses a whole header; memory and time are bounded and every failure is one
`Unreadable`."""

import io
from array import array
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom import pydicom_setup  # noqa: F401 # pyright: ignore[reportUnusedImport] - before pydicom reads
from hilum.imaging.dicom.elements import Element, Resolver
from hilum.imaging.dicom.problems import Truncated, Unreadable
from hilum.imaging.dicom.source import Source
from hilum.imaging.dicom.values import Value, convert

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_READS: Final = 400_000
_FUNCTIONAL: Final = (
    ("PixelMeasuresSequence",),
    ("PlanePositionSequence",),
    ("PlaneOrientationSequence",),
    ("FrameVOILUTSequence",),
    ("PixelValueTransformationSequence",),
    ("FrameAnatomySequence",),
    ("FrameAnatomySequence", "AnatomicRegionSequence"),
)
_DEFERRED: Final = 64 * 1024
# Representations whose bytes depend on the byte order, with the array type of their width.
_SWAPPED: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), "H"),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), "I"),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), "Q"),
}
_KNOWN: Final = frozenset(vr.decode() for vr in (a.SHORT | a.LONG) - a.UNKNOWN)
_PIXEL_TAGS: Final = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_NESTED_IN: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "AnatomicRegionSequence": (),
    "RadiopharmaceuticalInformationSequence": (),
    "SharedFunctionalGroupsSequence": _FUNCTIONAL,
    "PerFrameFunctionalGroupsSequence": _FUNCTIONAL,
}


class _Reader(io.RawIOBase):
    """A `Source` as the file that pydicom reads: bounded, and remembering whether more was asked than there is."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source: Final = source
        self._position: int = 0
        self._bytes: int = 0
        self._reads: int = 0
        self.overrun: int = 0
        self.problem: Unreadable | Truncated | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._read(size)
        except (Unreadable, Truncated) as problem:
            self.problem = problem  # pydicom turns it into an error of its own in places
            raise

    def _read(self, size: int) -> bytes:
        if size < 0:  # pydicom asks so only for a deflated data set, which it would inflate without bound
            raise Unreadable("unreadable", "The deflated file's meta information is damaged.")
        data = self._source.read(self._position, min(size, MAX_BYTES + 1))
        if len(data) < size:
            self._source.more(self._position + size)
            if self._position > self._source.size or (size == 8 and data):
                self.overrun = self._position + size
        self._position += len(data)
        self._bytes += len(data)
        self._reads += 1
        if self._bytes > MAX_BYTES or self._reads > MAX_READS:
            raise Unreadable("header_too_long", "The header is longer than any real one of its kind.")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        return self._position


@dataclass(frozen=True, slots=True)
class Found:
    """What pydicom found, in the form of the scanner (`hilum.imaging.dicom.scanner.Scan`)."""

    values: dict[str, Value]
    pixel_data: tuple[str, str, int, int | None] | None
    end: int
    transfer_syntax_uid: str
    implicit: bool
    little_endian: bool
    truncated: bool


def read(source: Source, start: int | None) -> Found:
    """Read a header with pydicom.

    Parameters
    ----------
    source : Source
        The file.
    start : int or None
        Where an Explicit VR Little Endian data set begins (an inflated one); None to read the file from its start.

    Raises
    ------
    Unreadable
        When pydicom cannot read it either, or the header is unreasonably long.
    Truncated
        When the source is partial and ends first.
    """
    tags: list[BaseTag | int] = [Tag(keyword) for keyword in (*a.KEYWORDS, *_NESTED_IN)]
    with _guarded(source) as reader:
        return _found(reader, source, *_open(reader, start, tags))


def read_elements(source: Source, start: int | None, *, big_endian: bool = False) -> list[Element]:
    """Every element before Pixel Data, binary values little-endian.

    Parameters and errors as of `read`; ``big_endian`` is for a data set that begins at ``start``.
    """
    with _guarded(source) as reader:
        data_set, _ = _open(reader, start, None, big_endian=big_endian)
        return _elements(data_set)


@contextmanager
def _guarded(source: Source) -> Generator[_Reader]:
    """A reader, and every failure as one error: pydicom raises whatever a damaged file provokes, RecursionError too."""
    reader = _Reader(source)
    try:
        yield reader
    except Exception as error:
        if isinstance(error, (Unreadable, Truncated)) and reader.problem is None:
            raise
        damaged = Unreadable("unreadable", "The header is damaged: neither reader understands it.")
        raise (reader.problem or damaged) from None
    if reader.problem is not None:
        raise reader.problem


def _open(
    reader: _Reader, start: int | None, tags: list[BaseTag | int] | None, *, big_endian: bool = False
) -> tuple[Dataset, Dataset | None]:
    """The data set, and the file meta information when it is there to be read."""
    file = cast(BinaryIO, reader)
    if start is None:
        found = read_partial(file, _at_pixel_data, _DEFERRED if tags else None, force=True, specific_tags=tags)
        return found, found.file_meta
    reader.seek(start)
    size = _DEFERRED if tags else None
    return read_dataset(file, False, not big_endian, None, _at_pixel_data, size, specific_tags=tags), None


def _at_pixel_data(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001
    return tag in _PIXEL_TAGS


def _found(reader: _Reader, source: Source, data_set: Dataset, meta: Dataset | None) -> Found:
    raws = [item for keyword in a.KEYWORDS if isinstance(item := _item(data_set, keyword), RawDataElement)]
    implicit, little = data_set.original_encoding
    if raws:
        implicit, little = raws[0].is_implicit_VR, raws[0].is_little_endian
    cut = any(raw.value is not None and 0 < len(raw.value) < raw.length for raw in raws)
    values = _values(data_set, a.KEYWORDS)
    for keyword, value in _nested_values(data_set).items():
        values.setdefault(keyword, value)
    for keyword in a.META.values():
        value = "" if meta is None else str(meta.get(keyword) or "")
        if value:
            values[keyword] = value.rstrip(" \0")
    end = reader.tell()
    pixel_data = _pixel_data(source, end, implicit=bool(implicit), little_endian=bool(little))
    if not values and pixel_data is None:
        raise Unreadable("unreadable", "The header is damaged: nothing in it can be understood.")
    return Found(
        values=values,
        pixel_data=pixel_data,
        end=min(end, source.size),
        transfer_syntax_uid=str(values.get("TransferSyntaxUID") or _syntax(implicit, little)),
        implicit=bool(implicit),
        little_endian=bool(little),
        truncated=cut or bool(reader.overrun),
    )


def _syntax(implicit: bool | None, little_endian: bool | None) -> str:
    if implicit:
        return a.IMPLICIT_LITTLE
    return a.EXPLICIT_LITTLE if little_endian else a.EXPLICIT_BIG


def _item(data_set: Dataset, keyword: str) -> object:
    tag = Tag(keyword)
    return data_set.get_item(tag) if tag in data_set else None


def _values(data_set: Dataset, keywords: Iterable[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for keyword in keywords:
        raw = _item(data_set, keyword)
        if keyword == "SpecificCharacterSet" and isinstance(raw, DataElement):  # pydicom converts this one as it reads
            text = raw.value if isinstance(raw.value, str) else "\\".join(raw.value or ())
            if text:
                values[keyword] = text
        if not isinstance(raw, RawDataElement) or not raw.value:
            continue
        vr = a.VR_OF[keyword] if raw.VR in (None, "UN") else raw.VR.encode()
        value = convert(vr, raw.value, little_endian=raw.is_little_endian)
        if value is not None:
            values[keyword] = value
    return values


def _nested_values(data_set: Dataset) -> dict[str, Value]:
    """What the first items of the wanted sequences hold."""
    values: dict[str, Value] = {}
    for outer, inner in _NESTED_IN.items():
        for path in ((), *inner):
            part = _first_item(data_set, outer, *path)
            if part is not None:
                for keyword, value in _values(part, a.NESTED_KEYWORDS).items():
                    values.setdefault(keyword, value)
    return values


def _first_item(data_set: Dataset, *path: str) -> Dataset | None:
    """The first item of a sequence, or of one in the first item of that, and so on."""
    item: Dataset | None = data_set
    for keyword in path:
        sequence = None if item is None else item.get(keyword)
        item = sequence[0] if isinstance(sequence, Sequence) and len(sequence) else None
    return item


def _elements(data_set: Dataset) -> list[Element]:
    elements: list[Element] = []
    resolve = Resolver()
    for tag, raw in [(tag, data_set.get_item(tag)) for tag in sorted(data_set.keys())]:  # before any is converted
        if not isinstance(raw, RawDataElement):
            elements.append(_converted(raw))
            continue
        value = raw.value or b""
        vr = raw.VR if raw.VR in _KNOWN else resolve.vr(int(tag))
        if vr == "SQ":
            elements.append(_converted(data_set[tag]))
            continue
        if not raw.is_little_endian:
            value = _swapped(vr, value)
        resolve.note(int(tag), value)
        elements.append(Element(int(tag), vr, value, None))
    return elements


def _converted(element: object) -> Element:
    """An element that pydicom has converted already: a sequence, or Specific Character Set."""
    if not isinstance(element, DataElement):
        raise TypeError("pydicom gave something else than an element")
    if isinstance(element.value, Sequence):
        return Element(int(element.tag), "SQ", b"", [_elements(item) for item in element.value])
    value = element.value if isinstance(element.value, str) else "\\".join(element.value or ())
    return Element(
        int(element.tag), element.VR if element.VR in _KNOWN else "UN", value.encode("latin-1", "replace"), None
    )


def _swapped(vr: str, value: bytes) -> bytes:
    """A big-endian binary value as little-endian; one whose length does not fit stays as it is."""
    code = _SWAPPED.get(vr)
    if code is None:
        return value
    numbers: array[int] = array(code)
    if len(value) % numbers.itemsize:
        return value
    numbers.frombytes(value)
    numbers.byteswap()
    return numbers.tobytes()


def _pixel_data(
    source: Source, position: int, *, implicit: bool, little_endian: bool
) -> tuple[str, str, int, int | None] | None:
    """The Pixel Data element that pydicom stopped at, if it did not stop at the end."""
    field = source.read(position, 12)
    order = "little" if little_endian else "big"
    if len(field) < 8:
        return None
    tag = int.from_bytes(field[:2], order) << 16 | int.from_bytes(field[2:4], order)
    keyword = _PIXEL_TAGS.get(tag)
    if keyword is None:
        return None
    vr = field[4:6].decode("latin-1")
    if implicit or vr not in _KNOWN:
        vr = "OW"
    if implicit:
        start, length = position + 8, int.from_bytes(field[4:8], order)
    elif field[4:6] in a.LONG:
        start, length = position + 12, int.from_bytes(field[8:12], order)
    else:
        start, length = position + 8, int.from_bytes(field[6:8], order)
    return keyword, vr, start, None if length == a.UNDEFINED else length
