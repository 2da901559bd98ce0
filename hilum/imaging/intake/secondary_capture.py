"""Images that are no DICOM, wrapped as Secondary Capture (PS3.3 A.8.1), and documents as Encapsulated PDF (A.45.1), for
the patient and study that a person named. The same file for the same study gives the same bytes and UIDs. A JPEG keeps
its code stream; a PNG becomes native pixels."""

import io
import re
import struct
from typing import Final, cast

import imagecodecs
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from hilum.imaging.archive.identity import derived_uid
from hilum.imaging.dicom.pydicom_setup import pydicom
from hilum.imaging.intake.wrap import JPEG, PDF, PNG, CannotWrap, Wrap

MAX_PIXELS: Final = 200_000_000
_BASELINE: Final = 0xC0
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def wrap_image(data: bytes, name: str, wrap: Wrap, source: str) -> bytes:
    """Make the DICOM file of an image or PDF.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name; the last number in it becomes the Instance Number.
    wrap
        For whom and which study.
    source
        Key of the source; the same image in another source is another instance.

    Raises
    ------
    CannotWrap
        It is damaged, larger than 200 megapixels, or of a kind that is not wrapped.
    """
    document = data.startswith(PDF)
    uid = wrap.study_instance_uid or derived_uid(
        "wrapped study", source, wrap.patient.patient_id, wrap.study_date, wrap.study_description
    )
    series = derived_uid("wrapped series", source, uid, "DOC" if document else wrap.modality)
    number = _number(name)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = EncapsulatedPDFStorage if document else SecondaryCaptureImageStorage
    ds.SOPInstanceUID = derived_uid("wrapped", source, uid, str(number), blake3(data).hexdigest())
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber = wrap.study_date, "", ""
    ds.Modality = "DOC" if document else wrap.modality
    ds.ConversionType = "WSD"
    ds.ReferringPhysicianName = ds.Manufacturer = ""
    ds.StudyDescription = wrap.study_description
    ds.PatientName, ds.PatientID = wrap.patient_name, wrap.patient.patient_id
    ds.PatientBirthDate, ds.PatientSex = "", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid, series
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "", 2 if document else 1, number
    if document:
        ds.BurnedInAnnotation, ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime = "YES", "", "", ""
        ds.DocumentTitle, ds.ConceptNameCodeSequence = "", []
        ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
        ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
        ds.EncapsulatedDocumentLength = len(data)
    elif data.startswith((JPEG, PNG)):
        ds.Laterality = ds.PatientOrientation = ""  # type 2C: not known
        _set_jpeg(ds, meta, data) if data.startswith(JPEG) else _set_png(ds, data)
    else:
        raise CannotWrap("not_wrappable", "Only JPEG, PNG and PDF files are wrapped.")
    return _written(ds, meta)


def _written(ds: Dataset, meta: FileMetaDataset) -> bytes:
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta = meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)  # pyright: ignore[reportUnknownMemberType]
    return file.getvalue()


def _number(name: str) -> int:
    numbers = re.findall(r"[0-9]+", name.rpartition("/")[2])
    return int(numbers[-1][-9:]) if numbers else 1


def _set_jpeg(ds: Dataset, meta: FileMetaDataset, data: bytes) -> None:
    """A baseline JPEG goes in as it is (PS3.5 section 8.2.1); any other is decoded."""
    process, bits, rows, columns, components = _jpeg_frame(data)
    _check_size(rows, columns)
    if process != _BASELINE or bits != 8 or components not in (1, 3):
        _set_pixels(ds, _decoded("jpeg", data))
        return
    colors = "MONOCHROME2" if components == 1 else "RGB" if _is_rgb(data) else "YBR_FULL_422"
    _describe(ds, rows, columns, components, 8, colors)
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    ds.LossyImageCompressionRatio = f"{rows * columns * components / len(data):.2f}"
    ds.PixelData = encapsulate([data + b"\0" * (len(data) % 2)])
    ds["PixelData"].VR = "OB"


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int, int]:
    """Process, bits, rows, columns and components from the frame header (ISO/IEC 10918-1 B.2.2)."""
    for marker, at in _segments(data):
        if marker in _FRAMES and at + 8 <= len(data):
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, at + 2)
            if rows and columns:
                return marker, bits, rows, columns, components
            break
    raise CannotWrap("damaged_image", "The image is damaged: it does not say how large it is.")


def _segments(data: bytes) -> "list[tuple[int, int]]":
    """Marker and offset (of its length) of each segment before the first scan."""
    found: list[tuple[int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        found.append((marker, at + 2))
        if marker == 0xDA:
            break
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return found


def _is_rgb(data: bytes) -> bool:
    """Whether three components are red, green and blue: said by Adobe's marker, or by their names."""
    for marker, at in _segments(data):
        if marker == 0xEE and data[at + 2 : at + 7] == b"Adobe":
            return data[at + 13 : at + 14] == b"\0"
        if marker in _FRAMES:
            return data[at + 8 : at + 17 : 3] == b"RGB"
    return False


def _set_png(ds: Dataset, data: bytes) -> None:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise CannotWrap("damaged_image", "The image is damaged: it does not say how large it is.")
    columns, rows = struct.unpack_from(">II", data, 16)
    _check_size(rows, columns)
    _set_pixels(ds, _decoded("png", data))


def _decoded(kind: str, data: bytes) -> NDArray[np.integer]:
    decode = imagecodecs.jpeg8_decode if kind == "jpeg" else imagecodecs.png_decode
    try:
        pixels = cast("NDArray[np.integer]", decode(data))
    except (RuntimeError, ValueError) as error:
        raise CannotWrap("damaged_image", "The image is damaged and cannot be decoded.") from error
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):  # the last is opacity
        pixels = pixels[:, :, :-1]
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _set_pixels(ds: Dataset, pixels: NDArray[np.integer]) -> None:
    components = 1 if pixels.ndim == 2 else 3
    if components == 3 and pixels.dtype.itemsize == 2:  # colour has eight bits in Secondary Capture
        pixels = (pixels >> 8).astype(np.uint8)
    bits = pixels.dtype.itemsize * 8
    _describe(ds, pixels.shape[0], pixels.shape[1], components, bits, "MONOCHROME2" if components == 1 else "RGB")
    value = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = value + b"\0" * (len(value) % 2)
    ds["PixelData"].VR = "OW" if bits == 16 else "OB"


def _describe(ds: Dataset, rows: int, columns: int, components: int, bits: int, colors: str) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = components, colors
    if components == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0


def _check_size(rows: int, columns: int) -> None:
    if not 0 < rows <= 65535 or not 0 < columns <= 65535 or rows * columns > MAX_PIXELS:
        raise CannotWrap("image_too_large", "The image has more than 200 megapixels, or none.")
