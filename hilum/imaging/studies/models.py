"""The tables of the studies: where each stands and its revisions, which go by source and Study Instance UID, and what
else is done before a study is processed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


def _uid() -> Mapped[str]:
    return mapped_column(TEXT, primary_key=True)


class StudyClock(Table):
    """Where a study stands: the number of its latest revision, how many instances are expected, and when the next
    revision is to be made, if any."""

    __tablename__ = "study_clock"
    __table_args__ = (sa.Index("study_clock_due", "due_at", postgresql_where=sa.text("due_at is not null")),)

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    study_instance_uid: Mapped[str] = _uid()
    revision: Mapped[int] = tables.count()
    expected: Mapped[int | None] = mapped_column(BIG)
    due_at: Mapped[datetime | None] = mapped_column(MOMENT)


class StudyRevision(Table):
    """A study as it was when it was complete. ``manifest`` is packed by `hilum.imaging.studies.manifest`."""

    __tablename__ = "study_revision"

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    study_instance_uid: Mapped[str] = _uid()
    number: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(TEXT)
    made_at: Mapped[datetime] = tables.now()
    num_series: Mapped[int] = tables.count()
    num_instances: Mapped[int] = tables.count()
    num_images: Mapped[int] = tables.count()
    num_added: Mapped[int] = tables.count()
    num_removed: Mapped[int] = tables.count()
    num_replaced: Mapped[int] = tables.count()
    manifest: Mapped[bytes] = mapped_column(sa.LargeBinary)


class SourceStep(Table):
    """A step that studies of a source have to go through before they are processed."""

    __tablename__ = "source_step"

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    step: Mapped[str] = mapped_column(TEXT, primary_key=True)


class StudyStep(Table):
    """The latest revision of a study for which a step was done."""

    __tablename__ = "study_step"

    study_id: Mapped[int] = tables.owner("study", primary_key=True)
    step: Mapped[str] = mapped_column(TEXT, primary_key=True)
    revision: Mapped[int] = mapped_column(BIG)
