"""The bytes of instances and frames as they are given: as they lie where that will do, else converted, decoded or
encoded anew (``imaging.dicom``). In what form they are wanted is for ``wado`` and ``zipped`` to find out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from hilum.imaging.archive.objects import opened_instance, reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import describe_samples
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.transcode import instance_forms, native_form, transcode, transcode_frame
from hilum.imaging.dicomweb.accept import EXPLICIT_LITTLE
from hilum.imaging.dicomweb.corrections import needs_making
from hilum.imaging.dicomweb.resources import Place, kept_frame_offsets


def instance_syntaxes(archive: Archive, row: Row) -> tuple[str, ...]:
    """The transfer syntaxes that an instance can be transcoded to.

    Raises
    ------
    Gone, NotFound
        Its bytes are not there.
    """
    try:
        with opened_instance(archive.blobs, row) as (file, header):
            return instance_forms(file, header)
    except Unreadable:
        return ()


def instance_bytes(archive: Archive, row: Row, transfer_syntax_uid: str) -> Iterator[bytes]:
    """An instance as a Part 10 file in a transfer syntax, in pieces of bounded size.

    Raises
    ------
    Gone, NotFound
        Its bytes are not there.
    Unreadable, NotAcceptable
        It cannot be given so.
    """
    if transfer_syntax_uid == row["transfer_syntax_uid"]:
        read, size = reader(archive.blobs, row), row["size"]
        for offset in range(0, size, CHUNK):
            yield read(offset, min(CHUNK, size - offset))
        return
    with opened_instance(archive.blobs, row) as (file, header):
        yield from transcode(file, header, _offsets(archive, row, file, header), transfer_syntax_uid)


def frame_bytes(
    file: BinaryIO, header: Header, numbers: Iterable[int], places: Mapping[int, Place], transfer_syntax_uid: str
) -> Iterator[bytes]:
    """Frames in a transfer syntax, one after the other.

    Parameters
    ----------
    file, header
        The instance.
    numbers
        Of the frames, 1-based.
    places
        Where compressed ones lie, by number.
    transfer_syntax_uid
        That of the instance for frames as they lie, or one that `transcode.frame_forms` names.

    Raises
    ------
    Unreadable, NotAcceptable
        A frame cannot be given so.
    """
    compressed = header.pixel_data is not None and header.pixel_data.encapsulated
    as_stored = compressed and transfer_syntax_uid == header.transfer_syntax_uid
    plain = transfer_syntax_uid == EXPLICIT_LITTLE and not compressed and not _is_made(header)
    for number in numbers:
        place = places.get(number)
        frame = read_frame(file, header, place or (), 0 if place else number - 1)
        if as_stored or plain:
            yield frame
        elif transfer_syntax_uid == EXPLICIT_LITTLE:
            yield native_form(frame, describe_samples(header))[0]
        else:
            yield transcode_frame(frame, describe_samples(header), transfer_syntax_uid)[0]


def _is_made(header: Header) -> bool:
    try:
        return needs_making(header, describe_samples(header))
    except Unreadable:
        return False  # of a kind that nothing here knows: as it lies, then


def _offsets(archive: Archive, row: Row, file: BinaryIO, header: Header) -> Sequence[int]:
    """Where compressed frames lie, from the catalogue where it knows; empty for native ones."""
    if header.pixel_data is None or not header.pixel_data.encapsulated:
        return ()
    with archive.database.connect() as connection:
        kept = kept_frame_offsets(connection, row["id"])
    return kept or frame_offsets(file, header)
