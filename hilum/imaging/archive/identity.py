"""Who an instance is when its file does not say: UIDs derived from where the file lay or from its bytes. They are made
by a hash under 2.25 (PS3.5 section B.2), so that the same file at the same place always gets the same ones, and no real
UID is ever met. The file keeps its bytes; only the catalogue, and what is answered from it, knows the derived UIDs."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from blake3 import blake3

from hilum.imaging.dicom.header import Header, Identity, Unreadable, identity
from hilum.imaging.dicom.uids import check_uid

_SEPARATOR: Final = b"\x1f"


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient as DICOM names one: an identifier and who issued it; blank when the file names none."""

    patient_id: str = ""
    issuer: str = ""

    def __bool__(self) -> bool:
        return bool(self.patient_id)

    def may_be(self, other: "Patient") -> bool:
        """Whether both name one patient: equal identifiers, and no two different issuers."""
        return self.patient_id == other.patient_id and (
            not self.issuer or not other.issuer or self.issuer == other.issuer
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file lay, which stands in for what it does not say.

    Attributes
    ----------
    group
        What held one study: a folder, a zip, an upload.
    folder
        The folder in it, which held one series.
    """

    group: str
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """The identity of an instance, and which parts of it were derived."""

    identity: Identity
    study_derived: bool = False
    series_derived: bool = False
    instance_derived: bool = False

    @property
    def derived(self) -> bool:
        """Whether the catalogue's UIDs are not all in the file."""
        return self.study_derived or self.series_derived or self.instance_derived


def patient_of(header: Header) -> Patient:
    """The patient that a header names."""
    return Patient(_text(header, "PatientID"), _text(header, "IssuerOfPatientID"))


def derived_uid(*parts: str) -> str:
    """The UID under 2.25 that the same parts always give."""
    digest = blake3(_SEPARATOR.join(part.encode("utf-8", "surrogateescape") for part in parts)).digest(16)
    return f"2.25.{UUID(bytes=digest, version=5).int}"


def identify(header: Header, digest: str, source: str, place: Place | None) -> Known:
    """The identity of an instance; what its file lacks, or says in a form that is no UID, is derived.

    A study is derived from the place and the patient (so that two patients in one folder stay two), a series from its
    study, modality and Series Number or else the folder, an instance from its bytes. A UID that is none counts as the
    place: files that share it stay together. Media Storage SOP Instance and Class UID (PS3.10 section 7.1) stand in
    for those of the data set before anything is derived.

    Parameters
    ----------
    header
        Its header.
    digest
        Of its bytes.
    source
        Key of the source.
    place
        Where it lay; None derives nothing.

    Raises
    ------
    Unreadable
        It has no SOP Class UID; without a place, as `hilum.imaging.dicom.header.identity`.
    """
    if place is None:
        return Known(identity(header))
    study, series = _uid(header, "StudyInstanceUID"), _uid(header, "SeriesInstanceUID")
    instance = _uid(header, "SOPInstanceUID")
    sop_class = _uid(header, "SOPClassUID") or _uid(header, "MediaStorageSOPClassUID")
    if not sop_class:
        raise Unreadable("no_sop_class_uid", "The file has no SOPClassUID, so it cannot be stored as an instance.")
    study_uid = study or _study(header, source, place)
    found = Identity(
        study_uid,
        series or _series(header, source, place, study_uid),
        instance or _uid(header, "MediaStorageSOPInstanceUID") or derived_uid("instance", source, digest),
        sop_class,
    )
    return Known(found, not study, not series, not instance)


def identify_in(header: Header, digest: str, source: str, study: str, series: str) -> Known:
    """The identity of an instance whose object lies in the folder of a study and series; errors as for ``identify``."""
    found = identify(header, digest, source, Place(study, series))
    said = found.identity
    return Known(
        Identity(study, series, said.sop_instance_uid, said.sop_class_uid),
        found.study_derived or said.study_instance_uid != study,
        found.series_derived or said.series_instance_uid != series,
        found.instance_derived,
    )


def _text(header: Header, keyword: str) -> str:
    return header.text(keyword).replace("\0", "").strip()


def _uid(header: Header, keyword: str) -> str:
    uid = header.first(keyword)
    return uid if uid and check_uid(uid) else ""


def _study(header: Header, source: str, place: Place) -> str:
    patient = patient_of(header)
    who = (patient.patient_id, patient.issuer) if patient else (header.text("PatientName"), "")
    said = header.first("StudyInstanceUID")
    where = ("said", said) if said else ("place", place.group)
    return derived_uid("study", source, *where, *who)


def _series(header: Header, source: str, place: Place, study: str) -> str:
    said, number = header.first("SeriesInstanceUID"), header.integer("SeriesNumber")
    if said:
        what = ("said", said)
    elif number is not None:
        what = ("number", str(number), header.first("Modality"))
    else:
        what = ("folder", place.group, place.folder)
    return derived_uid("series", source, study, *what)
