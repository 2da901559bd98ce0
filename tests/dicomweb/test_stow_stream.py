"""STOW-RS streams: a large instance costs the server next to no memory. The ids are those of the checklist."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Server
from tests.make import ct, uid

MEGABYTE = 1 << 20
BLOCK = bytes(MEGABYTE)


def large(megabytes: int) -> Iterator[bytes]:
    """An instance of so many frames of 1 MiB, in pieces."""
    small = ct(70, size=64, Rows=1024, Columns=512, NumberOfFrames=megabytes, SOPInstanceUID=uid(70, 1, megabytes))
    start = small.index(b"\xe0\x7f\x10\x00OW") + 8
    yield small[:start] + (megabytes * MEGABYTE).to_bytes(4, "little")
    for _ in range(megabytes):
        yield BLOCK


def in_parts(instance: Iterator[bytes], length: bool) -> Iterator[bytes]:
    head = f"--x\r\nContent-Type: application/dicom\r\nContent-Length: {MEGABYTE}\r\n\r\n" if length else "--x\r\n\r\n"
    yield head.encode()
    yield from instance
    yield b"\r\n--x--\r\n"


def peak(process: psutil.Process) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


@pytest.mark.parametrize("single", [True, False])
def test_s15_a_large_instance_streams_through_in_bounded_memory(server: Server, single: bool) -> None:
    kind = "application/dicom" if single else 'multipart/related; type="application/dicom"; boundary=x'

    def send(megabytes: int) -> None:
        body = large(megabytes) if single else in_parts(large(megabytes), length=megabytes == 2)
        answer = httpx.post(
            f"{server.url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=300
        )
        assert answer.status_code == 200, answer.text
        ((item,),) = (answer.json()["00081199"]["Value"],)
        assert item["00081155"]["Value"] == [uid(70, 1, megabytes)]

    send(2)
    processes = psutil.Process(server.process.pid).children(recursive=True)
    before = {process: peak(process) for process in processes}
    send(256 + single)
    assert max(peak(process) - before[process] for process in processes) < 64 * MEGABYTE
