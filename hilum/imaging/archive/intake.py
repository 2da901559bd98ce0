"""The hook by which a source de-identifies what comes in, before anything of it is stored: `Batch.add` gives each
instance to it and stores what it gives back. Who does it is plugged in from above (`hilum.core.plugins`)."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol, cast

from hilum.core.errors import TooLarge
from hilum.core.plugins import plugged
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.dicom.header import Header

if TYPE_CHECKING:
    from hilum.imaging.archive.store import Archive

MAX_BYTES: Final = 2 << 30
"""Of an instance that is de-identified, which is held in memory for it."""


class Withheld(Exception):
    """An instance that could not be de-identified, of which nothing is kept; ``code`` says why in a word, the message
    in a sentence without patient data."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code: Final = code


class Intake(Protocol):
    """De-identifies instances on their way in."""

    def __call__(self, source: SourceRef, data: bytes, inspect: Callable[[Header], None] | None) -> bytes:
        """Give the de-identified file; the profile is the source's.

        Parameters
        ----------
        source
            Where it comes in.
        data
            The original.
        inspect
            Told the original's header first; what it raises is raised.

        Raises
        ------
        NotDicom
            It is no DICOM.
        Withheld
            It may not come in.
        """
        ...


def intake_of(archive: "Archive") -> Intake:
    """What de-identifies for an archive."""
    maker = cast("Callable[[Archive], Intake]", plugged("intake"))
    return maker(archive)


def gathered(chunks: Iterable[bytes | bytearray | memoryview], limit: int) -> bytes:
    """An instance whole, in memory alone; raises ``TooLarge``."""
    most = min(limit, MAX_BYTES)
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > most:
            raise TooLarge(f"A source that de-identifies takes instances of at most {most} bytes.")
    return bytes(data)
