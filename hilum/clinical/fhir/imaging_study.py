"""The ImagingStudy (FHIR R4, 4.0.1) of a study, made from its rows. Pure: where the rows come from, and when a resource
is made anew, is for ``versions`` to say. ``id`` and ``meta`` are no part of what is made here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, Literal, TypeAlias, cast

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.codes import Element, plain

Row: TypeAlias = Mapping[str, object]
Status: TypeAlias = Literal["registered", "available", "cancelled"]
Span: TypeAlias = tuple[datetime, datetime]

REMOTE: Final = "remote."
_OFFSET: Final = re.compile(r"([+-])(\d\d)(\d\d)")


@dataclass(frozen=True, slots=True)
class Made:
    """A resource, and what a search asks of it.

    Attributes
    ----------
    resource : dict
        The ImagingStudy without ``id`` and ``meta``.
    status : str
        As in the resource.
    endpoint : str
        Id of the Endpoint that serves it.
    modalities : list of str
        The codes of its modalities.
    started : tuple of datetime, optional
        When the span begins that ``started`` names, and when it has ended.
    """

    resource: Element
    status: Status
    endpoint: str
    modalities: list[str]
    started: Span | None


def make_imaging_study(study: Row, series: Sequence[Row], revision: int, patient_reference: str) -> Made:
    """Make the ImagingStudy of a study.

    Parameters
    ----------
    study
        Its row, with ``source_key`` and ``issuer_of_patient_id``.
    series
        The rows of its series, each with ``instances``: SOP Instance UID, SOP Class UID and Instance Number. None of a
        deleted study, which is then cancelled.
    revision
        The revision that the study has reached; 0 for none.
    patient_reference
        How a linked person is referred to, with ``{person_id}`` in it; empty: not at all.
    """
    uid = str(study["study_instance_uid"])
    status: Status = "available" if series else "registered"
    if study["deleted_at"] is not None:
        series, status = (), "cancelled"
    endpoint = endpoint_of(study)
    offset = _zone(str(study["timezone_offset"]))
    listed = [_series(each, offset) for each in series]
    modalities = list(dict.fromkeys(cast("str", cast("Element", each["modality"])["code"]) for each in listed))
    if study["availability"] == "remote" or not listed:
        modalities = [plain(code) for code in cast("Sequence[str]", study["modalities"]) if plain(code)] or modalities
    started = _moment(study["study_date"], study["study_time"], offset)
    resource: Element = {
        "resourceType": "ImagingStudy",
        "extension": [{"url": codes.REVISION, "valueUnsignedInt": revision}] if revision else [],
        "identifier": [{"system": codes.DICOM_UID, "value": f"urn:oid:{uid}"}, *_accession(study)],
        "status": status,
        "modality": [codes.modality(code) for code in modalities],
        "subject": _subject(study, patient_reference),
        "started": started[0] if started else "",
        "basedOn": [{"type": "ServiceRequest", "identifier": each} for each in _accession(study)],
        "endpoint": [{"reference": f"Endpoint/{endpoint}"}] if status == "available" else [],
        "numberOfSeries": len(listed),
        "numberOfInstances": sum(cast("int", each["numberOfInstances"]) for each in listed),
        "description": plain(study["study_description"]),
        "series": listed,
    }
    return Made(_without_empty(resource), status, endpoint, modalities, started[1] if started else None)


def cancel(resource: Element) -> Element:
    """What is left of an ImagingStudy whose study was deleted, as `make_imaging_study` makes it of the deleted row."""
    kept = {name: value for name, value in resource.items() if name not in ("endpoint", "series")}
    return kept | {"status": "cancelled", "numberOfSeries": 0, "numberOfInstances": 0}


def endpoint_of(study: Row) -> str:
    """Id of the Endpoint that serves a study: its source's key, or that of the source's remote archive."""
    return f"{REMOTE}{study['source_id']}" if study["availability"] == "remote" else str(study["source_key"])


def _series(row: Row, offset: timezone | None) -> Element:
    instances = cast("Sequence[tuple[str, str, int | None]]", row["instances"])
    site = codes.body_site(str(row["body_part"]), str(row["anatomic_region"]))
    begun = (row["series_date"], row["series_time"])
    started = _moment(*begun, offset) or _moment(row["procedure_step_date"], row["procedure_step_time"], offset)
    return _without_empty(
        {
            "uid": row["series_instance_uid"],
            "number": _unsigned(row["series_number"]),
            "modality": codes.modality(str(row["modality"])),
            "description": plain(row["series_description"]),
            "numberOfInstances": len(instances) or row["num_instances"],
            "bodySite": site,
            "laterality": codes.laterality(str(row["laterality"])),
            "started": started[0] if started else "",
            "instance": [_instance(*each) for each in instances],
        }
    )


def _instance(sop_instance_uid: str, sop_class_uid: str, number: int | None) -> Element:
    return _without_empty(
        {
            "uid": sop_instance_uid,
            "sopClass": codes.sop_class(sop_class_uid),
            "number": _unsigned(number),
            "title": codes.title_of(sop_class_uid),
        }
    )


def _subject(study: Row, patient_reference: str) -> Element:
    """Who the patient is: by identifier and issuer, and by reference once a person is linked. Never empty, for the
    element is required."""
    issuer = plain(study["issuer_of_patient_id"])
    system = codes.system_of(issuer)
    identifier: Element = {
        "type": codes.identifier_type("MR"),
        "system": system,
        "value": plain(study["patient_id"]),
        "assigner": {"display": issuer} if issuer and not system else None,
    }
    person = study["person_id"]
    return _without_empty(
        {
            "reference": patient_reference.replace("{person_id}", str(person)) if person is not None else "",
            "type": "Patient",
            "identifier": _without_empty(identifier) if identifier["value"] else None,
            "display": plain(study["patient_name"]) or ("" if identifier["value"] else "Unknown patient"),
        }
    )


def _accession(study: Row) -> list[Element]:
    number = plain(study["accession_number"])
    return [{"type": codes.identifier_type("ACSN"), "value": number}] if number else []


def _moment(day: object, clock: object, offset: timezone | None) -> tuple[str, Span] | None:
    """A date, or a date and time where the offset from UTC is known (FHIR's dateTime has no time without one), and the
    span that it names; a date without an offset is one of UTC."""
    if not isinstance(day, date):
        return None
    if not isinstance(clock, time) or offset is None:
        return day.isoformat(), _span(datetime.combine(day, time(), UTC), timedelta(days=1))
    moment = datetime.combine(day, clock.replace(microsecond=0), offset)
    return moment.isoformat(), _span(moment, timedelta(seconds=1))


def _span(start: datetime, length: timedelta) -> Span:
    try:
        return start, start + length
    except OverflowError:  # the last day of the calendar
        return start, start


def _zone(offset: str) -> timezone | None:
    """Timezone Offset From UTC (0008,0201), from -1200 to +1400."""
    match = _OFFSET.fullmatch(offset.strip())
    if match is None or int(match[3]) > 59:
        return None
    found = timedelta(hours=int(match[2]), minutes=int(match[3])) * (-1 if match[1] == "-" else 1)
    return timezone(found) if timedelta(hours=-12) <= found <= timedelta(hours=14) else None


def _unsigned(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= codes.MAX_UNSIGNED else None


def _without_empty(element: Element) -> Element:
    """FHIR has no empty values: what is not known is not there."""
    return {name: value for name, value in element.items() if value not in (None, "", [], {})}
