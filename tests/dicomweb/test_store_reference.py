"""The tables of docs/reference/dicomweb/store.md say what the code does."""

import re
from pathlib import Path

from hilum.app import openapi_document
from hilum.core.config import Settings
from hilum.imaging.dicom import from_json
from hilum.imaging.dicom.assemble import JPEG, MAX_IN_MEMORY, OCTETS, SYNTAXES
from hilum.imaging.dicomweb import bodies, multipart, stow
from hilum.imaging.dicomweb.store_answer import COERCED, DISCARDED, DUPLICATE, OTHER_CLASS, PROCESSING, REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "dicomweb" / "store.md").read_text()
MEBIBYTE = 1 << 20


def table(*first_cells: str) -> list[list[str]]:
    """The rows of all tables that begin with such a cell."""
    found: list[list[str]] = []
    for block in re.split(r"\n\n+", PAGE):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        if lines[0][0] in first_cells:
            found.extend(lines[2:])
    return found


def test_every_failure_reason_is_there_with_the_codes_that_have_it() -> None:
    rows = {int(row[0], 16): set(re.findall(r"`(\w+)`", row[1])) for row in table("reason") if len(row) == 3}
    assert rows == {
        reason: {code for code, own in REASONS.items() if own == reason} for reason in {*REASONS.values(), PROCESSING}
    }


def test_every_warning_reason_is_there() -> None:
    assert {int(row[0], 16) for row in table("reason") if len(row) == 2} == {COERCED, DISCARDED, OTHER_CLASS, DUPLICATE}


def test_every_media_type_of_pixels_is_there_with_its_syntax() -> None:
    rows = {row[0].strip("`"): row[1] for row in table("Content-Type of Pixel Data")}
    assert rows.pop(OCTETS) == "1.2.840.10008.1.2.1"
    assert "by the stream" in rows.pop(JPEG)
    assert rows == SYNTAXES


def test_every_form_of_a_body_is_taken() -> None:
    for row in table("Content-Type of the request"):
        given = row[0].strip("`")
        form = bodies.read_form({"content-type": f"{given}; boundary=x" if "multipart" in given else given})
        assert form.media_type in given
        assert (form.boundary == b"x") == ("multipart" in given)


def test_the_limits_are_those_of_the_code() -> None:
    rows = {row[0]: row[1] for row in table("what")}
    settings = {f"HILUM_{name.upper()}" for name in Settings.model_fields}
    named = re.findall(r"HILUM_\w+", PAGE)
    assert set(named) <= settings
    assert rows["metadata of a request"] == f"{bodies.MAX_METADATA // MEBIBYTE} MiB"
    assert rows["objects and arrays, or tags, in a part of metadata"] == str(bodies.MAX_NODES)
    assert rows["bulk data of an instance other than Pixel Data"] == f"{MAX_IN_MEMORY // MEBIBYTE} MiB"
    assert rows["nesting of sequences in metadata"] == str(from_json.MAX_DEPTH)
    header = f"{multipart.MAX_HEADERS} fields, {multipart.MAX_HEADER_BYTES // 1024} KiB"
    assert rows["header fields of a part"] == header
    assert rows["text before the first part"] == f"{multipart.MAX_PREAMBLE // 1024} KiB"
    assert rows["uploads at a time in one process"] == str(stow.MAX_AT_ONCE)
    assert f"{stow.BATCH_INSTANCES} instances or {stow.BATCH_BYTES >> 30} GiB" in PAGE


def test_every_address_is_one_of_the_service() -> None:
    paths = openapi_document()["paths"]
    assert isinstance(paths, dict)
    for method, address, _ in table("method"):
        place = address.strip("`")
        homes = [f"{home}{place}" for home in ("/dicom-web", "/api/v1/imaging") if f"{home}{place}" in paths]
        assert any(method.lower() in paths[home] for home in homes), (method, place)
