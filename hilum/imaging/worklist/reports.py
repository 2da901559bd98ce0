"""Event reports (PS3.4 section CC.2.4): what is told of a workitem's change, and the queue in which it waits for each
subscriber, written in the transaction of the change. ``courier`` sends what waits."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

import msgspec

from hilum.core.database import Transaction
from hilum.imaging.archive.study_json import element
from hilum.imaging.worklist.dataset import DataSet, Element, has_value, items_of, text_of
from hilum.imaging.worklist.requirements import (
    AFFECTED_SOP_INSTANCE_UID,
    CANCEL_CODES,
    CANCEL_REASON,
    CANCELED,
    PERFORMERS,
    PROGRESS,
    READINESS,
    STATE,
    STATIONS,
    UPS_PUSH,
    progress_of,
)

CHANNEL: Final = "hilum_worklist"
MAX_KEPT: Final = 10_000
"""How many of the latest reports are kept for each subscriber, sent or not."""
MESSAGE_IDS: Final = 0xFFFF
_NAMED_AT_MOST: Final = 100

_EVENT_TYPE: Final = "00001002"
_REQUESTING_AE: Final = "00741236"
_CONTACTS: Final = ("0074100A", "0074100C")
_PERFORMER_CODES: Final = "00404009"
_PERFORMER_ORGANIZATION: Final = "00404036"
_encode = msgspec.json.Encoder().encode


def state_report(uid: str, data: DataSet) -> str:
    """The state and the readiness of its input, as they are now; of a canceled one also why (event type 1)."""
    told = {STATE: data[STATE], READINESS: data[READINESS]}
    if text_of(data, STATE) == CANCELED:
        progress = progress_of(data)
        told |= {tag: progress[tag] for tag in (CANCEL_REASON, CANCEL_CODES) if tag in progress}
    return _report(uid, 1, told)


def cancel_requested(uid: str, requester: str, reason: Mapping[str, Element]) -> str:
    """That somebody asks its performer to cancel it (event type 2)."""
    told = {tag: reason[tag] for tag in (CANCEL_REASON, CANCEL_CODES, *_CONTACTS) if tag in reason}
    return _report(uid, 2, told | {_REQUESTING_AE: element("AE", requester)})


def progress_report(uid: str, data: DataSet) -> str:
    """How far it is (event type 3)."""
    return _report(uid, 3, {PROGRESS: data[PROGRESS]})


def assigned(uid: str, data: DataSet) -> str:
    """To which stations and people it is assigned (event type 5)."""
    told = {tag: data[tag] for tag in (STATIONS, PERFORMERS) if has_value(data, tag)}
    people = items_of(data, PERFORMERS)
    codes = [code for one in people for code in items_of(one, _PERFORMER_CODES)]
    if codes:
        told[_PERFORMER_CODES] = element("SQ", *codes)
    organizations = [text_of(one, _PERFORMER_ORGANIZATION) for one in people]
    if any(organizations):
        told[_PERFORMER_ORGANIZATION] = element("LO", next(filter(None, organizations)))
    return _report(uid, 5, told)


def message_id(number: int) -> int:
    """The Message ID (0000,0110) of a subscriber's report: its number, from 1 on, as far as 16 bits go."""
    return (number - 1) % MESSAGE_IDS + 1


def message(number: int, body: str) -> str:
    """A report as it is sent."""
    return f'{_HEAD}"00000110":{{"vr":"US","Value":[{message_id(number)}]}},{body[1:]}'


def tell_all(sql: Transaction, workitem: int, reports: Sequence[str]) -> None:
    """Queue reports for all who are subscribed to a workitem."""
    rows = sql.rows("select subscriber_id from hilum.worklist_subscription where workitem_id = %s", (workitem,))
    tell(sql, [cast("int", row["subscriber_id"]) for row in rows], reports)


def tell(sql: Transaction, subscribers: Sequence[int], reports: Sequence[str]) -> None:
    """Queue reports for subscribers. Their rows stay locked, so that numbers run in the order of the changes."""
    if not subscribers or not reports:
        return
    ids = list(subscribers)
    sql.rows("select from hilum.worklist_subscriber where id = any(%s) order by id for no key update", (ids,))
    sql.rows(_QUEUE, {"ids": ids, "bodies": list(reports), "count": len(reports)})
    sql.rows(_BOUND, (MAX_KEPT, ids))
    # A payload has less than 8000 bytes; an empty one is for everybody.
    sql.rows("select pg_notify(%s, %s)", (CHANNEL, ",".join(map(str, ids)) if len(ids) <= _NAMED_AT_MOST else ""))


def _report(uid: str, event_type: int, told: Mapping[str, Element]) -> str:
    data = dict(told) | {
        AFFECTED_SOP_INSTANCE_UID: element("UI", uid),
        _EVENT_TYPE: element("US", event_type),
    }
    return _encode(dict(sorted(data.items()))).decode()


# The SOP class is always UPS Push (PS3.4 section CC.2.4.3); 256 is N-EVENT-REPORT-RQ.
_HEAD: Final = f'{{"00000002":{{"vr":"UI","Value":["{UPS_PUSH}"]}},"00000100":{{"vr":"US","Value":[256]}},'
_QUEUE: Final[LiteralString] = """
  with numbered as (
    update hilum.worklist_subscriber set last_number = last_number + %(count)s where id = any(%(ids)s)
    returning id, last_number - %(count)s as before
  )
  insert into hilum.worklist_report (subscriber_id, number, body)
  select n.id, n.before + r.place, r.body from numbered n, unnest(%(bodies)s::text[]) with ordinality r(body, place)
"""
_BOUND: Final[LiteralString] = """
  delete from hilum.worklist_report r using hilum.worklist_subscriber s
  where r.subscriber_id = s.id and r.number <= s.last_number - %s and s.id = any(%s)
"""
