"""A process without a web server tells whether it lives and can work, and nothing else."""

import httpx
import pytest

from hilum.core import health
from hilum.core.errors import InUse, Invalid, Unavailable
from hilum.core.health import Pulse, telling
from tests.conftest import free_port, wait_until


def test_it_lives_while_its_pulse_beats_and_is_ready_while_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_KEEP_SECONDS", 0.0)
    missing: list[str] = []

    def check() -> None:
        if missing:
            raise Unavailable(missing[0])

    port, pulse = free_port(), Pulse()
    url = f"http://127.0.0.1:{port}"
    with telling("127.0.0.1", port, pulse, check):
        assert (httpx.get(f"{url}/health").status_code, httpx.get(f"{url}/ready").status_code) == (200, 200)
        missing.append("The bucket is gone.")
        answer = httpx.get(f"{url}/ready")
        assert (answer.status_code, answer.text) == (503, "The bucket is gone.")
        assert httpx.get(f"{url}/health").status_code == 200
        monkeypatch.setattr(health, "ALIVE_SECONDS", 0.05)
        wait_until(lambda: httpx.get(f"{url}/health").status_code == 503)
        pulse.beat()
        missing.clear()
        assert httpx.get(f"{url}/ready").status_code == 200
        for path in ("/", "/metrics", "/health/.."):
            assert httpx.get(url + path).status_code in (404, 503)
        assert httpx.post(f"{url}/ready").status_code == 501
        with pytest.raises(InUse, match="HILUM_HEALTH_PORT"), telling("127.0.0.1", port, pulse, check):
            pass
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")


def test_it_listens_where_it_is_told_and_nowhere_else() -> None:
    port = free_port()
    with telling("127.0.0.1", port, Pulse(), lambda: None), pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.2:{port}/health")
    with telling("0.0.0.0", port, Pulse(), lambda: None):
        assert httpx.get(f"http://127.0.0.2:{port}/health").status_code == 200
    with pytest.raises(Invalid, match="HILUM_HOST"), telling("no-such-host.invalid", port, Pulse(), lambda: None):
        pass
