"""Features as clients see and send them."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, Field, FiniteFloat, model_validator

from hilum.clinical.features.said import Type
from hilum.core.http import Model

_UID: Final = r"^([0-9]+(\.[0-9]+)*)?$"


def _printable(value: str) -> str:
    if "\0" in value:
        raise ValueError("A text holds no NUL character.")
    return value


Text = Annotated[str, Field(max_length=250), AfterValidator(_printable)]
Word = Annotated[str, Field(max_length=64), AfterValidator(_printable)]
CodeText = Annotated[
    str, Field(max_length=250, pattern=r"^([^|\s]+\|\S+)?$", description="scheme|value, such as SCT|427359005.")
]
Laterality = Annotated[str, Field(pattern="^(left|right|bilateral)?$")]
Assertion = Annotated[
    str, Field(max_length=32, pattern="^[a-z_]*$", description="present, absent, possible, or another word.")
]
Concept = Annotated[int, Field(ge=0, lt=1 << 31)]
Confidence = Annotated[float, Field(ge=0, le=1)]


class Provenance(Model):
    """Where a feature comes from; no patient data."""

    note_id: int | None = None
    span: Annotated[
        list[int] | None,
        Field(
            min_length=2,
            max_length=2,
            description="Of the note: first character and the one after the last, counted from 0.",
        ),
    ] = None
    section: Word | None = None
    model: Text | None = None
    model_version: Word | None = None
    author: Text | None = None
    sop_instance_uid: Annotated[str, Field(max_length=64, pattern=_UID)] | None = None
    tag: Annotated[str, Field(pattern="^[0-9A-F]{8}$")] | None = None
    frames: Annotated[list[int] | None, Field(max_length=1000, description="Counted from 1.")] = None


class Content(Model):
    """What is said; all but the name may be left out."""

    feature_name: Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_printable)]
    concept_id: Concept | None = Field(None, description="What it is; with a `code` it is looked up instead.")
    code: CodeText = ""
    value_numeric: FiniteFloat | None = None
    value_string: Text = ""
    value_code: CodeText = ""
    unit: Annotated[str, Field(max_length=64, description="UCUM."), AfterValidator(_printable)] = ""
    body_site: Text = ""
    body_site_code: CodeText = ""
    laterality: Laterality = ""
    assertion: Assertion = ""
    confidence: Confidence | None = None
    series_uid: Annotated[str, Field(max_length=64, pattern=_UID)] = ""
    finding: Text = Field("", description="Features of one thing in a study, such as one nodule, have the same here.")
    finding_name: Text = ""
    finding_code: CodeText = ""
    finding_concept_id: Concept | None = None
    provenance: Provenance = Provenance()


class FeatureIn(Content):
    """A new feature."""

    study_id: int | Annotated[str, Field(max_length=64, pattern=_UID)] = Field(description="Hilum's id, or the UID.")
    feature_type: Type
    algorithm: Text = Field("", description="URI, or a name.")
    algorithm_version: Word = ""
    algorithm_time: AwareDatetime | None = Field(None, description="Without it, now.")


class FeatureChange(Model):
    """What is to be different; what is left out stays. An empty ``finding`` takes a feature out of its finding."""

    feature_name: Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_printable)] | None = None
    feature_type: Type | None = None
    algorithm: Text | None = None
    algorithm_version: Word | None = None
    algorithm_time: AwareDatetime | None = None
    concept_id: Concept | None = None
    code: CodeText | None = None
    value_numeric: FiniteFloat | None = None
    value_string: Text | None = None
    value_code: CodeText | None = None
    unit: Word | None = None
    body_site: Text | None = None
    body_site_code: CodeText | None = None
    laterality: Laterality | None = None
    assertion: Assertion | None = None
    confidence: Confidence | None = None
    series_uid: Annotated[str, Field(max_length=64, pattern=_UID)] | None = None
    finding: Text | None = None
    finding_name: Text | None = None
    finding_code: CodeText | None = None
    finding_concept_id: Concept | None = None
    provenance: Provenance | None = None


class KeyedContent(Content):
    """A feature of an extraction; ``key`` tells it from the others, and is the same the next time."""

    key: Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_printable)]


class ExtractionIn(Model):
    """All that one version of an algorithm says of a study, or of one series of it."""

    feature_type: Type
    algorithm: Annotated[str, Field(min_length=1, max_length=250, description="URI, or a name.")]
    algorithm_version: Word = ""
    algorithm_time: AwareDatetime | None = Field(None, description="Without it, now.")
    series_uid: Annotated[str, Field(max_length=64, pattern=_UID)] = Field(
        "", description="The only series that it speaks of; empty for the whole study."
    )
    features: Annotated[list[KeyedContent], Field(max_length=20_000)]

    @model_validator(mode="after")
    def _within(self) -> "ExtractionIn":
        if self.series_uid and any(said.series_uid not in ("", self.series_uid) for said in self.features):
            raise ValueError("A feature names another series than the extraction.")
        return self


class FeatureChanges(Model):
    """What became of an extraction."""

    added: int
    changed: int
    removed: int
    superseded: int


class CdmRow(Model):
    """Which rows of the CDM a feature is."""

    image_feature_id: int
    table: str
    row_id: int


class Feature(Model):
    """A feature of a study."""

    id: int
    study_id: int
    study_instance_uid: str
    source: str
    person_id: int | None
    series_uid: str
    feature_type: Type
    feature_name: str
    code: str
    concept_id: int | None
    algorithm: str
    algorithm_version: str
    algorithm_time: datetime
    value_numeric: float | None
    value_string: str
    value_code: str
    value_concept_id: int | None
    unit: str
    unit_concept_id: int | None
    body_site: str
    body_site_code: str
    body_site_concept_id: int | None
    laterality: str
    assertion: str
    confidence: float | None
    finding: str | None
    finding_name: str | None
    finding_code: str | None
    finding_concept_id: int | None
    provenance: dict[str, object]
    superseded: bool
    created_at: datetime
    updated_at: datetime
    cdm: CdmRow | None = Field(description="Null where it is not in the CDM.")


class Unmapped(Model):
    """A code, unit or body site that the vocabulary of the CDM does not know."""

    part: str = Field(description="feature, value, unit, body_site or finding.")
    code: str
    name: str
    features: int
