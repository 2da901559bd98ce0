"""Acquisition parameters: attributes of a series' header as features, by the list that ships, by one that a setting
names, or all that hold a number, a code or a time."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword

from hilum.clinical.features.content import Attributes, items, number, text, texts
from hilum.clinical.features.said import Said
from hilum.core.errors import Invalid

VERSION: Final = "1"
ALGORITHM: Final = "hilum:acquisition"
ALL: Final = "all"
# Objects that were made from images, or hold none, have no acquisition of their own.
_NOT_ACQUIRED: Final = frozenset((
    "ANN", "AU", "DOC", "FID", "HD", "KO", "M3D", "PLAN", "PR", "REG", "RTDOSE", "RTPLAN", "RTRECORD", "RTSTRUCT",
    "RWV", "SEG", "SMR", "SR", "TEXTUREMAP",
))  # fmt: skip
# Of all attributes: what a study of 700,000 values kept, without dates of birth and whatever else says who it is.
_KINDS: Final = frozenset(("AT", "CS", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "TM", "UL", "US", "UV"))
_WHO: Final = ("0002", "0008", "0010", "0032", "0038", "0040", "7FE0")
_SHARED, _PER_FRAME = "52009229", "52009230"
_DEEPEST: Final = 6
_LONGEST: Final = 50


@dataclass(frozen=True, slots=True)
class Parameter:
    """An attribute that is read: its tag, name and unit (UCUM)."""

    tag: str
    name: str
    unit: str = ""


@cache
def shipped() -> Mapping[str, Parameter]:
    """The list that ships, by tag."""
    lines = files("hilum.clinical.features").joinpath("data", "acquisition.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(lines.splitlines())
    return {row["tag"]: Parameter(row["tag"], row["name"], row["unit"]) for row in rows}


def parameters(keywords: Sequence[str]) -> Mapping[str, Parameter] | None:
    """The parameters that a setting names, by tag; None for all.

    Raises
    ------
    Invalid
        DICOM has no attribute of such a name.
    """
    if ALL in keywords:
        return None
    return {found.tag: found for keyword in keywords if (found := _named(keyword))} or shipped()


def read_acquisition(
    series_uid: str, modality: str, header: Attributes, wanted: Mapping[str, Parameter] | None
) -> list[Said]:
    """The acquisition parameters of a series, from the header of its first instance; none for what is no acquired
    image."""
    if modality in _NOT_ACQUIRED:
        return []
    chosen = wanted if wanted is not None else {parameter.tag: parameter for parameter in _all(header)}
    found = [_said(series_uid, header, parameter) for parameter in chosen.values()]
    return [said for said in found if said]


def attribute(header: Attributes, tag: str) -> Attributes:
    """Where an attribute stands that has a value: in the header itself, or in the functional groups of a multi-frame
    instance, of all frames or of the first (PS3.3 section C.7.6.16); nowhere, as an empty data set."""
    if texts(header, tag):
        return header
    for groups in (*items(header, _SHARED), *items(header, _PER_FRAME)[:1], *items(header, "00189321")[:1]):
        found = _within(groups, tag, _DEEPEST)
        if found is not None:
            return found
    return {}


def _within(attributes: Attributes, tag: str, depth: int) -> Attributes | None:
    if texts(attributes, tag):
        return attributes
    if depth:
        for name in attributes:
            for item in items(attributes, name)[:1]:
                found = _within(item, tag, depth - 1)
                if found is not None:
                    return found
    return None


def _said(series_uid: str, header: Attributes, parameter: Parameter) -> Said | None:
    there = [value for value in texts(attribute(header, parameter.tag), parameter.tag) if value]
    if not there:
        return None
    numbers = {number(value) for value in there} if _is_number(parameter.tag) else {None}
    value = numbers.pop() if len(numbers) == 1 else None  # several that are the same are one
    words = "\\".join(there)
    if value is None and len(words) > _LONGEST:
        return None
    return Said(
        key=f"{series_uid}/{parameter.tag}",
        feature_type="acquisition",
        feature_name=parameter.name,
        code=f"DICOM|{parameter.tag}",
        algorithm=ALGORITHM,
        algorithm_version=VERSION,
        value_numeric=value,
        value_string="" if value is not None else words,
        unit=parameter.unit,
        series_uid=series_uid,
        provenance={"tag": parameter.tag, "sop_instance_uid": text(header, "00080018")},
    )


def _named(keyword: str) -> Parameter | None:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise Invalid(f"HILUM_ACQUISITION_TAGS: DICOM has no attribute {keyword[:80]}.")
    hexadecimal = f"{tag:08X}"
    return shipped().get(hexadecimal) or Parameter(hexadecimal, dictionary_description(tag))


def _all(header: Attributes) -> Iterator[Parameter]:
    """The attributes at the top of a header that hold a number, a code or a time, and those of the list."""
    yield from shipped().values()
    for tag, value in header.items():
        kept = value.get("vr") in _KINDS and not tag.startswith(_WHO) and int(tag[:4], 16) % 2 == 0
        if kept and tag not in shipped():
            try:
                yield Parameter(tag, dictionary_description(int(tag, 16)))
            except KeyError:  # of a later edition
                yield Parameter(tag, tag)


@cache
def _is_number(tag: str) -> bool:
    try:
        return dictionary_VR(int(tag, 16)) not in ("AS", "CS", "DA", "DT", "LO", "SH", "ST", "TM", "UI")
    except KeyError:
        return False
