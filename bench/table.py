"""The rows of the benchmark's table: what each figure is, its goal, and how the rounds of both sides make one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """What Hilum's median has to reach: times better than the peer's, a value, or a multiple of another row's."""

    kind: Literal["times better", "value", "times row"]
    bound: float
    row: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `better` says which way is good."""

    key: str
    title: str
    unit: str
    better: Literal["higher", "lower"]
    goal: Goal | None = None


Values = Mapping[str, Sequence[float]]
"""The rounds of one side, by the key of the row."""


def ratio(row: Row, ours: Values, theirs: Values) -> float | None:
    """How many times better Hilum's median is than the peer's."""
    if not ours.get(row.key) or not theirs.get(row.key):
        return None
    mine, other = median(ours[row.key]), median(theirs[row.key])
    return mine / other if row.better == "higher" else other / mine


def met(row: Row, ours: Values, theirs: Values) -> bool | None:
    """Whether the goal is met; None where there is none, or nothing to compare with."""
    if row.goal is None or not ours.get(row.key):
        return None
    mine = median(ours[row.key])
    if row.goal.kind == "times better":
        times = ratio(row, ours, theirs)
        return None if times is None else times >= row.goal.bound
    bound = row.goal.bound
    if row.goal.kind == "times row":
        if not ours.get(row.goal.row):
            return None
        bound *= median(ours[row.goal.row])
    return mine >= bound if row.better == "higher" else mine <= bound


def render(rows: Sequence[Row], ours: Values, theirs: Values) -> str:
    """The table as text, a line a row, columns aligned."""
    lines = [("figure", "unit", "Hilum", "peer", "times better", "goal", "met")]
    for row in rows:
        if not ours.get(row.key) and not theirs.get(row.key):
            continue
        times, reached = ratio(row, ours, theirs), met(row, ours, theirs)
        lines.append(
            (
                row.title,
                row.unit,
                _spread(ours.get(row.key)),
                _spread(theirs.get(row.key)),
                "" if times is None else f"{times:.1f}",
                _goal(row, rows),
                "" if reached is None else ("yes" if reached else "NO"),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _spread(values: Sequence[float] | None) -> str:
    if not values:
        return "-"
    digits = 0 if median(values) >= 100 else 1 if median(values) >= 10 else 2
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _goal(row: Row, rows: Sequence[Row]) -> str:
    if row.goal is None:
        return ""
    sign = "≥" if row.goal.kind == "times better" or row.better == "higher" else "≤"
    if row.goal.kind == "times better":
        return f"{sign} {row.goal.bound:g} times better"
    if row.goal.kind == "times row":
        title = next((other.title for other in rows if other.key == row.goal.row), row.goal.row)
        return f"{sign} {row.goal.bound:g} x {title}"
    return f"{sign} {row.goal.bound:,g} {row.unit}"
