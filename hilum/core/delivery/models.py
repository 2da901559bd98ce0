"""Tables of delivery: how far each consumer is, and the events that it was told of or did not take."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, MOMENT, TEXT


class DeliveryCursor(Table):
    """How far a consumer is in the feed: every wanted event up to ``position`` is delivered or has a row in
    ``delivery``. While it cannot be reached, since when, how often that was tried, and when it is tried again."""

    __tablename__ = "delivery_cursor"

    name: Mapped[str] = mapped_column(TEXT, primary_key=True)
    position: Mapped[int] = tables.count()
    failures: Mapped[int] = tables.count()
    failing_since: Mapped[datetime | None] = mapped_column(MOMENT)
    retry_at: Mapped[datetime | None] = mapped_column(MOMENT)
    problem: Mapped[str] = tables.text()


class DeliveryRow(Table):
    """An event that a consumer did not take (yet), or that was delivered and is listed for people. While ``holds``,
    nothing later is delivered, so that the order is kept."""

    __tablename__ = "delivery"
    __table_args__ = (
        sa.UniqueConstraint("consumer", "event_id"),
        sa.Index("delivery_due", "consumer", "due_at", postgresql_where=sa.text("state = 'retrying'")),
        sa.Index("delivery_dead", "id", postgresql_where=sa.text("state = 'dead'")),
    )

    id: Mapped[int] = tables.key()
    consumer: Mapped[str] = mapped_column(sa.ForeignKey("hilum.delivery_cursor.name", ondelete="CASCADE"))
    event_id: Mapped[int] = mapped_column(sa.ForeignKey("hilum.event.id"))
    state: Mapped[str] = mapped_column(TEXT)
    attempts: Mapped[int] = tables.count()
    status: Mapped[int | None]
    reason: Mapped[str] = tables.text()
    holds: Mapped[bool] = tables.no()
    due_at: Mapped[datetime | None] = mapped_column(MOMENT)
    tried_at: Mapped[datetime | None] = mapped_column(MOMENT)
    created_at: Mapped[datetime] = tables.now()


class Webhook(Table):
    """An address that events are sent to. Its cursor is ``webhook:<id>``."""

    __tablename__ = "webhook"

    id: Mapped[int] = tables.key()
    url: Mapped[str] = mapped_column(TEXT)
    types: Mapped[list[str]] = mapped_column(sa.ARRAY(TEXT))
    sources: Mapped[list[str]] = mapped_column(sa.ARRAY(TEXT))
    mode: Mapped[str] = mapped_column(TEXT)
    secret: Mapped[str] = mapped_column(TEXT)
    active: Mapped[bool] = mapped_column()
    created_at: Mapped[datetime] = tables.now()


class Site(Table):
    """An edge that events wait for: those addressed to it, and those of its sources from behind ``after``."""

    __tablename__ = "site"

    key: Mapped[str] = mapped_column(TEXT, primary_key=True)
    name: Mapped[str] = tables.text()
    sources: Mapped[list[str]] = mapped_column(sa.ARRAY(TEXT))
    types: Mapped[list[str]] = mapped_column(sa.ARRAY(TEXT))
    after: Mapped[int] = mapped_column(BIG)
    created_at: Mapped[datetime] = tables.now()
