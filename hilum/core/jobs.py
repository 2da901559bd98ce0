"""The queue of work that takes long. The row in ``job`` is what people see of it (``hilum.core.progress``);
``procrastinate`` queues it, retries it, and moves it to another worker when one dies. Every kind may run twice with the
same result."""

import asyncio
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import procrastinate
import sqlalchemy as sa
import structlog
from procrastinate import RetryStrategy
from procrastinate.exceptions import AlreadyEnqueued, JobAborted
from procrastinate.job_context import AbortReason
from psycopg_pool import PoolTimeout

from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, HilumError, Invalid, NotFound, Unavailable
from hilum.core.progress import Cancelled, JobRow, Progress

TASK = "hilum.run_job"
UPKEEP: Final = "upkeep"
KINDS: Final = {
    "jobs": "what people see under Jobs: imports, uploads and other long work",
    UPKEEP: "what the archive does by itself: records, purging, metadata made beforehand, jobs of dead workers",
    "studies": "completing studies",
    "delivery": "events to webhooks, NATS and sites",
    "fhir": "FHIR resources and their publication",
    "routing": "sending instances and studies on to other archives",
    "remote": "fetching images from remote archives",
}
"""What a worker can be kept to, by the name of its queue."""
ATTEMPTS = 5
HEARTBEAT_SECONDS = 3
STALLED_SECONDS = 12

log = structlog.get_logger()

Run: TypeAlias = Callable[[Mapping[str, object], Progress], None]


def queue_of(task: str) -> str:
    """The queue of a task: its name's first word (after ``hilum.``) where that is one of ``KINDS``, else upkeep."""
    word = task.removeprefix("hilum.").partition(".")[0]
    return word if word in KINDS else UPKEEP


def check_kinds(names: Iterable[str]) -> tuple[str, ...]:
    """Give the kinds of work that a worker is kept to; none stands for all.

    Raises
    ------
    Invalid
        A name is none of ``KINDS``.
    """
    kinds = tuple(dict.fromkeys(names))
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise Invalid(f"A worker can be kept to {', '.join(KINDS)}; there is no {', '.join(unknown)}.")
    return kinds


class Jobs:
    """The kinds of job that this process knows, and the queue that they go through."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._kinds: dict[str, Run] = {}
        self._wakes: dict[str, Callable[[], object]] = {}
        self.queue = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=database.conninfo))
        self._task = self.queue.task(
            name=TASK, queue="jobs", pass_context=True, retry=RetryStrategy(max_attempts=ATTEMPTS, exponential_wait=2)
        )(self._perform)
        self.queue.periodic(cron="* * * * * */10")(
            self.queue.task(
                name="hilum.sweep", queue=UPKEEP, queueing_lock="hilum.sweep", retry=RetryStrategy(max_attempts=2)
            )(self._sweep)
        )

    def add(self, kind: str, run: Run) -> None:
        """Teach this process a kind of job."""
        self._kinds[kind] = run

    def every(self, cron: str, name: str, run: Callable[[], object]) -> Callable[[datetime], None]:
        """Run something every so often in one of the workers, whichever is free; it shows no job.

        Parameters
        ----------
        cron
            When: minute, hour, day, month, weekday, and seconds as a sixth.
        name
            What it is called in the queue; ``queue_of`` tells by it which workers do it.
        run
            Does it; what it raises is logged, and the next time comes all the same.

        Returns
        -------
        callable
            Has it run once more at a moment, unless such a moment is already waited for.
        """

        def task(timestamp: int) -> None:
            del timestamp
            try:
                run()
            except Exception:
                log.exception("jobs.every.failed", name=name)

        queued = self.queue.task(name=name, queue=queue_of(name), queueing_lock=name)(task)
        self.queue.periodic(cron=cron)(queued)
        self._wakes[name] = lambda: queued.defer(timestamp=int(time.time()))

        def once_more(when: datetime) -> None:
            with suppress(AlreadyEnqueued):
                queued.configure(queueing_lock=f"{name}.once_more", schedule_at=when).defer(timestamp=0)

        return once_more

    def wake(self, name: str) -> None:
        """Have what runs every so often run now, unless it is about to."""
        with suppress(AlreadyEnqueued):
            self._wakes[name]()

    def defer(self, transaction: Transaction, kind: str, title: str, source: str = "", **arguments: object) -> int:
        """Queue a job in the transaction of its cause; it exists if and only if that commits.

        Returns
        -------
        int
            The job's id.
        """
        values = {"kind": kind, "title": title, "source": source, "arguments": arguments}
        job_id = transaction.connection.execute(sa.insert(JobRow).values(values).returning(JobRow.id)).scalar_one()
        self._enqueue(transaction, job_id)
        return job_id

    def _enqueue(self, transaction: Transaction, job_id: int) -> None:
        queue_id = self._task.configure(connection=transaction.driver).defer(job_id=job_id)
        values = {"queue_id": queue_id, "state": "queued", "finished_at": None}
        transaction.connection.execute(sa.update(JobRow).where(JobRow.id == job_id).values(values))

    def cancel(self, job_id: int) -> None:
        """Ask a job to stop.

        Raises
        ------
        Conflict
            It has ended already, or runs in a command at a terminal, which only its user can stop.
        NotFound
            There is no such job.
        """
        row = self.get(job_id)
        if row["state"] not in ("queued", "running"):
            raise Conflict(f"Job {job_id} has ended already ({row['state']}).")
        if row["queue_id"] is None:
            raise Conflict(f"Job {job_id} runs in a command at a terminal; stop it there with Ctrl+C.")
        self.queue.job_manager.cancel_job_by_id(row["queue_id"], abort=True)
        if row["state"] == "queued":
            self._set(job_id, state="cancelled", finished_at=sa.func.now())

    def retry(self, job_id: int) -> None:
        """Queue an ended job once more.

        Raises
        ------
        Conflict
            It has not ended, it succeeded, or it ran in a command at a terminal.
        NotFound
            There is no such job.
        """
        row = self.get(job_id)
        if row["state"] not in ("failed", "cancelled"):
            raise Conflict(f"Job {job_id} is {row['state']}; only a failed or cancelled job can be retried.")
        if row["kind"] not in self._kinds or row["queue_id"] is None:
            raise Conflict(f"Job {job_id} ran in a command at a terminal; run the command again.")
        with self.database.transaction() as transaction:
            self._enqueue(transaction, job_id)

    def work(
        self, only: Collection[str] = (), concurrency: int = 2, alive: Callable[[], object] = lambda: None
    ) -> None:
        """Run queued jobs until this process is told to stop.

        Parameters
        ----------
        only
            Which of ``KINDS``; empty for all.
        concurrency
            How many at once.
        alive
            Called every second as long as the worker does its work.
        """
        asyncio.run(self._work(list(only), concurrency, alive))

    async def _work(self, queues: "list[str]", concurrency: int, alive: Callable[[], object]) -> None:
        async def beat() -> None:
            while True:
                alive()
                await asyncio.sleep(1)

        async with self.queue.open_async():
            beating = asyncio.create_task(beat())
            try:
                await self.queue.run_worker_async(
                    queues=queues or None,  # pyright: ignore[reportArgumentType] - None is all
                    concurrency=concurrency,
                    fetch_job_polling_interval=1,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    shutdown_graceful_timeout=5,
                    stalled_worker_timeout=STALLED_SECONDS,
                    delete_jobs="successful",
                    listen_notify=True,
                    install_signal_handlers=True,
                )
            finally:
                beating.cancel()

    def _perform(self, context: procrastinate.JobContext, *, job_id: int) -> None:
        with self.database.transaction() as transaction:
            row = transaction.connection.execute(
                sa.update(JobRow)
                .where(JobRow.id == job_id, JobRow.state.in_(("queued", "running")))
                .values(state="running", attempts=JobRow.attempts + 1, heartbeat_at=sa.func.now(),
                        started_at=sa.func.coalesce(JobRow.started_at, sa.func.now()))
                .returning(JobRow)
            ).first()  # fmt: skip
        if row is None:
            return
        progress = Progress(self.database, job_id, aborted=context.should_abort)
        try:
            self._kinds[row.kind](row.arguments | {"source": row.source}, progress)
        except Cancelled as stopped:
            if context.abort_reason() is AbortReason.SHUTDOWN:
                progress.write(state="queued")
            else:
                progress.finish("cancelled")
            raise JobAborted from stopped
        except HilumError as error:
            progress.say(str(error))
            if isinstance(error, Unavailable) and row.attempts < ATTEMPTS:  # it passes: the queue tries again
                progress.write(state="queued")
                raise
            progress.finish("failed")
        except Exception:
            log.exception("job.failed", job_id=job_id, kind=row.kind, attempt=row.attempts)
            progress.say("An unexpected error; the log of the server tells where.")
            if row.attempts >= ATTEMPTS:
                progress.finish("failed")
                return
            progress.write(state="queued")
            raise
        else:
            progress.finish("succeeded")

    async def _sweep(self, timestamp: int) -> None:
        """Give the jobs of dead workers to living ones, and mark those of dead commands as failed."""
        del timestamp
        manager = self.queue.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_SECONDS):
            if job.id is not None:
                await manager.retry_job_by_id_async(job.id, retry_at=datetime.now(UTC))
        await asyncio.to_thread(self._fail_dead_commands)

    def _fail_dead_commands(self) -> None:
        dead = datetime.now(UTC) - timedelta(seconds=60)
        with self.database.transaction() as transaction:
            transaction.connection.execute(
                sa.update(JobRow)
                .where(JobRow.state == "running", JobRow.queue_id.is_(None), JobRow.heartbeat_at < dead)
                .values(state="failed", finished_at=sa.func.now())
            )

    def list(
        self, states: Sequence[str] = (), *, limit: int = 20, offset: int = 0
    ) -> tuple[Sequence[sa.RowMapping], int]:
        """List jobs, latest first, and how many there are in all."""
        query = sa.select(JobRow.__table__)
        query = query.where(JobRow.state.in_(states)) if states else query
        with self.database.connect() as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(query.subquery()))
            page = query.order_by(JobRow.id.desc()).limit(limit).offset(offset)
            return connection.execute(page).mappings().all(), total or 0

    def get(self, job_id: int) -> sa.RowMapping:
        """Find one job; raises ``NotFound``."""
        with self.database.connect() as connection:
            row = connection.execute(sa.select(JobRow.__table__).where(JobRow.id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f"There is no job {job_id}.")
        return row

    def _set(self, job_id: int, **values: object) -> None:
        with self.database.transaction() as transaction:
            transaction.connection.execute(sa.update(JobRow).where(JobRow.id == job_id).values(values))


@contextmanager
def open_jobs(database: Database) -> Generator[Jobs]:
    """Open the queue of a database.

    Raises
    ------
    Unavailable
        The database cannot be reached.
    """
    jobs = Jobs(database)
    with ExitStack() as stack:
        try:
            stack.enter_context(jobs.queue.open())
        except PoolTimeout as error:
            raise Unavailable("The database of the job queue cannot be reached; is the server running?") from error
        yield jobs
