"""Brings events to their consumers, in every worker: wakes when PostgreSQL tells of a new event, looks by itself every
few seconds, and serves each consumer in a thread of its own while it holds its lock, which no other process then has.

An event that is refused is tried again with back-off. The first few times later events wait for it, so that the order
is kept; then they go on, and it is tried now and then until it becomes a dead letter. A consumer that cannot be reached
at all loses nothing and is asked less and less often, until the settings' patience ends. Where an answer leaves open
which of the two it is, the event is put aside after a while and the next one tells."""

import threading
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, LiteralString

import psycopg
import structlog

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.delivery.consumer import Consumer, Group, Undelivered
from hilum.core.delivery.ledger import Failed, Ledger, Outage, Overtaken
from hilum.core.errors import HilumError

POLL_SECONDS: Final = 5.0
HOLD_ATTEMPTS: Final = 4
PROBE_FAILURES: Final = 8
LONGEST_WAIT_SECONDS: Final = 600.0
_TICK_SECONDS: Final = 0.5
_BUSY_TICK_SECONDS: Final = 0.05
_LOOKS_PER_SECOND: Final = 5
_SAVE_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 5.0
_LOCK: Final = 484_511
# The server gives the locks of a machine that vanished to others once it has missed its signs of life.
_SESSION: Final[LiteralString] = """
  set application_name = 'hilum-delivery'; listen hilum_event;
  set tcp_keepalives_idle = 15; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3
"""
_ENDED: Final = Undelivered("")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Manners:
    """How often and how long delivery is tried.

    Attributes
    ----------
    delays
        Seconds between the attempts of an event that is refused.
    patience
        How long a consumer may be out of reach before its events become dead letters.
    """

    delays: Sequence[float]
    patience: timedelta

    @classmethod
    def of(cls, settings: Settings) -> "Manners":
        """As the settings say."""
        return cls(tuple(settings.delivery_retry_seconds), timedelta(hours=settings.delivery_patience_hours))

    def gives_up(self, outage: Outage) -> bool:
        """Whether a consumer has been out of reach for too long."""
        return outage.lasts > self.patience

    def failed(self, event_id: int, why: Undelivered, attempts: int, outage: Outage) -> Failed:
        """What becomes of an event that was not taken.

        Parameters
        ----------
        event_id
            Its place in the feed.
        why
            What went wrong.
        attempts
            How often it has been tried, with this time.
        outage
            For how long the consumer cannot be reached.
        """
        tries = min(why.tries or len(self.delays) + 1, len(self.delays) + 1)
        if self.gives_up(outage) or (attempts >= tries and outage.failures < PROBE_FAILURES):
            return Failed(event_id, why, attempts, due=None, holds=False)
        due = max(self.delays[min(attempts, len(self.delays)) - 1], why.after)
        return Failed(event_id, why, attempts, due, holds=why.blame == "event" and attempts < HOLD_ATTEMPTS)


class Courier:
    """Delivery by this process.

    Parameters
    ----------
    database
        Whose events.
    settings
        How often delivery is tried, and the address that stands in events.
    groups
        To whom.
    """

    def __init__(self, database: Database, settings: Settings, groups: Sequence[Group]) -> None:
        self._database = database
        self._ledger = Ledger(database, settings.base_url)
        self._manners = Manners.of(settings)
        self._groups = groups
        self._stop = threading.Event()

    @contextmanager
    def running(self, only: Collection[str] = ()) -> Generator[None]:
        """Deliver in the background as long as the block runs.

        Parameters
        ----------
        only
            Names of groups (``handlers``, ``webhooks``, ``nats``, ``sites``) or of single handlers; empty for all.
        """
        thread = threading.Thread(target=self._watch, args=(frozenset(only),), name="courier", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(_STOP_SECONDS)

    def _watch(self, only: frozenset[str]) -> None:
        while not self._stop.is_set():
            round_ = _Round(self._ledger, self._manners, self._groups, only, self._stop)
            try:
                self._ledger.begin(round_.names())
                with psycopg.connect(self._database.conninfo, autocommit=True) as connection:
                    connection.execute(_SESSION)
                    try:
                        round_.serve(connection)
                    finally:
                        round_.end()  # while the locks are still held, if the connection is
            except (psycopg.Error, HilumError) as error:
                log.warning("delivery.database_lost", reason=type(error).__name__)
            except Exception:
                log.exception("delivery.failed")
            self._stop.wait(POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Round:
    """What goes on as long as one connection lives, for the locks live as long."""

    ledger: Ledger
    manners: Manners
    groups: Sequence[Group]
    only: frozenset[str]
    stop: threading.Event
    over: threading.Event = field(default_factory=threading.Event)
    runs: dict[str, tuple[str, threading.Thread]] = field(default_factory=dict[str, tuple[str, threading.Thread]])

    def names(self) -> list[str]:
        return [consumer.name for group in self.groups if group.begins for consumer in self._served(group)]

    def serve(self, connection: psycopg.Connection) -> None:
        look_at = 0.0
        while not self.stop.is_set():
            ended = [name for name, (_, thread) in self.runs.items() if not thread.is_alive()]
            for name in ended:
                connection.execute("select pg_advisory_unlock(%s, hashtext(%s))", (_LOCK, name))
                del self.runs[name]
            if ended or time.monotonic() >= look_at:
                look_at = time.monotonic() + self._look(connection)
                self.stop.wait(1 / _LOOKS_PER_SECOND)
            wait = min(max(look_at - time.monotonic(), 0.0), _BUSY_TICK_SECONDS if self.runs else _TICK_SECONDS)
            if list(connection.notifies(timeout=wait, stop_after=1)):
                look_at = 0.0

    def end(self) -> None:
        """Ask the consumers' threads to stop, and wait a little for those that do."""
        self.over.set()
        deadline = time.monotonic() + _STOP_SECONDS / 2
        for _, thread in self.runs.values():
            thread.join(max(deadline - time.monotonic(), 0.0))

    def _served(self, group: Group) -> list[Consumer]:
        every = not self.only or group.name in self.only
        return [consumer for consumer in group.consumers() if every or consumer.name in self.only]

    def _look(self, connection: psycopg.Connection) -> float:
        """Serve those who have something to be told; returns in how many seconds to look again."""
        soonest = POLL_SECONDS
        for group in self.groups:
            idle = {consumer.name: consumer for consumer in self._served(group) if consumer.name not in self.runs}
            waits = self.ledger.waits(idle) if idle else {}
            free = group.at_once - sum(1 for name, _ in self.runs.values() if name == group.name)
            for name, wait in sorted(waits.items(), key=lambda item: item[1]):
                if wait > 0:
                    soonest = min(soonest, wait)
                elif free > 0 and self._lock(connection, name):
                    free -= 1
                    self._start(group, idle[name])
        return soonest

    def _lock(self, connection: psycopg.Connection, name: str) -> bool:
        row = connection.execute("select pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK, name)).fetchone()
        return bool(row and row[0])

    def _start(self, group: Group, consumer: Consumer) -> None:
        run = _Run(self.ledger, self.manners, consumer, self.over)
        thread = threading.Thread(target=run.deliver, name=f"delivery-{consumer.name}", daemon=True)
        self.runs[consumer.name] = (group.name, thread)
        thread.start()


@dataclass(frozen=True, slots=True)
class _Run:
    """One consumer, served until nothing is left for it or it has to be waited for."""

    ledger: Ledger
    manners: Manners
    consumer: Consumer
    over: threading.Event

    def deliver(self) -> None:
        name = self.consumer.name
        try:
            while not self.over.is_set() and self._again() and not self.ledger.held(name) and self._next():
                pass
        except Overtaken:
            log.info("delivery.overtaken", consumer=name)
        except HilumError as error:
            log.warning("delivery.interrupted", consumer=name, reason=str(error))
            self.over.wait(POLL_SECONDS)
        except Exception:
            log.exception("delivery.failed", consumer=name)
            self.over.wait(POLL_SECONDS)

    def _again(self) -> bool:
        """Try again what is due; tells whether the consumer can be reached."""
        for retry in self.ledger.retries(self.consumer):
            if self.over.is_set():
                return False
            with closing(self.consumer.deliver([retry.event])) as outcomes:
                why = next(outcomes, _ENDED)
            if why is _ENDED:
                return False
            if why is None:
                self.ledger.retried(self.consumer, retry)
            elif not self._refused(retry.event_id, why, retry.attempts):
                return False
        return True

    def _next(self) -> bool:
        """Deliver the next batch; tells whether there may be more that can be delivered now."""
        before = self.ledger.position(self.consumer.name)
        events, end = self.ledger.following(self.consumer, before)
        done: list[int] = []
        told = 0
        saved = time.monotonic()
        with closing(self.consumer.deliver(events)) as outcomes:
            for event, why in zip(events, outcomes, strict=False):
                event_id = int(str(event["sequence"]))
                if why is not None:
                    if done:
                        self.ledger.advance(self.consumer, before, done[-1], done)
                    return self._refused(event_id, why)
                done.append(event_id)
                told += 1
                if self.over.is_set():
                    break
                if time.monotonic() - saved > _SAVE_SECONDS:
                    self.ledger.advance(self.consumer, before, event_id, done)
                    before, done, saved = event_id, [], time.monotonic()
        whole = told == len(events)
        position = end if whole else (done[-1] if done else before)
        if position > before:
            self.ledger.advance(self.consumer, before, position, done)
        return whole and len(events) == self.consumer.batch

    def _refused(self, event_id: int, why: Undelivered, attempts: int | None = None) -> bool:
        """Write down what was not taken, perhaps after attempts before; tells whether others may be tried now."""
        name = self.consumer.name
        outage = Outage(0, timedelta())
        if why.blame != "event":
            outage = self.ledger.unreachable(name, why, LONGEST_WAIT_SECONDS)
            waits = why.blame == "consumer" or (attempts is None and outage.failures < PROBE_FAILURES)
            if waits and not self.manners.gives_up(outage):
                return False
        failed = self.manners.failed(event_id, why, (attempts or 0) + 1, outage)
        self.ledger.fail(name, self.ledger.position(name), failed)
        log.warning("delivery.dead" if failed.due is None else "delivery.refused", consumer=name, event_id=event_id)
        # One that was put aside because of an answer that may be its own fault must not keep others from being tried.
        return not failed.holds and (why.blame == "event" or (why.blame == "either" and attempts is not None))
