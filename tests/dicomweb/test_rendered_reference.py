"""The conformance statement of rendered resources says what the code does."""

import re
from pathlib import Path

from hilum.imaging.archive.render import MAX_CINE_FRAMES, MAX_CINE_PIXELS
from hilum.imaging.dicom.picture import MAX_PIXELS, MAX_SIDE
from hilum.imaging.dicomweb import looks, rendered, rendered_routes, renditions, wado_uri

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dicomweb" / "rendered.md"
TEXT = PAGE.read_text(encoding="utf-8")


def table(heading: str) -> dict[str, str]:
    """The rows of the table with this first column and section, by their first cell."""
    section, _, first = heading.partition("/")
    part = TEXT.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = part.split(f"| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = (row.strip("|").split("|") for row in rows)
    return {cell[0].strip().strip("`"): cell[1] for cell in cells}


def test_the_parameters_are_those_that_are_read() -> None:
    assert tuple(table("Rendered resources (WADO-RS)/parameter")) == looks.PARAMETERS
    assert set(table("WADO-URI/parameter")) == set(wado_uri.PARAMETERS)
    for function in looks.FUNCTIONS:
        assert f"`{function}`" in TEXT


def test_the_addresses_are_those_that_are_there() -> None:
    there = {door.path for door in rendered_routes.DOORS}
    named = set(table("Rendered resources (WADO-RS)/address"))
    assert named | {path.replace("/rendered", "/thumbnail") for path in named} == there


def test_the_media_types_are_those_that_are_given() -> None:
    named = re.findall(r"`([a-z]+/[a-z0-9]+)`", "".join(table("Rendered resources (WADO-RS)/kind").values()))
    given = [*renditions.PICTURES, renditions.HTML, renditions.TEXT, *renditions.DOCUMENTS.values()]
    assert named == [*given, "video/mp4", "video/mpeg", "video/mp2t"]


def test_the_limits_are_those_that_hold() -> None:
    for limit in (rendered.MAX_PICTURES, MAX_CINE_FRAMES, MAX_CINE_PIXELS, MAX_PIXELS, MAX_SIDE):
        assert re.search(rf"\b{limit}\b", TEXT), limit
