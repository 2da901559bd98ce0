"""The event log: an ordered feed of what changed, in the shape of CloudEvents 1.0, written in the transaction of the
change that it tells of. An event names things by UID and holds no other patient data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core.database import Table

# PostgreSQL's notice that the feed has grown.
CHANNEL: Final = "hilum_event"

Data: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Event:
    """One change, before it is written.

    Attributes
    ----------
    type
        Such as ``hilum.instance.stored.v1``.
    source
        Key of the data source it happened in.
    subject
        UID of what changed.
    data
        What a consumer needs to know.
    """

    type: str
    source: str
    subject: str
    data: Data
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    uuid: UUID = field(default_factory=uuid4)


class EventRow(Table):
    """The feed. ``id`` runs in commit order."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    uuid: Mapped[UUID] = mapped_column(sa.Uuid)
    type: Mapped[str] = mapped_column(sa.Text)
    source: Mapped[str] = mapped_column(sa.Text)
    subject: Mapped[str] = mapped_column(sa.Text)
    time: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True))
    data: Mapped[dict[str, object]] = mapped_column(JSONB)


def last_event(connection: sa.Connection) -> int:
    """The ``sequence`` of the latest event; 0 when there is none."""
    return connection.scalar(sa.select(sa.func.max(EventRow.id))) or 0


def read_events(
    connection: sa.Connection,
    base_url: str,
    *,
    after: int = 0,
    limit: int = 100,
    types: Sequence[str] = (),
    most_bytes: int = 16 << 20,
) -> list[dict[str, object]]:
    """Read the feed from behind a cursor, as CloudEvents.

    Parameters
    ----------
    connection
        Where to read.
    base_url
        The address of this Hilum; with the source's key it makes the ``source`` of the event.
    after
        The ``sequence`` of the last event that was read; 0 for the beginning.
    limit
        How many events at most.
    types
        Only these types; empty for all.
    most_bytes
        Stop before the data of the events, as they are stored, are more than this; but one is always given.
    """
    ids = sa.select(EventRow.id, sa.func.pg_column_size(EventRow.data).label("size")).where(EventRow.id > after)
    if types:
        ids = ids.where(EventRow.type.in_(types))
    some = ids.order_by(EventRow.id).limit(limit).subquery()
    before = (sa.func.sum(some.c.size).over(order_by=some.c.id) - some.c.size).label("before")
    sized = sa.select(some.c.id, before).subquery()
    query = sa.select(EventRow.__table__).join(sized, sized.c.id == EventRow.id).order_by(EventRow.id)
    query = query.where((sized.c.before == 0) | (sized.c.before <= most_bytes))
    return [cloud_event(row, base_url) for row in connection.execute(query)]


def cloud_event(row: sa.Row[Any], base_url: str) -> dict[str, object]:
    """Shape a row of the feed as a CloudEvent in JSON."""
    return {
        "specversion": "1.0",
        "id": str(row.uuid),
        "type": row.type,
        "source": f"{base_url}/sources/{row.source}",
        "subject": row.subject,
        "time": row.time.isoformat(),
        "sequence": str(row.id),
        "datacontenttype": "application/json",
        "data": row.data,
    }
