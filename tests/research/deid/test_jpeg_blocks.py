"""Blocks of JPEG streams: black where they should be, the others the same to the last coefficient."""

from contextlib import suppress
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hilum.research.deid.pixel_text.jpeg_blocks import NotEditable, blacken_blocks
from hilum.research.deid.pixel_text.jpeg_stream import Huffman, read_stream
from hilum.research.deid.pixels import Box

BOXES = (Box(97, 45, 30, 260), Box(470, 630, 9, 11), Box(0, 0, 1, 1))


def picture(colours: int = 3) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    made = cv2.GaussianBlur(rng.integers(0, 255, (479, 641, 3)).astype(np.uint8), (0, 0), 3)
    made[100:120, 50:300] = 255
    return made if colours == 3 else np.ascontiguousarray(made[..., 0])


def pillow(values: NDArray[np.uint8], **how: object) -> bytes:
    file = BytesIO()
    Image.fromarray(values).save(file, "JPEG", **how)
    return file.getvalue()


def opencv(values: NDArray[np.uint8], **how: int) -> bytes:
    flags = [one for name, value in how.items() for one in (getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), value)]
    return cv2.imencode(".jpg", values, flags)[1].tobytes()


STREAMS = {
    **{f"444 {q}": (pillow(picture(), quality=q, subsampling=0), (8, 8)) for q in (10, 50, 90, 100)},
    "420": (pillow(picture(), quality=90, subsampling=2), (16, 16)),
    "422": (pillow(picture(), quality=90, subsampling=1), (8, 16)),
    "grey": (pillow(picture(1), quality=85), (8, 8)),
    "restarts": (pillow(picture(), quality=85, subsampling=2, restart_marker_blocks=7), (16, 16)),
    "optimized": (opencv(picture(), quality=90, optimize=1), (16, 16)),
    "optimized white": (opencv(np.full((479, 641), 255, np.uint8), quality=100, optimize=1), (8, 8)),
    "12 bits": (bytes(imagecodecs.jpeg8_encode(picture(1).astype(np.uint16) * 16, level=90, bitspersample=12)), (8, 8)),
}


def touched(shape: tuple[int, ...], unit: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], bool)
    for box in BOXES:
        tall, wide = unit
        rows = slice(box.row // tall * tall, -(-(box.row + box.rows) // tall) * tall)
        mask[rows, box.column // wide * wide : -(-(box.column + box.columns) // wide) * wide] = True
    return mask


def decoded(stream: bytes) -> NDArray[np.integer]:
    return imagecodecs.jpeg8_decode(stream).astype(np.int32)


@pytest.mark.parametrize("name", STREAMS)
def test_blocks_go_black_and_the_others_stay(name: str) -> None:
    stream, unit = STREAMS[name]
    made = blacken_blocks(stream, BOXES)
    before, after = decoded(stream), decoded(made)
    mask = touched(before.shape, unit)
    if unit != (8, 8):  # decoders smooth colour over the border of blocks
        inside = cv2.erode(mask.astype(np.uint8), np.ones((5, 5)), borderValue=1) > 0
        outside = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
    else:
        inside, outside = mask, ~mask
    assert np.array_equal(before[outside], after[outside])
    assert after[inside].max() <= 1
    assert before[inside].max() > 100


def test_no_box_changes_no_byte() -> None:
    for stream, _ in STREAMS.values():
        assert np.array_equal(decoded(blacken_blocks(stream, ())), decoded(stream))
    stream = STREAMS["420"][0]
    assert blacken_blocks(stream, ()) == stream


def test_white_is_black_where_low_values_are_shown_white() -> None:
    stream, unit = STREAMS["grey"]
    after = decoded(blacken_blocks(stream, BOXES, white=True))
    assert after[touched(after.shape, unit)].min() == 255


def test_red_green_and_blue_all_go() -> None:
    stream = bytes(imagecodecs.jpeg8_encode(picture(), level=90, colorspace="RGB", outcolorspace="RGB"))
    after = imagecodecs.jpeg8_decode(blacken_blocks(stream, BOXES, rgb=True), colorspace="RGB", outcolorspace="RGB")
    assert after[touched(after.shape, (8, 8))].max() <= 1


def test_codes_are_added_behind_the_others() -> None:
    table = Huffman(0, [0, 2, 1, *([0] * 13)], bytes((3, 4, 5)))
    before = table.codes()
    table.extend({0, 3, 7, 11})
    after = table.codes()
    assert {symbol: after[symbol] for symbol in before} == before
    assert set(after) == {0, 3, 4, 5, 7, 11}
    words = [f"{code:0{length}b}" for code, length in after.values()]
    assert all(not one.startswith(other) for one in words for other in words if one is not other)
    assert all("0" in word for word in words)
    with pytest.raises(NotEditable):
        Huffman(0, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], bytes(range(16))).extend({16})


def test_what_cannot_be_edited_is_refused() -> None:
    stream = STREAMS["420"][0]
    with pytest.raises(NotEditable, match="sequential"):
        blacken_blocks(pillow(picture(), progressive=True), BOXES)
    for wrong in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", stream[:200], stream[: len(stream) // 2], b"\0" * 100):
        with pytest.raises(NotEditable):
            blacken_blocks(wrong, BOXES)


def test_damage_is_refused_or_gives_a_stream() -> None:
    rng = np.random.default_rng(5)
    stream = np.frombuffer(pillow(picture(1)[:64, :64], quality=60), np.uint8)
    for _ in range(300):
        damaged = stream.copy()
        damaged[rng.integers(0, len(stream), 3)] = rng.integers(0, 256, 3)
        with suppress(NotEditable):
            assert read_stream(blacken_blocks(damaged.tobytes(), (Box(10, 10, 20, 20),))).components
