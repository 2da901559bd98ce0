"""Images that web viewers show wrongly, without an error, though they are as the standard has them: their frames are
offered decoded before they are offered as stored, and the metadata then says how the samples lie. Whoever names the
stored transfer syntax still gets the stored bytes."""

import struct
from typing import BinaryIO, Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.codestream import read_code_stream
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.frames import first_bytes
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import ImageDescription, describe_samples
from hilum.imaging.dicom.native import HALVED, sample_bits
from hilum.imaging.dicom.pixels import follows_markers
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.transcode import Samples

_RLE: Final = "1.2.840.10008.1.2.5"
_JPEG: Final = "1.2.840.10008.1.2.4."
_EXTENDED: Final = f"{_JPEG}51"
_MARKED: Final = frozenset((f"{_JPEG}50", _EXTENDED))
_JPEG_2000: Final = frozenset(f"{_JPEG}{number}" for number in (90, 91, 201, 202, 203))
_START: Final = 64 * 1024
_AVAILABLE: Final = "00083002"


def is_misread(file: BinaryIO, header: Header) -> bool:
    """Whether viewers decode the frames of this instance to other values than it has.

    These are: JPEG Extended of 12 bits (values too high), RLE of 32 bits or of 16-bit colour, JPEG baseline whose
    markers contradict the header's colours, and JPEG 2000 whose sign is not that of the header.

    Parameters
    ----------
    file, header
        The instance; of its pixels only the start of the first frame is read.
    """
    syntax = header.transfer_syntax_uid
    if header.pixel_data is None or syntax not in _MARKED | _JPEG_2000 | {_RLE}:
        return False
    try:
        image = describe_samples(header)
        if syntax in (_EXTENDED, _RLE):
            return syntax == _EXTENDED or sample_bits(image) > (8 if image.samples > 1 else 16)
        start = first_bytes(file, header, _START)
        if syntax in _MARKED:
            return not follows_markers(start, image)
        return read_code_stream(start).signed != image.signed
    except Unreadable:
        return False  # to be told when the frame is asked for


def metadata_changes(file: BinaryIO, header: Header) -> dict[str, object]:
    """What the DICOM JSON of an instance must say otherwise than its header, by tag, for the frames that are given.

    Beside those of `is_misread` these are native frames whose samples share their colours in pairs, lie in packed words
    or not at the low end of theirs.
    """
    try:
        image = describe_samples(header)
    except Unreadable:
        return {}
    misread = is_misread(file, header)
    if not (misread or needs_making(header, image)):
        return {}
    found: dict[str, object] = {
        f"{element.tag:08X}": _json(element) for element in samples_given(image).elements(image)
    }
    if misread:
        found[_AVAILABLE] = {"vr": "UI", "Value": [a.EXPLICIT_LITTLE]}
    return found


def needs_making(header: Header, image: ImageDescription) -> bool:
    """Whether uncompressed frames are not given as they lie: junk beside their values, packed or halved samples."""
    if header.pixel_data is None or header.pixel_data.encapsulated or image.bits_allocated == 1:
        return False
    halved = image.samples > 1 and image.photometric in HALVED
    return halved or image.bits_stored < image.bits_allocated or image.bits_allocated % 8 != 0


def samples_given(image: ImageDescription) -> Samples:
    """How the samples lie in decoded frames, as `transcode.native_form` makes them."""
    photometric = image.photometric
    if image.samples > 1:
        jpeg = image.transfer_syntax_uid in _MARKED | _JPEG_2000
        partial = photometric.startswith("YBR_PARTIAL")
        photometric = "RGB" if jpeg or partial else photometric.removesuffix("_422")
    return Samples(photometric, image.planar, 1 if image.bits_allocated == 1 else sample_bits(image))


def _json(element: Element) -> dict[str, object]:
    if element.vr == "US":
        return {"vr": "US", "Value": [struct.unpack("<H", element.value)[0]]}
    return {"vr": element.vr, "Value": [element.value.decode("ascii")]}
