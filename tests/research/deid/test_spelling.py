"""Words in other spellings stay, names in them do not."""

import re

import pytest

from hilum.research.deid.identifiers import collected
from hilum.research.deid.spelling import is_spelling, names
from hilum.research.deid.text import Cleaner
from hilum.research.deid.uids import UidMap
from hilum.research.deid.words import allowed_words, lines

NOBODY = Cleaner(collected([]).patterns(), UidMap(b"k" * 32).new)


@pytest.mark.parametrize(
    "text",
    [
        "CTABDPELW", "CHESTABDOMENPELVIS", "CT_CHESTABDPELVIS_WITH", "PELVISONCOLOGY",  # written into one
        "CT CHEST WITH CONTRAS", "PETCT INITIAL TREATMEN", "RETROPERIT",  # cut short
        "CT BRAIN W CNTRST", "STNDRD RECONS",  # without vowels
        "CT SAGITAL 3MM", "SCREEENING", "CT WTHOUT CONTAST", "SAG SUBSTRACTION", "CORONAL CONTRSAT",  # slips
        "Ganzkoerper primaer", "Koerperstamm nativ",  # two letters for one
        "3DFGRE SAG", "2DFSE", "ax 3dfgre PRE", "sSUB dyn_eTHRIVE", "dDWI", "AbdomenC_A_P", "RTstruct_AlignedT2FStoPET",
        "harmonization of monocytes", "reproducibility", "MR BRST", "MR BREAS, UNI", "FFPE HE TP DX2",
    ],
)  # fmt: skip
def test_words_in_other_spellings_stay(text: str) -> None:
    assert NOBODY.describe(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("T1MUELLER", ""), ("Smith_t2", "t2"), ("HAUSER320", ""), ("320HAUSER", ""), ("JS", ""),
        ("CT JS chest", "CT chest"),
        ("MR.JONES", ""), ("MR JONES BRAIN", "MR BRAIN"), ("DR_WEBER_ROUTINE", "DR ROUTINE"),
        ("DR WEBER CHEST", "DR CHEST"),
        ("CHEST00481516", ""), ("MRN00481516CHEST", ""), ("CHESTMUELLER", ""), ("MUELLERCHEST", ""),
        ("ChestMueller", ""),
        ("sSmith", ""), ("SmithC", ""), ("3DSmith", ""), ("T2FSmithFS", ""), ("DeLong", ""), ("LaCroix", ""),
        ("McBrain", ""),
        ("JLong", ""), ("BlackJ", ""), ("Corona", ""), ("Thora", ""), ("Stannard", ""), ("Smoot", ""),
        ("Arvanitis", ""),
        ("Balcitis", ""), ("Zemaitis", ""), ("Wolfgram", ""), ("Poepping", ""), ("Raether", ""), ("ABDSMITH", ""),
        ("WSMITHCT", ""),
        ("Wu", ""), ("Tran chest", "chest"), ("axial_SCHMIDT_p2_320", "axial p2 320"), ("WILSONCONTRAST", ""),
        ("Sebastion", ""),
        ("Vessell", ""), ("Maximus", ""), ("Coronel", ""), ("Kinney", ""), ("Kernell", ""), ("Strode", ""),
        ("Breth", ""),
    ],
)  # fmt: skip
def test_no_name_passes_for_a_word_in_another_spelling(text: str, left: str) -> None:
    assert re.findall(r"[^\W_]+", NOBODY.describe(text)) == left.split()


def test_what_is_known_goes_however_near_to_a_word_it_is() -> None:
    one = Cleaner(collected([("name", "Contrass^Pelviss"), ("id", "CTABD77")]).patterns(), UidMap(b"k" * 32).new)
    assert is_spelling("contrass")
    assert one.describe("CT Contrass, chest") == "CT chest"
    assert one.describe("CT PELVISS^CONTRASS") == "CT"
    assert one.describe("CTABD77 chest") == "chest"


def test_names_are_no_words() -> None:
    assert names().isdisjoint(lines("words_series.txt"))
    assert names().isdisjoint(lines("words_parts.txt"))
    assert not any(map(is_spelling, names()))
    assert all(word in allowed_words() for word in lines("words_parts.txt"))


def test_sizes_of_what_is_looked_at_are_bounded() -> None:
    for text in ("ct" * 20_000, "chest" * 10_000, "ChestQq" * 5_000, "contrast" * 5 + "q"):
        assert NOBODY.describe(text) == ""
