"""What the members of a zip are called. The format knows UTF-8 and cp437 only, but programs write names in whatever
their machine uses; the bytes are taken apart again and read in the code page that fits all of them best. Names are
shown to people and tell folders apart; they are never paths on this machine."""

import struct
import zipfile
from collections.abc import Sequence
from typing import Final
from zlib import crc32

MAX_NAME: Final = 1024
_UNNAMED: Final = "unnamed"
_UTF8: Final = 0x800
_UNICODE_PATH: Final = 0x7075
_KANA: Final = range(0x3041, 0x3100)


def member_names(members: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names of a zip's members, with ``/`` between folders, each at most 1,024 characters long."""
    raw = [_bytes(member) for member in members]
    unnamed = [name for name in raw if name is not None and not name.isascii()]
    codec = _codec(unnamed) if unnamed else "cp437"
    return [
        (member.filename if name is None else _unicode_path(member, name) or name.decode(codec, "replace"))
        .replace("\\", "/")
        .encode("utf-8", "replace")
        .decode()[-MAX_NAME:]
        or _UNNAMED
        for member, name in zip(members, raw, strict=True)
    ]


def _bytes(member: zipfile.ZipInfo) -> bytes | None:
    """The name as it stands in the zip; None when it is said to be UTF-8."""
    return None if member.flag_bits & _UTF8 else member.orig_filename.split("\0", 1)[0].encode("cp437", "replace")


def _unicode_path(member: zipfile.ZipInfo, name: bytes) -> str:
    """The name in the Info-ZIP Unicode Path Extra Field, if it is that of this very member."""
    extra, at = member.extra, 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        value = extra[at + 4 : at + 4 + length]
        if kind == _UNICODE_PATH and len(value) > 5 and struct.unpack_from("<I", value, 1)[0] == crc32(name):
            return value[5:].decode("utf-8", "replace")
        at += 4 + length
    return ""


def _codec(names: Sequence[bytes]) -> str:
    """The code page of names that do not say theirs: the first that reads all of them as somebody would write."""
    joined = b"\n".join(names)
    if _decodes(joined, "utf-8"):
        return "utf-8"
    if _decodes(joined, "cp932") and any(ord(letter) in _KANA for letter in joined.decode("cp932")):
        return "cp932"
    if _double_bytes(joined, 0xB0, 0xF7, 0xA1):  # the plain characters of GB 2312
        return "gbk"
    if _decodes(joined, "cp932") and _double_bytes(joined, 0x81, 0xFC, 0x40):
        return "cp932"
    if all(byte < 0x80 or byte >= 0xC0 for byte in joined):  # letters in Latin-1, lines and corners in cp437
        return "cp1252"
    return "cp437"


def _decodes(name: bytes, codec: str) -> bool:
    try:
        name.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _double_bytes(text: bytes, first: int, last: int, trail: int) -> bool:
    """Whether all that is not ASCII are characters of two bytes, and some stand side by side, as in words."""
    at, run, longest = 0, 0, 0
    while at < len(text):
        if text[at] < 0x80:
            at, run = at + 1, 0
        elif first <= text[at] <= last and at + 1 < len(text) and text[at + 1] >= trail:
            at, run = at + 2, run + 1
            longest = max(longest, run)
        else:
            return False
    return longest >= 2
