"""The tables of remote archives: which studies are wanted or were fetched, and how far an index has come."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class RemoteCopy(Table):
    """That the images of a study are wanted from the remote archive (``waiting``), are coming (``fetching``), are here
    (``held``), cannot be had (``failed``), or were given up again (``released``). ``lease`` names who fetches them;
    ``rule`` says that nobody waits for them."""

    __tablename__ = "remote_copy"
    __table_args__ = (
        sa.Index("remote_copy_due", "rule", "asked_at", postgresql_where=sa.text("state in ('waiting', 'fetching')")),
        sa.Index("remote_copy_held", "fetched_at", postgresql_where=sa.text("state = 'held'")),
    )

    study_id: Mapped[int] = tables.owner("study", primary_key=True)
    state: Mapped[str] = mapped_column(TEXT, server_default="waiting")
    rule: Mapped[bool] = tables.no()
    attempts: Mapped[int] = mapped_column(server_default="0")
    retry_at: Mapped[datetime] = tables.now()
    lease: Mapped[UUID | None] = mapped_column(sa.Uuid)
    leased_until: Mapped[datetime | None] = mapped_column(MOMENT)
    error: Mapped[str] = tables.text()
    num_instances: Mapped[int] = tables.count()
    bytes: Mapped[int] = tables.count()
    asked_at: Mapped[datetime] = tables.now()
    fetched_at: Mapped[datetime | None] = mapped_column(MOMENT)


class RemoteIndex(Table):
    """How many studies of a question's answer an index that has not ended has taken, so that it goes on from there."""

    __tablename__ = "remote_index"

    source_id: Mapped[int] = tables.owner("source", primary_key=True)
    query: Mapped[str] = mapped_column(TEXT, primary_key=True)
    num_studies: Mapped[int] = mapped_column(BIG, server_default="0")
    updated_at: Mapped[datetime] = tables.now()
