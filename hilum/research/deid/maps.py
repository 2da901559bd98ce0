"""The site's own tables: `personal_map.csv` (PatientID, person_id, Days_Shifted), `image_map.csv` (PatientID,
AccessionNumber, image_occurrence_id, as CHoRUS writes it also with one r) and, if there is one, `known_identifiers.csv`
(PatientID, kind, value, or a column for each). What they say is believed only when it does not contradict itself."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hilum.core.errors import Invalid
from hilum.research.deid.identifiers import Kind

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,15}", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d{1,6}(?:\.0+)?", re.ASCII)
_MAX_BYTES: Final = 4 << 30
_WHOSE: Final = ("patientid", "patient_id", "person_id")
_VALUE: Final = ("value", "identifier")
_HINTS: Final[tuple[tuple[Kind, tuple[str, ...]], ...]] = (
    ("date", ("date", "birth", "dob")),
    ("phone", ("phone", "tel", "fax", "mobile")),
    ("id", ("id", "mrn", "ssn", "number", "accession", "account", "insurance")),
    ("text", ("address", "street", "mail", "city")),
    ("name", ("name", "physician", "doctor", "relative", "alias")),
)
_IMAGE_ID: Final = ("image_occurrence_id", "image_occurence_id")


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What the image map says of an accession; procedure and visit where the site adds these columns."""

    image_occurrence_id: str
    procedure_occurrence_id: str = ""
    visit_occurrence_id: str = ""


@dataclass(frozen=True, slots=True)
class Maps:
    """The site's tables.

    Attributes
    ----------
    people
        person_id and days (None where the map leaves them open) by PatientID.
    images
        By PatientID and AccessionNumber.
    known
        Identifiers by PatientID or person_id.
    """

    people: Mapping[str, tuple[str, int | None]] = field(default_factory=dict[str, tuple[str, int | None]])
    images: Mapping[tuple[str, str], ImageRow] = field(default_factory=dict[tuple[str, str], ImageRow])
    known: Mapping[str, frozenset[tuple[Kind, str]]] = field(default_factory=dict[str, frozenset[tuple[Kind, str]]])


def read_maps(folder: Path) -> Maps:
    """The maps in a folder, under names in any case.

    Raises
    ------
    Invalid
        When one is missing or contradicts itself; the sentence names file and line, never a value.
    """
    if not folder.is_dir():
        raise Invalid(f"There is no folder {folder} with the maps.")
    files = {path.name.lower(): path for path in folder.iterdir() if path.is_file()}
    for name in ("personal_map.csv", "image_map.csv"):
        if name not in files:
            raise Invalid(f"The folder {folder} has no {name}.")
    return Maps(
        _people(files["personal_map.csv"]),
        _images(files["image_map.csv"]),
        _known(files["known_identifiers.csv"]) if "known_identifiers.csv" in files else {},
    )


def _people(path: Path) -> dict[str, tuple[str, int | None]]:
    found: dict[str, tuple[str, int | None]] = {}
    shifts: dict[str, int | None] = {}
    for line, row in _rows(path, ("patientid", "person_id")):
        where = f"{path.name}, line {line}"
        days_text = row.get("days_shifted", "")
        if days_text and not _WHOLE.fullmatch(days_text):
            raise Invalid(f"{where}: Days_Shifted is no whole number of days.")
        one = (_safe(row["person_id"], where, "person_id"), int(float(days_text)) if days_text else None)
        if found.setdefault(row["patientid"], one) != one:
            raise Invalid(f"{where}: this PatientID is there twice, with another person or shift.")
        if shifts.setdefault(one[0], one[1]) != one[1]:
            raise Invalid(f"{where}: this person_id is there twice, with another shift.")
    return found


def _images(path: Path) -> dict[tuple[str, str], ImageRow]:
    found: dict[tuple[str, str], ImageRow] = {}
    for line, row in _rows(path, ("patientid", "accessionnumber")):
        where = f"{path.name}, line {line}"
        image = next((row[name] for name in _IMAGE_ID if row.get(name)), "")
        one = ImageRow(
            _safe(image, where, "image_occurrence_id"),
            _optional(row.get("procedure_occurrence_id", ""), where),
            _optional(row.get("visit_occurrence_id", ""), where),
        )
        if found.setdefault((row["patientid"], row["accessionnumber"]), one) != one:
            raise Invalid(f"{where}: this PatientID and AccessionNumber are there twice, with other ids.")
    return found


def _known(path: Path) -> dict[str, frozenset[tuple[Kind, str]]]:
    """Lines of (PatientID, kind, value), or a line a person with a column an identifier, whose name tells its kind."""
    found: dict[str, set[tuple[Kind, str]]] = defaultdict(set)
    for line, row in _rows(path, ()):
        whose = next((row[name] for name in _WHOSE if row.get(name)), "")
        if not whose:
            raise Invalid(f"{path.name}, line {line}: there is no PatientID.")
        value = next((row[name] for name in _VALUE if name in row), None)
        if value is not None:
            told = [(row.get("kind") or row.get("type") or "", value)]
        else:
            told = [(name, value) for name, value in row.items() if name not in _WHOSE]
        found[whose].update((_kind(name), value) for name, value in told if value)
    return {patient: frozenset(values) for patient, values in found.items()}


def _kind(name: str) -> Kind:
    """What kind of identifier a word for it means."""
    words = name.lower()
    for kind, hints in _HINTS:
        if any(hint in words for hint in hints):
            return kind
    return "text"


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """Lines by number, with column names in small letters and values without blanks around them."""
    if path.stat().st_size > _MAX_BYTES:
        raise Invalid(f"{path.name} is too large to be read.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = {name: name.strip().lower() for name in rows.fieldnames or ()}
            missing = [name for name in needed if name not in names.values()]
            if missing:
                raise Invalid(f"{path.name} has no column {', '.join(missing)}.")
            for row in rows:
                yield rows.line_num, {names[key]: (value or "").strip() for key, value in row.items() if key in names}
    except (UnicodeDecodeError, csv.Error):
        raise Invalid(f"{path.name} is no CSV file in UTF-8.") from None


def _safe(value: str, where: str, name: str) -> str:
    if not _SAFE_ID.fullmatch(value):
        raise Invalid(f"{where}: {name} is up to 16 letters, digits, - and _, since a folder is named by it.")
    return value


def _optional(value: str, where: str) -> str:
    if value and not re.fullmatch(r"\d{1,18}", value, re.ASCII):
        raise Invalid(f"{where}: the ids of procedures and visits are whole numbers.")
    return value
