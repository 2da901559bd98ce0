"""The catalogue's tables: source, patient, study, series and instance, and what is kept beside them. Facts that a wing
above owns but the study list filters by (``person_id``, ``report_status``, ``document_id``) are plain columns."""

from datetime import date, datetime, time
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT

_SEARCHED = (
    "study_description",
    "accession_number",
    "body_part",
    "facility",
    "physician",
    "patient_name",
    "patient_id",
    "modality",
    "study_instance_uid",
    "patient_name_dicom",
    "referring_physician_dicom",
)


def _named(table: str) -> Mapped[int | None]:
    return mapped_column(BIG, sa.ForeignKey(f"hilum.{table}.id", ondelete="SET NULL"))


def _further() -> Mapped[dict[str, object] | None]:
    return mapped_column(JSONB(none_as_null=True))


def _codes(name: str) -> Mapped[list[str]]:
    """How a name sounds."""
    return mapped_column(ARRAY(TEXT), sa.Computed(f"hilum.name_codes({name})", persisted=True))


def _further_index(table: str) -> sa.Index:
    return sa.Index(
        f"{table}_further",
        "further",
        postgresql_using="gin",
        postgresql_ops={"further": "jsonb_path_ops"},
        postgresql_where=sa.text("further is not null"),
    )


class Source(Table):
    """One data source, with studies of its own; where its remote archive answers and which schemas its OMOP CDM is in,
    if it has them. ``fhir_secret`` is the password of ``fhir_user`` there, or a bearer token where nobody is named; a
    CDM that is ``attached`` is another's. What is fetched from its DICOMweb, and how long it is kept, is for
    `hilum.imaging.remote`. With an ``intake_profile`` what comes in is de-identified before it is stored. One that was
    ``removed`` is in no list and at no address; ``removed_at`` is when it last was."""

    __tablename__ = "source"

    id: Mapped[int] = tables.key()
    key: Mapped[str] = mapped_column(TEXT, unique=True)
    name: Mapped[str] = tables.text()
    created_at: Mapped[datetime] = tables.now()
    recorded: Mapped[bool] = mapped_column(server_default="false")
    dicomweb_url: Mapped[str] = tables.text()
    fhir_url: Mapped[str] = tables.text()
    cdm_schema: Mapped[str] = tables.text()
    vocabulary_schema: Mapped[str] = tables.text()
    imaging_schema: Mapped[str] = tables.text()
    results_schema: Mapped[str] = tables.text()
    cdm_attached: Mapped[bool] = tables.no()
    fhir_user: Mapped[str] = tables.text()
    fhir_secret: Mapped[str] = tables.text()
    dicomweb_credentials: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    dicomweb_ca: Mapped[str] = tables.text()
    remote_fetch: Mapped[str] = mapped_column(TEXT, server_default="asked")
    remote_modalities: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default="{}")
    remote_keep_days: Mapped[int | None]
    remote_keep_bytes: Mapped[int | None] = mapped_column(BIG)
    intake_profile: Mapped[str] = tables.text()
    removed: Mapped[bool] = tables.no()
    removed_at: Mapped[datetime | None] = mapped_column(MOMENT)


class Patient(Table):
    """Who DICOM says the patient is. ``key`` is the identifier with its issuer, or the study when there is none."""

    __tablename__ = "patient"
    __table_args__ = (sa.UniqueConstraint("source_id", "key"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    key: Mapped[str] = mapped_column(TEXT)
    patient_id: Mapped[str] = tables.text()
    issuer_of_patient_id: Mapped[str] = tables.text()
    patient_name_dicom: Mapped[str] = tables.text()
    birth_date: Mapped[date | None]
    sex: Mapped[str] = tables.text()


class Study(Table):
    """A DICOM study, with what its list shows and is filtered by. ``patient_name`` is made to be read; ``derived`` says
    that no file names its UID, ``quarantine`` (a code, or empty) that a person must say whose it is. ``further`` holds
    the attributes of `hilum.imaging.archive.further`, ``indexed_for`` the choice of them that all its files were read
    for."""

    __tablename__ = "study"
    __table_args__ = (
        sa.Index(
            "study_uid", "study_instance_uid", "source_id", unique=True, postgresql_where=sa.text("deleted_at is null")
        ),
        sa.Index("study_any_uid", "study_instance_uid"),
        sa.Index("study_listed", "source_id", postgresql_where=sa.text("deleted_at is null")),
        sa.Index("study_deleted", "deleted_at", postgresql_where=sa.text("deleted_at is not null")),
        sa.Index("study_corrected", "source_id", postgresql_where=sa.text("corrected <> '{}'")),
        sa.Index("study_physician", "physician_id"),
        sa.Index("study_facility", "facility_id"),
        sa.Index("study_date_order", sa.text("study_date desc nulls last"), sa.text("id desc")),
        sa.Index("study_received_order", sa.text("received_at desc"), sa.text("id desc")),
        sa.Index("study_search", "search", postgresql_using="gin", postgresql_ops={"search": "gin_trgm_ops"}),
        sa.Index(
            "study_patient_name",
            sa.text("hilum.fold(patient_name_dicom) public.gin_trgm_ops"),
            postgresql_using="gin",
        ),
        sa.Index("study_modalities", "modalities", postgresql_using="gin"),
        sa.Index("study_body_parts", "body_parts", postgresql_using="gin"),
        sa.Index("study_patient", "patient_pk"),
        sa.Index("study_patient_id", "patient_id"),
        sa.Index("study_accession", "accession_number"),
        sa.Index("study_quarantine", "quarantine", postgresql_where=sa.text("quarantine <> ''")),
        _further_index("study"),
        sa.Index("study_indexed_for", "indexed_for", "id"),
        sa.Index(
            "study_search_order",
            "source_id",
            sa.text("study_date desc nulls last"),
            sa.text("id desc"),
            postgresql_include=["study_instance_uid"],
            postgresql_where=sa.text("deleted_at is null"),
        ),
        sa.Index("study_patient_codes", "patient_codes", postgresql_using="gin"),
        sa.Index("study_physician_codes", "physician_codes", postgresql_using="gin"),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    patient_pk: Mapped[int] = tables.owner("patient")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    study_date: Mapped[date | None]
    study_time: Mapped[time | None]
    timezone_offset: Mapped[str] = tables.text()
    study_id: Mapped[str] = tables.text()
    accession_number: Mapped[str] = tables.text()
    study_description: Mapped[str] = tables.text()
    modality: Mapped[str] = tables.text()
    modalities: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default="{}")
    body_part: Mapped[str] = tables.text()
    body_parts: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default="{}")
    patient_id: Mapped[str] = tables.text()
    patient_name: Mapped[str] = tables.text()
    patient_name_dicom: Mapped[str] = tables.text()
    patient_birth_date: Mapped[date | None]
    patient_sex: Mapped[str] = tables.text()
    physician: Mapped[str] = tables.text()
    referring_physician_dicom: Mapped[str] = tables.text()
    facility: Mapped[str] = tables.text()
    manufacturer: Mapped[str] = tables.text()
    model: Mapped[str] = tables.text()
    magnetic_field_strength: Mapped[float | None]
    radiopharmaceutical: Mapped[str] = tables.text()
    contrast_bolus_agent: Mapped[str] = tables.text()
    contrast_bolus_route: Mapped[str] = tables.text()
    num_series: Mapped[int] = tables.count()
    num_instances: Mapped[int] = tables.count()
    num_images: Mapped[int] = tables.count()
    bytes: Mapped[int] = tables.count()
    revision: Mapped[int] = tables.count()
    status: Mapped[str] = mapped_column(TEXT, server_default="indexed")
    status_reason: Mapped[str] = tables.text()
    availability: Mapped[str] = mapped_column(TEXT, server_default="local")
    derived: Mapped[bool] = tables.no()
    quarantine: Mapped[str] = tables.text()
    person_id: Mapped[int | None] = mapped_column(BIG, index=True)
    report_status: Mapped[str] = mapped_column(TEXT, server_default="placeholder")
    document_id: Mapped[int | None] = mapped_column(BIG)
    received_at: Mapped[datetime] = tables.now()
    updated_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    corrected: Mapped[dict[str, dict[str, str]]] = mapped_column(JSONB, server_default="{}")
    physician_id: Mapped[int | None] = _named("physician")
    facility_id: Mapped[int | None] = _named("facility")
    further: Mapped[dict[str, object] | None] = _further()
    indexed_for: Mapped[str] = tables.text()
    patient_codes: Mapped[list[str]] = _codes("patient_name_dicom")
    physician_codes: Mapped[list[str]] = _codes("referring_physician_dicom")
    search: Mapped[str] = mapped_column(
        TEXT, sa.Computed("hilum.fold(" + " || ' ' || ".join(_SEARCHED) + ")", persisted=True)
    )


class StudyJson(Table):
    """The study's attributes in the DICOM JSON Model, ready for QIDO-RS, in rows narrow enough to page deeply."""

    __tablename__ = "study_json"

    study_id: Mapped[int] = mapped_column(sa.ForeignKey("hilum.study.id", ondelete="CASCADE"), primary_key=True)
    attributes: Mapped[str] = mapped_column(TEXT)


class Series(Table):
    """A DICOM series. ``version`` grows with each change, so that what was made from it can be told stale;
    ``metadata_version`` is that of which metadata was last made beforehand, none where nobody has to."""

    __tablename__ = "series"
    __table_args__ = (
        sa.UniqueConstraint("study_id", "series_instance_uid"),
        sa.Index("series_uid", "series_instance_uid"),
        sa.Index("series_metadata_due", "id", postgresql_where=sa.text("metadata_version < version")),
        _further_index("series"),
    )

    id: Mapped[int] = tables.key()
    study_id: Mapped[int] = tables.owner("study")
    series_instance_uid: Mapped[str] = mapped_column(TEXT)
    series_number: Mapped[int | None]
    series_description: Mapped[str] = tables.text()
    series_date: Mapped[date | None]
    series_time: Mapped[time | None]
    modality: Mapped[str] = tables.text()
    body_part: Mapped[str] = tables.text()
    anatomic_region: Mapped[str] = tables.text()
    laterality: Mapped[str] = tables.text()
    view_position: Mapped[str] = tables.text()
    protocol_name: Mapped[str] = tables.text()
    manufacturer: Mapped[str] = tables.text()
    model: Mapped[str] = tables.text()
    station_name: Mapped[str] = tables.text()
    slice_thickness: Mapped[float | None]
    spacing_between_slices: Mapped[float | None]
    images_in_acquisition: Mapped[int | None]
    transducer_type: Mapped[str] = tables.text()
    transducer_frequency: Mapped[str] = tables.text()
    kvp: Mapped[float | None]
    convolution_kernel: Mapped[str] = tables.text()
    scanning_sequence: Mapped[str] = tables.text()
    repetition_time: Mapped[float | None]
    echo_time: Mapped[float | None]
    procedure_step_date: Mapped[date | None]
    procedure_step_time: Mapped[time | None]
    frame_of_reference_uid: Mapped[str] = tables.text()
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    folder_path: Mapped[str] = tables.text()
    num_instances: Mapped[int] = tables.count()
    num_images: Mapped[int] = tables.count()
    bytes: Mapped[int] = tables.count()
    version: Mapped[int] = tables.count()
    metadata_version: Mapped[int | None] = mapped_column(BIG, server_default="-1")
    derived: Mapped[bool] = tables.no()
    received_at: Mapped[datetime] = tables.now()
    further: Mapped[dict[str, object] | None] = _further()


class SeriesMetadata(Table):
    """The DICOM JSON of all instances of a series, compressed, as of one version of the series; its BulkDataURIs begin
    with ``base_url``."""

    __tablename__ = "series_metadata"

    series_id: Mapped[int] = mapped_column(sa.ForeignKey("hilum.series.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BIG)
    base_url: Mapped[str] = tables.text()
    body: Mapped[bytes]


class Instance(Table):
    """A SOP instance: where its bytes lie (an object, or a file that was indexed in place) and where its pixels are.
    ``derived`` says that its UIDs are not all in its bytes; ``fingerprint`` tells which file it was imported from,
    ``sender`` which AE title or network address sent it."""

    __tablename__ = "instance"
    __table_args__ = (
        sa.Index(
            "instance_uid", "sop_instance_uid", "source_id", unique=True, postgresql_where=sa.text("deleted_at is null")
        ),
        sa.Index("instance_deleted", "sop_instance_uid", postgresql_where=sa.text("deleted_at is not null")),
        sa.Index("instance_series", "series_id"),
        sa.Index("instance_study", "study_id"),
        sa.Index("instance_fingerprint", "fingerprint", postgresql_where=sa.text("fingerprint is not null")),
        _further_index("instance"),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    study_id: Mapped[int] = tables.owner("study")
    series_id: Mapped[int] = tables.owner("series")
    sop_instance_uid: Mapped[str] = mapped_column(TEXT)
    sop_class_uid: Mapped[str] = tables.text()
    transfer_syntax_uid: Mapped[str] = tables.text()
    instance_number: Mapped[int | None]
    num_frames: Mapped[int] = mapped_column(server_default="1")
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    bits_allocated: Mapped[int | None]
    slice_location: Mapped[float | None]
    image_position: Mapped[list[float] | None] = mapped_column(ARRAY(sa.Double))
    image_orientation: Mapped[list[float] | None] = mapped_column(ARRAY(sa.Double))
    depth: Mapped[float | None]
    size: Mapped[int] = mapped_column(BIG)
    digest: Mapped[str] = mapped_column(TEXT)
    crc32: Mapped[int] = mapped_column(BIG)
    blob_key: Mapped[str | None] = mapped_column(TEXT)
    path: Mapped[str | None] = mapped_column(TEXT)
    path_mtime_ns: Mapped[int | None] = mapped_column(BIG)
    header_length: Mapped[int] = mapped_column(BIG)
    pixel_offset: Mapped[int | None] = mapped_column(BIG)
    pixel_length: Mapped[int | None] = mapped_column(BIG)
    frame_offsets: Mapped[list[int] | None] = mapped_column(ARRAY(BIG))
    derived: Mapped[bool] = tables.no()
    fingerprint: Mapped[UUID | None]
    origin: Mapped[str] = tables.text()
    sender: Mapped[str] = tables.text()
    received_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    further: Mapped[dict[str, object] | None] = _further()


class ReplacedInstance(Table):
    """What an instance was before other bytes came under the same SOP Instance UID; the bytes stay where they were."""

    __tablename__ = "replaced_instance"

    id: Mapped[int] = tables.key()
    instance_id: Mapped[int] = mapped_column(BIG, sa.ForeignKey("hilum.instance.id", ondelete="CASCADE"), index=True)
    size: Mapped[int] = mapped_column(BIG)
    digest: Mapped[str] = mapped_column(TEXT)
    blob_key: Mapped[str | None] = mapped_column(TEXT)
    path: Mapped[str | None] = mapped_column(TEXT)
    origin: Mapped[str] = tables.text()
    received_at: Mapped[datetime] = tables.now()
    replaced_at: Mapped[datetime] = tables.now()


class SetAside(Table):
    """A file that claims to be DICOM and cannot be catalogued: kept with its reason, for a person to look at. Study and
    patient are those that it names, where a conflict between them is the reason."""

    __tablename__ = "set_aside"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "digest", "code"),
        sa.Index("set_aside_unrecorded", "id", postgresql_where=sa.text("not recorded")),
        sa.Index("set_aside_blob_key", "blob_key"),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    name: Mapped[str] = tables.text()
    code: Mapped[str] = mapped_column(TEXT)
    reason: Mapped[str] = mapped_column(TEXT)
    study_instance_uid: Mapped[str] = tables.text()
    patient_id: Mapped[str] = tables.text()
    issuer_of_patient_id: Mapped[str] = tables.text()
    patient_name_dicom: Mapped[str] = tables.text()
    size: Mapped[int] = mapped_column(BIG)
    digest: Mapped[str] = mapped_column(TEXT)
    blob_key: Mapped[str | None] = mapped_column(TEXT)
    path: Mapped[str | None] = mapped_column(TEXT)
    origin: Mapped[str] = tables.text()
    received_at: Mapped[datetime] = tables.now()
    recorded: Mapped[bool] = mapped_column(server_default="false")


class BundleFile(Table):
    """A file that came with a study in its zip and is not an instance: preview, report, viewer, DICOMDIR."""

    __tablename__ = "bundle_file"
    __table_args__ = (
        sa.UniqueConstraint("study_id", "name", "digest"),
        sa.Index("bundle_file_blob_key", "blob_key"),
    )

    id: Mapped[int] = tables.key()
    study_id: Mapped[int] = tables.owner("study")
    name: Mapped[str] = mapped_column(TEXT)
    kind: Mapped[str] = mapped_column(TEXT)
    size: Mapped[int] = mapped_column(BIG)
    digest: Mapped[str] = mapped_column(TEXT)
    blob_key: Mapped[str] = mapped_column(TEXT)
    received_at: Mapped[datetime] = tables.now()


class PatientDecision(Table):
    """What a person decided: instances of a study that name the patient ``given`` (blank for none) belong to another.
    Kept by UID, so that it holds as well for what comes later, or again."""

    __tablename__ = "patient_decision"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "study_instance_uid", "given_patient_id", "given_issuer_of_patient_id"),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    given_patient_id: Mapped[str] = tables.text()
    given_issuer_of_patient_id: Mapped[str] = tables.text()
    patient_id: Mapped[str] = mapped_column(TEXT)
    issuer_of_patient_id: Mapped[str] = tables.text()
    origin: Mapped[str] = tables.text()
    decided_at: Mapped[datetime] = tables.now()
