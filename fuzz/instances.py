"""Broken and hostile instances through a running server: stored by STOW-RS, and what was taken read back by every
resource. No status of 500 or more, no long answer, no growth of memory."""

import random
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from pydicom.data import get_testdata_file

NAMES = (
    "CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "SC_rgb_small_odd_jpeg.dcm", "image_dfl.dcm", "test-SR.dcm",
    "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle_2frame.dcm", "JPEG-LL.dcm", "rtplan.dcm",
)  # fmt: skip
SLOW = 20.0
MAX_SIZE = 300_000
_LENGTHS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 0x00010000)
_READS = (
    ("/metadata", "application/dicom+json"), ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ("/frames/1", 'multipart/related; type="application/octet-stream"'), ("/frames/99999", "*/*"),
    ("", 'multipart/related; type="application/dicom"'), ("", 'multipart/related; type="application/dicom"; '
    "transfer-syntax=1.2.840.10008.1.2.4.80"), ("/rendered", "image/png"), ("/thumbnail", "image/jpeg"),
    ("/bulkdata/7FE00010", 'multipart/related; type="application/octet-stream"'),
)  # fmt: skip


def originals() -> list[bytes]:
    """Sound files, small enough to be broken often."""
    paths = (get_testdata_file(name) for name in NAMES)
    return [data for path in paths if path and len(data := Path(str(path)).read_bytes()) <= MAX_SIZE]


def broken(chance: random.Random, count: int) -> Iterator[bytes]:
    """So many broken files, the same for the same chance; then those that are made to do harm."""
    files = originals()
    for number in range(count):
        data = bytearray(files[number % len(files)])
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(132, len(data) - 4)
            kind = chance.randrange(5)
            if kind == 0:
                del data[place:]
                break
            if kind == 1:
                data[place : place + 4] = struct.pack("<I", chance.choice(_LENGTHS))
            elif kind == 2:
                data[place] = chance.randrange(256)
            elif kind == 3:
                data[place:place] = data[place : place + chance.randrange(200)]
            else:
                del data[place : place + chance.randrange(1, 50)]
            if len(data) < 200:
                break
        yield bytes(data)
    yield from bombs(files)


def bombs(files: list[bytes]) -> Iterator[bytes]:
    """Files that are small and claim to be large: inflated data sets, frames without end, images of billions."""
    deflated = next(data for data in files if b"1.2.840.10008.1.2.1.99" in data)
    head = deflated[: 132 + 12 + struct.unpack_from("<I", deflated, 140)[0]]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    yield head + b"".join(packer.compress(bytes(1 << 20)) for _ in range(700)) + packer.flush()
    for data in files:
        for tag in (0x00280010, 0x00280011):  # Rows, Columns
            yield _with_number(data, tag, 0xFFFF)
        yield data.replace(b"\x28\x00\x10\x00US", b"\x28\x00\x08\x00IS\x0a\x002147483647\x28\x00\x10\x00US", 1)
        for start in (b"\xff\x4f\xff\x51", b"\xff\xc0", b"\xff\xc3"):  # sizes in code streams
            place = data.find(start)
            if place > 0:
                at = place + (8 if start[1] == 0x4F else 5)
                yield data[:at] + b"\xff" * (8 if start[1] == 0x4F else 4) + data[at + (8 if start[1] == 0x4F else 4) :]


def _with_number(data: bytes, tag: int, number: int) -> bytes:
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"US\x02\x00"
    return data.replace(start + data[data.find(start) + 8 : data.find(start) + 10], start + struct.pack("<H", number))


def fuzz_instances(url: str, *, count: int, random_seed: int = 1) -> list[str]:
    """Store broken files one by one and read what was taken; gives what went wrong.

    Parameters
    ----------
    url
        Of the server.
    count
        How many broken files, beside those made to do harm.
    random_seed
        The same gives the same files.
    """
    problems: list[str] = []
    chance = random.Random(random_seed)
    with httpx.Client(timeout=SLOW) as client:
        for number, data in enumerate(broken(chance, count)):
            answer = _asked(client, problems, f"file {number}", "POST", f"{url}/dicom-web/studies", data)
            if answer is None or answer.status_code not in (200, 202):
                continue
            for item in answer.json()["00081199"]["Value"]:
                place = item["00081190"]["Value"][0]
                for path, accept in _READS:
                    _asked(client, problems, f"file {number}", "GET", place + path, accept=accept)
    return problems


def _asked(
    client: httpx.Client, problems: list[str], what: str, method: str, url: str, body: bytes = b"", accept: str = "*/*"
) -> httpx.Response | None:
    began = time.monotonic()
    headers = {"Accept": accept} | ({"Content-Type": "application/dicom"} if body else {})
    try:
        answer = client.request(method, url, content=body or None, headers=headers)
    except httpx.HTTPError as error:
        problems.append(f"{what}: {type(error).__name__} for {method} {url} {accept}")
        return None
    took = time.monotonic() - began
    if answer.status_code >= 500 or took > SLOW / 2:
        problems.append(
            f"{what}: {answer.status_code} after {took:.1f} s for {method} {url} {accept}: {answer.text[:200]}"
        )
    return answer


def memory(pid: int) -> int:
    """Bytes that the processes below one hold for themselves alone."""
    return sum(process.memory_full_info().uss for process in psutil.Process(pid).children(recursive=True))
