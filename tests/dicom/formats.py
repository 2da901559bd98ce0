"""What the table of formats is made from: a small image of two frames in each transfer syntax and photometric
interpretation that go together, and what Hilum makes of it."""

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space

from hilum.core.errors import HilumError
from hilum.imaging.dicom import encode
from hilum.imaging.dicom.frames import frame_offsets, native_frame, read_frame
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.picture import to_png
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.render import render
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.dicom.transcode import transcode
from tests.dicom.files import written
from tests.dicom.images import image_of

Array = NDArray[np.generic]
SIZE = 32
LOSSY = 12.0
PHOTOMETRICS = (
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422",
    "YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "XYB",
)  # fmt: skip
_JPEG = "1.2.840.10008.1.2.4."
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", BIG_ENDIAN)
ENCAPSULATED_NATIVE, DEFLATED_FRAMES = "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"
VIDEOS = tuple(f"{_JPEG}{number}" for number in range(100, 109))


@dataclass(frozen=True, slots=True)
class Made:
    """A file, the values or colours that it must show in each of its frames, and how far they may be off."""

    data: bytes
    expected: list[Array]
    tolerance: float = 0.0


def grey(bits: int = 12) -> list[Array]:
    ramp = np.add.outer(np.arange(SIZE), 2 * np.arange(SIZE)) * (1 << bits) // (3 * SIZE)
    return [np.ascontiguousarray(array, np.uint8 if bits <= 8 else np.uint16) for array in (ramp, ramp.T)]


def rgb() -> list[Array]:
    low, _ = grey(8)
    return [np.stack(planes, axis=2).astype(np.uint8) for planes in ((low, low[::-1], low.T), (low.T, low, low[::-1]))]


def ybr() -> tuple[list[Array], list[Array]]:
    """Luminance and colour differences, alike in each two pixels of a row, and the colours that these are."""
    found = [convert_color_space(one, "RGB", "YBR_FULL") for one in rgb()]
    for one in found:
        one[:, 1::2, 1:] = one[:, ::2, 1:]
    return found, [convert_color_space(one, "YBR_FULL", "RGB") for one in found]


def image(frames: list[Array], photometric: str, **attributes: object) -> Dataset:
    data_set = image_of(np.stack(frames), photometric, **attributes)
    if photometric == "PALETTE COLOR":
        for place, colour in enumerate(("Red", "Green", "Blue")):
            setattr(data_set, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            table = (np.arange(256) * (place + 1) % 256 * 257).astype("<u2")
            setattr(data_set, f"{colour}PaletteColorLookupTableData", table.tobytes())
    return data_set


def shown_palette(frames: list[Array]) -> list[Array]:
    return [np.stack([(one.astype(int) * (place + 1)) % 256 for place in range(3)], axis=2) for one in frames]


def compressed(data_set: Dataset, frames: list[bytes], syntax: str) -> bytes:
    data_set.PixelData = encapsulate(frames)
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    # pydicom writes no syntax that it does not know: the UID is put in afterwards.
    known = encode.HTJ2K.encode() + b"\0"
    return written(data_set, encode.HTJ2K).replace(known, syntax.encode().ljust(len(known), b"\0"), 1)


def samples(photometric: str) -> tuple[Dataset, list[Array], list[Array]]:
    """A data set, the samples of its frames as they lie, and what they show."""
    if photometric.startswith("MONOCHROME"):
        return image(grey(), photometric, BitsStored=12, HighBit=11), grey(), grey()
    if photometric == "PALETTE COLOR":
        return image(grey(8), photometric), grey(8), shown_palette(grey(8))
    if photometric.startswith("YBR_FULL"):
        stored, shown = ybr()
        return image(stored, photometric), stored, shown
    return image(rgb(), photometric), rgb(), rgb()


def native(syntax: str, photometric: str) -> Made | None:
    data_set, stored, shown = samples(photometric)
    tolerance = 0.0
    if photometric in ("YBR_PARTIAL_420", "YBR_RCT", "YBR_ICT", "XYB"):
        return None
    if photometric.endswith("_422"):
        if photometric == "YBR_PARTIAL_422":
            stored, _ = ybr()
            stored = [np.clip(one * (219 / 255) + [16, 18, 18], 16, 240).astype(np.uint8) for one in stored]
            shown, tolerance = [from_partial(one) for one in stored], 1.0
        halved = [np.dstack((one[:, ::2, 0], one[:, 1::2, 0], one[:, ::2, 1], one[:, ::2, 2])) for one in stored]
        data_set.PixelData = np.stack(halved).tobytes()
    if syntax == BIG_ENDIAN and stored[0].dtype.itemsize == 2:
        data_set.PixelData = np.stack(stored).astype(">u2").tobytes()
    if syntax in NATIVE:
        return Made(written(data_set, syntax), shown, tolerance)
    size = len(data_set.PixelData) // 2
    frames = [data_set.PixelData[:size], data_set.PixelData[size:]]
    if syntax == DEFLATED_FRAMES:
        frames = [deflated(one) for one in frames]
    return Made(compressed(data_set, frames, syntax), shown, tolerance)


def deflated(data: bytes) -> bytes:
    making = zlib.compressobj(wbits=-15)
    body = making.compress(data) + making.flush()
    return body + b"\0" * (len(body) % 2)


def from_partial(one: Array) -> Array:
    y, blue, red = np.moveaxis(one.astype(float), 2, 0)
    y, blue, red = (y - 16) * 255 / 219, (blue - 128) * 255 / 224, (red - 128) * 255 / 224
    green = y - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587
    return np.clip(np.floor(np.dstack((y + 1.402 * red, green, y + 1.772 * blue)) + 0.5), 0, 255)


def lossless(syntax: str, photometric: str) -> Made | None:
    """By Hilum's own encoders, which `test_transcode` checks against other programs."""
    plain = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")
    mixes = syntax in (encode.JPEG_2000, encode.HTJ2K)
    if photometric not in plain and not (photometric == "YBR_RCT" and mixes):
        return None
    data_set, stored, shown = samples(photometric)
    if syntax == encode.RLE and data_set.SamplesPerPixel == 3:
        data_set.PlanarConfiguration = 1
    frames = [
        encode.encode_frame(
            one, syntax, bits_stored=data_set.BitsStored, colours_mix=mixes and photometric == "YBR_RCT"
        )
        for one in stored
    ]
    return Made(compressed(data_set, frames, syntax), shown)


def jpeg(syntax: str, photometric: str) -> Made | None:
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        bits = 12 if syntax.endswith("51") else 8
        frames = [bytes(imagecodecs.jpeg8_encode(one, level=98, bitspersample=bits)) for one in grey(bits)]
        data_set = image(grey(bits), photometric, BitsStored=bits, HighBit=bits - 1)
        return Made(compressed(data_set, frames, syntax), grey(bits), LOSSY * 16 if bits == 12 else LOSSY)
    subsampling = {"RGB": None, "YBR_FULL": "444", "YBR_FULL_422": "422"}
    if photometric not in subsampling:
        return None
    space = "RGB" if photometric == "RGB" else "YCBCR"
    frames = [
        bytes(
            imagecodecs.jpeg8_encode(
                one, level=98, colorspace="RGB", outcolorspace=space, subsampling=subsampling[photometric]
            )
        )
        for one in rgb()
    ]
    return Made(compressed(image(rgb(), photometric), frames, syntax), rgb(), LOSSY)


def jpeg_ls_near(syntax: str, photometric: str) -> Made | None:
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL"):
        return None
    data_set, stored, shown = samples(photometric)
    frames = [bytes(imagecodecs.jpegls_encode(one, level=2, out=1 << 16)) for one in stored]
    return Made(compressed(data_set, frames, syntax), shown, LOSSY)


def jpeg_2000(syntax: str, photometric: str) -> Made | None:
    high = syntax == f"{_JPEG}203" or syntax == f"{_JPEG}202"
    only_lossless = syntax == f"{_JPEG}202"
    if photometric not in ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_RCT", "YBR_ICT", "PALETTE COLOR"):
        return None
    if photometric == ("YBR_ICT" if only_lossless else "PALETTE COLOR"):
        return None
    data_set, stored, shown = samples(photometric)
    reversible = photometric != "YBR_ICT"
    mixed = photometric in ("YBR_RCT", "YBR_ICT")
    if high:
        frames = [bytes(imagecodecs.htj2k_encode(one, reversible=reversible, rgb=mixed)) for one in stored]
    else:
        frames = [
            bytes(
                imagecodecs.jpeg2k_encode(
                    one, level=0 if reversible else 50, codecformat="j2k", reversible=reversible, mct=mixed
                )
            )
            for one in stored
        ]
    return Made(compressed(data_set, frames, syntax), shown, 0 if reversible else LOSSY)


def jpeg_xl(syntax: str, photometric: str) -> Made | None:
    allowed = {
        "110": ("MONOCHROME1", "MONOCHROME2", "RGB"),
        "111": ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"),
        "112": ("MONOCHROME1", "MONOCHROME2", "RGB", "XYB"),
    }[syntax[-3:]]
    if photometric not in allowed:
        return None
    if syntax.endswith("111"):
        made = jpeg(f"{_JPEG}50", photometric)
        assert made is not None
        header, file = scan(made.data), io.BytesIO(made.data)
        offsets = frame_offsets(file, header)
        frames = [bytes(imagecodecs.jpegxl_encode_jpeg(read_frame(file, header, offsets, n))) for n in (0, 1)]
        stored = rgb() if header.integer("SamplesPerPixel") == 3 else grey(8)
        return Made(compressed(image(stored, photometric), frames, syntax), stored, LOSSY)
    data_set, stored, shown = samples(photometric)
    if syntax.endswith("110"):
        bits = data_set.BitsStored
        frames = [bytes(imagecodecs.jpegxl_encode(one, lossless=True, bitspersample=bits)) for one in stored]
        return Made(compressed(data_set, frames, syntax), shown)
    if photometric.startswith("MONOCHROME"):
        data_set, stored = image(grey(8), photometric), grey(8)
        shown = stored
    frames = [bytes(imagecodecs.jpegxl_encode(one, distance=0.5)) for one in stored]
    return Made(compressed(data_set, frames, syntax), shown, LOSSY)


def video(syntax: str, photometric: str) -> Made | None:
    if photometric != "YBR_PARTIAL_420":
        return None
    return Made(compressed(image(rgb(), photometric), [b"\0\0\1\xb3" + bytes(200)], syntax), rgb())


NAMES = {
    DEFLATED_FRAMES: "Deflated Image Frame Compression",
    f"{_JPEG}110": "JPEG XL Lossless",
    f"{_JPEG}111": "JPEG XL JPEG Recompression",
    f"{_JPEG}112": "JPEG XL",
}
"""Of those that are not in every release of pydicom's dictionary."""

MAKERS: dict[str, Callable[[str, str], Made | None]] = {
    **dict.fromkeys((*NATIVE, ENCAPSULATED_NATIVE, DEFLATED_FRAMES), native),
    encode.RLE: lossless,
    f"{_JPEG}50": jpeg,
    f"{_JPEG}51": jpeg,
    encode.JPEG_LOSSLESS: lossless,
    encode.JPEG_LOSSLESS_SV1: lossless,
    encode.JPEG_LS: lossless,
    f"{_JPEG}81": jpeg_ls_near,
    encode.JPEG_2000: lossless,
    f"{_JPEG}91": jpeg_2000,
    encode.HTJ2K: lossless,
    f"{_JPEG}202": jpeg_2000,
    f"{_JPEG}203": jpeg_2000,
    f"{_JPEG}110": jpeg_xl,
    f"{_JPEG}111": jpeg_xl,
    f"{_JPEG}112": jpeg_xl,
    **dict.fromkeys(VIDEOS, video),
}


def frames_of(data: bytes) -> list[Array]:
    """Every frame of a file, decoded."""
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    count = len(offsets) - 1 if offsets else native_frame(header, len(data) if not header.deflated else None).count
    return [decode_frame(read_frame(file, header, offsets, n), describe(file, header, n)) for n in range(count)]


def in_syntax(data: bytes, syntax: str) -> bytes:
    """A file in another transfer syntax."""
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    return b"".join(transcode(file, header, offsets, syntax))


def is_read(made: Made) -> bool:
    header, file = scan(made.data), io.BytesIO(made.data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    encapsulated = header.pixel_data is not None and header.pixel_data.encapsulated
    offsets = frame_offsets(file, header) if encapsulated else ()
    return len(read_frame(file, header, offsets, 0)) > 0


def is_rendered(made: Made) -> bool:
    try:
        frames = frames_of(made.data)
    except HilumError:
        return False
    image_ = describe(io.BytesIO(made.data), scan(made.data)) if not scan(made.data).deflated else None
    for frame, expected in zip(frames, made.expected, strict=True):
        if np.abs(frame.astype(float) - expected.astype(float)).max() > made.tolerance:
            return False
        if image_ is not None:
            picture = imagecodecs.png_decode(to_png(render(frame, image_)))
            if picture.shape != expected.shape:
                return False
    return True


def is_transcoded(made: Made, syntax: str) -> bool:
    """Whether it comes out bit for bit the same in another syntax."""
    try:
        before, after = frames_of(made.data), frames_of(in_syntax(made.data, syntax))
    except HilumError:
        return False
    return len(before) == len(after) and all(map(np.array_equal, before, after))
