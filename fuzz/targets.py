"""What is fuzzed: functions that take any bytes and may end only in a value or in an error of Hilum's own tree. A hang
and unbounded memory are the fuzzer's to see."""

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from xml.etree import ElementTree as ET

from hilum.core.errors import HilumError
from hilum.imaging.dicom.dataset import DataSet, bulkdata, read_data_set
from hilum.imaging.dicom.dicom_json import dataset_json, tags
from hilum.imaging.dicom.dicom_xml import dataset_xml
from hilum.imaging.dicom.frames import frame_offsets, native_frame, pixel_data_problem, read_frame
from hilum.imaging.dicom.header import Header, Truncated, identity, scan, scan_file
from hilum.imaging.dicom.names import (
    parse_date,
    parse_datetime,
    parse_offset,
    parse_time,
    person_name,
    person_search_text,
)
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.dicom.text import CharacterSet
from hilum.imaging.intake.bundle import DAMAGED, NO_ZIP
from hilum.imaging.intake.secondary_capture import wrap_image
from hilum.imaging.intake.wrap import CannotWrap, make_wrap
from hilum.imaging.intake.zip_directory import directory_size
from hilum.imaging.intake.zip_names import member_names

MAX_INFLATED = 1 << 24
MAX_DIRECTORY = 1 << 20
PHOTOS = make_wrap("P1", study_date="2024-02-03", pdf=True)


def header(data: bytes) -> None:
    """The scanner, offered the whole and offered a half first; every way to ask for a value."""
    with suppress(HilumError, Truncated):
        scan(data[: len(data) // 2], len(data))
    with suppress(HilumError):
        found = scan(data)
        for keyword in found.values:
            found.text(keyword), found.strings(keyword), found.floats(keyword), found.integer(keyword)
            found.date(keyword), found.time(keyword)
        identity(found)


def frames(data: bytes) -> None:
    """Offset tables and fragments."""
    with suppress(HilumError):
        found = scan_file(io.BytesIO(data))
        file = _file(data, found)
        pixel_data_problem(found, len(data))
        if found.pixel_data is None:
            return
        if found.pixel_data.encapsulated:
            offsets = frame_offsets(file, found)
            read_frame(file, found, offsets, 0)
            read_frame(file, found, offsets, len(offsets) - 2)
        else:
            count = native_frame(found, len(data)).count
            read_frame(file, found, (), count - 1)


def dataset(data: bytes) -> None:
    """The tree and the forms that it is told in: JSON and XML that others can read, rows, bulk data."""
    with suppress(HilumError):
        found = scan(data)
        read = read_data_set(_file(data, found), found)
        told = json.loads(dataset_json(read, found, "/bulk", 16))
        ET.fromstring(dataset_xml(read, found, "/bulk", 16))
        tags(read, found)
        _bulk(read, found, told)


def text(data: bytes) -> None:
    """Character sets, names, dates: the first line is the Specific Character Set, the rest the value."""
    declared, _, value = data.partition(b"\n")
    characters = CharacterSet(declared.decode("latin-1"))
    for vr in ("PN", "LO", "LT"):
        decoded = characters.decode(value, vr)
        decoded.encode()
        person_name(decoded), person_search_text(decoded)
        parse_date(decoded), parse_time(decoded), parse_datetime(decoded), parse_offset(decoded)


def bundle(data: bytes) -> None:
    """A zip: its directory, the names of its members, and the beginning of each."""
    if directory_size(io.BytesIO(data)) > MAX_DIRECTORY:
        return
    with suppress(*NO_ZIP), zipfile.ZipFile(io.BytesIO(data)) as opened:
        for name in member_names(opened.infolist()):
            name.encode()
        for member in opened.infolist()[:20]:
            with suppress(*DAMAGED), opened.open(member) as file:
                file.read(1 << 20)


def image(data: bytes) -> None:
    """A picture or document that is to be wrapped."""
    with suppress(CannotWrap):
        header(wrap_image(data, "IMG 7", PHOTOS, "default"))


def _file(data: bytes, found: Header) -> io.BytesIO:
    file = io.BytesIO(data)
    return io.BytesIO(inflated_file(file, found.data_set_offset, MAX_INFLATED).read()) if found.deflated else file


def _bulk(read: DataSet, found: Header, told: dict[str, dict[str, object]]) -> None:
    for tag, attribute in told.items():
        if "BulkDataURI" in attribute and not tag.startswith("7FE0"):
            bulkdata(read, found, str(attribute["BulkDataURI"]).split("/")[2:])


TARGETS: dict[str, Callable[[bytes], None]] = {
    "header": header,
    "frames": frames,
    "dataset": dataset,
    "text": text,
    "bundle": bundle,
    "image": image,
}
