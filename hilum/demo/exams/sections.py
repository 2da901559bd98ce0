"""Cross-sectional examinations: CT, MR and PET with CT. Each takes an exam, paints its phantom and gives the series."""

import numpy as np
from numpy.typing import NDArray

from hilum.demo.dicom_writer import Header, uid
from hilum.demo.exams.common import Exam, Series, code, image_header, pixel_header, plane_header, series_header
from hilum.demo.phantoms.abdomen import abdomen
from hilum.demo.phantoms.canvas import Canvas, Float, quantise_ct, quantise_mr
from hilum.demo.phantoms.head import CT_PALETTE, MR_PALETTE, head
from hilum.demo.phantoms.sagittal import knee, lumbar_spine
from hilum.demo.phantoms.thorax import pet_plane_blur, thorax

_CT, _MR, _PT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def _position(canvas: Canvas, plane: int, orientation: tuple[float, ...]) -> list[float]:
    """Patient coordinates of the first pixel of a plane; sagittal canvases stack from right to left."""
    x, y, z = float(canvas.x[0]), float(canvas.y[0]), float(canvas.z[plane])
    return [x, y, z] if orientation == _AXIAL else [z, x, -y]


def _images(
    exam: Exam, number: int, canvas: Canvas, voxels: NDArray[np.integer], orientation: tuple[float, ...], seconds: float
) -> list[tuple[Header, NDArray[np.integer]]]:
    thickness, rows, columns = (abs(float(step)) for step in canvas.spacing)
    return [
        (
            image_header(exam, number, plane + 1, seconds + plane * 0.4)
            | plane_header(_position(canvas, plane, orientation), orientation, (rows, columns), thickness),
            pixels,
        )
        for plane, pixels in enumerate(voxels)
    ]


def _frame(exam: Exam, position: str = "HFS") -> Header:
    return {
        "FrameOfReferenceUID": uid("frame of reference", exam.study.key),
        "PositionReferenceIndicator": None,
        "PatientPosition": position,
    }


def _ct_header(exam: Exam, pixels: NDArray[np.integer], kernel: str, window: tuple[int, int], dose: float) -> Header:
    """CT Image (PS3.3 C.8.2.1); stored values are HU + 1024 unless the pixels are signed."""
    return _frame(exam) | {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "AcquisitionNumber": 1,
        "KVP": 120,
        "ScanOptions": "HELICAL MODE",
        "DataCollectionDiameter": 500,
        "ReconstructionDiameter": 365,
        "GantryDetectorTilt": 0,
        "TableHeight": 152.0,
        "RotationDirection": "CW",
        "ExposureTime": 500,
        "XRayTubeCurrent": 180,
        "Exposure": 90,
        "FilterType": "BODY FILTER",
        "FocalSpots": 1.2,
        "ConvolutionKernel": kernel,
        "CTDIvol": dose,
        "CTDIPhantomTypeCodeSequence": [
            code("113690", "DCM", "IEC Head Dosimetry Phantom")
            if exam.protocol.body_part == "HEAD"
            else code("113691", "DCM", "IEC Body Dosimetry Phantom")
        ],
        "SpiralPitchFactor": 0.98,
        "RescaleIntercept": 0 if pixels.dtype.kind == "i" else -1024,
        "RescaleSlope": 1,
        "RescaleType": "HU",
        "WindowCenter": window[0],
        "WindowWidth": window[1],
    }


_CONTRAST: Header = {
    "ContrastBolusAgent": "Iohexol 350 mgI/mL",
    "ContrastBolusRoute": "INTRAVENOUS",
    "ContrastBolusVolume": 80,
    "ContrastFlowRate": 3.0,
}


def _stored(hu: NDArray[np.int16], syntax: str) -> NDArray[np.integer]:
    """Signed HU where the file is plain explicit, else shifted so that every codec takes it."""
    return hu if syntax == "explicit" else (hu + 1024).astype(np.uint16)


def _ct_series(
    exam: Exam,
    number: int,
    description: str,
    canvas: Canvas,
    hu: NDArray[np.int16],
    kernel: str,
    window: tuple[int, int],
    extra: Header,
    seconds: float,
) -> Series:
    pixels = _stored(hu, exam.study.syntax)
    shared = series_header(exam, number, "CT", _CT, description, seconds)
    shared |= _ct_header(exam, pixels, kernel, window, 9.8) | extra
    shared |= pixel_header(pixels[0], exam.study.syntax, 12)
    images = _images(exam, number, canvas, pixels, _AXIAL, seconds)
    return Series(number, "CT", description, shared, images, exam.study.syntax)


def ct_chest(exam: Exam) -> list[Series]:
    """A chest of 60 planes of 4 mm: localizer, and a lung or a soft-tissue reconstruction."""
    contrast = exam.study.protocol == "ct_chest_contrast"
    fine = bool(exam.study.prior) or exam.study.on_cd or any(8 <= f.diameter_mm < 12 for f in exam.study.findings)
    side = 320 if fine and not exam.study.on_cd else 256
    spacing = 364.8 / side
    canvas = thorax(
        (60, side, side), (-4.0, spacing, spacing), -4.0, exam.female, contrast, exam.study.findings, exam.rng
    )
    hu = quantise_ct(canvas.voxels[0], 13 if contrast else 22, exam.noise)
    if contrast:
        series = _ct_series(exam, 2, "Chest venous 4.0 B30", canvas, hu, "B30f", (40, 400), _CONTRAST, 60)
    else:
        series = _ct_series(exam, 2, "Chest lung 4.0 B60", canvas, hu, "B60f", (-550, 1500), {}, 60)
    return [_localizer(exam, canvas), series]


def _localizer(exam: Exam, canvas: Canvas) -> Series:
    """The frontal scout view, from the same volume."""
    syntax = exam.study.syntax
    through = canvas.voxels[0].mean(axis=1)
    heights = np.arange(float(canvas.z[0]), float(canvas.z[-1]), -1.5)
    place = np.interp(-heights, -canvas.z, np.arange(len(canvas.z)))
    low = place.astype(np.intp).clip(0, len(canvas.z) - 2)
    share = (place - low)[:, None].astype(np.float32)
    view: Float = through[low] * (1 - share) + through[low + 1] * share
    pixels = _stored(np.clip(view * 0.9 + 260, -1024, 1500).astype(np.int16), syntax)
    shared = series_header(exam, 1, "CT", _CT, "Topogram", 0)
    shared |= _ct_header(exam, pixels, "T20s", (0, 900), 0.2) | pixel_header(pixels, syntax, 12)
    shared |= {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ScanOptions": "SCOUT MODE"}
    del shared["RescaleType"]
    position = (float(canvas.x[0]), 0.0, float(canvas.z[0]))
    image = image_header(exam, 1, 1, 0) | plane_header(position, _CORONAL, (1.5, canvas.spacing[2]), 1.0)
    return Series(1, "CT", "Topogram", shared, [(image, pixels)], syntax)


def ct_head(exam: Exam) -> list[Series]:
    """28 planes of 5 mm of the head, without contrast."""
    atrophy = min(1.0, max(0.1, (int(exam.study.date[:4]) - int(exam.person.birth_date[:4]) - 40) / 50))
    canvas = head((28, 256, 256), (-5.0, 0.9, 0.9), CT_PALETTE, atrophy, exam.study.findings, exam.rng)
    hu = quantise_ct(canvas.voxels[0], 3.4, exam.noise)
    return [_ct_series(exam, 2, "Head axial 5.0 J40", canvas, hu, "J40s", (38, 90), {"ScanOptions": "AXIAL MODE"}, 20)]


def ct_abdomen(exam: Exam) -> list[Series]:
    """40 planes of 5 mm of the abdomen, portal venous or plain."""
    contrast = exam.study.protocol == "ct_abdomen_contrast"
    build = 0.9 + exam.person.weight_kg / 700
    canvas = abdomen((40, 256, 256), (-5.0, 1.46, 1.46), contrast, build, exam.study.findings, exam.rng)
    hu = quantise_ct(canvas.voxels[0], 11, exam.noise)
    description = "Abdomen portal venous 5.0 B30" if contrast else "Abdomen native 5.0 B30"
    return [_ct_series(exam, 2, description, canvas, hu, "B30f", (50, 400), _CONTRAST if contrast else {}, 70)]


def _mr_series(
    exam: Exam,
    number: int,
    description: str,
    canvas: Canvas,
    channel: int,
    orientation: tuple[float, ...],
    physics: Header,
) -> Series:
    """One sequence (MR Image, PS3.3 C.8.3.1)."""
    voxels = quantise_mr(canvas.voxels[channel], 13, exam.noise)
    seconds = 180.0 * number
    field = 3.0 if exam.equipment["MR"].model.endswith("3") else 1.5
    gap = abs(canvas.spacing[0])
    shared = series_header(exam, number, "MR", _MR, description, seconds) | _frame(exam)
    shared |= {
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "AcquisitionNumber": 1,
        "ScanOptions": None,
        "MRAcquisitionType": "2D",
        "MagneticFieldStrength": field,
        "ImagingFrequency": round(42.577 * field, 4),
        "ImagedNucleus": "1H",
        "NumberOfAverages": 1,
        "SpacingBetweenSlices": gap,
        "PixelBandwidth": 195,
        "PercentSampling": 100,
        "PercentPhaseFieldOfView": 100,
        "AcquisitionMatrix": [0, voxels.shape[2], voxels.shape[1], 0],
        "InPlanePhaseEncodingDirection": "ROW",
        "TransmitCoilName": "BODY",
        "SAR": 0.42,
        "WindowCenter": 620,
        "WindowWidth": 1240,
    }
    shared |= physics | pixel_header(voxels[0], exam.study.syntax, 12)
    images = _images(exam, number, canvas, voxels, orientation, seconds)
    for image, _ in images:
        image["SliceThickness"] = round(gap * 0.9, 2)
    return Series(number, "MR", description, shared, images, exam.study.syntax)


_SE: Header = {"ScanningSequence": "SE", "SequenceVariant": "SK", "EchoTrainLength": 1, "FlipAngle": 90}
_TSE: Header = {"ScanningSequence": "SE", "SequenceVariant": ["SK", "SP"], "EchoTrainLength": 15, "FlipAngle": 150}
_T1: Header = _SE | {"RepetitionTime": 550, "EchoTime": 12, "SequenceName": "se2d1"}
_T2: Header = _TSE | {"RepetitionTime": 4200, "EchoTime": 98, "SequenceName": "tse2d1_15"}
_FLAIR: Header = _T2 | {
    "ScanningSequence": ["SE", "IR"],
    "RepetitionTime": 9000,
    "EchoTime": 92,
    "InversionTime": 2500,
    "SequenceName": "tir2d1_15",
}
_PD: Header = _TSE | {"RepetitionTime": 2800, "EchoTime": 32, "SequenceName": "tse2d1_7"}


def mr_brain(exam: Exam) -> list[Series]:
    """T1, T2 and FLAIR of the brain, 20 planes each."""
    age = int(exam.study.date[:4]) - int(exam.person.birth_date[:4])
    atrophy = min(0.9, max(0.0, (age - 45) / 60))
    canvas = head((20, 192, 192), (-6.5, 1.14, 1.14), MR_PALETTE, atrophy, exam.study.findings, exam.rng)
    names = (("t1_se_tra", _T1), ("t2_tse_tra", _T2), ("t2_flair_tra", _FLAIR))
    series = [_mr_series(exam, 2 + i, name, canvas, i, _AXIAL, physics) for i, (name, physics) in enumerate(names)]
    series[1].shared["WindowCenter"], series[1].shared["WindowWidth"] = 700, 1400
    series[2].shared["WindowCenter"], series[2].shared["WindowWidth"] = 520, 1040
    return series


def mr_knee(exam: Exam) -> list[Series]:
    """Proton density and fat-suppressed T2 of one knee, 20 sagittal planes each."""
    canvas = knee((20, 192, 192), (4.4, 0.8, 0.8), exam.study.findings, exam.rng)
    side: Header = {"Laterality": "L" if int(exam.study.key[1:]) % 2 else "R"}
    return [
        _mr_series(exam, 2, "pd_tse_sag", canvas, 0, _SAGITTAL, _PD | side),
        _mr_series(exam, 3, "t2_tse_fs_sag", canvas, 1, _SAGITTAL, _T2 | side | {"ScanOptions": "FS"}),
    ]


def mr_spine(exam: Exam) -> list[Series]:
    """T1 and T2 of the lumbar spine, 13 sagittal planes each."""
    canvas = lumbar_spine((13, 256, 256), (4.4, 1.1, 1.1), exam.study.findings, exam.rng)
    return [
        _mr_series(exam, 2, "t1_tse_sag", canvas, 0, _SAGITTAL, _T1),
        _mr_series(exam, 3, "t2_tse_sag", canvas, 1, _SAGITTAL, _T2),
    ]


def pet_ct(exam: Exam) -> list[Series]:
    """FDG-PET and the CT beside it, chest and upper abdomen, in one frame of reference."""
    canvas = thorax((42, 256, 256), (-7.0, 1.5, 1.5), -70.0, exam.female, False, exam.study.findings, exam.rng)
    hu = quantise_ct(canvas.voxels[0], 16, exam.noise)
    ct = _ct_series(exam, 2, "CT AC 6.0 B30", canvas, hu, "B30f", (40, 400), {"KVP": 100}, 30)
    return [ct, _pet_series(exam, canvas)]


def _pet_series(exam: Exam, canvas: Canvas) -> Series:
    """PET Series, Isotope and Image (PS3.3 C.8.9.1, C.8.9.2, C.8.9.4); stored x slope is Bq/mL."""
    suv = pet_plane_blur(canvas.voxels[1])
    noise: Float = exam.noise.standard_normal(suv.shape, dtype=np.float32)
    suv = np.clip(suv + np.sqrt(suv + 0.05) * noise * np.float32(0.11), 0, None)
    dose, weight = 3.1e8, exam.person.weight_kg * 1000.0
    decayed = dose * 0.5 ** (3600 / 6586.2)
    slope = float(np.ceil(suv.max() * decayed / weight)) / 32767
    pixels = np.clip(suv * (decayed / weight / slope), 0, 32767).astype(np.int16)
    date, injected = exam.moment(-3600)
    shared = series_header(exam, 3, "PT", _PT, "PET AC WB FDG", 120) | _frame(exam)
    # Patient Orientation Code Sequence takes the place of Patient Position.
    del shared["PatientPosition"]
    shared |= {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Units": "BQML",
        "CountsSource": "EMISSION",
        "SeriesType": ["WHOLE BODY", "IMAGE"],
        "NumberOfSlices": len(pixels),
        "CorrectedImage": ["DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM"],
        "RandomsCorrectionMethod": "DLYD",
        "AttenuationCorrectionMethod": "CT",
        "ScatterCorrectionMethod": "Model-based",
        "ReconstructionMethod": "OSEM3D 3i21s",
        "DecayCorrection": "START",
        "CollimatorType": "NONE",
        "AcquisitionNumber": 1,
        "ActualFrameDuration": 120000,
        "DecayFactor": 1.0,
        "RescaleIntercept": 0,
        "RescaleSlope": round(slope, 8),
        "WindowCenter": round(2.5 * decayed / weight),
        "WindowWidth": round(5 * decayed / weight),
        "PatientOrientationCodeSequence": [
            code("102538003", "SCT", "recumbent")
            | {"PatientOrientationModifierCodeSequence": [code("40199007", "SCT", "supine")]}
        ],
        "PatientGantryRelationshipCodeSequence": [code("102540008", "SCT", "headfirst")],
        "RadiopharmaceuticalInformationSequence": [
            {
                "Radiopharmaceutical": "Fluorodeoxyglucose F^18^",
                "RadiopharmaceuticalRoute": "Intravenous route",
                "RadiopharmaceuticalStartTime": injected,
                "RadiopharmaceuticalStartDateTime": date + injected,
                "RadionuclideTotalDose": dose,
                "RadionuclideHalfLife": 6586.2,
                "RadionuclidePositronFraction": 0.97,
                "RadionuclideCodeSequence": [code("77004003", "SCT", "^18^Fluorine")],
                "RadiopharmaceuticalCodeSequence": [code("35321007", "SCT", "Fluorodeoxyglucose F^18^")],
            }
        ],
    }
    shared |= pixel_header(pixels[0], exam.study.syntax, 16)
    images: list[tuple[Header, NDArray[np.integer]]] = []
    thickness, rows, columns = abs(canvas.spacing[0]), canvas.spacing[1] * 2, canvas.spacing[2] * 2
    for plane, picture in enumerate(pixels):
        x, y, z = _position(canvas, plane, _AXIAL)
        position = (x + columns / 4, y + rows / 4, z)
        header = image_header(exam, 3, plane + 1, 120) | plane_header(position, _AXIAL, (rows, columns), thickness)
        images.append((header | {"FrameReferenceTime": 60000.0, "ImageIndex": plane + 1}, picture))
    return Series(3, "PT", "PET AC WB FDG", shared, images, exam.study.syntax)
