"""The lists that people see: deliveries, and the consumers that they go to."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

import sqlalchemy as sa

from hilum.core.database import Database
from hilum.core.delivery.models import DeliveryRow
from hilum.core.events import EventRow

_COLUMNS = (
    *(column for column in DeliveryRow.__table__.columns if column.name not in ("event_id", "holds")),
    sa.cast(EventRow.uuid, sa.Text).label("event_id"),
    EventRow.id.label("sequence"),
    EventRow.type,
    EventRow.source,
    EventRow.subject,
)


def deliveries(
    database: Database,
    states: Sequence[str] = (),
    consumer: str | None = None,
    delivery_id: int | None = None,
    *,
    limit: int = 20,
    offset: int = 0,
) -> tuple[Sequence[sa.RowMapping], int]:
    """List deliveries with their events, the latest first, and how many there are in all.

    Parameters
    ----------
    database
        Where they are.
    states
        Only in these states (``retrying``, ``dead``, ``delivered``); empty for all.
    consumer
        Only to this one.
    delivery_id
        Only this one.
    """
    conditions = [
        DeliveryRow.state.in_(states) if states else sa.true(),
        DeliveryRow.consumer == consumer if consumer is not None else sa.true(),
        DeliveryRow.id == delivery_id if delivery_id is not None else sa.true(),
    ]
    query = sa.select(*_COLUMNS).join(EventRow, EventRow.id == DeliveryRow.event_id).where(*conditions)
    page = query.order_by(DeliveryRow.id.desc()).limit(limit).offset(offset)
    with database.connect() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(DeliveryRow).where(*conditions)) or 0
        return connection.execute(page).mappings().all(), total


def consumers(database: Database, *, limit: int = 20, offset: int = 0) -> tuple[Sequence[Mapping[str, object]], int]:
    """List everyone who is told of events, by name, with how far each is, and how many there are in all."""
    with database.transaction() as sql:
        rows = sql.rows(_CONSUMERS, {"limit": limit, "offset": offset})
        (counted,) = sql.rows("select count(*) as total from hilum.delivery_cursor")
    return rows, int(str(counted["total"]))


_CONSUMERS: Final[LiteralString] = """
  select c.name, c.position, greatest(e.last - c.position, 0) as behind, c.failing_since, c.retry_at, c.problem,
    coalesce(d.retrying, 0) as retrying, coalesce(d.dead, 0) as dead
  from hilum.delivery_cursor c
  cross join (select coalesce(max(id), 0) as last from hilum.event) e
  left join (
    select consumer, count(*) filter (where state = 'retrying') as retrying,
      count(*) filter (where state = 'dead') as dead
    from hilum.delivery where state <> 'delivered' group by consumer
  ) d on d.consumer = c.name
  order by c.name limit %(limit)s offset %(offset)s
"""
