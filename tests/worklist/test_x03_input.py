"""What comes in: JSON and XML both ways, bounded, and nothing of it makes the server fail."""

import json

import pytest

from tests.worklist.conftest import Worklist, element, new_uid, value, workitem

XML = "application/dicom+xml"


def xml_of(worklist: Worklist, uid: str) -> bytes:
    answer = worklist.send("GET", f"/workitems/{uid}", headers={"Accept": XML})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == XML
    return answer.content


def post(worklist: Worklist, body: bytes, kind: str, **headers: str) -> int:
    answer = worklist.client.post(
        f"{worklist.root}/workitems?{new_uid()}", content=body, headers={"Content-Type": kind, **headers}
    )
    return answer.status_code


@pytest.mark.parametrize("multipart", [False, True])
def test_x03_what_was_given_as_xml_can_be_sent_as_xml(worklist: Worklist, multipart: bool) -> None:
    uid = worklist.create(t00100010=element("PN", {"Alphabetic": "Doe^Jane^^Dr", "Phonetic": "x&<y>^"}))
    body = xml_of(worklist, uid)
    again = new_uid()
    body = body.replace(uid.encode(), again.encode())
    kind = XML
    if multipart:
        kind = f'multipart/related; type="{XML}"; boundary=b'
        body = b"--b\r\nContent-Type: application/dicom+xml\r\n\r\n" + body + b"\r\n--b--\r\n"
    answer = worklist.client.post(f"{worklist.root}/workitems", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 201, answer.text
    first, second = worklist.get(uid), worklist.get(again)
    for found in (first, second):
        for tag in ("00080018", "00404010"):
            del found[tag]
    second["00100010"]["Value"][0]["Phonetic"] += "^"  # pyright: ignore - an empty component at the end says nothing
    assert first == second


def test_x03_states_change_by_xml_too(worklist: Worklist) -> None:
    uid = worklist.create()
    body = (
        b'<?xml version="1.0"?><NativeDicomModel><DicomAttribute tag="00081195" vr="UI" keyword="TransactionUID">'
        b'<Value number="1">1.2.3</Value></DicomAttribute><DicomAttribute tag="00741000" vr="CS">'
        b'<Value number="1">IN PROGRESS</Value></DicomAttribute></NativeDicomModel>'
    )
    answer = worklist.client.put(f"{worklist.root}/workitems/{uid}/state", content=body, headers={"Content-Type": XML})
    assert answer.status_code == 200, answer.text


def test_x03_the_representation_is_the_dictionarys(worklist: Worklist) -> None:
    uid = worklist.create(t00741204={"vr": "LT", "Value": ["as in the standard's own example"]})
    assert worklist.get(uid)["00741204"]["vr"] == "LO"  # pyright: ignore
    uid = worklist.create(t00091001={"vr": "LO", "Value": ["private"]}, t00090010=element("LO", "ACME"))
    assert value(worklist.get(uid), "00091001") == "private"


TWO_PARTS = b"--b\r\n\r\n<NativeDicomModel/>\r\n--b\r\n\r\n\r\n--b--\r\n"
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<NativeDicomModel>&b;</NativeDicomModel>"
)
DEEP = b'{"0040A370":{"vr":"SQ","Value":[' * 40 + b"{}" + b"]}}" * 40
DEEP_XML = (
    b"<NativeDicomModel>"
    + b'<DicomAttribute tag="0040A370" vr="SQ"><Item number="1">' * 40
    + b"</Item></DicomAttribute>" * 40
    + b"</NativeDicomModel>"
)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/dicom+json", 400),
        (b"{", "application/dicom+json", 400),
        (b"[]", "application/dicom+json", 400),
        (b"[{},{}]", "application/dicom+json", 400),
        (b'"text"', "application/json", 400),
        (b"\xff\xfe", "application/dicom+json", 400),
        (b"[" * 100_000, "application/dicom+json", 400),
        (DEEP, "application/dicom+json", 400),
        (b'{"PatientName":{"vr":"PN"}}', "application/dicom+json", 400),
        (b'{"00100010":[]}', "application/dicom+json", 400),
        (b'{"00100010":{"vr":"PN","Value":"Doe"}}', "application/dicom+json", 400),
        (b'{"00100010":{"vr":"PN","Value":[{"Alphabetical":"Doe"}]}}', "application/dicom+json", 400),
        (b'{"00100020":{"vr":"LO","Value":[7]}}', "application/dicom+json", 400),
        (b'{"00100020":{"vr":"LO","Value":["\\u0000"]}}', "application/dicom+json", 400),
        (b'{"00100020":{"vr":"LO","Value":["\\ud800"]}}', "application/dicom+json", 400),
        (b'{"00280010":{"vr":"US","Value":[1.5]}}', "application/dicom+json", 400),
        (b'{"00280010":{"vr":"US","Value":[true]}}', "application/dicom+json", 400),
        (b'{"00181043":{"vr":"DS","Value":[1e999]}}', "application/dicom+json", 400),
        (b'{"00420011":{"vr":"OB","BulkDataURI":"http://x/"}}', "application/dicom+json", 400),
        (b'{"00420011":{"vr":"OB","InlineBinary":"%%"}}', "application/dicom+json", 400),
        (b'{"00091001":{"Value":["no vr"]}}', "application/dicom+json", 400),
        (b'{"0020000D":{"vr":"UI","Value":["1.2.x"]}}', "application/dicom+json", 400),
        (b"<a", XML, 400),
        (b"<Other/>", XML, 400),
        (BOMB, XML, 400),
        (DEEP_XML, XML, 400),
        (b'<NativeDicomModel><DicomAttribute tag="x"/></NativeDicomModel>', XML, 400),
        (b"--b--\r\n", f"multipart/related; type={XML}; boundary=b", 400),
        (TWO_PARTS, f"multipart/related; type={XML}; boundary=b", 400),
        (b"{}", f"multipart/related; type={XML}", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "nonsense", 400),
        (b'{"a":"' + b"a" * (1 << 20) + b'"}', "application/dicom+json", 413),
    ],
)
def test_x03_bad_bodies_are_refused(worklist: Worklist, body: bytes, kind: str, status: int) -> None:
    assert post(worklist, body, kind) == status
    uid = worklist.create()
    for method, path in (("POST", ""), ("PUT", "/state")):
        answer = worklist.client.request(
            method, f"{worklist.root}/workitems/{uid}{path}", content=body, headers={"Content-Type": kind}
        )
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_x03_a_body_without_a_length_is_bounded_too(worklist: Worklist) -> None:
    def endless():
        yield b"["
        for _ in range(40):
            yield b" " * (64 << 10)

    answer = worklist.client.post(
        f"{worklist.root}/workitems", content=endless(), headers={"Content-Type": "application/dicom+json"}
    )
    assert answer.status_code == 413


def test_x03_an_encoded_body_is_415(worklist: Worklist) -> None:
    body = json.dumps(workitem()).encode()
    assert post(worklist, body, "application/dicom+json", **{"Content-Encoding": "gzip"}) == 415


@pytest.mark.parametrize("uid", ["x", "1..2", "1." + "2" * 64, "%00", "1.2%0A"])
def test_x03_bad_uids_in_a_path_are_400(worklist: Worklist, uid: str) -> None:
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("PUT", "/state"),
        ("POST", "/cancelrequest"),
        ("POST", "/subscribers/A"),
        ("DELETE", "/subscribers/A"),
    ):
        assert worklist.send(method, f"/workitems/{uid}{path}", {}).status_code == 400


def test_x03_bad_uids_elsewhere_are_400(worklist: Worklist) -> None:
    uid = worklist.create()
    for query in ("workitem=x", "uid=1..2"):
        assert worklist.send("POST", f"/workitems?{query}", workitem()).status_code == 400
    assert worklist.update(uid, {}, "x").status_code == 400
    assert (
        worklist.send("POST", f"/workitems/{uid}?transaction-uid=1.2", {"00081195": element("UI", "1.3")}).status_code
        == 400
    )
    assert worklist.change(uid, "IN PROGRESS", "x").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/workitems", "GET, HEAD, POST, OPTIONS"),
        ("PUT", "/workitems/1.2", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/workitems/1.2/state", "PUT, OPTIONS"),
        ("GET", "/workitems/1.2/cancelrequest", "POST, OPTIONS"),
        ("GET", "/workitems/1.2/subscribers/A", "POST, DELETE, OPTIONS"),
    ],
)
def test_x03_other_methods_are_405_with_those_that_there_are(
    worklist: Worklist, method: str, path: str, allowed: str
) -> None:
    answer = worklist.send(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
