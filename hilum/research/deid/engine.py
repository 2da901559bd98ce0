"""The engine: a data set in, the de-identified data set out, at any depth and for every SOP class. It carries out the
rules that a profile makes of the tables and says what it did; pixels, files and folders are for other modules."""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from hilum.imaging.dicom.dataset import CHARACTER_SET, split_text, whole_text
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.text import DEFAULT, CharacterSet
from hilum.research.deid import content
from hilum.research.deid.dates import Shift, capped_age
from hilum.research.deid.profile import Action, Rule, Rules
from hilum.research.deid.text import Cleaner

TEXT: Final = frozenset(("LO", "LT", "SH", "ST", "UC", "UT"))
_STRINGS: Final = TEXT | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "PN", "TM", "UI", "UR"}
_LENGTHS: Final = {"SH": 16, "LO": 64, "ST": 1024, "LT": 10240}
_DUMMIES: Final = {
    "AE": "REMOVED", "AS": "000D", "CS": "REMOVED", "DA": "19000101", "DS": "0", "DT": "19000101000000", "IS": "0",
    "LO": "REMOVED", "LT": "REMOVED", "PN": "REMOVED", "SH": "REMOVED", "ST": "REMOVED", "TM": "000000",
    "UC": "REMOVED", "UR": "urn:removed", "UT": "REMOVED",
}  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_TIME: Final = re.compile(r"\d{2}(?::?[0-5]\d(?::?[0-6]\d(?:\.\d{1,6})?)?)?", re.ASCII)
_CODE_STRING: Final = re.compile(r"[A-Za-z0-9 _./+\-()]*")
_WIDTHS: Final = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 4, "OW": 2, "OB": 2, "UV": 8, "SV": 8}
_UNSTRUCTURED: Final = frozenset((0x00420011, 0x00340007))
_TRAILING_PADDING: Final = 0xFFFCFFFC
_CODING_SCHEME, _CODE_MEANING = 0x00080102, 0x00080104
_LOCAL_MEANING: Final = Rule(Action.CLEAN, "the meaning of a local code", Action.DUMMY)
_CODECS: Final = (
    "utf_8", "latin_1", "gb18030", "iso2022_jp", "iso8859_2", "iso8859_5", "iso8859_6", "iso8859_7", "iso8859_8",
    "iso8859_9", "iso8859_3", "iso8859_4", "iso8859_15", "tis_620", "shift_jis", "euc_kr",
)  # fmt: skip
"""In which a text is written anew; of these the one is taken that is read back as the same text."""
_SHOWN: Final = 2048
_MAX_LEAVES: Final = 2000
_LONG_NUMBER: Final = 6
"""Digits of a number that is an identifier rather than a measurement when it is one of the person's."""
_CLEANED: Final = {Action.CLEAN: Cleaner.describe, Action.TECHNICAL: Cleaner.plain}


class Change(NamedTuple):
    """What was done to one attribute: path (tags with item numbers from 1 between them), VR, old, action, why, new."""

    path: str
    vr: str
    original: str
    action: str
    reason: str
    new: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose instance it is, and what it becomes.

    Attributes
    ----------
    person_id, accession_number
        The new ones.
    shift
        How dates move.
    cleaner
        What cleans texts of this person.
    old
        Whether the person was over 89 at the time of the study.
    """

    person_id: str
    accession_number: str
    shift: Shift
    cleaner: Cleaner
    old: bool = False


class Engine:
    """De-identifies data sets under one profile.

    Parameters
    ----------
    rules
        Of the profile.
    new_uid
        The new UID of an old one.
    """

    def __init__(self, rules: Rules, new_uid: Callable[[str], str]) -> None:
        self.rules: Final = rules
        self.new_uid: Final = new_uid

    def deidentify(
        self, elements: Sequence[Element], sop_class_uid: str, subject: Subject
    ) -> tuple[list[Element], list[Change]]:
        """The data set without identifiers, in the order of its tags, and what was changed.

        Parameters
        ----------
        elements
            A data set without its Pixel Data.
        sop_class_uid
            Of the instance.
        subject
            Whose it is.
        """
        one = _One(self, sop_class_uid, subject)
        return one.data_set(elements, DEFAULT, 0, ""), one.changes


class _One:
    """The work on one instance."""

    def __init__(self, engine: Engine, sop_class_uid: str, subject: Subject) -> None:
        self.changes: list[Change] = []
        self._rules: Final = engine.rules
        self._new_uid: Final = engine.new_uid
        self._sop_class: Final = sop_class_uid
        self._subject: Final = subject

    def data_set(
        self, elements: Sequence[Element], outer: CharacterSet, parent: int, above: str, said: Action | None = None
    ) -> list[Element]:
        """One level; ``said`` is what a content item's concept says of its value."""
        characters = _characters(elements, outer)
        creators = _Creators(elements)
        local = _locally_coded(elements)
        item = any(element.tag == content.CONCEPT for element in elements)
        made: dict[int, Element] = {}
        for element in elements:
            tag = element.tag
            if tag & 0xFFFF == 0 or tag >> 16 < 8 or tag == _TRAILING_PADDING:
                continue
            if tag >> 16 & 1:
                new = self._private(element, creators, characters, above)
            else:
                vr = element.vr
                if vr == "UN" and element.items is None:
                    vr = self._rules.table_vr(tag) or "UN"
                rule = self._rules.rule(tag, vr, parent, self._sop_class)
                if tag == _CODE_MEANING and local:
                    rule = _LOCAL_MEANING
                elif tag in content.VALUES and item:
                    rule = content.value_rule(tag, rule, said, self._rules.profile)
                new = self._apply(element._replace(vr=vr), rule, characters, above)
            if new is not None:
                made[tag] = new
        made.update(creators.kept(made))
        return [made[tag] for tag in sorted(made)]

    def _private(self, element: Element, creators: "_Creators", characters: CharacterSet, above: str) -> Element | None:
        """A private attribute: kept when its creator and element are on the list of safe ones."""
        if creators.is_creator(element.tag):
            return None  # put back when something of its block stays
        creator = creators.of(element.tag)
        vr = self._rules.safe_private.get((element.tag >> 16, creator, element.tag & 0xFF))
        if vr is None or (vr == "SQ") != (element.items is not None):
            self._removed(element, above, "private attribute", characters)
            return None
        return self._apply(element._replace(vr=vr), self._rules.private_rule(vr), characters, above)

    def _apply(self, element: Element, rule: Rule, characters: CharacterSet, above: str) -> Element | None:
        if element.items is not None:
            return self._sequence(element, rule, characters, above)
        tag, vr, value, _ = element
        if rule.action is Action.REMOVE or (vr == "SQ" and value):
            self._removed(element, above, rule.reason, characters)
            return None
        new = self._value(element, rule, characters)
        if new is None:
            self._removed(element, above, f"{rule.reason}; nothing is left", characters)
            return None
        if new != value:
            self._note(above, element, characters, rule.action, rule.reason, new)
        return Element(tag, vr, new, None)

    def _sequence(self, element: Element, rule: Rule, characters: CharacterSet, above: str) -> Element | None:
        tag, _, _, items = element
        if rule.action is Action.REMOVE or items is None:
            self._removed(element, above, rule.reason, characters)
            return None
        if rule.action is Action.EMPTY:
            self._removed(element, above, rule.reason, characters)
            return Element(tag, "SQ", b"", [])
        made: list[list[Element]] = []
        for number, item in enumerate(items, 1):
            path = f"{above}{tag:08X}/{number}/"
            said = content.told(item, self._rules.profile)
            if said is Action.REMOVE:
                self._item_removed(item, path, "E.3.4-1 X", characters)
                continue
            made.append(self.data_set(item, characters, tag, path, said))
        return Element(tag, "SQ", b"", made)

    def _value(self, element: Element, rule: Rule, characters: CharacterSet) -> bytes | None:
        """The new bytes of a value; None when nothing may be left of the attribute."""
        tag, vr, value, _ = element
        action, subject = rule.action, self._subject
        if action is Action.EMPTY:
            return b""
        if action is Action.DUMMY:
            return self._dummy(tag, vr, value)
        if action is Action.PERSON:
            return subject.person_id.encode()
        if action is Action.ACCESSION:
            return subject.accession_number.encode()
        if not value:
            return value
        if vr not in _STRINGS:
            return None if vr == "UN" else value
        text = whole_text(vr, value, characters)
        parts = split_text(vr, text)
        made = [self._text(vr, part, rule) for part in parts]
        if made == parts:
            return value
        left = [one for one in made if one]
        if not left or (vr in ("DA", "DT", "TM", "DS", "IS") and None in made):
            return self._instead(tag, vr, value, rule.otherwise)
        return _encoded("\\".join(one or "" for one in made), vr, characters)

    def _instead(self, tag: int, vr: str, value: bytes, action: Action) -> bytes | None:
        if action is Action.REMOVE:
            return None
        # Of a code string every value means something: none is better than a wrong one.
        return self._dummy(tag, vr, value) if action is Action.DUMMY and vr != "CS" else b""

    def _text(self, vr: str, text: str, rule: Rule) -> str | None:
        """One value of a text; None when it may not stay."""
        action, subject = rule.action, self._subject
        if not text:
            return text
        if action is Action.UID:
            return "\\".join(map(self._new_uid, text.split("\\")))
        if action is Action.SHIFT or action is Action.BIRTH:
            return self._moved(vr, text, birth=action is Action.BIRTH)
        if action is Action.AGE or vr == "AS":
            return capped_age(text)
        if vr in ("DS", "IS"):
            known = len(text) >= _LONG_NUMBER and subject.cleaner.knows(text)
            return text if _NUMBER.fullmatch(text) and not known else None
        if vr in ("DA", "TM", "DT"):
            return text if _valid_time(vr, text) else None
        if vr == "CS":
            known = subject.cleaner.knows(text) or not _CODE_STRING.fullmatch(text)
            return "" if known else text
        if vr == "UI":
            if subject.cleaner.knows(text):
                return self._new_uid(text)
            return text if re.fullmatch(r"[0-9.]{1,64}", text) else None
        made = _CLEANED.get(action, Cleaner.scrub)(subject.cleaner, text)
        return made[: _LENGTHS.get(vr, 1 << 30)].rstrip() if made != text else text

    def _moved(self, vr: str, text: str, *, birth: bool) -> str | None:
        shift = self._subject.shift
        if birth and self._subject.old:
            return None
        if birth and self._rules.profile.full_dates:
            return text if _valid_time(vr, text) else None
        if vr == "DA":
            return shift.date(text)
        if vr == "DT":
            return shift.datetime(text)
        if vr == "TM":
            return text if _TIME.fullmatch(text) else None
        return "+0000" if shift.zone is not None and vr == "SH" else None

    def _dummy(self, tag: int, vr: str, value: bytes) -> bytes | None:
        if tag in _UNSTRUCTURED:
            return b"\0\0"
        if vr == "UI":
            return self._new_uid(value.decode("latin-1").strip(" \0") or "0").encode()
        text = _DUMMIES.get(vr)
        return text.encode() if text is not None else bytes(_WIDTHS.get(vr, 2))

    def _removed(self, element: Element, above: str, reason: str, characters: CharacterSet) -> None:
        if element.items is None:
            self._note(above, element, characters, Action.REMOVE, reason, b"")
            return
        for number, item in enumerate(element.items, 1):
            self._item_removed(item, f"{above}{element.tag:08X}/{number}/", reason, characters)

    def _item_removed(self, item: Sequence[Element], path: str, reason: str, outer: CharacterSet) -> None:
        if len(self.changes) > _MAX_LEAVES:
            return
        characters = _characters(item, outer)
        for element in item:
            self._removed(element, path, reason, characters)

    def _note(
        self, above: str, element: Element, characters: CharacterSet, action: Action, reason: str, new: bytes
    ) -> None:
        old = _shown(element.vr, element.value, characters)
        made = _shown(element.vr, new, characters) if new else ""
        self.changes.append(Change(f"{above}{element.tag:08X}", element.vr, old, action.value, reason, made))


class _Creators:
    """The private creators of one level (PS3.5 section 7.8.1)."""

    def __init__(self, elements: Sequence[Element]) -> None:
        self._elements: Final[Mapping[int, Element]] = {
            element.tag: element for element in elements if self.is_creator(element.tag)
        }

    @staticmethod
    def is_creator(tag: int) -> bool:
        return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF

    def of(self, tag: int) -> str:
        """The creator of a private attribute; empty where nobody claims its block."""
        element = self._elements.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        return element.value.decode("latin-1").strip(" \0") if element is not None else ""

    def kept(self, made: Mapping[int, Element]) -> Iterator[tuple[int, Element]]:
        """The creators of what stays, written anew."""
        for tag in [tag for tag in made if tag & 0x10000]:
            place = tag & 0xFFFF0000 | tag >> 8 & 0xFF
            yield place, Element(place, "LO", self.of(tag).encode("latin-1"), None)


def _locally_coded(elements: Sequence[Element]) -> bool:
    """Whether a code is of a scheme of the site's own (PS3.16 section 8.2): what it means is then anyone's words."""
    scheme = next((element.value for element in elements if element.tag == _CODING_SCHEME), None)
    return scheme is not None and scheme.strip(b" \0").upper().startswith((b"99", b"L ", b"LOCAL"))


def _characters(elements: Sequence[Element], outer: CharacterSet) -> CharacterSet:
    own = next((element.value for element in elements if element.tag == CHARACTER_SET), b"")
    return CharacterSet(own.decode("latin-1")) if own else outer


def _valid_time(vr: str, text: str) -> bool:
    if vr == "TM":
        return _TIME.fullmatch(text) is not None
    still = Shift(0)
    return (still.date(text) if vr == "DA" else still.datetime(text)) is not None


def _encoded(text: str, vr: str, characters: CharacterSet) -> bytes:
    """A text in the data set's own character set; what that cannot be made to hold is left out."""
    if text.isascii():
        return text.encode("ascii")
    for codec in _CODECS:
        try:
            encoded = text.encode(codec)
        except UnicodeEncodeError:
            continue
        if whole_text(vr, encoded, characters) == text:
            return encoded
    return " ".join(text.encode("ascii", "ignore").decode().split()).encode("ascii")


def _shown(vr: str, value: bytes, characters: CharacterSet) -> str:
    if vr in _STRINGS:
        return whole_text(vr, value[:_SHOWN], characters)
    if vr in ("US", "UL", "SS", "SL", "FL", "FD") and len(value) <= 64:
        code = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}[vr]
        size = struct.calcsize(code)
        return "\\".join(str(one) for (one,) in struct.iter_unpack(f"<{code}", value[: len(value) // size * size]))
    return f"{len(value)} bytes"
