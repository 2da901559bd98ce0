"""Arrays of stored values to frames of a transfer syntax, without loss of a bit. What the header must then say, and
which images are encoded at all, is for ``transcode``."""

import struct
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.native import Pixels, native_bytes

RLE: Final = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS: Final = "1.2.840.10008.1.2.4.80"
JPEG_2000: Final = "1.2.840.10008.1.2.4.90"
HTJ2K: Final = "1.2.840.10008.1.2.4.201"
SYNTAXES: Final = (a.EXPLICIT_LITTLE, RLE, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000, HTJ2K)
"""Transfer syntaxes that frames can be encoded in."""

_MAX_SEGMENTS: Final = 15


def encode_frame(pixels: Pixels, transfer_syntax_uid: str, *, bits_stored: int, colours_mix: bool = False) -> bytes:
    """Encode one frame.

    Parameters
    ----------
    pixels : ndarray
        Stored values of shape (rows, columns) or (rows, columns, 3), of 8, 16 or, but for JPEG's kin, 32 bits.
    transfer_syntax_uid : str
        One of `SYNTAXES`.
    bits_stored : int
        How many bits of a sample count.
    colours_mix : bool
        Whether a codec may put its own reversible colour transform on red, green and blue (JPEG 2000, HTJ2K).

    Returns
    -------
    bytes
        Native samples in little endian (pixel by pixel), or the fragment of a frame, of even length.

    Raises
    ------
    ValueError
        When the syntax has no form for such samples.
    """
    if transfer_syntax_uid == a.EXPLICIT_LITTLE:
        return native_bytes(pixels, bits_allocated=8 * pixels.dtype.itemsize)
    if transfer_syntax_uid == RLE:
        return _rle(pixels)
    if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2:
        raise ValueError("Samples of more than 16 bits, and floating point ones, have no form in this syntax")
    pixels = np.ascontiguousarray(pixels)
    if transfer_syntax_uid in (JPEG_2000, HTJ2K):
        frame = _jpeg_2000(pixels, transfer_syntax_uid, bits_stored, colours_mix=colours_mix)
    elif transfer_syntax_uid == JPEG_LS:
        frame = _jpeg_ls(pixels.view(f"u{pixels.dtype.itemsize}"))
    elif transfer_syntax_uid in (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1):
        frame = _jpeg_lossless(_unsigned(pixels, bits_stored), bits_stored)
    else:
        raise ValueError("Frames are not encoded in this transfer syntax")
    return frame + b"\0" * (len(frame) % 2)


def _unsigned(pixels: Pixels, bits_stored: int) -> NDArray[np.unsignedinteger]:
    """The bits of signed samples as a codec without signs takes them: two's complement in Bits Stored."""
    values = pixels.view(f"u{pixels.dtype.itemsize}")
    return values & values.dtype.type((1 << bits_stored) - 1) if pixels.dtype.kind == "i" else values


def _rle(pixels: Pixels) -> bytes:
    """RLE Lossless (PS3.5 annex G): a segment for each byte of each sample, the most significant first."""
    planes = pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    size = pixels.dtype.itemsize
    if len(planes) * size > _MAX_SEGMENTS:
        raise ValueError("Samples of so many bytes have no form in RLE")
    segments: list[bytes] = []
    for plane in planes:
        octets = np.ascontiguousarray(plane, plane.dtype.newbyteorder(">")).view(np.uint8)
        octets = octets.reshape(*plane.shape, size)
        for place in range(size):
            packed = bytes(imagecodecs.packbits_encode(octets[..., place].copy()))
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = np.cumsum([64, *(len(segment) for segment in segments[:-1])]).tolist()
    table = [len(segments), *offsets]
    return struct.pack("<16I", *table, *([0] * (16 - len(table)))) + b"".join(segments)


def _jpeg_2000(pixels: Pixels, syntax: str, bits_stored: int, *, colours_mix: bool) -> bytes:
    mixed = colours_mix and pixels.ndim == 3
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(pixels, reversible=True, rgb=mixed))
    resolutions = max(1, min(6, int(np.log2(min(pixels.shape[:2]))) + 1))
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level=0, codecformat="j2k", reversible=True, mct=mixed, bitspersample=bits_stored,
            resolutions=resolutions,
        )
    )  # fmt: skip


def _jpeg_ls(pixels: NDArray[np.unsignedinteger]) -> bytes:
    """All bits of each sample, with those that carry on its sign: readers part by the stream's own precision."""
    room = 2 * pixels.nbytes + 4096  # noise grows: the codec's own guess is then too small
    return bytes(imagecodecs.jpegls_encode(pixels, out=room))


def _jpeg_lossless(pixels: NDArray[np.unsignedinteger], bits_stored: int) -> bytes:
    """Process 14 with selection value 1, which both of its syntaxes allow; colours are left as they are."""
    space = "RGB" if pixels.ndim == 3 else None
    bits = max(bits_stored, 2 if pixels.dtype.itemsize == 1 else 9)
    return bytes(
        imagecodecs.jpeg8_encode(
            pixels, lossless=True, predictor=1, bitspersample=bits, colorspace=space, outcolorspace=space
        )
    )
