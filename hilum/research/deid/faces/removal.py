"""A file without its face: samples under a mask get one value, and nothing else changes. Native and losslessly
compressed frames keep their transfer syntax; what was compressed with loss is stored without further loss, and Lossy
Image Compression goes on saying what it was."""

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.encode import RLE, encode_frame
from hilum.imaging.dicom.frames import frame_offsets, native_frame, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import ImageDescription, describe_samples
from hilum.imaging.dicom.native import native_bytes, native_samples, sample_bits
from hilum.imaging.dicom.pixels import stored_frame
from hilum.imaging.dicom.transcode import Samples
from hilum.research.deid.pixel_text.blackout import Blackened, Refused, lossless_syntax, rewritten
from hilum.research.deid.pixels import Face


def without_face(file: BinaryIO, header: Header, face: Face) -> Blackened | None:
    """A file without the face; None where nothing of it goes.

    Parameters
    ----------
    file, header
        The original, inflated if it was deflated: grey whole numbers of 8, 16 or 32 bits.
    face
        What goes.

    Raises
    ------
    Refused
        When its frames are not those of the masks, or have no form without loss.
    Unreadable
        When a frame cannot be decoded.
    """
    if not any(face.masks):
        return None
    image = describe_samples(header)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    count = len(offsets) - 1 if offsets else native_frame(header).count
    if count != len(face.masks):
        raise Refused("it has other frames than when its face was looked for")
    syntax = lossless_syntax(header.transfer_syntax_uid, compressed=bool(offsets))
    same = not offsets or (syntax == header.transfer_syntax_uid and syntax != RLE)
    frames: list[bytes] = []
    for number, (packed, value) in enumerate(zip(face.masks, face.values, strict=True)):
        frame = read_frame(file, header, offsets, number)
        if packed is not None or not same:
            mask = _unpacked(packed, image)
            frame = _encoded(frame, image, mask, value, syntax) if offsets else _native(frame, image, mask, value)
        frames.append(frame)
    changed = () if same else tuple(Samples(image.photometric, False, sample_bits(image)).elements(image))
    return Blackened(rewritten(file, header, frames, syntax, changed), changed)


def _unpacked(packed: bytes | None, image: ImageDescription) -> NDArray[np.bool_]:
    shape = image.rows, image.columns
    if packed is None:
        return np.zeros(shape, bool)
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=image.rows * image.columns)
    return bits.reshape(shape).astype(bool)


def _native(frame: bytes, image: ImageDescription, mask: NDArray[np.bool_], value: int) -> bytes:
    pixels = native_samples(frame, image).copy()
    bits = value & ((1 << image.bits_stored) - 1)
    pixels[mask] = bits << max(0, image.high_bit + 1 - image.bits_stored)
    return native_bytes(pixels, bits_allocated=image.bits_allocated)


def _encoded(frame: bytes, image: ImageDescription, mask: NDArray[np.bool_], value: int, syntax: str) -> bytes:
    pixels = stored_frame(frame, image)[0].copy()
    pixels[mask] = value
    if syntax == a.EXPLICIT_LITTLE:
        return native_bytes(pixels, bits_allocated=sample_bits(image))
    try:
        return encode_frame(pixels, syntax, bits_stored=image.bits_stored)
    except ValueError as problem:
        raise Refused(f"its pixels have no form in their transfer syntax ({problem})") from None


def covered(face: Face) -> int:
    """How many samples go."""
    return sum(one.bit_count() for one in (int.from_bytes(mask) for mask in face.masks if mask))
