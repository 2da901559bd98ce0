"""Frames to arrays of stored values or of red, green and blue. Showing them (windows, PNG, thumbnails) is done by
``render``, finding them in the file by ``frames``. Everything is bounded by the header before a decoder runs."""

import zlib
from typing import Final

import imagecodecs
import numpy as np

from hilum.imaging.dicom.codestream import CodeStream, read_code_stream
from hilum.imaging.dicom.image import ImageDescription, check
from hilum.imaging.dicom.native import Pixels, native_samples, sample_bits
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.uids import is_compressed, is_video, uid_name

__all__ = ["Pixels", "decode_frame", "follows_markers", "stored_frame", "to_rgb"]

_RLE: Final = "1.2.840.10008.1.2.5"
_ENCAPSULATED_NATIVE: Final = "1.2.840.10008.1.2.1.98"
_DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
NO_CODE_STREAM: Final = frozenset((_RLE, _ENCAPSULATED_NATIVE, _DEFLATED_FRAMES))
"""Encapsulated, yet without a header of their own in each frame."""
_END_OF_IMAGE: Final = b"\xff\xd9"


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
    pixels, photometric = stored_frame(frame, image)
    if image.palette is not None:
        return image.palette.apply(pixels)
    return to_rgb(pixels, photometric, image.bits_stored)


def stored_frame(frame: bytes, image: ImageDescription) -> tuple[Pixels, str]:
    """Decode one frame to the values that its samples have, without a change of colours other than the codec's own.

    Returns
    -------
    tuple
        The samples, of shape (rows, columns) or (rows, columns, 3), and their photometric interpretation, which is
        that of the header but where a codec undid a transform or pairs of pixels shared their colour.

    Raises
    ------
    Unreadable
        As `decode_frame`.
    """
    check(image)
    syntax, photometric = image.transfer_syntax_uid, image.photometric
    if is_video(syntax):
        raise Unreadable("pixels", f"Video ({uid_name(syntax)}) is not decoded.")
    if syntax == _DEFLATED_FRAMES:
        frame = _inflated(frame, image)
    if not is_compressed(syntax) or syntax in (_ENCAPSULATED_NATIVE, _DEFLATED_FRAMES):
        pixels = native_samples(frame, image)
    elif syntax == _RLE:
        pixels = _rle(frame, image)
    else:
        pixels, photometric = _code_stream(frame, image)
    if pixels.dtype.kind == "f":
        return pixels, photometric
    return _stored(pixels, image), photometric.removesuffix("_422") if pixels.ndim == 3 else photometric


def follows_markers(frame: bytes, image: ImageDescription) -> bool:
    """Whether a decoder that knows nothing but the JPEG stream finds the colours that the header speaks of.

    A stream of three components without a marker that tells is taken as YCbCr by such a decoder.
    """
    if image.samples == 1 or is_video(image.transfer_syntax_uid) or not frame.startswith(b"\xff\xd8"):
        return True
    stream = read_code_stream(frame)
    return stream.kind != "jpeg" or _is_transformed(stream, image) == (stream.transformed is not False)


def _is_transformed(stream: CodeStream, image: ImageDescription) -> bool:
    return image.photometric.startswith("YBR") or stream.transformed is True


def _inflated(frame: bytes, image: ImageDescription) -> bytes:
    size = (image.rows * image.columns * image.samples * image.bits_allocated + 7) // 8
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)
    except zlib.error:
        raise Unreadable("pixels", "The deflated frame is damaged: it cannot be inflated.") from None


def _rle(frame: bytes, image: ImageDescription) -> Pixels:
    """RLE Lossless (PS3.5 annex G): planes of samples, each decoded to exactly the size that the header gives."""
    dtype = np.dtype(f"<u{sample_bits(image) // 8}")
    size = image.rows * image.columns * image.samples * dtype.itemsize
    try:
        data = bytes(imagecodecs.dicomrle_decode(frame, dtype, out=size))
    except Exception:  # whatever the decoder says of it, the frame is told to be damaged below
        data = b""
    if len(data) != size:
        raise Unreadable("pixels", "The frame is damaged: its run lengths do not fill the image.") from None
    values = np.frombuffer(data, dtype)
    if image.samples == 1:
        return values.reshape(image.rows, image.columns)
    return values.reshape(image.samples, image.rows, image.columns).transpose(1, 2, 0)


def _code_stream(frame: bytes, image: ImageDescription) -> tuple[Pixels, str]:
    """Decode a JPEG, JPEG 2000 or JPEG XL frame; also the photometric interpretation that the result has."""
    stream = read_code_stream(frame)
    components = image.samples if stream.components is None else stream.components
    if (stream.rows, stream.columns, components) != (image.rows, image.columns, image.samples):
        raise Unreadable(
            "pixels",
            f"The compressed frame is {stream.rows} x {stream.columns} x {components}, the header says "
            f"{image.rows} x {image.columns} x {image.samples}.",
        )
    try:
        pixels, photometric = _decoded(frame, stream, image)
    except Exception:  # each codec has its own errors
        raise Unreadable("pixels", "The compressed frame is damaged: it cannot be decoded.") from None
    expected = (image.rows, image.columns, 3) if image.samples == 3 else (image.rows, image.columns)
    if pixels.shape != expected or pixels.dtype.kind not in "ui":
        raise Unreadable("pixels", "The compressed frame is damaged: it decodes to another size.")
    return pixels, photometric


def _decoded(frame: bytes, stream: CodeStream, image: ImageDescription) -> tuple[Pixels, str]:
    photometric = image.photometric
    colour = image.samples == 3
    space = "RGB" if colour else None  # the same in and out: as the components lie
    if stream.kind == "jpeg-ls":
        whole = frame.rstrip(b"\0").endswith(_END_OF_IMAGE)  # the decoder spends seconds behind the end of a cut one
        return imagecodecs.jpegls_decode(frame if whole else frame + _END_OF_IMAGE), photometric
    if stream.kind == "jpeg-lossless":  # not by imagecodecs' ljpeg_decode: a damaged frame crashes the process there
        return imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space), photometric
    if stream.kind == "jpeg-2000":
        # High-throughput streams too: OpenJPEG takes 3 ms where OpenJPH takes 1, but a damaged one hangs the latter.
        undone = stream.transformed or photometric in ("YBR_RCT", "YBR_ICT")
        return imagecodecs.jpeg2k_decode(frame), "RGB" if colour and undone else photometric
    if stream.kind == "jpeg-xl":
        return imagecodecs.jpegxl_decode(frame, keeporientation=True), "RGB" if colour else photometric
    if not colour:
        return imagecodecs.jpeg8_decode(frame), photometric
    stored = "YCBCR" if _is_transformed(stream, image) else "RGB"
    return imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace="RGB"), "RGB"


def _stored(pixels: Pixels, image: ImageDescription) -> Pixels:
    """Stored values: bits above Bits Stored away, the sign where it belongs, whatever a codec took the sample for."""
    if image.bits_allocated == 1:
        return pixels
    width = sample_bits(image)
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


def to_rgb(pixels: Pixels, photometric: str, bits: int) -> Pixels:
    """Red, green and blue from luminance and colour differences (PS3.3 C.7.6.3.1.2); anything else as it is.

    Parameters
    ----------
    pixels : ndarray
        As `stored_frame` gives it.
    photometric : str
        Its photometric interpretation.
    bits : int
        Bits Stored.
    """
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
