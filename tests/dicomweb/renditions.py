"""What the tests of rendered resources share: images whose shades are known, reports, documents and videos, and readers
of pictures that are not Hilum's."""

import io
from collections.abc import Sequence

import httpx
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41

from tests.dicom.files import wheel_file, written
from tests.dicom.images import image_of
from tests.make import uid

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
STUDY, SERIES = uid(1), uid(1, 1)
ROOT = f"/studies/{STUDY}/series/{SERIES}"


def at(instance: Dataset, *parts: int) -> Dataset:
    """An instance at a place of the tests' study; without parts at its first."""
    instance.StudyInstanceUID, instance.SeriesInstanceUID = STUDY, uid(1, *parts[:1] or (1,))
    instance.SOPInstanceUID = uid(1, *(parts or (1, 1)))
    instance.InstanceNumber, instance.PatientID = (parts or (1, 1))[-1], "P"
    return instance


def path(*parts: int) -> str:
    """The path of an instance that `at` has placed."""
    found = parts or (1, 1)
    return f"/studies/{STUDY}/series/{uid(1, found[0])}/instances/{uid(1, *found)}"


def ramp(*parts: int, **attributes: object) -> bytes:
    """An image of 64 x 64 whose values go from 0 to 4095, windowed to show all of them."""
    wanted = {"WindowCenter": "2048", "WindowWidth": "4096", "PatientName": "Secret^Name"} | attributes
    return written(at(image_of(RAMP, **wanted), *parts))


def film(count: int = 4, **attributes: object) -> bytes:
    """A multi-frame image of 32 x 32, each frame of one shade: 10, 20, 30 ..."""
    frames = np.stack([np.full((32, 32), 10 * number, np.uint8) for number in range(1, count + 1)])
    return written(at(image_of(frames, WindowCenter="128", WindowWidth="256", **attributes)))


def colours() -> NDArray[np.uint8]:
    """A picture of smooth colours."""
    rows, columns = np.mgrid[0:64, 0:48]
    return np.stack((rows * 4, columns * 5, 255 - rows * 4), axis=2).astype(np.uint8)


def report(**attributes: object) -> bytes:
    """A structured report of pydicom's wheel, with attributes of one's own."""
    found = pydicom.dcmread(wheel_file("test-SR.dcm"))
    for keyword, value in attributes.items():
        setattr(found, keyword, value)
    return written(at(found))


def document(data: bytes, sop_class: str = "1.2.840.10008.5.1.4.1.1.104.1") -> bytes:
    """An encapsulated document."""
    found = Dataset()
    found.SOPClassUID, found.Modality, found.PatientID = sop_class, "DOC", "P"
    found.MIMETypeOfEncapsulatedDocument = "application/pdf"
    found.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    found.EncapsulatedDocumentLength = len(data)
    return written(at(found))


def video(stream: bytes, fragments: int = 3, **attributes: object) -> bytes:
    """A video instance whose stream lies in several fragments."""
    found = at(image_of(np.zeros((2, 4, 4, 3), np.uint8), "YBR_PARTIAL_420", NumberOfFrames=50, **attributes))
    size = -(-len(stream) // fragments)
    size += size % 2
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    found.PixelData = encapsulate([b"".join(pieces)], fragments_per_frame=len(pieces), has_bot=False)
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    return written(found, MPEG4HP41)


def nothing_to_see() -> bytes:
    """An instance without pixels, text or document."""
    found = pydicom.dcmread(wheel_file("rtplan.dcm"))
    return written(at(found))


def png(answer: httpx.Response) -> NDArray[np.uint8]:
    """The picture of an answer that must be a PNG."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return imagecodecs.png_decode(answer.content)


def jpeg(answer: httpx.Response) -> NDArray[np.uint8]:
    """The picture of an answer that must be a JPEG."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return imagecodecs.jpeg8_decode(answer.content)


def gif(data: bytes) -> tuple[list[NDArray[np.uint8]], int]:
    """The frames of a GIF as grey, and how long each is shown in milliseconds."""
    image = Image.open(io.BytesIO(data))
    assert image.format == "GIF"
    frames: list[NDArray[np.uint8]] = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(np.asarray(image.convert("L")))
    return frames, image.info.get("duration", 0)


def windowed(
    values: Sequence[int] | NDArray[np.uint16], center: float, width: float, function: str
) -> NDArray[np.uint8]:
    """Shades by the formulas of PS3.3 C.11.2.1.2, written down once more."""
    given = np.asarray(values, np.float64)
    if function == "linear":
        shades = ((given - (center - 0.5)) / (width - 1) + 0.5) * 255
    elif function == "linear-exact":
        shades = ((given - center) / width + 0.5) * 255
    else:
        shades = 255 / (1 + np.exp(-4 * (given - center) / width))
    return np.floor(np.clip(shades, 0, 255) + 0.5).astype(np.uint8)
