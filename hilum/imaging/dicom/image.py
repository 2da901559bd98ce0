"""What decoding and showing a frame need to know of its image, gathered from the header and, for an enhanced object,
from the functional groups of that very frame. Finding the frame is for ``frames``, decoding it for ``pixels``."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dicom_json import read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.lut import Lut, Palette, read_lut, read_palette
from hilum.imaging.dicom.problems import Unreadable

MAX_BYTES: Final = 512 * 1024 * 1024
"""No decoded frame is larger; what claims to be, is refused before decoding."""

PALETTE: Final = "PALETTE COLOR"
FLOAT_BITS: Final = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}

_MONOCHROME: Final = frozenset(("MONOCHROME1", "MONOCHROME2", ""))
_COLOUR: Final = frozenset(
    ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "XYB")
)
_MAX_ICC: Final = 4 * 1024 * 1024

_SHARED: Final = 0x52009229
_PER_FRAME: Final = 0x52009230
# Pixel Measures, Frame VOI LUT, Pixel Value Transformation (PS3.3 C.7.6.16.2.1, .10, .9).
_GROUPS: Final = frozenset((0x00289110, 0x00289132, 0x00289145))
_OPTICAL_PATHS: Final = 0x00480105
_ICC: Final = 0x00282000
_CENTER, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION = 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056
_MODALITY_LUT, _VOI_LUT = 0x00283000, 0x00283010
_SHAPE: Final = 0x20500020
_SIZES: Final = (0x00280030, 0x00181164, 0x00280034)  # Pixel Spacing, Imager Pixel Spacing, Pixel Aspect Ratio
_NUMBERS: Final = {vr.decode(): struct.Struct("<" + code) for vr, code in a.NUMBER_FORMATS.items()}


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """One frame's image (PS3.3 C.7.6.3, C.11.1, C.11.2).

    Attributes
    ----------
    padding : tuple of float or None
        Lowest and highest stored value that mean "no image here".
    modality_lut : Lut or None
        Stands in the place of slope and intercept where the file has it.
    windows : tuple of (float, float)
        The file's own window centers and widths, in values after rescale.
    voi_lut : Lut or None
        The file's first VOI lookup table, for values after rescale.
    inverse : bool
        Whether low values are shown white: MONOCHROME1, or Presentation LUT Shape INVERSE.
    aspect : float
        Height of a pixel over its width.
    icc : bytes
        The ICC profile of a colour image; empty when there is none.
    """

    transfer_syntax_uid: str
    keyword: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    windows: tuple[tuple[float, float], ...] = ()
    voi_function: str = "LINEAR"
    voi_lut: Lut | None = None
    inverse: bool = False
    padding: tuple[float, float] | None = None
    aspect: float = 1.0
    palette: Palette | None = None
    icc: bytes = b""

    @property
    def colour(self) -> bool:
        """Whether `pixels.decode_frame` gives red, green and blue."""
        return self.samples == 3 or self.photometric == PALETTE


def describe(file: BinaryIO, header: Header, frame: int = 0) -> ImageDescription:
    """Describe a frame of a file; nothing behind its header is read.

    Parameters
    ----------
    file : BinaryIO
        The file, seekable, inflated if it was deflated.
    header : Header
        Its header.
    frame : int
        Which frame, from 0: its own functional groups go before the shared ones, and these before the image's.

    Raises
    ------
    Unreadable
        When there is no image, it is larger than 512 MiB a frame, or of a kind that cannot be decoded.
    """
    image = describe_samples(header)
    found = _elements(read_tree(read_data_set(file, header), header), frame)
    slope, intercept = _first(found.get(_SLOPE)) or 1.0, _first(found.get(_INTERCEPT)) or 0.0
    modality_lut = read_lut(found.get(_MODALITY_LUT), signed=image.signed)
    signed_values = modality_lut is None and (image.signed or intercept < 0)
    centers, widths = _numbers(found.get(_CENTER)), _numbers(found.get(_WIDTH))
    return ImageDescription(
        **{name: getattr(image, name) for name in _SAMPLES},
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        windows=tuple((center, width) for center, width in zip(centers, widths, strict=False) if width > 0),
        voi_function=_text(found.get(_FUNCTION)) or "LINEAR",
        voi_lut=read_lut(found.get(_VOI_LUT), signed=signed_values),
        inverse=image.photometric == "MONOCHROME1" or _text(found.get(_SHAPE)) == "INVERSE",
        padding=_padding(header),
        aspect=_aspect(found),
        palette=read_palette(found, signed=image.signed) if image.photometric == PALETTE else None,
        icc=_icc(found) if image.colour else b"",
    )


_SAMPLES: Final = (
    "transfer_syntax_uid", "keyword", "rows", "columns", "samples", "bits_allocated", "bits_stored", "high_bit",
    "signed", "photometric", "planar",
)  # fmt: skip


def describe_samples(header: Header) -> ImageDescription:
    """Describe how the samples of a file lie, from its header alone: enough to decode, not to show.

    Raises
    ------
    Unreadable
        As `describe`.
    """
    if header.pixel_data is None:
        raise Unreadable("no_pixel_data", "The instance has no pixel data.")
    keyword = header.pixel_data.keyword
    bits = header.integer("BitsAllocated") or FLOAT_BITS.get(keyword, 8)
    stored = header.integer("BitsStored") or bits
    if not 0 < stored <= bits:
        stored = bits
    high = header.integer("HighBit")
    image = ImageDescription(
        transfer_syntax_uid=header.transfer_syntax_uid,
        keyword=keyword,
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        samples=header.integer("SamplesPerPixel") or 1,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=high if high is not None and stored <= high < bits else stored - 1,
        signed=header.integer("PixelRepresentation") == 1,
        photometric=header.first("PhotometricInterpretation").upper(),
        planar=header.integer("PlanarConfiguration") == 1,
    )
    check(image)
    return image


def check(image: ImageDescription) -> None:
    """Refuse, before anything is decoded, what is no image, too large, or of a kind that cannot be decoded.

    Raises
    ------
    Unreadable
        With the reason.
    """
    samples, bits = image.rows * image.columns * image.samples, image.bits_allocated
    floats = FLOAT_BITS.get(image.keyword)
    if samples <= 0 or not (1 <= bits <= 16 or bits in (32, 64)) or floats not in (None, bits):
        raise Unreadable("pixels", "The header does not describe an image (Rows, Columns, Bits Allocated).")
    if samples * -(-bits // 8) > MAX_BYTES:
        raise Unreadable("pixels", f"A frame is larger than the {MAX_BYTES >> 20} MiB that are decoded.")
    allowed = _COLOUR if image.samples == 3 else _MONOCHROME | {PALETTE} if image.samples == 1 else ()
    if image.photometric not in allowed:
        raise Unreadable("pixels", "Images of this photometric interpretation and samples per pixel are not decoded.")


def _elements(tree: list[Element], frame: int) -> Mapping[int, Element]:
    """The elements that hold for a frame, by tag: those of its functional groups in the place of the image's."""
    found = {element.tag: element for element in tree}
    for tag, index in ((_SHARED, 0), (_PER_FRAME, frame)):
        sequence = found.get(tag)
        if sequence is None or not sequence.items or not 0 <= index < len(sequence.items):
            continue
        for group in sequence.items[index]:
            if group.tag in _GROUPS and group.items:
                found.update((element.tag, element) for element in group.items[0])
    return found


def _text(element: Element | None) -> str:
    """The first value of a code string."""
    return "" if element is None else element.value.decode("latin-1").partition("\\")[0].strip(" \0").upper()


def _numbers(element: Element | None) -> tuple[float, ...]:
    """All values as numbers, of text or binary; empty when one of them is no finite number."""
    if element is None or not element.value:
        return ()
    one = _NUMBERS.get(element.vr)
    try:
        if one is not None:
            found = [float(number) for (number,) in one.iter_unpack(element.value)]
        else:
            found = [float(part) for part in element.value.decode("latin-1").strip(" \0").split("\\")]
    except (ValueError, struct.error):
        return ()
    return tuple(found) if all(map(math.isfinite, found)) else ()


def _first(element: Element | None) -> float | None:
    numbers = _numbers(element)
    return numbers[0] if numbers else None


def _padding(header: Header) -> tuple[float, float] | None:
    """Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2), in either order."""
    value, limit = header.number("PixelPaddingValue"), header.number("PixelPaddingRangeLimit")
    if value is None:
        return None
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _aspect(found: Mapping[int, Element]) -> float:
    for tag in _SIZES:
        sizes = _numbers(found.get(tag))
        if len(sizes) == 2 and sizes[0] > 0 and sizes[1] > 0:
            return min(max(sizes[0] / sizes[1], 0.01), 100.0)
    return 1.0


def _icc(found: Mapping[int, Element]) -> bytes:
    """The ICC profile (PS3.3 C.11.15), of a slide that of its first optical path; what is none is left out."""
    profile = found.get(_ICC)
    paths = found.get(_OPTICAL_PATHS)
    if profile is None and paths is not None and paths.items:
        profile = next((element for element in paths.items[0] if element.tag == _ICC), None)
    if profile is None or not 128 < len(profile.value) <= _MAX_ICC or profile.value[36:40] != b"acsp":
        return b""
    size = int.from_bytes(profile.value[:4], "big")
    return profile.value[:size] if 128 < size <= len(profile.value) else b""
