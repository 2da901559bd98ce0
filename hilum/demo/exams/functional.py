"""Ultrasound and scintigraphy: still pictures, loops and multi-frame counts."""

import numpy as np
from numpy.typing import NDArray

from hilum.demo.dicom_writer import Header
from hilum.demo.exams.common import Exam, Series, code, image_header, pixel_header, series_header
from hilum.demo.phantoms.angiogram import bone_scan, renogram, thyroid_scan
from hilum.demo.phantoms.ultrasound import abdomen_still, heart_cine, thyroid_still

_US, _US_CINE, _NM = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.20"
_SHAPE = (480, 640)


def _us_header(pixels: NDArray[np.uint8], syntax: str, depth: float, transducer: str) -> Header:
    """US Region Calibration and US Image (PS3.3 C.8.5.5, C.8.5.6); the region is the whole sector, in cm."""
    step = depth * 1.06 / (_SHAPE[0] * 0.94) / 10
    return pixel_header(pixels, syntax, 8, colour=True) | {
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "TransducerType": transducer,
        "PatientOrientation": None,
        "BurnedInAnnotation": "NO",
        "SequenceOfUltrasoundRegions": [
            {
                "RegionSpatialFormat": 1,
                "RegionDataType": 1,
                "RegionFlags": 0,
                "RegionLocationMinX0": 32,
                "RegionLocationMinY0": 16,
                "RegionLocationMaxX1": 607,
                "RegionLocationMaxY1": 471,
                "PhysicalUnitsXDirection": 3,
                "PhysicalUnitsYDirection": 3,
                "PhysicalDeltaX": round(step, 6),
                "PhysicalDeltaY": round(step, 6),
            }
        ],
    }


def ultrasound_still(exam: Exam) -> list[Series]:
    """Three still pictures of the upper abdomen, or two of the thyroid."""
    thyroid = exam.study.protocol == "us_thyroid"
    images: list[tuple[Header, NDArray[np.integer]]] = []
    for number in range(1, 3 if thyroid else 4):
        draw = thyroid_still if thyroid else abdomen_still
        images.append((image_header(exam, 1, number, 45.0 * number), draw(_SHAPE, exam.study.findings, exam.rng)))
    name = "Thyroid transverse" if thyroid else "Right upper quadrant"
    shared = series_header(exam, 1, "US", _US, name)
    shared |= _us_header(
        images[0][1].astype(np.uint8),
        exam.study.syntax,
        46 if thyroid else 150,
        "LINEAR" if thyroid else "CURVED LINEAR",
    )
    return [Series(1, "US", name, shared, images, exam.study.syntax)]


def ultrasound_cine(exam: Exam) -> list[Series]:
    """A loop of one heartbeat, four chambers, with its frame time (Cine, PS3.3 C.7.6.5)."""
    pixels = heart_cine(_SHAPE, 20, exam.study.findings, exam.rng)
    shared = series_header(exam, 1, "US", _US_CINE, "A4C 2D") | _us_header(
        pixels[0], exam.study.syntax, 155, "SECTOR_PHASED"
    )
    shared |= {
        "NumberOfFrames": len(pixels),
        "FrameIncrementPointer": 0x00181063,
        "FrameTime": 43.5,
        "CineRate": 23,
        "HeartRate": 69,
    }
    return [Series(1, "US", "A4C 2D", shared, [(image_header(exam, 1, 1, 0), pixels)], exam.study.syntax)]


def _nm_header(
    exam: Exam, pixels: NDArray[np.uint16], kind: str, spacing: float, tracer: tuple[str, str, str]
) -> Header:
    """NM Image, Isotope and Detector (PS3.3 C.8.4.9 to C.8.4.11); tracer is code, name and energy window name."""
    frames, brightest = len(pixels), round(float(np.quantile(pixels, 0.995)) + 1)
    _, injected = exam.moment(-7200 if kind == "WHOLE BODY" else -30)
    header = pixel_header(pixels[0], exam.study.syntax, 16) | {
        "ImageType": ["ORIGINAL", "PRIMARY", kind, "EMISSION"],
        "NumberOfFrames": frames,
        "FrameIncrementPointer": [0x00540010, 0x00540020],
        "EnergyWindowVector": [1] * frames if frames > 1 else 1,
        "NumberOfEnergyWindows": 1,
        "DetectorVector": list(range(1, frames + 1)) if kind == "WHOLE BODY" else ([1] * frames if frames > 1 else 1),
        "NumberOfDetectors": 2 if kind == "WHOLE BODY" else 1,
        "PixelSpacing": [spacing, spacing],
        "CountsAccumulated": int(pixels.sum()),
        "AcquisitionTerminationCondition": "TIME",
        "PatientOrientation": None,
        "WindowCenter": brightest / 2,
        "WindowWidth": brightest,
        "PatientOrientationCodeSequence": [
            code("102538003", "SCT", "recumbent")
            | {"PatientOrientationModifierCodeSequence": [code("40199007", "SCT", "supine")]}
        ],
        "PatientGantryRelationshipCodeSequence": [code("102540008", "SCT", "headfirst")],
        "EnergyWindowInformationSequence": [
            {
                "EnergyWindowName": tracer[2],
                "EnergyWindowRangeSequence": [{"EnergyWindowLowerLimit": 126.5, "EnergyWindowUpperLimit": 154.6}],
            }
        ],
        "RadiopharmaceuticalInformationSequence": [
            {
                "Radiopharmaceutical": tracer[1],
                "RadiopharmaceuticalRoute": "Intravenous route",
                "RadiopharmaceuticalStartTime": injected,
                "RadionuclideTotalDose": 600.0,
                "RadionuclideCodeSequence": [code("72454005", "SCT", "^99m^Technetium")],
                "RadiopharmaceuticalCodeSequence": [code(tracer[0], "SCT", tracer[1])],
            }
        ],
        "DetectorInformationSequence": [
            {
                "CollimatorType": "PARA",
                "CollimatorGridName": "LEHR",
                "FieldOfViewShape": "RECTANGLE",
                "FocalDistance": 0,
                "ImageOrientationPatient": [side, 0, 0, 0, 0, -1],
                "ImagePositionPatient": [
                    -side * pixels.shape[2] * spacing / 2,
                    -200 * side,
                    pixels.shape[1] * spacing / 2,
                ],
            }
            for side in ((1, -1) if kind == "WHOLE BODY" else (1,))
        ],
    }
    if kind == "DYNAMIC":
        header |= {
            "FrameIncrementPointer": [0x00540010, 0x00540020, 0x00540030, 0x00540100],
            "PhaseVector": [1] * frames,
            "NumberOfPhases": 1,
            "TimeSliceVector": list(range(1, frames + 1)),
            "PhaseInformationSequence": [
                {
                    "PhaseDelay": 0,
                    "ActualFrameDuration": 20000,
                    "PauseBetweenFrames": 0,
                    "NumberOfFramesInPhase": frames,
                }
            ],
        }
    else:
        header["ActualFrameDuration"] = 300000
    if kind == "WHOLE BODY":
        header["ScanVelocity"], header["WholeBodyTechnique"], header["ScanLength"] = 2.0, "1PS", 2048
    return header


def scintigraphy(exam: Exam) -> list[Series]:
    """A bone scan from both sides, a dynamic kidney scan, or a static thyroid scan."""
    findings, rng = exam.study.findings, exam.rng
    if exam.study.protocol == "nm_bone":
        pixels, kind, spacing, name = (
            bone_scan((1024, 256), 2.0, findings, rng),
            "WHOLE BODY",
            2.0,
            "Whole body ANT/POST",
        )
        tracer = ("404706005", "Technetium Tc^99m^ medronate", "Tc99m 140 keV")
    elif exam.study.protocol == "nm_renal":
        pixels, kind, spacing, name = (
            renogram((128, 128), 3.6, 40, findings, rng),
            "DYNAMIC",
            3.6,
            "Renogram POST dynamic",
        )
        tracer = ("126500000", "Technetium Tc^99m^ mertiatide", "Tc99m 140 keV")
    else:
        pixels, kind, spacing, name = thyroid_scan((128, 128), 1.8, findings, rng), "STATIC", 1.8, "Thyroid ANT static"
        tracer = ("404707001", "Technetium Tc^99m^ pertechnetate", "Tc99m 140 keV")
    shared = series_header(exam, 1, "NM", _NM, name) | _nm_header(exam, pixels, kind, spacing, tracer)
    return [Series(1, "NM", name, shared, [(image_header(exam, 1, 1, 0), pixels)], exam.study.syntax)]
