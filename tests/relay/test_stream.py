"""The stream by itself, over a bus that loses, repeats, reorders, delays and damages messages."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.imaging.relay.boundary import Boundary
from hilum.imaging.relay.frames import (
    CHUNK,
    HEADER,
    LONGEST,
    Frame,
    Kind,
    NotRelay,
    Opening,
    OtherVersion,
    Packet,
    Refusal,
    frame_bytes,
    opening_packet,
    read_frame,
    read_opening,
)
from hilum.imaging.relay.stream import FIRST_WIDTH, WINDOW, Stream

SILENCE = 60.0


class Side:
    """An end of a stream with what is to go in and what came out, and the messages on their way to it."""

    def __init__(self, data: list[bytes]) -> None:
        self.stream = Stream(0.0, SILENCE)
        self.todo = list(data)
        self.out: list[bytes] = []
        self.ended = self.out_ended = False
        self.coming: list[bytes] = []

    def step(self, now: float, take: bool) -> list[Packet]:
        """Do what can be done; gives what is sent."""
        sent = self.stream.tick(now)
        while self.stream.room and not self.stream.broken:
            if self.todo:
                sent.append(self.stream.send(self.todo.pop(0), now))
            else:
                sent.append(self.stream.end(now))
        while take and (packet := self.stream.waiting()) is not None:
            assert not self.out_ended
            self.out_ended = packet.kind == Kind.END
            self.out.append(packet.body)
            sent.append(self.stream.taken(now))
        return sent


CHUNKS = st.lists(st.binary(min_size=1, max_size=8), max_size=40)
FATE = st.sampled_from(["right", "right", "right", "lost", "twice", "late", "damaged", "foreign"])


@settings(max_examples=60)
@given(CHUNKS, CHUNKS, st.data())
def test_what_comes_out_is_a_prefix_and_all_of_it_when_the_bus_heals(
    left: list[bytes], right: list[bytes], choose: st.DataObject
) -> None:
    sides = Side(left), Side(right)
    association, other = uuid4(), uuid4()
    healed = 30
    now = 0.0
    for turn in range(400):
        now += 0.5
        for number, side in enumerate(sides):
            target = sides[1 - number]
            take = turn > healed or choose.draw(st.booleans())
            for packet in side.step(now, take):
                data = frame_bytes(Frame(association, number == 0, packet))
                fate = choose.draw(FATE) if turn < healed else "right"
                if fate == "damaged":
                    place = choose.draw(st.integers(0, len(data) - 1))
                    data = data[:place] + bytes([data[place] ^ choose.draw(st.integers(1, 255))]) + data[place + 1 :]
                if fate == "foreign":
                    data = frame_bytes(Frame(other, number == 0, packet))
                if fate == "late":
                    target.coming.insert(0, data)
                elif fate != "lost":
                    target.coming.extend([data] * (2 if fate == "twice" else 1))
        for number, side in enumerate(sides):
            kept = choose.draw(st.integers(0, 2)) if turn < healed else 0
            cut = len(side.coming) - min(kept, len(side.coming))
            coming, side.coming = side.coming[:cut], side.coming[cut:]
            for data in coming:
                try:
                    frame = read_frame(data)
                except NotRelay:
                    continue
                if frame.association != association or frame.from_opener == (number == 0):
                    continue
                for answer in side.stream.receive(frame.packet, now):
                    sides[1 - number].coming.append(frame_bytes(Frame(association, number == 0, answer)))
        assert b"".join(left).startswith(b"".join(sides[1].out))
        assert b"".join(right).startswith(b"".join(sides[0].out))
        assert len(sides[0].stream._arrived) <= WINDOW  # what waits is bounded
        if all(side.stream.finished for side in sides):
            break
    assert [side.stream.broken for side in sides] == ["", ""]
    assert all(side.stream.finished for side in sides)
    assert (b"".join(sides[1].out), b"".join(sides[0].out)) == (b"".join(left), b"".join(right))


def pair() -> tuple[Stream, Stream]:
    return Stream(0.0, SILENCE), Stream(0.0, SILENCE)


def test_a_reader_that_does_not_read_stops_the_writer() -> None:
    writer, reader = pair()
    sent = 0
    while writer.room:
        (reader_says,) = reader.receive(writer.send(b"x", 0.0), 0.0)
        assert not writer.receive(reader_says, 0.0)
        sent += 1
    assert sent == WINDOW
    assert reader.waiting() is not None
    writer.receive(reader.taken(0.0), 0.0)
    assert writer.room
    with pytest.raises(RuntimeError):
        writer.send(b"x", 0.0)
        writer.send(b"x", 0.0)


def test_a_lost_window_update_is_made_good_by_the_next_sign_of_life() -> None:
    writer, reader = pair()
    while writer.room:
        (answer,) = reader.receive(writer.send(b"x", 0.0), 0.0)
        writer.receive(answer, 0.0)
    for _ in range(WINDOW):
        reader.taken(0.0)  # every one of them lost
    assert not writer.room
    (alive,) = reader.tick(10.0)
    writer.receive(alive, 10.0)
    assert writer.room


def test_what_is_not_acknowledged_is_sent_again_ever_more_slowly() -> None:
    writer, _ = pair()
    first, second = writer.send(b"1", 0.0), writer.send(b"2", 0.0)
    times = [now / 10 for now in range(200) if first in writer.tick(now / 10)]
    assert [round(b - a) for a, b in zip([0.0, *times], times, strict=False)] == [1, 2, 4, 8]
    assert [first, second] == [p for p in writer.tick(20.0, again=True) if p.kind == Kind.DATA]


def test_a_gap_that_the_reader_tells_of_is_closed_without_waiting() -> None:
    writer, reader = pair()
    for packet in (writer.send(b"x", 0.0) for _ in range(3)):
        for said in (*reader.receive(packet, 0.0), reader.taken(0.0)):
            writer.receive(said, 0.0)
    sent = [writer.send(bytes([n]), 0.0) for n in range(5)]
    again = [packet for late in sent[1:] for said in reader.receive(late, 0.0) for packet in writer.receive(said, 0.0)]
    assert again == sent
    answers = [said for packet in again for said in reader.receive(packet, 0.0)]
    assert not [packet for said in answers for packet in writer.receive(said, 0.0)]
    assert not writer.tick(4.0)


def test_a_slow_bus_gets_few_packets_at_once_and_patience_and_a_quick_one_many() -> None:
    writer, reader = pair()
    widths: list[int] = []
    now = 0.0
    for trip in (0.1, 3.0, 0.1):
        for turn in range(3 * WINDOW):
            sent: list[Packet] = []
            while writer.room:
                sent.append(writer.send(b"x", now))
            again = [packet for packet in writer.tick(now + trip - 0.01) if packet.kind == Kind.DATA]
            assert not again or turn < 5  # once it is known how long the way is, nothing on its way is sent again
            now += trip
            for packet in sent:
                writer.receive(reader.receive(packet, now)[0], now)
                writer.receive(reader.taken(now), now)
        widths.append(len(sent))
    assert widths == [WINDOW, 1, WINDOW]


def test_silence_breaks_the_stream_and_the_other_end_is_told() -> None:
    one, other = pair()
    one.send(b"x", 0.0)
    packets = one.tick(SILENCE + 1)
    assert [packet.kind for packet in packets] == [Kind.ABORT]
    assert one.broken == "silence"
    other.receive(packets[0], 1.0)
    assert other.broken == "peer:silence"
    assert other.receive(Packet(Kind.DATA, 0, b"late"), 2.0) == ()
    assert other.waiting() is None
    (again,) = one.receive(Packet(Kind.DATA, 0, b"has not heard"), 62.0)
    assert again.kind == Kind.ABORT


@pytest.mark.parametrize(
    "packet",
    [
        Packet(Kind.DATA, 0, b""),
        Packet(Kind.DATA, 1, b"from the future"),
        Packet(Kind.DATA, 2**64 - 1, b"x"),
        Packet(Kind.END, 0, b"with a body"),
        Packet(Kind.ACK, 7, bytes(8)),
        Packet(Kind.ACK, 0, b"\xff" * 8),
        Packet(Kind.ACK, 0, b"short"),
        Packet(Kind.OPEN, 0, b"{}"),
    ],
)
def test_packets_that_make_no_sense_change_nothing(packet: Packet) -> None:
    stream, _ = pair()
    stream.receive(packet, 0.0)
    assert stream.waiting() is None
    assert stream.room
    assert not stream.broken
    for _ in range(FIRST_WIDTH):
        stream.send(b"x", 0.0)
    assert not stream.room


@given(st.binary(max_size=200))
def test_any_bytes_are_no_message(data: bytes) -> None:
    with pytest.raises(NotRelay):
        read_frame(data)


def test_messages_too_long_cut_or_of_another_version_are_none() -> None:
    whole = frame_bytes(Frame(uuid4(), True, Packet(Kind.DATA, 3, b"x" * CHUNK)))
    assert read_frame(whole).packet == Packet(Kind.DATA, 3, b"x" * CHUNK)
    for data in (whole[:-1], whole + b"\0", whole[:HEADER], whole + bytes(CHUNK)):
        with pytest.raises(NotRelay):
            read_frame(data)
    with pytest.raises(OtherVersion):
        read_frame(whole[:4] + b"\2" + whole[5:])


def documented() -> Iterator[tuple[str, int, int, bytes]]:
    """The messages in the protocol's document: kind, side, sequence number, bytes."""
    text = (Path(__file__).parents[2] / "docs/reference/relay.md").read_text("utf-8")
    for kind, side, sequence, lines in re.findall(r"^([A-Z]+), side (\d), sequence (\d+)\n((?:  .*\n)+)", text, re.M):
        yield kind, int(side), int(sequence), bytes.fromhex("".join(lines.split()))


BODIES = {
    "OPEN": b'{"peer":"0123456789abcdef0123456789abcdef","called":"HILUM","calling":"CT01"}',
    "ACCEPT": b'{"peer":"fedcba9876543210fedcba9876543210"}',
    "REFUSE": b'{"reason":"unknown_title"}',
    "DATA": bytes.fromhex("05000000000400000000"),
    "ACK": (19).to_bytes(8, "big"),
    "END": b"",
    "ABORT": b"silence",
}


def test_the_document_is_right_byte_by_byte() -> None:
    """Its messages are what its table says, written anew here, and what the code writes and reads."""
    association = UUID("6f0a1c52-93d4-4be8-a7f1-20c85e3d9b46")
    seen: list[str] = []
    for number, (kind, side, sequence, message) in enumerate(documented(), 1):
        body = BODIES[kind]
        head = b"HLMR" + bytes([1, number, side, 0]) + association.bytes + sequence.to_bytes(8, "big")
        head += len(body).to_bytes(4, "big")
        assert message == head + blake3(head + body).digest()[:16] + body
        frame = Frame(association, side == 0, Packet(Kind[kind], sequence, body))
        assert frame_bytes(frame) == message
        assert read_frame(message) == frame
        seen.append(kind)
    assert seen == [kind.name for kind in Kind] == list(BODIES)
    opening = opening_packet(Kind.OPEN, Opening("0123456789abcdef0123456789abcdef", "HILUM", "CT01"))
    assert (opening.body, read_opening(opening).calling) == (BODIES["OPEN"], "CT01")
    assert opening_packet(Kind.ACCEPT, Opening("fedcba9876543210fedcba9876543210")).body == BODIES["ACCEPT"]
    assert opening_packet(Kind.REFUSE, Refusal("unknown_title")).body == BODIES["REFUSE"]
    text = (Path(__file__).parents[2] / "docs/reference/relay.md").read_text("utf-8")
    for number in (CHUNK, LONGEST):
        assert f"{number:,}" in text


@given(st.lists(st.integers(0, 30), max_size=10), st.data())
def test_the_boundary_is_whole_exactly_between_pdus(lengths: list[int], choose: st.DataObject) -> None:
    data, ends = b"", {0}
    for length in lengths:
        data += bytes([4, 0]) + length.to_bytes(4, "big") + bytes(length)
        ends.add(len(data))
    boundary, position = Boundary(), 0
    while position < len(data):
        step = choose.draw(st.integers(1, 12))
        boundary.feed(data[position : position + step])
        position = min(position + step, len(data))
        assert boundary.whole == (position in ends)
