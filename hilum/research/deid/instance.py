"""One file in, one de-identified file out: reading, the engine, the pixels, the marks of what was done, and a new file
around it. Who the person is, where the file goes and whether it may leave is for ``run`` and ``verify``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo

import hilum
from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dataset import MAX_DATA_SET, read_data_set, read_tail, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.header import Header, identity, scan_file
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.dicom.uids import is_video
from hilum.imaging.dicom.writer import element_bytes, meta_information
from hilum.research.deid.dates import Shift, older_than_89
from hilum.research.deid.engine import Change, Engine, Subject
from hilum.research.deid.faces.removal import covered, without_face
from hilum.research.deid.identifiers import Identifiers, Kind, Patterns
from hilum.research.deid.person import Person, identifiers_in
from hilum.research.deid.pixel_text.blackout import Refused
from hilum.research.deid.pixel_text.detector import missing
from hilum.research.deid.pixels import Box, Decision, Face, PixelStep, may_show_face, refusal, scan_reason
from hilum.research.deid.profile import VOCABULARY_UIDS, Profile
from hilum.research.deid.streams import OFFSET_TABLES, pixel_element
from hilum.research.deid.table import BASIC, CLEAN_FACES, CLEAN_PIXELS, OPTIONS, tables
from hilum.research.deid.text import Cleaner

_TEXTS: Final = {
    "BurnedInAnnotation": 0x00280301, "PatientIdentityRemoved": 0x00120062, "TimezoneOffsetFromUTC": 0x00080201,
    "LongitudinalTemporalInformationModified": 0x00280303,
}  # fmt: skip
_METHOD_CODES: Final = 0x00120064
_MODIFIED_DATES: Final = "113107"
_FACE_ALONE: Final = (
    "which is taken off whole series only, not off a single image: de-identify its folder by `hilum deid`, or take the "
    "originals in and make a data set of them."
)


class Quarantined(Exception):
    """An instance that may not leave; ``code`` says why in a word, the message in a sentence without patient data.
    ``boxes`` is where text was found in its pixels."""

    def __init__(self, code: str, sentence: str, boxes: tuple[Box, ...] = ()) -> None:
        super().__init__(sentence)
        self.code: Final = code
        self.boxes: Final = boxes


@dataclass(frozen=True, slots=True)
class Made:
    """A de-identified instance that nobody has verified yet.

    Attributes
    ----------
    data
        The file.
    changes
        What was done, an attribute each.
    patterns
        What is known of the person: may stand nowhere in it.
    old_uids
        UIDs of the original that may not, either.
    before
        Whether the original was de-identified already.
    pixels_cleaned
        Whether the pixels were looked at.
    blackened
        What of them is black now.
    paths
        Of all attributes of the original with their representation, if asked for.
    """

    data: bytes
    changes: list[Change]
    patterns: Patterns
    old_uids: frozenset[str]
    before: bool
    pixels_cleaned: bool
    blackened: tuple[Box, ...] = ()
    paths: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Pixels:
    """The file whose pixels may leave, how they were cleaned, and what of them was changed."""

    file: BinaryIO
    cleaned: bool = False
    face_gone: bool = False
    changed: tuple[Element, ...] = ()
    told: tuple[Change, ...] = ()
    blackened: tuple[Box, ...] = ()


class Deidentifier:
    """De-identifies files under one profile.

    Parameters
    ----------
    engine
        With the rules of the profile.
    pixel_step
        What looks at pixels; without it, instances whose pixels must be looked at are quarantined.
    """

    def __init__(self, engine: Engine, pixel_step: PixelStep | None = None) -> None:
        self._engine: Final = engine
        self._profile: Final[Profile] = engine.rules.profile
        self._pixel_step: Final = pixel_step
        self._zone: Final = ZoneInfo(self._profile.time_zone) if self._profile.time_zone else None

    def make(
        self,
        file: BinaryIO,
        person: Person,
        accession_number: str,
        *,
        decision: Decision | None = None,
        face: Face | None = None,
        explain: bool = False,
    ) -> Made:
        """De-identify one file.

        Parameters
        ----------
        file
            The original, seekable.
        person
            Whose it is.
        accession_number
            The new one.
        decision
            What a person decided on its pixels.
        face
            What of it goes with the face; None where that was not looked for.
        explain
            Whether to name all attributes of the original, too.

        Raises
        ------
        Quarantined
            When it may not leave.
        NotDicom, Unreadable
            When it cannot be read.
        """
        header = scan_file(file)
        identity(header)
        if header.deflated:
            file = inflated_file(file, header.data_set_offset, MAX_DATA_SET)
        data = read_data_set(file, header)
        elements = [*read_tree(data, header), *read_tail(data, header)]
        facts = _facts(elements)
        self._refuse(header, face)
        before = facts.get("PatientIdentityRemoved", "").upper() == "YES"
        known = frozenset(identifiers_in(elements, self._profile)) | person.known
        patterns, cleaner = _cleaner(
            known, frozenset((person.person_id, accession_number)), self._engine, self._profile.words
        )
        pixels = self._pixels(file, header, facts, patterns, decision, face)
        days = 0 if before and _moved_before(elements, facts) else person.days
        subject = Subject(
            person.person_id, accession_number,
            Shift(days, self._zone, facts.get("TimezoneOffsetFromUTC", "")), cleaner,
            old=person.old
            or older_than_89(header.date("PatientBirthDate"), header.date("StudyDate"))
            or _said_old(header),
        )  # fmt: skip
        made, changes = self._engine.deidentify(elements, header.first("SOPClassUID"), subject)
        found = {element.tag: element for element in made}
        found.update((element.tag, element) for element in pixels.changed)
        found.update(self._marks(header, pixels))
        old_uids = frozenset[str]() if "retain_uids" in self._profile.options else _own_uids(elements)
        return Made(
            self._file(file, header, found, pixels.file), [*changes, *pixels.told], patterns, old_uids, before,
            pixels_cleaned=pixels.cleaned, blackened=pixels.blackened,
            paths=tuple(_paths(elements, "")) if explain else (),
        )  # fmt: skip

    def _refuse(self, header: Header, face: Face | None) -> None:
        why = refusal(header)
        if why:
            raise Quarantined(why, "Documents and sound inside of DICOM are not de-identified.")
        if is_video(header.transfer_syntax_uid):
            raise Quarantined("video", "Video is not de-identified.")
        if header.pixel_data is not None and header.pixel_data.encapsulated and not header.little_endian:
            raise Quarantined("unreadable", "The compressed pixels are damaged.")
        if face is None and self._profile.faces != "flag" and may_show_face(header):
            why = _FACE_ALONE if self._profile.faces == "remove" else "and faces are not taken off."
            raise Quarantined("face", f"The volume may show a face, {why}")

    def _pixels(
        self,
        file: BinaryIO,
        header: Header,
        facts: dict[str, str],
        patterns: Patterns,
        decision: Decision | None,
        face: Face | None,
    ) -> _Pixels:
        """The file whose pixels may leave: without its face first, then without text."""
        if face is None:
            return self._without_text(file, header, facts, patterns, decision)
        try:
            made = without_face(file, header, face)
        except Refused as problem:
            raise Quarantined("face_unsure", f"Its face cannot be taken off: {problem}.") from None
        if made is None:
            return replace(self._without_text(file, header, facts, patterns, decision), face_gone=True)
        file = BytesIO(made.data)
        pixels = self._without_text(file, scan_file(file), facts, patterns, decision)
        told = Change("7FE00010", "OW", "", "deface", "face taken off", f"{covered(face)} samples")
        changed = {element.tag: element for element in (*made.changed, *pixels.changed)}
        return replace(pixels, face_gone=True, changed=tuple(changed.values()), told=(told, *pixels.told))

    def _without_text(
        self, file: BinaryIO, header: Header, facts: dict[str, str], patterns: Patterns, decision: Decision | None
    ) -> _Pixels:
        why = scan_reason(header, facts.get("BurnedInAnnotation", ""))
        if not why and self._profile.pixels == "all" and header.pixel_data is not None:
            why = "all_images"
        if not why and decision is None:
            return _Pixels(file)
        why = why or "somebody has decided on it"
        if self._pixel_step is None:
            sentence = f"Its pixels must be looked at for text before it may leave ({why})."
            raise Quarantined("pixels_unseen", f"{sentence} {missing()}".strip())
        verdict = self._pixel_step(file, header, patterns, decision)
        if verdict.state == "unsure":
            sentence = f"A person must look at its pixels ({verdict.reason or why})."
            raise Quarantined("pixels_unsure", sentence, verdict.boxes)
        if verdict.data is None:
            return _Pixels(file, cleaned=True)
        boxes = " ".join(f"{box.row},{box.column},{box.rows},{box.columns}" for box in verdict.boxes)
        told = Change("7FE00010", "OW", "", "blacken", verdict.reason or why, boxes)
        return _Pixels(
            BytesIO(verdict.data), cleaned=True, changed=verdict.changed, told=(told,), blackened=verdict.boxes
        )

    def _file(self, file: BinaryIO, header: Header, found: dict[int, Element], pixels: BinaryIO) -> bytes:
        # The new file is told by what the engine made of the old one's identity.
        sop_class = header.first("SOPClassUID")
        sop_instance = found[0x00080018].value.decode("ascii").strip(" \0")
        body = b""
        told = scan_file(pixels) if pixels is not file else header
        if header.pixel_data is not None:
            pixel = pixel_element(pixels, told, clear_unused=True)
            body = pixel.data
            if not pixel.same_fragments or pixels is not file:
                found = {tag: one for tag, one in found.items() if tag not in OFFSET_TABLES}
        compressed = told.pixel_data is not None and told.pixel_data.encapsulated
        syntax = told.transfer_syntax_uid if compressed else a.EXPLICIT_LITTLE
        head = b"".join(element_bytes(found[tag] for tag in sorted(found) if tag < 0x7FE00008))
        return b"".join((meta_information(sop_class, sop_instance, syntax), head, body))

    def _marks(self, header: Header, pixels: _Pixels) -> dict[int, Element]:
        """What says that, and how, the instance was de-identified (PS3.15 E.1.1, PS3.3 C.12.1.1.1)."""
        profile = self._profile
        codes = [BASIC, *(OPTIONS[option] for option in OPTIONS if option in profile.options)]
        if pixels.cleaned:
            codes.append(CLEAN_PIXELS)
        if pixels.face_gone:
            codes.append(CLEAN_FACES)
        dates = "UNMODIFIED" if profile.full_dates else "MODIFIED" if profile.modified_dates else "REMOVED"
        method = f"Hilum {hilum.__version__}, profile {profile.name[:16]}, PS3.15 {tables().edition}"
        marks = [
            _text(0x00120062, "CS", "YES"),
            _text(0x00120063, "LO", method),
            Element(_METHOD_CODES, "SQ", b"", [_code(*code) for code in codes]),
            _text(0x00280303, "CS", dates),
        ]
        if pixels.cleaned:
            marks.append(_text(0x00280301, "CS", "NO"))
        if pixels.face_gone or may_show_face(header):
            marks.append(_text(0x00280302, "CS", "NO" if pixels.face_gone else "YES"))
        return {element.tag: element for element in marks}


@lru_cache(maxsize=256)
def _cleaner(
    known: frozenset[tuple[Kind, str]], allowed: frozenset[str], engine: Engine, words: frozenset[str]
) -> tuple[Patterns, Cleaner]:
    patterns = Identifiers(set(known), set(allowed)).patterns()
    return patterns, Cleaner(patterns, engine.new_uid, words)


def _facts(elements: Sequence[Element]) -> dict[str, str]:
    found = {element.tag: element.value for element in elements if element.items is None}
    return {name: found[tag].decode("latin-1").strip(" \0") for name, tag in _TEXTS.items() if tag in found}


def _moved_before(elements: Sequence[Element], facts: dict[str, str]) -> bool:
    """Whether a de-identification before this one has moved, or removed, the dates."""
    if facts.get("LongitudinalTemporalInformationModified", "").upper() in ("MODIFIED", "REMOVED"):
        return True
    items = next((element.items for element in elements if element.tag == _METHOD_CODES), None) or []
    codes = {one.value.decode("latin-1").strip(" \0") for item in items for one in item if one.tag == 0x00080100}
    return _MODIFIED_DATES in codes


def _said_old(header: Header) -> bool:
    age = header.first("PatientAge").upper()
    return age.endswith("Y") and age[:-1].isdigit() and int(age[:-1]) > 89


def _own_uids(elements: Sequence[Element]) -> frozenset[str]:
    """UIDs of a data set, at any depth, that name something of this site."""
    found: set[str] = set()
    for element in elements:
        if element.items is not None:
            for item in element.items:
                found |= _own_uids(item)
        elif element.vr == "UI" and element.tag not in VOCABULARY_UIDS:
            for uid in element.value.decode("latin-1").split("\\"):
                found.add(uid.strip(" \0"))
    return frozenset(uid for uid in found if len(uid) > 12 and not uid.startswith("1.2.840.10008."))


def _paths(elements: Sequence[Element], above: str) -> Iterator[tuple[str, str]]:
    for tag, vr, _, items in elements:
        yield f"{above}{tag:08X}", vr
        for number, item in enumerate(items or (), 1):
            yield from _paths(item, f"{above}{tag:08X}/{number}/")


def _text(tag: int, vr: str, text: str) -> Element:
    return Element(tag, vr, text.encode("ascii"), None)


def _code(value: str, meaning: str) -> list[Element]:
    return [_text(0x00080100, "SH", value), _text(0x00080102, "SH", "DCM"), _text(0x00080104, "LO", meaning)]
