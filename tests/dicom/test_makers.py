"""Objects that highdicom makes are shown as it meant them: segmentations of single bits and parametric maps."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.dicom.files import wheel_file
from tests.dicom.formats import frames_of

highdicom = pytest.importorskip("highdicom")


@pytest.fixture(scope="module")
def source() -> pydicom.Dataset:
    return pydicom.dcmread(wheel_file("CT_small.dcm"))


def made(data_set: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    data_set.save_as(file)
    return file.getvalue()


def common() -> dict[str, object]:
    return {
        "series_instance_uid": generate_uid(), "series_number": 9, "sop_instance_uid": generate_uid(),
        "instance_number": 1, "manufacturer": "Hilum", "manufacturer_model_name": "test",
        "software_versions": "1", "device_serial_number": "1",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_segmentation_has_its_mask(source: pydicom.Dataset, kind: str) -> None:
    mask = np.zeros((1, source.Rows, source.Columns), np.uint8 if kind == "BINARY" else np.float32)
    mask[0, 20:70, 31:99] = 1
    segment = highdicom.seg.SegmentDescription(
        1, "part", pydicom.sr.codedict.codes.SCT.Tissue, pydicom.sr.codedict.codes.SCT.Tissue,
        highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )  # fmt: skip
    made_of = highdicom.seg.Segmentation(
        [source], mask, kind, [segment], omit_empty_frames=False, **common()
    )  # fmt: skip
    frame = frames_of(made(made_of))[0]
    assert frame.shape == mask[0].shape
    assert np.array_equal(frame > 0, mask[0] > 0)


def test_a_parametric_map_has_its_values(source: pydicom.Dataset) -> None:
    values = np.random.default_rng(1).normal(size=(1, source.Rows, source.Columns)).astype(np.float32)
    mapping = highdicom.pm.RealWorldValueMapping(
        "x", "value", pydicom.sr.codedict.codes.UCUM.NoUnits, (-9.0, 9.0), slope=1, intercept=0
    )
    made_of = highdicom.pm.ParametricMap(
        [source], values, real_world_value_mappings=[mapping], window_center=0, window_width=4,
        contains_recognizable_visual_features=False, **common(),
    )  # fmt: skip
    (frame,) = frames_of(made(made_of))
    assert np.array_equal(frame, values[0])
