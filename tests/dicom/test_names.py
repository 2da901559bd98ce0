"""Names, dates and words read as people write them."""

import csv
import datetime as dt
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.imaging.dicom.names import (
    body_part_name,
    body_part_synonyms,
    body_part_word,
    fold,
    format_date,
    format_time,
    modality_name,
    parse_date,
    parse_datetime,
    parse_offset,
    parse_time,
    person_groups,
    person_name,
    person_search_text,
)
from hilum.imaging.dicom.uids import check_uid, is_compressed, is_video, uid_name


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Doe^Jane^Mary^Dr.^PhD", "Jane Mary Doe"),
        ("Doe^Jane", "Jane Doe"),
        ("DOE JANE", "DOE JANE"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Tarou Yamada"),
        ("=山田^太郎", "山田 太郎"),
        ("==やまだ^たろう", "やまだ たろう"),
        ("^^^^", ""),
        ("", ""),
        ("Doe^Jane\\Roe^Richard", "Jane Doe"),
        ("  Doe ^ Jane ", "Jane Doe"),
    ],
)
def test_person_names_are_shown_given_middle_family(value: str, shown: str) -> None:
    assert person_name(value) == shown


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("Doe^Jane^Mary^Dr.^PhD", ["jane mary doe", "Doe Jane", "PHD", "Dr."]),
        ("Doe^Jane\\Roe^Richard", ["Jane Doe", "richard roe"]),
        ("Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", ["tarou", "山田", "山田 太郎", "山田太郎", "ヤマダ", "ﾔﾏﾀﾞ", "ﾔﾏﾀﾞﾀﾛｳ"]),
        ("Wang^XiaoDong=王^小东=", ["王小东", "xiaodong wang", "ＷＡＮＧ"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["홍길동", "길동", "吉洞"]),
        ("=山田^太郎", ["山田"]),
        ("Strauß^Jörg", ["STRAUSS", "jörg"]),
    ],
)
def test_a_person_is_found_by_any_group_of_the_name(value: str, asked: list[str]) -> None:
    for word in asked:
        assert fold(word) in person_search_text(value)
    assert person_search_text("^^^^=^") == person_search_text("") == ""


@given(value=st.text(max_size=60))
def test_any_name_can_be_shown_and_searched(value: str) -> None:
    shown, found = person_name(value), person_search_text(value)
    assert "^" not in shown
    assert fold(shown) in found


def test_person_groups_are_those_of_dicom_json() -> None:
    assert person_groups("A^B==C") == {"Alphabetic": "A^B", "Phonetic": "C"}
    assert person_groups("") == {}


@given(date=st.dates())
def test_dates_come_back_as_they_went(date: dt.date) -> None:
    assert parse_date(format_date(date)) == date
    assert parse_date(f"{date.year:04}.{date.month:02}.{date.day:02}") == date


@given(time=st.times())
def test_times_come_back_as_they_went(time: dt.time) -> None:
    assert parse_time(format_time(time)) == time


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("10", dt.time(10)),
        ("1011", dt.time(10, 11)),
        ("101112.5", dt.time(10, 11, 12, 500_000)),
        ("10:09:08", dt.time(10, 9, 8)),
        ("10:09", dt.time(10, 9)),
        ("246060", None),
        ("101161", None),
        ("10:11:12.5 ", dt.time(10, 11, 12, 500_000)),
        ("235960", dt.time(23, 59, 59)),
        ("101112.123456789", dt.time(10, 11, 12, 123_456)),
        ("", None),
        ("240000", None),
        ("9", None),
        ("10-11", None),
        ("٣٣", None),
    ],
)
def test_times_of_any_precision(value: str, time: dt.time | None) -> None:
    assert parse_time(value) == time


@pytest.mark.parametrize("value", ["", "2024", "20240230", "2024.02-03", "00000000", "20240101-20250101", "x" * 10_000])
def test_what_is_no_date_is_none(value: str) -> None:
    assert parse_date(value) is None


def test_datetimes_keep_their_zone() -> None:
    zone = dt.timezone(-dt.timedelta(hours=5, minutes=30))
    assert parse_datetime("20240203040506.7-0530") == dt.datetime(2024, 2, 3, 4, 5, 6, 700_000, zone)
    assert parse_datetime("2024") == dt.datetime(2024, 1, 1)  # noqa: DTZ001 - the value has no zone either
    assert parse_datetime("20240203+9900") is None
    assert parse_offset("+0100") == dt.timezone(dt.timedelta(hours=1))
    assert parse_offset("0100") is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("202402", "2024-02-01T00:00:00"),
        ("20240203", "2024-02-03T00:00:00"),
        ("2024020304", "2024-02-03T04:00:00"),
        ("202402030405", "2024-02-03T04:05:00"),
        ("20240203040506", "2024-02-03T04:05:06"),
        ("20240203040506.1", "2024-02-03T04:05:06.100000"),
        ("20240203040506.12", "2024-02-03T04:05:06.120000"),
        ("20240203040506.123", "2024-02-03T04:05:06.123000"),
        ("20240203040506.1234", "2024-02-03T04:05:06.123400"),
        ("20240203040506.12345", "2024-02-03T04:05:06.123450"),
        ("20240203040506.123456 ", "2024-02-03T04:05:06.123456"),
        ("20240203040560", "2024-02-03T04:05:59"),
        ("2024+1400", "2024-01-01T00:00:00+14:00"),
        ("20240203-1200", "2024-02-03T00:00:00-12:00"),
    ],
)
def test_datetimes_of_any_precision(value: str, moment: str) -> None:
    assert parse_datetime(value) == dt.datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "value",
    ["", "0000", "202", "20240", "202413", "20240230", "2024020325", "20240203040661", "2024+1401", "2024-1230"],
)
def test_what_is_no_datetime_is_none(value: str) -> None:
    assert parse_datetime(value) is None


@pytest.mark.parametrize("value", ["19930822", "1993.08.22", "19930822\0", "19930822 "])
def test_dates_in_the_old_form_and_padded(value: str) -> None:
    assert parse_date(value) == dt.date(1993, 8, 22)


def test_words_for_modalities_and_body_parts() -> None:
    assert modality_name("CT") == "Computed Tomography"
    assert modality_name("ZZ") == "ZZ"
    assert body_part_name("CSPINE") == "Cervical spine"
    assert body_part_name("LEFT_KNEE") == "Left knee"
    assert body_part_name("chest") == "Chest"
    assert body_part_name("") == ""


@pytest.mark.parametrize(
    ("asked", "found", "not_found"),
    [
        ("brain", {"HEAD", "SKULL", "BRAIN", "HEADNECK"}, {"NECK"}),
        ("head", {"BRAIN"}, {"CHEST"}),
        ("Lung", {"CHEST", "THORAX", "CHESTABDOMEN"}, {"ABDOMEN"}),
        ("thorax", {"LUNG", "CHEST"}, set()),
        ("spine", {"CSPINE", "LSPINE"}, set()),
        ("CSPINE", {"CERVICALSPINE"}, {"LSPINE", "SPINE"}),
        ("L-Spine", {"LUMBARSPINE"}, {"CSPINE"}),
        ("unheard of", {"UNHEARDOF"}, {"CHEST"}),
    ],
)
def test_a_body_part_finds_its_synonyms(asked: str, found: set[str], not_found: set[str]) -> None:
    assert found <= body_part_synonyms(asked)
    assert not not_found & body_part_synonyms(asked)


def test_the_word_lists_are_in_their_documented_form() -> None:
    text = files("hilum.imaging.dicom").joinpath("data", "body_parts.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for row in rows:
        assert all(body_part_word(word) == word for word in (row["words"] + " " + row["also"]).split())
    words = [word for row in rows for word in row["words"].split()]
    assert len(words) == len(set(words)), "a word means one region; more regions go under 'also'"


@pytest.mark.parametrize(
    ("uid", "good"),
    [
        ("1.2.840.10008.1.2", True),
        ("1.02.3", True),
        ("1." * 31 + "1.", False),
        ("1" * 64, True),
        ("1" * 65, False),
        ("", False),
        (".1", False),
        ("1..2", False),
        ("1.2\n", False),
        ("1.2 ", False),
        ("1.a", False),
        ("../1", False),
        ("１.２", False),
    ],
)
def test_uids_are_digits_and_points(uid: str, good: bool) -> None:
    assert check_uid(uid) is good


def test_uids_have_names() -> None:
    assert uid_name("1.2.840.10008.5.1.4.1.1.2") == "CT Image Storage"
    assert uid_name("1.2.3") == "1.2.3"
    assert is_compressed("1.2.840.10008.1.2.4.90")
    assert not is_compressed("1.2.840.10008.1.2.1")
    assert is_video("1.2.840.10008.1.2.4.102.1")
    assert not is_video("1.2.840.10008.1.2.4.110")
