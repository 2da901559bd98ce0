"""Structured content (PS3.15 E.3.4): what a content item's concept says of its value by table E.3.4-1, and what becomes
of the value of an item that no row names. The engine asks at each item that has a concept."""

from collections.abc import Sequence
from typing import Final

from hilum.imaging.dicom.elements import Element
from hilum.research.deid.profile import Action, Profile, Rule
from hilum.research.deid.table import Row, tables

_TEXT, _DATETIME, _DATE, _TIME, _NAME, _UID = (
    0x0040A160, 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123, 0x0040A124,
)  # fmt: skip
VALUES: Final = frozenset((_TEXT, _DATETIME, _DATE, _TIME, _NAME, _UID))
_TIMES: Final = frozenset((_DATETIME, _DATE, _TIME))
CONCEPT: Final = 0x0040A043
"""What an item has that is one of content, in whichever sequence."""
_VALUE_TYPE, _CODE, _SCHEME = 0x0040A040, 0x00080100, 0x00080102


def told(item: Sequence[Element], profile: Profile) -> Action | None:
    """What the concept of an item says of its value; None when no row names it.

    Returns
    -------
    Action or None
        REMOVE: the item goes with all below it. KEEP, CLEAN, DUMMY: of its value.
    """
    name = next((element.items for element in item if element.tag == CONCEPT), None)
    if not name:
        return None
    coded = {one.tag: _plain(one) for one in name[0]}
    value_type = next((_plain(element) for element in item if element.tag == _VALUE_TYPE), "")
    row = tables().contents.get((coded.get(_SCHEME, ""), coded.get(_CODE, ""), value_type))
    if row is None:
        return None
    codes = {row.options[option] for option in profile.options if option in row.options}
    if "K" in codes:
        return Action.KEEP
    if "C" in codes:
        return Action.CLEAN
    return Action.REMOVE if _basic(row) == "X" else Action.DUMMY


def value_rule(tag: int, rule: Rule, said: Action | None, profile: Profile) -> Rule:
    """The rule of a content item's value attribute, given its rule by E.1-1 and what the item's concept says."""
    why = "E.3.4-1" if said is not None else "a content item of no row in E.3.4-1"
    if tag in _TIMES:
        if profile.modified_dates:
            return Rule(Action.SHIFT, why, Action.DUMMY)
        return Rule(Action.KEEP if profile.full_dates else Action.DUMMY, why, Action.DUMMY)
    if tag == _UID:
        return Rule(Action.KEEP if "retain_uids" in profile.options else Action.UID, why)
    if tag == _NAME:
        return Rule(Action.KEEP if said is Action.KEEP else Action.DUMMY, why, Action.DUMMY)
    if said is not None:
        return Rule(said, why, Action.DUMMY)
    cleaned = "clean_structured_content" in profile.options
    return Rule(Action.CLEAN if cleaned else Action.DUMMY, why, Action.DUMMY) if tag == _TEXT else rule


def _basic(row: Row) -> str:
    """X or D; of both D, since a template may need the item."""
    return "D" if "D" in row.basic else "X"


def _plain(element: Element) -> str:
    return element.value.decode("latin-1").strip(" \0")
