"""Searches of the worklist (PS3.18 section 11.9): keys, paths, ranges, pages, forms."""

import xml.etree.ElementTree as ET

import pytest

from hilum.imaging.archive.sources import add_source
from tests.dicomweb.conftest import parts
from tests.worklist.conftest import Worklist, code, element, value, warnings

NATIVE = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"


def test_x03_an_empty_worklist_is_an_empty_array(alone: Worklist) -> None:
    answer = alone.send("GET", "/workitems")
    assert (answer.status_code, answer.json()) == (200, [])
    assert answer.headers["content-type"] == "application/dicom+json"
    assert answer.headers["x-total-count"] == "0"


@pytest.fixture(scope="module")
def three(worklist: Worklist) -> Worklist:
    """Three workitems: of Doe for the liver, of Müller for the lung, and one that is claimed."""
    worklist.create(t00741200=element("CS", "LOW"), t00404005=element("DT", "20260101120000+0100"))
    worklist.create(
        t00741200=element("CS", "HIGH"),
        t00741204=element("LO", "Lung nodules"),
        t00741202=element("LO", "LUNG"),
        t00100010=element("PN", {"Alphabetic": "Müller^Änne", "Ideographic": "山田^太郎"}),
        t00100020=element("LO", "P-2"),
        t00100030=element("DA", "19800615"),
        t00404005=element("DT", "202602"),
        t00404018=element("SQ", code("SEG"), code("CAD", "Find nodules")),
        t00404021=element("SQ", {"0020000D": element("UI", "1.2.3.4"), "00081199": element("SQ")}),
    )
    worklist.claim(worklist.create(t00404005=element("DT", "20260301083000.5")))
    return worklist


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [2, 3, 1]),
        ("ProcedureStepState=SCHEDULED", [2, 1]),
        ("00741000=IN%20PROGRESS", [3]),
        ("ProcedureStepState=*PROGRESS", [3]),
        ("ScheduledProcedureStepPriority=HIGH", [2]),
        ("WorklistLabel=LUNG", [2]),
        ("ProcedureStepLabel=Liver*", [3, 1]),
        ("ProcedureStepLabel=L???r*", [3, 1]),
        ("PatientName=doe*", [3, 1]),
        ("PatientName=muller%5Eanne", [2]),
        ("PatientName=%E5%B1%B1%E7%94%B0*", [2]),
        ("PatientID=P-2", [2]),
        ("PatientID=p-2", []),
        ("PatientBirthDate=19750101-", [2]),
        ("PatientBirthDate=-19750101", [3, 1]),
        ("ScheduledWorkitemCodeSequence.CodeValue=CAD", [2]),
        ("00404018.00080100=SEG", [2, 3, 1]),
        ("ScheduledWorkitemCodeSequence.CodeValue=CAD&PatientName=Doe*", []),
        ("InputInformationSequence.StudyInstanceUID=1.2.3.4", [2]),
        ("StudyInstanceUID=9.9,1.2.3", [2, 3, 1]),
        ("ScheduledProcedureStepStartDateTime=20260101110000", [1]),
        ("ScheduledProcedureStepStartDateTime=20260101120000%2B0100", [1]),
        ("ScheduledProcedureStepStartDateTime=20260101", [1]),
        ("ScheduledProcedureStepStartDateTime=2026", [2, 3, 1]),
        ("ScheduledProcedureStepStartDateTime=20260102-20260301", [2, 3]),
        ("ScheduledProcedureStepStartDateTime=20260301083000.4-", [3]),
        ("ScheduledProcedureStepStartDateTime=20260301083000.6-", []),
        ("ScheduledProcedureStepStartDateTime=-202601", [1]),
        ("ScheduledProcedureStepStartDateTime=20260101120000-0100-", [2, 3]),
        ("AdmissionID=", [2, 3, 1]),
        ("PatientName=*&accept=application/json", [2, 3, 1]),
    ],
)
def test_x03_matching_keys(three: Worklist, query: str, expected: list[int]) -> None:
    with three.archive.database.transaction() as sql:
        ids = {
            str(row["uid"]): place
            for place, row in enumerate(sql.rows("select uid from hilum.workitem order by id"), 1)
        }
    assert [ids[uid] for uid in three.uids(f"?{query}")] == expected


def test_x03_an_answer_holds_what_the_table_of_return_keys_says(three: Worklist) -> None:
    (found,) = three.search("?PatientID=P-2")
    always = [
        "00080016",
        "00080018",
        "00100010",
        "00100020",
        "00404005",
        "00404018",
        "00404021",
        "00404025",
        "00404041",
    ]
    always += ["00741000", "00741002", "00741200", "00741202", "00741204", "00741210", "0040A370", "00380010"]
    assert set(always) <= set(found)
    assert "00400400" not in found
    assert "00404010" not in found
    assert list(found) == sorted(found)
    (found,) = three.search("?PatientID=P-2&includefield=00400400,ScheduledProcedureStepModificationDateTime")
    assert {"00400400", "00404010"} <= set(found)
    (found,) = three.search("?PatientID=P-2&includefield=all")
    assert "00741216" in found


def test_x03_pages_are_disjoint_and_say_how_much_is_left(three: Worklist) -> None:
    answers = [three.send("GET", f"/workitems?limit=1&offset={offset}") for offset in range(4)]
    seen = [value(found, "00080018") for answer in answers for found in answer.json()]
    assert len(set(seen)) == 3
    assert [answer.headers["x-total-count"] for answer in answers] == ["3"] * 4
    assert warnings(answers[0]) == ["There are 2 additional results that can be requested"]
    assert [warnings(answer) for answer in answers[2:]] == [[], []]


@pytest.mark.parametrize(
    "query",
    [
        "NoSuchKeyword=1",
        "limit=-1",
        "limit=many",
        "offset=99999999999",
        "PatientBirthDate=yesterday",
        "PatientBirthDate=-",
        "ScheduledProcedureStepStartDateTime=soon",
        "StudyInstanceUID=1..2",
        "PatientName.CodeValue=1",
        "ScheduledWorkitemCodeSequence=1",
        "TransactionUID=1.2.3",
        "ReferencedRequestSequence.TransactionUID=1.2.3",
        "fuzzymatching=perhaps",
        "includefield=nothing",
        "PatientID=1&PatientID=2",
        "PatientID=" + "x" * 1025,
        "PatientID=" + "*a" * 17,
        "PatientID=%00",
        ".".join(["ScheduledWorkitemCodeSequence"] * 7) + "=1",
        "&".join(f"00{number:02X}0010=1" for number in range(40)),
        "ProcedureStepProgressInformationSequence.ProcedureStepProgress=much",
    ],
)
def test_x03_absurd_searches_are_400(worklist: Worklist, query: str) -> None:
    answer = worklist.send("GET", f"/workitems?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_x03_what_is_not_done_is_said(three: Worklist) -> None:
    flags = "fuzzymatching=true&emptyvaluematching=true&multiplevaluematching=true"
    answer = three.send("GET", f"/workitems?{flags}&PatientName=Do*")
    assert len(answer.json()) == 2
    assert warnings(answer) == [
        "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
        "The emptyvaluematching parameter is not supported. Empty Value Matching has not been performed.",
        "The multiplevaluematching parameter is not supported. Multiple Value Matching has not been performed.",
    ]
    assert warnings(three.send("GET", "/workitems?fuzzymatching=false&charset=utf-8")) == []


def test_x03_answers_in_xml(three: Worklist) -> None:
    answer = three.send(
        "GET", "/workitems?PatientName=Doe*", headers={"Accept": 'multipart/related; type="application/dicom+xml"'}
    )
    found = [ET.fromstring(body) for _, body in parts(answer)]
    assert len(found) == 2
    names = {
        one.findtext(
            f"{NATIVE}DicomAttribute[@keyword='PatientName']/{NATIVE}PersonName/{NATIVE}Alphabetic/{NATIVE}FamilyName"
        )
        for one in found
    }
    assert names == {"Doe"}
    none = three.send(
        "GET", "/workitems?PatientID=nobody", headers={"Accept": "multipart/related; type=application/dicom+xml"}
    )
    assert none.status_code == 200
    assert b"NativeDicomModel" not in none.content


@pytest.mark.parametrize("accept", ["image/png", "application/dicom+json;q=0"])
def test_x03_other_forms_are_406(three: Worklist, accept: str) -> None:
    uid = three.uids()[0]
    for path in ("/workitems", f"/workitems/{uid}"):
        assert three.send("GET", path, headers={"Accept": accept}).status_code == 406


def test_x03_one_source_does_not_see_another(three: Worklist) -> None:
    add_source(three.archive.database, "other", "Other")
    other = Worklist(three.root.replace("/dicom-web", "/sources/other/dicom-web"), three.archive, three.client)
    assert other.search() == []
    uid = three.uids()[0]
    assert other.send("GET", f"/workitems/{uid}").status_code == 404
    unknown = Worklist(three.root.replace("/dicom-web", "/sources/nowhere/dicom-web"), three.archive, three.client)
    assert unknown.send("GET", "/workitems").status_code == 404


def test_x03_the_page_can_count_by_state(three: Worklist) -> None:
    url = three.root.replace("/dicom-web", "/api/v1/imaging/workitems/counts")
    expected = {"scheduled": 2, "in_progress": 1, "completed": 0, "canceled": 0}
    assert three.client.get(url).json() == expected
    assert three.client.get(url, params={"source": "default"}).json() == expected
