"""The first page of the conformance statement names every address with its methods, and pages that are there."""

import re
from pathlib import Path

from hilum.app import openapi_document

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dicomweb.md"
BASE = "/dicom-web"


def addresses() -> dict[str, set[str]]:
    """The addresses of the table, each with its methods."""
    rows = re.findall(r"^\| (`/.*`) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {
        address: set(re.findall(r"[A-Z]{3,}", methods))
        for cell, methods in rows
        for address in re.findall(r"`(.*?)`", cell)
    }


def test_every_address_is_named_with_its_methods() -> None:
    paths = openapi_document()["paths"]
    assert isinstance(paths, dict)
    there = {
        path.removeprefix(BASE): {method.upper() for method in methods}
        for path, methods in paths.items()
        if path.startswith(BASE)
    }
    assert addresses() == there


def test_every_page_is_there() -> None:
    pages = re.findall(r"\]\((dicomweb/\w+\.md)\)", PAGE.read_text())
    assert len(pages) >= 5
    assert all((PAGE.parent / page).is_file() for page in pages)
