"""What the catalogue's writer is given, and what it tells: arrivals of a source, and the outcome of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from uuid import UUID

from hilum.core.errors import Conflict
from hilum.imaging.archive.further import NOTHING, Excerpt
from hilum.imaging.archive.identity import Known
from hilum.imaging.dicom.header import Header, Identity

State: TypeAlias = Literal["added", "replaced", "duplicate", "set_aside"]


@dataclass(frozen=True, slots=True)
class SourceRef:
    """A source as the writer needs it; with an ``intake_profile`` it de-identifies what comes in."""

    id: int
    key: str
    intake_profile: str = ""

    def refuse_as_it_is(self, what: str) -> None:
        """Raise ``Conflict`` where the source de-identifies, and would keep something as it came."""
        if self.intake_profile:
            raise Conflict(f"Source {self.key} de-identifies what comes in: {what}.")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance whose bytes are safe (an object, or a file in place) and whose header has been scanned."""

    name: str
    known: Known
    header: Header
    size: int
    digest: str
    crc32: int
    frames: int
    frame_offsets: Sequence[int] | None
    excerpt: Excerpt = NOTHING
    blob_key: str | None = None
    path: str | None = None
    path_mtime_ns: int | None = None
    fingerprint: UUID | None = None

    @property
    def identity(self) -> Identity:
        """Its UIDs."""
        return self.known.identity


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing that was given to the archive."""

    name: str
    state: State
    code: str = ""
    reason: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    images: int = 0
    given_patient: tuple[str, str] | None = None
    """Identifier and issuer that it names, where a person decided that it belongs to another."""


@dataclass(slots=True)
class Written:
    """What a batch changed; ``unneeded`` are keys of objects that hold what is archived under another key."""

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    new_studies: set[str] = field(default_factory=set[str])
    new_series: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    refused: list[tuple[Arrival, str, str]] = field(default_factory=list["tuple[Arrival, str, str]"])
    quarantined: set[str] = field(default_factory=set[str])
    unneeded: list[str] = field(default_factory=list[str])

    def add(self, other: "Written") -> None:
        """Take in what another batch changed."""
        self.outcomes.extend(other.outcomes)
        self.refused.extend(other.refused)
        self.new_studies |= other.new_studies
        self.new_series |= other.new_series
        self.quarantined |= other.quarantined
