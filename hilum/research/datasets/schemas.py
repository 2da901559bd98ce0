"""Data sets, their versions and the crosswalk as clients see them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from hilum.core.http import Model
from hilum.research.datasets.definition import MAX_LISTED

Text = Annotated[str, Field(max_length=256)]
Days = Annotated[int, Field(ge=0, lt=40_000)]
Number = Annotated[int, Field(ge=0, lt=1 << 63)]


class Filter(Model):
    """What the studies have in common, as in the study list."""

    modality: list[Text] = Field([])
    person_id: Number | None = None
    patient_id: Text | None = None
    body_part: Text | None = None
    date_from: date | None = None
    date_to: date | None = None
    accession_number: Text | None = None
    q: Text | None = None


class SeriesRules(Model):
    """Which series of the studies belong."""

    description: list[Text] = Field([], description="The description holds one of these words.")
    without: list[Text] = Field([], description="The description holds none of these words.")
    body_part: list[Text] = Field([])
    min_instances: Number | None = None
    max_instances: Number | None = None
    max_slice_thickness: float | None = Field(None, description="In mm.")


class PersonOf(Model):
    """A person of the data set, with the day that the window is about."""

    person_id: Number
    index_date: date | None = None


class IndexWindow(Model):
    """Days around a person's index date; without one, around their first study of the selection."""

    days_before: Days
    days_after: Days


class Definition(Model):
    """What belongs to a data set, and how it is given out."""

    name: Annotated[str, Field(max_length=80)]
    source: Text = "default"
    description: Annotated[str, Field(max_length=1 << 16)] = ""
    studies: Annotated[list[Text], Field(max_length=MAX_LISTED, description="Study Instance UIDs.")] = Field([])
    filter: Filter | None = None
    persons: Annotated[list[PersonOf], Field(max_length=MAX_LISTED)] = Field([])
    modalities: list[Text] = Field([], description="Of series; XR is CR or DX; empty: all.")
    series: SeriesRules | None = None
    window: IndexWindow | None = None
    profile: Text = Field("chorus", description="One that ships, or NAME of profiles/NAME.toml in the data folder.")
    layout: Literal["chorus", "dicom", "nifti"] = "chorus"
    xr: bool | None = Field(None, description="Whether folders say XR for CR and DX; null: as the profile says.")
    clinical: bool = Field(True, description="Whether the persons' rows of the CDM go with the images.")
    licence: Annotated[str, Field(max_length=1 << 16)] = ""


class PreviewIn(Definition):
    """A definition to look at; it needs no name yet."""

    name: Annotated[str, Field(max_length=80)] = "preview"


class HeldBack(Model):
    """What would not leave, or did not, and why."""

    code: str
    reason: str
    studies: int | None = None
    instances: int | None = None


class Preview(Model):
    """What a version would be made of."""

    studies: int
    series: int
    files: int
    bytes: int = Field(description="Of the originals.")
    persons: int
    date_from: date | None
    date_to: date | None
    persons_by_modality: dict[str, int]
    studies_by_modality: dict[str, int]
    to_look_at: int = Field(description="Files whose pixels must be looked at for text.")
    held_back: list[HeldBack]


class Dataset(Model):
    """A data set."""

    id: int
    name: str
    source: str
    definition: Definition
    made_by: str
    created_at: datetime
    updated_at: datetime


State = Literal["building", "draft", "published", "rejected", "deleted"]


class Version(Model):
    """A version of a data set."""

    dataset_id: int
    version: int
    state: State
    counts: dict[str, int]
    held_back: list[HeldBack]
    digest: str = Field(description="Of the manifest; empty while it is made.")
    size: int = Field(description="Of all files, in bytes.")
    same_as: int | None = Field(description="An earlier version with the very same files.")
    review: bool = Field(description="Whether a person decides before it is published.")
    job_id: int | None
    made_by: str
    created_at: datetime
    published_at: datetime | None
    decided_by: str
    note: str
    deleted_at: datetime | None
    deleted_by: str


class VersionIn(Model):
    """A version that is asked for."""

    review: bool = Field(False, description="Wait for a person's decision before it is published.")


class CheckOut(Model):
    """One of the things that are looked at before a version may be published."""

    name: str
    text: str
    passed: bool
    binding: bool
    total: int
    wrong: int
    examples: list[str]


class FieldMissing(Model):
    """How often a field is missing."""

    missing: int
    of: int


class Report(Model):
    """What was looked at, and how often fields are missing, by modality."""

    passed: bool
    checks: list[CheckOut]
    missing: dict[str, dict[str, FieldMissing]]


Side = Annotated[int, Field(ge=0, lt=1 << 16)]


class Box(Model):
    """A rectangle of pixels."""

    row: Side = Field(description="Of its upper edge, from 0.")
    column: Side = Field(description="Of its left edge, from 0.")
    rows: Side
    columns: Side
    frame: Side | None = Field(None, description="Counted from 0; null for all frames.")


class PixelDecision(Model):
    """What a person decides on an instance.

    ``accept``: what was found goes black, and it leaves. ``boxes``: the same, and the boxes go black as well. ``only``:
    the boxes go black and nothing else; without any it leaves as it is. ``exclude``: it does not leave.
    """

    decision: Literal["accept", "boxes", "only", "exclude"]
    boxes: Annotated[list[Box], Field(max_length=200)] = Field([])


class PixelDecided(PixelDecision):
    """A decision, and whose it is."""

    who: str
    decided_at: datetime


class ReviewInstance(Model):
    """An instance of a version to look at, by its new ids."""

    id: int
    state: Literal["planned", "done", "held"]
    code: str = Field(description="Why it is held back; empty for what leaves.")
    reason: str
    pixels: Literal["", "clean", "blackened", "unsure"] = Field(
        description="What a look at its pixels came to; empty: they were not looked at."
    )
    boxes: list[Box] = Field(description="Where text was found, or is black.")
    person: str
    accession: str
    modality: str
    study: str
    series: str
    sop: str
    rows: int | None = Field(description="Of the original, as boxes count them.")
    columns: int | None
    frames: int
    made_with: PixelDecision | None = Field(description="The decision that this version was made with.")
    decided: PixelDecided | None = Field(description="The decision that holds now, for the next version.")


class VersionDecision(Model):
    """What a person decides of a draft."""

    decision: Literal["publish", "reject"]
    note: Annotated[str, Field(max_length=2000)] = ""


class Change(Model):
    """What was done to one attribute."""

    path: str
    vr: str
    original: str
    action: str
    reason: str
    new: str


class CrosswalkQuestion(Model):
    """What is looked for in the crosswalk: an old value or a new one, in one version or in all."""

    old: Text = Field("", description="PatientID, accession number or UID of an original.")
    new: Text = Field("", description="person_id, accession, UID or path of a shared file.")
    dataset: Text = Field("", description="Number or name of a data set, with its version.")
    version: Text = Field("", description="Number of a version of it.")
    limit: Annotated[int, Field(ge=1, le=500)] = 20
    offset: Annotated[int, Field(ge=0, le=2**31)] = 0


class CrosswalkEntry(Model):
    """A file that was given out, the original that it was made of, and what was done to each attribute."""

    id: int
    dataset_id: int
    version: int
    path: str
    person: str
    accession: str
    study: str
    series: str
    sop: str
    source: str
    original_study: str
    original_series: str
    original_sop: str
    changes: list[Change]


class Look(Model):
    """Who looked into the crosswalk, or at an original picture; what was looked for is kept blind."""

    id: int
    who: str
    kind: Literal["old", "new", "version", "before"]
    dataset_id: int | None
    version: int | None
    found: int
    looked_at: datetime
