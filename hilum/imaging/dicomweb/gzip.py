"""The gzip content coding (RFC 9110 section 8.4.1.3), by isal: some ten times cheaper than zlib at a like size."""

from collections.abc import Iterable
from typing import Final, Protocol, cast

from isal import isal_zlib

_GZIP: Final = 31
_LEVEL: Final = 2


class _Stream(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Zlib(Protocol):
    DEFLATED: int

    def compressobj(self, *, level: int, wbits: int) -> _Stream: ...

    def decompress(self, data: bytes, /, *, wbits: int) -> bytes: ...


_zlib: Final = cast("_Zlib", cast("object", isal_zlib))


def compress(pieces: Iterable[bytes]) -> bytes:
    """Compress what comes in pieces; only the compressed form is held."""
    stream = _zlib.compressobj(level=_LEVEL, wbits=_GZIP)
    return b"".join((*(stream.compress(piece) for piece in pieces), stream.flush()))


def decompress(data: bytes) -> bytes:
    """Give back what was compressed."""
    return _zlib.decompress(data, wbits=_GZIP)
