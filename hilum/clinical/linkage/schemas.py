"""Links, the queue and mapping tables as clients see them."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

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


class Trait(Model):
    """One attribute of a study beside the same of a candidate."""

    name: Literal["patient_id", "sex", "birth_date", "accession_number", "date", "time", "modality", "free"]
    verdict: Literal["agrees", "differs", "unknown"]
    study: str
    candidate: str


class Candidate(Model):
    """A row of the CDM that a study may be tied to, with what speaks for it and against it."""

    id: int
    source_value: str
    traits: list[Trait]
    gender_concept_id: int | None = None
    year_of_birth: int | None = None
    concept_id: int | None = None
    concept_name: str | None = None
    start_date: date | None = None
    end_date: date | None = None
    visit_occurrence_id: int | None = None


class Stranger(Model):
    """A procedure of another person that has the study's accession number."""

    procedure_occurrence_id: int
    person_id: int


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
    candidates: list[Candidate] = Field(description="The best first.")
    strangers: list[Stranger] = Field(description="Of a procedure or visit: whose else the accession number is.")
    num_images: int
    alike: int = Field(description="How many studies of this patient wait for a person for this reason, itself too.")
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


class MapTold(Model):
    """What a mapping table holds, and what of it is new."""

    kind: Literal["persons", "procedures"]
    rows: int
    new: int
    changed: int
    refused: int
    examples: list[RefusedLine]


class MapLoaded(MapTold):
    """What became of a mapping table; a job then links the studies of the source anew."""

    job_id: int


class MapLine(Model):
    """A line of a mapping table as it was read."""

    line: int
    number: str = Field(description="PatientID, or AccessionNumber.")
    beside: str = Field(description="Issuer of the PatientID, or the PatientID of the number; often empty.")
    target: int = Field(description="person_id, or procedure_occurrence_id.")
    before: int | None = Field(description="What it is mapped to now.")
    known: bool = Field(description="Whether the CDM has the target.")


class MapPreview(MapTold):
    """What a mapping table would do: its first 50 lines, those with an unknown target before the others."""

    lines: list[MapLine]
    unknown: int = Field(description="Lines whose target is not in the CDM.")
    studies: int = Field(description="Studies of the source that have one of the numbers.")


class LinkSource(Model):
    """A source, and whether it has a CDM."""

    key: str
    name: str
    cdm_schema: str = Field(description="Empty where it has none.")
    attached: bool
    waiting: int = Field(description="Links that wait for a decision.")


class Decision(Model):
    """What is decided of one study. ``link`` needs a target; ``refuse``: it must not be linked; ``automatic``: as the
    rules say."""

    study_id: Target
    action: Literal["link", "refuse", "automatic"]
    target_id: Target | None = None

    @model_validator(mode="after")
    def _has_target(self) -> "Decision":
        if (self.action == "link") != (self.target_id is not None):
            raise ValueError("target_id goes with the action 'link', and with no other")
        return self


class Decisions(Model):
    """Decisions of one kind of link; with ``alike`` also of the studies that wait for a person for the same reason and
    are of the same patient."""

    kind: Kind
    decisions: Annotated[list[Decision], Field(min_length=1, max_length=1000)]
    alike: bool = False


class Decided(Model):
    """What was decided of these studies before: sent back, it undoes the decisions."""

    kind: Kind
    decisions: list[Decision]


class Check(Model):
    """A figure, and the SQL that counts it."""

    name: str
    text: str
    count: int
    sql: str
    good: bool = Field(description="Whether a number above 0 is as it should be.")


class MissingConcept(Model):
    """A concept that Hilum writes and the site's vocabulary lacks."""

    concept_id: int
    concept_name: str
    use: str
    word: str


class Quality(Model):
    """How well the images of a source are tied to its CDM."""

    source: str
    attached: bool
    cdm_schema: str
    imaging_schema: str
    checks: list[Check]
    waiting: list[QueueCount]
    missing_concepts: list[MissingConcept]
