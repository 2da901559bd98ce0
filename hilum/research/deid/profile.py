"""Profiles: small TOML files that say which options of PS3.15 Annex E are in force and what a site wants otherwise. A
profile with the tables makes a rule for every attribute there can be; ``engine`` carries rules out."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from hilum.core.errors import Invalid
from hilum.research.deid.table import CURVE, OPTIONS, OVERLAY, Row, tables
from hilum.research.deid.words import fold

MAX_PROFILE_BYTES: Final = 1 << 20
_DATES: Final = frozenset(("DA", "DT", "TM"))
_TEXT: Final = frozenset(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"))
_VRS: Final = frozenset(
    "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()  # noqa: SIM905
)
_TIMEZONE: Final = 0x00080201
# Retired, in no row of the tables, and about nothing but the image.
_HARMLESS_RETIRED: Final = frozenset((0x00280005, 0x00280040, 0x00280060, 0x00280200, 0x00201070, 0x00540401))
# UIDs that name a vocabulary or a kind of object, not an instance.
VOCABULARY_UIDS: Final = frozenset(
    (0x0008010C, 0x00080117, 0x00080118, 0x00080016, 0x0008001A, 0x0008001B, 0x0008115A, 0x00081150, 0x00083002)
)


class Action(StrEnum):
    """What becomes of an attribute."""

    KEEP = "keep"
    TECHNICAL = "technical"
    """Keep, without what is known of the person: of versions and models, which look like dates and addresses."""
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    CLEAN = "clean"
    SHIFT = "shift"
    UID = "uid"
    AGE = "age"
    BIRTH = "birth"
    PERSON = "person"
    ACCESSION = "accession"


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of an attribute, why, and what instead when cleaning leaves nothing of it."""

    action: Action
    reason: str
    otherwise: Action = Action.REMOVE


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    title: str = ""
    base: str = ""
    options: list[str] | None = None
    unmapped: Literal["quarantine", "pseudonym"] | None = None
    time_zone: str | None = None
    faces: Literal["flag", "quarantine", "remove"] | None = None
    xr: bool | None = None
    pixels: Literal["clean", "all", "quarantine"] | None = None
    markers: Literal["keep", "blacken"] | None = None
    ultrasound: Literal["regions", "text"] | None = None
    device_rules: str | None = None
    attributes: dict[str, Action] = msgspec.field(default_factory=dict[str, Action])
    words: list[str] = msgspec.field(default_factory=list[str])
    safe_private: list["_Private"] = msgspec.field(default_factory=list["_Private"])


class _Private(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    creator: str
    tag: str
    vr: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile with what it is based on.

    Attributes
    ----------
    options
        Keys of `table.OPTIONS`.
    unmapped
        What becomes of a patient whom no map names.
    time_zone
        Name of the zone of the site's clocks, for the offset of daylight saving; empty: offsets are dropped.
    faces
        What becomes of volumes that may show a face: they are flagged as recognizable, quarantined, or their face is
        taken off, and what that fails with is quarantined.
    xr
        Whether folders say XR for CR and DX.
    pixels
        Whether text in pixels is found and made black: in what may hold it, or in all images; or what may hold it is
        quarantined.
    markers
        Whether words of side and position and short numbers stay in pixels.
    ultrasound
        Whether all outside of the regions that an ultrasound image declares goes black, or only text.
    device_rules
        The path of a site's file of where its devices write text; empty for none.
    attributes
        What a site decides otherwise, by tag.
    words
        Further words that descriptions may hold.
    safe_private
        Further private attributes that are kept: VR by group, creator and low byte of the element.
    """

    name: str
    title: str = ""
    options: frozenset[str] = frozenset()
    unmapped: Literal["quarantine", "pseudonym"] = "quarantine"
    time_zone: str = ""
    faces: Literal["flag", "quarantine", "remove"] = "flag"
    xr: bool = False
    pixels: Literal["clean", "all", "quarantine"] = "clean"
    markers: Literal["keep", "blacken"] = "keep"
    ultrasound: Literal["regions", "text"] = "regions"
    device_rules: str = ""
    attributes: Mapping[int, Action] = field(default_factory=dict[int, Action])
    words: frozenset[str] = frozenset()
    safe_private: Mapping[tuple[int, str, int], str] = field(default_factory=dict[tuple[int, str, int], str])

    @property
    def modified_dates(self) -> bool:
        """Whether dates are moved rather than left or removed."""
        return "retain_longitudinal_modified_dates" in self.options and not self.full_dates

    @property
    def full_dates(self) -> bool:
        """Whether dates stay as they are."""
        return "retain_longitudinal_full_dates" in self.options


def profile_names() -> list[str]:
    """The profiles that come with Hilum."""
    return sorted(path.name.removesuffix(".toml") for path in (files(__package__ or "") / "profiles").iterdir())


def load_profile(name: str) -> Profile:
    """A profile by its name, or a site's own by the path of its file (``.toml``).

    Raises
    ------
    Invalid
        When there is none, or it says something that is not understood.
    """
    return _loaded(name, 0)


def _loaded(name: str, depth: int) -> Profile:
    if depth > 5:
        raise Invalid(f"The profile {name} is based on itself, or on too many others.")
    given = _read(name)
    base = _loaded(given.base, depth + 1) if given.base else Profile("")
    options = base.options if given.options is None else frozenset(given.options)
    if unknown := sorted(options - OPTIONS.keys()):
        raise Invalid(f"The profile {given.name} names no option of PS3.15: {', '.join(unknown)}.")
    _check_zone(given.time_zone)
    own = {_tag(key, given.name): action for key, action in given.attributes.items()}
    private = {_private(one, given.name): one.vr for one in given.safe_private}
    return Profile(
        name=given.name,
        title=given.title or base.title,
        options=options,
        unmapped=given.unmapped or base.unmapped,
        time_zone=base.time_zone if given.time_zone is None else given.time_zone,
        faces=given.faces or base.faces,
        xr=base.xr if given.xr is None else given.xr,
        pixels=given.pixels or base.pixels,
        markers=given.markers or base.markers,
        ultrasound=given.ultrasound or base.ultrasound,
        device_rules=base.device_rules if given.device_rules is None else _beside(name, given.device_rules),
        attributes={**base.attributes, **own},
        words=base.words | {fold(word) for word in given.words},
        safe_private={**base.safe_private, **private},
    )


def _read(name: str) -> _File:
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise Invalid(f"There is no profile {name}.")
        with path.open("rb") as file:
            text = file.read(MAX_PROFILE_BYTES).decode("utf-8", "replace")
    elif name in profile_names():
        text = (files(__package__ or "") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise Invalid(f"There is no profile {name}: take one of {', '.join(profile_names())}, or a file NAME.toml.")
    try:
        return msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"The profile {name} cannot be read: {error}.") from None


def _beside(profile: str, path: str) -> str:
    """A path that a profile names, told from the folder of the profile."""
    return str(Path(profile).resolve().parent / path) if path and profile.endswith(".toml") else path


def _check_zone(name: str | None) -> None:
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise Invalid(f"There is no time zone {name}.") from None


def _tag(key: str, profile: str) -> int:
    from pydicom.datadict import tag_for_keyword

    found = tag_for_keyword(key)
    if found is None and len(key) == 8:
        try:
            found = int(key, 16)
        except ValueError:
            found = None
    if found is None:
        raise Invalid(f"The profile {profile} names no attribute: {key}. Write a keyword, or a tag as 00100010.")
    return found


def _private(one: _Private, profile: str) -> tuple[int, str, int]:
    try:
        group, element = int(one.tag[:4], 16), int(one.tag[-2:], 16)
    except ValueError:
        raise Invalid(f"The profile {profile}: a private tag is written as 0019xx0c, not {one.tag}.") from None
    if one.vr not in _VRS:
        raise Invalid(f"The profile {profile}: there is no value representation {one.vr}.")
    return group, one.creator.strip(), element


class Rules:
    """The rule of every attribute under one profile."""

    def private_rule(self, vr: str) -> Rule:
        """The rule of a private attribute that is safe to keep: dates, UIDs and names are treated as everywhere."""
        rule = self._by_representation(vr, keep_uids=False)
        return rule if rule is not None else Rule(Action.KEEP, "safe private attribute")

    def __init__(self, profile: Profile) -> None:
        self.profile: Final = profile
        self._tables: Final = tables()
        self._codes: dict[tuple[int, str], Rule | str] = {}
        self.safe_private: Final[Mapping[tuple[int, str, int], str]] = {
            **(self._tables.safe_private if "retain_safe_private" in profile.options else {}),
            **profile.safe_private,
        }

    def rule(self, tag: int, vr: str, parent: int, sop_class_uid: str) -> Rule:
        """The rule of a public attribute.

        Parameters
        ----------
        tag, vr
            Of the attribute.
        parent
            Tag of the sequence around it, 0 at top level.
        sop_class_uid
            Of the instance: it decides the attribute's type.
        """
        key = (tag, vr)
        found = self._codes.get(key)
        if found is None:
            found = self._codes[key] = self._settle(tag, vr)
        return found if isinstance(found, Rule) else self._alternative(found, tag, parent, sop_class_uid)

    def table_vr(self, tag: int) -> str:
        """The value representation that the tables have for a tag; empty where they have none."""
        row = self._tables.attributes.get(tag)
        return row.vr if row is not None else ""

    def _settle(self, tag: int, vr: str) -> Rule | str:
        own = self.profile.attributes.get(tag)
        if own is not None:
            return Rule(own, f"profile {self.profile.name}", Action.EMPTY)
        if tag >> 24 in (CURVE >> 24, OVERLAY >> 24):
            return Rule(Action.REMOVE, "E.1-1 curves and overlays X")
        row = self._tables.attributes.get(tag)
        return self._by_row(row, tag, vr) if row is not None else self._unlisted(tag, vr)

    def _by_row(self, row: Row, tag: int, vr: str) -> Rule | str:
        codes = {option: code for option, code in row.options.items() if option in self.profile.options}
        profile = self.profile
        if tag == _TIMEZONE and profile.modified_dates:
            return Rule(Action.SHIFT, "E.1-1 retain_longitudinal_modified_dates C")
        if vr in _DATES and "retain_longitudinal_modified_dates" in codes and profile.modified_dates:
            return Rule(Action.SHIFT, "E.1-1 retain_longitudinal_modified_dates C", _fallback(row.basic))
        kept = next((option for option, code in codes.items() if code == "K"), None)
        if kept is not None:
            return Rule(Action.AGE if vr == "AS" else Action.KEEP, f"E.1-1 {kept} K", _fallback(row.basic))
        cleaned = next((option for option, code in codes.items() if code == "C"), None)
        if cleaned is not None and (vr in _TEXT or vr == "SQ"):
            return Rule(Action.CLEAN, f"E.1-1 {cleaned} C", _fallback(row.basic))
        if "/" in row.basic:
            return row.basic
        return Rule(_plain(row.basic), f"E.1-1 {row.basic}")

    def _unlisted(self, tag: int, vr: str) -> Rule:
        """What the tables do not name: known and current attributes stay, by their representation."""
        known, retired = _dictionary(tag)
        if not known:
            return Rule(Action.REMOVE, "unknown attribute")
        if retired and tag not in _HARMLESS_RETIRED:
            return Rule(Action.REMOVE, "retired attribute")
        judged = self._tables.unlisted.get(tag)
        if judged is not None and not (judged == "clean" and vr not in _TEXT):
            return Rule(Action(judged), "no row in E.1-1; unlisted.csv", Action.DUMMY)
        found = self._by_representation(vr, keep_uids=tag in VOCABULARY_UIDS)
        return found if found is not None else Rule(Action.KEEP, "no row in E.1-1", Action.DUMMY)

    def _by_representation(self, vr: str, *, keep_uids: bool) -> Rule | None:
        """What a value's representation alone asks for; None where it asks for nothing."""
        if vr == "PN":
            return Rule(Action.EMPTY, "a person's name")
        if vr in _DATES:
            if self.profile.modified_dates:
                return Rule(Action.SHIFT, "a date or time")
            return Rule(Action.KEEP if self.profile.full_dates else Action.REMOVE, "a date or time")
        if vr == "UI":
            uids = keep_uids or "retain_uids" in self.profile.options
            return Rule(Action.KEEP if uids else Action.UID, "a UID")
        if vr in ("UR", "UN", "AE"):
            return Rule(Action.REMOVE, f"of representation {vr}")
        return Rule(Action.AGE, "no row in E.1-1", Action.DUMMY) if vr == "AS" else None

    def _alternative(self, codes: str, tag: int, parent: int, sop_class_uid: str) -> Rule:
        """One of several codes, by the attribute's type where it stands (PS3.15 E.1)."""
        choices = codes.split("/")
        if "U*" in choices:
            return Rule(Action.KEEP, f"E.1-1 {codes}: U*")
        if parent:
            kind = self._tables.nested_types.get(parent, {}).get(tag, "3")
        else:
            types = self._tables.types.get(sop_class_uid)
            kind = types.get(tag, "3") if types is not None else "1"
        order = {"1": "DZX", "2": "ZDX", "3": "XZD"}[kind[0]]
        chosen = next(code for code in order if code in choices)
        return Rule(_plain(chosen), f"E.1-1 {codes}: {chosen} (type {kind})")


def _plain(code: str) -> Action:
    return {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID}[code]


def _fallback(basic: str) -> Action:
    """What cleaning that leaves nothing comes to: the safest of the Basic Profile's codes for validity."""
    return Action.DUMMY if "D" in basic else Action.EMPTY if "Z" in basic else Action.REMOVE


def _dictionary(tag: int) -> tuple[bool, bool]:
    from pydicom.datadict import get_entry

    try:
        entry = cast("tuple[str, ...]", get_entry(tag))
    except KeyError:
        return False, False
    return True, entry[3] == "Retired"
