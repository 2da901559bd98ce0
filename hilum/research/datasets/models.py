"""The tables of data sets: definitions, versions with their people, instances and files, the days by which a person's
dates move, and who looked into the crosswalk. What the originals say stands in them only sealed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class DeidKey(Table):
    """Which key file belongs to this archive: a value made with it, so that another one is refused."""

    __tablename__ = "deid_key"

    id: Mapped[int] = mapped_column(primary_key=True, server_default="1", autoincrement=False)
    mark: Mapped[bytes]


class PersonShift(Table):
    """By how many whole days all dates of a person move, for ever. ``person`` is the person_id, or a pseudonym."""

    __tablename__ = "person_shift"

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    person: Mapped[str] = mapped_column(TEXT, primary_key=True)
    days: Mapped[int]
    given: Mapped[bool] = tables.no()
    made_at: Mapped[datetime] = tables.now()


class Dataset(Table):
    """A data set by its definition (`hilum.research.datasets.definition`)."""

    __tablename__ = "dataset"
    __table_args__ = (sa.Index("dataset_name", "name", unique=True, postgresql_where=sa.text("deleted_at is null")),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    name: Mapped[str] = mapped_column(TEXT)
    definition: Mapped[dict[str, object]] = mapped_column(JSONB)
    made_by: Mapped[str] = tables.text()
    created_at: Mapped[datetime] = tables.now()
    updated_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    deleted_by: Mapped[str] = tables.text()


class DatasetVersion(Table):
    """A version of a data set: ``building``, ``draft``, ``published``, ``rejected`` or ``deleted``. ``definition`` is
    that of the data set when it was asked for, ``held`` what does not leave and why, ``software`` what made its
    instances, ``digest`` that of the manifest; ``review`` asks for a person's decision before it is published."""

    __tablename__ = "dataset_version"
    __table_args__ = (sa.UniqueConstraint("dataset_id", "number"),)

    id: Mapped[int] = tables.key()
    dataset_id: Mapped[int] = tables.owner("dataset")
    number: Mapped[int]
    state: Mapped[str] = mapped_column(TEXT, server_default="building")
    definition: Mapped[dict[str, object]] = mapped_column(JSONB)
    planned: Mapped[bool] = tables.no()
    review: Mapped[bool] = tables.no()
    held: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    software: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    counts: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    report: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    digest: Mapped[str] = tables.text()
    size: Mapped[int] = tables.count()
    job_id: Mapped[int | None] = mapped_column(BIG)
    made_by: Mapped[str] = tables.text()
    created_at: Mapped[datetime] = tables.now()
    published_at: Mapped[datetime | None] = mapped_column(MOMENT)
    decided_by: Mapped[str] = tables.text()
    note: Mapped[str] = tables.text()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)
    deleted_by: Mapped[str] = tables.text()


class DatasetPerson(Table):
    """A person of a version; ``sealed`` holds the days, what is known of the person, and whether over 89."""

    __tablename__ = "dataset_person"

    version_id: Mapped[int] = tables.owner("dataset_version", primary_key=True)
    person: Mapped[str] = mapped_column(TEXT, primary_key=True)
    person_id: Mapped[int | None] = mapped_column(BIG)
    sealed: Mapped[bytes]


class DatasetStudy(Table):
    """A study of a version, by its new UID, with the revision that it had."""

    __tablename__ = "dataset_study"

    version_id: Mapped[int] = tables.owner("dataset_version", primary_key=True)
    study: Mapped[str] = mapped_column(TEXT, primary_key=True)
    study_id: Mapped[int] = mapped_column(BIG)
    person: Mapped[str] = mapped_column(TEXT)
    revision: Mapped[int]


class DatasetInstance(Table):
    """An instance of a version: ``planned``, ``done`` or ``held``. All but ``instance_id`` is of the new file; what was
    done to each attribute is ``sealed``; ``validated`` says that its validity was compared with the original's."""

    __tablename__ = "dataset_instance"
    __table_args__ = (
        sa.Index("dataset_instance_order", "version_id", "person", "study", "series", "number", "sop"),
        sa.Index("dataset_instance_state", "version_id", "state"),
        sa.Index("dataset_instance_sop", "sop"),
        sa.Index("dataset_instance_series", "series"),
        sa.Index("dataset_instance_study", "study"),
        sa.Index("dataset_instance_person", "person"),
        sa.Index("dataset_instance_accession", "accession"),
        sa.Index("dataset_instance_blob", "blob_key"),
        sa.UniqueConstraint("version_id", "instance_id"),
    )

    id: Mapped[int] = tables.key()
    version_id: Mapped[int] = tables.owner("dataset_version")
    instance_id: Mapped[int] = mapped_column(BIG)
    state: Mapped[str] = mapped_column(TEXT, server_default="planned")
    code: Mapped[str] = tables.text()
    reason: Mapped[str] = tables.text()
    person: Mapped[str] = mapped_column(TEXT)
    accession: Mapped[str] = mapped_column(TEXT)
    procedure_id: Mapped[str] = tables.text()
    visit_id: Mapped[str] = tables.text()
    modality: Mapped[str] = tables.text()
    study: Mapped[str] = mapped_column(TEXT)
    series: Mapped[str] = mapped_column(TEXT)
    sop: Mapped[str] = mapped_column(TEXT)
    number: Mapped[int] = mapped_column(BIG, server_default="0")
    original: Mapped[str] = tables.text()
    datetime: Mapped[str] = tables.text()
    digest: Mapped[str] = tables.text()
    size: Mapped[int] = tables.count()
    crc32: Mapped[int] = tables.count()
    blob_key: Mapped[str] = tables.text()
    facts: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    sealed: Mapped[bytes | None]
    validated: Mapped[bool] = tables.no()


class DatasetValue(Table):
    """What a PatientID or accession number of an original, blind, became; UIDs need no row, for the key makes them."""

    __tablename__ = "dataset_value"

    value: Mapped[bytes] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(TEXT, primary_key=True)
    new: Mapped[str] = mapped_column(TEXT, primary_key=True)


class DatasetFile(Table):
    """A file of a version as it is given out, by its path in the layout."""

    __tablename__ = "dataset_file"
    __table_args__ = (sa.Index("dataset_file_blob", "blob_key"),)

    version_id: Mapped[int] = tables.owner("dataset_version", primary_key=True)
    path: Mapped[str] = mapped_column(TEXT, primary_key=True)
    size: Mapped[int] = mapped_column(BIG)
    crc32: Mapped[int] = mapped_column(BIG)
    digest: Mapped[str] = mapped_column(TEXT)
    blob_key: Mapped[str] = mapped_column(TEXT)


class DatasetLitter(Table):
    """An object that goes unless a version has it."""

    __tablename__ = "dataset_litter"

    blob_key: Mapped[str] = mapped_column(TEXT, primary_key=True)


class CrosswalkLook(Table):
    """Who looked into the crosswalk, when, and for what: the value only blind."""

    __tablename__ = "crosswalk_look"

    id: Mapped[int] = tables.key()
    who: Mapped[str] = mapped_column(TEXT)
    kind: Mapped[str] = mapped_column(TEXT)
    value: Mapped[bytes]
    found: Mapped[int] = tables.count()
    looked_at: Mapped[datetime] = tables.now()
