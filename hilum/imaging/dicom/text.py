"""Character sets: the bytes of a text value to ``str``, by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 section
6.1 with the code extensions of ISO 2022). The characters themselves are in Python's codecs; here stands which of them
a value may use, and that nothing can fail: what cannot be read becomes U+FFFD."""

import re
from typing import Final

# The G1 code element of each registered set as the codec that has it beside ASCII; none for those that have only a G0.
_G1: Final = {
    "6": "",
    "13": "shift_jis",
    "14": "",
    "58": "gb2312",
    "87": "",
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "149": "cp949",  # KS X 1001 and the further syllables that Windows writes with it
    "159": "",
    "166": "tis_620",
    "203": "iso8859_15",
}
# Sets that stand alone: with one of them there are no code extensions.
_ALONE: Final = {"192": "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
# What files say instead of the term that they mean, in capitals, with a space for any other character.
_MEANT: Final = {
    "": "6",
    "ASCII": "6",
    "US ASCII": "6",
    "UTF 8": "192",
    "UTF8": "192",
    "UNICODE": "192",
    "ISO 10646": "192",
    "LATIN1": "100",
    "LATIN 1": "100",
    "WINDOWS 1252": "100",
    "CP1252": "100",
    "SHIFT JIS": "13",
    "SJIS": "13",
    "EUC KR": "149",
    "GB2312": "GBK",
    "GB 2312": "GBK",
    "GB 18030": "GB18030",
    "ISO 2022 GBK": "GBK",
    "ISO 2022 GB18030": "GB18030",
}
_PARTS_OF_8859: Final = {
    "1": "100",
    "2": "101",
    "3": "109",
    "4": "110",
    "5": "144",
    "6": "127",
    "7": "126",
    "8": "138",
    "9": "148",
    "11": "166",
    "15": "203",
}
_OTHER: Final = re.compile(r"[^A-Z0-9]+")
_PART_OF_8859: Final = re.compile(r"(?:ISO )?8859 ([0-9]+)")
_REGISTERED: Final = re.compile(r"(?:ISO ?)?(?:2022 ?)?(?:IR ?)?([0-9]+)")

# Escape sequences (PS3.3 tables C.12-3 and C.12-4, and three that only devices write): what they put into G0 or G1.
_ESCAPE: Final = re.compile(rb"\x1b(\([BIJ]|\)I|-[A-Tb]|\$[@B]|\$\([BD]|\$\)[AC])")
_ASCII, _KATAKANA, _JIS_0208, _JIS_0212 = range(4)
_TO_G0: Final = {
    b"(B": _ASCII,
    b"(J": _ASCII,
    b"(I": _KATAKANA,
    b"$@": _JIS_0208,
    b"$B": _JIS_0208,
    b"$(B": _JIS_0208,
    b"$(D": _JIS_0212,
}
_TO_G1: Final = {
    b")I": _G1["13"],
    b"-A": _G1["100"],
    b"-B": _G1["101"],
    b"-C": _G1["109"],
    b"-D": _G1["110"],
    b"-F": _G1["126"],
    b"-G": _G1["127"],
    b"-H": _G1["138"],
    b"-L": _G1["144"],
    b"-M": _G1["148"],
    b"-T": _G1["166"],
    b"-b": _G1["203"],
    b"$)A": _G1["58"],
    b"$)C": _G1["149"],
}
_PAIR: Final = re.compile(rb"[\xa1-\xfe]{2}")
_UPPER_HALF: Final = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))

# After these the sets of the beginning are in force again (PS3.5 section 6.1.2.5.3).
_CONTROL: Final = re.compile(rb"[\n\f\r\t]")
_IN_TEXT: Final = re.compile(rb"(?<=[\n\f\r\t])")
_IN_VALUES: Final = re.compile(rb"(?<=[\n\f\r\t\\])")
_IN_NAMES: Final = re.compile(rb"(?<=[\n\f\r\t\\^=])")
_DELIMITERS: Final = {"PN": _IN_NAMES, "LT": _IN_TEXT, "ST": _IN_TEXT, "UT": _IN_TEXT}


class CharacterSet:
    """One value of Specific Character Set, ready to decode with.

    Parameters
    ----------
    declared : str
        The attribute's value as it stands, values parted by a backslash; empty for the default repertoire. Common
        misspellings are understood; what is unknown is taken for the default repertoire.
    """

    __slots__ = ("_alone", "_g1", "_others")

    def __init__(self, declared: str = "") -> None:
        first, *others = [_meant(term) for term in declared.split("\\", 32)[:32]]
        self._alone: Final = _ALONE.get(first, "")
        self._g1: Final = _G1.get(first, "")
        self._others: Final = [codec for codec in (_G1.get(term, "") for term in others) if codec]

    def decode(self, value: bytes, vr: str = "LO") -> str:
        """The text of a value.

        Parameters
        ----------
        value : bytes
            The value field.
        vr : str
            Its value representation, which decides after what characters the first set is in force again.
        """
        if self._alone:
            return value.decode(self._alone, "replace")
        if b"\x1b" in value:
            return self._extended(value, _DELIMITERS.get(vr, _IN_VALUES))
        return self._plain(value, self._g1)

    def _plain(self, value: bytes, g1: str) -> str:
        if g1:
            return value.decode(g1, "replace")
        if not value.isascii():
            # Nothing says what these are: UTF-8 cannot be met by chance, nor mostly another set that is declared.
            for codec in ("utf_8", *self._others):
                try:
                    return value.decode(codec)
                except UnicodeDecodeError:
                    continue
        return value.decode("latin_1")

    def _extended(self, value: bytes, delimiters: re.Pattern[bytes]) -> str:
        g0, g1 = _ASCII, self._g1
        texts: list[str] = []
        for number, part in enumerate(_ESCAPE.split(value)):
            if number % 2:
                g0 = _TO_G0.get(part, g0)
                g1 = _TO_G1.get(part, g1)
                continue
            while part and g0 != _ASCII:  # in two bytes a character no delimiter can be told but a control character
                control = _CONTROL.search(part)
                wide, part = (part[: control.start()], part[control.start() :]) if control else (part, b"")
                texts.append(_wide(wide, g0))
                if control:
                    g0, g1 = _ASCII, self._g1 or g1
            for after_delimiter, piece in enumerate(delimiters.split(part)):
                if after_delimiter:
                    g1 = self._g1 or g1  # where the first set has no G1, one that was named stays better than none
                texts.append(self._plain(piece, g1))
        return "".join(texts)


def _wide(value: bytes, g0: int) -> str:
    """Text in a G0 set other than ASCII, as its like among the codecs that keep such sets in the upper half."""
    upper = value.translate(_UPPER_HALF)
    if g0 == _KATAKANA:
        return upper.decode("shift_jis", "replace")
    if g0 == _JIS_0212:
        upper = _PAIR.sub(b"\x8f\\g<0>", upper)
    return upper.decode("euc_jp", "replace")


def _meant(term: str) -> str:
    """The set that a term names, as a key of the tables here; one that none has for the unknown."""
    spelled = _OTHER.sub(" ", term[:64].upper()).strip()
    if spelled in _MEANT or spelled in _ALONE:
        return _MEANT.get(spelled, spelled)
    part = _PART_OF_8859.fullmatch(spelled)
    if part is not None:
        return _PARTS_OF_8859.get(part[1], "6")
    registered = _REGISTERED.fullmatch(spelled)
    return registered[1] if registered is not None else spelled


DEFAULT: Final = CharacterSet()
