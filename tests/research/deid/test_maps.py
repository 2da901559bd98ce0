"""The site's maps are read as they come, and not believed when they contradict themselves."""

from pathlib import Path

import pytest

from hilum.core.errors import Invalid
from hilum.research.deid.maps import ImageRow, read_maps

PEOPLE = "PatientID,person_id,Days_Shifted\nA1,1001,-5\nB2,1002,\nA1b,1001,-5\n"
IMAGES = "PatientID,AccessionNumber,image_occurence_id\nA1,X1,77\nB2,,78\n"


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8-sig")
    return folder


def test_maps_in_any_case_and_both_spellings(tmp_path: Path) -> None:
    maps = read_maps(write(tmp_path, Personal_map=PEOPLE, Image_map=IMAGES))
    assert maps.people == {"A1": ("1001", -5), "B2": ("1002", None), "A1b": ("1001", -5)}
    assert maps.images["A1", "X1"] == ImageRow("77")
    right = IMAGES.replace("occurence", "occurrence")
    (tmp_path / "Image_map.csv").unlink()
    assert read_maps(write(tmp_path, image_map=right)).images["B2", ""] == ImageRow("78")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("PatientID,kind,value\nA1,name,Doe^Jane\nA1,phone,555\n", {("name", "Doe^Jane"), ("phone", "555")}),
        ("PatientID,MRN,Mothers_Name,DOB\nA1,M77,Ann Doe,1970-01-02\n",
         {("id", "M77"), ("name", "Ann Doe"), ("date", "1970-01-02")}),
        ("person_id,value\nA1,12 Oak Street\n", {("text", "12 Oak Street")}),
    ],
)  # fmt: skip
def test_known_identifiers_in_long_and_wide_form(known: str, expected: set[tuple[str, str]], tmp_path: Path) -> None:
    maps = read_maps(write(tmp_path, personal_map=PEOPLE, image_map=IMAGES, known_identifiers=known))
    assert maps.known["A1"] == expected


@pytest.mark.parametrize(
    ("people", "images", "sentence"),
    [
        (PEOPLE + "A1,1009,-5\n", IMAGES, "line 5: this PatientID"), (PEOPLE + "C3,1001,-6\n", IMAGES, "another shift"),
        (PEOPLE + "C3,../../x,1\n", IMAGES, "folder"), (PEOPLE + "C3,1003,soon\n", IMAGES, "whole number"),
        (PEOPLE, IMAGES + "A1,X1,79\n", "there twice"), (PEOPLE, IMAGES + "A1,X2,a/b\n", "folder"),
        ("PatientID\nA\n", IMAGES, "no column person_id"), (PEOPLE, "a,b\n1,2\n", "no column"),
    ],
)  # fmt: skip
def test_a_map_that_contradicts_itself_is_refused(people: str, images: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=sentence) as told:
        read_maps(write(tmp_path, personal_map=people, image_map=images))
    assert "X1" not in str(told.value)


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"image_map\.csv"):
        read_maps(write(tmp_path, personal_map=PEOPLE))
