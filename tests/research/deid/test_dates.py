"""Dates move by whole days at any precision, and nothing else of them changes."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.research.deid.dates import Shift, capped_age, older_than_89


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20180310", "20180307"), ("20200301", "20200227"), ("20180101", "20171229"), ("2018.03.10", "2018.03.07"),
        ("2018", "2017"), ("201803", "201802"), ("20180230", None), ("JOHN DOE", None), ("", None), ("00010101", None),
    ],
)  # fmt: skip
def test_a_date_moves(value: str, moved: str | None) -> None:
    assert Shift(-3).date(value) == moved


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20180310082130.123456", "20180307082130.123456"), ("201803100821", "201803070821"), ("20180310", "20180307"),
        ("2018", "2017"), ("201803", "201802"), ("20180310082130-0500", "20180307082130"),
        ("20180310082130.5+0100", "20180307082130.5"), ("20181310082130", None), ("2018-03-10", None), ("x", None),
        ("2018+0100", None),
    ],
)  # fmt: skip
def test_a_date_and_time_moves_and_loses_its_offset(value: str, moved: str | None) -> None:
    assert Shift(-3).datetime(value) == moved


def test_a_time_in_another_offset_than_the_file_is_brought_to_it_first() -> None:
    shift = Shift(-1, offset="-0500")
    assert shift.datetime("20180310132130.25+0000") == "20180309082130.25"
    assert shift.datetime("20180310022130+0000") == "20180308212130"
    assert shift.datetime("20180310082130-0500") == "20180309082130"


def test_the_offset_says_only_whether_it_is_summer_at_the_site() -> None:
    shift = Shift(-100, ZoneInfo("America/New_York"))
    assert shift.datetime("20180310082130-0500") == "20171130082130+0000"
    assert shift.datetime("20180910082130-0400") == "20180602082130+0100"
    assert shift.datetime("20180910082130") == "20180602082130"


@given(
    st.dates(dt.date(1910, 1, 1), dt.date(2090, 1, 1)), st.dates(dt.date(1910, 1, 1), dt.date(2090, 1, 1)),
    st.integers(-730, 730),
)  # fmt: skip
def test_intervals_stay(one: dt.date, other: dt.date, days: int) -> None:
    shift = Shift(days)
    moved = [dt.datetime.strptime(shift.date(f"{day:%Y%m%d}") or "", "%Y%m%d").date() for day in (one, other)]  # noqa: DTZ007
    assert moved[1] - moved[0] == other - one
    assert moved[0] - one == dt.timedelta(days)


@pytest.mark.parametrize(
    ("value", "capped"),
    [
        ("057Y", "057Y"), ("089Y", "089Y"), ("090Y", "090Y"), ("094Y", "090Y"), ("999M", "999M"), ("999W", "999W"),
        ("102Y", "090Y"), ("57", None), ("JOHN", None),
    ],
)  # fmt: skip
def test_ages_over_89_are_90(value: str, capped: str | None) -> None:
    assert capped_age(value) == capped


def test_who_is_over_89() -> None:
    study = dt.date(2018, 3, 10)
    assert not older_than_89(dt.date(1928, 3, 11), study)
    assert older_than_89(dt.date(1928, 3, 10), study)
    assert not older_than_89(None, study)
