"""Jobs: queued with their cause, seen while they run, cancelled, retried, and taken over when their worker dies."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import DataError

from hilum.core.database import Database
from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.core.jobs import Jobs, open_jobs
from hilum.core.progress import Progress, job_here
from tests.conftest import wait_until


@pytest.fixture
def jobs(database: Database) -> Iterator[Jobs]:
    with open_jobs(database) as opened:
        yield opened


def defer(jobs: Jobs, kind: str, **arguments: object) -> int:
    with jobs.database.transaction() as transaction:
        return jobs.defer(transaction, kind, f"a {kind}", **arguments)


WORKER = """
import sys, time
from hilum.core.database import Database
from hilum.core.errors import Invalid, Unavailable
from hilum.core.jobs import open_jobs

database = Database(sys.argv[1], pool_size=4)

def count(arguments, progress):
    progress.expect(arguments["n"])
    for _ in range(arguments["n"]):
        progress.count("things")
        progress.step()

def slow(arguments, progress):
    progress.say("begun")
    while True:
        time.sleep(0.05)
        progress.step()

def refuse(arguments, progress):
    raise Invalid("It cannot be done like that.")

def outage(arguments, progress):
    try:
        open(arguments["path"], "x").close()
    except FileExistsError:
        return
    raise Unavailable("The archive cannot be reached.")

def dies_once(arguments, progress):
    path = arguments["path"]
    try:
        open(path, "x").close()
    except FileExistsError:
        progress.count("second")
        return
    slow(arguments, progress)

with open_jobs(database) as jobs:
    for run in (count, slow, refuse, outage, dies_once):
        jobs.add(run.__name__, run)
    jobs.work()
"""


@pytest.fixture
def start_worker(database_url: str, tmp_path: Path) -> Iterator[object]:
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        running.append(subprocess.Popen([sys.executable, str(script), database_url]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def state(jobs: Jobs, job_id: int) -> str:
    return str(jobs.get(job_id)["state"])


def test_a_job_exists_only_if_its_cause_commits(jobs: Jobs) -> None:
    with pytest.raises(DataError), jobs.database.transaction() as transaction:
        job_id = jobs.defer(transaction, "count", "count")
        transaction.connection.exec_driver_sql("select 1 / 0")
    with pytest.raises(NotFound):
        jobs.get(job_id)
    assert jobs.list()[1] == 0


def test_a_job_runs_and_tells_how_far_it_is(jobs: Jobs, start_worker) -> None:
    job_id = defer(jobs, "count", n=7)
    assert state(jobs, job_id) == "queued"
    start_worker()
    wait_until(lambda: state(jobs, job_id) == "succeeded")
    row = jobs.get(job_id)
    assert (row["done"], row["total"], row["counts"], row["attempts"]) == (7, 7, {"things": 7}, 1)
    with pytest.raises(Conflict):
        jobs.cancel(job_id)
    with pytest.raises(Conflict):
        jobs.retry(job_id)


def test_a_job_that_cannot_be_done_fails_with_its_sentence_and_is_not_repeated(jobs: Jobs, start_worker) -> None:
    job_id = defer(jobs, "refuse")
    start_worker()
    wait_until(lambda: state(jobs, job_id) == "failed")
    row = jobs.get(job_id)
    assert (row["attempts"], row["log"][-1]["message"]) == (1, "It cannot be done like that.")
    jobs.add("refuse", lambda _arguments, _progress: None)
    jobs.retry(job_id)
    wait_until(lambda: jobs.get(job_id)["attempts"] == 2)


def test_a_running_job_can_be_cancelled_and_retried(jobs: Jobs, start_worker) -> None:
    job_id = defer(jobs, "slow")
    start_worker()
    wait_until(lambda: state(jobs, job_id) == "running")
    jobs.cancel(job_id)
    wait_until(lambda: state(jobs, job_id) == "cancelled")
    jobs.add("slow", lambda _arguments, _progress: None)
    jobs.retry(job_id)
    wait_until(lambda: state(jobs, job_id) == "running")


def test_a_queued_job_can_be_cancelled(jobs: Jobs) -> None:
    job_id = defer(jobs, "slow")
    jobs.cancel(job_id)
    assert state(jobs, job_id) == "cancelled"


def test_the_job_of_a_worker_that_stops_is_done_by_the_next(jobs: Jobs, start_worker, tmp_path: Path) -> None:
    job_id = defer(jobs, "dies_once", path=str(tmp_path / "mark"))
    worker = start_worker()
    wait_until((tmp_path / "mark").exists)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    start_worker()
    wait_until(lambda: state(jobs, job_id) == "succeeded")
    assert jobs.get(job_id)["counts"] == {"second": 1}


def test_the_job_of_a_killed_worker_is_done_by_another(jobs: Jobs, start_worker, tmp_path: Path) -> None:
    job_id = defer(jobs, "dies_once", path=str(tmp_path / "mark"))
    worker = start_worker()
    wait_until((tmp_path / "mark").exists)
    worker.kill()
    worker.wait()
    with jobs.database.transaction() as sql:  # it has given no sign of life for long
        sql.rows("update procrastinate_workers set last_heartbeat = now() - interval '1 hour'")
    start_worker()
    wait_until(lambda: state(jobs, job_id) == "succeeded", seconds=60)
    assert jobs.get(job_id)["attempts"] == 2


def test_a_job_that_meets_an_outage_is_tried_again(jobs: Jobs, start_worker, tmp_path: Path) -> None:
    start_worker()
    job_id = defer(jobs, "outage", path=str(tmp_path / "mark"))
    wait_until(lambda: state(jobs, job_id) == "succeeded", seconds=60)
    assert jobs.get(job_id)["attempts"] == 2


def test_reasons_are_counted_with_a_few_examples(database: Database) -> None:
    progress = Progress(database, 1)
    for n in range(9):
        progress.leave_out("empty", "The file is empty.", f"file {n}")
    assert progress.summary()["reasons"] == [
        {"code": "empty", "reason": "The file is empty.", "count": 9, "examples": [f"file {n}" for n in range(5)]}
    ]


def test_a_command_shows_itself_as_a_job_and_its_failure_too(jobs: Jobs) -> None:
    with pytest.raises(Invalid), job_here(jobs.database, "import", "x", "default", lambda _d, _t: None) as progress:
        raise Invalid("no")
    assert state(jobs, progress.job_id) == "failed"
