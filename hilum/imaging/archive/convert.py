"""An archived instance as a Part 10 file in a transfer syntax: as it lies where it is that already, else converted
(``imaging.dicom.transcode``)."""

from collections.abc import Iterator
from itertools import chain

import sqlalchemy as sa

from hilum.core.errors import NotAcceptable
from hilum.imaging.archive.models import Instance
from hilum.imaging.archive.objects import opened, opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicom.frames import frame_offsets
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.transcode import transcode


def converted(archive: Archive, row: Row, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Give an instance in a transfer syntax, in pieces of bounded size; the first is made before anything is returned.

    Parameters
    ----------
    archive
        Where it is kept.
    row
        Its row.
    transfer_syntax_uid
        The one it is stored in, or one of `imaging.dicom.encode.SYNTAXES`.

    Raises
    ------
    Gone, NotFound
        Its bytes are not there.
    NotAcceptable
        It cannot be given so.
    """
    pieces = _pieces(archive, row, transfer_syntax_uid)
    try:
        first = next(pieces, b"")
    except (Unreadable, NotDicom) as error:
        raise NotAcceptable(f"The instance cannot be converted. {error}") from error
    return chain([first], pieces)


def _pieces(archive: Archive, row: Row, transfer_syntax_uid: str) -> Iterator[bytes]:
    if transfer_syntax_uid == row["transfer_syntax_uid"]:
        with opened(archive.blobs, row) as file:
            while chunk := file.read(CHUNK):
                yield chunk
        return
    with archive.database.connect() as connection:
        kept = connection.scalar(sa.select(Instance.frame_offsets).where(Instance.id == row["id"]))
    with opened_instance(archive.blobs, row) as (file, header):
        compressed = header.pixel_data is not None and header.pixel_data.encapsulated
        offsets = (kept or frame_offsets(file, header)) if compressed else ()
        yield from transcode(file, header, offsets, transfer_syntax_uid)
