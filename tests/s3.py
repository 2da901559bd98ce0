"""A real S3 server (SeaweedFS) for tests, and a wire to it that can be cut."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from hilum.core.blobs import open_blobs
from hilum.core.blobs.remote import RemoteBlobs
from hilum.core.config import Settings
from tests.ports import free_port

KEY, SECRET, BUCKET = "hilumkey", "hilumsecret", "hilum"
_WEED = Path(sys.executable).parent / "weed"
_PORTS = (
    "s3",
    "s3.grpc",
    "master",
    "master.grpc",
    "volume",
    "volume.grpc",
    "filer",
    "filer.grpc",
    "admin",
    "admin.grpc",
)


@dataclass
class S3:
    """A running S3 server with one bucket."""

    port: int
    filer: int

    def options(self, port: int = 0, **more: object) -> str:
        """``HILUM_BLOBS_OPTIONS``, perhaps by way of another port."""
        given = {
            "endpoint": f"http://127.0.0.1:{port or self.port}", "region": "us-east-1", "access_key_id": KEY,
            "secret_access_key": SECRET,
        }  # fmt: skip
        return json.dumps(given | more)

    def url(self) -> str:
        """``HILUM_BLOBS_URL`` of a place of its own in the bucket."""
        return f"s3://{BUCKET}/{secrets.token_hex(6)}"

    def settings(self, data: Path, port: int = 0, url: str = "", **options: object) -> Settings:
        """Settings of an archive in a place of its own in the bucket."""
        return Settings(
            data=data, min_free_bytes=0, blobs_url=url or self.url(),
            blobs_options=self.options(port, **options),  # pyright: ignore[reportArgumentType]
        )  # fmt: skip

    def blobs(self, data: Path, port: int = 0, url: str = "", **options: object) -> RemoteBlobs:
        """Objects in a place of their own."""
        opened = open_blobs(self.settings(data, port, url, **options))
        assert isinstance(opened, RemoteBlobs)
        return opened

    def unfinished_uploads(self) -> int:
        """How many multipart uploads were begun and neither completed nor aborted; asked of the server's own store."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.filer}/buckets/{BUCKET}/.uploads/", headers={"Accept": "application/json"}
        )
        return len(answer.json()["Entries"] or []) if answer.status_code == 200 else 0


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Run SeaweedFS on free ports of loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "hilum", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }  # fmt: skip
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in _PORTS}
    flags = [f"-{name.replace('.grpc', '')}.port{'.grpc' if '.grpc' in name else ''}={ports[name]}" for name in _PORTS]
    command = [
        str(_WEED), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        "-admin.ui=false", "-webdav=false", f"-s3.config={folder / 's3.json'}", f"-bucket={BUCKET}",
        "-s3.port.iceberg=0", "-s3.port.lance=0", *flags,
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"GOMEMLIMIT": "300MiB"}, stdout=log, stderr=log
        )
        try:
            server = S3(ports["s3"], ports["filer"])
            _await(server, process, folder)
            yield server
        finally:
            process.kill()
            process.wait()


def _await(server: S3, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    blobs = server.blobs(folder / "probe")
    deadline = time.monotonic() + 240
    while True:
        try:
            with blobs.group() as group:
                item = group.create()
                item.write(b"x")
                item.finish("ready")
                blobs.bucket.check()
                group.commit()
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the S3 server does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        else:
            blobs.delete(["ready"])
            blobs.close()
            return


class Wire:
    """A TCP relay to a port, which can be cut in the middle of what it carries, and counts connections."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refusing = False
        self.cuts = 0
        self._cut_after: int | None = None
        self._for_good = False
        self._lock = threading.Lock()
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int, *, for_good: bool = False) -> None:
        """Drop the next connection that has carried so many bytes of an answer or a request, and perhaps all others."""
        with self._lock:
            self._cut_after, self._for_good = count, for_good

    def close(self) -> None:
        """Let no more connections in."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            for one, other, note in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(one, other, note), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, note: bool) -> None:
        carried = 0
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if note and data[:5].split(b" ")[0] in (b"GET", b"HEAD", b"PUT", b"POST"):
                    self.requests.append(data.partition(b"\r\n\r\n")[0])
                carried += len(data)
                with self._lock:
                    cut = self.refusing or (self._cut_after is not None and carried >= self._cut_after)
                    if cut:
                        self.refusing = self.refusing or self._for_good
                        self._cut_after, self._for_good = None, False
                        self.cuts += 1
                if cut:
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
