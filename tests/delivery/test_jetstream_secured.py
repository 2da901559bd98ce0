"""NATS as hospitals run it: over TLS with an authority of their own, and with credentials; and events that are larger
than it takes."""

import base64
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import nkeys
import pytest
from nats.js.errors import NotFoundError

from hilum.core.database import Database
from hilum.core.delivery.edge import receive
from hilum.core.delivery.jetstream import STREAM, Publisher
from hilum.core.delivery.mailboxes import SitePost
from hilum.core.delivery.sites import add_site, addressed
from hilum.core.errors import Unavailable
from hilum.core.events import Event
from hilum.core.nats import Link, NatsOptions
from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import fresh_database, serving, wait_until
from tests.delivery.conftest import Nats, authority, emit

Start = Callable[..., None]
UIDS = ["1.2.840." + "1" * 50] * 30_000


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(signer: nkeys.KeyPair, subject: nkeys.KeyPair, claims: Mapping[str, object]) -> str:
    """A JWT as NATS signs them."""
    body: dict[str, object] = {
        "iat": 1700000000, "iss": signer.public_key.decode(), "sub": subject.public_key.decode(), "name": "test",
        "nats": {"version": 2, **claims},
    }  # fmt: skip
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    head = json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()
    text = f"{encoded(head)}.{encoded(json.dumps(body).encode())}"
    return f"{text}.{encoded(signer.sign(text.encode()))}"


def keys(kind: int) -> tuple[bytes, nkeys.KeyPair]:
    seed = nkeys.encode_seed(os.urandom(32), kind)
    return seed, nkeys.from_seed(bytearray(seed))


def with_creds(folder: Path) -> str:
    """Part of NATS' configuration that lets in whoever has ``hilum.creds``."""
    (_, operator), (_, account), (_, system), (seed, user) = map(
        keys,
        (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER),
    )
    names = ("subs", "data", "payload", "conn", "leaf", "imports", "exports", "mem_storage", "disk_storage", "streams")
    limits = {**dict.fromkeys((*names, "consumer"), -1), "wildcards": True}
    known = token(operator, account, {"type": "account", "limits": limits})
    watching = token(operator, system, {"type": "account"})
    mine = token(account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
    (folder / "hilum.creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{mine}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )
    accounts = {account.public_key.decode(): known, system.public_key.decode(): watching}
    resolved = ", ".join(f'{name}: "{one}"' for name, one in accounts.items())
    itself = token(operator, operator, {"type": "operator"})
    return (
        f'operator: "{itself}"\nsystem_account: {system.public_key.decode()}\n'
        f"resolver: MEMORY\nresolver_preload {{ {resolved} }}\n"
    )


def with_nkey(folder: Path) -> str:
    """Part of NATS' configuration that lets in whoever has the seed in ``hilum.creds``."""
    seed, user = keys(nkeys.PREFIX_BYTE_USER)
    (folder / "hilum.creds").write_text(f"{seed.decode()}\n")
    return f"authorization {{ users: [ {{ nkey: {user.public_key.decode()} }} ] }}\n"


@pytest.mark.parametrize("login", [with_creds, with_nkey])
def test_events_are_published_and_read_over_tls_with_credentials(
    database: Database, couriers: Start, tmp_path: Path, login: Callable[[Path], str]
) -> None:
    folder = authority(tmp_path / "certificates", "server", "client")
    server = Nats(
        folder,
        f'{login(folder)}tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key", '
        f'ca_file: "{folder}/ca.pem", verify: true }}',
    )
    server.start()
    try:
        url = (f"tls://127.0.0.1:{server.port}",)
        certificate = (folder / "client.pem", folder / "client.key")
        whole = NatsOptions(url, folder / "hilum.creds", folder / "ca.pem", *certificate)
        for lacking in (
            NatsOptions(url, None, folder / "ca.pem", *certificate),
            NatsOptions(url, folder / "hilum.creds", None, *certificate),
            NatsOptions(url, folder / "hilum.creds", folder / "ca.pem"),
        ):
            with pytest.raises(Unavailable):
                Link(lacking).run(is_connected)
        add_site(database, "north", sources=["default"])
        emit(database, "1.2.3", type="hilum.x.v1")
        link = Link(whole)
        couriers(Publisher(link, "http://hilum", list).group(), SitePost(database, link, "http://hilum", list).group())
        read = edge(whole, "north", lambda events: len(events) == 2)
        assert [event["type"] for event in read] == ["hilum.site.added.v1", "hilum.x.v1"]
        wait_until(lambda: link.run(lambda client: count(client)) == 2)
    finally:
        server.kill()


async def is_connected(client) -> bool:
    return client.is_connected


async def count(client) -> int:
    try:
        return (await client.jetstream().stream_info(STREAM)).state.messages
    except NotFoundError:  # its publisher has not begun
        return 0


def edge(options: NatsOptions, site: str, enough: Callable[[list[dict[str, object]]], bool]) -> list[dict[str, object]]:
    """What a site reads until it has enough."""
    stop, read = threading.Event(), list[dict[str, object]]()
    reading = threading.Thread(target=receive, args=(options, site, lambda event: read.append(dict(event)), stop))
    reading.start()
    try:
        wait_until(lambda: enough(read), 60, "what the site reads")
    finally:
        stop.set()
        reading.join()
    return read


@pytest.fixture
def hub(cluster: EmbeddedPostgres, nats_server: Nats, tmp_path: Path) -> Iterator[tuple[Database, str]]:
    """A real Hilum with NATS: its database and its address."""
    with (
        fresh_database(cluster) as url,
        serving(tmp_path / "data", url, nats_url=nats_server.url) as server,
    ):
        database = Database(url, pool_size=2)
        yield database, server.url
        database.close()


def test_a_reader_finds_what_is_too_large_where_dataref_says(hub: tuple[Database, str], nats_server: Nats) -> None:
    """1.7 MB of data, where NATS takes 1 MiB: on the stream and in a mailbox the event comes without it, in order."""
    database, address = hub
    add_site(database, "north")
    large = Event("hilum.study.revised.v1", "default", "1.2.3", {"series": UIDS})
    with database.transaction() as sql:
        sql.emit(addressed(large, "north"), addressed(Event("hilum.x.v1", "default", "after", {}), "north"))
    read = edge(NatsOptions((nats_server.url,)), "north", lambda events: len(events) == 3)
    wait_until(lambda: nats_server.count(STREAM) >= 3)
    published = [json.loads(message.data or b"") for message in nats_server.messages(STREAM)]
    assert (
        [event["subject"] for event in read] == [event["subject"] for event in published] == ["north", "1.2.3", "after"]
    )
    for event in (read[1], published[1]):
        assert "data" not in event
        assert str(event["dataref"]).startswith(f"{address}/api/v1/imaging/events?")
        (found,) = httpx.get(str(event["dataref"]), timeout=60).raise_for_status().json()["items"]
        assert found == {**{name: value for name, value in event.items() if name != "dataref"}, "data": found["data"]}
        assert found["data"] == {"series": UIDS, "to_site": "north"}
