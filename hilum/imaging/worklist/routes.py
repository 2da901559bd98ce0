"""The addresses of UPS-RS (PS3.18 chapter 11) below the base of DICOMweb, and the counts for the page. Endpoints read
the request, call one function of this room and tell how it ended, with the texts that the standard prescribes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from hilum.core.errors import HilumError
from hilum.core.http import PROBLEMS, Model, Router, problem, refuse_unknown_parameters
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.dicomweb.doors import BASES, Door, Ranges, Root, Source
from hilum.imaging.worklist import payload, search, subscriptions, workitems
from hilum.imaging.worklist.courier import Courier
from hilum.imaging.worklist.dataset import check_ae_title, text_of
from hilum.imaging.worklist.problems import Refusal, bad
from hilum.imaging.worklist.reports import MESSAGE_IDS
from hilum.imaging.worklist.requirements import (
    AFFECTED_SOP_INSTANCE_UID,
    CANCELED,
    SOP_INSTANCE_UID,
    STATE,
    TRANSACTION_UID,
)

ITEM: Final = "/workitems/{workitem}"
SUBSCRIBER: Final = ITEM + "/subscribers/{ae_title}"
NOTIFICATIONS: Final = "/subscribers/{ae_title}"
CREATED_OTHERWISE: Final = "The Workitem was created with modifications."
ALREADY: Final = "The UPS is already in the requested state of {}."
_UID_NAMES: Final = ("workitem", "uid", "AffectedSOPInstanceUID")
_TRANSACTION_NAMES: Final = ("transaction-uid", "transaction")
_REQUESTING_AE: Final = "00741236"
_UNKNOWN_AE: Final = "UNKNOWN"


async def create_workitem(request: Request, archive: TheArchive, source: Source, root: Root) -> Response:
    """Create a workitem (PS3.18 section 11.4); its UID stands in the query or in the data set, or is made."""
    data = await payload.read_data_set(request)
    uid = _one_uid(
        "workitem",
        _in_query(request, _UID_NAMES),
        text_of(data, AFFECTED_SOP_INSTANCE_UID),
        text_of(data, SOP_INSTANCE_UID),
    )

    def work(ref: SourceRef) -> Response:
        made, modified = workitems.create(archive.database, ref, data, uid, WHO)
        place = f"{root}/workitems/{made}"
        answer = Response(status_code=201, headers={"Location": place, "Content-Location": place})
        return _warned(answer, root, CREATED_OTHERWISE) if modified else answer

    return await _done(archive, source, root, work)


async def search_workitems(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root
) -> Response:
    """Search for workitems (PS3.18 section 11.9), the most urgent and oldest first."""
    payload.check_acceptable(ranges)

    def work(ref: SourceRef) -> Response:
        wanted = search.parse_search(request.query_params.multi_items())
        with archive.database.transaction() as sql:
            found = search.find(sql.driver, ref.id, wanted)
        answer = payload.give_data_sets(request, ranges, found.items)
        answer.headers["X-Total-Count"] = str(found.total)
        remaining = found.total - wanted.offset - len(found.items)
        if found.items and remaining > 0:
            _warned(answer, root, f"There are {remaining} additional results that can be requested")
        for warning in wanted.warnings:
            _warned(answer, root, warning)
        return answer

    return await _done(archive, source, root, work)


async def retrieve_workitem(
    request: Request, archive: TheArchive, ranges: Ranges, source: Source, root: Root, workitem: str
) -> Response:
    """Retrieve a workitem (PS3.18 section 11.5), never with its Transaction UID."""
    uid = _checked(workitem)
    return await _done(
        archive,
        source,
        root,
        lambda ref: payload.give_data_set(request, ranges, workitems.retrieve(archive.database, ref, uid)),
    )


async def update_workitem(request: Request, archive: TheArchive, source: Source, root: Root, workitem: str) -> Response:
    """Update a workitem (PS3.18 section 11.6); the Transaction UID stands in the query or in the data set."""
    uid = _checked(workitem)
    data = await payload.read_data_set(request)
    transaction = _one_uid("transaction", _in_query(request, _TRANSACTION_NAMES), text_of(data, TRANSACTION_UID))

    def work(ref: SourceRef) -> Response:
        workitems.update(archive.database, ref, uid, data, transaction, WHO)
        return Response(headers={"Content-Location": f"{root}/workitems/{uid}"})

    return await _done(archive, source, root, work)


async def change_state(request: Request, archive: TheArchive, source: Source, root: Root, workitem: str) -> Response:
    """Claim, complete or cancel a workitem (PS3.18 section 11.7)."""
    uid = _checked(workitem)
    data = await payload.read_data_set(request)
    state, transaction = text_of(data, STATE), text_of(data, TRANSACTION_UID)

    def work(ref: SourceRef) -> Response:
        had = workitems.change_state(archive.database, ref, uid, state, transaction, WHO)
        answer = Response(headers={"Content-Location": f"{root}/workitems/{uid}"})
        return _warned(answer, root, ALREADY.format(had)) if had else answer

    return await _done(archive, source, root, work)


async def request_cancel(request: Request, archive: TheArchive, source: Source, root: Root, workitem: str) -> Response:
    """Ask that a workitem be canceled (PS3.18 section 11.8)."""
    uid = _checked(workitem)
    data = await payload.read_data_set(request, optional=True)
    requester = check_ae_title(text_of(data, _REQUESTING_AE) or _UNKNOWN_AE)
    silent = timedelta(hours=archive.settings.worklist_silent_hours)

    def work(ref: SourceRef) -> Response:
        was = workitems.request_cancel(archive.database, ref, uid, data, requester, WHO, silent)
        answer = Response(status_code=202)
        return _warned(answer, root, ALREADY.format(CANCELED)) if was else answer

    return await _done(archive, source, root, work)


async def subscribe(
    request: Request, archive: TheArchive, source: Source, root: Root, workitem: str, ae_title: str
) -> Response:
    """Subscribe to a workitem, to all, or to those that match a filter (PS3.18 section 11.10)."""
    uid, title = _checked(workitem), check_ae_title(ae_title)
    wanted = request.query_params.get("deletionlock", "false").lower()
    if wanted not in ("true", "false"):
        raise bad("deletionlock is true or false.")
    lock = wanted == "true"

    def work(ref: SourceRef) -> Response:
        if uid in (subscriptions.ALL, subscriptions.FILTERED):
            given = request.query_params.multi_items()
            keys = search.parse_filter(given) if uid == subscriptions.FILTERED else None
            subscriptions.subscribe_widely(archive.database, ref, title, keys, deletion_lock=lock)
        else:
            subscriptions.subscribe(archive.database, ref, uid, title, deletion_lock=lock)
        socket = f"ws{root.removeprefix('http')}/subscribers/{title}"
        return Response(status_code=201, headers={"Content-Location": socket.replace(" ", "%20")})

    return await _done(archive, source, root, work)


async def unsubscribe(archive: TheArchive, source: Source, root: Root, workitem: str, ae_title: str) -> Response:
    """Unsubscribe (PS3.18 section 11.11); from all: with every subscription and lock of the subscriber."""
    uid, title = _checked(workitem), check_ae_title(ae_title)

    def work(ref: SourceRef) -> Response:
        subscriptions.unsubscribe(archive.database, ref, uid, title)
        return Response()

    return await _done(archive, source, root, work)


async def suspend(archive: TheArchive, source: Source, root: Root, workitem: str, ae_title: str) -> Response:
    """Suspend a subscription to all (PS3.18 section 11.12): what there is stays subscribed to."""
    uid, title = _checked(workitem), check_ae_title(ae_title)
    if uid not in (subscriptions.ALL, subscriptions.FILTERED):
        raise bad("Only a subscription to the worklist can be suspended; delete one to a workitem.")

    def work(ref: SourceRef) -> Response:
        subscriptions.suspend(archive.database, ref, uid, title)
        return Response()

    return await _done(archive, source, root, work)


def upgrade_required(ae_title: str) -> Response:
    """This address is for WebSockets (PS3.18 section 8.10.4)."""
    del ae_title
    raise HTTPException(426, headers={"Upgrade": "websocket", "Connection": "Upgrade"})


async def notify(websocket: WebSocket) -> None:
    """Open a notification connection (PS3.18 section 8.10.4)."""
    archive: Archive = websocket.app.state.archive
    courier: Courier = websocket.app.state.courier
    try:
        title = check_ae_title(websocket.path_params["ae_title"])
        after = _seen(websocket.query_params.get("after"))
        key = websocket.path_params.get("key", "default")
        source = await anyio.to_thread.run_sync(archive.source, key)
        await courier.serve(websocket, source, title, after)
    except HilumError as error:
        await websocket.send_denial_response(problem(error.status, error.title, str(error)))
    except WebSocketDisconnect:
        pass


def _seen(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > MESSAGE_IDS:
        raise bad(f"after is the Message ID of a report, from 1 to {MESSAGE_IDS}, or 0 for none.")
    return int(text)


async def _done(archive: Archive, source: str, root: str, work: Callable[[SourceRef], Response]) -> Response:
    """Do the work in a thread; a refusal carries the Warning that the standard prescribes."""
    try:
        return await anyio.to_thread.run_sync(lambda: work(archive.source(source)))
    except Refusal as error:
        answer = problem(error.status, error.title, str(error))
        return _warned(answer, root, error.warning) if error.warning else answer


def _warned(answer: Response, root: str, text: str) -> Response:
    answer.headers.append("Warning", f"299 {root}: {text}")
    return answer


def _checked(workitem: str) -> str:
    if not check_uid(workitem):
        raise bad("What stands in the path in a Workitem UID's place is not a UID (PS3.5 section 9).")
    return workitem


def _in_query(request: Request, names: tuple[str, ...]) -> str:
    """A UID of the query, by a name, or as PS3.18 writes it: ``?1.2.3``."""
    for name, value in request.query_params.multi_items():
        if name in names and value:
            return value
        if not value and check_uid(name):
            return name
    return ""


def _one_uid(kind: str, *given: str) -> str:
    """The one UID that a request names, in whichever of the places; empty when in none."""
    found = {uid for uid in given if uid}
    if len(found) > 1:
        raise bad(f"The request names two {kind} UIDs.")
    uid = found.pop() if found else ""
    if uid and not check_uid(uid):
        raise bad(f"The {kind} UID is not a UID (PS3.5 section 9).")
    return uid


class WorkitemCounts(Model):
    """How many workitems are in each state."""

    scheduled: int
    in_progress: int
    completed: int
    canceled: int


api = Router(prefix=API, tags=["worklist"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)


@api.get("/workitems/counts")
def get_workitem_counts(archive: TheArchive, source: str | None = None) -> WorkitemCounts:
    """Workitems by state."""
    found = workitems.count_states(archive.database, source)
    return WorkitemCounts.model_validate({name.lower().replace(" ", "_"): count for name, count in found.items()})


DOORS: Final = (
    Door("GET", "/workitems", search_workitems, payload.OFFERS, query=search.PARAMETERS),
    Door("POST", "/workitems", create_workitem, takes=payload.OFFERS, query=_UID_NAMES[1:]),
    Door("GET", ITEM, retrieve_workitem, payload.OFFERS),
    Door("POST", ITEM, update_workitem, takes=payload.OFFERS, query=_TRANSACTION_NAMES),
    Door("PUT", ITEM + "/state", change_state, takes=payload.OFFERS),
    Door("POST", ITEM + "/cancelrequest", request_cancel, takes=payload.OFFERS),
    Door("POST", SUBSCRIBER, subscribe),
    Door("DELETE", SUBSCRIBER, unsubscribe),
    Door("POST", SUBSCRIBER + "/suspend", suspend),
    Door("GET", NOTIFICATIONS, upgrade_required),
)


def _routers() -> list[APIRouter]:
    sockets = APIRouter()
    for base in BASES:
        sockets.add_api_websocket_route(base + NOTIFICATIONS, notify)
    return [api, sockets]


routers: Final = _routers()
"""Beside the doors, which lie below the base URLs of DICOMweb: the counts, and the addresses of WebSockets."""
