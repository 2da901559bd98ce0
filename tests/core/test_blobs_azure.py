"""Objects in Azure Blob Storage (Azurite, of npm) keep the promises that those in S3 do, over a wire that is cut.

Google's has no such test, for no server that stands for it takes what the library sends: fake-gcs-server refuses its
writes, gcp-storage-emulator its questions for a size."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from hilum.core.blobs import Blobs, StorageRefused, open_blobs
from hilum.core.blobs.remote import PART_BYTES, RemoteBlobs
from hilum.core.config import Settings
from hilum.core.errors import NotFound, Unavailable
from tests.conftest import free_port, wait_until
from tests.s3 import Wire

# The account that everybody's Azurite has.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "hilum"
AZURITE = (
    Path(__file__).parents[2] / ".uv" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
)
QUICK = {"retry_config": {"max_retries": 1, "retry_timeout": 1, "backoff": {"init_backoff": 0.05, "max_backoff": 0.2}}}


@dataclass
class Azure:
    """A running server with one container."""

    port: int

    def blobs(self, data: Path, port: int = 0, url: str = "", **more: object) -> RemoteBlobs:
        """Objects in a place of their own, perhaps by way of another port."""
        endpoint = f"http://127.0.0.1:{port or self.port}/{ACCOUNT}"
        options = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": endpoint} | more
        url = url or f"az://{CONTAINER}/{secrets.token_hex(6)}"
        opened = open_blobs(Settings(data=data, blobs_url=url, blobs_options=json.dumps(options)))  # pyright: ignore
        assert isinstance(opened, RemoteBlobs)
        return opened

    def makes_container(self) -> bool:
        """Make the container, once the server answers."""
        path = f"/{ACCOUNT}/{CONTAINER}"
        fields = {"x-ms-date": format(datetime.now(UTC), "%a, %d %b %Y %H:%M:%S GMT"), "x-ms-version": "2021-08-06"}
        said = "".join(f"{name}:{value}\n" for name, value in fields.items())
        signed = f"PUT{chr(10) * 12}{said}/{ACCOUNT}{path}\nrestype:container"
        digest = hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
        fields["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        try:
            return httpx.put(f"http://127.0.0.1:{self.port}{path}?restype=container", headers=fields).status_code == 201
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    """Azurite's blob service."""
    if not AZURITE.is_file():
        pytest.skip("npm's azurite is not installed; scripts/test does that")
    server, folder = Azure(free_port()), tmp_path_factory.mktemp("azure")
    command = [
        "node", str(AZURITE), "--location", str(folder), "--blobHost", "127.0.0.1", "--blobPort", str(server.port),
        "--silent", "--skipApiVersionCheck",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(server.makes_container, 120, f"an Azurite (its log: {folder / 'log'})")
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def wire(azure: Azure) -> Iterator[Wire]:
    relay = Wire(azure.port)
    yield relay
    relay.close()


@pytest.fixture
def blobs(azure: Azure, wire: Wire, tmp_path: Path) -> Iterator[RemoteBlobs]:
    """Objects in a place of their own, over a wire."""
    opened = azure.blobs(tmp_path / "data", wire.port)
    yield opened
    opened.close()


def put(blobs: Blobs, objects: dict[str, bytes]) -> None:
    with blobs.group() as group:
        for key, content in objects.items():
            item = group.create()
            item.write(content)
            item.finish(key)
        group.commit()


def test_what_is_put_is_read_whole_in_ranges_as_a_stream_listed_and_deleted(blobs: RemoteBlobs) -> None:
    content = os.urandom(3_000_000)
    key, empty, other = "default/1.2/3/a.dcm", "default/1.2/3/b.dcm", "default/1.22/5/c"
    blobs.check()
    put(blobs, {key: content, empty: b"", other: b"333"})
    put(blobs, {key: content})  # twice, as after a commit that failed
    assert (blobs.size(key), blobs.exists(other), blobs.exists("default/1.2")) == (len(content), True, False)
    assert blobs.read(key, 1_000_000, 17) == content[1_000_000:1_000_017]
    assert blobs.read(key, len(content) - 3, 10) == content[-3:]
    assert blobs.read(key, len(content), 10) == blobs.read(key, len(content) + 3, 10) == blobs.read(empty, 0, 5) == b""
    assert b"".join(blobs.stream(key, chunk_size=65_536)) == content
    assert b"".join(blobs.stream(key, 100, 2_000_000)) == content[100:2_000_100]
    with blobs.open(key) as source:
        assert source.seek(-5, os.SEEK_END) == len(content) - 5
        assert source.read() == content[-5:]
    assert dict(blobs.list()) == {key: len(content), empty: 0, other: 3}
    assert dict(blobs.list("default/1.2")) == {key: len(content), empty: 0}
    blobs.delete([key, "default/1.2/3/never", empty])
    assert dict(blobs.list()) == {other: 3}
    for use in (blobs.open, blobs.size, blobs.stream):
        with pytest.raises(NotFound):
            use(key)


def test_a_frame_is_one_ranged_request(blobs: RemoteBlobs, wire: Wire) -> None:
    content = os.urandom(5_000_000)
    put(blobs, {"default/cine": content})
    wire.requests.clear()
    with blobs.open("default/cine") as file:
        assert file.read(1000) == content[:1000]
        file.seek(700_000)
        assert file.read(200_000) == content[700_000:900_000]
    asked = [line for one in wire.requests for line in one.lower().split(b"\r\n") if line.startswith(b"range: ")]
    assert asked == [b"range: bytes=0-65535", b"range: bytes=700000-899999"]
    assert len(wire.requests) == 2


def test_a_connection_that_breaks_off_is_tried_again(blobs: RemoteBlobs, wire: Wire) -> None:
    content = os.urandom(4_000_000)
    wire.cut_after(1_000_000)
    put(blobs, {"default/a": content})
    assert wire.cuts == 1, "the request was cut"
    wire.cut_after(1_000_000)
    assert blobs.read("default/a", 0, len(content)) == content
    assert wire.cuts == 2, "the answer was cut"


def test_a_bucket_that_is_away_says_so(azure: Azure, wire: Wire, tmp_path: Path) -> None:
    wire.refusing = True
    hasty = azure.blobs(tmp_path / "hasty", wire.port, **QUICK)
    for attempt in (hasty.check, lambda: put(hasty, {"default/b": b"never"})):
        with pytest.raises(Unavailable, match="cannot be reached now"):
            attempt()
    hasty.close()


def test_a_large_object_goes_in_parts_and_is_whole_also_when_the_wire_is_cut(blobs: RemoteBlobs, wire: Wire) -> None:
    content = os.urandom(3 * PART_BYTES + 12_345)
    wire.cut_after(PART_BYTES // 2)
    put(blobs, {"default/large": content})
    assert wire.cuts == 1
    sent = [one.split(b" ")[1] for one in wire.requests if one.startswith(b"PUT")]
    assert sum(b"comp=block&" in path or path.endswith(b"comp=block") for path in sent) >= 4
    assert sum(b"comp=blocklist" in path for path in sent) == 1
    assert b"".join(blobs.stream("default/large")) == content


def test_a_missing_container_and_a_wrong_key_are_sentences(azure: Azure, tmp_path: Path) -> None:
    with pytest.raises(StorageRefused, match=r"az://nowhere does not exist.*HILUM_BLOBS_URL"):
        azure.blobs(tmp_path, url="az://nowhere").check()
    wrong = azure.blobs(tmp_path, account_key="dGVsbC1ub2JvZHk=")
    with pytest.raises(StorageRefused, match="refuses the credentials") as refused:
        wrong.check()
    assert "dGVsbC" not in str(refused.value)
