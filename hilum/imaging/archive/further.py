"""Attributes that QIDO-RS finds and gives beside the catalogue's own columns: a few that it must know, and those that
the setting names. What the files say of them is kept at one level each, as a part of their DICOM JSON (the column
``further``), by the writer of the catalogue and, for what was there before, by ``reindex``."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import BinaryIO, Final, TypeAlias

import msgspec
from blake3 import blake3

from hilum.core.errors import Invalid
from hilum.imaging.dicom.header import Header, Unreadable
from hilum.imaging.dicom.paths import AttributePath, parse_path
from hilum.imaging.dicom.source import MAX_INFLATED, inflated_file

Kept: TypeAlias = dict[str, msgspec.Raw] | None

MAX_NAMED: Final = 100
MAX_HEADER: Final = 16 << 20
"""Bytes of a header above which nothing is taken from it: one that has contours or frames described one by one."""

_NAMED: Final = re.compile(r"(?:(study|series|instance):)?(.+)")
_STUDY_GROUPS: Final = frozenset((0x0010, 0x0032))
_OF_STUDY: Final = """
    StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianIdentificationSequence
    ConsultingPhysicianName StudyDescription PhysiciansOfRecord NameOfPhysiciansReadingStudy ProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence ReferencedStudySequence ClinicalTrialSponsorName
    ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription PatientState AdmissionID
    ServiceEpisodeID ServiceEpisodeDescription ReasonForPerformedProcedureCodeSequence
    RequestingService PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
"""
_OF_SERIES: Final = """
    PerformingPhysicianName OperatorsName ReferencedPerformedProcedureStepSequence AnatomicalOrientationType
    InstitutionAddress InstitutionalDepartmentName DeviceSerialNumber SoftwareVersions GantryID DateOfLastCalibration
    TimeOfLastCalibration PatientPosition RequestAttributesSequence PerformedProcedureStepID
    PerformedProcedureStepEndDate PerformedProcedureStepEndTime PerformedProcedureStepDescription
    PerformedProtocolCodeSequence CommentsOnThePerformedProcedureStep ClinicalTrialCoordinatingCenterName
    ClinicalTrialSeriesID ClinicalTrialSeriesDescription PositionReferenceIndicator SynchronizationFrameOfReferenceUID
    SeriesDescriptionCodeSequence TreatmentSessionUID DeviceUID PresentationIntentType
"""
_STUDY_KEYWORDS: Final = frozenset(_OF_STUDY.split())
_SERIES_KEYWORDS: Final = frozenset(_OF_SERIES.split())


class Level(IntEnum):
    """A level of the hierarchy, from the top."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


@dataclass(frozen=True, slots=True)
class Further:
    """An attribute, and the level where it is kept; ``usual`` says that answers hold it without being asked."""

    level: Level
    path: AttributePath
    usual: bool = False


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What one file says, for the rows of its study, its series and itself; None for nothing."""

    study: Kept = None
    series: Kept = None
    instance: Kept = None


NOTHING: Final = Excerpt()

_REQUEST: Final = 0x00400275
REQUIRED: Final = tuple(
    Further(Level.SERIES, AttributePath((_REQUEST, tag), "SH", "", f"RequestAttributesSequence.{keyword}"), usual=True)
    for tag, keyword in ((0x00400009, "ScheduledProcedureStepID"), (0x00401001, "RequestedProcedureID"))
)
"""Those of PS3.18 table 10.6.1-5 that lie in a sequence."""


@dataclass(frozen=True, slots=True)
class Choice:
    """All attributes that are kept so, and the name by which a study is known to have been read for them."""

    attributes: tuple[Further, ...]
    name: str

    def of(self, level: Level) -> list[AttributePath]:
        """Those of one level."""
        return [each.path for each in self.attributes if each.level == level]

    def take(
        self, header: Header, head: bytes, reader: Callable[[], AbstractContextManager[BinaryIO]], *, above: bool = True
    ) -> Excerpt:
        """Take from a file what is kept of it.

        Parameters
        ----------
        header
            Its header.
        head
            Its first bytes, as many as are at hand.
        reader
            Opens it.
        above
            Whether what belongs to its study and series is wanted as well.
        """
        levels = [level for level in Level if above or level == Level.INSTANCE]
        wanted = {level: paths for level in levels if (paths := self.of(level))}
        if not wanted or header.header_length > MAX_HEADER:
            return NOTHING
        data = head[: header.header_length]
        if header.deflated or len(head) < header.header_length:
            with reader() as file:
                plain = inflated_file(file, header.data_set_offset, MAX_INFLATED) if header.deflated else file
                plain.seek(0)
                data = plain.read(header.header_length)
        if header.little_endian and not any(_mark(path) in data for paths in wanted.values() for path in paths):
            return NOTHING
        return _taken(header, data, wanted)


def _mark(path: AttributePath) -> bytes:
    """Bytes that a little-endian file holds if it holds the attribute."""
    if path.creator:
        return path.creator.encode() if path.creator.isascii() else b""
    tag = path.tags[0]
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")


def _taken(header: Header, data: bytes, wanted: dict[Level, list[AttributePath]]) -> Excerpt:
    from hilum.imaging.dicom.dataset import DataSet, read_tree  # here, for it loads pydicom
    from hilum.imaging.dicom.excerpt import take

    try:
        elements = read_tree(DataSet(data), header)
    except Unreadable:
        return NOTHING
    return Excerpt(*(take(elements, wanted[level]) or None if level in wanted else None for level in Level))


def merged(known: Kept, given: Kept) -> Kept:
    """What is known, with what another file adds to it."""
    return (given or {}) | (known or {}) or None


@lru_cache(maxsize=8)
def chosen(named: tuple[str, ...]) -> Choice:
    """Read the setting.

    Parameters
    ----------
    named : tuple of str
        Each the name of an attribute (see `parse_path`), perhaps with its level before it: ``series:OperatorsName``.
        Without one, attributes of patient and study belong to the study, those of series and equipment to the series,
        all others and private ones to the instance.

    Raises
    ------
    Invalid
        A name is none, or there are too many.
    """
    found = {each.path.name: each for each in (*REQUIRED, *named_attributes("HILUM_QIDO_ATTRIBUTES", named))}
    attributes = tuple(found.values())
    names = sorted(f"{each.level.name}:{each.path.name}" for each in attributes)
    return Choice(attributes, blake3("\n".join(names).encode()).hexdigest()[:16])


def named_attributes(setting: str, named: Sequence[str]) -> list[Further]:
    """Read attributes that a setting names, each once; forms and levels as of `chosen`.

    Raises
    ------
    Invalid
        A name is none, or there are too many; it tells which setting that is.
    """
    found: dict[str, Further] = {}
    for text in named:
        try:
            each = _further(text)
        except (ValueError, KeyError):
            raise Invalid(
                f"{setting}: '{text}' is no attribute. Write a keyword, a tag of eight hexadecimal digits, "
                "a path of them such as ProcedureCodeSequence.CodeValue, or a private tag with its creator such as "
                "0009xx01(CREATOR); 'study:', 'series:' or 'instance:' before it says where it belongs."
            ) from None
        found.setdefault(each.path.name, each)
    if len(found) > MAX_NAMED:
        raise Invalid(f"{setting}: at most {MAX_NAMED} attributes can be named.")
    return list(found.values())


def _further(text: str) -> Further:
    match = _NAMED.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    path = parse_path(match[2].strip())
    return Further(Level[match[1].upper()] if match[1] else _level(path), path)


def _level(path: AttributePath) -> Level:
    outermost = path.keyword.partition(".")[0]
    if path.creator:
        return Level.INSTANCE
    if path.tags[0] >> 16 in _STUDY_GROUPS or outermost in _STUDY_KEYWORDS:
        return Level.STUDY
    return Level.SERIES if outermost in _SERIES_KEYWORDS else Level.INSTANCE
