"""An archived instance as a Part 10 file in a transfer syntax: as it lies where it is that already, else converted
(``imaging.dicom.transcode``)."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import BinaryIO

import sqlalchemy as sa

from hilum.core.errors import NotAcceptable
from hilum.imaging.archive.models import Instance
from hilum.imaging.archive.objects import opened_instance, reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicom.frames import frame_offsets
from hilum.imaging.dicom.header import Header
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
        The one it is stored in, one of `imaging.dicom.encode.SYNTAXES`, or Implicit VR Little Endian.

    Raises
    ------
    Gone, NotFound
        Its bytes are not there.
    NotAcceptable
        It cannot be given so.
    """
    pieces = instance_bytes(archive, row, transfer_syntax_uid)
    try:
        first = next(pieces, b"")
    except (Unreadable, NotDicom) as error:
        raise NotAcceptable(f"The instance cannot be converted. {error}") from error
    return chain([first], pieces)


def instance_bytes(archive: Archive, row: Row, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Give an instance as `converted` does, but make nothing before it is asked for.

    Raises
    ------
    Gone, NotFound
        Its bytes are not there.
    Unreadable, NotDicom
        It cannot be given so.
    """
    if transfer_syntax_uid == row["transfer_syntax_uid"]:
        read, size = reader(archive.blobs, row), row["size"]
        for offset in range(0, size, CHUNK):
            yield read(offset, min(CHUNK, size - offset))
        return
    with opened_instance(archive.blobs, row) as (file, header):
        yield from transcode(file, header, _offsets(archive, row, file, header), transfer_syntax_uid)


def _offsets(archive: Archive, row: Row, file: BinaryIO, header: Header) -> Sequence[int]:
    """Where compressed frames lie, from the catalogue where it knows; empty for native ones."""
    if header.pixel_data is None or not header.pixel_data.encapsulated:
        return ()
    with archive.database.connect() as connection:
        kept = connection.scalar(sa.select(Instance.frame_offsets).where(Instance.id == row["id"]))
    return kept or frame_offsets(file, header)
