"""Input for the tests of the room: the files of pydicom's wheel, which are its oracle's own, and a small writer."""

import io
import struct
from functools import cache
from pathlib import Path

from pydicom.data import get_charset_files, get_testdata_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

PIXEL_TAGS = {"PixelData": 0x7FE00010, "FloatPixelData": 0x7FE00008, "DoubleFloatPixelData": 0x7FE00009}


@cache
def wheel() -> tuple[Path, ...]:
    """Every file of pydicom's wheel, DICOM or not, but those of the wheel pydicom-data (``images.py``)."""
    paths = {Path(name) for name in [*get_testdata_files(), *get_charset_files()]}
    return tuple(sorted(path for path in paths if path.is_file() and "data_store" not in path.parts))


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def wheel_file(name: str) -> Path:
    return next(path for path in wheel() if path.name == name)


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element in Explicit VR Little Endian."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def part10(data_set: bytes, transfer_syntax_uid: str = "1.2.840.10008.1.2.1") -> bytes:
    """A file: preamble, mark, the shortest file meta information, and the data set as given."""
    uid = transfer_syntax_uid.encode()
    meta = element(0x00020010, "UI", uid + b"\0" * (len(uid) % 2))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + data_set


def written(data_set: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> bytes:
    """A file as pydicom writes it."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = transfer_syntax_uid
    file = io.BytesIO()
    data_set.save_as(file, enforce_file_format=False)
    return file.getvalue()
