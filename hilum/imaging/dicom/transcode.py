"""An instance in another transfer syntax, or its frames as their header describes them: decoded, encoded anew without
loss, and with the attributes that then hold. What was lost before stays said: Lossy Image Compression is kept."""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.codestream import read_code_stream
from hilum.imaging.dicom.dataset import PIXEL_TAGS, read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.encode import HTJ2K, JPEG_2000, RLE, SYNTAXES, encode_frame
from hilum.imaging.dicom.explicit import explicit_file
from hilum.imaging.dicom.frames import first_bytes, native_frame, number_of_frames, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import FLOAT_BITS, ImageDescription, describe_samples
from hilum.imaging.dicom.native import HALVED, Pixels, native_bytes, sample_bits
from hilum.imaging.dicom.pixels import NO_CODE_STREAM, stored_frame, to_rgb
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.uids import is_video
from hilum.imaging.dicom.writer import UNDEFINED, element_bytes, element_start, file_start

_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
_BITS_ALLOCATED, _HIGH_BIT = 0x00280100, 0x00280102
_OFFSET_TABLES: Final = frozenset((0x7FE00001, 0x7FE00002, 0x7FE00003))
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_START: Final = 64 * 1024
_MAX_VALUE: Final = 0xFFFFFFFE


@dataclass(frozen=True, slots=True)
class Samples:
    """How the samples of frames lie, where it differs from their header (PS3.3 C.7.6.3.1).

    Attributes
    ----------
    photometric : str
        Photometric Interpretation.
    planar : bool
        Whether Planar Configuration is 1.
    bits_allocated : int
        Of each sample; its bits lie lowest first, so that High Bit is one less than Bits Stored.
    """

    photometric: str
    planar: bool
    bits_allocated: int

    def elements(self, image: ImageDescription) -> list[Element]:
        """The elements that say so, for the image as it was."""
        photometric = self.photometric.encode("ascii")
        found = [
            Element(_PHOTOMETRIC, "CS", photometric, None),
            Element(_BITS_ALLOCATED, "US", struct.pack("<H", self.bits_allocated), None),
            Element(_HIGH_BIT, "US", struct.pack("<H", image.bits_stored - 1), None),
        ]
        if image.samples > 1:
            found.append(Element(_PLANAR, "US", struct.pack("<H", self.planar), None))
        return found


def frame_forms(file: BinaryIO, header: Header) -> tuple[str, ...]:
    """The transfer syntaxes that `transcode_frame` can give the frames of an instance in.

    Parameters
    ----------
    file, header
        The instance; of its pixels only the start of the first frame is read.

    Returns
    -------
    tuple of str
        Of `encode.SYNTAXES`; empty for what cannot be decoded.
    """
    image = _decodable(file, header)
    return () if image is None else tuple(syntax for syntax in SYNTAXES if _refusal(image, syntax) is None)


def instance_forms(file: BinaryIO, header: Header) -> tuple[str, ...]:
    """The transfer syntaxes that `transcode` can give an instance in.

    Parameters and result as of `frame_forms`; what needs no decoding is always given in Explicit VR Little Endian.
    """
    pixels = header.pixel_data
    native = pixels is None or (not pixels.encapsulated and pixels.length is not None)
    least = (a.EXPLICIT_LITTLE,) if native else ()
    if pixels is None:
        return least
    found = frame_forms(file, header)
    if found in ((), least) or _hides_overlays(read_tree(read_data_set(file, header), header)):
        return least
    image = describe_samples(header)
    bits = image.rows * image.columns * image.samples * (1 if image.bits_allocated == 1 else sample_bits(image))
    count = number_of_frames(header)
    # Native frames of single bits follow each other without a gap; decoded ones begin in a byte of their own each.
    if not native and (bits * count > 8 * _MAX_VALUE or (count > 1 and bits % 8)):
        found = tuple(syntax for syntax in found if syntax != a.EXPLICIT_LITTLE)
    return found


def _decodable(file: BinaryIO, header: Header) -> ImageDescription | None:
    """The image, unless its header or the start of its first frame tells that it cannot be decoded."""
    pixels = header.pixel_data
    if pixels is None or is_video(header.transfer_syntax_uid):
        return None
    try:
        image = describe_samples(header)
        if not pixels.encapsulated:
            size = file.seek(0, os.SEEK_END)
            paired = image.samples > 1 and image.photometric in HALVED and image.columns % 2
            unknown = image.samples > 1 and image.photometric == "YBR_PARTIAL_420"
            return None if paired or unknown or not native_frame(header, size).count else image
        start = first_bytes(file, header, _START)
        if header.transfer_syntax_uid not in NO_CODE_STREAM:
            stream = read_code_stream(start)
            if (stream.rows, stream.columns) != (image.rows, image.columns):
                return None
    except Unreadable:
        return None
    return image


def plain_frame(frame: bytes, image: ImageDescription) -> tuple[Pixels, str]:
    """A frame's stored values with a photometric interpretation that uncompressed pixels can have.

    Parameters and errors as of `pixels.stored_frame`.
    """
    pixels, photometric = stored_frame(frame, image)
    if photometric == "YBR_PARTIAL":  # has no form with a colour for every pixel
        return to_rgb(pixels, photometric, image.bits_stored), "RGB"
    return pixels, photometric


def native_form(frame: bytes, image: ImageDescription) -> tuple[bytes, Samples]:
    """A frame as uncompressed little-endian samples, planes or pixels as the header has it, and how they lie.

    Parameters and errors as of `pixels.stored_frame`.
    """
    pixels, photometric = plain_frame(frame, image)
    bits = 1 if image.bits_allocated == 1 else sample_bits(image)
    data = native_bytes(pixels, bits_allocated=bits, planar=image.planar)
    return data, Samples(photometric, image.planar, bits)


def transcode_frame(frame: bytes, image: ImageDescription, transfer_syntax_uid: str) -> tuple[bytes, Samples]:
    """A frame in another transfer syntax, bit for bit the same where both can hold it.

    Parameters
    ----------
    frame : bytes
        As `frames.read_frame` gives it.
    image : ImageDescription
        Of the frame.
    transfer_syntax_uid : str
        One of `encode.SYNTAXES`.

    Returns
    -------
    tuple
        The frame (of 1-bit images, which only have a native form, begun in a byte of its own), and how it lies.

    Raises
    ------
    Unreadable
        When the frame cannot be decoded.
    NotAcceptable
        When the syntax has no form for it.
    """
    _check(image, transfer_syntax_uid)
    if transfer_syntax_uid == a.EXPLICIT_LITTLE and image.bits_allocated == 1:
        return native_form(frame, image)
    pixels, photometric = plain_frame(frame, image)
    mixed = photometric == "RGB" and transfer_syntax_uid in (JPEG_2000, HTJ2K)
    data = encode_frame(pixels, transfer_syntax_uid, bits_stored=image.bits_stored, colours_mix=mixed)
    planar = transfer_syntax_uid == RLE and image.samples > 1
    return data, Samples("YBR_RCT" if mixed else photometric, planar, sample_bits(image))


def transcode(file: BinaryIO, header: Header, offsets: Sequence[int], transfer_syntax_uid: str) -> Iterator[bytes]:
    """An instance in another transfer syntax as a Part 10 file, in pieces, a frame in memory at a time.

    Parameters
    ----------
    file : BinaryIO
        The file, seekable, inflated if it was deflated.
    header : Header
        Its header.
    offsets : sequence of int
        What `frames.frame_offsets` returned; empty for native pixel data.
    transfer_syntax_uid : str
        One of `encode.SYNTAXES`, or Implicit VR Little Endian.

    Raises
    ------
    Unreadable
        When the instance cannot be decoded.
    NotAcceptable
        When the syntax has no form for it.
    """
    implicit = transfer_syntax_uid == a.IMPLICIT_LITTLE
    frame_syntax = a.EXPLICIT_LITTLE if implicit else transfer_syntax_uid
    native = frame_syntax == a.EXPLICIT_LITTLE
    if header.pixel_data is None or (native and not header.pixel_data.encapsulated):
        _check_syntax(frame_syntax)
        yield from explicit_file(file, header, implicit=implicit)
        return
    image = describe_samples(header)
    count = len(offsets) - 1 if offsets else native_frame(header, file.seek(0, os.SEEK_END)).count
    tree = read_tree(read_data_set(file, header), header)
    if _hides_overlays(tree):
        raise NotAcceptable("The image hides overlays in unused bits of its samples, which would be lost.")
    frames = (
        transcode_frame(read_frame(file, header, offsets, number), image, frame_syntax) for number in range(count)
    )
    data, samples = next(frames, (b"", None))
    if samples is None:
        raise NotAcceptable("The instance holds no whole frame.")
    changed = _changed(tree, samples.elements(image))
    yield file_start(header, transfer_syntax_uid) + b"".join(element_bytes(changed, implicit=implicit))
    tag = PIXEL_TAGS["PixelData"]
    if native:
        length = count * len(data)
        vr = "OW" if samples.bits_allocated > 8 else "OB"
        yield element_start(tag, vr, length + length % 2, implicit=implicit)
    else:
        yield element_start(tag, "OB", UNDEFINED) + struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, 0)
    yield _item(data, native=native)
    for data, others in frames:
        if others != samples:
            raise NotAcceptable("The frames of the instance differ in their colours.")
        yield _item(data, native=native)
    yield (
        b"\0" * (count * len(data) % 2)
        if native
        else struct.pack("<HHI", _SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF, 0)
    )


def _item(data: bytes, *, native: bool) -> bytes:
    return data if native else struct.pack("<HHI", _ITEM >> 16, _ITEM & 0xFFFF, len(data)) + data


def _changed(tree: list[Element], changes: list[Element]) -> list[Element]:
    """The elements with some in the place of those of the same tag, without tables of where frames lay."""
    found = {element.tag: element for element in tree if element.tag not in _OFFSET_TABLES}
    found.update((element.tag, element) for element in changes)
    return [found[tag] for tag in sorted(found)]


def _hides_overlays(tree: list[Element]) -> bool:
    found = {element.tag: element for element in tree}
    return any(
        found[tag].value.strip(b"\0") and not (found[data].value if (data := tag - 0x0102 + 0x3000) in found else b"")
        for tag in range(0x60000102, 0x60200102, 0x20000)
        if tag in found
    )


def _check_syntax(transfer_syntax_uid: str) -> None:
    if transfer_syntax_uid not in SYNTAXES:
        raise NotAcceptable("Instances are not converted to this transfer syntax.")


def _check(image: ImageDescription, transfer_syntax_uid: str) -> None:
    _check_syntax(transfer_syntax_uid)
    refusal = _refusal(image, transfer_syntax_uid)
    if refusal:
        raise NotAcceptable(refusal)


def _refusal(image: ImageDescription, transfer_syntax_uid: str) -> str | None:
    """Why one of `SYNTAXES` has no form for an image; None when it has."""
    if transfer_syntax_uid == a.EXPLICIT_LITTLE:
        return None
    if image.bits_allocated == 1 or image.keyword in FLOAT_BITS:
        return "Images of single bits or of floating point samples are only given uncompressed."
    if sample_bits(image) > (32 if transfer_syntax_uid == RLE else 16):
        return "Samples of so many bits have no form in this transfer syntax."
    return None
