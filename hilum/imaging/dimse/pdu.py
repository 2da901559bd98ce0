"""The protocol data units by which an association begins and ends (PS3.8 section 9.3, PS3.7 annex D), from bytes and to
bytes. Those that carry data are taken apart in ``wire``; who may associate, ``negotiation`` says."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from hilum.imaging.dicom.writer import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from hilum.imaging.dimse.problems import INVALID_PARAMETER, Violation

ASSOCIATE_RQ: Final = 1
ASSOCIATE_AC: Final = 2
ASSOCIATE_RJ: Final = 3
P_DATA: Final = 4
RELEASE_RQ: Final = 5
RELEASE_RP: Final = 6
ABORT: Final = 7

RELEASE_RQ_BYTES: Final = b"\5\0\0\0\0\4\0\0\0\0"
RELEASE_RP_BYTES: Final = b"\6\0\0\0\0\4\0\0\0\0"

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
MAX_PDU: Final = 256 << 10
"""The longest PDU that is taken, in bytes after its header; Hilum sends none that is longer either."""

_APPLICATION, _PROPOSED, _DECIDED, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAX_LENGTH, _CLASS_UID, _ROLES, _VERSION, _IDENTITY = 0x51, 0x52, 0x54, 0x55, 0x58
_ITEM: Final = struct.Struct(">BxH")
_FIXED: Final = struct.Struct(">H2x16s16s32x")
_MAX_CONTEXTS: Final = 128


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context that is proposed: its odd number, and what it is to carry in which syntaxes."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided on a presentation context: result (0 is acceptance) and transfer syntax."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of the requestor for a SOP class (PS3.7 section D.3.3.4): whether it is user, and provider."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2). Extended negotiation and user identity are passed over; ``identified``
    tells whether a user was named."""

    called: str
    calling: str
    contexts: tuple[Proposed, ...]
    max_length: int = MAX_PDU
    version: int = 1
    application_context: str = APPLICATION_CONTEXT
    implementation: str = ""
    roles: dict[str, Roles] = field(default_factory=dict[str, Roles])
    identified: bool = False


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""

    contexts: tuple[Decided, ...]
    max_length: int = MAX_PDU
    roles: dict[str, Roles] = field(default_factory=dict[str, Roles])


def read_request(body: bytes) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ without its first six bytes.

    Raises
    ------
    Violation
        It is not built as it should be.
    """
    version, called, calling = _fixed(body)
    application, contexts, user = "", list[Proposed](), _User()
    for kind, value in _items(body, _FIXED.size):
        if kind == _APPLICATION:
            application = _uid(value)
        elif kind == _PROPOSED:
            contexts.append(_proposed(value))
        elif kind == _USER:
            user = _user(value)
    if len(contexts) > _MAX_CONTEXTS or len({one.id for one in contexts}) != len(contexts):
        raise Violation("presentation_contexts", INVALID_PARAMETER)
    return AssociateRequest(
        called, calling, tuple(contexts), user.max_length, version, application, user.implementation, user.roles,
        user.identified,
    )  # fmt: skip


def read_accept(body: bytes) -> AssociateAccept:
    """Read an A-ASSOCIATE-AC without its first six bytes; errors as of `read_request`."""
    _fixed(body)
    contexts, user = list[Decided](), _User()
    for kind, value in _items(body, _FIXED.size):
        if kind == _DECIDED:
            if len(value) < 4:
                raise Violation("presentation_context", INVALID_PARAMETER)
            syntaxes = [_uid(part) for inner, part in _items(value, 4) if inner == _TRANSFER]
            contexts.append(Decided(value[0], value[2], syntaxes[0] if syntaxes else ""))
        elif kind == _USER:
            user = _user(value)
    return AssociateAccept(tuple(contexts), user.max_length, user.roles)


def request_bytes(request: AssociateRequest) -> bytes:
    """An A-ASSOCIATE-RQ."""
    contexts = b"".join(
        _item(
            _PROPOSED,
            bytes((one.id, 0, 0, 0))
            + _item(_ABSTRACT, one.abstract_syntax.encode())
            + b"".join(_item(_TRANSFER, syntax.encode()) for syntax in one.transfer_syntaxes),
        )
        for one in request.contexts
    )
    return _associate(ASSOCIATE_RQ, request.called, request.calling, contexts, request.max_length, request.roles)


def accept_bytes(request: AssociateRequest, accept: AssociateAccept) -> bytes:
    """The A-ASSOCIATE-AC that answers a request."""
    contexts = b"".join(
        _item(_DECIDED, bytes((one.id, 0, one.result, 0)) + _item(_TRANSFER, one.transfer_syntax.encode()))
        for one in accept.contexts
    )
    return _associate(ASSOCIATE_AC, request.called, request.calling, contexts, accept.max_length, accept.roles)


def reject_bytes(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
    return struct.pack(">BxI4B", ASSOCIATE_RJ, 4, 0, result, source, reason)


def abort_bytes(source: int, reason: int) -> bytes:
    """An A-ABORT (PS3.8 section 9.3.8)."""
    return struct.pack(">BxI4B", ABORT, 4, 0, 0, source, reason)


@dataclass(slots=True)
class _User:
    max_length: int = 16 << 10
    implementation: str = ""
    roles: dict[str, Roles] = field(default_factory=dict[str, Roles])
    identified: bool = False


def _fixed(body: bytes) -> tuple[int, str, str]:
    if len(body) < _FIXED.size:
        raise Violation("associate_too_short", INVALID_PARAMETER)
    version, called, calling = _FIXED.unpack_from(body)
    return version, _title(called), _title(calling)


def _items(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position < len(data):
        if position + _ITEM.size > len(data):
            raise Violation("item_cut", INVALID_PARAMETER)
        kind, length = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        if position + length > len(data):
            raise Violation("item_cut", INVALID_PARAMETER)
        yield kind, data[position : position + length]
        position += length


def _proposed(value: bytes) -> Proposed:
    if len(value) < 4 or not value[0] & 1:
        raise Violation("presentation_context", INVALID_PARAMETER)
    abstract, transfer = "", list[str]()
    for kind, part in _items(value, 4):
        if kind == _ABSTRACT:
            abstract = _uid(part)
        elif kind == _TRANSFER:
            transfer.append(_uid(part))
    return Proposed(value[0], abstract, tuple(transfer))


def _user(value: bytes) -> _User:
    found = _User()
    for kind, part in _items(value, 0):
        if kind == _MAX_LENGTH and len(part) == 4:
            (found.max_length,) = struct.unpack(">I", part)
        elif kind == _CLASS_UID:
            found.implementation = _uid(part)
        elif kind == _ROLES:
            uid, scu, scp = _roles(part)
            found.roles[uid] = Roles(scu, scp)
        elif kind == _IDENTITY:
            found.identified = True
    return found


def _roles(part: bytes) -> tuple[str, bool, bool]:
    length = int.from_bytes(part[:2], "big")
    if len(part) != length + 4:
        raise Violation("role_selection", INVALID_PARAMETER)
    return _uid(part[2 : 2 + length]), bool(part[-2]), bool(part[-1])


def _associate(
    kind: int, called: str, calling: str, contexts: bytes, max_length: int, roles: dict[str, Roles]
) -> bytes:
    user = (
        _item(_MAX_LENGTH, struct.pack(">I", max_length))
        + _item(_CLASS_UID, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(
            _item(_ROLES, struct.pack(">H", len(uid)) + uid.encode() + bytes((one.scu, one.scp)))
            for uid, one in roles.items()
        )
        + _item(_VERSION, IMPLEMENTATION_VERSION.encode())
    )
    titles = [title.encode("latin-1", "replace")[:16].ljust(16) for title in (called, calling)]
    body = _FIXED.pack(1, *titles) + _item(_APPLICATION, APPLICATION_CONTEXT.encode()) + contexts + _item(_USER, user)
    return struct.pack(">BxI", kind, len(body)) + body


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _title(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def _uid(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def data_pdu(context: int, control: int, data: bytes | memoryview) -> Sequence[bytes | memoryview]:
    """A P-DATA-TF (PS3.8 section 9.3.5) with one fragment, in pieces; ``control`` is 1 for a command, plus 2 for the
    last fragment."""
    return struct.pack(">BxIIBB", P_DATA, len(data) + 6, len(data) + 2, context, control), data
