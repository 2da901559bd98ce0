"""The cases of the planted set: where identifiers hide, and what of each file must be left."""

import struct
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)  # fmt: skip

from hilum.imaging.dicom.encode import encode_frame
from tests.research.deid.planted import (
    CT,
    MR,
    PATIENTS,
    PT,
    SOP_KEEP,
    THIRD,
    Patient,
    Planted,
    Set,
    accession,
    base,
    common,
    concept,
    content,
    image,
    item,
    uid,
)  # fmt: skip

# What an output may hold and what not, for one description each: planted text, what must be left of it.
DESCRIPTIONS = [
    ("CT CHEST {family}", "CT CHEST"),
    ("{given} {family} Abdomen Pelvis", "Abdomen Pelvis"),
    ("{family}, {given}: Axial Thorax", "Axial Thorax"),
    ("Thorax MRN {id} lung", "Thorax lung"),
    ("Head w/o contrast DOB {birth}", "Head w/o contrast"),
    ("T1 MPRAGE sag {us_birth}", "T1 MPRAGE sag"),
    ("call 617-555-0100 re knee AP", "call re knee AP"),
    ("Chest for Dr. Featherstonehaugh", "Chest for"),
    ("Read by Szczepanski: liver", "Read by liver"),
    ("Liver 3 phase szczepanski@example.org", "Liver 3 phase"),
    ("ep2d_diff_3scan_trace_p2", "ep2d_diff_3scan_trace_p2"),
    ("t2_tse_dark-fluid_tra", "t2_tse_dark-fluid_tra"),
    ("Spine C2-C7 acc {accession}", "Spine C2-C7 acc"),
    ("Pelvis {initial}. {family}", "Pelvis"),
    ("Quattlebaum protocol: CTA neck", "protocol: CTA neck"),
    ("AX FLAIR FS PROPELLER", "AX FLAIR FS PROPELLER"),
    ("PET {house} Wisteria Lane, Springfield", "PET"),
    ("FDG skull base to mid thigh 60 min", "FDG skull base to mid thigh 60 min"),
]


def build() -> Set:
    """The set."""
    made = Set()
    rng = np.random.default_rng(20261122)
    number = 0

    def planted(name: str, patient: Patient, **how: Any) -> Planted:
        nonlocal number
        number += 1
        return Planted(name, patient, number, **how)

    for patient in PATIENTS[:6]:
        group = patient.names[0].split("=")[0]
        family, given = group.split("^")
        words = {
            "family": family, "given": given, "id": patient.patient_id, "accession": accession(patient),
            "birth": patient.birth, "initial": given[0], "house": PATIENTS.index(patient) + 12,
            "us_birth": f"{patient.birth[4:6]}/{patient.birth[6:]}/{patient.birth[:4]}",
        }  # fmt: skip
        for text, left in DESCRIPTIONS:
            one = planted("ct.dcm", patient)
            ds = base(patient, one.number, CT, "CT")
            one.pixels = image(ds, rng)
            common(ds, one)
            ds.SeriesDescription = text.format(**words)
            if patient.names[0] != "Long^Head" or "{family}" not in text:  # a name that is a word: either is right
                one.kept["SeriesDescription"] = left
            one.leaks |= {"617-555-0100", "example.org"}
            for keyword, value in SOP_KEEP.items():
                setattr(ds, keyword, value)
                one.kept[keyword] = ds[keyword].value
            made.add(one, ds)
    _encodings(made, planted, rng)
    _hiding(made, planted, rng)
    _nuclear(made, planted, rng)
    _enhanced(made, planted, rng)
    _documents(made, planted, rng)
    _radiotherapy(made, planted)
    _withheld(made, planted, rng)
    return made


def _encodings(made: Set, planted: Any, rng: np.random.Generator) -> None:
    patient = PATIENTS[0]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        one = planted("encoded.dcm", patient)
        ds = base(patient, one.number, CT, "CT", 2)
        one.pixels = image(ds, rng)
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(one.pixels, "<u2").astype(">u2").tobytes()
        common(ds, one)
        made.add(one, ds, syntax)
    for syntax in (JPEGLosslessSV1, JPEG2000Lossless):
        one = planted("compressed.dcm", patient)
        ds = base(patient, one.number, MR, "MR", 3)
        one.pixels = image(ds, rng)
        frame = encode_frame(np.frombuffer(one.pixels, "<u2").reshape(16, 16), str(syntax), bits_stored=12)
        comment = b"Patient MRN00481516 Hans Peter"
        segment = struct.pack(">H", len(comment) + 2) + comment
        if syntax == JPEGLosslessSV1:
            frame = frame[:2] + b"\xff\xfe" + segment + b"\xff\xe1" + segment + frame[2:].rstrip(b"\0") + comment
        else:
            segment = struct.pack(">HH", len(comment) + 4, 1) + comment
            (siz,) = struct.unpack_from(">H", frame, 4)
            frame = frame[: 4 + siz] + b"\xff\x64" + segment + frame[4 + siz :]
        ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        common(ds, one)
        made.add(one, ds, syntax)


def _hiding(made: Set, planted: Any, rng: np.random.Generator) -> None:
    """Places where nobody looks."""
    patient = PATIENTS[0]
    secret = "Müller^Hans Peter MRN00481516"
    plain = "Hans Peter MRN00481516"

    def ct(name: str, change: Any, **how: Any) -> Planted:
        one = planted(name, patient)
        ds = base(patient, one.number, CT, "CT", 4)
        one.pixels = image(ds, rng)
        common(ds, one)
        change(ds, one)
        return made.add(one, ds, **how)

    ct("preamble.dcm", lambda ds, one: None, preamble=plain.encode().ljust(128, b"\0"), meta=plain)
    ct("trailing.dcm", lambda ds, one: None, trailing=plain.encode())

    def private(ds: Dataset, one: Planted) -> None:
        block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x0E, "FD", [1.0, 0.0, 0.0])
        block.add_new(0x33, "LO", secret)
        other = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        other.add_new(0x10, "OB", plain.encode() + b"\0" * (len(plain) % 2))
        odd = ds.private_block(0x0011, "BARTLEBY HOSPITAL PRIVATE", create=True)
        odd.add_new(0x01, "SQ", [item(PatientName=secret)])
        one.kept["0019,100C"] = 1000

    ct("private.dcm", private)

    def nested(ds: Dataset, one: Planted) -> None:
        inner = item(CodeValue="77477000", CodingSchemeDesignator="SCT", CodeMeaning=f"CT scan for {plain}")
        ds.ProcedureCodeSequence = [inner]
        ds.RequestAttributesSequence = [
            item(RequestedProcedureID="RP998877", ScheduledProcedureStepDescription=f"CT chest {plain}")
        ]
        ds.OtherPatientIDsSequence = [item(PatientID="OTHER66554", IssuerOfPatientID="BARTLEBY")]
        ds.OriginalAttributesSequence = [
            item(
                ModifiedAttributesSequence=[item(PatientName=secret)], AttributeModificationDateTime="20180311",
                ModifyingSystem="BARTPACS", ReasonForTheAttributeModification="CORRECT", SourceOfPreviousValues="X",
            )
        ]  # fmt: skip
        ds.ReferencedImageSequence = [item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid(patient, 1, 1))]
        one.leaks |= {"RP998877", "OTHER66554", "BARTPACS"}

    ct("nested.dcm", nested)

    def foreign(ds: Dataset, one: Planted) -> None:
        ds.add_new(0x00091001, "LO", secret)  # no creator
        ds.add_new(0x00087777, "LO", secret)  # unknown public
        ds.add_new(0x00080010, "SH", "ACR-NEMA " + plain[:5])  # retired
        ds.add_new(0x50000010, "US", 1)
        ds.add_new(0x50003000, "OW", plain.encode() + b"\0" * (len(plain) % 2))
        ds.add_new(0x60000010, "US", 16)
        ds.add_new(0x60000011, "US", 16)
        ds.add_new(0x60000022, "LO", secret)
        ds.add_new(0x60000040, "CS", "G")
        ds.add_new(0x60000050, "SS", [1, 1])
        ds.add_new(0x60000100, "US", 1)
        ds.add_new(0x60000102, "US", 0)
        ds.add_new(0x60003000, "OW", plain.encode().ljust(32, b"\0"))
        ds.add_new(0xFFFCFFFC, "OB", plain.encode() + b"\0" * (len(plain) % 2))

    ct("foreign.dcm", foreign)

    def wrong(ds: Dataset, one: Planted) -> None:
        """Values that are not of their representation."""
        ds[Tag(0x00180060)] = DataElement(0x00180060, "LO", "x")  # made raw below
        ds.ImageComments = f"seen with {plain}, nodule 4 mm in right upper lobe"
        ds.PatientComments = secret
        ds.AdditionalPatientHistory = f"{plain} of 99 Evergreen Terrace has cough"
        ds.ContrastBolusAgent = "Omnipaque 350"
        one.kept["ContrastBolusAgent"] = "Omnipaque 350"
        ds.ProtocolName = "Thorax Routine"
        one.kept["ProtocolName"] = "Thorax Routine"
        ds.KVP = "120"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "MRN00481516"]
        ds.PatientAge = "057Y"
        one.kept["PatientAge"] = "057Y"
        ds.AcquisitionDateTime = "201803"

    ct("wrong.dcm", wrong)

    def bits(ds: Dataset, one: Planted) -> None:
        """An overlay in the bits that no sample uses."""
        samples = np.frombuffer(one.pixels, "<u2").copy()
        samples[::3] |= 0x8000
        ds.PixelData = samples.tobytes()

    ct("bits.dcm", bits)

    def longer(ds: Dataset, one: Planted) -> None:
        ds.PixelData = one.pixels + plain.encode()

    ct("longer.dcm", longer)

    def icon(ds: Dataset, one: Planted) -> None:
        tiny = item(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
        tiny.SamplesPerPixel, tiny.PhotometricInterpretation, tiny.PixelData = 1, "MONOCHROME2", b"\1\2\3\4"
        ds.IconImageSequence = [tiny]

    ct("icon.dcm", icon)
    text_uid = uid(patient, 1, 1)

    def in_text(ds: Dataset, one: Planted) -> None:
        ds.ImageComments = f"see {text_uid}"

    ct("uid-text.dcm", in_text)
    for patient_here in PATIENTS[1:4]:
        one = planted("script.dcm", patient_here)
        ds = base(patient_here, one.number, MR, "MR", 5)
        one.pixels = image(ds, rng)
        common(ds, one)
        groups = patient_here.names[0].split("=")
        ds.ImageComments = " ".join(["brain", *(group.replace("^", "") for group in groups)])
        ds.StudyDescription = f"MR brain {groups[-1].replace('^', ' ')}"
        one.kept["StudyDescription"] = "MR brain"
        ds.FilterType = f"{groups[0].split('^')[0]}"[:16]
        made.add(one, ds)
    old = PATIENTS[6]
    one = planted("old.dcm", old)
    ds = base(old, one.number, CT, "CT")
    one.pixels = image(ds, rng)
    ds.PatientAge = "094Y"
    common(ds, one)
    one.kept["PatientAge"] = "090Y"
    one.leaks |= {"094Y", "1924"}
    made.add(one, ds)
    before = PATIENTS[7]
    one = planted("before.dcm", before, unmoved=True)
    ds = base(before, one.number, CT, "CT")
    one.pixels = image(ds, rng)
    common(ds, one)
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "another tool"
    ds.LongitudinalTemporalInformationModified = "MODIFIED"
    made.add(one, ds)


def _nuclear(made: Set, planted: Any, rng: np.random.Generator) -> None:
    patient = PATIENTS[2]
    starts = (
        {"RadiopharmaceuticalStartDateTime": "20180310072000"},
        {"RadiopharmaceuticalStartTime": "072000"},
        {"RadiopharmaceuticalStartDateTime": "20180310072000.000000-0500", "RadiopharmaceuticalStartTime": "072000"},
    )
    for start in starts:
        one = planted("pet.dcm", patient)
        ds = base(patient, one.number, PT, "PT", 6)
        one.pixels = image(ds, rng)
        ds.RescaleIntercept = "0"
        ds.TimezoneOffsetFromUTC = "-0500"
        ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["ATTN", "DECY"]
        ds.RadiopharmaceuticalInformationSequence = [
            item(RadionuclideTotalDose="370000000", RadionuclideHalfLife="6586.2", Radiopharmaceutical="FDG", **start)
        ]
        common(ds, one)
        one.kept["suv"] = ds
        made.add(one, ds)


def _enhanced(made: Set, planted: Any, rng: np.random.Generator) -> None:
    patient = PATIENTS[3]
    one = planted("enhanced.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.2.1", "CT", 7)
    image(ds, rng)
    ds.NumberOfFrames = 2
    one.pixels = ds.PixelData * 2
    ds.PixelData = one.pixels
    ds["PixelData"].VR = "OW"
    ds.AcquisitionDateTime = "20180310082130.5"
    one.dates["AcquisitionDateTime"] = "20180310082130.5"
    frames = []
    for frame in range(2):
        described = item(FrameAcquisitionDateTime=f"2018031008213{frame}", FrameReferenceDateTime="20180310082130")
        described.FrameComments = "Hong Gildong phase 2"
        frames.append(item(FrameContentSequence=[described]))
        one.dates[f"PerFrameFunctionalGroupsSequence/{frame}/FrameContentSequence/0/FrameAcquisitionDateTime"] = (
            f"2018031008213{frame}"
        )
    ds.PerFrameFunctionalGroupsSequence = frames
    common(ds, one)
    made.add(one, ds)


def _documents(made: Set, planted: Any, rng: np.random.Generator) -> None:
    patient = PATIENTS[0]
    plain = "Hans Peter Mueller, MRN00481516"
    one = planted("report.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.88.33", "SR", 8)
    del ds.AcquisitionDate, ds.AcquisitionTime, ds.AcquisitionNumber, ds.PatientWeight, ds.PatientSize
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    ds.VerifyingObserverSequence = [
        item(
            VerifyingObserverName=f"{THIRD[0]}^Al", VerificationDateTime="20180311101500",
            VerifyingOrganization="Saint Bartleby", VerifyingObserverIdentificationCodeSequence=[],
        )
    ]  # fmt: skip
    ds.ConceptNameCodeSequence = [concept("126000", "Imaging Measurement Report")]
    ds.CurrentRequestedProcedureEvidenceSequence = [
        item(
            StudyInstanceUID=uid(patient),
            ReferencedSeriesSequence=[
                item(
                    SeriesInstanceUID=uid(patient, 1),
                    ReferencedSOPSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid(patient, 1, 2))],
                )
            ],
        )
    ]
    ds.ContentSequence = [
        content("PNAME", concept("121008", "Person Observer Name"), PersonName=f"{THIRD[1]}^K"),
        content("PNAME", concept("121029", "Subject Name"), PersonName="Müller^Hans Peter"),
        content("TEXT", concept("121030", "Subject ID"), TextValue="MRN00481516"),
        content("TEXT", concept("121071", "Finding"), TextValue=f"{plain}: nodule 4 mm, right upper lobe"),
        content("TEXT", concept("999", "Remark", "99BART"), TextValue=f"Discussed with {THIRD[2]}; liver normal"),
        content("DATETIME", concept("111526", "DateTime Started"), DateTime="20180310081500"),
        content("DATE", concept("998", "Day", "99BART"), Date="20180310"),
        content("UIDREF", concept("112040", "Tracking Unique Identifier"), UID=uid(patient, 1, 2, 5)),
        content("NUM", concept("410668003", "Length", "SCT"), MeasuredValueSequence=[
            item(NumericValue="4.2", MeasurementUnitsCodeSequence=[concept("mm", "millimeter", "UCUM")])
        ]),
        content("IMAGE", concept("121112", "Source of Measurement"), ReferencedSOPSequence=[
            item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid(patient, 1, 2))
        ]),
    ]  # fmt: skip
    common(ds, one)
    one.dates.pop("AcquisitionDate", None)
    one.dates["ContentSequence/+DATE/Date"] = "20180310"
    one.dates["ContentSequence/+DATETIME/DateTime"] = "20180310081500"
    one.leaks |= {"Mueller"}
    made.add(one, ds)

    one = planted("key-objects.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.88.59", "KO", 9)
    del ds.AcquisitionDate, ds.AcquisitionTime, ds.AcquisitionNumber
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [concept("113000", "Of Interest")]
    ds.ContentSequence = [
        content("TEXT", concept("113012", "Key Object Description"), TextValue=f"nodule of {plain}"),
        content("IMAGE", None, ReferencedSOPSequence=[
            item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid(patient, 1, 3))
        ]),
    ]  # fmt: skip
    common(ds, one)
    one.leaks |= {"Mueller"}
    made.add(one, ds)

    one = planted("presentation.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.11.1", "PR", 10)
    del ds.AcquisitionDate, ds.AcquisitionTime, ds.AcquisitionNumber
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "MARKS", f"for {plain}", f"{THIRD[2]}^X"
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20180311", "101010"
    one.dates["PresentationCreationDate"] = "20180311"
    text = item(BoundingBoxAnnotationUnits="PIXEL", UnformattedTextValue=f"{plain} nodule", AnchorPoint=[1.0, 2.0])
    ds.GraphicLayerSequence = [item(GraphicLayer="ONE", GraphicLayerOrder=1)]
    ds.GraphicAnnotationSequence = [item(GraphicLayer="ONE", TextObjectSequence=[text])]
    common(ds, one)
    one.leaks |= {"Mueller"}
    made.add(one, ds)

    one = planted("ecg.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.9.1.1", "ECG", 11)
    ds.AcquisitionDateTime = "20180310081500"
    wave = item(
        NumberOfWaveformChannels=1, NumberOfWaveformSamples=4, SamplingFrequency="500", WaveformBitsAllocated=16
    )
    wave.WaveformOriginality, wave.WaveformSampleInterpretation = "ORIGINAL", "SS"
    wave.WaveformData = b"\1\0\2\0\3\0\4\0"
    wave["WaveformData"].VR = "OW"
    wave.MultiplexGroupLabel = "RHYTHM"
    ds.WaveformSequence = [wave]
    ds.WaveformAnnotationSequence = [item(UnformattedTextValue=f"{plain} sinus rhythm", AnnotationGroupNumber=1)]
    common(ds, one)
    one.leaks |= {"Mueller"}
    made.add(one, ds)


def _radiotherapy(made: Set, planted: Any) -> None:
    patient = PATIENTS[4]
    one = planted("structures.dcm", patient)
    ds = base(patient, one.number, "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", 12)
    del ds.AcquisitionDate, ds.AcquisitionTime, ds.AcquisitionNumber, ds.ContentDate, ds.ContentTime
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "Plan Bo Li", "20180312", "120000"
    one.dates["StructureSetDate"] = "20180312"
    ds.ReferencedFrameOfReferenceSequence = [item(FrameOfReferenceUID=uid(patient) + ".77")]
    ds.StructureSetROISequence = [
        item(
            ROINumber=1,
            ReferencedFrameOfReferenceUID=uid(patient) + ".77",
            ROIName="Heart",
            ROIGenerationAlgorithm="MANUAL",
        )
    ]
    ds.ROIContourSequence = [
        item(ReferencedROINumber=1, ContourSequence=[
            item(
                ContourGeometricType="POINT", NumberOfContourPoints=1, ContourData=[1, 2, 3],
                ContourImageSequence=[item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=uid(patient, 1, 73))],
            )
        ])
    ]  # fmt: skip
    ds.RTROIObservationsSequence = [
        item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter=f"{THIRD[0]}")
    ]
    common(ds, one)
    made.add(one, ds)


def _withheld(made: Set, planted: Any, rng: np.random.Generator) -> None:
    """What may not be in the output at all, and what is looked at before it may."""
    patient = PATIENTS[0]

    def looked_at(name: str, sop_class: str, modality: str, change: Any = None) -> None:
        one = planted(name, patient)
        ds = base(patient, one.number, sop_class, modality, {"OT": 21, "US": 22, "CR": 23, "CT": 24}[modality])
        one.pixels = image(ds, rng)
        if change:
            change(ds)
        common(ds, one)
        made.add(one, ds)

    def held(name: str, sop_class: str, modality: str, change: Any = None) -> None:
        one = planted(name, patient, out=False)
        ds = base(patient, one.number, sop_class, modality, 20)
        image(ds, rng)
        if change:
            change(ds)
        common(ds, one)
        made.add(one, ds)

    looked_at("capture.dcm", "1.2.840.10008.5.1.4.1.1.7", "OT")
    looked_at("ultrasound.dcm", "1.2.840.10008.5.1.4.1.1.6.1", "US")
    looked_at("radiograph.dcm", "1.2.840.10008.5.1.4.1.1.1", "CR")
    looked_at("burned.dcm", CT, "CT", lambda ds: setattr(ds, "BurnedInAnnotation", "YES"))
    looked_at("secondary.dcm", CT, "CT", lambda ds: setattr(ds, "ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"]))
    held("stranger.dcm", CT, "CT", lambda ds: setattr(ds, "PatientID", "UNKNOWN1"))
    held("accession.dcm", CT, "CT", lambda ds: setattr(ds, "AccessionNumber", "NOWHERE1"))

    def pdf(ds: Dataset) -> None:
        for keyword in ("PixelData", "Rows", "Columns"):
            delattr(ds, keyword)
        ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 Hans Peter ", "application/pdf"

    held("document.dcm", "1.2.840.10008.5.1.4.1.1.104.1", "DOC", pdf)
