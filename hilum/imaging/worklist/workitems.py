"""Workitems and what may be done to them (PS3.4 annex CC): created, read, updated, claimed, ended, asked to be
canceled, and forgotten in the end. Each change is one transaction: the row, its history, the event of the platform's
feed and the reports to subscribers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, cast
from uuid import uuid4

import msgspec
import sqlalchemy as sa

from hilum.core.database import Database, Transaction
from hilum.core.events import Event
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.models import Source
from hilum.imaging.archive.study_json import element
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.worklist import models, problems, reports, requirements, subscriptions
from hilum.imaging.worklist.dataset import DataSet, Element, has_value, text_of
from hilum.imaging.worklist.item import Workitem, find_workitem
from hilum.imaging.worklist.problems import Refusal
from hilum.imaging.worklist.requirements import (
    CANCELED,
    COMPLETED,
    IN_PROGRESS,
    PERFORMERS,
    PRIORITY,
    PROGRESS,
    RANKS,
    READINESS,
    SCHEDULED,
    STATE,
    STATES,
    STATIONS,
)

CREATED: Final = "hilum.workitem.created.v1"
UPDATED: Final = "hilum.workitem.updated.v1"
STATE_CHANGED: Final = "hilum.workitem.state_changed.v1"
CANCEL_REQUESTED: Final = "hilum.workitem.cancel_requested.v1"
DELETED: Final = "hilum.workitem.deleted.v1"
_AT_ONCE: Final = 500
_encode = msgspec.json.Encoder().encode


def create(database: Database, source: SourceRef, data: DataSet, uid: str, who: str) -> tuple[str, bool]:
    """Add a workitem, SCHEDULED (section CC.2.5).

    Parameters
    ----------
    uid : str
        The Workitem UID; empty to have one made.

    Returns
    -------
    str
        Its Workitem UID.
    bool
        Whether it was created with modifications.

    Raises
    ------
    Refusal
        400 when the data set is no workitem, 409 when the UID is taken, if only by one that is deleted.
    """
    uid = uid or f"2.25.{uuid4().int}"
    made, modified = requirements.prepare(data, uid)
    with database.transaction() as sql:
        subscriptions.hold(sql)
        row = sql.rows(
            "insert into hilum.workitem (source_id, uid, state, rank, attributes) values (%s, %s, %s, %s, %s) "
            "on conflict do nothing returning id",
            (source.id, uid, SCHEDULED, RANKS[text_of(made, PRIORITY)], _json(made)),
        )
        if not row:
            raise Refusal(409, "There is a workitem of this UID, or there was one: a UID is used once.")
        item = Workitem(cast("int", row[0]["id"]), source, uid, SCHEDULED, "", made)
        subscriptions.subscribe_to_new(sql, source.id, item.id)
        _record(sql, item, CREATED, "", SCHEDULED, who)
        told = [reports.state_report(uid, made)]
        if has_value(made, STATIONS) or has_value(made, PERFORMERS):
            told.append(reports.assigned(uid, made))
        reports.tell_all(sql, item.id, told)
    return uid, modified


def retrieve(database: Database, source: SourceRef, uid: str) -> DataSet:
    """A workitem, without its Transaction UID (section CC.2.7).

    Raises
    ------
    NotFound, Gone
        There is none, or it has been deleted.
    """
    with database.transaction() as sql:
        return find_workitem(sql, source, uid, lock=False).data


def update(database: Database, source: SourceRef, uid: str, changes: DataSet, transaction_uid: str, who: str) -> None:
    """Set attributes of a workitem (section CC.2.6): of a SCHEDULED one anybody may, of one IN PROGRESS its performer.

    Raises
    ------
    Refusal
        400 when it is COMPLETED or CANCELED, the Transaction UID is missing or wrong, or a change is not allowed; 409
        when a Transaction UID is given for one that nobody has claimed.
    NotFound, Gone
        There is none, or it has been deleted.
    """
    with database.transaction() as sql:
        item = find_workitem(sql, source, uid)
        _may_update(item, transaction_uid)
        made = requirements.merge(item.data, changes)
        changed = {tag for tag in made if made[tag] != item.data.get(tag)}
        if not changed:
            return
        _keep(sql, item, made, item.state)
        _record(sql, item, UPDATED, item.state, item.state, who)
        told: list[str] = []
        if READINESS in changed:
            told.append(reports.state_report(uid, made))
        if changed & {STATIONS, PERFORMERS}:
            told.append(reports.assigned(uid, made))
        if PROGRESS in changed:
            told.append(reports.progress_report(uid, made))
        reports.tell_all(sql, item.id, told)


def change_state(database: Database, source: SourceRef, uid: str, state: str, transaction_uid: str, who: str) -> str:
    """Claim, complete or cancel a workitem (section CC.2.1 and table CC.1.1-2).

    Returns
    -------
    str
        The state when the workitem had it before, and nothing was done; else empty.

    Raises
    ------
    Refusal
        400 when the state is none that can be asked for, or the Transaction UID is missing or not that of the one who
        claimed it; 409 when the workitem's state does not allow it.
    NotFound, Gone
        There is none, or it has been deleted.
    """
    if state not in STATES or state == SCHEDULED:
        raise Refusal(400, "A workitem can become IN PROGRESS, COMPLETED or CANCELED.", problems.INCONSISTENT)
    if not transaction_uid:
        raise Refusal(400, "A change of state names a Transaction UID (0008,1195).", problems.NO_TRANSACTION)
    if not check_uid(transaction_uid):
        raise Refusal(400, "The Transaction UID is not a UID.", problems.WRONG_TRANSACTION)
    with database.transaction() as sql:
        item = find_workitem(sql, source, uid)
        if not _may_become(item, state, transaction_uid):
            return state
        made = requirements.canceled(item.data, {}) if state == CANCELED else item.data
        _become(sql, item, made, state, transaction_uid, who)
    return ""


def request_cancel(
    database: Database,
    source: SourceRef,
    uid: str,
    reason: Mapping[str, Element],
    requester: str,
    who: str,
    silent: timedelta,
) -> bool:
    """Ask that a workitem be canceled (section CC.2.2): a SCHEDULED one is at once, and so is one IN PROGRESS whose
    performer has neither claimed nor updated it within ``silent``, for nobody else could end it; of any other all who
    are subscribed are told, its performer among them.

    Returns
    -------
    bool
        Whether it was CANCELED before.

    Raises
    ------
    Refusal
        409 when it is COMPLETED, or nobody is subscribed who could be told.
    NotFound, Gone
        There is none, or it has been deleted.
    """
    with database.transaction() as sql:
        item = find_workitem(sql, source, uid)
        if item.state == CANCELED:
            return True
        if item.state == COMPLETED:
            raise Refusal(409, "The workitem is COMPLETED and stays so.", problems.ALREADY_COMPLETED)
        if item.state == SCHEDULED:
            item = _become(sql, item, item.data, IN_PROGRESS, "", who)
        if not item.transaction_uid or _is_unchanged_for(sql, item, silent):
            _become(sql, item, requirements.canceled(item.data, reason), CANCELED, "", who)
            return False
        if not subscriptions.is_watched(sql, item.id):
            sentence = "The workitem is IN PROGRESS, and its performer has not subscribed to be told of this."
            raise Refusal(409, sentence, problems.NO_PERFORMER)
        _record(sql, item, CANCEL_REQUESTED, item.state, item.state, who)
        reports.tell_all(sql, item.id, [reports.cancel_requested(uid, requester, reason)])
    return False


def forget(database: Database, keep: timedelta) -> int:
    """Delete workitems that ended longer ago than ``keep`` and that no subscriber has locked; their UIDs stay taken.
    Reports that were sent longer ago than a day go, too.

    Returns
    -------
    int
        How many workitems were deleted.
    """
    with database.transaction() as sql:
        sql.rows("delete from hilum.worklist_report where sent_at < now() - interval '1 day'")
        rows = sql.rows(
            "update hilum.workitem w set deleted_at = now(), attributes = '{}', transaction_uid = null "
            "from hilum.source s where s.id = w.source_id and w.id in (select id from hilum.workitem e "
            "where e.state in ('COMPLETED', 'CANCELED') and e.deleted_at is null and e.changed_at <= now() - %s "
            "and not exists (select from hilum.worklist_subscription l where l.workitem_id = e.id and l.deletion_lock) "
            "limit %s for no key update skip locked) returning w.id, w.uid, w.state, w.source_id, s.key",
            (keep, _AT_ONCE),
        )
        sql.rows("delete from hilum.worklist_subscription where workitem_id = any(%s)", ([row["id"] for row in rows],))
        for row in rows:
            source = SourceRef(cast("int", row["source_id"]), str(row["key"]))
            state = str(row["state"])
            item = Workitem(cast("int", row["id"]), source, str(row["uid"]), state, "", {})
            _record(sql, item, DELETED, state, "", "hilum")
    return len(rows)


def count_states(database: Database, source: str | None = None) -> dict[str, int]:
    """How many workitems are in each state, of one source or of all."""
    query = sa.select(models.Workitem.state, sa.func.count()).where(models.Workitem.deleted_at.is_(None))
    if source is not None:
        query = query.join(Source, Source.id == models.Workitem.source_id).where(Source.key == source)
    with database.connect() as connection:
        rows = connection.execute(query.group_by(models.Workitem.state)).all()
    found = {row[0]: row[1] for row in rows}
    return {state: found.get(state, 0) for state in STATES}


def _may_update(item: Workitem, transaction_uid: str) -> None:
    if item.state in (COMPLETED, CANCELED):
        raise Refusal(400, f"The workitem is {item.state} and stays as it is.", problems.INCONSISTENT_UPDATE)
    if item.state == SCHEDULED and transaction_uid:
        sentence = "Nobody has claimed the workitem: update it without a Transaction UID, or claim it first."
        raise Refusal(409, sentence, problems.NOT_CLAIMED)
    if item.state == IN_PROGRESS and not transaction_uid:
        sentence = "The workitem is claimed: name the Transaction UID of the claim (?transaction-uid=)."
        raise Refusal(400, sentence, problems.INCONSISTENT_UPDATE)
    if item.state == IN_PROGRESS and transaction_uid != item.transaction_uid:
        sentence = "The workitem is claimed under another Transaction UID."
        raise Refusal(400, sentence, problems.INCONSISTENT_UPDATE)


def _may_become(item: Workitem, state: str, transaction_uid: str) -> bool:
    """Whether to change the state; false when it is that already."""
    if item.state == SCHEDULED:
        if state != IN_PROGRESS:
            raise Refusal(409, "Nobody has claimed the workitem: make it IN PROGRESS first.", problems.INCONSISTENT)
        return True
    if transaction_uid != item.transaction_uid:
        sentence = f"The workitem is {item.state} under another Transaction UID."
        raise Refusal(400, sentence, problems.WRONG_TRANSACTION)
    if item.state in (COMPLETED, CANCELED):
        if state == item.state:
            return False
        raise Refusal(409, f"The workitem is {item.state} and stays so.", problems.INCONSISTENT)
    if state == IN_PROGRESS:
        raise Refusal(409, "The workitem is IN PROGRESS, claimed by this Transaction UID.", problems.INCONSISTENT)
    lacking = requirements.lacks_for_completion(item.data) if state == COMPLETED else []
    if lacking:
        sentence = f"To be COMPLETED the workitem needs {', '.join(lacking)} (PS3.4 table CC.2.5-3)."
        raise Refusal(409, sentence, problems.INCONSISTENT)
    return True


def _is_unchanged_for(sql: Transaction, item: Workitem, time: timedelta) -> bool:
    query = "select changed_at <= now() - %s as unchanged from hilum.workitem where id = %s"
    (row,) = sql.rows(query, (time, item.id))
    return bool(row["unchanged"])


def _become(sql: Transaction, item: Workitem, data: DataSet, state: str, holder: str, who: str) -> Workitem:
    made = data | {STATE: element("CS", state)}
    _keep(sql, item, made, state, holder)
    _record(sql, item, STATE_CHANGED, item.state, state, who)
    reports.tell_all(sql, item.id, [reports.state_report(item.uid, made)])
    return Workitem(item.id, item.source, item.uid, state, holder, made)


def _keep(sql: Transaction, item: Workitem, data: DataSet, state: str, holder: str | None = None) -> None:
    sql.rows(
        "update hilum.workitem set attributes = %s, state = %s, rank = %s, changed_at = now(), "
        "transaction_uid = nullif(coalesce(%s, transaction_uid), '') where id = %s",
        (_json(data), state, RANKS[text_of(data, PRIORITY)], holder, item.id),
    )


def _record(sql: Transaction, item: Workitem, kind: str, old: str, new: str, who: str) -> None:
    """Write a change into the workitem's history, and tell the platform's feed of it."""
    sql.rows(
        "insert into hilum.workitem_change (workitem_id, action, old, new, made_by) values (%s, %s, %s, %s, %s)",
        (item.id, kind, old, new, who),
    )
    data = {"workitem_uid": item.uid, "old_state": old or None, "new_state": new or None}
    sql.emit(Event(kind, item.source.key, item.uid, data))


def _json(data: DataSet) -> str:
    return _encode(data).decode()
