"""What Hilum itself keeps of a source's OMOP CDM, in its own schema: mapping tables that a site gave, whose each study
is and why, and which rows of the image tables its series and files have. The CDM's own tables are never mapped here:
they are read and written as they are found."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, TEXT


class PersonMap(Table):
    """Whose a PatientID is, as the site says. Without an issuer it holds for any; ``days_shifted`` is what CHoRUS's
    personal_map adds to the person's dates."""

    __tablename__ = "person_map"
    __table_args__ = (sa.UniqueConstraint("source_id", "patient_id", "issuer_of_patient_id"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    patient_id: Mapped[str] = mapped_column(TEXT)
    issuer_of_patient_id: Mapped[str] = tables.text()
    person_id: Mapped[int] = mapped_column(BIG)
    days_shifted: Mapped[int | None]
    loaded_at: Mapped[datetime] = tables.now()


class ProcedureMap(Table):
    """Which procedure_occurrence a number (accession, requested procedure, performed step, placer order) belongs to, as
    the site says; without a PatientID for any."""

    __tablename__ = "procedure_map"
    __table_args__ = (sa.UniqueConstraint("source_id", "number", "patient_id"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    number: Mapped[str] = mapped_column(TEXT)
    patient_id: Mapped[str] = tables.text()
    procedure_occurrence_id: Mapped[int] = mapped_column(BIG)
    loaded_at: Mapped[datetime] = tables.now()


class StudyLink(Table):
    """What a study is tied to: its ``person``, ``procedure`` or ``visit``, one row a kind. Either ``target_id`` names
    the row of the CDM, with the method that found it and its evidence, or ``reason`` says why the study waits for a
    person's decision."""

    __tablename__ = "study_link"
    __table_args__ = (
        sa.Index("study_link_target", "kind", "target_id", postgresql_where=sa.text("target_id is not null")),
        sa.Index("study_link_waiting", "kind", "reason", "study_id", postgresql_where=sa.text("reason <> ''")),
    )

    study_id: Mapped[int] = tables.owner("study", primary_key=True)
    kind: Mapped[str] = mapped_column(TEXT, primary_key=True)
    target_id: Mapped[int | None] = mapped_column(BIG)
    method: Mapped[str] = tables.text()
    evidence: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    reason: Mapped[str] = tables.text()
    made_by: Mapped[str] = tables.text()
    made_at: Mapped[datetime] = tables.now()


class LinkDecision(Table):
    """What a person decided of a link, by UID, so that it holds for a study that is stored again: the target, or none
    where the study must not be linked."""

    __tablename__ = "link_decision"

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    kind: Mapped[str] = mapped_column(TEXT, primary_key=True)
    target_id: Mapped[int | None] = mapped_column(BIG)
    made_by: Mapped[str] = tables.text()
    made_at: Mapped[datetime] = tables.now()


class LinkChange(Table):
    """Every decision about links, in order: what was tied before and what after."""

    __tablename__ = "link_change"
    __table_args__ = (sa.Index("link_change_study", "source_id", "study_instance_uid"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    kind: Mapped[str] = mapped_column(TEXT)
    action: Mapped[str] = mapped_column(TEXT)
    before: Mapped[int | None] = mapped_column(BIG)
    after: Mapped[int | None] = mapped_column(BIG)
    made_by: Mapped[str] = tables.text()
    made_at: Mapped[datetime] = tables.now()


class MintedProcedure(Table):
    """The id in the reserved range that a study's own procedure_occurrence has whenever it needs one."""

    __tablename__ = "minted_procedure"
    __table_args__ = (sa.UniqueConstraint("source_id", "procedure_occurrence_id"),)

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    procedure_occurrence_id: Mapped[int] = mapped_column(BIG)


class SeriesOccurrence(Table):
    """Which image_occurrence a series is, for ever: a row that goes and comes back has the id it had. ``adopted`` rows
    were there before Hilum, which uses them and never changes them."""

    __tablename__ = "series_occurrence"
    __table_args__ = (sa.UniqueConstraint("source_id", "image_occurrence_id"),)

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    image_occurrence_id: Mapped[int] = mapped_column(BIG)
    adopted: Mapped[bool] = tables.no()
    anatomy_from: Mapped[str] = tables.text()
    anatomy_word: Mapped[str] = tables.text()


class SeriesOrder(Table):
    """What the files of a series say of the order that it answers, as of one version of the series: the numbers
    (``kind`` and ``number``), the codes of the procedure (``scheme``, ``code`` and ``meaning``), and the days on which
    it was acquired and its content made."""

    __tablename__ = "series_order"

    series_id: Mapped[int] = tables.owner("series", primary_key=True)
    version: Mapped[int] = mapped_column(BIG)
    numbers: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default="[]")
    procedure_codes: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default="[]")
    acquisition_date: Mapped[date | None]
    content_date: Mapped[date | None]


class RegistryFile(Table):
    """Which number a file has in image_registry, for ever: a row that goes and comes back has the number it had; and
    what the registry of an upload says of it (its own ``file_id``, ``src_file`` and local time), empty for a file that
    came by itself."""

    __tablename__ = "registry_file"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "image_registry_id"),
        sa.Index("registry_file_study", "source_id", "study_instance_uid"),
    )

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    image_registry_id: Mapped[int | None] = mapped_column(BIG)
    file_id: Mapped[str] = tables.text()
    src_file: Mapped[str] = tables.text()
    taken_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=False))


class RegistryGroup(Table):
    """The number of a study within its person, which image_registry calls its group; for ever."""

    __tablename__ = "registry_group"
    __table_args__ = (sa.UniqueConstraint("source_id", "person_id", "group_id"),)

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    person_id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    study_instance_uid: Mapped[str] = mapped_column(TEXT, primary_key=True)
    group_id: Mapped[int] = mapped_column(BIG)


class SettledStudy(Table):
    """What the links of a study were made of, and what was made, as digests, when all studies were linked last."""

    __tablename__ = "settled_study"

    study_id: Mapped[int] = tables.owner("study", primary_key=True)
    inputs: Mapped[int] = mapped_column(BIG)
    outputs: Mapped[int] = mapped_column(BIG)
