"""The table of storage commitment: what peers asked to be kept, and the reports that they are owed."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import MOMENT, TEXT


class Commitment(Table):
    """A request of storage commitment; ``instances`` are pairs of SOP class and instance. It is owed a report until
    ``reported_at``, next tried at ``due_at``."""

    __tablename__ = "commitment"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "ae_title", "transaction_uid"),
        sa.Index("commitment_due", "due_at", postgresql_where=sa.text("reported_at is null")),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    ae_title: Mapped[str] = mapped_column(TEXT)
    called: Mapped[str] = mapped_column(TEXT)
    transaction_uid: Mapped[str] = mapped_column(TEXT)
    instances: Mapped[list[list[str]]] = mapped_column(JSONB)
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(MOMENT, server_default=sa.func.now())
    created_at: Mapped[datetime] = tables.now()
    reported_at: Mapped[datetime | None] = mapped_column(MOMENT)
