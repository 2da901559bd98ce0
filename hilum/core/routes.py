"""REST of the core: jobs and the change feed."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.types import Receive, Scope, Send

from hilum.core.events import read_events
from hilum.core.feed import Feed, Wish
from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, Router, base_url, refuse_unknown_parameters
from hilum.core.jobs import Jobs

router = Router(
    prefix="/api/v1/imaging", tags=["jobs"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)

State: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Reason(Model):
    """Why some things were left out."""

    code: str
    reason: str
    count: int
    examples: list[str]


class LogLine(Model):
    """One line of a job's log."""

    time: datetime
    message: str


class Job(Model):
    """One piece of long work."""

    id: int
    kind: str
    title: str
    source: str
    state: State
    done: int
    total: int | None = Field(description="Null while it is not known.")
    counts: dict[str, int]
    reasons: list[Reason]
    log: list[LogLine]
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Events(Model):
    """A stretch of the change feed."""

    items: list[dict[str, object]] = Field(description="CloudEvents 1.0, in order.")
    next: int = Field(description="Give it as `after` to go on from here.")


def the_jobs(request: Request) -> Jobs:
    """Dependency: the jobs of this application."""
    return request.app.state.jobs


TheJobs = Annotated[Jobs, Depends(the_jobs)]
Types = Annotated[list[str] | None, Query(description="Only these types.")]
Sequence = Annotated[int, Field(ge=0, lt=2**63)]


def show(jobs: Jobs, job_id: int) -> Job:
    """Give a job as clients see it."""
    row = jobs.get(job_id)
    return Job.model_validate({name: row[name] for name in Job.model_fields})


@router.get("/jobs")
def get_jobs(
    jobs: TheJobs,
    state: Annotated[list[State] | None, Query(description="Any of these.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> Page[Job]:
    """Jobs, latest first."""
    rows, total = jobs.list(state or (), limit=limit, offset=offset)
    items = [Job.model_validate({name: row[name] for name in Job.model_fields}) for row in rows]
    return Page(items=items, total=total, limit=limit, offset=offset)


@router.get("/jobs/{job_id}")
def get_job(jobs: TheJobs, job_id: int) -> Job:
    """One job."""
    return show(jobs, job_id)


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel_job(jobs: TheJobs, job_id: int) -> Job:
    """Ask a job to stop; what it has done so far is kept."""
    jobs.cancel(job_id)
    return show(jobs, job_id)


@router.post("/jobs/{job_id}/retry", status_code=202)
def retry_job(jobs: TheJobs, job_id: int) -> Job:
    """Queue a failed or cancelled job once more."""
    jobs.retry(job_id)
    return show(jobs, job_id)


@router.get("/events")
def get_events(
    request: Request,
    jobs: TheJobs,
    after: Annotated[int, Query(ge=0, description="The `next` of the last answer.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    type: Types = None,  # noqa: A002 - its name in the contract
) -> Events:
    """What changed, in order."""
    url = base_url(request, request.app.state.settings.public_url)
    with jobs.database.connect() as connection:
        items = read_events(connection, url, after=after, limit=limit, types=type or ())
    return Events(items=items, next=int(str(items[-1]["sequence"])) if items else after)


class _Stream(Response):
    """An answer that the feed gives."""

    media_type: str = "text/event-stream"

    def __init__(self, feed: Feed, wish: Wish) -> None:
        super().__init__()
        self._feed = feed
        self._wish = wish

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell until either side ends it."""
        del scope
        await self._feed.serve(self._wish, receive, send)


@router.get(
    "/events/stream", response_class=Response, responses={200: {"content": {_Stream.media_type: {"schema": {}}}}}
)
async def stream_events(
    request: Request,
    after: Annotated[
        Sequence | Literal["now"], Query(description="Events behind this `sequence`; now: only what comes.")
    ] = 0,
    type: Types = None,  # noqa: A002 - its name in the contract
    last_event_id: Annotated[
        Sequence | None, Header(description="Where a client that comes back was; it goes before `after`.")
    ] = None,
) -> Response:
    """The same as server-sent events: what there is, then what comes, each under its `sequence` as id."""
    url = base_url(request, request.app.state.settings.public_url)
    cursor = last_event_id if last_event_id is not None else None if after == "now" else after
    return _Stream(request.app.state.feed, Wish(cursor, tuple(sorted(type or ())), url))
