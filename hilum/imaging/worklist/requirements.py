"""What PS3.4 table CC.2.5-3 asks of the attributes of a workitem: at its creation, of changes, before it may be
completed, and of the answers to searches."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from hilum.imaging.archive.study_json import element
from hilum.imaging.worklist.dataset import (
    DataSet,
    Element,
    has_value,
    items_of,
    named,
    representations,
    tag_of,
    text_of,
)
from hilum.imaging.worklist.problems import bad

UPS_PUSH: Final = "1.2.840.10008.5.1.4.34.6.1"
DEFAULT_WORKLIST: Final = "DEFAULT"

SCHEDULED: Final = "SCHEDULED"
IN_PROGRESS: Final = "IN PROGRESS"
COMPLETED: Final = "COMPLETED"
CANCELED: Final = "CANCELED"
STATES: Final = (SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED)
RANKS: Final = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}

Create: TypeAlias = Literal["value", "present", "empty", "optional", "never"]


def _tag(keyword: str) -> str:
    tag = tag_of(keyword)
    assert tag is not None, keyword
    return tag


AFFECTED_SOP_INSTANCE_UID: Final = _tag("AffectedSOPInstanceUID")
SOP_CLASS_UID: Final = _tag("SOPClassUID")
SOP_INSTANCE_UID: Final = _tag("SOPInstanceUID")
TRANSACTION_UID: Final = _tag("TransactionUID")
STATE: Final = _tag("ProcedureStepState")
PRIORITY: Final = _tag("ScheduledProcedureStepPriority")
READINESS: Final = _tag("InputReadinessState")
MODIFIED: Final = _tag("ScheduledProcedureStepModificationDateTime")
WORKLIST_LABEL: Final = _tag("WorklistLabel")
STATIONS: Final = _tag("ScheduledStationNameCodeSequence")
PERFORMERS: Final = _tag("ScheduledHumanPerformersSequence")
PROGRESS: Final = _tag("ProcedureStepProgressInformationSequence")
PERFORMED: Final = _tag("UnifiedProcedureStepPerformedProcedureSequence")
CANCELED_AT: Final = _tag("ProcedureStepCancellationDateTime")
CANCEL_REASON: Final = _tag("ReasonForCancellation")
CANCEL_CODES: Final = _tag("ProcedureStepDiscontinuationReasonCodeSequence")
OUTPUT: Final = _tag("OutputInformationSequence")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A row of the table.

    Attributes
    ----------
    tag : str
        Eight hexadecimal digits.
    create : {"value", "present", "empty", "optional", "never"}
        Types 1; 2 (what is missing is created empty); 2, and must be empty; 3 or conditional; not allowed.
    change : bool
        Whether an update may set it.
    given : {"always", "present", "asked"}
        Return keys of type 1 and 2; 1C and 2C; 3 and none.
    scheduled : bool
        Whether it belongs to the Scheduled Procedure Information, whose last change is kept in (0040,4010).
    """

    tag: str
    create: Create
    change: bool
    given: Literal["always", "present", "asked"]
    scheduled: bool


def _scheduled(keyword: str, create: Create, given: Literal["always", "present", "asked"] = "always") -> Requirement:
    return Requirement(_tag(keyword), create, True, given, True)


def _fixed(keyword: str, create: Create, given: Literal["always", "present", "asked"] = "always") -> Requirement:
    return Requirement(_tag(keyword), create, False, given, False)


def _open(keyword: str, create: Create, given: Literal["always", "present", "asked"]) -> Requirement:
    return Requirement(_tag(keyword), create, True, given, False)


REQUIREMENTS: Final = (
    _fixed("TransactionUID", "empty", "asked"),
    _open("SpecificCharacterSet", "optional", "present"),
    _fixed("SOPClassUID", "optional"),
    _fixed("SOPInstanceUID", "optional"),
    _scheduled("ScheduledProcedureStepPriority", "value"),
    _fixed("ScheduledProcedureStepModificationDateTime", "optional", "asked"),
    _scheduled("ProcedureStepLabel", "value"),
    _scheduled("WorklistLabel", "present"),
    _scheduled("ScheduledProcessingParametersSequence", "present"),
    _scheduled("ScheduledStationNameCodeSequence", "present"),
    _scheduled("ScheduledStationClassCodeSequence", "present"),
    _scheduled("ScheduledStationGeographicLocationCodeSequence", "present"),
    _scheduled("ScheduledHumanPerformersSequence", "optional"),
    _scheduled("ScheduledProcedureStepStartDateTime", "value"),
    _scheduled("ExpectedCompletionDateTime", "optional", "asked"),
    _scheduled("ScheduledProcedureStepExpirationDateTime", "optional", "asked"),
    _scheduled("ScheduledWorkitemCodeSequence", "present"),
    _scheduled("CommentsOnTheScheduledProcedureStep", "present", "asked"),
    _scheduled("InputReadinessState", "value"),
    _scheduled("InputInformationSequence", "present"),
    _scheduled("StudyInstanceUID", "optional"),
    _fixed("PatientName", "present"),
    _fixed("PatientID", "optional"),
    _fixed("IssuerOfPatientID", "present"),
    _fixed("IssuerOfPatientIDQualifiersSequence", "present"),
    _open("OtherPatientIDsSequence", "present", "always"),
    _fixed("PatientBirthDate", "present"),
    _fixed("PatientSex", "present"),
    _fixed("AdmissionID", "present"),
    _fixed("IssuerOfAdmissionIDSequence", "present"),
    _fixed("AdmittingDiagnosesDescription", "present"),
    _fixed("AdmittingDiagnosesCodeSequence", "present"),
    _fixed("ReferencedRequestSequence", "present"),
    _fixed("ReplacedProcedureStepSequence", "optional", "asked"),
    _open("MedicalAlerts", "optional", "present"),
    _open("PregnancyStatus", "optional", "present"),
    _open("SpecialNeeds", "optional", "present"),
    _fixed("ProcedureStepState", "value"),
    _open("ProcedureStepProgressInformationSequence", "empty", "always"),
    _open("UnifiedProcedureStepPerformedProcedureSequence", "empty", "asked"),
)
BY_TAG: Final = {one.tag: one for one in REQUIREMENTS}
GIVEN: Final = frozenset(one.tag for one in REQUIREMENTS if one.given != "asked")
ALWAYS: Final = tuple(one.tag for one in REQUIREMENTS if one.given == "always")
_ENUMERATED: Final[Mapping[str, Iterable[str]]] = {
    PRIORITY: RANKS,
    READINESS: ("INCOMPLETE", "UNAVAILABLE", "READY"),
}
PERFORMED_NEEDED: Final = tuple(
    _tag(keyword)
    for keyword in (
        "PerformedStationNameCodeSequence",
        "PerformedProcedureStepStartDateTime",
        "PerformedWorkitemCodeSequence",
        "PerformedProcedureStepEndDateTime",
    )
)


def prepare(data: DataSet, uid: str) -> tuple[DataSet, bool]:
    """Make a workitem of what was sent to create it.

    Parameters
    ----------
    data : DataSet
        As it came.
    uid : str
        The Workitem UID.

    Returns
    -------
    DataSet
        What is kept.
    bool
        Whether it was modified: an attribute of type 2 was missing and is there empty now, or Worklist Label had none.

    Raises
    ------
    Refusal
        A required value is missing, or there is one that may not be.
    """
    missing = [named(one.tag) for one in REQUIREMENTS if one.create == "value" and not has_value(data, one.tag)]
    if missing:
        raise bad(f"A workitem is created with a value for {', '.join(missing)} (PS3.4 table CC.2.5-3).")
    if text_of(data, STATE) != SCHEDULED:
        raise bad("A workitem is created with a Procedure Step State of SCHEDULED.")
    for one in REQUIREMENTS:
        if one.create == "empty" and has_value(data, one.tag):
            raise bad(f"{named(one.tag)} is empty in a workitem that is created.")
    check_enumerated(data)
    absent = [one.tag for one in REQUIREMENTS if one.create in ("present", "empty") and one.tag not in data]
    made = kept(data) | {tag: empty(tag) for tag in absent if tag != TRANSACTION_UID}
    modified = bool(absent)
    if not has_value(made, WORKLIST_LABEL):
        made[WORKLIST_LABEL] = element("LO", DEFAULT_WORKLIST)
        modified = True
    made[SOP_CLASS_UID] = element("UI", UPS_PUSH)
    made[SOP_INSTANCE_UID] = element("UI", uid)
    made[MODIFIED] = moment()
    return dict(sorted(made.items())), modified


def merge(old: DataSet, changes: DataSet) -> DataSet:
    """A workitem with changes made to it; a sequence is replaced as a whole.

    Raises
    ------
    Refusal
        An attribute may not be changed so, or a required value would go.
    """
    changes = kept(changes)
    for tag, new in changes.items():
        one = BY_TAG.get(tag)
        if one is not None and not one.change and old.get(tag) != new:
            raise bad(f"{named(tag)} cannot be changed by an update (PS3.4 table CC.2.5-3).")
        if one is not None and one.create == "value" and not has_value(changes, tag):
            raise bad(f"{named(tag)} cannot be emptied.")
    check_enumerated(changes)
    made = old | changes
    if any(BY_TAG[tag].scheduled for tag in changes if tag in BY_TAG):
        made[MODIFIED] = moment()
    return dict(sorted(made.items()))


def lacks_for_completion(data: DataSet) -> list[str]:
    """What a workitem lacks to be COMPLETED (final state codes R and P), as errors call it."""
    items = items_of(data, PERFORMED)
    if not items:
        return [named(PERFORMED)]
    item = items[0]
    lacking = [named(tag) for tag in PERFORMED_NEEDED if not has_value(item, tag)]
    return lacking if OUTPUT in item else [*lacking, named(OUTPUT)]


def canceled(data: DataSet, reason: Mapping[str, Element]) -> DataSet:
    """A workitem that meets what the final state CANCELED asks (final state code X): when, and for what reason.

    Parameters
    ----------
    data : DataSet
        The workitem.
    reason : mapping
        A Reason For Cancellation and codes, from a request to cancel; what the performer has set stands over it.
    """
    item = {tag: reason[tag] for tag in (CANCEL_REASON, CANCEL_CODES) if tag in reason}
    item |= progress_of(data)
    if not has_value(item, CANCELED_AT):
        item[CANCELED_AT] = moment()
    if not has_value(item, CANCEL_CODES):
        item[CANCEL_CODES] = element("SQ", _UNSPECIFIED)
    return data | {PROGRESS: element("SQ", dict(sorted(item.items())))}


def progress_of(data: DataSet) -> DataSet:
    """The item of a workitem's progress information, empty when there is none."""
    items = items_of(data, PROGRESS)
    return items[0] if items else {}


def check_enumerated(data: DataSet) -> None:
    """Refuse values that are none of an enumeration.

    Raises
    ------
    Refusal
        Naming the values that there are.
    """
    for tag, values in _ENUMERATED.items():
        if has_value(data, tag) and text_of(data, tag) not in values:
            raise bad(f"{named(tag)} is one of {', '.join(values)}.")


def kept(data: DataSet) -> DataSet:
    """What of a data set is kept: neither the command and file meta groups, group lengths, nor the Transaction UID."""
    return {
        tag: element
        for tag, element in data.items()
        if not tag.startswith(("0000", "0002")) and not tag.endswith("0000") and tag != TRANSACTION_UID
    }


def empty(tag: str) -> Element:
    """An attribute without a value."""
    return {"vr": representations(tag)[0]}


def moment() -> Element:
    """Now, as DT."""
    return element("DT", datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f%z"))


# CID 9300: where nobody says why.
_UNSPECIFIED: Final[DataSet] = {
    "00080100": element("SH", "110513"),
    "00080102": element("SH", "DCM"),
    "00080104": element("LO", "Discontinued for unspecified reason"),
}
