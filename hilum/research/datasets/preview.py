"""What a definition would come to, before anything is made: studies, files, bytes, from when to when, persons by
modality, and what would be held back."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date

from hilum.core.config import Settings
from hilum.core.database import Database, Transaction
from hilum.imaging.dicom.header import Header, PixelData
from hilum.research.datasets.definition import Definition, profile_of
from hilum.research.datasets.people import keep_shifts, name_of
from hilum.research.datasets.plan import hold_conflicts
from hilum.research.datasets.selection import Selection, held_counts, select_instances, select_studies, source_id
from hilum.research.datasets.site_key import site_keys
from hilum.research.deid.keys import Keys
from hilum.research.deid.pixel_text.detector import missing
from hilum.research.deid.pixel_text.step import text_step
from hilum.research.deid.pixels import refusal, scan_reason
from hilum.research.deid.profile import Profile


@dataclass(slots=True)
class Preview:
    """What a version would be made of.

    Attributes
    ----------
    bytes
        Of the originals.
    to_look_at
        Files whose pixels must be looked at for text.
    held_back
        Studies and instances that would not leave, by reason.
    """

    studies: int = 0
    series: int = 0
    files: int = 0
    bytes: int = 0
    persons: int = 0
    date_from: date | None = None
    date_to: date | None = None
    persons_by_modality: dict[str, int] = field(default_factory=dict[str, int])
    studies_by_modality: dict[str, int] = field(default_factory=dict[str, int])
    to_look_at: int = 0
    held_back: list[dict[str, object]] = field(default_factory=list[dict[str, object]])


class _Undo(Exception):
    pass


def preview(database: Database, settings: Settings, definition: Definition) -> Preview:
    """Look at what a definition selects now; nothing is written but, at the very first time, the key file.

    Raises
    ------
    Invalid
        There is no such source or profile.
    """
    profile = profile_of(definition, settings)
    keys = site_keys(database, settings)
    with database.transaction() as sql:
        selection = select_studies(sql, definition, profile)
        hold_conflicts(selection, _conflicts(sql, definition, selection, profile, keys), keys)
        return _counted(sql, definition, selection, profile, keys)


def _conflicts(
    sql: Transaction, definition: Definition, selection: Selection, profile: Profile, keys: Keys
) -> frozenset[str]:
    """Who could not be moved as before; no shift is drawn for a preview."""
    found: frozenset[str] = frozenset()
    try:
        with sql.savepoint():
            _, found = keep_shifts(sql, source_id(sql, definition.source), selection.studies, profile, keys)
            raise _Undo
    except _Undo:
        return found


def _counted(sql: Transaction, definition: Definition, selection: Selection, profile: Profile, keys: Keys) -> Preview:
    made = Preview(held_back=held_counts(selection.held))
    persons: dict[str, set[str]] = defaultdict(set)
    studies: dict[str, int] = defaultdict(int)
    everyone: set[str] = set()
    refused = derived = 0
    for study, rows in select_instances(sql, definition, selection.studies):
        name = name_of(study, keys)
        everyone.add(name)
        made.studies += 1
        made.series += len({row["series_instance_uid"] for row in rows})
        for row in rows:
            pixels = row["pixel_offset"] is not None
            header = _header(str(row["sop_class_uid"]), pixels=pixels)
            derived += bool(row["derived"] or row["series_derived"])
            refused += bool(refusal(header))
            made.to_look_at += bool(scan_reason(header, "")) or (profile.pixels == "all" and pixels)
            made.bytes += int(str(row["size"]))
        made.files += len(rows)
        for modality in {str(row["modality"]) for row in rows}:
            persons[modality].add(name)
            studies[modality] += 1
        if study.study_date is not None:
            made.date_from = min(made.date_from or study.study_date, study.study_date)
            made.date_to = max(made.date_to or study.study_date, study.study_date)
    made.persons = len(everyone)
    made.persons_by_modality = {modality: len(some) for modality, some in sorted(persons.items())}
    made.studies_by_modality = dict(sorted(studies.items()))
    for code, reason, count in (
        ("encapsulated_document", "Documents and sound inside of DICOM are not de-identified.", refused),
        ("derived", "The file does not name its study and series.", derived),
        (
            "pixels_unseen",
            f"Pixels must be looked at for text before they may leave. {missing()}".strip(),
            0 if text_step(profile) else made.to_look_at,
        ),
    ):
        if count:
            made.held_back.append({"code": code, "reason": reason, "instances": count})
    return made


def _header(sop_class: str, *, pixels: bool) -> Header:
    """As much of a header as tells whose pixels must be looked at."""
    pixel_data = PixelData("PixelData", "OW", 0, 0, encapsulated=False) if pixels else None
    return Header("", {"SOPClassUID": sop_class}, pixel_data, 0, 0, False, True, "scanner")
