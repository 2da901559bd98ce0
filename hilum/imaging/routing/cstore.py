"""Instances to a destination by C-STORE (PS3.4 annex B): many on one association, each in the transfer syntax it is
stored in where the destination takes that, else converted."""

import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import BinaryIO, Final

from hilum.core.errors import HilumError, NotAcceptable, Unavailable
from hilum.imaging.archive.convert import instance_bytes
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.attributes import EXPLICIT_LITTLE
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.routing.association import (
    IMPLICIT_LITTLE,
    MAX_CONTEXTS,
    VERIFICATION,
    Association,
    Broken,
    Syntax,
    associate,
)
from hilum.imaging.routing.destinations import Destination
from hilum.imaging.routing.queue import Item, Result
from hilum.imaging.routing.trouble import Unreachable
from hilum.imaging.routing.verdicts import by_status

_MAX_REWRITTEN: Final = 512 << 20
_LONG: Final = (b"OB", b"UN", b"UT", b"SQ")
_NOT_TAKEN: Final = "It takes this SOP class in no transfer syntax that the instance can be given in."


def send(archive: Archive, destination: Destination, items: Sequence[Item]) -> Iterator[Result]:
    """Send instances, and tell of each as soon as it is answered; what is not told of was not sent.

    Raises
    ------
    Unreachable
        Nobody takes the association.
    Unavailable
        The archive cannot read it now.
    """
    forced = destination.address.transfer_syntax_uid
    wanted = _proposal(items, forced)
    item = items[0]
    try:
        with associate(destination, wanted) as association:
            for item in items:
                if not all(syntax in wanted for syntax in _preferences(item, forced)):
                    continue  # it is for the next association
                result = _send(archive, association, item, forced)
                yield result
                if result.halt:
                    return
    except Broken as error:
        yield Result(item, sent=False, halt=True, uncertain=True, error=str(error))
    except Unavailable:
        raise
    except HilumError as error:  # its bytes ended before they should
        yield Result(item, sent=False, permanent=True, error=str(error))


def _send(archive: Archive, association: Association, item: Item, forced: str) -> Result:
    reason = _NOT_TAKEN
    for syntax in _preferences(item, forced):
        if syntax not in association.accepted:
            continue
        with closing(_data_set(archive, item, syntax[1])) as pieces:
            try:
                first = next(pieces, b"")
            except Unavailable:
                raise
            except HilumError as error:  # it cannot be given so, or is not there
                reason = str(error)
                continue
            return by_status(item, association.store(syntax, item.sop_instance_uid, chain([first], pieces)))
    return Result(item, sent=False, permanent=True, error=reason)


def _preferences(item: Item, forced: str) -> list[Syntax]:
    """The contexts that an instance may go by, the best first."""
    syntaxes = dict.fromkeys(
        syntax for syntax in (forced, item.transfer_syntax_uid, EXPLICIT_LITTLE, IMPLICIT_LITTLE) if syntax
    )
    return [(item.sop_class_uid, syntax) for syntax in syntaxes]


def _proposal(items: Sequence[Item], forced: str) -> list[Syntax]:
    """As many whole sets of contexts as an association may have."""
    wanted: dict[Syntax, None] = {}
    for item in items:
        more = dict.fromkeys(_preferences(item, forced))
        if len(wanted | more) <= MAX_CONTEXTS:
            wanted |= more
    return list(wanted)


def _data_set(archive: Archive, item: Item, transfer_syntax_uid: str) -> Generator[bytes]:
    """The data set of an instance in a transfer syntax, without its File Meta Information."""
    row = item.instance
    if transfer_syntax_uid == item.transfer_syntax_uid:
        with opened(archive.blobs, row) as file:
            file.seek(_data_set_offset(file))
            while piece := file.read(CHUNK):
                yield piece
    elif transfer_syntax_uid == IMPLICIT_LITTLE:
        yield _implicit(instance_bytes(archive, row, EXPLICIT_LITTLE), item.size)
    else:
        yield from _without_meta(instance_bytes(archive, row, transfer_syntax_uid))


def _data_set_offset(file: BinaryIO) -> int:
    """Where the data set of a file begins: behind its preamble and group 0002, if it has them (PS3.10 section 7.1)."""
    offset = 132 if file.read(132)[128:] == b"DICM" else 0
    while True:
        file.seek(offset)
        start = file.read(12)
        if len(start) < 8 or start[:2] != b"\2\0":
            return offset
        vr = start[4:6]
        if not vr.isalpha() or (vr in _LONG and len(start) < 12):
            raise Unreadable("unreadable", "The file's meta information cannot be read.")
        length = int.from_bytes(start[8:12] if vr in _LONG else start[6:8], "little")
        offset += (12 if vr in _LONG else 8) + length


def _without_meta(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What follows the File Meta Information of a file that Hilum wrote: its length stands in its first element."""
    head = bytearray()
    while len(head) < 144:
        head += next(pieces)
    start = 144 + int.from_bytes(head[140:144], "little")
    while len(head) < start:
        head += next(pieces)
    yield bytes(head[start:])
    yield from pieces


def _implicit(pieces: Iterator[bytes], size: int) -> bytes:
    """An explicit little endian file as an implicit little endian data set, for those who take nothing else."""
    from pydicom import dcmread  # pyright: ignore[reportUnknownVariableType]
    from pydicom.dataset import Dataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    if size > _MAX_REWRITTEN:
        raise NotAcceptable("It takes Implicit VR Little Endian only, and the instance is too large to be rewritten.")
    plain = Dataset(dcmread(io.BytesIO(b"".join(pieces))))
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = True, True
    write_dataset(file, plain)
    return file.getvalue()


def check(destination: Destination) -> str:
    """Ask a destination for a sign of life by C-ECHO, and say how it went.

    Raises
    ------
    Unreachable
        It gave none.
    """
    try:
        with associate(destination, [(VERIFICATION, IMPLICIT_LITTLE)]) as association:
            if not association.accepted:
                return "It takes the association, but not a C-ECHO."
            status = association.echo()
    except Broken as error:
        raise Unreachable(str(error)) from error
    if status:
        raise Unreachable(f"It answered the C-ECHO with 0x{status:04X}.")
    return "It answered the C-ECHO."
