"""The targets of ``scripts/fuzz``, a short while by hypothesis: mutated files, and what fuzzing has found before."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS
from tests.dicom.files import element, part10, wheel

SMALL = [path for path in wheel() if path.stat().st_size < 64 * 1024]
SOP = element(0x00080018, "UI", b"1.2.3\0")
CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=6)), max_size=6)


@pytest.mark.parametrize("target", ["header", "frames", "dataset"])
@given(path=st.sampled_from(SMALL), changes=CHANGES, tail=st.binary(max_size=40))
@settings(max_examples=60, deadline=60_000)
def test_mutated_files_end_in_a_value_or_an_error_of_ours(
    target: str, path: Path, changes: list[tuple[int, bytes]], tail: bytes
) -> None:
    data = bytearray(path.read_bytes())
    for offset, patch in changes:
        offset %= max(len(data), 1)
        data[offset : offset + len(patch)] = patch
    TARGETS[target](bytes(data) + tail)


@given(data=st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_text(data: bytes) -> None:
    TARGETS["text"](data)


@given(
    table=st.lists(st.integers(0, 100), max_size=4),
    lengths=st.lists(st.integers(0, 12), max_size=5),
    frames=st.integers(0, 5),
)
@settings(max_examples=150, deadline=60_000)
def test_any_offset_table_is_believed_or_refused(table: list[int], lengths: list[int], frames: int) -> None:
    items = [struct.pack(f"<{len(table)}I", *table), *(b"\xff\xd8\xff" * 4 for _ in lengths)]
    cut = [value[:length] for value, length in zip(items[1:], lengths, strict=True)]
    fragments = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in [items[0], *cut])
    pixels = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + fragments + b"\xfe\xff\xdd\xe0\0\0\0\0"
    count = element(0x00280008, "IS", str(frames).encode() + b" ")
    TARGETS["frames"](part10(SOP + count + pixels, "1.2.840.10008.1.2.4.50"))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(part10(SOP, '1.2"\n'), id="a transfer syntax that would break the JSON"),
        pytest.param(part10(SOP + b'\x09\0\x01\x10B"\2\0ab' + SOP), id="a representation that would break it"),
    ],
)
def test_what_was_found_stays_mended(data: bytes) -> None:
    for target in TARGETS.values():
        target(data)
