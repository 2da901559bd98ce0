"""C-STORE as modalities send: dcmtk's storescu as it comes, on one association and on four at once; the same for both
sides."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import Failed, Group
from bench.relay import Relay

PROGRAM = "/usr/bin/storescu"
"""Debian's: pynetdicom has put one of the same name beside Python's."""
ASSOCIATIONS = 4


def store(port: int, groups: Sequence[Group | Relay], folders: list[Path], associations: int) -> tuple[float, float]:
    """Send folders on so many associations at once: seconds it took, and of CPU in the server.

    Parameters
    ----------
    port, groups
        Of the server, and of what stands before it.
    folders
        What to send.
    """
    before = sum(group.cpu_seconds() for group in groups)
    began = time.perf_counter()
    senders = [
        subprocess.Popen(
            [PROGRAM, "-aec", "HILUM", "+sd", "+r", "127.0.0.1", str(port), *folders[n::associations]],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for n in range(associations)
    ]  # fmt: skip
    outputs = [sender.communicate()[0] for sender in senders]
    wall = time.perf_counter() - began
    for sender, output in zip(senders, outputs, strict=True):
        if sender.returncode:
            raise Failed(f"storescu ended with {sender.returncode}:\n{output.decode(errors='replace')[-1000:]}")
    return wall, sum(group.cpu_seconds() for group in groups) - before
