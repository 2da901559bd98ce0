"""Whoever sends nonsense gets an answer that says so: no route fails, hangs or grows. `scripts/fuzz` runs longer."""

import pytest

from fuzz.instances import fuzz_instances, memory
from fuzz.routes import fuzz, seed
from tests.conftest import Server

MEGABYTE = 1 << 20


@pytest.mark.timeout(900)
def test_no_request_that_the_api_describes_or_does_not_makes_a_route_fail(server: Server) -> None:
    seed(server.url)
    report = fuzz(server.url, examples=6, seconds=600, random_seed=20)
    assert report.problems == []
    assert report.requests > 3 * report.operations


def test_no_broken_or_hostile_instance_makes_a_route_fail_or_the_memory_grow(server: Server) -> None:
    assert fuzz_instances(server.url, count=25, random_seed=1) == []
    before = memory(server.process.pid)
    assert fuzz_instances(server.url, count=25, random_seed=2) == []
    assert memory(server.process.pid) - before < 64 * MEGABYTE
