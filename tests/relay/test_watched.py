"""What is told of a proxy to those who watch it, and TLS between it and its modalities."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.imaging.relay.proxy import serve_proxy
from tests.conftest import free_port, wait_until
from tests.dimse.conftest import dcmtk
from tests.dimse.test_tls import certificates, client, own
from tests.make import ct, uid
from tests.relay.conftest import Running, body_digest
from tests.sender import Ended, Sender, instances

__all__ = ["certificates"]


def told(port: int, path: str) -> tuple[int, str]:
    """What a process answers on its small port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(port: int) -> dict[str, float]:
    """The figures of the relay, by their names with labels."""
    status, text = told(port, "/metrics")
    assert status == 200
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("hilum_relay_")]
    return {name.removeprefix("hilum_relay_"): float(value) for name, _, value in lines if "_created" not in name}


def test_a_proxy_tells_what_it_took_relayed_kept_and_refused(running: Running, tmp_path: Path) -> None:
    port = free_port()
    settings = {"HEALTH_PORT": port, "RELAY_KEEP_ALWAYS": True}
    words = ("--channel", "nobody", "--peers", "STORESCU,FINDSCU", "--keep", tmp_path / "keep")
    proxy = running.site.proxy(*words, **settings)
    running.site.connected(proxy)
    sets = instances(41, 3)
    with Sender(proxy.port) as sender:
        assert [sender.store(one, data) for one, data in sets.items()] == [0, 0, 0]
        assert sender.store(uid(41, 1, 1), next(iter(sets.values()))) & 0xF000 == 0xA000  # of another instance
        sender.release()
    with pytest.raises(Ended), Sender(proxy.port, calling="STRANGER"):
        pass
    assert told(port, "/health") == (200, "alive")
    assert told(port, "/ready") == (200, "ready")
    seen = figures(port)
    assert seen["connected"] == 1
    assert seen["connections_total"] == 2
    assert seen['associations_total{how="kept"}'] == 1
    assert seen['instances_total{how="kept"}'] == seen["waiting"] == 3
    assert seen['instances_total{how="not_taken"}'] == 1
    assert seen['rejected_total{reason="calling_ae_title"}'] == 1
    assert seen["waiting_bytes"] == sum(path.stat().st_size for path in (tmp_path / "keep/waiting").glob("*.dcm"))
    wait_until(lambda: figures(port)["oldest_seconds"] > seen["oldest_seconds"] > 0, what="an age that grows")
    proxy.stop()
    # The same folder on a channel where somebody answers.
    port = free_port()
    proxy = running.site.proxy("--channel", "st-mary", "--keep", tmp_path / "keep", HEALTH_PORT=port)
    wait_until(lambda: figures(port).get('instances_total{how="delivered"}') == 3, 60, "three delivered instances")
    assert figures(port)["waiting"] == figures(port)["oldest_seconds"] == 0
    dcmtk("echoscu", proxy.port)
    seen = figures(port)
    assert seen['associations_total{how="relayed"}'] == 2
    assert min(seen['bytes_total{direction="sent"}'], seen['bytes_total{direction="received"}']) > 100
    wait_until(lambda: figures(port)['ended_total{how="closed"}'] == 2, what="two that ended in order")
    assert uid(41) not in told(port, "/metrics")[1]
    assert told(port, "/nothing")[0] == 404
    # Nobody else's port, and none off loopback unless it is asked for.
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.2:{port}/health", timeout=5)
    proxy.stop()


def test_without_nats_and_a_folder_a_proxy_is_not_ready(running: Running) -> None:
    port = free_port()
    proxy = running.site.proxy(nats=f"nats://127.0.0.1:{free_port()}", HEALTH_PORT=port)
    assert told(port, "/health")[0] == 200
    assert told(port, "/ready") == (503, "NATS cannot be reached now.")
    assert figures(port)["connected"] == 0
    proxy.stop()


def test_modalities_speak_tls_and_are_asked_for_their_certificate(
    running: Running, certificates: Path, tmp_path: Path
) -> None:
    given = {name.upper(): value for name, value in own(certificates).items()}
    proxy = running.site.proxy("--channel", "st-mary", "--keep", tmp_path / "keep", DICOM_TLS_CLIENTS=True, **given)
    running.site.connected(proxy)
    (tmp_path / "one.dcm").write_bytes(ct(44, size=1500))
    key, certificate, authority = (str(certificates / name) for name in ("client.key", "client.pem", "ca.pem"))
    dcmtk("storescu", proxy.port, "+tls", key, certificate, "+cf", authority, tmp_path / "one.dcm")
    assert running.site.digests()[uid(44, 1, 1)] == body_digest(ct(44, size=1500))
    for name in ("stranger", None):
        with pytest.raises(Ended), Sender(proxy.port, tls=client(certificates, name)[0]):
            pass
    with pytest.raises(Ended), Sender(proxy.port):  # without TLS
        pass
    # A title that nobody has is refused by A-ASSOCIATE-RJ through TLS, too.
    with pytest.raises(Ended, match="refused"):
        Sender(proxy.port, called="NOBODY", tls=client(certificates, "client")[0]).__enter__()
    # What is kept comes by TLS just the same.
    running.site.nats.kill()
    wait_until(lambda: proxy.said("relay.lost") or proxy.said("relay.not_connected"), 60, "an outage")
    try:
        with Sender(proxy.port, tls=client(certificates, "client")[0]) as sender:
            assert [sender.store(one, data) for one, data in instances(45, 2).items()] == [0, 0]
            sender.release()
    finally:
        running.site.nats.start()
    wait_until(lambda: instances(45, 2).keys() <= running.site.digests().keys(), 120, "two delivered instances")
    proxy.stop()
    wait_until(lambda: not dcmtk("echoscu", running.proxy.port, check=False).returncode, 60, "the proxy of all tests")


def test_a_proxy_whose_certificate_cannot_be_used_does_not_start(tmp_path: Path) -> None:
    wrong = Settings(nats_url="nats://x", relay_channels=["main"], dicom_tls_certificate=tmp_path / "none")  # pyright: ignore
    with pytest.raises(Invalid, match="HILUM_DICOM_TLS_CERTIFICATE"):
        serve_proxy(wrong, lambda _: None)
