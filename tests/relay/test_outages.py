"""What breaks: the line to NATS, NATS itself, bytes on their way, receivers and proxies."""

import asyncio
import base64
import hashlib
import json
import os
import random
import re
import subprocess
import threading
from pathlib import Path

import nkeys
import pydicom
import pytest
from blake3 import blake3

from hilum.core.config import Settings
from hilum.core.errors import Unavailable
from hilum.core.nats import NatsOptions, connect
from hilum.doctor import examine
from tests.conftest import wait_until
from tests.dimse.conftest import dcmtk
from tests.make import ct, folder
from tests.relay.conftest import Nats, Process, Site, body_digest, line_to
from tests.sender import Ended, Sender, instances

_SENT = re.compile(r"Sending file: (\S+)(?:(?!Sending file).)*?Received Store Response \((\w+)", re.DOTALL)


def expected(place: Path) -> dict[str, str]:
    """The digest of each data set in a folder, by SOP Instance UID."""
    found: dict[str, str] = {}
    for path in place.rglob("IM*"):
        found[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = body_digest(path.read_bytes())
    return found


def send(port: int, place: Path, acknowledged: set[Path]) -> bool:
    """Send a folder by dcmtk, and note what was acknowledged; tells whether all went well."""
    done = dcmtk("storescu", port, "-v", "+sd", "+r", place, check=False)
    said = _SENT.findall(done.stdout + done.stderr)
    acknowledged.update(Path(path) for path, status in said if status == "Success")
    return done.returncode == 0


def test_a_line_that_is_cut_and_spoilt_corrupts_nothing(site: Site, tmp_path: Path) -> None:
    pieces, chance = [0], random.Random(4)

    def spoil(data: bytes) -> bytes:
        if len(data) > 40_000:
            pieces[0] += 1
            if chance.random() < 0.04:
                return data[:20_000] + bytes([data[20_000] ^ 0x55]) + data[20_001:]
        return data

    folder(tmp_path / "in", instances=12, size=1000)
    with line_to(site.nats, lambda: spoil) as line:
        receiver, proxy = site.dicom(), site.proxy(nats=line.url)
        site.connected(receiver, proxy)
        ended = threading.Event()

        def sending() -> None:
            acknowledged: set[Path] = set()
            while not send(proxy.port, tmp_path / "in", acknowledged):
                pass
            ended.set()

        thread = threading.Thread(target=sending, daemon=True)
        thread.start()
        for _ in range(4):
            before = pieces[0]
            wait_until(lambda seen=before: pieces[0] > seen + 20 or ended.is_set(), 120, "bytes on the line")
            line.cut()
        site.nats.kill()
        assert expected(tmp_path / "in").items() >= site.digests().items()
        site.nats.start()
        wait_until(ended.is_set, 240, "all of it sent")
    assert pieces[0] > 40
    assert site.digests() == expected(tmp_path / "in")


def test_2000_stores_survive_the_kill_of_a_receiver_and_of_a_proxy(site: Site) -> None:
    receivers, proxies = [site.dicom() for _ in range(2)], [site.proxy() for _ in range(2)]
    site.connected(*receivers, *proxies)
    sets = [instances(study, 500) for study in (1, 2, 3, 4)]
    acknowledged: list[str] = []
    ended: list[int] = []
    killed = threading.Event()

    def send_all(number: int) -> None:
        left = dict(sets[number])
        port = number
        while left:
            try:
                with Sender(proxies[port % 2].port) as sender:
                    for one, data in list(left.items()):
                        assert sender.store(one, data) == 0
                        acknowledged.append(one)
                        del left[one]
                        if len(acknowledged) > 1000:
                            killed.wait(0.05)  # so that nobody has sent all before the second kill
                    sender.release()
            except Ended:
                ended.append(number)
                port += 1

    threads = [threading.Thread(target=send_all, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) >= 500, 120, "500 instances")
    next(one for one in receivers if one.said("relay.accepted")).kill()
    wait_until(lambda: len(acknowledged) >= 1000, 120, "1,000 instances")
    proxies[0].kill()
    killed.set()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), 240, "2,000 instances")
    assert len(acknowledged) == 2000
    assert len(ended) >= 2  # the receiver's, and those of the proxy that were not of that receiver
    rows = site.rows("select sop_instance_uid from hilum.instance where deleted_at is null")
    assert sorted(str(one) for (one,) in rows) == sorted(acknowledged)
    sent = {one: blake3(data).hexdigest() for each in sets for one, data in each.items()}
    assert site.digests() == sent


def test_a_receiver_that_stops_ends_its_associations_and_leaves_the_rest_to_others(site: Site) -> None:
    receivers, proxy = [site.dicom() for _ in range(2)], site.proxy()
    site.connected(*receivers, proxy)
    receivers[0].stop()
    for _ in range(5):
        dcmtk("echoscu", proxy.port)
    receivers[1].stop()
    assert dcmtk("echoscu", proxy.port, check=False).returncode
    assert proxy.process.poll() is None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _token(signer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: dict[str, object]) -> str:
    """A JWT as NATS signs them."""
    body: dict[str, object] = {
        "iat": 1700000000, "iss": signer.public_key.decode(), "sub": subject.public_key.decode(), "name": "test",
        "nats": {"version": 2, **claims},
    }  # fmt: skip
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    text = (
        f"{_encoded(json.dumps({'typ': 'JWT', 'alg': 'ed25519-nkey'}).encode())}.{_encoded(json.dumps(body).encode())}"
    )
    return f"{text}.{_encoded(signer.sign(text.encode()))}"


def secured(folder: Path) -> tuple[Nats, NatsOptions]:
    """A NATS that asks for a client certificate and for credentials, and what a client needs for both."""

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=ca", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        openssl(
            "x509", "-req", "-days", "2", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey",
            folder / "ca.key", "-extfile", folder / "names", "-out", folder / f"{name}.pem",
        )  # fmt: skip
    kinds = (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER)
    seeds = [nkeys.encode_seed(os.urandom(32), kind) for kind in kinds]
    operator, account, user = (nkeys.from_seed(bytearray(seed)) for seed in seeds)
    limits = dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports"), -1)
    account_token = _token(operator, account, {"type": "account", "limits": {**limits, "wildcards": True}})
    # All that docs/reference/relay.md says a proxy needs, and no more.
    may = {"allow": ["hilum-dimse.main.>", "_INBOX.>"]}
    user_token = _token(account, user, {"type": "user", "pub": may, "sub": may, "subs": -1, "data": -1, "payload": -1})
    (folder / "hilum.creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seeds[2].decode()}\n------END USER NKEY SEED------\n"
    )
    bus = Nats(
        folder,
        f'operator: "{_token(operator, operator, {"type": "operator"})}"\nresolver: MEMORY\n'
        f'resolver_preload {{ {account.public_key.decode()}: "{account_token}" }}\n'
        f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", ca_file: "{folder}/ca.pem", '
        "verify: true }\n",
    )
    url = f"tls://127.0.0.1:{bus.port}"
    names = ("hilum.creds", "ca.pem", "client.pem", "client.key")
    return bus, NatsOptions((url,), *(folder / name for name in names))


def test_tls_with_certificates_and_credentials(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    bus, options = secured(tmp_path / "bus")
    bus.start()
    site.stack.callback(bus.kill)
    (url,) = options.servers
    for lacking in (NatsOptions((url,), ca=options.ca, certificate=options.certificate, key=options.key),
                    NatsOptions((url,), options.credentials, options.ca),
                    NatsOptions((url,), options.credentials)):  # fmt: skip
        with pytest.raises(Unavailable):
            asyncio.run(connect(lacking))
    given = {
        "NATS_CREDENTIALS": options.credentials, "NATS_CA": options.ca, "NATS_CERTIFICATE": options.certificate,
        "NATS_KEY": options.key,
    }  # fmt: skip
    both: list[Process] = [site.dicom(nats=url, **given), site.proxy(nats=url, **given)]
    site.connected(*both)
    (tmp_path / "one").write_bytes(ct())
    dcmtk("storescu", both[1].port, tmp_path / "one")
    assert list(site.digests().values()) == [body_digest(ct())]


def test_a_nats_that_takes_only_short_messages_is_told_of(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bus").mkdir()
    bus = Nats(tmp_path / "bus", "max_payload: 200000")
    bus.start()
    site.stack.callback(bus.kill)
    proxy = site.proxy(nats=bus.url)
    wait_until(lambda: proxy.said("max_payload"), 60, "the reason")
    settings = Settings(data=tmp_path, nats_url=bus.url, relay_channels=["main"])  # pyright: ignore[reportCallIssue]
    finding = next(one for one in examine(settings) if one.name == "NATS")
    assert (finding.works, "max_payload" in finding.text) == (False, True)
