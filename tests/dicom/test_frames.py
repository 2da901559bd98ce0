"""Every frame is found where pydicom finds it, whatever the tables of the file claim."""

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from hilum.imaging.dicom.frames import frame_offsets, native_frame, number_of_frames, pixel_data_problem, read_frame
from hilum.imaging.dicom.header import NotDicom, Unreadable, scan
from hilum.imaging.dicom.source import inflated_file
from tests.dicom.files import element, item, name, part10, wheel, wheel_file
from tests.dicom.images import more_images

JPEG = "1.2.840.10008.1.2.4.50"
NO_SIZE = {"meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"}
PADDED = {"emri_small_jpeg_2k_lossless_too_short.dcm"}  # pydicom adds what the cut file lacks


def with_pixels(path: Path) -> bool:
    try:
        return scan(path.read_bytes()).pixel_data is not None and path.name not in NO_SIZE | PADDED
    except (NotDicom, Unreadable):
        return False


def image(pixel_data: bytes, frames: int | str = 1, *, syntax: str = JPEG, before: bytes = b"", **sizes: int) -> bytes:
    """A file of an image, its Pixel Data element as given."""
    values = {"rows": 2, "columns": 2, "bits": 8, "samples": 1, **sizes}
    text = str(frames).encode()
    return part10(
        element(0x00280002, "US", struct.pack("<H", values["samples"]))
        + element(0x00280004, "CS", b"MONOCHROME2 ")
        + element(0x00280008, "IS", text + b" " * (len(text) % 2))
        + element(0x00280010, "US", struct.pack("<H", values["rows"]))
        + element(0x00280011, "US", struct.pack("<H", values["columns"]))
        + element(0x00280100, "US", struct.pack("<H", values["bits"]))
        + before
        + pixel_data,
        syntax,
    )


def fragments(value: bytes, end: bytes = b"\xfe\xff\xdd\xe0\0\0\0\0") -> bytes:
    return b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + value + end


def frames_of(data: bytes) -> list[bytes]:
    header, file = scan(data), io.BytesIO(data)
    offsets = frame_offsets(file, header)
    return [read_frame(file, header, offsets, frame) for frame in range(len(offsets) - 1)]


@pytest.mark.parametrize("path", [path for path in (*wheel(), *more_images()) if with_pixels(path)], ids=name)
def test_frames_equal_pydicoms(path: Path) -> None:
    data = path.read_bytes()
    header, file = scan(data), io.BytesIO(data)
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, 1 << 24)
    value = pydicom.dcmread(path, force=True)["PixelData"].value
    if header.pixel_data is not None and header.pixel_data.encapsulated:
        assert frames_of(data) == list(generate_frames(value, number_of_frames=number_of_frames(header)))
        return
    frames = native_frame(header, file.seek(0, 2))
    found = [read_frame(file, header, (), frame) for frame in range(frames.count)]
    assert all(len(frame) == frames.frame_bytes for frame in found)
    swapped = header.pixel_data is not None and header.pixel_data.vr != "OB"
    if (
        not header.little_endian and swapped
    ):  # pydicom leaves the bytes of big-endian words as they are; ours are little-endian
        width = max(2, (header.integer("BitsAllocated") or 0) // 8)
        value = np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()
    assert value.startswith(b"".join(found))
    assert frames.count == number_of_frames(header) or path.name == "MR_truncated.dcm"


STREAM = st.binary(min_size=12, max_size=40).map(lambda tail: b"\xff\xd8\xff" + tail.replace(b"\xff", b"\x01"))


@given(frames=st.lists(STREAM, min_size=1, max_size=6), pieces=st.integers(1, 3), table=st.booleans())
@settings(max_examples=80, deadline=None)
def test_frames_in_one_or_more_fragments_come_back_whole(frames: list[bytes], pieces: int, table: bool) -> None:
    data = image(fragments(encapsulate(frames, fragments_per_frame=pieces, has_bot=table)), len(frames))
    assert [frame.rstrip(b"\0") for frame in frames_of(data)] == [frame.rstrip(b"\0") for frame in frames]


def test_an_extended_offset_table_is_used() -> None:
    frames = [b"no start " + bytes([number]) for number in range(3)]  # nothing but a table can part these
    value, _, _ = encapsulate_extended(frames)
    split = item(b"") + b"".join(item(frame[:6]) + item(frame[6:]) for frame in frames)
    offsets = struct.pack("<3Q", 0, 26, 52)
    tables = element(0x7FE00001, "OV", offsets) + element(0x7FE00002, "OV", struct.pack("<3Q", 10, 10, 10))
    assert frames_of(image(fragments(value), 3)) == frames
    assert frames_of(image(fragments(split), 3, before=tables)) == frames
    with pytest.raises(Unreadable):
        frames_of(image(fragments(split), 3))


@pytest.mark.parametrize(
    "table", [(0, 7, 60), (0, 52, 26), (26, 52, 78), (0, 0, 0), (0, 1 << 31, (1 << 32) - 1), (0, 26)]
)
def test_a_lying_offset_table_is_not_believed(table: tuple[int, ...]) -> None:
    frames = [b"\xff\xd8\xff" + bytes([number] * 7) for number in range(1, 4)]
    split = b"".join(item(frame[:6]) + item(frame[6:]) for frame in frames)
    lying = item(struct.pack(f"<{len(table)}I", *table))
    assert frames_of(image(fragments(lying + split), 3)) == frames


def test_empty_items_and_a_missing_end_do_no_harm() -> None:
    value = item(b"") + item(b"\xff\xd8\xff1") + item(b"") + item(b"\xff\xd8\xff2") + item(b"")
    assert frames_of(image(fragments(value, end=b""), 2)) == [b"\xff\xd8\xff1", b"\xff\xd8\xff2"]


@pytest.mark.parametrize(
    ("value", "frames"),
    [
        pytest.param(b"", 1, id="nothing"),
        pytest.param(item(b""), 1, id="no fragment"),
        pytest.param(item(b"") + item(b"1234"), 2, id="fewer fragments than frames"),
        pytest.param(item(b"") + item(b"1234"), 2_000_000_000, id="a hostile number of frames"),
        pytest.param(item(b"") + item(b"1234") * 3, 2, id="fragments that no frame owns"),
        pytest.param(item(b"") + item(b"1234")[:-2], 1, id="cut fragment"),
        pytest.param(item(b"") + b"\xfe\xff\0\xe0\xff\xff\xff\xff1234", 1, id="fragment without length"),
        pytest.param(item(b"") + b"junkjunk", 1, id="junk"),
    ],
)
def test_damaged_fragments_are_refused(value: bytes, frames: int) -> None:
    with pytest.raises(Unreadable):
        frames_of(image(fragments(value, end=b""), frames))


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    frames=st.integers(1, 5),
    seed=st.binary(min_size=60, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_one_bit_frames_are_cut_out_of_the_bit_stream(rows: int, columns: int, frames: int, seed: bytes) -> None:
    length = (rows * columns * frames + 7) // 8
    stream = seed[:length]
    data = image(
        element(0x7FE00010, "OB", stream), frames, syntax="1.2.840.10008.1.2.1", rows=rows, columns=columns, bits=1
    )
    header, file = scan(data), io.BytesIO(data)
    bits = f"{int.from_bytes(stream, 'little'):0{8 * length}b}"[::-1]
    for frame in range(native_frame(header).count):
        found = read_frame(file, header, (), frame)
        expected = bits[frame * rows * columns : (frame + 1) * rows * columns]
        assert f"{int.from_bytes(found, 'little'):0{8 * len(found)}b}"[::-1].ljust(8, "0").startswith(expected)
    assert native_frame(header).count == frames


def test_the_number_of_frames_is_bounded_by_what_is_there() -> None:
    value = element(0x7FE00010, "OW", bytes(8))
    data = image(value, "999999999", syntax="1.2.840.10008.1.2.1")
    header = scan(data)
    assert native_frame(header).count == 2
    assert "cut short" in str(pixel_data_problem(header, len(data)))
    with pytest.raises(Unreadable):
        read_frame(io.BytesIO(data), header, (), 2)
    with pytest.raises(Unreadable):
        read_frame(io.BytesIO(data), header, (), -1)


def test_truncated_pixel_data_is_told() -> None:
    for path, problem in (("MR_truncated.dcm", True), ("MR_small.dcm", False), ("JPEG2000.dcm", False)):
        data = wheel_file(path).read_bytes()
        assert (pixel_data_problem(scan(data), len(data)) is not None) is problem
    data = wheel_file("CT_small.dcm").read_bytes()[:-1000]
    assert "of 32768 bytes" in str(pixel_data_problem(scan(data), len(data)))


def test_a_frame_without_a_size_is_refused() -> None:
    for sizes in ({"rows": 0}, {"columns": 0}, {"bits": 0}):
        data = image(element(0x7FE00010, "OW", bytes(8)), syntax="1.2.840.10008.1.2.1", **sizes)
        with pytest.raises(Unreadable):
            native_frame(scan(data))
        assert pixel_data_problem(scan(data), len(data)) is not None
