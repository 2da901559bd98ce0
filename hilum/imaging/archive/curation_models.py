"""The tables of what people change in the archive: corrections, the physicians and facilities that studies name,
deletions, and what still has to be recorded beside the objects."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class Physician(Table):
    """A referring physician of a source; ``key`` is the name as it is compared, ``merged_into`` who it really is."""

    __tablename__ = "physician"
    __table_args__ = (sa.UniqueConstraint("source_id", "key"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    key: Mapped[str] = mapped_column(TEXT)
    name: Mapped[str] = mapped_column(TEXT)
    renamed: Mapped[bool] = mapped_column(server_default="false")
    merged_into: Mapped[int | None] = mapped_column(
        BIG, sa.ForeignKey("hilum.physician.id", ondelete="CASCADE"), index=True
    )


class Facility(Table):
    """An institution of a source; its columns mean what a physician's do."""

    __tablename__ = "facility"
    __table_args__ = (sa.UniqueConstraint("source_id", "key"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    key: Mapped[str] = mapped_column(TEXT)
    name: Mapped[str] = mapped_column(TEXT)
    renamed: Mapped[bool] = mapped_column(server_default="false")
    merged_into: Mapped[int | None] = mapped_column(
        BIG, sa.ForeignKey("hilum.facility.id", ondelete="CASCADE"), index=True
    )


class NameChange(Table):
    """A physician or facility that was renamed or merged: its history."""

    __tablename__ = "name_change"
    __table_args__ = (sa.Index("name_change_of", "kind", "named_id"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    kind: Mapped[str] = mapped_column(TEXT)
    named_id: Mapped[int] = mapped_column(BIG)
    field: Mapped[str] = mapped_column(TEXT)
    old: Mapped[str] = mapped_column(TEXT)
    new: Mapped[str] = mapped_column(TEXT)
    made_by: Mapped[str] = mapped_column(TEXT)
    made_at: Mapped[datetime] = tables.now()


class Correction(Table):
    """A change of one field of a study by a person; ``of_file`` is what the files say."""

    __tablename__ = "correction"

    id: Mapped[int] = tables.key()
    study_id: Mapped[int] = tables.owner("study", index=True)
    field: Mapped[str] = mapped_column(TEXT)
    old: Mapped[str] = mapped_column(TEXT)
    new: Mapped[str] = mapped_column(TEXT)
    of_file: Mapped[str] = mapped_column(TEXT)
    undoes: Mapped[int | None] = mapped_column(BIG)
    made_by: Mapped[str] = mapped_column(TEXT)
    made_at: Mapped[datetime] = tables.now()


class Deletion(Table):
    """That a study was deleted, or the one series or instance of it that is named, and what came of it; it outlives
    the study."""

    __tablename__ = "deletion"

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    study_id: Mapped[int] = mapped_column(BIG, index=True)
    study_instance_uid: Mapped[str] = mapped_column(TEXT, index=True)
    series_instance_uid: Mapped[str] = mapped_column(TEXT, server_default="")
    sop_instance_uid: Mapped[str] = mapped_column(TEXT, server_default="")
    made_by: Mapped[str] = mapped_column(TEXT)
    made_at: Mapped[datetime] = tables.now()
    restored_at: Mapped[datetime | None] = mapped_column(MOMENT)
    purged_at: Mapped[datetime | None] = mapped_column(MOMENT)


class DoomedObject(Table):
    """An object whose rows are gone: its bytes go next, unless other rows use it."""

    __tablename__ = "doomed_object"

    key: Mapped[str] = mapped_column(TEXT, primary_key=True)
    source_id: Mapped[int] = mapped_column(BIG)
    study_instance_uid: Mapped[str] = mapped_column(TEXT)


class UnrecordedStudy(Table):
    """A study whose record beside the objects is out of date; ``marks`` grows with each change."""

    __tablename__ = "unrecorded_study"

    study_id: Mapped[int] = mapped_column(
        BIG, sa.ForeignKey("hilum.study.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    marks: Mapped[int] = mapped_column(BIG, server_default="1")
    since: Mapped[datetime] = tables.now()
