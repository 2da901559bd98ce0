"""What QIDO-RS tells of studies and series (PS3.18 section 10.6.3), read as the catalogue has it. A remote archive may
write anything: whatever is not what its attribute should be counts as not told."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.patients import MAX_PATIENT_ID
from hilum.imaging.archive.remote import RemoteStudy
from hilum.imaging.archive.statements import MODALITY_RANK, NOT_IMAGES
from hilum.imaging.dicom.names import body_part_word, parse_date, parse_offset, parse_time, person_name
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.remote.client import Element

STUDY_FIELDS: Final = (
    "00080061", "00080080", "00080090", "00080201", "00081030", "00100021", "00100030", "00100040", "00200010",
    "00201206", "00201208",
)  # fmt: skip
"""Attributes of studies that are asked for beside those that every server gives."""
SERIES_FIELDS: Final = (
    "00080021", "00080031", "00080070", "00081010", "00081090", "0008103E", "00180015", "00180050", "00181030",
    "00200011", "00200052", "00200060", "00201209", "00400244", "00400245", "00400275",
)  # fmt: skip
INCLUDE_STUDY: Final = tuple(("includefield", tag) for tag in STUDY_FIELDS)
"""As QIDO-RS asks it: one parameter for each, for not every server reads lists."""
INCLUDE_SERIES: Final = tuple(("includefield", tag) for tag in SERIES_FIELDS)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")
_LONG: Final = 1024
_LARGEST: Final = (1 << 31) - 1
_NUMBERS: Final = ("00401001", "00400009")
_MAX_ITEMS: Final = 20


def read_study(data: Element) -> RemoteStudy:
    """Read a study.

    Raises
    ------
    ValueError
        It has no Study Instance UID.
    """
    uid = text(data, "0020000D", 64)
    if not check_uid(uid):
        raise ValueError("it has no Study Instance UID")
    modalities = [code for code in dict.fromkeys(word.upper() for word in texts(data, "00080061", 16)) if code]
    name, physician = _person(data, "00100010"), _person(data, "00080090")
    values: dict[str, object] = {
        "study_instance_uid": uid,
        "study_date": _day(data, "00080020"),
        "study_time": _clock(data, "00080030"),
        "timezone_offset": _offset(data),
        "study_id": text(data, "00200010", 64),
        "accession_number": text(data, "00080050", 64),
        "study_description": text(data, "00081030"),
        "modality": min(modalities, key=_rank, default=""),
        "modalities": sorted(modalities),
        "patient_name": person_name(name),
        "patient_name_dicom": name,
        "patient_birth_date": _day(data, "00100030"),
        "patient_sex": text(data, "00100040", 16),
        "physician": person_name(physician),
        "referring_physician_dicom": physician,
        "facility": text(data, "00080080"),
        "num_series": count(data, "00201206"),
        "num_instances": count(data, "00201208"),
    }
    return RemoteStudy(read_patient(data), values, ())


def read_patient(data: Element) -> Patient:
    """Whose a study is."""
    number = text(data, "00100020", MAX_PATIENT_ID)
    return Patient(number, text(data, "00100021", MAX_PATIENT_ID)) if number else Patient()


def read_series(found: Sequence[Element], study_instance_uid: str) -> list[dict[str, object]]:
    """Read the series of a study, each once; those of another, and what has no UID, are left out."""
    series: dict[str, dict[str, object]] = {}
    for data in found:
        uid, study = text(data, "0020000E", 64), text(data, "0020000D", 64)
        if check_uid(uid) and study in ("", study_instance_uid):
            series.setdefault(uid, _series(data, uid))
    return list(series.values())


def _series(data: Element, uid: str) -> dict[str, object]:
    part = text(data, "00180015", 64).upper()
    return {
        "series_instance_uid": uid,
        "series_number": number(data, "00200011"),
        "series_description": text(data, "0008103E"),
        "series_date": _day(data, "00080021"),
        "series_time": _clock(data, "00080031"),
        "modality": text(data, "00080060", 16).upper(),
        "body_part": part if body_part_word(part) else "",
        "laterality": text(data, "00200060", 16),
        "protocol_name": text(data, "00181030"),
        "manufacturer": text(data, "00080070"),
        "model": text(data, "00081090"),
        "station_name": text(data, "00081010"),
        "slice_thickness": _decimal(data, "00180050"),
        "procedure_step_date": _day(data, "00400244"),
        "procedure_step_time": _clock(data, "00400245"),
        "frame_of_reference_uid": text(data, "00200052", 64),
        "num_instances": count(data, "00201209"),
        "further": _requests(data),
    }


def _requests(data: Element) -> dict[str, object] | None:
    """The numbers of the requests in Request Attributes Sequence, as the catalogue keeps those of files."""
    items: list[dict[str, object]] = []
    for item in _values(data, "00400275")[:_MAX_ITEMS]:
        if isinstance(item, dict):
            found = {tag: text(cast("Element", item), tag, 64) for tag in _NUMBERS}
            items.append({tag: {"vr": "SH", "Value": [value]} for tag, value in found.items() if value})
    kept = [item for item in items if item]
    return {"00400275": {"vr": "SQ", "Value": kept}} if kept else None


def text(data: Element, tag: str, longest: int = _LONG) -> str:
    """The first value of an attribute as a text; empty where there is none."""
    return next(iter(texts(data, tag, longest)), "")


def texts(data: Element, tag: str, longest: int = _LONG) -> list[str]:
    """The values of an attribute as texts, some hundred at most."""
    found = (value for value in _values(data, tag)[:100] if isinstance(value, str | int | float))
    return [_CONTROL.sub(" ", str(value)[: 4 * longest]).strip()[:longest] for value in found]


def number(data: Element, tag: str) -> int | None:
    """The first value of an attribute as a whole number that the catalogue can hold."""
    word = text(data, tag, 16).removesuffix(".0")
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or int(digits) > _LARGEST:
        return None
    return int(word)


def count(data: Element, tag: str) -> int:
    """The first value of an attribute as a count; 0 where it is none."""
    return max(number(data, tag) or 0, 0)


def _decimal(data: Element, tag: str) -> float | None:
    try:
        value = float(text(data, tag, 20))
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def _values(data: Element, tag: str) -> list[object]:
    element = data.get(tag)
    values = cast("Mapping[str, object]", element).get("Value") if isinstance(element, dict) else None
    return cast("list[object]", values) if isinstance(values, list) else []


def _person(data: Element, tag: str) -> str:
    """A person name as DICOM writes it; servers that are not strict give it as one text."""
    for value in _values(data, tag)[:1]:
        if isinstance(value, dict):
            groups = cast("Mapping[str, object]", value)
            given = [groups.get(name) for name in ("Alphabetic", "Ideographic", "Phonetic")]
            words = [_CONTROL.sub(" ", one)[:_LONG].replace("=", " ") if isinstance(one, str) else "" for one in given]
            return "=".join(words).rstrip("=").strip()
    return text(data, tag)


def _day(data: Element, tag: str) -> str | None:
    found = parse_date(text(data, tag, 16))
    return found.isoformat() if found else None


def _clock(data: Element, tag: str) -> str | None:
    found = parse_time(text(data, tag, 20))
    return found.isoformat() if found else None


def _offset(data: Element) -> str:
    word = text(data, "00080201", 8)
    return word if parse_offset(word) else ""


def _rank(code: str) -> tuple[bool, int, str]:
    place = MODALITY_RANK.index(code) if code in MODALITY_RANK else len(MODALITY_RANK)
    return code in NOT_IMAGES, place, code
