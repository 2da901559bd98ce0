"""Structured reports for tests: measurements by TID 1500, made by highdicom, and radiation dose, made by hand."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept, FindingSite, Measurement, QualitativeEvaluation
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayRadiationDoseSRStorage

from tests.make import ct, uid, written

NODULE = CodedConcept("27925004", "SCT", "Nodule")
DIAMETER = CodedConcept("81827009", "SCT", "Diameter")
ATTENUATION = CodedConcept("112031", "DCM", "Attenuation Coefficient")
MEAN = CodedConcept("373098007", "SCT", "Mean")
MM = CodedConcept("mm", "UCUM", "millimeter")
HU = CodedConcept("[hnsf'U]", "UCUM", "Hounsfield unit")
LOBE = CodedConcept("31094006", "SCT", "Structure of lobe of lung")
RIGHT = CodedConcept("24028007", "SCT", "Right")
MARGIN = CodedConcept("129737002", "SCT", "Radiographic lesion margin")
SPICULATED = CodedConcept("129742005", "SCT", "Spiculated lesion")


@dataclass(frozen=True)
class Event:
    """An irradiation event of an angiograph: dose area product (Gy.m2) and dose at the reference point (Gy)."""

    uid: str
    plane: str
    area_product: float
    reference: float


def measurement_report(
    *, number: int = 1, diameter: float = 8.5, algorithm: tuple[str, str] = ("", ""), tracking: str = "",
    time: str = "120000",
) -> bytes:  # fmt: skip
    """A TID 1500 report of study 1 on slice 1 of its series 2: one nodule with a diameter, a mean attenuation and a
    margin. It is instance ``number`` of series 9."""
    image = pydicom.dcmread(io.BytesIO(ct(1, 2, 1)))
    name = hd.sr.AlgorithmIdentification(algorithm[0], algorithm[1], MARGIN) if algorithm[0] else None
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=tracking or uid(7, 1), identifier="nodule one"),
        referenced_region=hd.sr.ImageRegion(
            graphic_type=hd.sr.GraphicTypeValues.CIRCLE,
            graphic_data=np.array([[1.0, 1.0], [1.0, 3.0]]),
            source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
        ),
        finding_type=NODULE,
        finding_sites=[FindingSite(LOBE, laterality=RIGHT)],
        measurements=[
            Measurement(DIAMETER, diameter, MM),
            Measurement(ATTENUATION, -31.25, HU, derivation=MEAN),
        ],
        qualitative_evaluations=[QualitativeEvaluation(MARGIN, SPICULATED)],
        algorithm_id=name,
    )
    person = hd.sr.ObserverContext(
        hd.sr.coding.CodedConcept("121006", "DCM", "Person"),
        hd.sr.PersonObserverIdentifyingAttributes("Reader^Rita"),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=person),
        procedure_reported=CodedConcept("77477000", "SCT", "CT"),
        imaging_measurements=[group],
    )
    made = hd.sr.Comprehensive3DSR(
        evidence=[image], content=content, series_instance_uid=uid(1, 9), series_number=9,
        sop_instance_uid=uid(1, 9, number), instance_number=number, manufacturer="Hilum",
    )  # fmt: skip
    made.ContentDate, made.ContentTime = "20240201", time
    return written(made)


def dose_report(
    events: Sequence[tuple[str, float, float]], total: float, *, number: int = 1, time: str = "110000"
) -> bytes:
    """A CT dose report (TID 10011) of study 1: of each irradiation event its UID, CTDIvol (mGy) and DLP (mGy.cm). It is
    instance ``number`` of series 8."""
    ds = _dose_document(number, time)
    totals = item("CONTAINER", ("113811", "CT Accumulated Dose Data"))
    totals.ContentSequence = [num(("113813", "CT Dose Length Product Total"), total, "mGy.cm")]
    ds.ContentSequence = [totals]
    for event, index, product in events:
        acquisition = item("CONTAINER", ("113819", "CT Acquisition"))
        region = item("CODE", ("123014", "Target Region"))
        region.ConceptCodeSequence = [code("T-D3000", "SRT", "Chest")]
        known = item("UIDREF", ("113769", "Irradiation Event UID"))
        known.UID = event
        dose = item("CONTAINER", ("113829", "CT Dose"))
        dose.ContentSequence = [
            num(("113830", "Mean CTDIvol"), index, "mGy"), num(("113838", "DLP"), product, "mGy.cm"),
        ]  # fmt: skip
        acquisition.ContentSequence = [region, known, dose]
        ds.ContentSequence.append(acquisition)
    return written(ds)


def projection_report(events: Sequence[Event], *, number: int = 1, time: str = "110000") -> bytes:
    """A projection X-ray dose report (TID 10001) of study 1, as an angiograph writes it: totals of each plane (TID
    10002, 10004), and each irradiation event (TID 10003) with its dose, technique and filter. It is instance
    ``number`` of series 8."""
    ds = _dose_document(number, time)
    procedure = item("CODE", ("121058", "Procedure reported"), "HAS CONCEPT MOD")
    procedure.ConceptCodeSequence = [code("113704", "DCM", "Projection X-Ray")]
    intent = item("CODE", ("363703001", "Has Intent"), "HAS CONCEPT MOD", "SCT")
    intent.ConceptCodeSequence = [code("261004008", "SCT", "Diagnostic Intent")]
    procedure.ContentSequence = [intent]
    scope = item("CODE", ("113705", "Scope of Accumulation"), "HAS OBS CONTEXT")
    scope.ConceptCodeSequence = [code("113014", "DCM", "Study")]
    scope.ContentSequence = [uid_of(("110180", "Study Instance UID"), uid(1), "HAS PROPERTIES")]
    ds.ContentSequence = [procedure, scope]
    for plane in dict.fromkeys(event.plane for event in events):
        own = [event for event in events if event.plane == plane]
        total = item("CONTAINER", ("113702", "Accumulated X-Ray Dose Data"))
        total.ContentSequence = [
            plane_of(plane),
            num(("113722", "Dose Area Product Total"), round(sum(event.area_product for event in own), 6), "Gy.m2"),
            num(("113725", "Dose (RP) Total"), round(sum(event.reference for event in own), 6), "Gy"),
            num(("113730", "Total Fluoro Time"), 12, "s"),
            num(("113731", "Total Number of Radiographic Frames"), 30, "1"),
        ]  # fmt: skip
        ds.ContentSequence.append(total)
    for event in events:
        made = item("CONTAINER", ("113706", "Irradiation Event X-Ray Data"))
        started = item("DATETIME", ("111526", "DateTime Started"))
        started.DateTime = "20240131105900"
        kind = item("CODE", ("113721", "Irradiation Event Type"))
        kind.ConceptCodeSequence = [code("44491008", "SCT", "Fluoroscopy")]
        region = item("CODE", ("123014", "Target Region"))
        region.ConceptCodeSequence = [code("51185008", "SCT", "Thorax")]
        filters = item("CONTAINER", ("113771", "X-Ray Filters"))
        filters.ContentSequence = [num(("113757", "X-Ray Filter Thickness Minimum"), 0.1, "mm")]
        made.ContentSequence = [
            plane_of(event.plane), uid_of(("113769", "Irradiation Event UID"), event.uid, "CONTAINS"),
            started, kind, region,
            num(("122130", "Dose Area Product"), event.area_product, "Gy.m2"),
            num(("113738", "Dose (RP)"), event.reference, "Gy"), num(("113733", "KVP"), 80, "kV"),
            num(("113734", "X-Ray Tube Current"), 410, "mA"), filters,
        ]  # fmt: skip
        ds.ContentSequence.append(made)
    return written(ds)


def _dose_document(number: int, time: str) -> Dataset:
    """An X-Ray Radiation Dose SR of study 1 without content."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = XRayRadiationDoseSRStorage
    meta.MediaStorageSOPInstanceUID = uid(1, 8, number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    image = pydicom.dcmread(io.BytesIO(ct(1, 1, 1)), stop_before_pixels=True)
    for keyword in ("PatientID", "PatientName", "PatientSex", "PatientBirthDate", "StudyInstanceUID", "StudyDate",
                    "StudyTime", "AccessionNumber", "StudyID"):  # fmt: skip
        setattr(ds, keyword, image[keyword].value)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = "SR", uid(1, 8), 8, number
    ds.ContentDate, ds.ContentTime = "20240131", time
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = [code("113701", "DCM", "X-Ray Radiation Dose Report")]
    return ds


def plane_of(plane: str) -> Dataset:
    """Acquisition Plane, ``A`` or ``B``."""
    made = item("CODE", ("113764", "Acquisition Plane"), "HAS CONCEPT MOD")
    made.ConceptCodeSequence = [code({"A": "113620", "B": "113621"}[plane], "DCM", f"Plane {plane}")]
    return made


def uid_of(name: tuple[str, str], value: str, relationship: str) -> Dataset:
    made = item("UIDREF", name, relationship)
    made.UID = value
    return made


def code(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def item(kind: str, name: tuple[str, str], relationship: str = "CONTAINS", scheme: str = "DCM") -> Dataset:
    made = Dataset()
    made.RelationshipType, made.ValueType = relationship, kind
    made.ConceptNameCodeSequence = [code(name[0], scheme, name[1])]
    return made


def num(name: tuple[str, str], value: Any, unit: str) -> Dataset:
    made = item("NUM", name)
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [code(unit, "UCUM", unit)]
    made.MeasuredValueSequence = [measured]
    return made
