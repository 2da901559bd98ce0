"""Animated GIF (GIF89a) of pictures, a frame in memory at a time: the LZW coding by a codec, the blocks around it that
make an animation by hand. Greys are kept exactly, colours are put to the nearest of a fixed palette."""

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hilum.core.errors import Invalid
from hilum.imaging.dicom.picture import Picture

MAX_SIDE: Final = 0xFFFF
SHORTEST: Final = 20
"""Milliseconds between two frames below which viewers slow an animation down to ten frames a second."""

_HEADER: Final = 13
_TABLE: Final = 768
_DESCRIPTOR: Final = 10
_FOREVER: Final = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
_GREYS: Final = 56
_LEVELS: Final = (5, 8, 5)


def to_gif(pictures: Iterable[Picture], frame_ms: float = 0) -> Iterator[bytes]:
    """Pictures of one size as a GIF, in pieces.

    Parameters
    ----------
    pictures : iterable of ndarray of uint8
        Of shape (rows, columns) or (rows, columns, 3), all alike.
    frame_ms : float
        Time that each is shown, in milliseconds; 0 for a picture that stands still.

    Raises
    ------
    Invalid
        When they are too large for the format.
    """
    first = True
    for picture in pictures:
        if max(picture.shape[:2]) > MAX_SIDE:
            raise Invalid("The picture is too large for GIF; ask for PNG.")
        pixels, palette = (_indexed(picture), _palette()) if picture.ndim == 3 else (picture, _greys())
        room = 2 * pixels.size + 4096  # noise grows: the codec's own guess is then too small
        data = bytes(imagecodecs.gif_encode(np.ascontiguousarray(pixels), colormap=palette, out=room))
        if first:
            yield b"GIF89a" + data[6 : _HEADER + _TABLE] + (_FOREVER if frame_ms else b"")
            first = False
        if frame_ms:
            yield struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 4, round(max(frame_ms, SHORTEST) / 10), 0, 0)
        yield _image(data)
    yield b"\x3b"


def _image(data: bytes) -> bytes:
    """The image of a GIF that holds one: its descriptor and its blocks, whatever extension stands before."""
    place = _HEADER + _TABLE
    while data[place] == 0x21:
        place = _end_of_blocks(data, place + 2)
    return data[place : _end_of_blocks(data, place + _DESCRIPTOR + 1)]


def _end_of_blocks(data: bytes, place: int) -> int:
    while data[place]:
        place += 1 + data[place]
    return place + 1


@cache
def _greys() -> NDArray[np.uint8]:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)


@cache
def _palette() -> NDArray[np.uint8]:
    """Greys, and a cube of colours that is finest where eyes are."""
    greys = np.repeat(np.linspace(0, 255, _GREYS).round()[:, np.newaxis], 3, axis=1)
    red, green, blue = (np.linspace(0, 255, count).round() for count in _LEVELS)
    cube = np.stack(np.meshgrid(red, green, blue, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.concatenate((greys, cube)).astype(np.uint8)


@cache
def _nearest() -> NDArray[np.uint8]:
    """For each colour of five bits a channel the place in the palette that is nearest to it."""
    steps = (np.arange(32) * 255 / 31).astype(np.float32)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    palette = _palette().astype(np.float32)
    far = (colours**2).sum(1)[:, np.newaxis] - 2 * colours @ palette.T + (palette**2).sum(1)
    return far.argmin(1).astype(np.uint8)


def _indexed(picture: Picture) -> NDArray[np.uint8]:
    red, green, blue = (picture[..., channel].astype(np.uint16) >> 3 for channel in range(3))
    return _nearest().take(red << 10 | green << 5 | blue)
