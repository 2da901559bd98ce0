"""The wide part of the planted set: every kind of object there is, with identifiers in every place and form that an
adversary could think of. What each file must lose and keep stands beside it, as in ``cases``."""

import base64
import json
from collections.abc import Callable

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID_dictionary

from tests.research.deid.planted import (
    CT,
    PATIENTS,
    Patient,
    Planted,
    Set,
    base,
    common,
    concept,
    content,
    image,
    item,
    uid,
)

FIRST = 1001
PEOPLE = [*PATIENTS[:5], *PATIENTS[8:]]
STORAGE = "1.2.840.10008.5.1.4.1.1."
# Documents and sound.
REFUSED = ("104.", "9.4.")
NOT_ONE_INSTANCE = ("40", "201.1")
MODALITIES = {"1": "CR", "1.1": "DX", "1.2": "MG", "2": "CT", "4": "MR", "6.1": "US", "12.1": "XA", "20": "NM",
              "88.": "SR", "11.": "PR", "481.2": "RTDOSE", "481.3": "RTSTRUCT", "481.5": "RTPLAN", "66.4": "SEG",
              "66.1": "REG", "9.": "ECG", "128": "PT", "104.": "DOC", "77.1.6": "SM"}  # fmt: skip
# Images whose pixels nobody needs to look at, and two that are looked at.
IMAGES = ("2", "2.1", "4", "4.1", "128", "20", "30", "66.4", "481.2", "1.1", "7")

# A name and an id in words: {f} family, {g} given, {i} id; what must be left of the sentence.
SENTENCES = [
    ("CT chest {f}, {g}", "CT chest"), ("{g} {f} MRI brain", "MRI brain"), ("{F}^{G} abdomen", "abdomen"),
    ("knee ({i}) left", "knee left"), ("head #{i}", "head"), ("thorax_{i}_axial", "thorax_axial"),
    ("PET {f}/{g} whole body", "PET whole body"), ("spine of {f}", "spine of"), ("AX T2 {i} FLAIR", "AX T2 FLAIR"),
    ("Dr. Featherstonehaugh: liver", "liver"), ("liver seen by Quattlebaum MD", "liver seen by"),
    ("SSN 078-05-1120 pelvis", "pelvis"), ("chest 12/05/2017", "chest"), ("chest 12 May 2017 AP", "chest AP"),
    ("chest 2017-05-12T08:15", "chest"), ("hip, tel. (212) 555-0187", "hip"), ("hip +49 89 1234567", "hip"),
    ("mail to szczepanski@hospital.example: foot", "to foot"), ("foot http://pacs.example/x?id=7 AP", "foot AP"),
    ("born 12.05.1951 hand", "born hand"), ("94 year old, hand", "old, hand"), ("MRN: AB-77 hand", "hand"),
    ("Mrs. Stone, wrist PA", "wrist PA"), ("12. März 2017 Schädel", "Schädel"), ("pt DOB 1951-05 skull", "pt skull"),
]  # fmt: skip


def build_wide() -> Set:
    """The set: a file for each storage SOP class and then one for each trick; numbers begin where `cases` has none."""
    made = Set()
    rng = np.random.default_rng(20261123)
    for number, sop_class in enumerate(storage_classes(), FIRST):
        _of_class(made, rng, number, sop_class)
    for number, trick in enumerate(TRICKS, FIRST + len(made.files)):
        one = _planted(trick.__name__.strip("_") + ".dcm", number)
        ds = base(one.patient, number, CT, "CT", number)
        one.pixels = image(ds, rng)
        common(ds, one)
        trick(ds, one)
        made.add(one, ds)
    return made


def storage_classes() -> list[str]:
    """All composite storage SOP classes that are not retired."""
    found = [
        uid_text
        for uid_text, (name, kind, _, retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and uid_text.startswith(STORAGE) and not retired and "Storage" in name
    ]
    return [one for one in found if one.removeprefix(STORAGE) not in NOT_ONE_INSTANCE]


def _planted(name: str, number: int) -> Planted:
    return Planted(name, PEOPLE[number % len(PEOPLE)], number)


def words_of(patient: Patient) -> dict[str, str]:
    """What sentences are made with."""
    group = patient.names[0].split("=")[0]
    family, given = ([*group.split("^"), ""])[:2]
    return {"f": family, "g": given, "F": family.upper(), "G": given.upper(), "i": patient.patient_id}


def _of_class(made: Set, rng: np.random.Generator, number: int, sop_class: str) -> None:
    last = sop_class.removeprefix(STORAGE)
    one = _planted(f"class-{last}.dcm", number)
    modality = next((MODALITIES[key] for key in sorted(MODALITIES, reverse=True) if last.startswith(key)), "OT")
    ds = base(one.patient, number, sop_class, modality, number)
    one.out = not last.startswith(REFUSED)
    if last in IMAGES:
        one.pixels = image(ds, rng)
    elif last.startswith("104."):
        ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF " + one.patient.patient_id.encode(), "x/y"
    elif last.startswith(("88.", "79.1", "9.100")) or last == "67":
        _structured(ds, one)
    common(ds, one)
    _everywhere(ds, one, number)
    made.add(one, ds)


def _structured(ds: Dataset, one: Planted) -> None:
    """A tree of content, three levels deep, of every value type."""
    said = words_of(one.patient)
    full = "{g} {f}".format(**said)
    leaf = [
        content("TEXT", concept("121071", "Finding"), TextValue=f"{full}: nodule 4 mm"),
        content("PNAME", concept("121008", "Person Observer Name"), PersonName="Szczepanski^K"),
        content("DATE", concept("7", "Day", "99X"), Date="20180310"),
        content("TIME", concept("8", "Hour", "99X"), Time="081500"),
        content("DATETIME", concept("111526", "DateTime Started"), DateTime="20180310081500"),
        content("UIDREF", concept("112040", "Tracking Unique Identifier"), UID=uid(one.patient, 7, 7)),
        content("CODE", concept("121071", "Finding"), ConceptCodeSequence=[concept("5", f"as {full} said", "99X")]),
        content("NUM", concept("410668003", "Length", "SCT"), MeasuredValueSequence=[
            item(NumericValue="4.2", MeasurementUnitsCodeSequence=[concept("mm", "millimeter", "UCUM")])
        ]),
    ]  # fmt: skip
    inner = content("CONTAINER", concept("121070", "Findings"), ContinuityOfContent="SEPARATE", ContentSequence=leaf)
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ConceptNameCodeSequence = [concept("126000", "Imaging Measurement Report")]
    ds.ContentSequence = [content("CONTAINER", concept("9", "Part", "99X"), ContentSequence=[inner])]
    place = "ContentSequence/0/ContentSequence/0/ContentSequence"
    one.dates |= {f"{place}/+DATE/Date": "20180310", f"{place}/+DATETIME/DateTime": "20180310081500"}
    one.kept |= {f"{place}/+TIME/Time": "081500", f"{place}/+NUM/MeasuredValueSequence/0/NumericValue": "4.2"}


def _everywhere(ds: Dataset, one: Planted, number: int) -> None:
    """Sentences, ids and dates in the places that most objects have."""
    said = words_of(one.patient)
    for keyword, offset in (("SeriesDescription", 0), ("StudyDescription", 9), ("ProtocolName", 17)):
        sentence, left = SENTENCES[(number + offset) % len(SENTENCES)]
        if not sentence.isascii() and one.patient.charset not in ("ISO_IR 192", "ISO_IR 100", "GB18030"):
            continue
        setattr(ds, keyword, sentence.format(**said)[:64])
        one.kept[keyword] = left
    ds.AdditionalPatientHistory = "cough since\r\n{f}, {g}\r\nno fever".format(**said)
    ds.ImageComments = "{i}/{f}: see {u}".format(**said, u=ds.StudyInstanceUID)
    ds.ReferencedImageSequence = [
        item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=ds.SOPInstanceUID, PurposeOfReferenceCodeSequence=[
            item(CodeValue="121311", CodingSchemeDesignator="DCM", CodeMeaning="Localizer")
        ])
    ]  # fmt: skip
    ds.RequestAttributesSequence = [
        item(
            RequestedProcedureID="RP998877", ScheduledProcedureStepID="SPS4711A",
            RequestedProcedureDescription="CT {f}".format(**said),
            ReasonForTheRequestedProcedure="pain, {i}".format(**said),
            ScheduledProtocolCodeSequence=[concept("P1", "by Quattlebaum", "99X")],
        )
    ]  # fmt: skip
    ds.OtherPatientIDsSequence = [item(PatientID="OTHER66554", IssuerOfPatientID="BARTLEBY", TypeOfPatientID="TEXT")]
    ds.IssuerOfAccessionNumberSequence = [item(LocalNamespaceEntityID="BARTLEBY", UniversalEntityIDType="DNS")]
    ds.OriginalAttributesSequence = [
        item(
            ModifiedAttributesSequence=[item(PatientName=one.patient.names[0], PatientID=one.patient.patient_id)],
            AttributeModificationDateTime="20180311", ModifyingSystem="BARTPACS",
            ReasonForTheAttributeModification="CORRECT", SourceOfPreviousValues="BARTLEBY",
        )
    ]  # fmt: skip
    ds.PatientAge = ("045Y", "103Y", "011M")[number % 3]
    one.kept["PatientAge"] = ("045Y", "090Y", "011M")[number % 3]
    ds.InstanceCreationDate, ds.InstanceCreationTime = "20180311", "000102"
    one.dates["InstanceCreationDate"] = "20180311"
    ds.AcquisitionDateTime = ("20180310082130.5", "201803100821", "20180310")[number % 3]
    one.dates["AcquisitionDateTime"] = str(ds.AcquisitionDateTime)
    ds.SoftwareVersions = ["5.1.7.2", "VB40A 2012.05.01", "syngo MR XA30"]
    one.kept |= {"SoftwareVersions": ds.SoftwareVersions, "SeriesTime": ds.SeriesTime}
    one.leaks |= {
        "RP998877", "SPS4711A", "OTHER66554", "BARTPACS", "BARTLEBY", "078-05-1120", "555-0187", "1234567",
        "hospital.example", "pacs.example", "AB-77", "103Y",
    }  # fmt: skip
    if any(
        "Stone" in str(ds.get(keyword, "")) for keyword in ("SeriesDescription", "StudyDescription", "ProtocolName")
    ):
        one.leaks.add("Stone")


def _private(ds: Dataset, one: Planted) -> None:
    """Private elements of all kinds: none of it may stay, and some of it must."""
    secret = "{f} {i}".format(**words_of(one.patient)).encode("utf-8")
    two = item(PatientName="Featherstonehaugh^A", SOPInstanceUID=uid(one.patient, 3, 3), StudyDate="20180310")
    siemens, copy = (ds.private_block(0x0019, name, create=True) for name in ("SIEMENS MR HEADER", "Siemens MR Header"))
    siemens.add_new(0x0C, "IS", "1000")
    copy.add_new(0x0C, "LO", "MRN 4711")
    one.kept["0019,100C"] = 1000
    ds.add_new(0x00190012, "LO", "SIEMENS MR HEADER")  # the same creator again, and then an unclaimed block
    ds.add_new(0x0019120C, "IS", "800")
    one.kept["0019,120C"] = 800
    ds.add_new(0x00199901, "UN", secret + b" " * (len(secret) % 2))
    deep = ds.private_block(0x0071, "ACME 1.1", create=True)
    deep.add_new(0x01, "SQ", [item(ContentSequence=[two])])
    deep.add_new(0x02, "UN", _even(base64.b64encode(secret)))
    deep.add_new(0x03, "OB", _even(json.dumps({"patient": secret.decode()}).encode()))
    deep.add_new(0x04, "UT", f"<patient>{one.patient.patient_id}</patient>")
    deep.add_new(0x05, "DT", "20180310081500")
    deep.add_new(0x06, "UI", uid(one.patient, 9))
    philips = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    philips.add_new(0x0D, "FL", 1.5)
    one.leaks |= {"MRN 4711", base64.b64encode(secret).decode()[:24]}


def _uids(ds: Dataset, one: Planted) -> None:
    """UIDs that hold an id or a date, also below the root of DICOM itself."""
    digits = "".join(filter(str.isdigit, one.patient.patient_id)) or "4711"
    for number, root in enumerate(("1.2.840.10008.9", "1.2.840.113619.2", "2.25", "1.3.6.1.4.1.99999")):
        target = f"{root}.{digits.lstrip('0')}.20180310.{number}"
        sequence = list(ds.get("ReferencedStudySequence", []))
        ds.ReferencedStudySequence = [*sequence, item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=target)]
        ds.IrradiationEventUID = target
        one.leaks.add(target)
    ds.ConcatenationUID = f"1.2.840.10008.5.1.{digits.lstrip('0')}"
    one.leaks.add(ds.ConcatenationUID)


def _numbers(ds: Dataset, one: Planted) -> None:
    """The id as a number, as a code string, as an application entity; numbers that only look like one stay."""
    digits = "".join(filter(str.isdigit, one.patient.patient_id))
    ds.AcquisitionNumber, ds.TemporalPositionIdentifier = digits, "3"
    one.kept.pop("AcquisitionNumber")
    ds.ScanOptions = ["FS", one.patient.patient_id[:16].replace(".", " ")]
    ds.add_new(0x00080054, "AE", "BARTPACS")
    ds.KVP, ds.ExposureTime = "120", "100000"
    one.kept |= {"KVP": "120", "ExposureTime": "100000", "TemporalPositionIdentifier": "3"}
    one.leaks |= {"BARTPACS", digits}


def _relatives(ds: Dataset, one: Planted) -> None:
    """People around the patient, and where they live and work."""
    ds.PatientMotherBirthName, ds.ResponsiblePerson = "Quattlebaum^Edith", "Quattlebaum^Otto"
    ds.OtherPatientNames, ds.PatientBirthName = ["Szczepanski^Q", "Quattlebaum^Z"], "Szczepanski^Q"
    ds.NameOfPhysiciansReadingStudy = ["Featherstonehaugh^A", "Szczepanski^K"]
    ds.CountryOfResidence, ds.RegionOfResidence, ds.MilitaryRank = "Ruritania", "Strelsau", "Admiral"
    ds.PatientReligiousPreference, ds.Occupation = "Jedi", "Lighthouse keeper at Skerryvore"
    ds.PatientTelecomInformation = "mailto:otto@quattlebaum.example"
    ds.RequestingService, ds.ResponsibleOrganization = "Bartleby Oncology", "Bartleby Home"
    ds.ImageComments = "visit with Otto Quattlebaum of Strelsau, chest"
    ds.PatientBirthDateInAlternativeCalendar, ds.PatientAlternativeCalendar = "昭和36年", "JAPANESE"
    ds.PersonIdentificationCodeSequence = [
        item(CodeValue="K77", CodingSchemeDesignator="99X", CodeMeaning="Szczepanski")
    ]
    one.leaks |= {"Ruritania", "Strelsau", "Admiral", "Jedi", "Skerryvore", "Otto", "Edith"}
    if "ISO_IR 192" not in one.patient.charset:
        del ds.PatientBirthDateInAlternativeCalendar


def _odd(ds: Dataset, one: Planted) -> None:
    """Unknown, retired and repeating groups; representations that do not fit; group lengths."""
    secret = one.patient.patient_id
    for tag, vr in ((0x00087777, "LO"), (0x00080001, "UL"), (0x00104444, "UT"), (0x00324000, "LT"), (0x40004000, "LT"),
                    (0x00200070, "LO"), (0x00180061, "LO"), (0x50200022, "LO"), (0x60060022, "LO"), (0x60064000, "LT"),
                    (0x00880140, "UI"), (0x20300020, "LO"), (0x00281011, "LO")):  # fmt: skip
        ds[tag] = DataElement(tag, vr, {"UL": 7, "UI": uid(one.patient, 8)}.get(vr, secret))
    ds.add_new(0x50203000, "OW", _even(secret.encode()))
    ds.add_new(0x60063000, "OW", _even(secret.encode()))
    ds[0x00080020] = DataElement(0x00080020, "LO", "20180310")
    ds[0x00081070] = DataElement(0x00081070, "LO", "Szczepanski, Kasia")
    ds[0x00720065] = DataElement(0x00720065, "OB", _even(secret.encode()))
    del one.dates["StudyDate"]


def _document_texts(ds: Dataset, one: Planted) -> None:
    """Free text of attributes that the tables do not name."""
    for keyword in ("SegmentDescription", "RTImageDescription", "ContentDescription", "PartialViewDescription",
                    "DocumentTitle", "WedgeDescription", "FrameLabel", "DataSetDescription"):  # fmt: skip
        setattr(ds, keyword, "made for Quattlebaum")
    ds.RadiationMachineName, ds.NTPSourceAddress = "BARTLINAC", "time.bartleby.example"
    ds.SegmentLabel = "Left Kidney"
    one.kept["SegmentLabel"] = "Left Kidney"
    one.leaks |= {"BARTLINAC", "bartleby.example"}


def _scripts(ds: Dataset, one: Planted) -> None:
    """All groups of the name in text, joined, parted and in either order."""
    groups = one.patient.names[0].split("=")
    forms = [form for group in groups for form in (
        group.replace("^", " ").strip(), group.replace("^", ""), " ".join(reversed(group.replace("^", " ").split()))
    )]  # fmt: skip
    ds.ImageComments = "liver " + " / ".join(forms)
    ds.AdditionalPatientHistory = "; ".join(forms).upper()
    ds.FilterType = groups[0].split("^")[0][:16]


def _times(ds: Dataset, one: Planted) -> None:
    """Dates and times of every precision and offset, deep down."""
    values = ["2018", "201803", "20180310", "2018031008", "201803100821", "20180310082130", "20180310082130.123456"]
    ds.PerFrameFunctionalGroupsSequence = [
        item(FrameContentSequence=[item(FrameAcquisitionDateTime=value)]) for value in values
    ]
    for number, value in enumerate(values):
        if len(value) >= 8:
            place = f"PerFrameFunctionalGroupsSequence/{number}/FrameContentSequence/0/FrameAcquisitionDateTime"
            one.dates[place] = value
    ds.DateOfLastCalibration, ds.TimeOfLastCalibration = ["20180101", "20180201"], ["081500", "0915"]
    ds.AcquisitionTime, ds.SeriesTime = "08", "0820"
    one.kept |= {"AcquisitionTime": "08", "SeriesTime": "0820"}


TRICKS: list[Callable[[Dataset, Planted], None]] = [
    _private, _uids, _numbers, _relatives, _odd, _document_texts, _times, *([_scripts] * len(PEOPLE)), _relatives,
    _private, _numbers,
]  # fmt: skip


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)
