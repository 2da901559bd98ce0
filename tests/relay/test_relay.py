"""Associations through proxy, NATS and receiver, with DICOM's own tools at both ends."""

from pathlib import Path

from tests.dimse.conftest import dcmtk
from tests.make import ct, folder, uid
from tests.relay.conftest import Site, body_digest


def test_echo_and_store_through_the_relay_are_byte_identical(site: Site, tmp_path: Path) -> None:
    receiver, proxy = site.dicom(), site.proxy()
    site.connected(receiver, proxy)
    dcmtk("echoscu", proxy.port)
    folder(tmp_path / "in", studies=2, instances=5, size=64)
    dcmtk("storescu", proxy.port, "+sd", "+r", tmp_path / "in")
    sent = {path: body_digest(path.read_bytes()) for path in (tmp_path / "in").rglob("*") if path.is_file()}
    assert sorted(site.digests().values()) == sorted(sent.values())
