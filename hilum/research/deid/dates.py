"""Dates that move by whole days: DA and DT values at any precision, the offset from UTC, ages over 89. Times of day are
never touched, so every interval within one person's data stays what it was (PS3.15 E.3.6)."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

_DATE: Final = re.compile(r"(\d{4})([.-]?)(\d{2})\2(\d{2})", re.ASCII)
_DATETIME: Final = re.compile(
    r"(\d{4})(\d{2})?(\d{2})?(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?([+-]\d{4})?", re.ASCII
)
_AGE: Final = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_YEARS_IN: Final = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
OLDEST: Final = 89
"""Years; who is older is said to be 90 (45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How a person's dates move.

    Attributes
    ----------
    days
        Whole days, added.
    zone
        Of the site's clocks; None: offsets from UTC are dropped.
    offset
        The file's own offset from UTC (0008,0201), to which values with another one are brought first.
    """

    days: int
    zone: ZoneInfo | None = None
    offset: str = ""

    def date(self, value: str) -> str | None:
        """A DA value, moved; None when it is no date."""
        value = value.strip(" \0")
        match = _DATE.fullmatch(value)
        if match is None:
            return self._coarse(value)
        moved = self._moved(int(match[1]), int(match[3]), int(match[4]))
        return None if moved is None else f"{moved:%Y}{match[2]}{moved:%m}{match[2]}{moved:%d}".rjust(len(value), "0")

    def datetime(self, value: str) -> str | None:
        """A DT value, moved, with its offset dropped or brought to +0000 or +0100; None when it is no date and time."""
        value = value.strip(" \0")
        match = _DATETIME.fullmatch(value)
        if match is None:
            return None
        if match[3] is None:
            return None if match[5] else self._coarse(value)
        year, month, day, clock, offset = int(match[1]), int(match[2]), int(match[3]), match[4] or "", match[5] or ""
        if offset and self.offset and offset != self.offset and len(clock) >= 4:
            return self._elsewhere(value, offset)
        moved = self._moved(year, month, day)
        if moved is None:
            return None
        return f"{moved:%Y%m%d}".rjust(8, "0") + clock + (self.new_offset(moved, clock) if offset else "")

    def new_offset(self, moved: dt.date, clock: str) -> str:
        """The offset that a moved local time is given: +0100 in daylight saving of the site's zone, else +0000."""
        if self.zone is None:
            return ""
        hour = min(int(clock[:2] or 12), 23) if clock else 12
        there = dt.datetime(moved.year, moved.month, moved.day, hour, tzinfo=self.zone)
        return "+0100" if there.dst() else "+0000"

    def _elsewhere(self, value: str, offset: str) -> str | None:
        """A time of another offset than the file's, brought to the file's before it moves."""
        try:
            base, fraction = value.removesuffix(offset).partition(".")[::2]
            local = dt.datetime.strptime(base, "%Y%m%d%H%M%S"[: {12: 10, 14: 12}[len(base)]])  # noqa: DTZ007
            local += _minutes(self.offset) - _minutes(offset)
        except (ValueError, OverflowError, KeyError):
            return None
        text = f"{local:%Y%m%d%H%M%S}"[: len(base)] + (f".{fraction}" if fraction else "")
        return self.datetime(text + self.offset)

    def _coarse(self, value: str) -> str | None:
        """A year, or a year and a month: the first day of it is moved."""
        if not (value.isascii() and value.isdigit() and len(value) in (4, 6)):
            return None
        moved = self._moved(int(value[:4]), int(value[4:6] or 1), 1)
        return None if moved is None else f"{moved:%Y%m}".rjust(6, "0")[: len(value)]

    def _moved(self, year: int, month: int, day: int) -> dt.date | None:
        try:
            return dt.date(year, month, day) + dt.timedelta(self.days)
        except (ValueError, OverflowError):
            return None


def _minutes(offset: str) -> dt.timedelta:
    sign = -1 if offset[0] == "-" else 1
    return sign * dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))


def capped_age(value: str) -> str | None:
    """An AS value, at most 090Y; None when it is no age."""
    match = _AGE.fullmatch(value.strip(" \0").upper())
    if match is None:
        return None
    return "090Y" if int(match[1]) / _YEARS_IN[match[2]] > OLDEST else match[0]


def older_than_89(birth: dt.date | None, on: dt.date | None) -> bool:
    """Whether someone born then is over 89 (at a 90th birthday, or past it) on a day."""
    if birth is None or on is None:
        return False
    return on.year - birth.year - ((on.month, on.day) < (birth.month, birth.day)) > OLDEST
