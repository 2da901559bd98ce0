"""What stands in a row of image_occurrence: the body site and where the images are."""

from pathlib import Path

import pytest

from hilum.clinical.occurrence.anatomy import site_of
from hilum.clinical.occurrence.keep import Places
from hilum.core.config import Settings

CHEST, BRAIN, BREAST, KNEE, ABDOMEN_PELVIS = 4184181, 4133034, 4298444, 4217806, 37303868


@pytest.mark.parametrize(
    ("codes", "body_part", "descriptions", "found"),
    [
        ((), "CHEST", ("head",), (CHEST, "body_part", "CHEST")),
        ((), "Left Breast", (), (BREAST, "body_part", "BREAST")),
        ((), "abdomen and pelvis", (), (ABDOMEN_PELVIS, "body_part", "ABDOMENANDPELVIS")),
        ((), "", ("AX T1", "MR knee rt w/o"), (KNEE, "description", "KNEE")),
        ((), "TH CT CHEST WO C", ("TH CT CHEST WO C",), (CHEST, "description", "CHEST")),
        (("818981001",), "CHEST", (), (37303869, "code", "818981001")),
        ((), "", ("whole body", ""), (4242541, "description", "WHOLEBODY")),
        ((), "", ("AX 5MM STD",), (0, "", "")),
        ((), "\x00" * 5000, ("\u200b" * 5000,), (0, "", "")),
    ],
)
def test_the_body_site_and_what_said_so(
    codes: tuple[str, ...], body_part: str, descriptions: tuple[str, ...], found: tuple[int, str, str]
) -> None:
    site = site_of(codes, body_part, *descriptions)
    assert (site.concept_id, site.said_by, site.word) == found


def test_objects_are_where_the_settings_put_them(tmp_path: Path) -> None:
    def root(**given: str) -> str:
        return Places.of(Settings(data=tmp_path, **given)).objects  # pyright: ignore

    assert root() == f"{tmp_path}/objects/"
    assert root(blobs_url=f"file://{tmp_path}/elsewhere") == f"{tmp_path}/elsewhere/"
    assert root(blobs_url="s3://bucket/prefix/") == "s3://bucket/prefix/"
    assert root(blobs_url="gs://bucket") == "gs://bucket/"
