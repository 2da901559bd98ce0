"""The tables of FHIR: one row a study with what a search asks for and what its publication waits for, its versions, and
what is known of the server that is published to."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class ImagingStudy(Table):
    """The ImagingStudy of a study (source and UID), also when that was deleted or stored anew. ``id`` is Hilum's id of
    the study for which it was first made. ``started_from`` and ``started_to`` are the span that ``started`` names;
    ``deleted`` says that the study was purged and only this row is left. ``offered`` says that the other server may
    have seen the study, ``published_version`` what it has, ``taken_until`` that a worker is sending it."""

    __tablename__ = "fhir_imaging_study"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "study_instance_uid"),
        sa.Index("fhir_imaging_study_uid", "study_instance_uid"),
        sa.Index("fhir_imaging_study_patient", "patient_id"),
        sa.Index("fhir_imaging_study_person", "person_id", postgresql_where=sa.text("person_id is not null")),
        sa.Index("fhir_imaging_study_accession", "accession_number"),
        sa.Index("fhir_imaging_study_modalities", "modalities", postgresql_using="gin"),
        sa.Index("fhir_imaging_study_started", "started_from", "id"),
        sa.Index("fhir_imaging_study_ended", "started_to", "id"),
        sa.Index("fhir_imaging_study_updated", "last_updated", "id"),
        sa.Index("fhir_imaging_study_endpoint", "endpoint", "id"),
        sa.Index(
            "fhir_imaging_study_cancelled", "id", postgresql_where=sa.text("status <> 'available' and not deleted")
        ),
        sa.Index("fhir_imaging_study_due", "next_at", postgresql_where=sa.text("published_version < version")),
    )

    id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    source_id: Mapped[int] = tables.owner("source")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    version: Mapped[int] = tables.count()
    status: Mapped[str] = tables.text()
    deleted: Mapped[bool] = tables.no()
    endpoint: Mapped[str] = tables.text()
    patient_id: Mapped[str] = tables.text()
    issuer_of_patient_id: Mapped[str] = tables.text()
    person_id: Mapped[int | None] = mapped_column(BIG)
    accession_number: Mapped[str] = tables.text()
    modalities: Mapped[list[str]] = mapped_column(ARRAY(TEXT), server_default="{}")
    started_from: Mapped[datetime | None] = mapped_column(MOMENT)
    started_to: Mapped[datetime | None] = mapped_column(MOMENT)
    last_updated: Mapped[datetime] = tables.now()
    published_version: Mapped[int] = tables.count()
    published_at: Mapped[datetime | None] = mapped_column(MOMENT)
    offered: Mapped[bool] = tables.no()
    attempts: Mapped[int] = tables.count()
    next_at: Mapped[datetime] = tables.now()
    taken_until: Mapped[datetime | None] = mapped_column(MOMENT)
    problem: Mapped[str] = tables.text()


class ImagingStudyVersion(Table):
    """One version: the resource without its ``id`` and ``meta``, null where it was deleted."""

    __tablename__ = "fhir_imaging_study_version"

    imaging_study_id: Mapped[int] = tables.owner("fhir_imaging_study", primary_key=True)
    version: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    revision: Mapped[int] = tables.count()
    last_updated: Mapped[datetime] = mapped_column(MOMENT)
    content: Mapped[str | None] = mapped_column(TEXT)


class FhirState(Table):
    """One row: up to which study of the catalogue every one has its ImagingStudy, the server that is published to with
    the address under which it finds images (``target``), and when it may be asked again after it failed."""

    __tablename__ = "fhir_state"

    id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    made_up_to: Mapped[int] = tables.count()
    target: Mapped[str] = tables.text()
    failures: Mapped[int] = tables.count()
    next_at: Mapped[datetime] = tables.now()
    problem: Mapped[str] = tables.text()
