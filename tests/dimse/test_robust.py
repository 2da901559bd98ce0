"""Whatever a peer does, the listener tells it so or drops it, acknowledges nothing that is not kept, and serves the
next."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.imaging.dicom.header import scan
from hilum.imaging.dimse import association as association_module
from hilum.imaging.dimse import channel as channel_module
from hilum.imaging.dimse import command as c
from hilum.imaging.dimse import wire as wire_module
from hilum.imaging.dimse.pdu import AssociateRequest, Proposed, data_pdu, request_bytes
from tests.conftest import wait_until
from tests.dimse.conftest import CT, EXPLICIT, IMPLICIT, VERIFICATION, Dicom, Start, one_pdu, received, store_bytes
from tests.make import ct, uid

REQUEST = request_bytes(
    AssociateRequest("HILUM", "TESTER", (Proposed(1, VERIFICATION, (IMPLICIT,)), Proposed(3, CT, (EXPLICIT,))))
)
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
ABORT = 7


def pdu(context: int, control: int, data: bytes) -> bytes:
    return b"".join(data_pdu(context, control, data))


def command(field: int, sop_class: str, *, data_set: bool, **more: int | str) -> bytes:
    values: dict[int, int | str] = {c.AFFECTED_CLASS: sop_class, c.MESSAGE_ID: 1}
    return c.command_bytes(field, values | {int(k[1:], 16): v for k, v in more.items()}, data_set=data_set)


ECHO = pdu(1, 3, command(c.C_ECHO, VERIFICATION, data_set=False))
STORE = pdu(3, 3, command(c.C_STORE, CT, data_set=True, x0700=0, x1000=uid(1, 1, 1)))
BODY = ct()[scan(ct()).data_set_offset :]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have patience last half a second."""
    monkeypatch.setattr(association_module, "ARTIM_SECONDS", 0.5)
    monkeypatch.setattr(wire_module, "PDU_SECONDS", 0.5)
    monkeypatch.setattr(channel_module, "MESSAGE_SECONDS", 0.5)


def ended(connection: socket.socket) -> list[int]:
    """The types of all PDUs until the end."""
    return [kind for kind, _ in received(connection)]


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    b"\1\0\xff\xff\xff\xff" + bytes(100),
    b"\4\0\0\0\0\4\0\0\0\0",
    RELEASE,
    b"\1\0\0\0\0\4abcd",
    REQUEST[:60] + b"\xff" * (len(REQUEST) - 60),
    REQUEST + b"\4\0\0\0\0\0",
    REQUEST + b"\4\0\0\0\0\6\0\0\0\x63\1\3",
    REQUEST + pdu(99, 3, b""),
    REQUEST + pdu(1, 3, b"\0\0\0\0\xff\xff\xff\xff"),
    REQUEST + pdu(1, 2, b"a data set without a command"),
    REQUEST + REQUEST,
    REQUEST + STORE + ECHO,
    REQUEST + pdu(1, 3, command(0x8030, VERIFICATION, data_set=False)),
]


def test_garbage_is_answered_with_an_abort(dicom: Dicom) -> None:
    for sent in GARBAGE:
        with dicom.raw() as connection:
            connection.sendall(sent)
            assert ended(connection)[-1] == ABORT, sent[:20]
    assert dicom.echoes()


def test_an_unknown_operation_is_answered_and_the_association_goes_on(dicom: Dicom) -> None:
    with dicom.raw() as connection:
        connection.sendall(REQUEST + pdu(1, 3, command(0x0140, VERIFICATION, data_set=False)) + ECHO + RELEASE)
        assert one_pdu(connection)[0] == 2
        assert b"\0\0\0\x09\2\0\0\0\x11\x02" in one_pdu(connection)[1]
        assert one_pdu(connection)[0] == 4
        assert one_pdu(connection)[0] == 6


def test_a_command_in_many_fragments_and_several_in_one_pdu(dicom: Dicom) -> None:
    whole = command(c.C_ECHO, VERIFICATION, data_set=False)
    pieces = [whole[n : n + 10] for n in range(0, len(whole), 10)]
    one_by_one = b"".join(pdu(1, 1 if piece is not pieces[-1] else 3, piece) for piece in pieces)
    items = b"".join(
        struct.pack(">IBB", len(piece) + 2, 1, 1 if piece is not pieces[-1] else 3) + piece for piece in pieces
    )
    with dicom.raw() as connection:
        connection.sendall(REQUEST)
        one_pdu(connection)
        for sent in (one_by_one, struct.pack(">BxI", 4, len(items)) + items):
            for place in range(0, len(sent), 7):
                connection.sendall(sent[place : place + 7])
            assert b"\0\0\0\x09\2\0\0\0\0\0" in one_pdu(connection)[1]


def test_a_peer_that_vanishes_in_the_middle_leaves_nothing(dicom: Dicom) -> None:
    for cut in (3, 40, len(BODY) // 2):
        with dicom.raw() as connection:
            connection.sendall(REQUEST + STORE + pdu(3, 2, BODY)[:cut])
            one_pdu(connection)
    assert dicom.echoes()
    wait_until(lambda: not dicom.listener._open, what="the end of the associations")
    assert dicom.instances() == []
    assert not [
        path for path in (dicom.archive.blobs.root / ".tmp").rglob("*") if path.name != "lock" and path.is_file()
    ]


@pytest.mark.usefixtures("hasty")
def test_a_slow_peer_is_dropped_at_every_stage(dicom: Dicom) -> None:
    for sent in (b"", REQUEST[:50], REQUEST + ECHO[:9], REQUEST + STORE, REQUEST + STORE + pdu(3, 0, BODY[:500])):
        began = time.monotonic()
        with dicom.raw() as connection:
            connection.sendall(sent)
            assert ended(connection)[-1] == ABORT
        assert time.monotonic() - began < 30


@pytest.mark.usefixtures("hasty")
def test_a_byte_now_and_then_does_not_keep_a_pdu_open(dicom: Dicom) -> None:
    began = time.monotonic()
    with dicom.raw() as connection, suppress(OSError):
        for byte in REQUEST * 10:
            connection.sendall(bytes((byte,)))
            time.sleep(0.02)
    assert time.monotonic() - began < 20
    wait_until(dicom.echoes, what="an answer to one that is quick enough")


@pytest.mark.usefixtures("hasty")
def test_an_idle_association_ends_after_its_time(start: Start) -> None:
    dicom = start(dicom_idle_seconds=0.3)
    with dicom.raw() as connection:
        connection.sendall(REQUEST + ECHO)
        assert ended(connection) == [2, 4, ABORT]


def test_too_many_associations_are_told_so_and_the_next_is_served_when_one_ends(start: Start) -> None:
    dicom = start(dicom_max_associations=2)
    with dicom.raw() as first, dicom.raw() as second:
        for connection in (first, second):
            connection.sendall(REQUEST)
            assert one_pdu(connection)[0] == 2
        with dicom.raw() as third:
            third.sendall(REQUEST)
            assert one_pdu(third) == (3, b"\0\2\3\2")
        first.sendall(RELEASE)
        assert one_pdu(first)[0] == 6
        first.close()
        wait_until(dicom.echoes, what="an association after one had ended")


def test_titles_are_checked(start: Start) -> None:
    dicom = start(dicom_peers=["CT01", "MR01=127.0.0.1:4242"])
    for called, calling, answer in (
        ("HILUM", "CT01", 2), ("HILUM", "MR01", 2), ("HILUM", "OTHER", b"\0\1\1\3"), ("HILUM", "", b"\0\1\1\3"),
        ("PACS", "CT01", b"\0\1\1\7"),
    ):  # fmt: skip
        with dicom.raw() as connection:
            connection.sendall(
                request_bytes(AssociateRequest(called, calling, (Proposed(1, VERIFICATION, (IMPLICIT,)),)))
            )
            kind, body = one_pdu(connection)
            assert (kind if isinstance(answer, int) else body) == answer


def test_several_titles_lead_to_several_sources(start: Start) -> None:
    dicom = start(dicom_sources=["TRIAL=trial"])
    dicom.rows("insert into hilum.source (key) values ('trial')")
    from pynetdicom import AE

    ae = AE("CT01")
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate("127.0.0.1", dicom.port, ae_title="TRIAL")
    assert store_bytes(association, CT, uid(1, 1, 1), BODY) == 0
    association.release()
    (row,) = dicom.rows("select key from hilum.study st join hilum.source s on s.id = st.source_id")
    assert row["key"] == "trial"


MUTATED = REQUEST + ECHO + STORE + pdu(3, 2, BODY) + RELEASE


@pytest.fixture(scope="module")
def shared(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dicom]:
    """A listener for all examples."""
    from hilum.core.database import Database
    from tests.conftest import fresh_database
    from tests.dimse.conftest import listening

    with fresh_database(cluster) as url:  # pyright: ignore[reportArgumentType]
        database = Database(url, pool_size=4)
        with listening(database, tmp_path_factory.mktemp("mutated")) as running:
            yield running
        database.close()


@settings(max_examples=120)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(REQUEST + ECHO + STORE) + 60), st.integers(0, 255)), min_size=1, max_size=6
    ),
    cut=st.integers(0, 400),
)
def test_mutated_pdus_neither_crash_nor_hang_it(shared: Dicom, changes: list[tuple[int, int]], cut: int) -> None:
    sent = bytearray(MUTATED)
    for place, value in changes:
        sent[place] = value
    with shared.raw() as connection:
        with suppress(OSError):
            connection.sendall(sent[: len(sent) - cut])
            connection.shutdown(socket.SHUT_WR)
        received(connection)
    with shared.raw() as connection:
        connection.sendall(REQUEST + ECHO + RELEASE)
        assert ended(connection) == [2, 4, 6]
