"""Radiation dose: from radiation dose structured reports of projection X-ray and CT (PS3.16 TID 10001 and 10011), else,
for a study without one, what its images say themselves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hilum.clinical.features.acquisition import attribute
from hilum.clinical.features.content import Attributes, Code, Item, number, text, values
from hilum.clinical.features.reports import Report
from hilum.clinical.features.said import Said

VERSION: Final = "1"
ALGORITHM: Final = "hilum:dose"
REPORT: Final = "DCM|113701"
_EVENT: Final = ("DCM|113819", "DCM|113706")
_LONGEST_UID: Final = 64
_EVENT_UID, _REGION, _PLANE = "DCM|113769", "DCM|123014", "DCM|113764"
_QUANTITIES: Final[Mapping[str, str]] = {
    "DCM|113830": "CTDIvol",
    "DCM|113838": "DLP",
    "DCM|113813": "DLP total",
    "DCM|122130": "Dose area product",
    "DCM|113722": "Dose area product total",
    "DCM|113738": "Reference dose",
    "DCM|113725": "Reference dose total",
}
# Of an image: CTDIvol in mGy (0018,9345), Image and Fluoroscopy Area Dose Product in dGy.cm2 (0018,115E).
_HEADERS: Final = (("00189345", "CTDIvol", "mGy"), ("0018115E", "Dose area product", "dGy.cm2"))


@dataclass(frozen=True, slots=True)
class ImageDose:
    """What the images of a series say of dose: the UID of their irradiation event, if any, and features."""

    event: str
    features: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class _Around:
    """What a number stands in: an irradiation event, and what is said of one plane of a biplane."""

    event: Item | None = None
    plane: Item | None = None


def image_dose(series_uid: str, header: Attributes) -> ImageDose:
    """What the first image of a series says of dose."""
    said: list[Said] = []
    for tag, name, unit in _HEADERS:
        found = number(next(iter(values(attribute(header, tag), tag)), None))
        if found is not None:
            provenance: dict[str, object] = {"tag": tag, "sop_instance_uid": text(header, "00080018")}
            said.append(
                Said(key=f"{series_uid}/{tag}", feature_type="dose", feature_name=name, code=f"DICOM|{tag}",
                    algorithm=ALGORITHM, algorithm_version=VERSION, value_numeric=found, unit=unit,
                    series_uid=series_uid, provenance=provenance)
            )  # fmt: skip
    return ImageDose(text(attribute(header, "00083010"), "00083010"), tuple(said))


def read_dose(reports: Sequence[Report], images: Mapping[str, ImageDose]) -> tuple[Said, ...]:
    """The dose of a study.

    Parameters
    ----------
    reports
        Its reports, the earliest first: of an event that several tell, and of totals, the latest counts.
    images
        What images say, by UID of the series: told where no report tells a dose, so that nothing counts twice.
    """
    series = {image.event: uid for uid, image in images.items() if image.event}
    found: dict[str, Said] = {}
    for report in reports:
        if report.root.name.code == REPORT:
            found |= {said.key: said for said in _events(report, report.root, _Around(), series)}
    return tuple(found.values()) or tuple(said for image in images.values() for said in image.features)


def _events(report: Report, item: Item, around: _Around, series: Mapping[str, str]) -> Iterator[Said]:
    plane, event = item.child(_PLANE) or around.plane, item if item.name.code in _EVENT else around.event
    within = _Around(event, plane)
    name = _QUANTITIES.get(item.name.code)
    if name and item.kind == "NUM" and item.number is not None:
        yield _said(report, item, name, within, series)
    for child in item.children:
        yield from _events(report, child, within, series)


def _said(report: Report, item: Item, name: str, around: _Around, series: Mapping[str, str]) -> Said:
    event, plane = around.event, around.plane.value if around.plane else Code()
    uid = (event.text_of(_EVENT_UID)[:_LONGEST_UID] or f"{report.uid}/{event.path}") if event else ""
    region = event.child(_REGION) if event else None
    # Each plane has totals of its own, in every report the same; several scanners have containers of their own.
    place = uid or f"total/{plane.code or item.path}"
    provenance: dict[str, object] = {"sop_instance_uid": report.uid}
    if plane.meaning:
        provenance["plane"] = plane.meaning
    return Said(
        key=f"{place}/{item.name.code}",
        feature_type="dose",
        feature_name=name,
        code=item.name.code,
        algorithm=ALGORITHM,
        algorithm_version=VERSION,
        value_numeric=item.number,
        unit=item.unit,
        body_site=region.value.meaning if region else "",
        body_site_code=region.value.code if region else "",
        series_uid=series.get(uid, report.series_uid),
        provenance=provenance,
    )
