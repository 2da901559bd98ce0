"""What is proposed for archived instances that are to go to a peer by C-STORE, and in which of the forms that the peer
accepted an instance goes: as it is stored where that is taken, else converted without loss."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, cast

from hilum.core.errors import HilumError, NotAcceptable, Unavailable
from hilum.imaging.archive.convert import converted
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.encode import SYNTAXES
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dimse.channel import Context
from hilum.imaging.dimse.requestor import Proposal

MAX_CONTEXTS: Final = 128
UNREADABLE: Final = (HilumError, Unreadable, NotDicom, OSError)
"""What ends the pieces of an instance before they should."""

_PLAIN: Final = (a.EXPLICIT_LITTLE, a.IMPLICIT_LITTLE)
_PREAMBLE: Final = 132
_LONG: Final = frozenset((b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"OD", b"OL", b"UC", b"UR", b"OV", b"SV", b"UV"))


class NoForm(NotAcceptable):
    """The peer accepted no form in which the instance can be given."""


def proposals_for(row: Row, preferred: str = "") -> list[Proposal]:
    """The presentation contexts for an instance: for the syntax that is preferred, if any, for the one it is stored in,
    and for what has no compression."""
    sop_class = cast("str", row["sop_class_uid"])
    stored = cast("str", row["transfer_syntax_uid"])
    syntaxes = dict.fromkeys(((preferred,), (stored,), _PLAIN) if preferred else ((stored,), _PLAIN))
    return [(sop_class, one) for one in syntaxes]


def proposals(rows: Iterable[Row], preferred: str = "") -> list[Proposal]:
    """The presentation contexts for instances, as many whole sets as an association may have."""
    wanted: dict[Proposal, None] = {}
    for row in rows:
        more = wanted | dict.fromkeys(proposals_for(row, preferred))
        if len(more) <= MAX_CONTEXTS:
            wanted = more
    return list(wanted)


def formed(
    archive: Archive, row: Row, contexts: Iterable[Context], preferred: str = ""
) -> tuple[Context, Iterator[bytes]]:
    """Give an instance in the first form that both sides can.

    Parameters
    ----------
    archive
        Where it is kept.
    row
        Its row.
    contexts
        What the peer accepted.
    preferred
        A transfer syntax that is better than the one it is stored in; empty for none.

    Returns
    -------
    tuple
        The context, and the data set for it in pieces, of which the first is made; making the others may raise what
        is in `UNREADABLE`.

    Raises
    ------
    NoForm
        There is none.
    Unavailable
        The archive cannot read it now.
    """
    reason = "It takes this SOP class in no transfer syntax that the instance can be given in."
    for context in _forms(row, contexts, preferred):
        try:
            pieces = data_set(converted(archive, row, context.transfer_syntax))
            return context, chain([next(pieces, b"")], pieces)
        except Unavailable:
            raise
        except UNREADABLE as error:
            reason = str(error) if isinstance(error, HilumError) else "The instance's bytes cannot be read."
    raise NoForm(reason)


def _forms(row: Row, contexts: Iterable[Context], preferred: str) -> Sequence[Context]:
    order = [*((preferred,) if preferred else ()), cast("str", row["transfer_syntax_uid"]), *_PLAIN, *SYNTAXES]
    fitting = [one for one in contexts if one.abstract_syntax == row["sop_class_uid"] and one.transfer_syntax in order]
    return sorted(fitting, key=lambda one: order.index(one.transfer_syntax))


def data_set(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A Part 10 file without its preamble and File Meta Information: the data set, in pieces."""
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head += piece
        start = _data_set_offset(head)
        if start is not None:
            yield head[start:]
            break
    yield from rest


def _data_set_offset(head: bytes) -> int | None:
    """Where the elements of group 0002 end; None when that is not in these bytes."""
    position = _PREAMBLE if head[128:132] == b"DICM" else 0
    while position + 12 <= len(head):
        if head[position : position + 2] != b"\2\0":
            return position
        if head[position + 4 : position + 6] in _LONG:
            position += 12 + int.from_bytes(head[position + 8 : position + 12], "little")
        else:
            position += 8 + int.from_bytes(head[position + 6 : position + 8], "little")
    return position if position == len(head) else None
