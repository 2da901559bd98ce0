"""Links, the queue and mapping tables as clients see them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from hilum.clinical.linkage.queue import Kind
from hilum.core.http import Model
from hilum.imaging.archive.schemas import LocalTime

Target = Annotated[int, Field(ge=0, lt=1 << 63)]
Method = Literal["", "by_hand", "person_map", "person_source_value", "procedure_map", "procedure_source_value",
    "same_day", "minted", "procedure", "contains", "only_of_day"]  # fmt: skip


class Link(Model):
    """What a study is tied to, or why it is not."""

    kind: Kind
    target_id: int | None = Field(description="Key of the person, procedure_occurrence or visit_occurrence.")
    method: Method = Field(description="How it was found; empty where it was not.")
    evidence: dict[str, object]
    reason: str = Field(description="Why it waits for a decision; empty where it is tied.")
    text: str = Field(description="The reason as a sentence.")
    made_by: str = Field(description="Who said so; empty for a rule.")
    made_at: datetime


class LinkChange(Model):
    """A decision about a link."""

    id: int
    kind: Kind
    action: Literal["link", "unlink", "automatic"]
    before: int | None
    after: int | None
    who: str
    when: datetime


class Links(Model):
    """The links of a study, and what was decided of them, latest first."""

    study_id: int
    study_instance_uid: str
    source: str
    links: list[Link]
    decisions: list[LinkChange]


class Candidate(Model):
    """A row of the CDM that a study may be tied to, with what a person compares."""

    id: int
    source_value: str | None = None
    gender_concept_id: int | None = None
    year_of_birth: int | None = None
    concept_id: int | None = None
    concept_name: str | None = None
    start_date: date | None = None
    end_date: date | None = None
    visit_occurrence_id: int | None = None


class QueueEntry(Model):
    """A study that waits for a person to say whose, or of what, it is."""

    study_id: int
    study_instance_uid: str
    source: str
    patient_id: str
    patient_name: str
    patient_sex: str
    patient_birth_date: date | None
    study_date: date | None
    study_time: LocalTime | None
    modalities: list[str]
    accession_number: str
    study_description: str
    person_id: int | None
    kind: Kind
    reason: str
    text: str
    evidence: dict[str, object]
    candidates: list[Candidate]
    made_by: str
    made_at: datetime


class QueueCount(Model):
    """How many studies wait for one reason."""

    kind: Kind
    reason: str
    text: str
    studies: int


class PersonIn(Model):
    """Whose a study is."""

    person_id: Target


class ProcedureIn(Model):
    """Which procedure a study belongs to."""

    procedure_occurrence_id: Target


class VisitIn(Model):
    """Which visit a study belongs to."""

    visit_occurrence_id: Target


class Bulk(Model):
    """Many studies of one source at once: tied to one person, or, without one, linked by the rules again."""

    source: str = "default"
    studies: Annotated[list[int], Field(min_length=1, max_length=1000, description="Hilum's ids.")]
    person_id: Target | None = Field(None, description="Null forgets what was decided of these studies.")


class BulkDone(Model):
    """How many studies of a bulk link are tied to a person now."""

    studies: int
    linked: int


class RefusedLine(Model):
    """A line of a mapping table that cannot be used; the header is line 1."""

    line: int
    reason: str


class MapLoaded(Model):
    """What became of a mapping table; a job then links the studies of the source anew."""

    kind: Literal["persons", "procedures"]
    rows: int
    new: int
    changed: int
    refused: int
    examples: list[RefusedLine]
    job_id: int
