"""How QIDO-RS answers: as JSON or XML, compressed, in pages with a total; and what its reference page says of it."""

import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.delete import delete_study, restore_study
from hilum.imaging.dicomweb import matching, searching
from hilum.imaging.dicomweb.attributes import ATTRIBUTES, Level, match_keys
from tests.dicomweb.conftest import Web, parts, shared
from tests.make import ct, uid

XML = 'multipart/related; type="application/dicom+xml"'
MODEL = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "dicomweb" / "search.md"


@pytest.fixture(scope="module")
def some(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Two studies, one of which says what XML must escape."""
    step = Dataset()
    step.ScheduledProcedureStepID = "S1"
    with shared(cluster, tmp_path_factory.mktemp("some")) as web:
        web.keep(
            ct(1, PatientName="A&B^<C>=山田^太郎", SpecificCharacterSet="ISO_IR 192", AccessionNumber=""),
            ct(2, RequestAttributesSequence=[step]),
            ct(2, 1, 2),
        )
        yield web


def read(part: bytes) -> dict[str, ET.Element]:
    """The attributes of a document of the Native DICOM Model, by tag."""
    return {each.attrib["tag"]: each for each in ET.fromstring(part)}


def test_q31_each_match_is_a_part_of_xml(some: Web) -> None:
    answer = some.get("/studies", accept=XML)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith('multipart/related; type="application/dicom+xml"; boundary=')
    found = parts(answer)
    assert [headers["Content-Type"] for headers, _ in found] == ["application/dicom+xml"] * 2
    by_patient = {study["00100020"][0].text: study for study in (read(body) for _, body in found)}
    study = by_patient["P1"]
    assert (study["00100020"].attrib["vr"], study["00100020"].attrib["keyword"]) == ("LO", "PatientID")
    name = study["00100010"].find(f"{MODEL}PersonName")
    assert name is not None
    assert [name.findtext(f"{MODEL}Alphabetic/{MODEL}{part}") for part in ("FamilyName", "GivenName")] == ["A&B", "<C>"]
    assert name.findtext(f"{MODEL}Ideographic/{MODEL}FamilyName") == "山田"
    assert len(study["00080050"]) == 0
    assert by_patient["P2"]["00201208"][0].text == "2"
    assert study["00081190"][0].text == f"{some.root}/studies/{uid(1)}"


@pytest.mark.parametrize("path", ["/studies", "/series", "/instances", f"/studies/{uid(2)}/instances"])
def test_q31_xml_says_what_json_says(some: Web, path: str) -> None:
    said = some.get(path).json()
    told = [read(body) for _, body in parts(some.get(path, accept=XML))]
    assert [sorted(one) for one in told] == [sorted(one) for one in said]
    for ours, theirs in zip(told, said, strict=True):
        for tag, element in theirs.items():
            assert ours[tag].attrib["vr"] == element["vr"]
            if element["vr"] not in ("PN", "SQ"):
                assert [value.text for value in ours[tag]] == [str(value) for value in element.get("Value", [])]


def test_q31_a_sequence_is_told_in_items(some: Web) -> None:
    (body,) = [body for _, body in parts(some.get(f"/studies/{uid(2)}/series", accept=XML))]
    sequence = read(body)["00400275"]
    assert [one.tag for one in sequence] == [f"{MODEL}Item"]
    assert sequence[0][0].attrib["tag"] == "00400009"
    assert sequence[0][0][0].text == "S1"


def test_q31_q24_no_match_is_no_part(some: Web) -> None:
    answer = some.get("/studies?PatientID=nobody", accept=XML)
    assert (answer.status_code, parts(answer)) == (200, [])


def test_q31_q34_xml_only_where_it_is_preferred(some: Web) -> None:
    assert some.get("/studies", accept=f"{XML};q=0.5, application/json").headers["content-type"] == "application/json"
    assert some.get("/studies", accept="*/*").headers["content-type"] == "application/dicom+json"
    assert some.get("/studies", accept="application/dicom+xml").status_code == 406


def test_q44_xml_is_compressed_too(some: Web) -> None:
    answer = some.get("/instances", accept=XML, accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(parts(answer)) == 3


def test_q23_the_total_follows_what_comes_and_goes(web: Web) -> None:
    def total() -> str:
        return web.get("/studies?limit=1").headers["x-total-count"]

    web.keep(ct(1), ct(2))
    assert (total(), total()) == ("2", "2")
    web.keep(ct(3))
    assert total() == "3"
    with web.archive.database.transaction() as sql:
        (row,) = sql.rows("select id from hilum.study where study_instance_uid = %s", (uid(2),))
    delete_study(web.archive.database, int(str(row["id"])), "a test")
    assert total() == "2"
    restore_study(web.archive.database, uid(2))
    assert total() == "3"


def test_q23_what_is_asked_for_makes_no_other_total(some: Web) -> None:
    for query in ("limit=1", "limit=1&includefield=all", "limit=1&PatientID=P*", "limit=0", "limit=1&offset=1"):
        assert some.get(f"/studies?{query}").headers["x-total-count"] == "2"
    assert some.get("/instances?limit=1&includefield=all").headers["x-total-count"] == "3"


def test_q30_an_answer_is_capped(some: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_RESULTS", 1)
    for query in ("", "?limit=500"):
        answer = some.get(f"/studies{query}")
        assert len(answer.json()) == 1
        assert answer.headers["warning"] == f"299 {some.root}: There are 1 additional results that can be requested"


KEYS = (
    "PatientName", "PatientID", "StudyDate", "StudyTime", "ModalitiesInStudy", "StudyInstanceUID", "SeriesNumber",
    "limit", "offset", "includefield", "fuzzymatching", "00090010", "00091001", "AccessionNumber",
    "StudyDescription", "accept", "RequestAttributesSequence.ScheduledProcedureStepID", "emptyvaluematching",
    "multiplevaluematching", "InstanceNumber",
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=40),
    st.text("*?%_\\^=-,.\"'()[]{}$|+0123456789äß（％½山", max_size=24),
    st.sampled_from(["true", '""', "20240101-", "-2359", "CT\\PT", "1.2.3,4.5", "all", "0", "99999999999"]),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/studies", "/series", "/instances", f"/studies/{uid(1)}/series"]),
    st.lists(st.tuples(st.one_of(st.sampled_from(KEYS), st.text(max_size=12)), VALUES), max_size=5),
)
def test_q28_q30_whatever_is_asked_is_answered_or_refused(some: Web, path: str, asked: list[tuple[str, str]]) -> None:
    query = urllib.parse.urlencode(
        [(name.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for name, value in asked]
    )
    answer = some.get(f"{path}?{query}")
    assert answer.status_code in (200, 400, 406), (query, answer.text)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of the reference page."""
    text = REFERENCE.read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_reference_names_every_match_key_and_no_other() -> None:
    said = {(level, key) for key, _, level, *_ in rows("Match keys") for key in re.findall(r"`([\w.]+)`", key)}
    assert said == {(level.name.lower(), key) for level, key in match_keys()}


def test_the_reference_tells_how_each_key_is_matched() -> None:
    said = {re.sub("`", "", key): how for key, _, _, how in rows("Match keys")}
    words = {
        "text": "exact", "words": "any case", "name": "name", "codes": "any of", "uid": "UIDs", "date": "date",
        "time": "time", "integer": "number",
    }  # fmt: skip
    for one in ATTRIBUTES:
        if one.kind != "none":
            assert said[one.keyword] == words[one.kind], one.keyword


def test_the_reference_names_what_can_be_included_only() -> None:
    (said,) = [cells for cells in rows("Returned attributes") if cells[0] == "only with `includefield`"]
    keys = set(re.findall(r"`(\w+)`", said[1]))
    asked = {one.keyword for one in ATTRIBUTES if one.given == "asked" and one.level > Level.STUDY}
    assert keys == asked


def test_the_reference_states_the_limits() -> None:
    said = {cells[0]: int(cells[1].replace(",", "")) for cells in rows("Limits")}
    assert said == {
        "results in an answer": searching.MAX_RESULTS,
        "results in an answer below one study": searching.MAX_RESULTS_IN_STUDY,
        "characters in the value of a parameter": searching.MAX_VALUE,
        "query parameters": searching.MAX_KEYS,
        "values in a list of UIDs or codes": matching.MAX_LISTED,
        "values in a list of texts, words in a name": matching.MAX_WORDS,
        "largest offset": searching.MAX_OFFSET,
    }
