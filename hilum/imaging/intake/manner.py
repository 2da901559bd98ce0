"""How files are to be taken, whichever way they came: what every part of the intake is told beside the files."""

from dataclasses import dataclass

from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.patients import Chosen
from hilum.imaging.intake.wrap import Wrap


@dataclass(frozen=True, slots=True)
class Manner:
    """How files are to be taken.

    Attributes
    ----------
    source
        Into which source.
    in_place
        Indexed where they lie instead of copied.
    origin
        What to record as the way in.
    chosen
        Whose a person said all of it is.
    wrap
        The study that a person named for images that are no DICOM.
    """

    source: SourceRef
    in_place: bool = False
    origin: str = "import"
    chosen: Chosen | None = None
    wrap: Wrap | None = None
