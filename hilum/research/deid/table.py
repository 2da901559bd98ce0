"""The tables of DICOM PS3.15 Annex E as this room uses them, read from the data files beside it: what becomes of each
attribute (E.1-1) and content item (E.3.4-1) under each option, which private attributes are safe (E.3.10-1), and the
type of an attribute where the action depends on it. Which options are in force is for ``profile`` to say."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, cast

CURVE: Final = 0x50000000
OVERLAY: Final = 0x60000000
_REPEATING: Final = {"50xxxxxx": CURVE, "60xx3000": OVERLAY}

OPTIONS: Final = {
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_device_identity": ("113109", "Retain Device Identity Option"),
    "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_longitudinal_full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain_longitudinal_modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "clean_structured_content": ("113104", "Clean Structured Content Option"),
    "clean_graphics": ("113103", "Clean Graphics Option"),
}
"""The ten options of table E.1-1 by the key of their column, with their code in CID 7050."""
BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
CLEAN_PIXELS: Final = ("113101", "Clean Pixel Data Option")
CLEAN_FACES: Final = ("113102", "Clean Recognizable Visual Features Option")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of table E.1-1 or E.3.4-1.

    Attributes
    ----------
    name
        Of the attribute, or the meaning of the concept.
    vr
        Value representation of the attribute, or value type of the content item.
    basic
        The Basic Profile's code: X, Z, D, U, or alternatives parted by slashes.
    options
        Code (K or C) by the option that has one.
    """

    name: str
    vr: str
    basic: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables.

    Attributes
    ----------
    edition
        Of PS3.15.
    attributes
        Rows of E.1-1 by tag.
    repeating
        Rows of E.1-1 for whole groups, by `CURVE` and `OVERLAY`.
    contents
        Rows of E.3.4-1 by coding scheme designator, code value and value type.
    safe_private
        VR by group, private creator and low byte of the element.
    unlisted
        What Hilum does with attributes that E.1-1 does not name, by tag: clean, remove, empty or technical.
    types
        Attribute type (1, 1C, 2, 2C, 3) by SOP class UID and tag.
    nested_types
        The same by the tag of the sequence around and tag.
    """

    edition: str
    attributes: Mapping[int, Row]
    repeating: Mapping[int, Row]
    contents: Mapping[tuple[str, str, str], Row]
    safe_private: Mapping[tuple[int, str, int], str]
    unlisted: Mapping[int, str]
    types: Mapping[str, Mapping[int, str]]
    nested_types: Mapping[int, Mapping[int, str]]


_Json = Mapping[str, object]


def data_text(name: str) -> str:
    """A data file of this room."""
    return (files("hilum.research.deid") / "data" / name).read_text(encoding="utf-8")


@cache
def tables() -> Tables:
    """The tables, read once a process."""
    found = cast("dict[str, list[_Json]]", json.loads(data_text("confidentiality.json")))
    source = cast("_Json", found["source"])
    kinds = cast("dict[str, dict[str, dict[str, str]]]", json.loads(data_text("iod_types.json")))
    rows = {str(row["tag"]): _row(row, "name", "vr") for row in found["attributes"]}
    return Tables(
        edition=str(source["edition"]),
        attributes={int(tag, 16): row for tag, row in rows.items() if "x" not in tag and tag != "PRIVATE"},
        repeating={group: rows[tag] for tag, group in _REPEATING.items()},
        contents={
            (str(item["scheme"]), str(item["code"]), str(item["value_type"])): _row(item, "meaning", "value_type")
            for item in found["content_items"]
        },
        safe_private=_safe_private(),
        unlisted={int(row["tag"], 16): row["action"] for row in _csv("unlisted.csv")},
        types={uid: _by_tag(types) for uid, types in kinds["sop_classes"].items()},
        nested_types={int(tag, 16): _by_tag(types) for tag, types in kinds["sequences"].items()},
    )


def _row(row: _Json, name: str, vr: str) -> Row:
    return Row(str(row[name]), str(row[vr]), str(row["basic"]), cast("dict[str, str]", row["options"]))


def _by_tag(types: Mapping[str, str]) -> dict[int, str]:
    return {int(tag, 16): kind for tag, kind in types.items()}


def _safe_private() -> dict[tuple[int, str, int], str]:
    rows = _csv("safe_private.csv")
    return {(int(row["group"], 16), row["creator"], int(row["element"], 16)): row["vr"] for row in rows}


def _csv(name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(line for line in data_text(name).splitlines() if not line.startswith("#"))
