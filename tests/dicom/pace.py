"""How fast this machine is just now: what limits in CPU time are measured by, for a busy or an older machine takes
several times as long for everything."""

import struct
import time
from typing import Final

_USUAL: Final = 0.00125
"""Seconds of CPU that `_work` takes on the machine that the limits are of."""


def slower() -> float:
    """How many times as long as there a piece of work takes here, at least 1."""
    return max(1.0, min(_timed() for _ in range(30)) / _USUAL)


def _timed() -> float:
    began = time.process_time()
    _work()
    return time.process_time() - began


def _work() -> dict[str, tuple[int, ...]]:
    return {f"{number:08X}": struct.unpack("<HH", number.to_bytes(4, "little")) for number in range(3000)}
