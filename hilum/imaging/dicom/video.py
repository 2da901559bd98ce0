"""The stored stream of a video instance (PS3.5 sections 8.2.5 to 8.2.8), put together from its fragments without a
copy, and which container it is in. Nothing here decodes it."""

import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, Final

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.frames import MAX_FRAGMENTS
from hilum.imaging.dicom.problems import Unreadable

_ITEM: Final = struct.Struct("<II")
_START: Final = 16


@dataclass(frozen=True, slots=True)
class VideoStream:
    """Where the bytes of a video stream lie.

    Attributes
    ----------
    fragments : sequence of (int, int)
        Offset in the file and length of each.
    media_type : str
        ``video/mp4``, ``video/mpeg`` (program or elementary stream of MPEG-2), ``video/mp2t`` or, where the container
        is none that has a media type, empty.
    """

    fragments: Sequence[tuple[int, int]]
    media_type: str

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(length for _, length in self.fragments)

    def read(self, file: BinaryIO, offset: int, length: int) -> bytes:
        """Read from the stream, ``length`` bytes from the 0-based ``offset``; fewer when it ends before."""
        ends = list(accumulate(size for _, size in self.fragments))
        pieces: list[bytes] = []
        index = bisect_right(ends, offset)
        while length > 0 and index < len(ends):
            place, size = self.fragments[index]
            within = offset - (ends[index] - size)
            file.seek(place + within)
            piece = file.read(min(size - within, length))
            if not piece:
                break
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
            index = bisect_right(ends, offset)
        return b"".join(pieces)


def video_stream(file: BinaryIO, start: int, end: int) -> VideoStream:
    """Find the fragments of a video.

    Parameters
    ----------
    file : BinaryIO
        The file, seekable.
    start, end : int
        Where its first fragment begins (its tag) and its last one ends, as `frames.frame_offsets` gives it.

    Raises
    ------
    Unreadable
        When the fragments are damaged.
    """
    fragments: list[tuple[int, int]] = []
    position = start
    while position + 8 <= end and len(fragments) < MAX_FRAGMENTS:
        file.seek(position)
        head = file.read(8)
        tag, length = _ITEM.unpack(head) if len(head) == 8 else (0, 0)
        if tag != a.ITEM or position + 8 + length > end:
            raise Unreadable("frames", "The compressed pixel data is damaged: a fragment has no item tag.")
        if length:
            fragments.append((position + 8, length))
        position += 8 + length
    if not fragments:
        raise Unreadable("frames", "The compressed pixel data holds no frame.")
    file.seek(fragments[0][0])
    return VideoStream(fragments, _media_type(file.read(min(_START, fragments[0][1]))))


def _media_type(start: bytes) -> str:
    if start[4:8] == b"ftyp":
        return "video/mp4"
    if start.startswith((b"\0\0\1\xba", b"\0\0\1\xb3")):
        return "video/mpeg"
    return "video/mp2t" if start.startswith(b"\x47") else ""
