"""Frames to arrays of stored values or of red, green and blue. Showing them (windows, PNG, thumbnails) is done by
``render``, finding them in the file by ``frames``. Everything is bounded by the header before a decoder runs."""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.codestream import CodeStream, read_code_stream
from hilum.imaging.dicom.dicom_json import read_data_set, read_tree
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.uids import is_compressed, is_video, uid_name

MAX_BYTES: Final = 512 * 1024 * 1024
"""No decoded frame is larger; what claims to be, is refused before decoding."""

Pixels = NDArray[np.integer | np.floating]
_Number = TypeVar("_Number", bound=np.integer | np.floating)

_RLE: Final = "1.2.840.10008.1.2.5"
_END_OF_IMAGE: Final = b"\xff\xd9"
_ENCAPSULATED_NATIVE: Final = "1.2.840.10008.1.2.1.98"
_FLOATS: Final = {"FloatPixelData": np.dtype("<f4"), "DoubleFloatPixelData": np.dtype("<f8")}
_MONOCHROME: Final = frozenset(("MONOCHROME1", "MONOCHROME2", ""))
_PALETTE: Final = "PALETTE COLOR"
_COLOUR: Final = frozenset(
    ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT")
)


@dataclass(frozen=True, slots=True)
class Palette:
    """A palette (PS3.3 C.7.6.3.1.6): 8-bit ``colours`` of shape (entries, 3), the first for stored value ``first``."""

    first: int
    colours: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ImageDescription:
    """What decoding and showing a frame need to know of its image (PS3.3 C.7.6.3, C.11.1, C.11.2).

    Attributes
    ----------
    padding : tuple of float or None
        Lowest and highest stored value that mean "no image here".
    windows : tuple of (float, float)
        The file's own window centers and widths, in values after rescale.
    aspect : float
        Height of a pixel over its width.
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
    slope: float
    intercept: float
    windows: tuple[tuple[float, float], ...]
    voi_function: str
    padding: tuple[float, float] | None
    aspect: float
    palette: Palette | None

    @property
    def colour(self) -> bool:
        """Whether `decode_frame` gives red, green and blue."""
        return self.samples == 3 or self.photometric == _PALETTE


def describe(file: BinaryIO, header: Header) -> ImageDescription:
    """Describe the image of a file; only for a palette is more of the file read than its header.

    Raises
    ------
    Unreadable
        When there is no image, it is larger than 512 MiB a frame, or of a kind that cannot be decoded.
    """
    if header.pixel_data is None:
        raise Unreadable("no_pixel_data", "The instance has no pixel data.")
    keyword = header.pixel_data.keyword
    bits = header.integer("BitsAllocated") or _FLOATS.get(keyword, np.dtype("u1")).itemsize * 8
    stored = header.integer("BitsStored") or bits
    if not 0 < stored <= bits:
        stored = bits
    high = header.integer("HighBit")
    photometric = header.first("PhotometricInterpretation").upper()
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
        photometric=photometric,
        planar=header.integer("PlanarConfiguration") == 1,
        slope=header.number("RescaleSlope") or 1.0,
        intercept=header.number("RescaleIntercept") or 0.0,
        windows=_windows(header),
        voi_function=header.first("VOILUTFunction").upper() or "LINEAR",
        padding=_padding(header),
        aspect=_aspect(header),
        palette=_palette(file, header) if photometric == _PALETTE else None,
    )
    _check(image)
    return image


def decode_frame(frame: bytes, image: ImageDescription) -> Pixels:
    """Decode one frame as `frames.read_frame` gives it.

    Returns
    -------
    ndarray
        Stored values of shape (rows, columns), bits above Bits Stored masked or sign-extended, without modality
        rescale; for colour, red, green and blue of shape (rows, columns, 3), palettes applied (8 bits).

    Raises
    ------
    Unreadable
        When the frame is damaged, cut short, of another size than the header says, or of an unknown kind.
    """
    _check(image)
    syntax = image.transfer_syntax_uid
    if is_video(syntax):
        raise Unreadable("pixels", f"Video ({uid_name(syntax)}) is not decoded.")
    if not is_compressed(syntax) or syntax == _ENCAPSULATED_NATIVE:
        pixels, photometric = _native(frame, image), image.photometric
    elif syntax == _RLE:
        pixels, photometric = _rle(frame, image), image.photometric
    else:
        pixels, photometric = _code_stream(frame, image)
    if pixels.dtype.kind == "f":
        return pixels
    pixels = _stored(pixels, image)
    if image.palette is not None:
        return _coloured(pixels, image.palette)
    return _rgb(pixels, photometric, image.bits_stored)


def _check(image: ImageDescription) -> None:
    samples = image.rows * image.columns * image.samples
    if samples <= 0 or image.bits_allocated not in (1, 8, 16, 32, 64):
        raise Unreadable("pixels", "The header does not describe an image (Rows, Columns, Bits Allocated).")
    if samples * max(image.bits_allocated, 8) // 8 > MAX_BYTES:
        raise Unreadable("pixels", f"A frame is larger than the {MAX_BYTES >> 20} MiB that are decoded.")
    allowed = _COLOUR if image.samples == 3 else _MONOCHROME | {_PALETTE} if image.samples == 1 else ()
    if image.photometric not in allowed:
        raise Unreadable("pixels", "Images of this photometric interpretation and samples per pixel are not decoded.")


def _native(frame: bytes, image: ImageDescription) -> Pixels:
    shape = (image.rows, image.columns)
    if image.keyword in _FLOATS:
        return _array(frame, _FLOATS[image.keyword], image.rows * image.columns).reshape(shape)
    if image.bits_allocated == 1:
        packed = _array(frame, np.dtype(np.uint8), (image.rows * image.columns * image.samples + 7) // 8)
        return np.unpackbits(packed, count=image.rows * image.columns, bitorder="little").reshape(shape)
    dtype = np.dtype(f"<u{image.bits_allocated // 8}")
    if image.samples == 1:
        return _array(frame, dtype, image.rows * image.columns).reshape(shape)
    if image.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        return _upsampled(_array(frame, dtype, 2 * image.rows * image.columns), image)
    if image.photometric == "YBR_PARTIAL_420":
        raise Unreadable("pixels", "Uncompressed YBR_PARTIAL_420 images are not decoded.")
    values = _array(frame, dtype, 3 * image.rows * image.columns)
    return values.reshape(3, *shape).transpose(1, 2, 0) if image.planar else values.reshape(*shape, 3)


def _array(frame: bytes, dtype: np.dtype[_Number], count: int) -> NDArray[_Number]:
    if len(frame) < count * dtype.itemsize:
        raise Unreadable(
            "truncated", f"The frame is cut short: {len(frame)} of {count * dtype.itemsize} bytes are there."
        )
    return np.frombuffer(frame, dtype, count)


def _upsampled(values: Pixels, image: ImageDescription) -> Pixels:
    """Y Y Cb Cr for each two pixels of a row, to Y Cb Cr for each (PS3.3 C.7.6.3.1.2)."""
    if image.columns % 2:
        raise Unreadable("pixels", "An image of this photometric interpretation has an even number of columns.")
    pairs = values.reshape(image.rows, image.columns // 2, 4)
    full = np.empty((image.rows, image.columns, 3), values.dtype)
    full[:, :, 0] = pairs[:, :, :2].reshape(image.rows, image.columns)
    full[:, :, 1:] = pairs[:, :, 2:].repeat(2, axis=1)
    return full


def _rle(frame: bytes, image: ImageDescription) -> Pixels:
    """RLE Lossless (PS3.5 annex G): planes of samples, each decoded to exactly the size that the header gives."""
    dtype = np.dtype(f"<u{max(image.bits_allocated, 8) // 8}")
    size = image.rows * image.columns * image.samples * dtype.itemsize
    try:
        data = imagecodecs.dicomrle_decode(frame, dtype, out=size)
    except Exception:
        raise Unreadable("pixels", "The frame is damaged: its run lengths do not fill the image.") from None
    values = _array(bytes(data), dtype, image.rows * image.columns * image.samples)
    if image.samples == 1:
        return values.reshape(image.rows, image.columns)
    return values.reshape(image.samples, image.rows, image.columns).transpose(1, 2, 0)


def _code_stream(frame: bytes, image: ImageDescription) -> tuple[Pixels, str]:
    """Decode a JPEG or JPEG 2000 frame; also the photometric interpretation that the result has."""
    stream = read_code_stream(frame)
    if (stream.rows, stream.columns, stream.components) != (image.rows, image.columns, image.samples):
        raise Unreadable(
            "pixels",
            f"The compressed frame is {stream.rows} x {stream.columns} x {stream.components}, the header says "
            f"{image.rows} x {image.columns} x {image.samples}.",
        )
    try:
        pixels, photometric = _decoded(frame, stream, image)
    except Exception:  # each codec has its own errors
        raise Unreadable("pixels", "The compressed frame is damaged: it cannot be decoded.") from None
    expected = (image.rows, image.columns, 3) if image.samples == 3 else (image.rows, image.columns)
    if pixels.shape != expected:
        raise Unreadable("pixels", "The compressed frame is damaged: it decodes to another size.")
    return pixels, photometric


def _decoded(frame: bytes, stream: CodeStream, image: ImageDescription) -> tuple[Pixels, str]:
    photometric = image.photometric
    space = "RGB" if image.samples == 3 else None  # the same in and out: as the components lie
    if stream.kind == "jpeg-ls":
        whole = frame.rstrip(b"\0").endswith(_END_OF_IMAGE)  # the decoder spends seconds behind the end of a cut one
        return imagecodecs.jpegls_decode(frame if whole else frame + _END_OF_IMAGE), photometric
    if stream.kind == "jpeg-lossless":  # not by imagecodecs' ljpeg_decode: a damaged frame crashes the process there
        return imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space), photometric
    if stream.kind == "jpeg-2000":
        # High-throughput streams too: OpenJPEG takes 3 ms where OpenJPH takes 1, but a damaged one hangs the latter.
        undone = stream.transformed or photometric in ("YBR_RCT", "YBR_ICT")
        return imagecodecs.jpeg2k_decode(frame), "RGB" if image.samples == 3 and undone else photometric
    if image.samples == 1:
        return imagecodecs.jpeg8_decode(frame), photometric
    transformed = photometric.startswith("YBR") or stream.transformed is True
    stored = "YCBCR" if transformed else "RGB"
    return imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace="RGB"), "RGB"


def _stored(pixels: Pixels, image: ImageDescription) -> Pixels:
    """Stored values: bits above Bits Stored away, the sign where it belongs, whatever a codec took the sample for."""
    if image.bits_allocated == 1:
        return pixels
    width = image.bits_allocated
    unsigned, signed = np.dtype(f"u{width // 8}"), np.dtype(f"i{width // 8}")
    values = pixels.view(unsigned) if pixels.dtype.itemsize == unsigned.itemsize else pixels.astype(unsigned)
    if image.high_bit >= image.bits_stored and not is_compressed(image.transfer_syntax_uid):
        values = values >> unsigned.type(image.high_bit + 1 - image.bits_stored)
    above = width - image.bits_stored
    if not image.signed:
        return values & unsigned.type((1 << image.bits_stored) - 1) if above else values
    if not above:
        return values.view(signed)
    return (values << unsigned.type(above)).view(signed) >> signed.type(above)


def _rgb(pixels: Pixels, photometric: str, bits: int) -> Pixels:
    """Red, green and blue from luminance and colour differences (PS3.3 C.7.6.3.1.2); anything else as it is."""
    if not photometric.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return pixels
    scale = np.float32(2.0 ** (bits - 8))
    luminance, blue, red = np.moveaxis(pixels.astype(np.float32), 2, 0)
    blue, red = blue - 128 * scale, red - 128 * scale
    if photometric.startswith("YBR_PARTIAL"):
        luminance, blue, red = (luminance - 16 * scale) * (255 / 219), blue * (255 / 224), red * (255 / 224)
    rgb = np.stack(
        (
            luminance + 1.402 * red,
            luminance - 0.114 * 1.772 / 0.587 * blue - 0.299 * 1.402 / 0.587 * red,
            luminance + 1.772 * blue,
        ),
        axis=2,
    )
    return np.clip(np.floor(rgb + 0.5), 0, (1 << bits) - 1).astype(pixels.dtype)


def _coloured(pixels: Pixels, palette: Palette) -> Pixels:
    index = np.clip(pixels.astype(np.int64) - palette.first, 0, len(palette.colours) - 1)
    return palette.colours[index]


def _windows(header: Header) -> tuple[tuple[float, float], ...]:
    centers, widths = header.floats("WindowCenter"), header.floats("WindowWidth")
    return tuple((center, width) for center, width in zip(centers, widths, strict=False) if width > 0)


def _padding(header: Header) -> tuple[float, float] | None:
    """Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2), in either order."""
    value, limit = header.number("PixelPaddingValue"), header.number("PixelPaddingRangeLimit")
    if value is None:
        return None
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _aspect(header: Header) -> float:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        sizes = header.floats(keyword)
        if len(sizes) == 2 and sizes[0] > 0 and sizes[1] > 0:
            return min(max(sizes[0] / sizes[1], 0.01), 100.0)
    return 1.0


def _palette(file: BinaryIO, header: Header) -> Palette:
    values = {element.tag: element.value for element in read_tree(read_data_set(file, header), header)}
    channels: list[NDArray[np.uint8]] = []
    firsts: set[int] = set()
    for channel in range(3):
        descriptor, data = values.get(0x00281101 + channel, b""), values.get(0x00281201 + channel, b"")
        if len(descriptor) != 6 or not data:
            raise Unreadable("pixels", "The palette of the image is missing, or segmented, which is not decoded.")
        entries, first, bits = struct.unpack("<HhH" if header.integer("PixelRepresentation") else "<3H", descriptor)
        channels.append(_palette_channel(data, entries or 65536, bits))
        firsts.add(first)
    if len(firsts) != 1 or len({len(channel) for channel in channels}) != 1:
        raise Unreadable("pixels", "The palette of the image is damaged: its three tables differ in size.")
    return Palette(firsts.pop(), np.stack(channels, axis=1))


def _palette_channel(data: bytes, entries: int, bits: int) -> NDArray[np.uint8]:
    """One table as 8-bit values; entries of 8 bits may lie in bytes or in words (PS3.3 C.7.6.3.1.6)."""
    if len(data) >= 2 * entries:
        words = np.frombuffer(data, "<u2", entries)
        return (words >> 8 if bits > 8 else words).astype(np.uint8)
    if len(data) >= entries:
        return np.frombuffer(data, np.uint8, entries)
    raise Unreadable("pixels", "The palette of the image is cut short.")
