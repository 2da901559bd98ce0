"""The tables of the worklist: workitems and their history, subscribers, what each is subscribed to, and the reports
that wait to be told."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class Workitem(Table):
    """A Unified Procedure Step. ``attributes`` never holds its Transaction UID; of a deleted one its UID is left."""

    __tablename__ = "workitem"
    __table_args__ = (
        sa.UniqueConstraint("source_id", "uid"),
        sa.Index("workitem_listed", "source_id", "state", "rank", "id", postgresql_where=sa.text("deleted_at is null")),
        sa.Index(
            "workitem_ended",
            "changed_at",
            postgresql_where=sa.text("state in ('COMPLETED', 'CANCELED') and deleted_at is null"),
        ),
    )

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    uid: Mapped[str] = mapped_column(TEXT)
    state: Mapped[str] = mapped_column(TEXT)
    rank: Mapped[int] = mapped_column(sa.SmallInteger)
    transaction_uid: Mapped[str | None] = mapped_column(TEXT)
    attributes: Mapped[dict[str, object]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = tables.now()
    changed_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)


class WorkitemChange(Table):
    """What was done to a workitem, by whom and when."""

    __tablename__ = "workitem_change"

    id: Mapped[int] = tables.key()
    workitem_id: Mapped[int] = tables.owner("workitem", index=True)
    action: Mapped[str] = mapped_column(TEXT)
    old: Mapped[str] = mapped_column(TEXT)
    new: Mapped[str] = mapped_column(TEXT)
    made_by: Mapped[str] = mapped_column(TEXT)
    made_at: Mapped[datetime] = tables.now()


class WorklistSubscriber(Table):
    """An Application Entity that is told of changes; ``connection`` is the one socket that tells it."""

    __tablename__ = "worklist_subscriber"
    __table_args__ = (sa.UniqueConstraint("source_id", "ae_title"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    ae_title: Mapped[str] = mapped_column(TEXT)
    scope: Mapped[str] = mapped_column(TEXT, server_default="none")
    filter: Mapped[list[list[str]]] = mapped_column(JSONB, server_default="[]")
    deletion_lock: Mapped[bool] = mapped_column(server_default=sa.false())
    last_number: Mapped[int] = mapped_column(BIG, server_default="0")
    connection: Mapped[UUID | None] = mapped_column(sa.Uuid)


class WorklistSubscription(Table):
    """That a subscriber is told of a workitem, and whether the workitem is kept for it."""

    __tablename__ = "worklist_subscription"

    workitem_id: Mapped[int] = tables.owner("workitem", primary_key=True)
    subscriber_id: Mapped[int] = tables.owner("worklist_subscriber", primary_key=True, index=True)
    deletion_lock: Mapped[bool] = mapped_column()


class WorklistReport(Table):
    """One report to one subscriber, as it is sent but for its Message ID, which is made from its number."""

    __tablename__ = "worklist_report"
    __table_args__ = (
        sa.Index("worklist_report_waiting", "subscriber_id", "number", postgresql_where=sa.text("sent_at is null")),
        sa.Index("worklist_report_sent", "sent_at", postgresql_where=sa.text("sent_at is not null")),
    )

    subscriber_id: Mapped[int] = tables.owner("worklist_subscriber", primary_key=True)
    number: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(TEXT)
    sent_at: Mapped[datetime | None] = mapped_column(MOMENT)
