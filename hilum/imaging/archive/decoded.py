"""Frames that were decoded lately, kept in memory up to a number of bytes, so that a change of the window costs no
second decoding. A frame is named by its instance's digest: what is kept can never be outdated."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hilum.imaging.dicom.image import ImageDescription
from hilum.imaging.dicom.native import Pixels

MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """What showing a frame takes: its values as `pixels.decode_frame` gives them, and its description."""

    pixels: Pixels
    image: ImageDescription


class DecodedFrames:
    """The frames used last; may be used by several threads.

    Parameters
    ----------
    max_bytes : int
        How many bytes of pixels are kept at most. A frame larger than half of it is not kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes: Final = max_bytes
        self._lock: Final = threading.Lock()
        self._frames: Final = OrderedDict[tuple[str, int], DecodedFrame]()
        self._bytes: int = 0

    @property
    def bytes(self) -> int:
        """How many bytes of pixels are kept."""
        return self._bytes

    def get(self, digest: str, frame: int, decode: Callable[[], DecodedFrame]) -> DecodedFrame:
        """Give a frame, decoded now if it is not kept.

        Parameters
        ----------
        digest
            Of the instance.
        frame
            Its number in the instance, 1-based.
        decode
            Decodes it.
        """
        key = digest, frame
        with self._lock:
            found = self._frames.get(key)
            if found is not None:
                self._frames.move_to_end(key)
                return found
        found = decode()
        size = found.pixels.nbytes
        if 2 * size <= self._max_bytes:
            with self._lock:
                self._keep(key, found, size)
        return found

    def _keep(self, key: tuple[str, int], found: DecodedFrame, size: int) -> None:
        if key in self._frames:
            return
        self._frames[key] = found
        self._bytes += size
        while self._bytes > self._max_bytes:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= oldest.pixels.nbytes
