"""The content tree of a structured report (PS3.3 section C.17.3), read from its DICOM JSON: only what features are made
of, with retired codes of SNOMED-RT as SNOMED CT has them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from hilum.clinical.features.coding import code_of

Attributes: TypeAlias = Mapping[str, Mapping[str, object]]

_DEEPEST: Final = 32
_MOST: Final = 100_000
_LONGEST: Final = 250
_NOWHERE: Final[Attributes] = {}


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: ``scheme|value`` and its meaning in words."""

    code: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """A content item.

    Attributes
    ----------
    path
        Its place in the tree, as 1.4.2, counted from 1.
    kind
        Value Type: CONTAINER, NUM, CODE, TEXT, UIDREF, PNAME, IMAGE, ...
    name
        Concept Name.
    relationship
        To its parent, such as CONTAINS.
    value
        Of a CODE.
    text
        Of a TEXT, UIDREF or PNAME.
    number, unit
        Of a NUM; None where it has none (PS3.3 C.18.1, Numeric Value Qualifier).
    references
        SOP Instance UIDs that it names.
    children
        In order.
    """

    path: str
    kind: str
    name: Code
    relationship: str = ""
    value: Code = field(default_factory=Code)
    text: str = ""
    number: float | None = None
    unit: str = ""
    references: tuple[str, ...] = ()
    children: "tuple[Item, ...]" = ()

    def walk(self) -> "Iterator[Item]":
        """This item and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def child(self, *codes: str) -> "Item | None":
        """The first child whose name is one of some codes."""
        return next((child for child in self.children if child.name.code in codes), None)

    def text_of(self, code: str) -> str:
        """The text of the first child of that name; empty without one."""
        found = self.child(code)
        return found.text if found else ""


def content_of(attributes: Attributes) -> Item | None:
    """The content tree of an instance; None where it has none, or one deeper or larger than any that is meant well."""
    if not texts(attributes, "0040A040"):
        return None
    budget = [_MOST]
    root = _item(attributes, "1", 1, budget)
    return root if budget[0] > 0 else None


def moment_of(attributes: Attributes) -> datetime | None:
    """When a report was written: Content Date and Time (0008,0023, 0008,0033), read as UTC; None where they are no
    moment."""
    day, time = text(attributes, "00080023"), text(attributes, "00080033").partition(".")[0]
    try:
        return datetime.strptime(day + time.ljust(6, "0")[:6], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def values(attributes: Attributes, tag: str) -> Sequence[object]:
    """The values of an attribute of DICOM JSON; none where it is absent or empty."""
    found = attributes.get(tag, {}).get("Value")
    return cast("Sequence[object]", found) if isinstance(found, list) else ()


def items(attributes: Attributes, tag: str) -> list[Attributes]:
    """The items of a sequence."""
    return [cast("Attributes", item) for item in values(attributes, tag) if isinstance(item, dict)]


def texts(attributes: Attributes, tag: str) -> list[str]:
    """The values of an attribute as texts, without NUL; of a person's name the alphabetic group."""
    found: list[str] = []
    for value in values(attributes, tag):
        if isinstance(value, dict):
            name = cast("Mapping[str, object]", value).get("Alphabetic")
            found += [str(name).replace("\0", "")] if name else []
        elif value is not None:
            found.append(str(value).replace("\0", ""))
    return found


def text(attributes: Attributes, tag: str) -> str:
    """The first value of an attribute as a text; empty without one."""
    return next(iter(texts(attributes, tag)), "")


def number(value: object) -> float | None:
    """A value as a finite number; None where it is none."""
    try:
        found = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def coded(attributes: Attributes, tag: str) -> Code:
    """The first item of a code sequence (PS3.3 section 8.8), cut to a length that is meant well; without one an empty
    code."""
    for item in items(attributes, tag):
        value = text(item, "00080100") or text(item, "00080119") or text(item, "00080120")
        return Code(code_of(text(item, "00080102"), value)[:_LONGEST], text(item, "00080104")[:_LONGEST])
    return Code()


def _item(attributes: Attributes, path: str, depth: int, budget: list[int]) -> Item:
    budget[0] -= 1
    below: list[Attributes] = items(attributes, "0040A730") if budget[0] > 0 and depth < _DEEPEST else []
    measured = next(iter(items(attributes, "0040A300")), _NOWHERE)
    unit = next(iter(items(measured, "004008EA")), _NOWHERE)
    return Item(
        path=path,
        kind=text(attributes, "0040A040"),
        name=coded(attributes, "0040A043"),
        relationship=text(attributes, "0040A010"),
        value=coded(attributes, "0040A168"),
        text=text(attributes, "0040A160") or text(attributes, "0040A124") or text(attributes, "0040A123"),
        number=number(next(iter(values(measured, "0040A30A")), None)),
        unit=text(unit, "00080100")[:_LONGEST],
        references=tuple(uid for one in items(attributes, "00081199") if (uid := text(one, "00081155"))),
        children=tuple(_item(one, f"{path}.{place}", depth + 1, budget) for place, one in enumerate(below, 1)),
    )
