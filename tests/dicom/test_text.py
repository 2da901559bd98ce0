"""Every character set of PS3.3 C.12.1.1.2 is read, the examples of PS3.5 give their text, and no bytes raise."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.names import person_groups
from hilum.imaging.dicom.text import CharacterSet
from tests.dicom.files import element, part10, wheel_file

CHINESE_TEXT = "The first line includes中文.\r\nThe second line includes中文, too.\r\nThe third line.\r\n"

# The examples of PS3.5: where they stand, Specific Character Set, value representation, bytes, text.
EXAMPLES = [
    (
        "H.3.1",
        "\\ISO 2022 IR 87",
        "PN",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "H.3.2",
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        "PN",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "I.2",
        "\\ISO 2022 IR 149",
        "PN",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        "I.3",
        "\\ISO 2022 IR 149",
        "LT",
        b"\x1b$)CThe first line includes \xc7\xd1\xb1\xdb.\r\n"
        b"\x1b$)CThe second line includes \xc7\xd1\xb1\xdb, too.\r\nThe third line",
        "The first line includes 한글.\r\nThe second line includes 한글, too.\r\nThe third line",
    ),
    (
        "J.1",
        "ISO_IR 192",
        "PN",
        b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=",
        "Wang^XiaoDong=王^小東=",
    ),
    (
        "J.2",
        "ISO_IR 192",
        "LT",
        b"The first line includes\xe4\xb8\xad\xe6\x96\x87.\r\n"
        b"The second line includes\xe4\xb8\xad\xe6\x96\x87, too.\r\nThe third line.\r\n",
        CHINESE_TEXT,
    ),
    ("J.3", "GB18030", "PN", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    (
        "J.4",
        "GB18030",
        "LT",
        b"The first line includes\xd6\xd0\xce\xc4.\r\n"
        b"The second line includes\xd6\xd0\xce\xc4, too.\r\nThe third line.\r\n",
        CHINESE_TEXT,
    ),
    ("J.3 in GBK", "GBK", "PN", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
    (
        "K.2",
        "\\ISO 2022 IR 58",
        "PN",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    (
        "K.3",
        "\\ISO 2022 IR 58",
        "LT",
        b"1.\x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n"
        b"2.\x1b$)A\xb5\xda\xb6\xfe\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n"
        b"3.\x1b$)A\xb5\xda\xc8\xfd\xd0\xd0\xce\xc4\xd7\xd6\xa1\xa3\r\n",
        "1.第一行文字。\r\n2.第二行文字。\r\n3.第三行文字。\r\n",
    ),
]
# A word of each single-byte set, with the codec that has its code elements.
WORDS = [
    ("100", "latin_1", "Buc^Jérôme"),
    ("101", "iso8859_2", "Wałęsa^Ďáblice"),
    ("109", "iso8859_3", "Ĉapelo^Ĝojo"),
    ("110", "iso8859_4", "Ķēniņš^Āris"),
    ("126", "iso8859_7", "Διονυσιος"),
    ("127", "iso8859_6", "قباني^لنزار"),
    ("138", "iso8859_8", "שרון^דבורה"),
    ("144", "iso8859_5", "Люкceмбypг"),
    ("148", "iso8859_9", "Çavuşoğlu^İşık"),
    ("166", "tis_620", "นามสกุล^ชื่อ"),
    ("203", "iso8859_15", "Œuvre^Šimon"),
    ("13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
]
DESIGNATED = {
    "100": b"-A",
    "101": b"-B",
    "109": b"-C",
    "110": b"-D",
    "126": b"-F",
    "127": b"-G",
    "138": b"-H",
    "144": b"-L",
    "148": b"-M",
    "166": b"-T",
    "203": b"-b",
    "13": b")I",
}


@pytest.mark.parametrize(
    ("declared", "vr", "value", "text"), [row[1:] for row in EXAMPLES], ids=[r[0] for r in EXAMPLES]
)
def test_the_examples_of_the_standard(declared: str, vr: str, value: bytes, text: str) -> None:
    assert CharacterSet(declared).decode(value, vr) == text


@pytest.mark.parametrize("row", [row for row in EXAMPLES if row[2] == "PN"], ids=lambda row: row[0])
def test_the_header_has_the_names_of_the_standard(row: tuple[str, str, str, bytes, str]) -> None:
    _, declared, _, value, text = row
    charset = declared.encode() + b" " * (len(declared) % 2)
    name = value + b" " * (len(value) % 2)
    data = part10(element(0x00080005, "CS", charset) + element(0x00100010, "PN", name))
    assert scan(data).text("PatientName") == text


@pytest.mark.parametrize(("number", "codec", "word"), WORDS, ids=[row[0] for row in WORDS])
def test_each_single_byte_set_with_and_without_code_extensions(number: str, codec: str, word: str) -> None:
    encoded = word.encode(codec)
    assert CharacterSet(f"ISO_IR {number}").decode(encoded, "PN") == word
    assert CharacterSet(f"ISO 2022 IR {number}").decode(encoded, "PN") == word
    escaped = b"^".join(b"\x1b" + DESIGNATED[number] + part for part in encoded.split(b"^"))
    assert CharacterSet(f"\\ISO 2022 IR {number}").decode(b"A=" + escaped, "PN") == "A=" + word
    assert CharacterSet(f"ISO 2022 IR 6\\ISO 2022 IR {number}").decode(escaped, "PN") == word


def test_the_first_set_is_in_force_again_after_a_delimiter() -> None:
    characters = CharacterSet("ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126")
    assert characters.decode(b"\xfc \x1b-L\xbb\xee\xda\x1b-F\xc3\xeb^\xfc\\\xfc", "PN") == "ü Люк" + "Γλ^ü\\ü"
    for vr, delimited in (("PN", "^=\\\r"), ("LO", "\\\n\f\t"), ("LT", "\r\n")):
        for delimiter in delimited:
            assert characters.decode(b"\x1b-L\xbb" + delimiter.encode() + b"\xfc", vr) == f"Л{delimiter}ü"
    assert characters.decode(b"\x1b-L\xbb^\xbb\\\xbb", "LT") == "Л^Л\\Л", "these mean nothing in long text"
    assert characters.decode(b"\x1b-L\xbb^\xbb", "LO") == "Л^Л"


def test_two_byte_characters_that_hold_a_delimiters_code() -> None:
    assert CharacterSet("GB18030").decode("俓乗".encode("gb18030"), "LO") == "俓乗"
    values = "表示\\ソ".encode("shift_jis")
    assert values.count(b"\\") == 3
    data = part10(element(0x00080005, "CS", b"ISO_IR 13 ") + element(0x0008103E, "LO", values + b" "))
    assert scan(data).text("SeriesDescription") == "表示\\ソ", "kanji that devices write with this term"
    supplementary = b"\x1b$(D" + bytes(byte & 0x7F for byte in "丂丄".encode("euc_jp") if byte != 0x8F) + b"\x1b(B."
    assert CharacterSet("\\ISO 2022 IR 159").decode(supplementary) == "丂丄."


def test_a_line_that_ends_in_two_byte_characters_resets_them() -> None:
    assert CharacterSet("\\ISO 2022 IR 87").decode(b"\x1b$B;3ED\r\nplain", "LT") == "山田\r\nplain"


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        ("ISO-IR 100", b"M\xfcller", "Müller"),
        ("iso ir 144", b"\xbb", "Л"),
        ("ISO_IR-192", b"\xc3\xbc", "ü"),
        ("ISO_IR192", b"\xc3\xbc", "ü"),
        ("UTF-8", b"\xc3\xbc", "ü"),
        ("utf8", b"\xc3\xbc", "ü"),
        ("latin1", b"\xfc", "ü"),
        ("ISO-8859-5", b"\xbb", "Л"),
        ("ISO 8859-1", b"\xfc", "ü"),
        ("ISO2022 IR 87", b"\x1b$B;3\x1b(B", "山"),
        ("ISO_IR 149", "길동".encode("euc_kr"), "길동"),
        ("ISO 2022 58", "王".encode("gb2312"), "王"),
        ("gb2312", "王".encode("gb2312"), "王"),
        ("ISO 2022 GBK", "王".encode("gbk"), "王"),
        ("no such set", b"M\xfcller", "Müller"),
        ("", b"M\xfcller", "Müller"),
        ("", "Müller".encode(), "Müller"),
        ("\\ISO 2022 IR 149", "길동".encode("euc_kr"), "길동"),
        ("ISO_IR 192\\ISO 2022 IR 100", b"\xc3\xbc", "ü"),
        ("", b"\x1b$B;3\x1b(B", "山"),
    ],
)
def test_wrong_terms_are_understood_where_they_can_be(declared: str, value: bytes, text: str) -> None:
    assert CharacterSet(declared).decode(value) == text


@pytest.mark.parametrize(
    ("declared", "value", "text"),
    [
        ("ISO_IR 192", b"M\xfcller", "M\ufffdller"),
        ("ISO_IR 126", b"\xd2.", "\ufffd."),
        ("GB18030", b"A\xff\xff", "A\ufffd\ufffd"),
        ("\\ISO 2022 IR 87", b"\x1b$B\x7f\x7f", "\x7f\x7f"),
        ("\\ISO 2022 IR 149", b"\x1b$)C\xff\xff.", "ÿÿ."),
    ],
)
def test_bytes_that_mean_nothing_are_replaced_or_kept(declared: str, value: bytes, text: str) -> None:
    found = CharacterSet(declared).decode(value)
    assert found == text or "\ufffd" in found


@given(
    terms=st.lists(
        st.sampled_from(["", "ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 149", "GBK", "x" * 70]), max_size=4
    ),
    parts=st.lists(
        st.sampled_from([b"\x1b$B", b"\x1b(J", b"\x1b$)C", b"\x1b", b"\x1b$(D", b"^", b"\n", b"\\"])
        | st.binary(max_size=4)
    ),
    vr=st.sampled_from(["PN", "LO", "LT"]),
)
def test_no_bytes_raise(terms: list[str], parts: list[bytes], vr: str) -> None:
    text = CharacterSet("\\".join(terms)).decode(b"".join(parts), vr)
    text.encode()
    assert len(text) <= sum(map(len, parts))


# Those whose sets dcmtk knows as it is built here: with the C library's iconv it lacks the Japanese code extensions.
ORACLE = ["chrArab", "chrFren", "chrGerm", "chrGreek", "chrHbrw", "chrI2", "chrRuss", "chrX1", "chrX2"]


@pytest.mark.skipif(shutil.which("dcm2json") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("name", ORACLE)
def test_dcmtk_reads_the_same_names(name: str) -> None:
    path = wheel_file(f"{name}.dcm")
    done = subprocess.run(["dcm2json", str(path)], capture_output=True, check=True)
    (theirs,) = json.loads(done.stdout)["00100010"]["Value"]
    assert person_groups(scan(path.read_bytes()).text("PatientName")) == theirs
