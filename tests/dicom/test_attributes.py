"""The few lines of the data dictionary that the readers carry are those of the standard, and all that they name."""

import subprocess
import sys

from pydicom.datadict import dictionary_VR, tag_for_keyword

from hilum.imaging.dicom import attributes as a


def test_the_lines_of_the_dictionary_are_pydicoms() -> None:
    for keyword, vr in a.VR_OF.items():
        assert dictionary_VR(keyword)[:2].encode() == vr
    for table in (a.WANTED, a.NESTED, a.META, a.PIXEL_DATA):
        for raw, keyword in table.items():
            assert raw == a.raw_tag(tag_for_keyword(keyword) or 0)


def test_a_command_starts_without_the_large_libraries() -> None:
    """An import of plain files needs neither pydicom nor numpy; to load them takes longer than a thousand files."""
    code = "import sys, hilum.imaging.intake.command as c; print({'pydicom', 'numpy', 'fastapi'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
