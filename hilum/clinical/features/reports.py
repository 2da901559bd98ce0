"""Measurements and findings of structured reports by TID 1500 (PS3.16, Measurement Report): each measurement group is
one finding, told from others by its tracking UID; each number in it, each coded evaluation and the finding itself is a
feature."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from hilum.clinical.features.content import Attributes, Item, content_of, moment_of, text
from hilum.clinical.features.said import Finding, Said

VERSION: Final = "1"
REPORT: Final = "DCM|126000"
_GROUP: Final = "DCM|125007"
_EVALUATIONS: Final = ("UMLS|C0034375", "SCT|C0034375")
_FINDING, _CATEGORY = "DCM|121071", "SCT|276214006"
_SITE, _LATERALITY = "SCT|363698007", "SCT|272741003"
_TRACKING, _TRACKING_UID = "DCM|112039", "DCM|112040"
_ALGORITHM, _ALGORITHM_VERSION = "DCM|111001", "DCM|111003"
_SOURCE_SERIES: Final = "DCM|121232"
_PERSON, _DEVICE, _MODEL = "DCM|121008", "DCM|121013", "DCM|121015"
_DERIVATION: Final = "DCM|121401"
_SIDES: Final = {"SCT|7771000": "left", "SCT|24028007": "right", "SCT|51440002": "bilateral"}
_UCUM_ONE: Final = ("1", "{ratio}", "no units")
_MOST_IN_ONE: Final = 20_000
_LONGEST: Final = 250
_EARLY: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Report:
    """A structured report: its SOP Instance UID, its series, when it was written, and its content."""

    uid: str
    series_uid: str
    written: datetime | None
    root: Item


SeriesOf = Callable[[str], str]
"""From the UID of an instance of the study to that of its series; empty for one of another study."""


def report_of(attributes: Attributes, series_uid: str) -> Report | None:
    """The report that an instance is; None where it is none, or one that cannot be read."""
    root = content_of(attributes)
    return Report(text(attributes, "00080018"), series_uid, moment_of(attributes), root) if root else None


def read_measurements(report: Report, series_of: SeriesOf, known_series: frozenset[str]) -> list[Said]:
    """The features of a report.

    Parameters
    ----------
    report
        By TID 1500; any other has none.
    series_of
        Where the images are that it names.
    known_series
        UIDs of the study's series.
    """
    if report.root.name.code != REPORT:
        return []
    observed = _observed(report)
    found: list[Said] = []
    for item in report.root.walk():
        if item.kind == "CONTAINER" and item.name.code == _GROUP:
            found += _group(item, _Reading(report, observed, _series(report, item, series_of, known_series)))
        elif item.kind == "CONTAINER" and item.name.code in _EVALUATIONS:
            reading = _Reading(report, observed, _series(report, item, series_of, known_series))
            found += [reading.said(each, None) for each in item.children if each.kind == "CODE" and each.value.code]
        if len(found) > _MOST_IN_ONE:
            return found[:_MOST_IN_ONE]
    return found


def latest_versions(features: list[Said]) -> tuple[Said, ...]:
    """Mark what an algorithm said of a series where a later report has it from another version of the algorithm."""
    latest: dict[tuple[str, str], tuple[datetime, str]] = {}
    for said in features:
        of, written = (said.algorithm, said.series_uid), said.algorithm_time or _EARLY
        if said.algorithm and latest.get(of, (_EARLY, ""))[0] <= written:
            latest[of] = (written, said.algorithm_version)
    return tuple(
        replace(said, superseded=True)
        if said.algorithm and latest[(said.algorithm, said.series_uid)][1] != said.algorithm_version
        else said
        for said in features
    )


@dataclass(frozen=True, slots=True)
class _Observed:
    """Who or what made a report's observations."""

    author: str
    algorithm: str
    version: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What all features of one group have in common."""

    report: Report
    observed: _Observed
    series_uid: str
    site: Item | None = None

    def said(self, item: Item, finding: Finding | None, **content: object) -> Said:
        """The feature that a content item is."""
        site = item.child(_SITE) or self.site
        side = (site and site.child(_LATERALITY)) or item.child(_LATERALITY)
        provenance: dict[str, object] = {"sop_instance_uid": self.report.uid}
        if self.observed.author:
            provenance["author"] = self.observed.author[:_LONGEST]
        common: dict[str, object] = {
            "key": f"{self.report.uid}/{item.path}",
            "feature_type": "structured_report",
            "feature_name": _name(item),
            "code": item.name.code[:_LONGEST],
            "value_string": item.value.meaning[:_LONGEST],
            "value_code": item.value.code[:_LONGEST],
            "algorithm": self.observed.algorithm[:_LONGEST],
            "algorithm_version": self.observed.version[:_LONGEST],
            "algorithm_time": self.report.written,
            "body_site": site.value.meaning[:_LONGEST] if site else "",
            "body_site_code": site.value.code[:_LONGEST] if site else "",
            "laterality": _SIDES.get(side.value.code, "") if side else "",
            "series_uid": self.series_uid,
            "finding": finding,
            "provenance": provenance,
        }
        return Said(**(common | content))  # pyright: ignore[reportArgumentType] - each is a field of its type


def _group(group: Item, reading: _Reading) -> Iterator[Said]:
    named = group.child(_FINDING) or group.child(_CATEGORY)
    tracking = group.text_of(_TRACKING_UID) or f"{reading.report.uid}/{group.path}"
    finding = Finding(
        key=tracking[:_LONGEST],
        name=(named.value.meaning if named else group.text_of(_TRACKING))[:_LONGEST],
        code=named.value.code[:_LONGEST] if named else "",
    )
    algorithm = group.text_of(_ALGORITHM)
    observed = _Observed("", algorithm, group.text_of(_ALGORITHM_VERSION)) if algorithm else reading.observed
    reading = replace(reading, observed=observed, site=group.child(_SITE))
    if named and named.value.code:
        present = {"value_string": "present", "value_code": "", "assertion": "present"}
        yield reading.said(named, finding, feature_name=finding.name, code=finding.code, **present)
    for item in group.walk():
        if item.kind == "NUM" and item.number is not None:
            unit = "1" if item.unit in _UCUM_ONE else item.unit
            yield reading.said(item, finding, value_numeric=item.number, unit=unit[:_LONGEST])
    for item in group.children:
        structural = item.name.code in (_FINDING, _CATEGORY, _SITE)
        if item.kind == "CODE" and item.relationship == "CONTAINS" and item.value.code and not structural:
            yield reading.said(item, finding)


def _name(item: Item) -> str:
    """What a content item is, with how a number was derived, such as Mean."""
    how = item.child(_DERIVATION)
    name = item.name.meaning or item.name.code or "Measurement"
    return (f"{name} ({how.value.meaning.lower()})" if how and how.value.meaning else name)[:_LONGEST]


def _series(report: Report, group: Item, series_of: SeriesOf, known: frozenset[str]) -> str:
    """The series that a group is seen in: of the images that it names, or the series, else the report's own."""
    for item in group.walk():
        for uid in item.references:
            if found := series_of(uid):
                return found
    source = group.text_of(_SOURCE_SERIES)
    return source if source in known else report.series_uid


def _observed(report: Report) -> _Observed:
    """The observer of the whole report (TID 1001), and its algorithm (TID 4019)."""
    root = report.root
    algorithm = root.text_of(_ALGORITHM)
    if algorithm:
        return _Observed("", algorithm, root.text_of(_ALGORITHM_VERSION))
    person = root.text_of(_PERSON)
    device = root.text_of(_MODEL) or root.text_of(_DEVICE)
    return _Observed(person, "" if person else device, "")
