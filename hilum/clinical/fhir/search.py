"""What a search for ImagingStudy asks (FHIR R4, section 3.1.1), as conditions on indexed columns. How the answer looks
is for ``bundles``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, LiteralString, TypeAlias, cast

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.outcome import BadRequest
from hilum.clinical.fhir.versions import Version
from hilum.core.database import Database

Kind: TypeAlias = Literal["token", "date", "reference"]

MAX_COUNT: Final = 500
COUNT: Final = 50
MAX_OFFSET: Final = 2**31
MAX_VALUES: Final = 1000
_MAX_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter, as the CapabilityStatement tells of it."""

    name: str
    kind: Kind
    documentation: str


PARAMETERS: Final = (
    Parameter("_id", "token", "The id of the resource."),
    Parameter("_lastUpdated", "date", "When the resource last changed; with prefixes."),
    Parameter("identifier", "token", "The Study Instance UID (urn:dicom:uid|urn:oid:1.2.3) or the accession number."),
    Parameter("patient", "reference", "The linked person; patient:identifier takes the patient's id and its issuer."),
    Parameter("subject", "reference", "The same as patient."),
    Parameter("started", "date", "When the study began; with prefixes."),
    Parameter("modality", "token", "The code of a modality of the study."),
    Parameter("endpoint", "reference", "The Endpoint that serves the study: one a source."),
    Parameter("status", "token", "available, cancelled or registered."),
)
"""The parameters that find; a CapabilityStatement names them."""

CONTROLS: Final = ("_count", "_offset", "_total", "_sort", "_summary", "_include", "_format", "_pretty")
"""The parameters that say how the answer looks."""

INCLUDE: Final = "ImagingStudy:endpoint"
_SORTS: Final[Mapping[str, LiteralString]] = {"_id": "id", "_lastUpdated": "last_updated", "started": "started_from"}
_MISSING: Final[Mapping[str, LiteralString]] = {
    "started": "h.started_from is null",
    "modality": "h.modalities = '{}'",
    "endpoint": "h.status <> 'available'",
    "patient": "h.person_id is null and h.patient_id = ''",
    "subject": "h.person_id is null and h.patient_id = ''",
}
_STATUS_SYSTEM: Final = "http://hl7.org/fhir/imagingstudy-status"


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked for.

    Attributes
    ----------
    conditions : sequence of str
        In SQL; all must hold.
    values : mapping
        What stands for the placeholders in them.
    used : sequence of (str, str)
        The parameters that were understood, for the link to this very answer.
    ignored : sequence of str
        Names of those that were not.
    uids : sequence of str
        Studies that are asked for by their UID.
    order : str
        What the answer is ordered by, in SQL.
    count, offset : int
        The page.
    total, include, only_count : bool
        Whether the number of all is wanted, the Endpoints too, nothing but the number.
    """

    conditions: Sequence[LiteralString] = ()
    values: Mapping[str, object] = field(default_factory=dict[str, object])
    used: Sequence[tuple[str, str]] = ()
    ignored: Sequence[str] = ()
    uids: Sequence[str] = ()
    order: LiteralString = "h.id"
    count: int = COUNT
    offset: int = 0
    total: bool = True
    include: bool = False
    only_count: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A page of an answer, whether there is another behind it, and how many match in all, where that was asked."""

    versions: Sequence[Version]
    total: int | None
    more: bool


@dataclass(slots=True)
class _Reading:
    """The state of reading a query: names of bound values, and what was found so far."""

    conditions: list[LiteralString] = field(default_factory=list["LiteralString"])
    values: dict[str, object] = field(default_factory=dict[str, object])
    uids: list[str] = field(default_factory=list[str])

    def bind(self, value: object) -> LiteralString:
        """A placeholder for a value."""
        if len(self.values) >= MAX_VALUES:
            raise BadRequest(f"A search asks for at most {MAX_VALUES} values.")
        name = f"v{len(self.values)}"
        self.values[name] = value
        return cast("LiteralString", f"%({name})s")


def parse_search(given: Sequence[tuple[str, str]], *, strict: bool) -> Search:
    """Read the parameters of a search.

    Parameters
    ----------
    given
        Names and values, in their order; a name may stand several times, and then all must hold.
    strict
        Refuse what is not understood, instead of passing it over (``Prefer: handling=strict``).

    Raises
    ------
    BadRequest
        A value is none that its parameter takes; or, strictly, a parameter is not understood.
    """
    reading = _Reading()
    controls: dict[str, object] = {}
    used: list[tuple[str, str]] = []
    ignored: list[str] = []
    for name, value in given:
        if not value:
            continue
        understood = _control(name, value, controls) if name in CONTROLS else _condition(reading, name, value)
        (used.append((name, value)) if understood else ignored.append(name))
    if strict and ignored:
        known = ", ".join(parameter.name for parameter in PARAMETERS)
        raise BadRequest(f"ImagingStudy is not searched by {', '.join(sorted(set(ignored)))}; take one of {known}.")
    return Search(reading.conditions, reading.values, used, ignored, reading.uids, **controls)  # pyright: ignore[reportArgumentType]


def find_studies(database: Database, search: Search) -> Found:
    """Run a search."""
    where: LiteralString = "".join([f" and ({condition})" for condition in search.conditions])
    count: LiteralString = f"select count(*) from hilum.fhir_imaging_study h where not h.deleted{where}"
    with database.connect() as connection:
        total = connection.exec_driver_sql(count, dict(search.values)).scalar_one() if search.total else None
        if search.only_count:
            return Found((), total, more=False)
        rows = connection.exec_driver_sql(
            f"with page as (select row_number() over (order by {search.order}) as place, h.id, h.version "
            f"from hilum.fhir_imaging_study h where not h.deleted{where} "
            "order by place limit %(limit)s offset %(offset)s) "
            "select p.id, v.version, v.last_updated, v.content from page p join hilum.fhir_imaging_study_version v "
            "on v.imaging_study_id = p.id and v.version = p.version order by p.place",
            dict(search.values) | {"limit": search.count + 1, "offset": search.offset},
        ).all()
    return Found([Version(*row) for row in rows[: search.count]], total, more=len(rows) > search.count)


def _control(name: str, value: str, controls: dict[str, object]) -> bool:
    if name in ("_count", "_offset"):
        most = MAX_COUNT if name == "_count" else MAX_OFFSET
        if not re.fullmatch(r"\d{1,10}", value, re.ASCII):
            raise BadRequest(f"{name} is a number.")
        controls[name[1:]] = min(int(value), most)
        if controls.get("count") == 0:
            controls["only_count"] = True
    elif name == "_total":
        _one_of(name, value, ("none", "estimate", "accurate"))
        controls["total"] = value != "none"
    elif name == "_summary":
        if value not in ("count", "false"):
            return False
        controls["only_count"] = value == "count"
    elif name == "_include":
        if value != INCLUDE:
            return False
        controls["include"] = True
    elif name == "_sort":
        order = _order(value)
        if order is None:
            return False
        controls["order"] = order
    return True


def _order(value: str) -> LiteralString | None:
    columns: list[LiteralString] = []
    for each in value.split(","):
        column = _SORTS.get(each.removeprefix("-"))
        if column is None:
            return None
        columns.append(f"h.{column} desc nulls last" if each.startswith("-") else f"h.{column} asc nulls last")
    return ", ".join([*columns, "h.id"])


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise BadRequest(f"{name} is one of {', '.join(allowed)}.")


def _condition(reading: _Reading, full: str, value: str) -> bool:
    """Read a parameter that finds; false when it, or its modifier, is not one of this room's."""
    name, _, modifier = full.partition(":")
    if full in ("patient.identifier", "subject.identifier"):
        name, modifier = "patient", "identifier"
    if modifier == "missing" and name in _MISSING:
        _one_of(full, value, ("true", "false"))
        condition = _MISSING[name]
        reading.conditions.append(condition if value == "true" else f"not ({condition})")
        return True
    parse = _PARSERS.get((name, modifier))
    if parse is None:
        return False
    alternatives: list[LiteralString] = [parse(reading, full, each) for each in _split(value)]
    reading.conditions.append("(" + ") or (".join(alternatives or ["false"]) + ")")
    return True


def _split(value: str) -> list[str]:
    """Alternatives, parted by commas that no backslash stands before."""
    return [re.sub(r"\\([\\,$|])", r"\1", each) for each in re.findall(r"(?:[^,\\]|\\.)+", value)]


def _id(reading: _Reading, _: str, value: str) -> LiteralString:
    return f"h.id = {reading.bind(_number(value))}"


def _identifier(reading: _Reading, _: str, value: str) -> LiteralString:
    """A study's UID or accession number, with or without its system; accession numbers have none."""
    system, _, code = value.rpartition("|")
    if code.startswith("urn:oid:") and system in ("", codes.DICOM_UID):
        reading.uids.append(code.removeprefix("urn:oid:"))
        return f"h.study_instance_uid = {reading.bind(reading.uids[-1])}"
    if system:
        return "true" if system == codes.DICOM_UID and not code else "false"
    return f"h.accession_number = {reading.bind(code)} and h.accession_number <> ''"


def _person(reading: _Reading, _: str, value: str) -> LiteralString:
    """The person that a study is linked to; what cannot be a person's number is taken for a patient's identifier."""
    number = value.removeprefix("Patient/")
    if number.isdecimal():
        return f"h.person_id = {reading.bind(_number(number))}"
    return "false" if "/" in value else _patient_identifier(reading, "", value)


def _patient_identifier(reading: _Reading, _: str, value: str) -> LiteralString:
    system, bar, code = value.rpartition("|")
    known: LiteralString = (
        f"h.patient_id = {reading.bind(code)} and h.patient_id <> ''" if code else "h.patient_id <> ''"
    )
    if not bar:
        return known
    issuers = sorted({system, system.removeprefix("urn:oid:")})
    return f"{known} and h.issuer_of_patient_id = any({reading.bind(issuers)})"


def _modality(reading: _Reading, _: str, value: str) -> LiteralString:
    system, bar, code = value.rpartition("|")
    if bar and system not in ("", codes.DCM):
        return "false"
    return f"h.modalities && array[{reading.bind(code.upper())}::text]" if code else "h.modalities <> '{}'"


def _not_modality(reading: _Reading, name: str, value: str) -> LiteralString:
    return f"not ({_modality(reading, name, value)})"


def _endpoint(reading: _Reading, _: str, value: str) -> LiteralString:
    number = re.sub(r"^(?:.*/)?Endpoint/", "", value)
    return f"h.endpoint = {reading.bind(number)} and h.status = 'available'"


def _status(reading: _Reading, _: str, value: str) -> LiteralString:
    system, _, code = value.rpartition("|")
    return "false" if system not in ("", _STATUS_SYSTEM) else f"h.status = {reading.bind(code)}"


def _not_status(reading: _Reading, name: str, value: str) -> LiteralString:
    return f"not ({_status(reading, name, value)})"


def _number(value: str) -> int:
    """The number that an id is; none that there is where it is no number."""
    return int(value) if re.fullmatch(r"\d{1,18}", value, re.ASCII) else _MAX_ID


_DATE: Final = re.compile(
    r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?"
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?\d*)?(Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
# How a resource's span (its columns) must lie to that of the parameter (section 3.1.1.5.6).
_WITHIN: Final = "{from} >= {begins} and {to} <= {ends}"
_COMPARED: Final[Mapping[str, LiteralString]] = {
    "eq": _WITHIN,
    "ne": "not (" + _WITHIN + ")",
    "gt": "{to} > {ends}",
    "lt": "{from} < {begins}",
    "ge": "{to} > {ends} or (" + _WITHIN + ")",
    "le": "{from} < {begins} or (" + _WITHIN + ")",
    "sa": "{from} >= {ends}",
    "eb": "{to} <= {begins}",
    "ap": "{to} > {begins} and {from} < {ends}",
}


def _started(reading: _Reading, name: str, value: str) -> LiteralString:
    return _dated(reading, name, value, "h.started_from", "h.started_to")


def _last_updated(reading: _Reading, name: str, value: str) -> LiteralString:
    return _dated(reading, name, value, "h.last_updated", "h.last_updated")


def _dated(reading: _Reading, name: str, value: str, start: LiteralString, end: LiteralString) -> LiteralString:
    prefix, begins, ends = span_of(name, value)
    condition = _COMPARED[prefix].replace("{from}", start).replace("{to}", end)
    return condition.replace("{begins}", reading.bind(begins)).replace("{ends}", reading.bind(ends))


def span_of(name: str, value: str) -> tuple[str, datetime, datetime]:
    """The prefix of a date, and the span that it names: from its first moment to that after its last, in UTC where it
    has no zone. ``ap`` widens it by a tenth of the time that lies between it and now.

    Raises
    ------
    BadRequest
        It is no date.
    """
    match = _DATE.fullmatch(value.replace(" ", "+"))  # what a plus sign in an address becomes
    try:
        if match is None:
            raise ValueError(value)
        prefix, year, month, day, hour, minute, second, fraction, zone = match.groups()
        text = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
        begins = datetime.fromisoformat(text + (zone or "Z").replace("Z", "+00:00"))
        if fraction:
            begins += timedelta(seconds=float(fraction))
        ends = _end(begins, month, day, hour, second, fraction)
        if prefix == "ap":
            reach = abs(datetime.now(UTC) - begins) / 10
            begins, ends = begins - reach, ends + reach
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} takes a date such as 2024-01-31, ge2024 or lt2024-01-31T10:00:00Z.") from None
    return prefix or "eq", begins, ends


def _end(begins: datetime, *parts: str | None) -> datetime:
    month, day, hour, second, fraction = parts
    if fraction:
        return begins + timedelta(milliseconds=1)
    if second:
        return begins + timedelta(seconds=1)
    if hour:
        return begins + timedelta(minutes=1)
    if day:
        return begins + timedelta(days=1)
    if month:
        return begins.replace(year=begins.year + begins.month // 12, month=begins.month % 12 + 1)
    return begins.replace(year=begins.year + 1)


_Parse: TypeAlias = Callable[[_Reading, str, str], LiteralString]
_PARSERS: Final[Mapping[tuple[str, str], _Parse]] = {
    ("_id", ""): _id,
    ("_lastUpdated", ""): _last_updated,
    ("identifier", ""): _identifier,
    ("patient", ""): _person,
    ("patient", "Patient"): _person,
    ("patient", "identifier"): _patient_identifier,
    ("subject", ""): _person,
    ("subject", "Patient"): _person,
    ("subject", "identifier"): _patient_identifier,
    ("started", ""): _started,
    ("modality", ""): _modality,
    ("modality", "not"): _not_modality,
    ("endpoint", ""): _endpoint,
    ("endpoint", "Endpoint"): _endpoint,
    ("status", ""): _status,
    ("status", "not"): _not_status,
}
