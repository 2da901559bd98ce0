"""Associations through proxy, NATS and receiver, with DICOM's own tools at both ends."""

import asyncio
import io
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import nats as nats_client
import pydicom
import pytest
from nats.aio.client import Client
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,  # pyright: ignore
    StudyRootQueryRetrieveInformationModelFind,  # pyright: ignore
    StudyRootQueryRetrieveInformationModelGet,  # pyright: ignore
    StudyRootQueryRetrieveInformationModelMove,  # pyright: ignore
)

from hilum.core.config import Settings
from hilum.core.delivery.jetstream import STREAM
from hilum.imaging.relay.frames import Frame, Kind, Packet, frame_bytes
from hilum.imaging.relay.inside import open_inside
from tests.conftest import free_port, wait_until
from tests.dimse.conftest import dcmtk, one_pdu, program, received
from tests.make import ct, folder, uid
from tests.relay.conftest import Running, body_digest, is_open


def test_echo_and_store_through_the_relay_are_byte_identical(running: Running, tmp_path: Path) -> None:
    dcmtk("echoscu", running.proxy.port)
    folder(tmp_path / "in", studies=2, instances=5, size=64)
    dcmtk("storescu", running.proxy.port, "+sd", "+r", tmp_path / "in")
    stored = running.site.digests()
    for path in (tmp_path / "in").rglob("IM*"):
        data = path.read_bytes()
        assert stored[str(pydicom.dcmread(path).SOPInstanceUID)] == body_digest(data)


def test_nothing_of_it_gets_onto_the_stream_of_events(running: Running, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(ct(14))
    dcmtk("storescu", running.proxy.port, tmp_path / "one")

    async def messages() -> int:
        client = await nats_client.connect(running.site.nats.url)
        info = await client.jetstream().stream_info(STREAM)
        await client.close()
        return info.state.messages

    assert asyncio.run(messages()) == 1  # the one that was published


def test_an_object_of_100_megabytes_arrives_byte_for_byte(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    path.write_bytes(ct(9, size=7200))
    assert path.stat().st_size > 100e6
    dcmtk("storescu", running.proxy.port, path)
    assert running.site.digests()[uid(9, 1, 1)] == body_digest(path.read_bytes())


def test_who_is_not_on_the_list_and_what_is_no_association_is_refused(running: Running) -> None:
    assert dcmtk("echoscu", running.proxy.port, "-aet", "STRANGER", check=False).returncode
    assert dcmtk("echoscu", running.proxy.port, to="NOBODY", check=False).returncode  # refused inside, told through
    assert dcmtk("echoscu", running.proxy.port, to="GONE", check=False).returncode
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\1\0\xff\xff\xff\xff", b"\1\0\0\0\0\x04abcd"):
        with socket.create_connection(("127.0.0.1", running.proxy.port), timeout=60) as connection:
            connection.sendall(garbage)
            assert [kind for kind, _ in received(connection)] == [7]
    dcmtk("echoscu", running.proxy.port)


def request_of(port: int, calling: bytes = b"ECHOSCU", called: bytes = b"HILUM") -> socket.socket:
    """A connection that has asked for an association."""
    items = b"\x10\0\0\x151.2.840.10008.3.1.1.1" + b"\x20\0\0\x2e\1\0\0\0\x30\0\0\x111.2.840.10008.1.1"
    items += b"\x40\0\0\x111.2.840.10008.1.2" + b"\x50\0\0\x08\x51\0\0\4\0\0\x40\0"
    body = struct.pack(">HH16s16s32x", 1, 0, called.ljust(16), calling.ljust(16)) + items
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(struct.pack(">BxI", 1, len(body)) + body)
    return connection


def test_associations_beyond_the_limit_are_told_so_and_come_in_when_there_is_room(running: Running) -> None:
    with ExitStack() as stack:

        def comes_in() -> bool:
            connection = request_of(running.proxy.port)
            if one_pdu(connection)[0] == 2:
                stack.push(connection)
                return True
            connection.close()
            return False

        for _ in range(6):
            wait_until(comes_in, what="room that an earlier association still takes")
        kind, body = one_pdu(stack.enter_context(request_of(running.proxy.port)))
        assert (kind, body[1:]) == (3, bytes((2, 3, 2)))
    wait_until(lambda: not dcmtk("echoscu", running.proxy.port, check=False).returncode, 60, "room")


async def _spoil(url: str, subjects: list[str], payloads: list[bytes]) -> None:
    client = await nats_client.connect(url)
    for subject in subjects:
        for payload in payloads:
            await client.publish(subject, payload, reply="nobody.listens")
    await client.flush()
    await client.close()


async def _heard(client: Client) -> list[str]:
    """The subjects on which something is said while an association lasts: one to open it, and one of each end."""
    found: list[str] = []

    async def note(message: object) -> None:
        found.append(message.subject)  # pyright: ignore

    await client.subscribe("hilum-dimse.>", cb=note)
    while True:
        subjects = {subject for subject in found if subject.startswith("hilum-dimse.")}
        ends = {subject for subject in subjects if ".peer." in subject}
        if len(ends) >= 2 and subjects > ends:
            return sorted(subjects)
        await asyncio.sleep(0.05)


def test_what_is_not_the_relays_is_counted_and_changes_nothing(running: Running, tmp_path: Path) -> None:
    async def listen() -> list[str]:
        client = await nats_client.connect(running.site.nats.url)
        task = asyncio.create_task(_heard(client))
        await client.flush()
        sender = asyncio.create_task(asyncio.to_thread(dcmtk, "echoscu", running.proxy.port))
        subjects = await asyncio.wait_for(task, 120)
        await sender
        await client.close()
        return subjects

    subjects = asyncio.run(listen())
    stranger = uuid4()
    payloads = [
        b"", b"\xac\xed\0\5sr", os.urandom(500), b"HLMR\1" + os.urandom(60), bytes(900_000), b"HLMR\2" + bytes(80),
        *(frame_bytes(Frame(stranger, side, Packet(kind, 0, b"{}"))) for kind in Kind for side in (True, False)),
        frame_bytes(Frame(UUID(int=0), True, Packet(Kind.OPEN, 0, b'{"peer":"../x","called":"HILUM"}'))),
    ]  # fmt: skip
    folder(tmp_path / "in", instances=30, size=200, seed=7)
    sending = threading.Thread(target=dcmtk, args=("storescu", running.proxy.port, "+sd", "+r", tmp_path / "in"))
    sending.start()
    for _ in range(5):
        asyncio.run(_spoil(running.site.nats.url, subjects, payloads))
    sending.join()
    stored = running.site.digests()
    for path in (tmp_path / "in").rglob("IM*"):
        assert stored[str(pydicom.dcmread(path).SOPInstanceUID)] == body_digest(path.read_bytes())
    wait_until(lambda: running.receiver.said("relay.ignored"), 60, "a count of what was ignored")
    assert running.proxy.process.poll() is None


@pytest.fixture
def pacs(running: Running) -> Iterator[list[int]]:
    """An archive of pynetdicom's that finds one study, and gives and moves its instance; gives where that moves to."""
    instance = pydicom.dcmread(io.BytesIO(ct(5)))
    destination = [0]

    def find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        answer = Dataset()
        answer.QueryRetrieveLevel, answer.StudyInstanceUID, answer.PatientID = "STUDY", uid(5), "P5"
        yield 0xFF00, answer

    def move(event: evt.Event) -> Iterator[object]:
        yield "127.0.0.1", destination[0]
        yield 1
        yield 0xFF00, instance

    def get(event: evt.Event) -> Iterator[object]:
        yield 1
        yield 0xFF00, instance

    ae = AE("PACS")
    for service in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
        StudyRootQueryRetrieveInformationModelGet,
    ):
        ae.add_supported_context(service)
    ae.add_supported_context(CTImageStorage, scu_role=True, scp_role=True)
    ae.add_requested_context(CTImageStorage)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move), (evt.EVT_C_GET, get)]
    server = ae.start_server(("127.0.0.1", running.pacs), block=False, evt_handlers=handlers)  # pyright: ignore
    yield destination
    server.shutdown()


def test_find_get_and_move_go_to_the_target_of_the_called_title(
    running: Running, pacs: list[int], tmp_path: Path
) -> None:
    query = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(5)}")
    found = dcmtk("findscu", running.proxy.port, *query, "-k", "PatientID", to="PACS")
    assert "P5" in found.stdout + found.stderr
    dcmtk("getscu", running.proxy.port, *query, "-od", str(tmp_path), to="PACS")
    assert [str(pydicom.dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir()] == [uid(5, 1, 1)]
    pacs[0] = free_port()
    (tmp_path / "moved").mkdir()
    moving = ("-aem", "MOVESCU", "+P", str(pacs[0]), "-od", str(tmp_path / "moved"))
    dcmtk("movescu", running.proxy.port, *query, *moving, to="PACS")
    assert len(list((tmp_path / "moved").iterdir())) == 1


def test_hilum_is_asked_and_moves_and_gives_through_the_relay(running: Running, tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(ct(15, size=600))
    dcmtk("storescu", running.proxy.port, tmp_path / "one.dcm")
    query = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(15)}")
    found = dcmtk("findscu", running.proxy.port, *query, "-k", "PatientID")
    assert "P15" in found.stdout + found.stderr
    got, moved = tmp_path / "got", tmp_path / "moved"
    got.mkdir()
    moved.mkdir()
    dcmtk("getscu", running.proxy.port, *query, "-od", str(got))
    # Back to an AE that only the edge reaches: a second association, opened from inside.
    storescp = subprocess.Popen([program("storescp"), "-od", str(moved), "-aet", "CT01", "+uf", str(running.local)])
    try:
        wait_until(lambda: is_open(running.local), 60, "storescp")
        said = dcmtk("movescu", running.proxy.port, "-v", *query, "-aem", "CT01")
        assert "Success" in said.stdout + said.stderr
    finally:
        storescp.terminate()
        storescp.wait()
    for place in (got, moved):
        (path,) = place.iterdir()
        assert body_digest(path.read_bytes()) == body_digest(ct(15, size=600))


def test_inside_reaches_an_ae_that_only_the_edge_can_reach(running: Running, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(ct(6))
    settings = Settings(
        data=tmp_path, nats_url=running.site.nats.url, dicom_peers=["CT01=nats:st-mary", "CT02=nats:st-mary", "X"]
    )
    storescp = subprocess.Popen([program("storescp"), "-od", str(tmp_path), "-aet", "CT01", "+uf", str(running.local)])
    try:
        with open_inside(settings) as (inside, changed):
            assert inside is not None
            inside.answer(lambda connection: connection.close())
            ports = {
                title: int(place.rpartition(":")[2])
                for title, _, place in (e.partition("=") for e in changed.dicom_peers[:2])
            }
            assert changed.dicom_peers[2] == "X"
            words = ("storescu", ports["CT01"], "-aet", "HILUM", tmp_path / "in" / "one")
            wait_until(lambda: not dcmtk(*words, to="CT01", check=False).returncode, 60, "an instance that is sent")
            # Nobody there, nobody known, nobody's own title.
            assert dcmtk("echoscu", ports["CT02"], "-aet", "HILUM", to="CT02", check=False).returncode
            assert dcmtk("echoscu", ports["CT01"], "-aet", "OTHER", to="CT01", check=False).returncode
    finally:
        storescp.terminate()
        storescp.wait()
    (stored,) = [path for path in tmp_path.iterdir() if path.is_file()]
    assert body_digest(stored.read_bytes()) == body_digest(ct(6))
