"""What stands in a row of image_occurrence: the body site and where the images are."""

from pathlib import Path

import pytest

from hilum.clinical.occurrence.anatomy import UNCODED, Coded, site_of
from hilum.clinical.occurrence.keep import Places
from hilum.core.config import Settings

CHEST, BRAIN, BREAST, KNEE, ABDOMEN_PELVIS = 4184181, 4133034, 4298444, 4217806, 37303868


@pytest.mark.parametrize(
    ("region", "side", "body_part", "descriptions", "found"),
    [
        (UNCODED, "", "CHEST", ("head",), (CHEST, "body_part", "CHEST")),
        (UNCODED, "", "Left Breast", (), (BREAST, "body_part", "BREAST")),
        (UNCODED, "", "abdomen and pelvis", (), (ABDOMEN_PELVIS, "body_part", "ABDOMENPELVIS")),
        (UNCODED, "", "", ("AX T1", "MR knee rt w/o"), (KNEE, "description", "KNEE")),
        (UNCODED, "", "TH CT CHEST WO C", ("TH CT CHEST WO C",), (CHEST, "description", "CHEST")),
        (Coded("818981001"), "", "CHEST", (), (37303869, "code", "818981001")),
        (Coded("818981001", 5), "", "CHEST", (), (37303869, "code", "818981001")),
        (Coded("86598002", 4190000), "", "CHEST", (), (4190000, "code", "86598002")),
        (Coded("86598002"), "", "CHEST", (), (CHEST, "body_part", "CHEST")),
        (UNCODED, "", "", ("whole body", ""), (4242541, "description", "WHOLEBODY")),
        (UNCODED, "", "", ("AX 5MM STD",), (0, "", "")),
        (UNCODED, "R", "LUNG", (), (4141610, "body_part", "RLUNG")),
        (UNCODED, "R", "Left lung", (), (4195613, "body_part", "LLUNG")),
        (UNCODED, "B", "LUNGS", (), (4250192, "body_part", "BLUNG")),
        (UNCODED, "L", "SPINE", (), (4227378, "body_part", "SPINE")),
        (UNCODED, "L", "KNEE", (), (KNEE, "body_part", "KNEE")),
        (UNCODED, "", "EXTREMITY", ("AP", "knee left"), (KNEE, "description", "KNEE")),
        (UNCODED, "", "LEG", ("skull",), (4282006, "body_part", "EXTREMITY")),
        (UNCODED, "", "CHEST", ("knee",), (CHEST, "body_part", "CHEST")),
        (UNCODED, "\x00" * 5000, "\x00" * 5000, ("\u200b" * 5000,), (0, "", "")),
    ],
)
def test_the_body_site_and_what_said_so(
    region: Coded, side: str, body_part: str, descriptions: tuple[str, ...], found: tuple[int, str, str]
) -> None:
    site = site_of(region, side, body_part, *descriptions)
    assert (site.concept_id, site.said_by, site.word) == found


def test_objects_are_where_the_settings_put_them(tmp_path: Path) -> None:
    def root(**given: str) -> str:
        return Places.of(Settings(data=tmp_path, **given)).objects  # pyright: ignore

    assert root() == f"{tmp_path}/objects/"
    assert root(blobs_url=f"file://{tmp_path}/elsewhere") == f"{tmp_path}/elsewhere/"
    assert root(blobs_url="s3://bucket/prefix/") == "s3://bucket/prefix/"
    assert root(blobs_url="gs://bucket") == "gs://bucket/"
