"""The extended ways of matching of QIDO-RS (PS3.18 sections 8.3.4.2, 8.3.4.5 and 8.3.4.6): all three are performed."""

from collections.abc import Iterator

import pytest

from hilum.core.postgres import EmbeddedPostgres
from tests.dicomweb.conftest import Web, shared
from tests.make import ct

NAMES = {
    1: "Schmidt^Katharina^Anna",
    2: "Müller-Lüdenscheidt^Jörg",
    3: "O'Brien^Seán",
    4: "Yamada^Tarou=山田^太郎=やまだ^たろう",
    5: "Meier^Peter",
}


def ids(web: Web, query: str) -> set[str]:
    answer = web.get(f"/studies?{query}")
    assert answer.status_code == 200, answer.text
    assert "warning" not in answer.headers
    return {row["00100020"]["Value"][0] for row in answer.json()}


def named(number: int, name: str) -> bytes:
    return ct(number, PatientName=name, SpecificCharacterSet="ISO_IR 192", ReferringPhysicianName="Smith^Catherine")


@pytest.fixture(scope="module")
def people(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Five studies of people with names of many kinds."""
    with shared(cluster, tmp_path_factory.mktemp("people")) as web:
        web.keep(*(named(number, name) for number, name in NAMES.items()))
        yield web


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Schmitt", {"P1"}),
        ("Smith^Catarina", {"P1"}),
        ("catarina schmit", {"P1"}),
        ("KATHARINA", {"P1"}),
        ("Katharina^Schmidt", {"P1"}),
        ("Schmidt^Peter", set()),
        ("muller", {"P2"}),
        ("M%C3%BCller", {"P2"}),
        ("mueler jorg", {"P2"}),
        ("ludenscheid", {"P2"}),
        ("obrian", {"P3"}),
        ("O%27Brien", {"P3"}),
        ("sean", {"P3"}),
        ("yamata", {"P4"}),
        ("%E5%B1%B1%E7%94%B0", {"P4"}),
        ("Mayer", {"P5"}),
        ("Maier^P", {"P5"}),
        ("*eier*", {"P5"}),
        ("Me?er^*", {"P5"}),
        ("*", {"P1", "P2", "P3", "P4", "P5"}),
        ("Quetzalcoatl", set()),
        ("%EF%BC%88%25%5F[", set()),
    ],
)
def test_q26_names_are_found_by_their_sound_word_by_word(people: Web, name: str, found: set[str]) -> None:
    assert ids(people, f"PatientName={name}&fuzzymatching=true") == found


def test_q26_without_fuzzy_matching_names_are_matched_as_written(people: Web) -> None:
    assert ids(people, "PatientName=Schmitt") == set()
    assert ids(people, "PatientName=Schmitt&fuzzymatching=false") == set()
    assert ids(people, "PatientName=schmidt*&fuzzymatching=false") == {"P1"}


def test_q26_other_names_are_fuzzy_too_and_nothing_else_is(people: Web) -> None:
    assert ids(people, "ReferringPhysicianName=katarin&fuzzymatching=true&PatientID=P1") == {"P1"}
    assert ids(people, "StudyDescription=CT+chezt&fuzzymatching=true") == set()


def test_q26_a_name_that_comes_later_is_found_by_its_sound(web: Web) -> None:
    web.keep(named(1, ""))
    assert ids(web, "PatientName=nowak&fuzzymatching=true") == set()
    web.keep(ct(1, 1, 2, PatientName="Novák^Eva", SpecificCharacterSet="ISO_IR 192"))
    assert ids(web, "PatientName=nowak&fuzzymatching=true") == {"P1"}


def test_q27_two_quotation_marks_find_what_is_empty(web: Web) -> None:
    web.keep(
        ct(1, AccessionNumber="", StudyDate=None),
        ct(2, SeriesDescription=None, ReferringPhysicianName=None),
        ct(3, FrameOfReferenceUID="1.2.3", SeriesNumber=None),
    )
    ask = "emptyvaluematching=true&"
    assert ids(web, f"{ask}AccessionNumber=%22%22") == {"P1"}
    assert ids(web, f"{ask}StudyDate=%22%22") == {"P1"}
    assert ids(web, f"{ask}ReferringPhysicianName=%22%22") == {"P2"}
    assert ids(web, f"{ask}SeriesDescription=%22%22&AccessionNumber=A*") == {"P2"}
    assert ids(web, f"{ask}FrameOfReferenceUID=%22%22") == {"P1", "P2"}
    assert ids(web, f"{ask}SeriesNumber=%22%22") == {"P3"}
    assert ids(web, f"{ask}RequestAttributesSequence.RequestedProcedureID=%22%22") == {"P1", "P2", "P3"}
    assert ids(web, "AccessionNumber=%22%22") == set()
    assert web.get("/studies?StudyDate=%22%22").status_code == 400


def test_q27_multiple_values_must_all_be_there(web: Web) -> None:
    web.keep(ct(1, 1), ct(1, 2, Modality="PT"), ct(2, 1), ct(3, 1, Modality="PT"))
    assert ids(web, "ModalitiesInStudy=CT%5CPT") == {"P1", "P2", "P3"}
    assert ids(web, "ModalitiesInStudy=CT%5CPT&multiplevaluematching=true") == {"P1"}
    assert ids(web, "ModalitiesInStudy=P*%5CC*&multiplevaluematching=true") == {"P1"}
    assert ids(web, "ModalitiesInStudy=PT&multiplevaluematching=true") == {"P1", "P3"}
