"""A survey of attributes over the files of a folder, or of a source as it is archived: one file at a time, and of it no
more than what stands around its pixels."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import sqlalchemy as sa

from hilum.core.errors import HilumError
from hilum.imaging.archive.objects import MAX_INFLATED, opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.dataset import PIXEL_TAGS, read_data_set, read_tail, read_tree
from hilum.imaging.dicom.elements import Element, Reader
from hilum.imaging.dicom.header import Header, NotDicom, scan_file
from hilum.imaging.dicom.scanner import Doubt
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.intake.walk import walk
from hilum.imaging.survey.tally import Tally

Step: TypeAlias = Callable[[int, int | None], None]

_AT_ONCE: Final = 500


def survey_folder(folder: Path, tally: Tally, step: Step) -> dict[str, int]:
    """Count the attributes of the DICOM files at or below a path.

    Returns
    -------
    dict
        How many files were ``counted``, are ``not_dicom``, or are ``unreadable``.
    """
    counts = {"counted": 0, "not_dicom": 0, "unreadable": 0}
    for number, found in enumerate(walk([folder], folder), 1):
        try:
            if found.trouble:
                raise OSError
            with Path(found.path).open("rb") as file:
                header = scan_file(file)
                plain = inflated_file(file, header.data_set_offset, MAX_INFLATED) if header.deflated else file
                elements = _elements(plain, header)
        except NotDicom:
            counts["not_dicom"] += 1
        except (HilumError, OSError):
            counts["unreadable"] += 1
        else:
            tally.add(elements)
            counts["counted"] += 1
        step(number, None)
    return counts


def survey_source(archive: Archive, source: str, tally: Tally, step: Step) -> dict[str, int]:
    """Count the attributes of the instances of a source; gives how many were ``counted`` or are ``unreadable``.

    Raises
    ------
    NotFound
        There is no such source.
    """
    number = archive.source(source).id
    counts = {"counted": 0, "unreadable": 0}
    with archive.database.connect() as connection:
        total = int(connection.execute(_COUNT, {"source": number}).scalar_one())
    done = after = 0
    while True:
        with archive.database.connect() as connection:
            page = {"source": number, "after": after, "limit": _AT_ONCE}
            rows = connection.execute(_NEXT, page).mappings().all()
        if not rows:
            return counts
        for each in rows:
            counts["counted" if _counted(archive, each, tally) else "unreadable"] += 1
        after = rows[-1]["id"]
        done += len(rows)
        step(done, max(total, done))


def _counted(archive: Archive, row: Row, tally: Tally) -> bool:
    try:
        with opened_instance(archive.blobs, row, header_only=True) as (file, header):
            tally.add(_elements(file, header))
    except (HilumError, OSError):
        return False
    return True


def _elements(file: BinaryIO, header: Header) -> list[Element]:
    """All elements of a file, of its file meta information too; its pixels without their bytes."""
    data = read_data_set(file, header)
    elements: list[Element] = []
    if data.head[128:132] == b"DICM" and header.syntax_source == "scanner":
        with suppress(Doubt):
            elements += Reader(data.head).read(132, header.data_set_offset, implicit=False)
    elements += read_tree(data, header)
    pixels = header.pixel_data
    if pixels is not None:
        length = b"%d" % (pixels.length or 0) if pixels.length != 0 else b""
        elements.append(Element(PIXEL_TAGS[pixels.keyword], pixels.vr, length, None))
        elements += read_tail(data, header)
    return elements


_COUNT: Final = sa.text("select count(*) from hilum.instance where source_id = :source and deleted_at is null")
_NEXT: Final = sa.text("""
  select id, size, digest, blob_key, path, path_mtime_ns from hilum.instance
  where source_id = :source and deleted_at is null and id > :after order by id limit :limit
""")
