"""Projection examinations: chest films (CR and DX), mammograms, angiography and fluoroscopy."""

import numpy as np
from numpy.typing import NDArray

from hilum.demo.dicom_writer import Header
from hilum.demo.exams.common import Exam, Series, code, image_header, pixel_header, series_header
from hilum.demo.phantoms.angiogram import coronary_run
from hilum.demo.phantoms.radiograph import chest_frontal, chest_lateral, mammogram, swallow

_CR, _DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
_MG, _XA, _RF = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2"
_CHEST_VIEWS = {
    "PA": ("399348003", "postero-anterior", ["L", "F"]),
    "AP": ("399067008", "antero-posterior", ["L", "F"]),
    "LL": ("399173006", "left lateral", ["A", "F"]),
}
_EXPOSURE: Header = {
    "KVP": 117,
    "ExposureTime": 12,
    "XRayTubeCurrent": 320,
    "Exposure": 4,
    "DistanceSourceToDetector": 1800,
}


def chest_cr(exam: Exam) -> list[Series]:
    """One frontal storage-phosphor film (CR Series and Image, PS3.3 C.8.1.1, C.8.1.2)."""
    view = "AP" if "bedside" in exam.protocol.description else "PA"
    pixels = chest_frontal((768, 768), 0.5, exam.female, "R", exam.study.findings, exam.rng)
    shared = series_header(exam, 1, "CR", _CR, f"Chest {view}")
    shared |= _EXPOSURE | {
        "ImageType": ["DERIVED", "PRIMARY"],
        "ViewPosition": view,
        "PatientOrientation": ["L", "F"],
        "PlateType": "storage phosphor",
        "ImagerPixelSpacing": [0.5, 0.5],
        "PixelSpacing": [0.5, 0.5],
        "WindowCenter": 2048,
        "WindowWidth": 4096,
    }
    shared |= pixel_header(pixels, exam.study.syntax, 12)
    return [Series(1, "CR", f"Chest {view}", shared, [(image_header(exam, 1, 1, 0), pixels)], exam.study.syntax)]


def chest_dx(exam: Exam) -> list[Series]:
    """Frontal and lateral digital films, a series each; the study named so is stored as MONOCHROME1."""
    inverse = exam.study.protocol == "dx_chest_mono1"
    series: list[Series] = []
    for number, view in enumerate(("PA", "LL"), 1):
        if view == "PA":
            pixels = chest_frontal((896, 896), 0.43, exam.female, "L", exam.study.findings, exam.rng)
        else:
            pixels = chest_lateral((896, 896), 0.43, exam.rng)
        if inverse:
            pixels = (4095 - pixels).astype(np.uint16)
        value, meaning, orientation = _CHEST_VIEWS[view]
        shared = series_header(exam, number, "DX", _DX, f"Chest {view}", 40.0 * number)
        shared |= _EXPOSURE | _digital(pixels, exam.study.syntax, 0.43, inverse)
        shared |= {
            "ImageLaterality": "U",
            "ViewPosition": view,
            "ViewCodeSequence": [_view(value, meaning)],
            "PatientOrientation": orientation,
            "AnatomicRegionSequence": [code("51185008", "SCT", "Chest")],
            "PositionerType": "NONE",
            "WindowCenter": 2048,
            "WindowWidth": 4096,
        }
        images = [(image_header(exam, number, 1, 40.0 * number), pixels)]
        series.append(Series(number, "DX", f"Chest {view}", shared, images, exam.study.syntax))
        if exam.study.protocol == "dx_chest_single":
            break
    return series


def _view(value: str, meaning: str) -> Header:
    nothing: list[Header] = []
    return code(value, "SCT", meaning) | {"ViewModifierCodeSequence": nothing}


def _digital(pixels: NDArray[np.uint16], syntax: str, pixel: float, inverse: bool = False) -> Header:
    """DX Series, DX Image and DX Detector (PS3.3 C.8.11.1, C.8.11.3, C.8.11.4), for presentation."""
    return pixel_header(pixels, syntax, 12, inverse=inverse) | {
        "ImageType": ["DERIVED", "PRIMARY", ""],
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": 1 if inverse else -1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "PresentationLUTShape": "INVERSE" if inverse else "IDENTITY",
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "DetectorType": "DIRECT",
        "DetectorConfiguration": "AREA",
        "ImagerPixelSpacing": [pixel, pixel],
        "AcquisitionContextSequence": [],
    }


def mammography(exam: Exam) -> list[Series]:
    """Two views of each breast in one series (Mammography Series and Image, PS3.3 C.8.11.6, C.8.11.7)."""
    sides = {"R": "right", "L": "left"}
    density = (0.25, 0.5, 0.75, 0.4)[int(exam.study.key[1:]) % 4]
    shared = series_header(exam, 1, "MG", _MG, "Screening, 4 views")
    images: list[tuple[Header, NDArray[np.integer]]] = []
    for number, (side, view) in enumerate((("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO")), 1):
        findings = [finding for finding in exam.study.findings if finding.site == sides[side]]
        pixels = mammogram((768, 576), 0.29, side, view, density, findings, exam.rng)
        value, meaning = ("399162004", "cranio-caudal") if view == "CC" else ("399368009", "medio-lateral oblique")
        front = ["P", "L"] if side == "R" else ["A", "R"]
        if view == "MLO":
            front = ["P", "FL"] if side == "R" else ["A", "FR"]
        if number == 1:
            shared |= _digital(pixels, exam.study.syntax, 0.29)
        header = image_header(exam, 1, number, 30.0 * number)
        header["ImageLaterality"], header["ViewPosition"], header["PatientOrientation"] = side, view, front
        header["ViewCodeSequence"] = [_view(value, meaning)]
        header["PositionerPrimaryAngle"] = 0 if view == "CC" else (-45 if side == "R" else 45)
        images.append((header, pixels))
    shared |= {
        "AnatomicRegionSequence": [code("76752008", "SCT", "Breast")],
        "PositionerType": "MAMMOGRAPHIC",
        "OrganExposed": "BREAST",
        "BreastImplantPresent": "NO",
        "KVP": 29,
        "ExposureTime": 900,
        "XRayTubeCurrent": 90,
        "Exposure": 81,
        "AnodeTargetMaterial": "TUNGSTEN",
        "FilterMaterial": "RHODIUM",
        "CompressionForce": 104,
        "BodyPartThickness": 54,
        "OrganDose": 0.0131,
        "WindowCenter": 2048,
        "WindowWidth": 3900,
    }
    return [Series(1, "MG", "Screening, 4 views", shared, images, exam.study.syntax)]


def _run_header(exam: Exam, pixels: NDArray[np.uint8], frame_time: float) -> Header:
    """X-Ray Image, Acquisition, Cine and Multi-frame (PS3.3 C.8.7.1, C.8.7.2, C.7.6.5, C.7.6.6)."""
    return pixel_header(pixels[0], exam.study.syntax, 8) | {
        "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
        "NumberOfFrames": len(pixels),
        "FrameIncrementPointer": 0x00181063,
        "FrameTime": frame_time,
        "CineRate": round(1000 / frame_time),
        "RecommendedDisplayFrameRate": round(1000 / frame_time),
        "PixelIntensityRelationship": "LIN",
        "RadiationSetting": "GR",
        "KVP": 78,
        "XRayTubeCurrent": 640,
        "ExposureTime": 7,
        "ImagerPixelSpacing": [0.3, 0.3],
        "PatientOrientation": ["L", "F"],
        "AcquisitionNumber": 1,
        "LossyImageCompression": "00",
        "WindowCenter": 128,
        "WindowWidth": 256,
    }


def angiography(exam: Exam) -> list[Series]:
    """One or two runs (XA Positioner, PS3.3 C.8.7.5), a series each."""
    trees = {"xa_coronary": ("left", "right"), "xa_cerebral": ("cerebral",)}[exam.study.protocol]
    series: list[Series] = []
    for number, tree in enumerate(trees, 1):
        findings = exam.study.findings if number == 1 else ()
        pixels = coronary_run((512, 512), 0.42 if tree == "cerebral" else 0.38, 12, tree, findings, exam.rng)
        name = {"left": "LCA RAO", "right": "RCA LAO", "cerebral": "ICA right AP"}[tree]
        shared = series_header(exam, number, "XA", _XA, name, 60.0 * number) | _run_header(exam, pixels, 66.7)
        angle = {"left": (-30.0, -20.0), "right": (30.0, 0.0), "cerebral": (0.0, 15.0)}[tree]
        shared |= {
            "PositionerMotion": "STATIC",
            "PositionerPrimaryAngle": angle[0],
            "PositionerSecondaryAngle": angle[1],
            "DistanceSourceToDetector": 1050,
            "DistanceSourceToPatient": 760,
            "ContrastBolusAgent": "Iodixanol 320 mgI/mL",
            "ContrastBolusRoute": "INTRA-ARTERIAL",
        }
        series.append(
            Series(
                number, "XA", name, shared, [(image_header(exam, number, 1, 60.0 * number), pixels)], exam.study.syntax
            )
        )
    return series


def fluoroscopy(exam: Exam) -> list[Series]:
    """One run of a barium swallow (XRF Positioner, PS3.3 C.8.7.6)."""
    pixels = swallow((512, 512), 0.62, 12, exam.study.findings, exam.rng)
    shared = series_header(exam, 1, "RF", _RF, "Oesophagus LPO") | _run_header(exam, pixels, 333.3)
    shared |= {
        "RadiationSetting": "SC",
        "DistanceSourceToDetector": 1150,
        "ContrastBolusAgent": "Barium sulfate suspension",
        "ContrastBolusRoute": "ORAL",
    }
    return [Series(1, "RF", "Oesophagus LPO", shared, [(image_header(exam, 1, 1, 0), pixels)], exam.study.syntax)]
