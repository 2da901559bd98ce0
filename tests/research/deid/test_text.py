"""Text loses what identifies anyone, and keeps what says something of the image."""

from pathlib import Path

import pytest

from hilum.research.deid.identifiers import Kind, collected
from hilum.research.deid.text import Cleaner
from hilum.research.deid.uids import UidMap
from hilum.research.deid.words import allowed_words

KNOWN: list[tuple[Kind, str]] = [
    ("name", "Müller^Hans Peter"), ("id", "MRN00123456"), ("date", "19500203"), ("phone", "(617) 555-0134"),
    ("name", "Yamada^Tarou=山田^太郎=やまだ^たろう"), ("text", "12 Oak Street, Springfield"),
]  # fmt: skip


def cleaner(*more: tuple[Kind, str]) -> Cleaner:
    return Cleaner(collected([*KNOWN, *more]).patterns(), UidMap(b"k" * 32).new)


@pytest.mark.parametrize(
    "text",
    [
        "CT CHEST W/O CONTRAST", "Ax T1 MPRAGE +C", "ep2d_diff_3scan_trace_p2_ADC", "t2_tse_dark-fluid_tra_5mm",
        "ChestAbdPelvis 3.0", "Brain^Head Routine (Adult)", "FDG PET/CT skull-thigh, 60 min p.i.", "XR KNEE 3 V RT",
        "3 Plane Loc", "AX FLAIR FS PROPELLER", "Thorax 1.25mm Lung", "*RADIOLOGY REPORT*", "W/WO", "PA & LAT",
        "MR BRAIN", "DR CHEST PA", "L-spine C2-C7 T2*", "CTA Head/Neck (Stroke)", "white matter", "SAG T2 FRFSE",
        "Mammo L CC", "US ABDOMEN COMPLETE", "DWI b1000", "Bone 2.0 B70s", "PORTABLE CHEST 1 VIEW",
    ],
)  # fmt: skip
def test_descriptions_of_images_stay(text: str) -> None:
    assert cleaner().describe(text) == text
    assert cleaner().scrub(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "MULLER", "Mueller", "müller", "Hans Peter Müller", "Müller, Hans", "H. Müller", "hmueller", "Müller H",
        "MUELLER_HANS", "HansMüller", "MRN00123456", "mrn-00123456", "00123456 MRN00123456", "1950-02-03",
        "02/03/1950", "3.2.1950", "Feb 3, 1950", "3 February 1950", "19500203", "03021950", "617-555-0134",
        "617.555.0134", "6175550134", "+1 617 555 0134", "山田太郎", "やまだ", "Tarou Yamada", "12 Oak Street",
        "12 oak street, springfield", "jane.doe@example.org", "https://example.org/x?id=1", "123-45-6789",
        "DOB: 1/2/1960", "MRN: A77", "Dr. Featherstone", "Dr Featherstone", "Szczepanski MD", "192.168.1.77",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "CT chest {}", "{} CT chest", "CT {}, chest"])
def test_identifiers_go_from_any_text(text: str, form: str) -> None:
    for made in (cleaner().describe(form.format(text)), cleaner().scrub(form.format(text))):
        for piece in ("ller", "Hans", "Peter", "123456", "1950", "0134", "山", "やまだ", "Yamada", "oak", "spring",
                      "doe", "example", "6789", "A77", "eather", "zcz", "168"):  # fmt: skip
            assert piece.lower() not in made.lower()


@pytest.mark.parametrize("text", ["Featherstonehaugh", "Quattlebaum CT", "chest Kowalczyk", "pt 77482", "B12345"])
def test_a_description_holds_no_word_that_is_none_of_radiology(text: str) -> None:
    made = cleaner().describe(text)
    assert made in ("", "CT", "chest", "pt")


def test_descriptions_of_all_kinds_and_languages_stay() -> None:
    lines = (Path(__file__).parent / "descriptors.txt").read_text("utf-8").splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert len(wanted) > 1000
    nobody = Cleaner(collected([]).patterns(), UidMap(b"k" * 32).new)
    assert [(line, nobody.describe(line)) for line in wanted if nobody.describe(line) != line] == []
    lost = [line for line in wanted if cleaner().describe(line) != line]
    assert len(lost) < 0.01 * len(wanted), lost


@pytest.mark.parametrize(
    "text",
    [
        "10. März 2018", "12 février 2019", "5 de mayo de 2018", "2018年3月10日", "昭和36年2月4日", "03/2018",
        "2018-03", "Mar 2018", "10MAR2018", "20180310_0815", "March 10", "4th of February 1950", "10 марта 2018",
        "555-9876", "03-3123-4567", "030/1234567", "+49 (0)30 1234567", "12-345678", "94 year old", "102 y.o.",
        "94F", "aged 96", "Dr. Stone", "Dr Hand",
        "Mrs. Young", "Frau Stone", "Operator: Stone", "Chart no. A77", "7 Old Mill Road", "NHS 943 476 5919",
        "H.P.M.", "HPM", "M.H.P.",
    ],
)  # fmt: skip
def test_dates_ages_phones_and_titled_names_of_anyone_go_from_a_description(text: str) -> None:
    made = cleaner().describe(f"CT {text}, chest")
    assert made.replace(",", "").replace("old", "").split() == ["CT", "chest"]


def test_names_with_particles_apostrophes_and_other_scripts_go_whole() -> None:
    one = cleaner(
        ("name", "de la Cruz^José"), ("name", "O'Brien-Smythe^Jo"), ("name", "홍^길동"), ("name", "ヤマモト^ハナコ"),
        ("name", "Corona^Lia"), ("phone", "617-555-9876"),
    )  # fmt: skip
    for text in ("MRI of de la Cruz", "MRI of DE LA CRUZ^JOSÉ", "MRI of OBRIEN", "MRI of 홍길동", "MRI of やまもと",
                 "MRI of ﾔﾏﾓﾄ", "MRI of Corona, Lia", "MRI of 555.9876"):  # fmt: skip
        assert one.describe(text) == "MRI of"
        assert one.scrub(text) == "MRI of"
    assert one.describe("흉부 MRI coronal 冠動脈造影") == "흉부 MRI coronal 冠動脈造影"
    assert one.describe("李胸部") == ""
    other = cleaner(("name", "Whitfield^Jonathan^R"), ("phone", "+1 (212) 555-0187"))
    for text in ("WHITFIELD J R CT", "J.R.Whitfield CT", "J R Whitfield's CT", "JWHITFIELD_CT", "(212)555-0187 CT"):
        assert other.describe(text) == "CT"
    assert other.describe("FOV 240x240 512x512 J kernel") == "FOV 240x240 512x512 J kernel"


def test_a_uid_in_a_text_becomes_the_new_one() -> None:
    new = UidMap(b"k" * 32).new("1.2.3.4.5.6.7.8.9999")
    assert cleaner().scrub("see 1.2.3.4.5.6.7.8.9999 there") == f"see {new} there"
    assert new in cleaner().describe("image 1.2.3.4.5.6.7.8.9999")
    assert cleaner().scrub("1.2.840.10008.5.1.4.1.1.2") == "1.2.840.10008.5.1.4.1.1.2"


def test_a_name_that_is_a_word_of_radiology_is_found_only_with_the_rest_of_the_name() -> None:
    one = cleaner(("name", "Long^Head"))
    assert one.describe("Long axis, Head") == "Long axis, Head"
    assert one.describe("Head Long chest") == "chest"
    assert one.describe("LONG^HEAD chest") == "chest"


def test_no_common_name_is_among_the_words() -> None:
    for name in ("smith", "johnson", "williams", "garcia", "miller", "davis", "martinez", "hernandez", "nguyen", "kim",
                 "mary", "john", "robert", "patricia", "jennifer", "elizabeth", "rose", "grace", "mark"):  # fmt: skip
        assert name not in allowed_words()


def test_cleaning_is_fast_whatever_the_text() -> None:
    for text in ("a" * 10_000, "1.2." * 2500, "Dr " * 3000, "1-" * 5000, "Müller " * 1500, "a.b@" * 2500):
        cleaner().describe(text)
        cleaner().scrub(text)


def test_a_name_that_is_a_word_of_plain_english_is_taken_for_a_name() -> None:
    one = cleaner(("name", "Burns^Kidd"))
    assert one.describe("chest, burns of arm") == "chest, of arm"
    assert cleaner().describe("chest, burns of arm") == "chest, burns of arm"
