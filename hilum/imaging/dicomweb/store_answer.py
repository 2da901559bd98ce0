"""The Store Instances Response (PS3.18 section 10.5.3 and Annex I.2): of each instance what became of it, with the
standard's reason codes, in the DICOM JSON Model or the Native DICOM Model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from hilum.imaging.archive.arrivals import Outcome
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.dicom_xml import model_xml
from hilum.imaging.dicomweb.accept import DICOM_XML

# Failure reasons (PS3.18 table I.2-2, PS3.7 annex C).
OUT_OF_RESOURCES: Final = 0xA700
MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
TRANSFER_SYNTAX: Final = 0xC122
PROCESSING: Final = 0x0110
DUPLICATE: Final = 0x0111
SOP_CLASS: Final = 0x0122
# Warning reasons (PS3.18 table I.2-1); DUPLICATE where other bytes were replaced.
COERCED: Final = 0xB000
DISCARDED: Final = 0xB006
OTHER_CLASS: Final = 0xB007

OUT_OF_SPACE: Final = "out_of_space"
TOO_LARGE: Final = "too_large"
REASONS: Final[Mapping[str, int]] = {
    OUT_OF_SPACE: OUT_OF_RESOURCES,
    TOO_LARGE: OUT_OF_RESOURCES,
    "other_study": MISMATCH,
    "patient_conflict": MISMATCH,
    "sop_instance_uid_taken": DUPLICATE,
    "replacement_rejected": DUPLICATE,
    "transfer_syntax": TRANSFER_SYNTAX,
    "dicomdir": SOP_CLASS,
    "not_dicom": CANNOT_UNDERSTAND,
    "empty": CANNOT_UNDERSTAND,
    "metadata": CANNOT_UNDERSTAND,
    "bulkdata": CANNOT_UNDERSTAND,
    "truncated": CANNOT_UNDERSTAND,
    "unreadable": CANNOT_UNDERSTAND,
    "header_too_long": CANNOT_UNDERSTAND,
    "too_deep": CANNOT_UNDERSTAND,
    "frames": CANNOT_UNDERSTAND,
    "pixels": CANNOT_UNDERSTAND,
    "no_pixel_data": CANNOT_UNDERSTAND,
    "invalid_uid": CANNOT_UNDERSTAND,
    "no_study_instance_uid": CANNOT_UNDERSTAND,
    "no_series_instance_uid": CANNOT_UNDERSTAND,
    "no_sop_instance_uid": CANNOT_UNDERSTAND,
    "no_sop_class_uid": CANNOT_UNDERSTAND,
}
"""Failure Reason by why the archive did not take an instance; PROCESSING for any other."""
_MAX_COMMENT: Final = 64

Json = dict[str, object]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one instance, with what only its sender knew.

    Attributes
    ----------
    outcome : Outcome
        As the archive tells.
    sop_class_uid, sop_instance_uid : str
        As it named itself, or empty.
    warning : int
        Warning Reason, 0 for none; what the archive did goes before.
    """

    outcome: Outcome
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    warning: int = 0

    @property
    def failed(self) -> bool:
        """Whether it was not stored."""
        return self.outcome.state == "set_aside"

    @property
    def warning_reason(self) -> int:
        """Warning Reason (0008,1196), 0 for none."""
        if self.outcome.state == "replaced":
            return DUPLICATE
        return COERCED if self.outcome.given_patient is not None else self.warning

    @property
    def failure_reason(self) -> int:
        """Failure Reason (0008,1197)."""
        return REASONS.get(self.outcome.code, PROCESSING)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a request.

    Attributes
    ----------
    status : int
        200 when all was stored, 202 when some was or there is something to tell of it; when nothing was, 507 for lack
        of space, 413 for instances over the limit, else 409.
    answer : dict
        The Store Instances Response in the DICOM JSON Model.
    """

    status: int
    answer: Json

    def body(self, media_type: str) -> bytes:
        """The response in the media type that was chosen."""
        return model_xml(self.answer) if media_type == DICOM_XML else _encode(self.answer)


def answer(told: Sequence[Told], root: str, study: str | None) -> Stored:
    """Tell of all instances of a request.

    Parameters
    ----------
    told : sequence of Told
        In the order in which they came.
    root : str
        Base URL of the service.
    study : str or None
        Study Instance UID that the path named.
    """
    stored = [one for one in told if not one.failed]
    failed = [one for one in told if one.failed]
    found: Json = {}
    studies = {one.outcome.study_instance_uid for one in stored} or {study or ""}
    if len(studies) == 1 and "" not in studies:
        found["00081190"] = element("UR", f"{root}/studies/{studies.pop()}")
    if failed:
        found["00081198"] = element("SQ", *(_failure(one) for one in failed))
    if stored:
        found["00081199"] = element("SQ", *(_success(one, root) for one in stored))
    return Stored(_status(stored, failed), found)


def _status(stored: Sequence[Told], failed: Sequence[Told]) -> int:
    if stored:
        return 202 if failed or any(one.warning_reason for one in stored) else 200
    codes = {one.outcome.code for one in failed}
    return 507 if OUT_OF_SPACE in codes else 413 if codes == {TOO_LARGE} else 409


def _failure(one: Told) -> Json:
    """An item of Failed SOP Sequence (0008,1198); the comment in Failed Attributes Sequence is for people."""
    outcome = one.outcome
    return {
        "00081150": element("UI", outcome.sop_class_uid or one.sop_class_uid),
        "00081155": element("UI", outcome.sop_instance_uid or one.sop_instance_uid),
        "00081197": element("US", one.failure_reason),
        "00741048": element("SQ", {"00000902": element("LO", outcome.reason[:_MAX_COMMENT])}),
    }


def _success(one: Told, root: str) -> Json:
    """An item of Referenced SOP Sequence (0008,1199), with what is to be warned of."""
    outcome = one.outcome
    url = (
        f"{root}/studies/{outcome.study_instance_uid}/series/{outcome.series_instance_uid}"
        f"/instances/{outcome.sop_instance_uid}"
    )
    item: Json = {
        "00081150": element("UI", outcome.sop_class_uid),
        "00081155": element("UI", outcome.sop_instance_uid),
        "00081190": element("UR", url),
    }
    if one.warning_reason:
        item["00081196"] = element("US", one.warning_reason)
    if outcome.given_patient is not None:
        item["04000561"] = element("SQ", _original(*outcome.given_patient))
    return dict(sorted(item.items()))


def _original(patient_id: str, issuer: str) -> Json:
    """An item of Original Attributes Sequence (PS3.3 C.12.1.1.9): whose the instance says it is."""
    before = {"00100020": element("LO", patient_id), "00100021": element("LO", issuer)}
    return {
        "04000550": element("SQ", before),
        "04000562": element("DT", datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")),
        "04000563": element("LO", "HILUM"),
        "04000564": element("LO"),
        "04000565": element("CS", "COERCE"),
    }
