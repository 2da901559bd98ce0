"""Reading multipart bodies as they stream in (RFC 2046 section 5.1)."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.imaging.dicomweb.multipart import FIRST_CHUNK, check_boundary, read_parts
from hilum.imaging.dicomweb.problems import BadRequest


def blocks(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def read(body: bytes, boundary: bytes = b"B", size: int = 1 << 20) -> list[tuple[dict[str, str], bytes]]:
    return [(part.headers, b"".join(part.chunks)) for part in read_parts(blocks(body, size), boundary)]


def body_of(
    parts: list[bytes], boundary: bytes = b"B", header: bytes = b"Content-Type: application/dicom\r\n"
) -> bytes:
    return (
        b"".join(b"--" + boundary + b"\r\n" + header + b"\r\n" + part + b"\r\n" for part in parts)
        + b"--"
        + boundary
        + b"--"
    )


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([b"\r\n--", b"\r\n--B", b"--B--", b"\r", b"\r\n-"])),
        max_size=5,
    ),
    st.integers(1, 40),
    st.sampled_from([b"B", b"0f3cf5c0-70e0", b"a'()+_,./:=?b"]),
)
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(parts: list[bytes], size: int, boundary: bytes) -> None:
    if any(b"--" + boundary in part for part in parts):
        parts = [part.replace(b"--", b"..") for part in parts]
    found = read(body_of(parts, boundary), boundary, size)
    assert [part for _, part in found] == parts


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_s06_text_before_and_behind_is_passed_over(size: int) -> None:
    body = b"This is a multi-part message -- read it.\r\n--x\r\n" + body_of([b"one", b"two"]) + b"\r\nThe end. --B"
    assert [part for _, part in read(body, size=size)] == [b"one", b"two"]


def test_s06_a_body_may_begin_with_an_empty_line() -> None:
    assert [part for _, part in read(b"\r\n" + body_of([b"one"]))] == [b"one"]


def test_headers_are_given_by_lower_case_name_and_may_be_missing() -> None:
    header = b"Content-Type: application/dicom; transfer-syntax=1.2\r\nCONTENT-location:  /here \r\n"
    ((headers, part),) = read(body_of([b"x"], header=header))
    assert headers == {"content-type": "application/dicom; transfer-syntax=1.2", "content-location": "/here"}
    assert part == b"x"
    assert read(body_of([b"x"], header=b"")) == [({}, b"x")]


def test_the_first_chunk_is_long_enough_to_tell_what_it_is() -> None:
    data = bytes(range(256)) * 40
    (part,) = (list(part.chunks) for part in read_parts(blocks(body_of([data]), 100), b"B"))
    assert len(part[0]) >= FIRST_CHUNK
    assert b"".join(part) == data


def test_an_unread_part_is_passed_over() -> None:
    first: list[bytes] = []
    for part in read_parts(blocks(body_of([b"a" * 10_000, b"b" * 10_000]), 64), b"B"):
        first.append(next(part.chunks)[:1])
    assert first == [b"a", b"b"]


def test_no_more_than_a_block_is_held() -> None:
    def endless() -> Iterator[bytes]:
        yield b"--B\r\n\r\n"
        for _ in range(1000):
            yield bytes(100_000)
        yield b"\r\n--B--"

    (part,) = (read_parts(endless(), b"B"),)
    sizes = [len(chunk) for one in part for chunk in one.chunks]
    assert sum(sizes) == 100_000_000
    assert max(sizes) <= 200_000


def test_s18_a_body_without_parts_gives_none() -> None:
    assert read(b"--B--\r\n") == []


@pytest.mark.parametrize(
    "body",
    [b"", b"x" * 100_000, b"--A\r\n\r\nx\r\n--A--", b"--B\r\n\r\nx", b"--B\r\n\r\nx\r\n--B",
     b"--B\r\nno header\r\n\r\n", b"--B\r\n" + b"X: y\r\n" * 100 + b"\r\n--B--", b"--B\r\nX: " + b"y" * 20_000],
)  # fmt: skip
def test_a_broken_body_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        read(body)


@pytest.mark.parametrize("boundary", [None, "", "a" * 71, "ends with ", "x\r\ny", "ä", 'q"'])
def test_s16_a_boundary_is_checked(boundary: str | None) -> None:
    with pytest.raises(BadRequest):
        check_boundary(boundary)
