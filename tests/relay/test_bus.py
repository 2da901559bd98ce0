"""A bus that is not as it should be, and ends that are slow: nothing is corrupted, and nothing piles up."""

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.make import folder
from tests.relay.conftest import Fates, Running, line_to
from tests.relay.test_outages import expected, send
from tests.relay.test_relay import request_of
from tests.sender import Sender, instances

MEGABYTE = 1 << 20


def test_messages_that_are_lost_repeated_and_late_corrupt_no_store(running: Running, tmp_path: Path) -> None:
    folder(tmp_path / "in", instances=10, size=1000, seed=70)
    fates = Fates(11)
    with line_to(running.site.nats, fates.direction) as line:
        proxy = running.site.proxy("--channel", "st-mary", nats=line.url)
        running.site.connected(proxy)
        assert send(proxy.port, tmp_path / "in", set())
        proxy.stop()
    print(f"of {fates.counts.total()} messages {dict(fates.counts)}")
    assert min(fates.counts[fate] for fate in ("lost", "repeated", "late")) >= 3
    right, there = expected(tmp_path / "in"), running.site.digests()
    assert {one: there[one] for one in right} == right


def test_a_slow_link_is_used_in_full_and_keeps_its_connection(running: Running) -> None:
    pace, senders = 2 * MEGABYTE, 6
    sets = [instances(60 + n, 1) for n in range(senders)]
    padding = b"\xfc\xff\xfc\xffOB\0\0" + (3 * MEGABYTE).to_bytes(4, "little") + bytes(3 * MEGABYTE)
    statuses: list[int] = []

    def store(one: dict[str, bytes], port: int) -> None:
        with Sender(port) as sender:
            statuses.extend(sender.store(uid, data + padding) for uid, data in one.items())

    with line_to(running.site.nats, pace=pace) as line:
        proxy = running.site.proxy("--channel", "st-mary", nats=line.url)
        running.site.connected(proxy)
        threads = [threading.Thread(target=store, args=(one, proxy.port)) for one in sets]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        said = proxy.log.read_bytes()
        proxy.stop()
    print(f"{took:.1f} s, {line.carried / senders / len(padding):.2f} times what is sent")
    assert statuses == [0] * senders
    assert said.count(b"relay.connected") == 1
    # Little is said twice: the line is not filled with what is on it already.
    assert line.carried < 2.5 * senders * len(padding)


@contextmanager
def slow(port: int, go_on: threading.Event, digest: "hashlib._Hash") -> Iterator[threading.Thread]:  # pyright: ignore
    """An AE that takes an association, reads nothing until it is told to, and then all there is."""

    def serve(door: socket.socket) -> None:
        connection, _ = door.accept()
        with connection:
            length = struct.unpack(">BxI", connection.recv(6, socket.MSG_WAITALL))[1]
            connection.recv(length, socket.MSG_WAITALL)
            connection.sendall(b"\2\0\0\0\0\4\0\0\0\0")
            go_on.wait(120)
            while data := connection.recv(1 << 18):
                digest.update(data)

    with socket.create_server(("127.0.0.1", port)) as door:
        thread = threading.Thread(target=serve, args=(door,), daemon=True)
        thread.start()
        yield thread


def peak(pid: int) -> int:
    """The most memory that a process had resident so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def test_a_receiver_that_does_not_read_holds_the_modality_back_and_memory_stays_bounded(running: Running) -> None:
    total, chunk = 200 * MEGABYTE, bytes(range(256)) * (MEGABYTE >> 8)
    go_on, got, sent = threading.Event(), hashlib.md5(), hashlib.md5()
    done = [0]
    before = [peak(one.process.pid) for one in (running.proxy, running.receiver)]

    def push(connection: socket.socket) -> None:
        while done[0] < total:
            connection.sendall(chunk)
            sent.update(chunk)
            done[0] += len(chunk)
        connection.shutdown(socket.SHUT_WR)

    with slow(running.slow, go_on, got) as ending, request_of(running.proxy.port, called=b"SLOW") as connection:
        connection.recv(6)
        pushing = threading.Thread(target=push, args=(connection,))
        pushing.start()
        rests, last = time.monotonic(), -1
        while time.monotonic() < rests + 3:  # until the modality has been held back for 3 s
            if done[0] != last or not last:  # the first of it may take its time
                rests, last = time.monotonic(), done[0]
            time.sleep(0.05)
        assert 0 < last < 60 * MEGABYTE
        go_on.set()
        pushing.join()
        ending.join()
    assert done[0] == total
    assert got.digest() == sent.digest()
    grown = [peak(one.process.pid) - was for one, was in zip((running.proxy, running.receiver), before, strict=True)]
    print(f"held back after {last / MEGABYTE:.0f} MiB; grown by {[one / MEGABYTE for one in grown]} MiB")
    assert max(grown) < 64 * MEGABYTE
