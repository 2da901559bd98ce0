"""The list of deliveries that people see."""

from collections.abc import Sequence

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
