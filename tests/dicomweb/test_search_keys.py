"""QIDO-RS (PS3.18 section 10.6). The ids are those of the DICOMweb checklist in the project's design."""

from collections.abc import Iterator

import pytest

from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.sources import add_source
from tests.dicomweb.conftest import Web, shared
from tests.make import ct, uid

JSON = "application/dicom+json"


def values(web: Web, path: str, tag: str) -> list[object]:
    """One attribute of every result; for a person's name its alphabetic group."""
    answer = web.get(path)
    assert answer.status_code == 200, answer.text
    found = [row[tag].get("Value", [None])[0] for row in answer.json()]
    return [value.get("Alphabetic") if isinstance(value, dict) else value for value in found]


def ids(web: Web, query: str) -> set[object]:
    return set(values(web, f"/studies?{query}", "00100020"))


THREE = (
    ct(1, 1, 1),
    ct(1, 1, 2),
    ct(1, 2, 1, Modality="SR", SeriesDescription="Dose report"),
    ct(
        2, StudyDate="20240301", StudyTime="080000", StudyDescription="MR 100% of head", Modality="MR",
        PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192", ReferringPhysicianName="Who^Doctor",
    ),
    ct(
        3, StudyDate=None, StudyTime=None, PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        SpecificCharacterSet="ISO_IR 192", AccessionNumber="", PatientSex=None,
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def three(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Three studies: of 31 January 2024 at 10:15, of 1 March 2024 at 08:00, and of no date."""
    with shared(cluster, tmp_path_factory.mktemp("three")) as web:
        web.keep(*THREE)
        yield web


def test_q01_a_search_answers_with_a_json_array(three: Web) -> None:
    answer = three.get("/studies")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert len(answer.json()) == 3


def test_q02_q03_q05_a_study_has_its_attributes_and_counts(three: Web) -> None:
    (study,) = three.get("/studies?PatientID=P1").json()
    assert list(study) == sorted(study)
    assert study["00080020"] == {"vr": "DA", "Value": ["20240131"]}
    assert study["00080030"] == {"vr": "TM", "Value": ["101500"]}
    assert study["00080050"] == {"vr": "SH", "Value": ["A1"]}
    assert sorted(study["00080061"]["Value"]) == ["CT", "SR"]
    assert study["00080090"] == {"vr": "PN", "Value": [{"Alphabetic": "Roe^Richard"}]}
    assert study["00081190"] == {"vr": "UR", "Value": [f"{three.root}/studies/{uid(1)}"]}
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane1"}]}
    assert study["0020000D"] == {"vr": "UI", "Value": [uid(1)]}
    assert study["00201206"] == {"vr": "IS", "Value": [2]}
    assert study["00201208"] == {"vr": "IS", "Value": [3]}


def test_q42_an_empty_attribute_has_its_vr_alone(three: Web) -> None:
    (study,) = three.get("/studies?PatientID=P3").json()
    assert study["00080020"] == {"vr": "DA"}
    assert study["00080050"] == {"vr": "SH"}
    assert study["00100040"] == {"vr": "CS"}


def test_q04_a_name_has_its_three_groups(three: Web) -> None:
    (study,) = three.get("/studies?PatientID=P3").json()
    groups = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    assert study["00100010"] == {"vr": "PN", "Value": [groups]}


def test_the_modalities_of_a_study_are_never_empty(web: Web) -> None:
    web.keep(ct(1, Modality=None))
    (study,) = web.get("/studies").json()
    assert study["00080061"]["Value"]


def test_q06_q07_a_series_has_its_attributes(three: Web) -> None:
    (series,) = three.get(f"/studies/{uid(1)}/series?Modality=CT&includefield=00180015").json()
    assert series["00080060"] == {"vr": "CS", "Value": ["CT"]}
    assert series["0008103E"] == {"vr": "LO", "Value": ["Axial"]}
    assert series["0020000E"] == {"vr": "UI", "Value": [uid(1, 1)]}
    assert series["00200011"] == {"vr": "IS", "Value": [1]}
    assert series["00201209"] == {"vr": "IS", "Value": [2]}
    assert series["00180015"] == {"vr": "CS", "Value": ["CHEST"]}
    assert series["00081190"]["Value"] == [f"{three.root}/studies/{uid(1)}/series/{uid(1, 1)}"]
    assert "00100010" not in series


def test_q08_an_instance_has_its_attributes(three: Web) -> None:
    rows = three.get(f"/studies/{uid(1)}/series/{uid(1, 1)}/instances").json()
    assert [row["00200013"]["Value"] for row in rows] == [[1], [2]]
    row = rows[1]
    assert row["00080016"]["Value"] == ["1.2.840.10008.5.1.4.1.1.2"]
    assert row["00080018"]["Value"] == [uid(1, 1, 2)]
    assert row["00280010"] == {"vr": "US", "Value": [8]}
    assert row["00280100"] == {"vr": "US", "Value": [16]}
    assert row["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    assert row["00081190"]["Value"] == [f"{three.root}/studies/{uid(1)}/series/{uid(1, 1)}/instances/{uid(1, 1, 2)}"]
    assert "00080060" not in row


def test_q09_the_instances_of_a_study_name_their_series(three: Web) -> None:
    rows = three.get(f"/studies/{uid(1)}/instances").json()
    assert [row["0020000E"]["Value"][0] for row in rows] == [uid(1, 1), uid(1, 1), uid(1, 2)]
    assert [row["00080060"]["Value"][0] for row in rows] == ["CT", "CT", "SR"]


@pytest.mark.parametrize("path", ["/series", "/instances"])
def test_q10_q11_what_is_searched_across_studies_names_its_study(three: Web, path: str) -> None:
    rows = three.get(f"{path}?PatientID=P2").json()
    assert [row["00100010"]["Value"][0]["Alphabetic"] for row in rows] == ["Müller^Jörg"]
    assert [row["00201206"]["Value"] for row in rows] == [[1]]
    assert list(rows[0]) == sorted(rows[0])


@pytest.mark.parametrize("query", ["PatientID=P1", "00100020=P1", "PatientID=P1&AccessionNumber=A1&StudyID=1"])
def test_q12_a_key_is_a_keyword_or_a_tag(three: Web, query: str) -> None:
    assert ids(three, query) == {"P1"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("StudyDate=20240131", {"P1"}),
        ("StudyDate=20240101-20240131", {"P1"}),
        ("StudyDate=20240131-20240301", {"P1", "P2"}),
        ("StudyDate=20240201-", {"P2"}),
        ("StudyDate=-20240229", {"P1"}),
        ("StudyDate=20250101-20240101", set()),
        ("PatientBirthDate=19700101", {"P1", "P2", "P3"}),
    ],
)
def test_q13_dates_match_in_ranges_and_nothing_undated(three: Web, query: str, found: set[str]) -> None:
    assert ids(three, query) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("StudyTime=101500", {"P1"}),
        ("StudyTime=10", {"P1"}),
        ("StudyTime=0700-0800", {"P2"}),
        ("StudyTime=080001-", {"P1"}),
        ("StudyTime=-0759", set()),
    ],
)
def test_q41_times_match_in_ranges(three: Web, query: str, found: set[str]) -> None:
    assert ids(three, query) == found


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientID=P?", {"P1", "P2", "P3"}),
        ("PatientID=*1", {"P1"}),
        ("PatientID=p1", set()),
        ("PatientID=*", {"P1", "P2", "P3"}),
        ("PatientID=", {"P1", "P2", "P3"}),
        ("StudyDescription=*chest*", {"P1", "P3"}),
        ("StudyDescription=*100%25 of*", {"P2"}),
        ("StudyDescription=*100%5F*", set()),
        ("StudyDescription=%2A100+of%2A", set()),
        ("StudyDescription=CT%3Fchest", {"P1", "P3"}),
        ("AccessionNumber=A%2A", {"P1", "P2"}),
        ("InstitutionName=Saint*", {"P1", "P2", "P3"}),
        ("ReferringPhysicianName=who*", {"P2"}),
    ],
)
def test_q14_q45_wildcards_match_also_percent_encoded(three: Web, query: str, found: set[str]) -> None:
    assert ids(three, query) == found


@pytest.mark.parametrize("separator", [",", "%2C", "\\", "%5C"])
def test_q15_q16_uids_are_listed(three: Web, separator: str) -> None:
    assert ids(three, f"StudyInstanceUID={uid(1)}{separator}{uid(3)}") == {"P1", "P3"}


@pytest.mark.parametrize(
    ("query", "found"),
    [("CT", {"P1", "P3"}), ("MR", {"P2"}), ("SR%5CMR", {"P1", "P2"}), ("S*", {"P1"}), ("XX", set())],
)
def test_q17_modalities_in_study(three: Web, query: str, found: set[str]) -> None:
    assert ids(three, f"ModalitiesInStudy={query}") == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("doe^jane1", {"P1"}),
        ("DOE*", {"P1"}),
        ("*jane*", {"P1"}),
        ("Doe", set()),
        ("muller^jorg", {"P2"}),
        ("m%C3%BCller*", {"P2"}),
        ("%E5%B1%B1%E7%94%B0*", {"P3"}),
        ("山田^太郎", {"P3"}),
        ("Yamada^Tarou", {"P3"}),
        ("%25", set()),
    ],
)
def test_q18_q18b_q40_names_match_without_case_or_accents_and_by_group(three: Web, name: str, found: set[str]) -> None:
    assert ids(three, f"PatientName={name}") == found


@pytest.mark.parametrize(
    "field",
    [
        "includefield=StationName",
        "includefield=00081010",
        "includefield=Modality,StationName",
        "includefield=Modality%2C00081010",
        "includefield=Modality&includefield=StationName",
        "includefield=all",
    ],
)
def test_q19_q20_q21_fields_are_included_by_keyword_tag_list_or_all(web: Web, field: str) -> None:
    web.keep(ct(1, StationName="CT99"))
    assert "00081010" not in web.get(f"/studies/{uid(1)}/series").json()[0]
    (row,) = web.get(f"/studies/{uid(1)}/series?{field}").json()
    assert row["00081010"] == {"vr": "SH", "Value": ["CT99"]}


def test_a_series_may_include_attributes_of_its_study(three: Web) -> None:
    (row,) = three.get(f"/studies/{uid(2)}/series?includefield=PatientName").json()
    assert row["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert "00100020" not in row


OHIF_LIST = "limit=101&offset=0&fuzzymatching={}&includefield=00081030%2C00080060%2C00080090%2C00100030"


@pytest.mark.parametrize("fuzzy", ["true", "false"])
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("", {"P1", "P2", "P3"}),
        ("&PatientName=*jane*", {"P1"}),
        ("&PatientName=*M%C3%BCller*", {"P2"}),
        ("&00100020=*P3*", {"P3"}),
        ("&AccessionNumber=*A*", {"P1", "P2"}),
        ("&StudyDescription=*CHEST*", {"P1", "P3"}),
        ("&ModalitiesInStudy=MR%5CSR", {"P1", "P2"}),
        ("&StudyDate=20240101-20240229", {"P1"}),
        ("&PatientName=*doe*&StudyDescription=*ct*&StudyDate=20240131-20240131", {"P1"}),
    ],
)
def test_q26_what_ohif_asks_for_its_list_is_answered(three: Web, fuzzy: str, filters: str, found: set[str]) -> None:
    answer = three.get(f"/studies?{OHIF_LIST.format(fuzzy)}{filters}", accept=JSON)
    assert answer.status_code == 200
    assert "warning" not in answer.headers
    rows = answer.json()
    assert {row["00100020"]["Value"][0] for row in rows} == found
    for row in rows:
        assert row["00080061"]["Value"]
        assert {"00081030", "00080090", "00100030", "00201206", "00201208"} <= row.keys()
        assert "00080060" not in row  # of the series


def test_what_ohif_asks_to_open_a_study_is_answered(three: Web) -> None:
    (study,) = three.get(f"/studies?{OHIF_LIST.format('false')}&StudyInstanceUID={uid(1)}", accept=JSON).json()
    assert study["0020000D"]["Value"] == [uid(1)]
    (other,) = three.get(f"/studies?{OHIF_LIST.format('false')}&00100020=P1", accept=JSON).json()
    assert other == study
    rows = three.get(f"/studies/{uid(1)}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011").json()
    assert [row["00200011"]["Value"] for row in rows] == [[1], [2]]
    assert all({"00080021", "00080031", "0008103E", "0020000E", "00080060", "00201209"} <= row.keys() for row in rows)


def test_q23_pages_are_disjoint_and_total(web: Web) -> None:
    web.keep(*(ct(study) for study in range(1, 8)))
    pages = [web.get(f"/studies?limit=3&offset={offset}") for offset in (0, 3, 6)]
    rows = [row["0020000D"]["Value"][0] for page in pages for row in page.json()]
    assert len(rows) == 7
    assert set(rows) == {uid(study) for study in range(1, 8)}
    assert [page.headers["x-total-count"] for page in pages] == ["7", "7", "7"]
    assert pages[0].headers["warning"] == f"299 {web.root}: There are 4 additional results that can be requested"
    assert "warning" not in pages[2].headers


@pytest.mark.parametrize("path", ["/studies?PatientID=nobody", f"/studies/{uid(9)}/series", "/studies?offset=99"])
def test_q24_q25_q25b_nothing_found_is_an_empty_array(three: Web, path: str) -> None:
    answer = three.get(path)
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=yesterday", "StudyDate=20241301", "StudyDate=2024-01-31", "StudyDate=-", "StudyTime=25",
        "limit=-1", "limit=x", "offset=1e3", "limit=99999999999999999999", "limit=%D9%A1", "fuzzymatching=maybe",
        "NoSuchKeyword=1", "99999999=1", "PatientComments=x", "StudyTime=10-25",
        "SeriesNumber=one", "StudyInstanceUID=abc",
        "PatientID=a&PatientID=b", "PatientID=%00", f"PatientID={'x' * 5000}", "SliceThickness=1",
        "RequestAttributesSequence=1", "ProcedureCodeSequence.CodeValue=1", "Modality.PatientName=1", "00091001=1",
        "PatientName.=1", "emptyvaluematching=1", "StudyInstanceUID=%2C", "&".join(f"k{n}=1" for n in range(99)),
    ],
)  # fmt: skip
def test_q28_q29_q30_what_cannot_be_understood_is_400(three: Web, query: str) -> None:
    answer = three.get(f"/studies?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"]) > 20


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/json", "application/json"),
        ("application/dicom+json, application/json", JSON),
        ("application/json;q=0.9, application/dicom+json;q=0.1", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
    ],
)
def test_q32_q34_q35_json_is_negotiated(three: Web, accept: str | None, kind: str) -> None:
    answer = three.get("/studies", accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def test_q33_another_form_is_not_acceptable(three: Web) -> None:
    assert three.get("/studies", accept="text/csv").status_code == 406
    assert three.get("/studies", accept="application/dicom+json;q=0, text/plain").status_code == 406


def test_q36_the_accept_parameter_stands_for_the_header(three: Web) -> None:
    answer = three.get("/studies?accept=application/dicom+json", accept="text/csv")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)


def test_q44_answers_are_compressed_for_those_who_ask(three: Web) -> None:
    answer = three.get("/studies", accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()) == 3
    assert "content-encoding" not in three.get("/studies").headers


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("StudyDate=20240131-20240301&StudyTime=1200-0900", {"P2"}),
        ("StudyDate=20240131-20240301&StudyTime=0900-0700", {"P1"}),
        ("StudyDate=20240131-&StudyTime=1015-", {"P1", "P2"}),
        ("StudyDate=-20240301&StudyTime=-0759", {"P1"}),
        ("StudyDate=20240131&StudyTime=0900-1100", {"P1"}),
        ("StudyDate=20240131-20240301&StudyTime=0700-", {"P1", "P2"}),
    ],
)
def test_q13_q41_a_range_of_dates_and_one_of_times_are_one_of_moments(three: Web, query: str, found: set[str]) -> None:
    assert ids(three, query) == found


def test_q16_texts_are_listed_by_backslashes_alone(three: Web) -> None:
    assert ids(three, "PatientID=P1%5CP3") == {"P1", "P3"}
    assert ids(three, "PatientID=P1,P3") == set()
    assert ids(three, "PatientName=doe*%5Cm*") == {"P1", "P2"}


def test_keys_of_lower_levels_must_hold_for_one_series_and_instance(three: Web) -> None:
    assert ids(three, "SeriesDescription=Dose*&Modality=SR") == {"P1"}
    assert ids(three, "SeriesDescription=Dose*&Modality=CT") == set()
    assert ids(three, "Modality=SR&InstanceNumber=2") == set()
    assert ids(three, "Modality=CT&InstanceNumber=2") == {"P1"}


def test_keys_of_lower_levels_find_the_studies_that_hold_such_a_thing(three: Web) -> None:
    assert ids(three, "SeriesDescription=dose*") == {"P1"}
    assert ids(three, f"SOPInstanceUID={uid(1, 1, 2)}") == {"P1"}
    assert ids(three, "Modality=MR&BodyPartExamined=CHEST") == {"P2"}
    assert values(three, "/series?SOPInstanceUID=" + uid(1, 2, 1), "0020000E") == [uid(1, 2)]


def test_instances_match_by_number_and_class(three: Web) -> None:
    path = f"/studies/{uid(1)}/instances"
    assert values(three, f"{path}?InstanceNumber=2", "00080018") == [uid(1, 1, 2)]
    assert values(three, f"{path}?SOPClassUID=1.2.840.10008.5.1.4.1.1.2&SeriesNumber=2", "00080018") == [uid(1, 2, 1)]


def test_sources_are_apart(web: Web) -> None:
    web.keep(*THREE)
    add_source(web.archive.database, "elsewhere", "Elsewhere")
    base = web.root.removesuffix("/dicom-web")
    other = Web(f"{base}/sources/elsewhere/dicom-web", web.archive)
    assert other.get("/studies").json() == []
    assert Web(f"{base}/sources/nowhere/dicom-web", web.archive).get("/studies").status_code == 404
    assert other.stow(ct(1)).status_code == 200
    (row,) = other.get("/studies").json()
    assert row["00081190"]["Value"] == [f"{other.root}/studies/{uid(1)}"]
    assert len(web.get("/studies").json()) == 3
