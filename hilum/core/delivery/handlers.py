"""Handlers: functions of other rooms that the workers call with each event, in order."""

import re
from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeAlias

import sqlalchemy as sa
import structlog

from hilum.core.delivery.consumer import CloudEvent, Consumer, Deliver, Group, Undelivered, wanted
from hilum.core.errors import HilumError, Invalid, Unavailable

GROUP: Final = "handlers"
RESERVED: Final = ("nats", "sites", "webhooks", GROUP)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
log = structlog.get_logger()

Handle: TypeAlias = Callable[[CloudEvent], None]


class Handlers:
    """The handlers that this process knows, each with a cursor of its own."""

    def __init__(self) -> None:
        self._consumers: dict[str, Consumer] = {}

    def on(
        self, name: str, types: Sequence[str], handle: Handle, *, where: sa.ColumnElement[bool] | None = None
    ) -> None:
        """Have a function called with each event of some types, in the order of the feed, from its beginning.

        One worker at a time calls it. What it raises is retried with back-off, and becomes a dead letter at last, while
        later events go on; ``Unavailable`` says instead that what it needs cannot be reached, and all its events wait.
        It may be called twice with one event, which then has the same ``id``.

        Parameters
        ----------
        name
            Of the handler's cursor: what was handled is remembered by it for ever, so it is not changed.
        types
            Such as ``hilum.study.revised.v1``; empty for all.
        handle
            Called in a thread of its own with the event as CloudEvents JSON, as ``hilum.core.events.read_events`` gives
            it. What it has done is durable when it returns. Nobody ends it, so it has time limits of its own.
        where
            A condition on rows of ``hilum.event``, asked anew for each batch: an event for which it does not hold is
            passed over unread.

        Raises
        ------
        Invalid
            The name is none, or is taken.
        """
        if not _NAME.fullmatch(name) or name in RESERVED or name in self._consumers:
            raise Invalid(f"'{name}' cannot be a handler's name: it is taken, or not of a-z, 0-9 and hyphens.")
        chosen = wanted(types) if where is None else sa.and_(wanted(types), where)
        self._consumers[name] = Consumer(name, _calling(name, handle), chosen)

    def consumers(self) -> Sequence[Consumer]:
        """All of them."""
        return tuple(self._consumers.values())

    def group(self) -> Group:
        """All of them, for the courier; each may run at any time, for one must not wait for another."""
        return Group(GROUP, self.consumers, at_once=len(self._consumers) + 1)


def _calling(name: str, handle: Handle) -> Deliver:
    def deliver(events: Sequence[CloudEvent]) -> Generator[Undelivered | None]:
        for event in events:
            yield _called(name, handle, event)

    return deliver


def _called(name: str, handle: Handle, event: CloudEvent) -> Undelivered | None:
    try:
        handle(event)
    except Unavailable as error:
        return Undelivered(str(error), blame="consumer")
    except HilumError as error:
        return Undelivered(str(error))
    except Exception as error:
        log.exception("delivery.handler_failed", handler=name, event_id=event["id"])
        return Undelivered(f"An unexpected error ({type(error).__name__}); the log of the workers tells where.")
    return None
