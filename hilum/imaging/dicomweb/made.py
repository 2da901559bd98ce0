"""What instances can be transcoded to, and the bytes of frames as they are given: as they lie where that will do, else
decoded or encoded anew (``imaging.dicom``). In what form they are wanted is for ``wado`` and ``frames`` to find out."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import BinaryIO

from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import describe_samples
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.transcode import instance_forms, native_form, transcode_frame
from hilum.imaging.dicomweb.accept import EXPLICIT_LITTLE
from hilum.imaging.dicomweb.corrections import needs_making
from hilum.imaging.dicomweb.resources import Place


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
        Where compressed ones lie, by number; empty where only the file tells.
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
    if compressed and not places:
        places = dict(enumerate(pairwise(frame_offsets(file, header)), 1))
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
