"""Character sets: the bytes of a text value to ``str``, by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section
6.1). The tables and ISO 2022 escapes are pydicom's; here stands which sets are let in, and that nothing can fail."""

from typing import Final

from pydicom.charset import decode_bytes, python_encoding

_DELIMITERS: Final = set(b"\n\r\t\f")
_NAME_DELIMITERS: Final = set(b"\n\r\t\f^=")
_STAND_ALONE: Final = frozenset(("ISO_IR 192", "GB18030", "GBK"))


class CharacterSet:
    """One value of Specific Character Set, ready to decode with.

    Parameters
    ----------
    declared : str
        The attribute's value as it stands, values parted by a backslash; empty for the default repertoire.
    """

    __slots__ = ("encodings",)

    def __init__(self, declared: str = "") -> None:
        terms = [_known(term.strip(" \0")) for term in declared.split("\\")]
        if terms[0] in _STAND_ALONE:
            terms = terms[:1]  # these may not be extended, and no later set may be one of them
        terms = [terms[0], *(term for term in terms[1:] if term not in _STAND_ALONE)]
        self.encodings: list[str] = [python_encoding[term] for term in terms]

    def decode(self, value: bytes, *, person_name: bool = False) -> str:
        """The text of a value; bytes that the set does not know become U+FFFD, never an error."""
        if b"\x1b" in value:
            return decode_bytes(value, self.encodings, _NAME_DELIMITERS if person_name else _DELIMITERS)
        return value.decode(self.encodings[0], "replace")


def _known(term: str) -> str:
    """The defined term that is meant: common misspellings are understood, the unknown is the default repertoire.

    Never a name of Python's own codecs, among which are some that a hostile value could make very slow.
    """
    if term in python_encoding:
        return term
    spelled = term.upper().replace("-", " ").replace("_", " ")
    for candidate in (spelled, spelled.replace("ISO IR", "ISO_IR"), spelled.replace("ISO2022", "ISO 2022")):
        if candidate in python_encoding:
            return candidate
    return ""


DEFAULT: Final = CharacterSet()
