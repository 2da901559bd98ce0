"""The maps that CHoRUS wants of a site, written from the CDM's links: whose a PatientID is and by how many days their
dates move, and which image_occurrence an accession number stands for. Given maps are compared with the links. The maps
name people: they stay at the site."""

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hilum.clinical.cdm.cdm import require_cdm
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.research.datasets.definition import Definition, Filter
from hilum.research.datasets.people import keep_shifts, name_of
from hilum.research.datasets.selection import SelectedStudy, select_studies, source_id
from hilum.research.datasets.site_key import site_keys
from hilum.research.deid.maps import ImageRow, Maps, read_maps
from hilum.research.deid.profile import load_profile

PEOPLE: Final = ("PatientID", "person_id", "Days_Shifted")
IMAGES: Final = (
    "PatientID", "AccessionNumber", "image_occurence_id", "procedure_occurrence_id", "visit_occurrence_id"
)  # fmt: skip


@dataclass(slots=True)
class Links:
    """What the links of a source say.

    Attributes
    ----------
    people
        person_id and days by PatientID.
    images
        By PatientID and AccessionNumber.
    contradicted
        PatientIDs, and pairs with accession numbers, whose studies are tied to different people or procedures.
    unlinked
        Studies that are tied to nobody, or to no image_occurrence.
    """

    people: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    images: dict[tuple[str, str], ImageRow] = field(default_factory=dict[tuple[str, str], ImageRow])
    contradicted: int = 0
    unlinked: int = 0


@dataclass(slots=True)
class Compared:
    """How given maps stand to the links: lines that say the same, something else, or what no link says; and what the
    links say and no line does."""

    same: int = 0
    other: int = 0
    unknown: int = 0
    lacking: int = 0

    def see(self, given: Iterable[tuple[object, object]], known: dict[object, object]) -> None:
        """Compare lines with what is known."""
        keys: set[object] = set()
        for key, value in given:
            keys.add(key)
            if key not in known:
                self.unknown += 1
            elif known[key] == value:
                self.same += 1
            else:
                self.other += 1
        self.lacking += len(known.keys() - keys)


def links_of(database: Database, settings: Settings, source: str) -> Links:
    """What the links of a source say; a person who has no shift yet is given one, which then stays.

    Raises
    ------
    Conflict
        The source has no CDM.
    """
    keys = site_keys(database, settings)
    profile = load_profile("chorus")
    found = Links()
    with database.transaction() as sql:
        require_cdm(sql, source)
        selection = select_studies(sql, Definition("maps", source=source, filter=Filter()), profile)
        studies = [*selection.studies, *(one for one in selection.held if one.code != "no_person")]
        found.unlinked = sum(one.code in ("no_person", "no_image_occurrence") for one in selection.held)
        tied = [study for study in studies if study.person_id is not None]
        days, _ = keep_shifts(sql, source_id(sql, source), tied, profile, keys)
    for study in tied:
        name = name_of(study, keys)
        if study.patient_id and found.people.setdefault(study.patient_id, (name, days[name])) != (name, days[name]):
            found.contradicted += 1
        occurrence = selection.occurrences.get(study.accession_key)
        if occurrence is not None and study.accession_number:
            _image(found, study, occurrence)
    return found


def _image(found: Links, study: SelectedStudy, occurrence: int) -> None:
    row = ImageRow(str(occurrence), str(study.procedure_id or ""), str(study.visit_id or ""))
    if found.images.setdefault((study.patient_id, study.accession_number), row) != row:
        found.contradicted += 1


def write_maps(found: Links, folder: Path) -> dict[str, int]:
    """Write both maps, readable by their owner only; how many lines each has."""
    folder.mkdir(parents=True, exist_ok=True)
    people = [(patient, name, days) for patient, (name, days) in sorted(found.people.items())]
    images = [
        (*key, row.image_occurrence_id, row.procedure_occurrence_id, row.visit_occurrence_id)
        for key, row in sorted(found.images.items())
    ]
    _write(folder / "personal_map.csv", PEOPLE, people)
    _write(folder / "image_map.csv", IMAGES, images)
    return {"people": len(people), "accessions": len(images), "contradicted": found.contradicted,
        "unlinked_studies": found.unlinked}  # fmt: skip


def check_maps(found: Links, folder: Path) -> dict[str, Compared]:
    """Compare given maps with the links.

    Raises
    ------
    Invalid
        A map is missing or contradicts itself.
    """
    given: Maps = read_maps(folder)
    people, images = Compared(), Compared()
    told = {patient: (name, days) for patient, (name, days) in given.people.items()}
    known: dict[object, object] = {patient: (name, days) for patient, (name, days) in found.people.items()}
    people.see(((patient, _as(known.get(patient), value)) for patient, value in told.items()), known)
    occurrences: dict[object, object] = {key: row.image_occurrence_id for key, row in found.images.items()}
    images.see(((key, row.image_occurrence_id) for key, row in given.images.items()), occurrences)
    return {"people": people, "accessions": images}


def _as(known: object, given: tuple[str, int | None]) -> object:
    """A line of the map that leaves the days open agrees with any."""
    if given[1] is None and isinstance(known, tuple) and known[0] == given[0]:
        return known  # pyright: ignore[reportUnknownVariableType]
    return given


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
