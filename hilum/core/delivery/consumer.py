"""What a consumer of events is to the courier: a name with a durable cursor, what it wants, and how an event is handed
to it. An event that it does not take comes back as `Undelivered`, with what is to be done about it."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import sqlalchemy as sa

from hilum.core.events import EventRow

CloudEvent: TypeAlias = Mapping[str, object]
Blame: TypeAlias = Literal["event", "consumer", "either"]


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Why an event was not taken, and what to do about it.

    Attributes
    ----------
    reason
        A sentence that people see; it holds no patient data.
    status
        What an HTTP server answered.
    tries
        After how many attempts the event becomes a dead letter; None for as many as the settings say.
    after
        Seconds that the consumer wants to be left alone.
    blame
        Whose fault it is: the event's, which is tried again by itself; the consumer's, which cannot be reached at all,
        so that all its events wait; or either's, so that they wait for a while and then others are tried.
    """

    reason: str
    status: int | None = None
    tries: int | None = None
    after: float = 0.0
    blame: Blame = "event"


# Adds to events what leaves this Hilum with them, if anything.
Enrich: TypeAlias = Callable[[Sequence[CloudEvent]], Sequence[CloudEvent]]
Deliver: TypeAlias = Callable[[Sequence[CloudEvent]], Generator[Undelivered | None]]


@dataclass(frozen=True, slots=True)
class Consumer:
    """One who is told of events, by one process at a time.

    Attributes
    ----------
    name
        Of its cursor, and of its lock.
    deliver
        Hands events over in order and tells of each in turn what became of it; None is that it was taken. It is not
        asked on behind one that was not. It may end early, when the consumer is to be told nothing now.
    wanted
        Which rows of ``hilum.event`` it is told of.
    batch
        How many events are given to ``deliver`` at once.
    recorded
        Whether what was delivered is listed too, beside what was not.
    """

    name: str
    deliver: Deliver
    wanted: sa.ColumnElement[bool] = field(default_factory=sa.true)
    batch: int = 100
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Consumers of one kind.

    Attributes
    ----------
    name
        What a worker is told to serve it by.
    consumers
        Gives those that there are now.
    at_once
        How many of them a process serves side by side, so that many slow ones do not take it whole.
    begins
        Whether the cursor of one that is new begins at the first event there is; otherwise somebody else makes it.
    """

    name: str
    consumers: Callable[[], Sequence[Consumer]]
    at_once: int
    begins: bool = True


def wanted(types: Sequence[str] = (), sources: Sequence[str] = ()) -> sa.ColumnElement[bool]:
    """Select events by type and by key of the source; an empty list takes all."""
    return sa.and_(
        EventRow.type.in_(types) if types else sa.true(),
        EventRow.source.in_(sources) if sources else sa.true(),
    )
