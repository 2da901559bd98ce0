"""What a person asks for who has images, or documents, that are no DICOM: for which patient and study they are to be
wrapped. The wrapping itself, which needs pydicom and the codecs, is in ``secondary_capture``."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hilum.core.errors import HilumError, Invalid
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import check_patient
from hilum.imaging.dicom.uids import check_uid

MAX_IMAGE_BYTES: Final = 256 << 20
JPEG: Final = b"\xff\xd8\xff"
PNG: Final = b"\x89PNG\r\n\x1a\n"
PDF: Final = b"%PDF-"
_MAX_TEXT: Final = 64


class CannotWrap(HilumError):
    """An image cannot be wrapped; ``code`` says why in one word."""

    status = 422
    title = "The image cannot be wrapped"

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Wrap:
    """The patient and study that a person named for images.

    Attributes
    ----------
    patient
        Whose they are.
    study_instance_uid
        Of the study; empty derives one from patient, date and description.
    study_date
        YYYYMMDD, or empty.
    study_description, patient_name
        As they shall stand in the files.
    modality
        Of the series.
    pdf
        Whether PDFs are wrapped as well; else they are reports, and stay what they are.
    """

    patient: Patient
    study_instance_uid: str = ""
    study_date: str = ""
    study_description: str = ""
    patient_name: str = ""
    modality: str = "OT"
    pdf: bool = False


def make_wrap(patient_id: str, *, pdf: bool = False, modality: str = "", **study: str) -> Wrap:
    """Check what a person named for images.

    Parameters
    ----------
    patient_id
        Whose they are.
    pdf, modality
        As of `Wrap`.
    **study
        ``study_instance_uid``, ``study_date`` (YYYYMMDD or YYYY-MM-DD), ``study_description``, ``patient_name``.

    Raises
    ------
    Invalid
        No patient or no study is named, or one of the values is not of its kind.
    """
    if not patient_id:
        raise Invalid("To wrap images, name the patient (patient id) as well.")
    patient = check_patient(patient_id)
    uid, date = study.get("study_instance_uid", ""), study.get("study_date", "").replace("-", "")
    if not (uid or date or study.get("study_description")):
        raise Invalid("To wrap images, name their study: its UID, or its date or description.")
    if uid and not check_uid(uid):
        raise Invalid("The study UID is not a valid UID.")
    if date:
        _check_date(date)
    for text in (study.get("study_description", ""), study.get("patient_name", "")):
        if len(text) > _MAX_TEXT or "\\" in text or (text and not text.isprintable()):
            raise Invalid("Description and name have at most 64 characters, no backslash or control character.")
    modality = modality or "OT"
    if not re.fullmatch(r"[A-Z0-9]{1,16}", modality):
        raise Invalid("A modality is written in capital letters and digits, such as US.")
    return Wrap(patient, uid, date, study.get("study_description", ""), study.get("patient_name", ""), modality, pdf)


def _check_date(date: str) -> None:
    try:
        datetime.strptime(date, "%Y%m%d")  # noqa: DTZ007 - a date alone has no zone
    except ValueError as error:
        raise Invalid("The study date must be of the form YYYY-MM-DD.") from error


def is_wrappable(head: bytes, wrap: Wrap) -> bool:
    """Whether a file, by its first bytes, is what a person asked to wrap."""
    return head.startswith((JPEG, PNG)) or (wrap.pdf and head.startswith(PDF))
