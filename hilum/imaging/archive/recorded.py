"""How the instances of a study came in, as its record tells: what is catalogued again goes the same way in the same
order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from hilum.imaging.archive.sidecar import Record


@dataclass(frozen=True, slots=True)
class Arrived:
    """How an object came in: its digest, by what way and when, where it lies if that is not with Hilum's objects, in
    which series, and when something replaced it."""

    digest: str
    origin: str
    received_at: str
    path: str | None = None
    series: str = ""
    replaced_at: str | None = None


def arrivals(record: Record) -> Iterator[Arrived]:
    """Everything that came into a study, in its order, so that what replaced something does so again."""
    found: list[Arrived] = []
    for each in cast("Sequence[Mapping[str, Any]]", record["replaced"]):
        if each["path"] is None:  # of a file that was indexed in place the earlier bytes are not kept
            found.append(Arrived(each["digest"], each["origin"], each["received_at"], replaced_at=each["replaced_at"]))
    for run in cast("Sequence[Mapping[str, str]]", record["instances"]):
        found.extend(Arrived(digest, run["origin"], run["received_at"]) for digest in run["digests"])
    for each in cast("Sequence[Mapping[str, str]]", record["in_place"]):
        found.append(
            Arrived(each["digest"], each["origin"], each["received_at"], each["path"], each["series_instance_uid"])
        )
    yield from sorted(found, key=lambda each: datetime.fromisoformat(each.received_at))


def runs(arrived: Sequence[Arrived], most: int) -> Iterator[list[Arrived]]:
    """Arrivals in stretches of one origin and at most so many."""
    run: list[Arrived] = []
    for each in arrived:
        if run and (run[0].origin != each.origin or len(run) >= most):
            yield run
            run = []
        run.append(each)
    if run:
        yield run
