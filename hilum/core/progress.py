"""What people see of work that takes long: the row in ``job`` with its progress, counts, reasons and log. Who does the
work does not matter here; ``hilum.core.jobs`` queues it, a command at a terminal does it itself."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core.database import Database, Table

Json: TypeAlias = dict[str, object]

_WRITE_EVERY_SECONDS = 0.25
_EXAMPLES = 5
_LOG_LINES = 200


class JobRow(Table):
    """One piece of long work, as people see it."""

    __tablename__ = "job"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    title: Mapped[str] = mapped_column(sa.Text)
    source: Mapped[str] = mapped_column(sa.Text, server_default="")
    state: Mapped[str] = mapped_column(sa.Text, server_default="queued", index=True)
    arguments: Mapped[Json] = mapped_column(JSONB, server_default="{}")
    done: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    total: Mapped[int | None] = mapped_column(sa.BigInteger)
    counts: Mapped[Json] = mapped_column(JSONB, server_default="{}")
    reasons: Mapped[list[Json]] = mapped_column(JSONB, server_default="[]")
    log: Mapped[list[Json]] = mapped_column(JSONB, server_default="[]")
    attempts: Mapped[int] = mapped_column(server_default="0")
    queue_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    heartbeat_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
    started_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))


class Cancelled(Exception):
    """A person asked for the job to stop."""


@dataclass(slots=True)
class Reason:
    """Why some things were left out: how many, and a few of them by name."""

    code: str
    reason: str
    count: int = 0
    examples: list[str] = field(default_factory=list[str])


class Progress:
    """What a running job tells: how far it is, what it counted, what it left out and why.

    It is written to the job's row at most four times a second, and shown at once where a command wants to show it.
    """

    def __init__(
        self,
        database: Database,
        job_id: int,
        *,
        aborted: Callable[[], bool] = lambda: False,
        shown: Callable[[int, int | None], None] = lambda _done, _total: None,
    ) -> None:
        self.job_id = job_id
        self.done = 0
        self.total: int | None = None
        self.counts: dict[str, int] = {}
        self.reasons: dict[str, Reason] = {}
        self.lines: list[Json] = []
        self._database = database
        self._aborted = aborted
        self._shown = shown
        self._written = 0.0

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the job's counts."""
        self.counts[name] = self.counts.get(name, 0) + by

    def leave_out(self, code: str, reason: str, example: str) -> None:
        """Count a thing that was left out, with its reason."""
        entry = self.reasons.setdefault(code, Reason(code, reason))
        entry.count += 1
        if len(entry.examples) < _EXAMPLES:
            entry.examples.append(example if reason == entry.reason else f"{example}: {reason}")

    def expect(self, by: int) -> None:
        """Learn that there is so much more to do."""
        self.total = (self.total or 0) + by

    def say(self, message: str) -> None:
        """Add a line to the job's log."""
        self.lines.append({"time": datetime.now(UTC).isoformat(), "message": message})
        del self.lines[:-_LOG_LINES]

    def step(self, by: int = 1) -> None:
        """Move on, and write how far it is when the last time is long enough ago.

        Raises
        ------
        Cancelled
            Someone asked for the job to stop.
        """
        self.done += by
        self._shown(self.done, self.total)
        if time.monotonic() - self._written >= _WRITE_EVERY_SECONDS:
            self.write()
        if self._aborted():
            raise Cancelled

    def write(self, **also: object) -> None:
        """Write the job's row now."""
        self._written = time.monotonic()
        values = self.summary() | {"heartbeat_at": sa.func.now()} | also
        with self._database.transaction() as transaction:
            transaction.connection.execute(sa.update(JobRow).where(JobRow.id == self.job_id).values(values))

    def finish(self, state: str) -> None:
        """Write how the job ended."""
        self.write(state=state, finished_at=sa.func.now())

    def summary(self) -> Json:
        """What is known so far, in the words of the job's row."""
        reasons = [
            {"code": r.code, "reason": r.reason, "count": r.count, "examples": r.examples}
            for r in sorted(self.reasons.values(), key=lambda r: -r.count)
        ]
        return {
            "done": self.done,
            "total": self.total,
            "counts": self.counts,
            "reasons": reasons,
            "log": self.lines,
        }


@contextmanager
def job_here(
    database: Database, kind: str, title: str, source: str, shown: Callable[[int, int | None], None]
) -> Generator[Progress]:
    """Do work in this process (a command at a terminal) and show it as a job."""
    values = {
        "kind": kind, "title": title, "source": source, "state": "running", "attempts": 1,
        "started_at": sa.func.now(), "heartbeat_at": sa.func.now(),
    }  # fmt: skip
    with database.transaction() as transaction:
        job_id = transaction.connection.execute(sa.insert(JobRow).values(values).returning(JobRow.id)).scalar_one()
    progress = Progress(database, job_id, shown=shown)
    try:
        yield progress
    except (SystemExit, KeyboardInterrupt, Cancelled):
        progress.finish("cancelled")
        raise
    except BaseException:
        progress.finish("failed")
        raise
    progress.finish("succeeded")
