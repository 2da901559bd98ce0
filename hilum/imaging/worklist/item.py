"""A workitem as a transaction finds it: the row that ``workitems`` changes and ``subscriptions`` tells of."""

from dataclasses import dataclass
from typing import cast

from hilum.core.database import Transaction
from hilum.core.errors import Gone, NotFound
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.worklist.dataset import DataSet


@dataclass(frozen=True, slots=True)
class Workitem:
    """A workitem, in the state and under the Transaction UID that it has now; empty if unclaimed."""

    id: int
    source: SourceRef
    uid: str
    state: str
    transaction_uid: str
    data: DataSet


def find_workitem(sql: Transaction, source: SourceRef, uid: str, *, lock: bool = True) -> Workitem:
    """Find a workitem, and by default hold its row until the transaction ends.

    Raises
    ------
    NotFound, Gone
        There is none, or it has been deleted.
    """
    rows = sql.rows(
        "select id, state, transaction_uid, attributes, deleted_at from hilum.workitem "
        f"where source_id = %s and uid = %s{' for no key update' if lock else ''}",
        (source.id, uid),
    )
    if not rows:
        raise NotFound("There is no such workitem.")
    row = rows[0]
    if row["deleted_at"] is not None:
        raise Gone("The workitem ended long ago and has been deleted.")
    data = cast("DataSet", row["attributes"])
    holder = cast("str | None", row["transaction_uid"]) or ""
    return Workitem(cast("int", row["id"]), source, uid, str(row["state"]), holder, data)
