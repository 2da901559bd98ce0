"""The tables of forwarding: where to send, what to send there, and what waits."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import MOMENT, TEXT


class RoutingDestination(Table):
    """Another archive. ``address`` and ``credentials`` are as `destinations` reads them. While ``failures`` is not 0 it
    is not asked again before ``retry_at``; ``batch_size`` is how many instances the next request may hold."""

    __tablename__ = "routing_destination"
    __table_args__ = (
        sa.Index("routing_destination_name", "name", unique=True, postgresql_where=sa.text("deleted_at is null")),
    )

    id: Mapped[int] = tables.key()
    name: Mapped[str] = mapped_column(TEXT)
    kind: Mapped[str] = mapped_column(TEXT)
    address: Mapped[dict[str, object]] = mapped_column(JSONB)
    credentials: Mapped[dict[str, str]] = mapped_column(JSONB, server_default="{}")
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    failures: Mapped[int] = mapped_column(server_default="0")
    retry_at: Mapped[datetime] = tables.now()
    batch_size: Mapped[int] = mapped_column(server_default="1")
    error: Mapped[str] = tables.text()
    last_sent_at: Mapped[datetime | None] = mapped_column(MOMENT)
    created_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)


class RoutingRule(Table):
    """What is sent to a destination. It holds for events behind ``after_event``; ``num_sent`` counts deliveries."""

    __tablename__ = "routing_rule"
    __table_args__ = (
        sa.Index("routing_rule_name", "name", unique=True, postgresql_where=sa.text("deleted_at is null")),
    )

    id: Mapped[int] = tables.key()
    destination_id: Mapped[int] = tables.owner("routing_destination", index=True)
    name: Mapped[str] = mapped_column(TEXT)
    trigger: Mapped[str] = mapped_column(TEXT)
    conditions: Mapped[dict[str, object]] = mapped_column(JSONB)
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    priority: Mapped[int] = mapped_column(server_default="0")
    after_event: Mapped[int] = tables.count()
    num_sent: Mapped[int] = tables.count()
    created_at: Mapped[datetime] = tables.now()
    deleted_at: Mapped[datetime | None] = mapped_column(MOMENT)


class RoutingItem(Table):
    """That an instance is to be, or has been, sent to a destination: once, with the bytes that ``digest`` names, by the
    rule that asked first. ``lease`` names who is sending it; ``uncertain`` says that somebody before did not live to
    tell how it ended."""

    __tablename__ = "routing_item"
    __table_args__ = (
        sa.UniqueConstraint("destination_id", "instance_id"),
        sa.Index("routing_item_due", "rule_id", "id", postgresql_where=sa.text("state in ('waiting', 'sending')")),
        sa.Index("routing_item_sending", "destination_id", postgresql_where=sa.text("state = 'sending'")),
        sa.Index("routing_item_dead", "rule_id", "id", postgresql_where=sa.text("state = 'dead'")),
        sa.Index("routing_item_sent", "rule_id", "sent_at", postgresql_where=sa.text("state = 'sent'")),
        sa.Index("routing_item_rule", "rule_id", "id"),
    )

    id: Mapped[int] = tables.key()
    rule_id: Mapped[int] = tables.owner("routing_rule")
    destination_id: Mapped[int] = tables.owner("routing_destination")
    instance_id: Mapped[int] = tables.owner("instance", index=True)
    digest: Mapped[str] = mapped_column(TEXT)
    state: Mapped[str] = mapped_column(TEXT, server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default="0")
    retry_at: Mapped[datetime] = tables.now()
    lease: Mapped[UUID | None] = mapped_column(sa.Uuid)
    leased_until: Mapped[datetime | None] = mapped_column(MOMENT)
    uncertain: Mapped[bool] = tables.no()
    error: Mapped[str] = tables.text()
    warning: Mapped[str] = tables.text()
    queued_at: Mapped[datetime] = tables.now()
    sent_at: Mapped[datetime | None] = mapped_column(MOMENT)
