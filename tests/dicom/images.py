"""More input: the images of the wheel pydicom-data, with lookup tables, palettes, overlays and rarer syntaxes, and
images made of an array."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_files
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid


@cache
def more_images() -> tuple[Path, ...]:
    """Every file of pydicom-data; empty where it is not installed."""
    paths = {Path(name) for name in get_testdata_files()}
    return tuple(sorted(path for path in paths if path.is_file() and "data_store" in path.parts))


def more_image(name: str) -> Path:
    """One of them; without it the test is skipped."""
    found = [path for path in more_images() if path.name == name]
    if not found:
        pytest.skip("pydicom-data is not installed")
    return found[0]


def image_of(pixels: NDArray[np.generic], photometric: str = "MONOCHROME2", **attributes: object) -> Dataset:
    """A Secondary Capture of one frame (rows, columns) or (rows, columns, 3), or of several (frames first)."""
    samples = 3 if pixels.shape[-1] == 3 and photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 1
    sizes = pixels.shape[:-1] if samples == 3 else pixels.shape
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = generate_uid(), generate_uid()
    data_set.PatientID, data_set.PatientName, data_set.Modality, data_set.InstanceNumber = "P", "A^B", "OT", 1
    data_set.SamplesPerPixel, data_set.PhotometricInterpretation = samples, photometric
    if len(sizes) == 3:
        data_set.NumberOfFrames = sizes[0]
    data_set.Rows, data_set.Columns = sizes[-2:]
    bits = pixels.dtype.itemsize * 8
    data_set.BitsAllocated = data_set.BitsStored = bits
    data_set.HighBit, data_set.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    if samples == 3:
        data_set.PlanarConfiguration = 0
    data_set.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    data_set["PixelData"].VR = "OW" if bits > 8 else "OB"
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return data_set
