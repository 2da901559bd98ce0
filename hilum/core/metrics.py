"""Figures for Prometheus: requests and their durations by route template (never by URL, which may name a patient), and
what the archive and the queue hold. The HTTP processes share their counts through files of the data folder."""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Message, Scope, Send

from hilum.core.database import Database

Observed: TypeAlias = Callable[[Send], Send]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

_requests = Counter("hilum_http_requests", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "hilum_http_request_seconds",
    "Time to the end of the answer.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)

_HELD: Final = {
    "hilum_studies": ("Studies archived.", "select count(*) from hilum.study where deleted_at is null"),
    "hilum_instances": (
        "Instances archived.",
        "select coalesce(sum(num_instances), 0) from hilum.study where deleted_at is null",
    ),
    "hilum_bytes": ("Bytes archived.", "select coalesce(sum(bytes), 0) from hilum.study where deleted_at is null"),
    "hilum_set_aside": ("Files set aside.", "select count(*) from hilum.set_aside"),
    "hilum_jobs_waiting": (
        "Jobs queued or running.",
        "select count(*) from hilum.job where state in ('queued', 'running')",
    ),
    "hilum_events": ("Last event of the feed.", "select coalesce(max(id), 0) from hilum.event"),
}

_OF_CONSUMERS: Final = {
    "hilum_consumer_lag": (
        "How far a consumer of events is behind the last event of the feed.",
        "select c.name, greatest((select coalesce(max(id), 0) from hilum.event) - c.position, 0) "
        "from hilum.delivery_cursor c",
    ),
    "hilum_deliveries_retrying": (
        "Deliveries of events that failed and are tried again.",
        "select c.name, (select count(*) from hilum.delivery d where d.consumer = c.name and d.state = 'retrying') "
        "from hilum.delivery_cursor c",
    ),
    "hilum_deliveries_dead": (
        "Deliveries of events that were given up.",
        "select c.name, count(d.id) from hilum.delivery_cursor c "
        "left join hilum.delivery d on d.consumer = c.name and d.state = 'dead' group by c.name",
    ),
}


@contextmanager
def measure(scope: Scope) -> Generator[Observed]:
    """Count and time one request; wrap its ``send`` in what this gives."""
    begin = time.perf_counter()
    status = 500

    def observed(send: Send) -> Send:
        async def watching(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        return watching

    try:
        yield observed
    finally:
        route = getattr(scope.get("route"), "path", "none")
        _requests.labels(scope["method"], route, status).inc()
        _seconds.labels(route).observe(time.perf_counter() - begin)


def metrics_text(database: Database) -> tuple[bytes, str]:
    """Write all figures in Prometheus' text format; returns them with their media type."""
    registry = CollectorRegistry()
    with database.connect() as connection:
        registry.register(_Held(list(_held(connection))))
    if os.environ.get(FOLDER_VARIABLE):
        MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST
    return generate_latest(registry) + generate_latest(), CONTENT_TYPE_LATEST


class _Held(Collector):
    """Figures as they were looked up: a ``Gauge`` would be written to the shared files and come back by process."""

    def __init__(self, figures: Sequence[Metric]) -> None:
        self._figures = figures

    def collect(self) -> Sequence[Metric]:
        """Give them."""
        return self._figures


def _held(connection: sa.Connection) -> Iterator[Metric]:
    for name, (text, statement) in _HELD.items():
        yield GaugeMetricFamily(name, text, connection.scalar(sa.text(statement)) or 0)
    for name, (text, statement) in _OF_CONSUMERS.items():
        family = GaugeMetricFamily(name, text, labels=["consumer"])
        for consumer, value in connection.execute(sa.text(statement)):
            family.add_metric([consumer], value)
        yield family
