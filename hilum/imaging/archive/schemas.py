"""The archive's JSON objects as clients see them; what a field means is in its description."""

from datetime import date, datetime, time
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, WithJsonSchema

from hilum.core.http import Model

API = "/api/v1/imaging"
LocalTime: TypeAlias = Annotated[time, WithJsonSchema({"type": "string", "examples": ["10:15:00"]})]
"""A time of day without an offset, which the format "time" of JSON Schema would require."""


class Modality(Model):
    """A modality of a study."""

    code: str
    name: str


class Study(Model):
    """A DICOM study as the list shows it."""

    id: int
    source: str
    study_instance_uid: str
    study_date: date | None
    study_time: LocalTime | None
    modality: str = Field(description="The modality that names the study: the functional one of a pair.")
    modalities: list[Modality]
    body_part: str
    study_description: str
    accession_number: str
    patient_id: str
    patient_name: str = Field(description="Given Middle Family; prefix and suffix dropped.")
    patient_birth_date: date | None
    patient_sex: str
    person_id: int | None = Field(description="The OMOP person, once linked.")
    physician: str
    physician_id: int | None
    facility: str
    facility_id: int | None
    num_series: int
    num_instances: int
    num_images: int = Field(description="Frames, over all instances.")
    revision: int
    report_status: Literal["placeholder", "attached", "queued"]
    document_id: int | None
    status: Literal["indexed", "processed", "error"]
    status_reason: str
    availability: Literal["local", "remote"]
    derived: bool = Field(description="No file names its Study Instance UID; Hilum derived it from where they lay.")
    quarantine: str = Field(description="Why a person must say whose it is: no_patient_id; else empty.")
    received_at: datetime


class Corrected(Model):
    """What a person made of a field."""

    file: str = Field(description="What the files say.")
    now: str


class Series(Model):
    """A DICOM series."""

    id: int
    series_instance_uid: str
    series_number: int | None
    series_description: str
    modality: str
    modality_name: str
    body_part: str
    laterality: str
    view_position: str
    protocol_name: str
    num_instances: int
    num_images: int
    bytes: int
    slice_thickness: float | None = Field(description="mm")
    spacing_between_slices: float | None = Field(description="mm")
    images_in_acquisition: int | None
    transducer_type: str
    transducer_frequency: str = Field(description="Hz; several separated by a backslash.")
    manufacturer: str
    model: str
    station_name: str
    kvp: float | None
    frame_of_reference_uid: str
    rows: int | None
    columns: int | None
    folder_path: str
    derived: bool = Field(description="No file names its Series Instance UID; Hilum derived it.")
    thumbnail_url: str | None
    dicomweb_url: str


class BundleFile(Model):
    """A file that came with the study in its zip."""

    name: str
    kind: Literal["image", "pdf", "dicom", "other"]
    size: int
    url: str


class StudyDetail(Study):
    """One study with all that is known of it."""

    study_id: str
    timezone_offset: str
    manufacturer: str
    model: str
    magnetic_field_strength: float | None = Field(description="tesla")
    radiopharmaceutical: str
    contrast_bolus_agent: str
    contrast_bolus_route: str
    bytes: int
    updated_at: datetime
    origins: list[str] = Field(description="The ways its instances came in: import, upload, stow, inbox, conflict.")
    corrected: dict[str, Corrected] = Field(description="Fields that a person corrected.")
    num_features: int
    awaits: list[str] = Field(
        description="What an indexed study waits for before it is processed: instances that may still come, then "
        "linkage and features where its source has a CDM."
    )
    dicomweb_url: str
    series: list[Series]
    bundle_files: list[BundleFile]


class Instance(Model):
    """A SOP instance."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_class_name: str
    transfer_syntax_uid: str
    transfer_syntax_name: str
    instance_number: int | None
    slice_location: float | None = Field(description="mm")
    num_frames: int
    rows: int | None
    columns: int | None
    size: int
    digest: str = Field(description="blake3:<hex> of the stored bytes.")
    received_at: datetime
    wado_url: str


class Tag(Model):
    """One element of a header."""

    tag: str = Field(description="gggg,eeee in hexadecimal.")
    keyword: str
    vr: str
    name: str
    value: str
    depth: int = Field(description="0 at the top level; 1 in a sequence's item, and so on.")


class Tags(Model):
    """The elements of a header."""

    items: list[Tag]
    total: int


class Window(Model):
    """A window of values after rescale (PS3.3 C.11.2.1.2)."""

    center: float
    width: float


class Replaced(Model):
    """What an instance was before other bytes came under its SOP Instance UID."""

    id: int
    sop_instance_uid: str
    series_instance_uid: str
    size: int
    digest: str = Field(description="blake3:<hex> of the earlier bytes, which are kept.")
    origin: str
    received_at: datetime
    replaced_at: datetime
    file_url: str


class SetAside(Model):
    """A file that could not be catalogued."""

    id: int
    source: str
    name: str
    code: str
    reason: str
    size: int
    origin: str
    received_at: datetime
    file_url: str


class Statistics(Model):
    """Counts over the whole archive."""

    studies: int
    series: int
    instances: int
    images: int
    bytes: int
    studies_quarantined: int = Field(description="Studies whose patient is not known.")
    conflicts: int = Field(description="Studies of which files came under two patients.")
    set_aside: int
    persons_with_imaging: int
    linked_studies: int
    features: int
    studies_by_modality: dict[str, int]
    features_by_type: dict[str, int]
