"""STOW-RS as modalities and gateways send: so many instances a request, several connections at once; the same for both
sides."""

import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.processes import Failed, Group

INSTANCES = 100
CONNECTIONS = 4
BOUNDARY = b"bench-boundary"
_HEAD = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
_END = b"--" + BOUNDARY + b"--\r\n"


def store(port: int, group: Group, files: list[Path]) -> tuple[float, float]:
    """Send files by STOW-RS: seconds it took, and of CPU in the server (the client's left out).

    Parameters
    ----------
    port, group
        Of the server.
    files
        All of them, read before the clock starts.
    """
    bodies: list[list[bytes]] = []
    for start in range(0, len(files), INSTANCES):
        parts = [path.read_bytes() for path in files[start : start + INSTANCES]]
        bodies.append([piece for part in parts for piece in (_HEAD, part, b"\r\n")] + [_END])
    waiting, lock, failures = iter(bodies), threading.Lock(), list[BaseException]()
    before = group.cpu_seconds()
    began = time.perf_counter()
    threads = [threading.Thread(target=_send, args=(port, waiting, lock, failures)) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    if failures:
        raise failures[0]
    return wall, group.cpu_seconds() - before


def _send(port: int, waiting: Iterator[list[bytes]], lock: threading.Lock, failures: list[BaseException]) -> None:
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                return
            length = str(sum(map(len, body)))
            headers = {"Content-Type": kind, "Content-Length": length, "Accept": "application/dicom+json"}
            connection.request("POST", "/dicom-web/studies", iter(body), headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise Failed(f"STOW-RS answered {answer.status}: {content[:500].decode(errors='replace')}")
    except BaseException as error:  # the main thread raises it
        failures.append(error)
    finally:
        connection.close()
