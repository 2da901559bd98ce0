"""A FHIR server's list of ImagingStudy, indexed like an answer of QIDO-RS: its studies are known with their series and
counts, and lie where they are. Only the server is asked that the source names, page by page and no more than was asked
for."""

import re
from collections.abc import Mapping
from datetime import date, time
from typing import Annotated, Final, cast

import msgspec

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.client import Credentials, FhirServer, Refused, ServerFailed
from hilum.clinical.fhir.codes import Element, plain
from hilum.clinical.fhir.versions import keep
from hilum.core.errors import Conflict, Invalid, Unavailable
from hilum.core.progress import Progress
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import MAX_PATIENT_ID
from hilum.imaging.archive.remote import RemoteStudy, keep_remote
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.names import body_part_word
from hilum.imaging.dicom.uids import check_uid

LIMIT: Final = 100
MAX_LIMIT: Final = 1000
_PAGE: Final = 100
_MAX_SERIES: Final = 2000
_TEXT: Final = 1024
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d))?")

_Text = Annotated[str, msgspec.Meta(max_length=100_000)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=codes.MAX_UNSIGNED)]


class _Coding(msgspec.Struct):
    system: _Text = ""
    code: _Text = ""
    display: _Text = ""


class _Concept(msgspec.Struct):
    coding: list[_Coding] = []


class _Identifier(msgspec.Struct):
    type: _Concept = msgspec.field(default_factory=_Concept)
    system: _Text = ""
    value: _Text = ""
    assigner: "_Reference | None" = None


class _Reference(msgspec.Struct):
    identifier: _Identifier | None = None
    display: _Text = ""


class _Series(msgspec.Struct, rename="camel"):
    uid: _Text
    number: _Count | None = None
    modality: _Coding = msgspec.field(default_factory=_Coding)
    description: _Text = ""
    number_of_instances: _Count | None = None
    body_site: _Coding | None = None
    laterality: _Coding | None = None
    started: _Text = ""
    instance: list[object] = []


class _Study(msgspec.Struct, rename="camel"):
    identifier: list[_Identifier] = []
    status: _Text = ""
    modality: list[_Coding] = []
    subject: _Reference = msgspec.field(default_factory=_Reference)
    started: _Text = ""
    based_on: list[_Reference] = []
    number_of_series: _Count | None = None
    number_of_instances: _Count | None = None
    description: _Text = ""
    series: Annotated[list[_Series], msgspec.Meta(max_length=_MAX_SERIES)] = []


def index_imaging_studies(archive: Archive, arguments: Mapping[str, object], progress: Progress) -> None:
    """Index the studies of a source's FHIR server: the work of a job.

    Parameters
    ----------
    archive
        Where they become known.
    arguments
        ``source``, and ``limit``, how many studies at most.
    progress
        Told what became of each.

    Raises
    ------
    Unavailable
        The server cannot be asked.
    """
    source = archive.source(str(arguments["source"]))
    url = fhir_url(archive, source)
    limit = min(cast("int", arguments.get("limit", LIMIT)), MAX_LIMIT)
    server = FhirServer(url, _credentials(archive, source, url), authorities=archive.settings.outgoing_ca)
    try:
        _index(archive, source, server, limit, progress)
    except (ServerFailed, Refused) as error:
        raise Unavailable(f"The FHIR server of source '{source.key}' could not be indexed. {error}") from None


def fhir_url(archive: Archive, source: SourceRef, url: str = "") -> str:
    """The FHIR server of a source.

    Raises
    ------
    Conflict
        It has none.
    Invalid
        Another one is asked for.
    """
    with archive.database.connect() as connection:
        query = "select fhir_url from hilum.source where id = %s"
        configured = str(connection.exec_driver_sql(query, (source.id,)).scalar_one())
    if not configured:
        raise Conflict(f"Source '{source.key}' names no FHIR server: hilum source add {source.key} --fhir-url URL.")
    if url and url.rstrip("/") != configured:
        raise Invalid(f"Only the FHIR server that source '{source.key}' names can be indexed.")
    return configured


def _credentials(archive: Archive, source: SourceRef, url: str) -> Credentials:
    """Those of the source, else those of the server that is published to if it is that one, else none."""
    with archive.database.connect() as connection:
        query = "select fhir_user, fhir_secret from hilum.source where id = %s"
        user, secret = connection.exec_driver_sql(query, (source.id,)).one()
    if secret:
        return Credentials(user=user, password=secret) if user else Credentials(token=secret)
    published = url == archive.settings.fhir_publish_url.rstrip("/")
    return Credentials.of(archive.settings) if published else Credentials()


def _index(archive: Archive, source: SourceRef, server: FhirServer, limit: int, progress: Progress) -> None:
    with server:
        address = f"{server.base}/ImagingStudy?_count={min(limit, _PAGE)}"
        seen: set[str] = set()
        done = 0
        while address and address not in seen and len(seen) < MAX_LIMIT:
            seen.add(address)
            bundle = server.get(address)
            for resource in _resources(bundle):
                if done >= limit:
                    return
                done += 1
                _take(archive, source, resource, progress)
                progress.step()
            address = _next(bundle)


def _take(archive: Archive, source: SourceRef, resource: Element, progress: Progress) -> None:
    try:
        found = remote_study(resource)
    except ValueError as error:
        progress.leave_out(
            "not_understood", f"It is no ImagingStudy of a DICOM study: {error}", str(resource.get("id"))[:64]
        )
        return
    if found is None:
        progress.leave_out("not_available", "The server says that it has no images.", str(resource.get("id"))[:64])
        return
    uid = str(found.study["study_instance_uid"])
    with archive.database.transaction() as sql:
        (became,) = keep_remote(sql, source, [found], archive.choice.name)
        if became in ("new", "updated"):
            keep(archive, sql, source.id, uid)
    if became == "deleted":
        progress.leave_out("deleted", "It has been deleted here.", uid)
    else:
        progress.count(f"studies_{'unchanged' if became == 'same' else became}")
    if became == "new":
        progress.count("series", len(found.series))


def remote_study(resource: Element) -> RemoteStudy | None:
    """Read an ImagingStudy of R4; None of one that has no images.

    Raises
    ------
    ValueError
        It is none, or not of DICOM.
    """
    try:
        study = msgspec.convert(resource, _Study)
    except msgspec.ValidationError as error:
        raise ValueError(re.sub(r"[^A-Za-z0-9`$.,\[\] ]", "", str(error))[:200]) from None
    if study.status in ("cancelled", "entered-in-error", "registered"):
        return None
    uid = next((one.value.removeprefix("urn:oid:") for one in study.identifier if one.system == codes.DICOM_UID), "")
    if not check_uid(uid):
        raise ValueError("no identifier of the system urn:dicom:uid")
    series = list({one.uid: _series(one) for one in study.series if check_uid(one.uid)}.values())
    modalities = sorted({_code(each) for each in study.modality} | {str(each["modality"]) for each in series} - {""})
    day, clock, offset = _moment(study.started)
    name = plain(study.subject.display)[:_TEXT]
    values: dict[str, object] = {
        "study_instance_uid": uid,
        "study_date": day,
        "study_time": clock,
        "timezone_offset": offset,
        "accession_number": _accession(study),
        "study_description": plain(study.description)[:_TEXT],
        "modality": modalities[0] if modalities else "",
        "modalities": [code for code in modalities if code],
        "body_part": next((str(each["body_part"]) for each in series if each["body_part"]), ""),
        "body_parts": sorted({body_part_word(str(each["body_part"])) for each in series} - {""}),
        "patient_name": name,
        "patient_name_dicom": dicom_name(name),
        "num_series": len(series) or study.number_of_series or 0,
        "num_instances": study.number_of_instances or sum(cast("int", each["num_instances"]) for each in series),
    }
    return RemoteStudy(_patient(study), values, series)


def dicom_name(display: str) -> str:
    """A name as people read it as a PN (PS3.5 section 6.2.1): ``Family, Given Middle`` in its parts; of any other
    nobody can tell which word is which, and all of it stands as the family name, where it is found by any of them."""
    text = " ".join(re.sub(r"[\^=\\]", " ", display).split())
    family, comma, rest = text.partition(",")
    if not comma or not family.strip() or not rest.strip() or "," in rest:
        return text
    given, _, middle = rest.strip().partition(" ")
    return "^".join(part for part in (family.strip(), given, middle.strip()) if part)


def _series(series: _Series) -> dict[str, object]:
    day, clock, _ = _moment(series.started)
    return {
        "series_instance_uid": series.uid,
        "series_number": series.number,
        "series_description": plain(series.description)[:_TEXT],
        "series_date": day,
        "series_time": clock,
        "modality": _code(series.modality),
        "body_part": codes.body_part_of(series.body_site.code, series.body_site.display) if series.body_site else "",
        "anatomic_region": _region(series.body_site),
        "laterality": codes.side_of(series.laterality.code) if series.laterality else "",
        "num_instances": len(series.instance) if series.number_of_instances is None else series.number_of_instances,
    }


def _region(site: _Coding | None) -> str:
    """A body site that is coded in SNOMED CT, as the catalogue has the region of a series."""
    coded = site and site.system == codes.SNOMED and re.fullmatch("[0-9]{1,18}", site.code)
    return f"{site.code}^SCT^{plain(site.display)[:_TEXT]}" if site and coded else ""


def _patient(study: _Study) -> Patient:
    """Whose the study is: by the patient's identifier, and its issuer."""
    found = study.subject.identifier
    number = plain(found.value)[:MAX_PATIENT_ID] if found else ""
    if found is None or not number:
        return Patient()
    issuer = found.system.removeprefix("urn:oid:") or (found.assigner.display if found.assigner else "")
    return Patient(number, plain(issuer)[:MAX_PATIENT_ID])


def _accession(study: _Study) -> str:
    """The accession number, of the study or of the request that it is based on."""
    given = [*study.identifier, *(each.identifier for each in study.based_on if each.identifier)]
    found = (one.value for one in given if any(coding.code == "ACSN" for coding in one.type.coding))
    return plain(next(found, ""))[:64]


def _code(coding: _Coding) -> str:
    return plain(coding.code).upper()[:16]


def _moment(text: str) -> tuple[str | None, str | None, str]:
    """Date, time and offset from UTC as the catalogue has them, as far as a dateTime tells."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None, None, ""
    day, clock, zone = match.groups()
    try:
        date.fromisoformat(day)
        time.fromisoformat(clock or "00:00:00")
    except ValueError:
        return None, None, ""
    return day, clock, (zone or "").replace("Z", "+00:00").replace(":", "")


def _resources(bundle: Element) -> list[Element]:
    entries = bundle.get("entry")
    listed = cast("list[object]", entries) if isinstance(entries, list) else []
    found = [cast("Element", entry).get("resource") for entry in listed if isinstance(entry, dict)]
    return [
        cast("Element", one)
        for one in found
        if isinstance(one, dict) and cast("Element", one).get("resourceType") == "ImagingStudy"
    ]


def _next(bundle: Element) -> str:
    links = bundle.get("link")
    for link in cast("list[object]", links) if isinstance(links, list) else []:
        if isinstance(link, dict) and cast("Element", link).get("relation") == "next":
            return str(cast("Element", link).get("url", ""))
    return ""
