"""What a remote archive may do that it should not: nothing of it harms what is here, or goes anywhere else."""

import base64
import itertools
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hilum.core.errors import Invalid
from hilum.imaging.dicom.uids import check_uid
from hilum.imaging.remote import client, fetching, indexing
from hilum.imaging.remote.client import DicomWeb, RemoteDown, RemoteRefuses
from hilum.imaging.remote.reading import read_series, read_study
from hilum.imaging.remote.servers import find_server
from tests.make import ct, uid
from tests.remote.conftest import Here, Liar, reply


def study(number: int = 1, **more: object) -> dict[str, object]:
    """A study as QIDO-RS tells of it."""
    return {
        "0020000D": {"vr": "UI", "Value": [uid(number)]}, "00080061": {"vr": "CS", "Value": ["CT"]},
        "00100020": {"vr": "LO", "Value": [f"P{number}"]}, "00201208": {"vr": "IS", "Value": [2]},
        "0020000E": {"vr": "UI", "Value": [uid(number, 1)]}, "00201209": {"vr": "IS", "Value": [2]},
    } | {tag: {"vr": "LO", "Value": [value]} for tag, value in more.items()}  # fmt: skip


def multipart(*instances: bytes) -> bytes:
    return b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + one for one in instances) + b"\r\n--b--\r\n"


def serves(*instances: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Tells of study 1, and sends these for its series."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith(f"/dicom-web/studies/{uid(1)}/series/"):
            kind = 'multipart/related; type="application/dicom"; boundary=b'
            body = multipart(*instances)
            handler.send_response(200)
            handler.send_header("Content-Type", kind)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        reply(handler, [study()] if "offset=0" in handler.path or "series" in handler.path else [])

    return answer


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/", "/dicom-web/elsewhere"]
)
def test_a_redirect_is_not_followed(here: Here, liar: Liar, target: str) -> None:
    here.name(liar.url, credentials={"token": "s3cret"})
    liar.answer = lambda handler: reply(handler, b"", 307, Location=target)
    with pytest.raises(RemoteRefuses, match="redirect"):
        here.index()
    assert all("/dicom-web/studies?" in line for line in liar.asked), liar.asked


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "0.0.0.0"])
def test_where_clouds_keep_secrets_nothing_is_sent(here: Here, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Invalid):
        here.name(f"http://{host}/dicom-web")
    with pytest.raises(Invalid):
        here.name(
            "http://127.0.0.1:1",
            credentials={"token_url": f"http://{host}/t", "client_id": "a", "client_secret": "b"},
        )
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = [(family, socket.SOCK_STREAM, 6, "", (address, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    here.name("http://pacs.example/dicom-web")  # a name that stands for it
    with pytest.raises(RemoteRefuses, match="nothing is sent"):
        here.index()


def test_what_is_no_answer_is_told_so(here: Here, liar: Liar) -> None:
    here.name(liar.url)
    nonsense = (b"<html>", b"{}", b'["a"]', b"[" * 100_000, b"\xff\xfe", b'{"a": [}', b'"x"', b"null")
    for body in nonsense:
        liar.answer = lambda handler, body=body: reply(handler, body)
        with pytest.raises(RemoteRefuses, match=r"no answer of QIDO-RS"):
            here.index()
    for status in (400, 401, 403, 404, 418):
        liar.answer = lambda handler, status=status: reply(handler, b"Doe^Jane", status)
        with pytest.raises(RemoteRefuses) as refusal:
            here.index()
        assert "Doe" not in str(refusal.value)
    for status in (429, 500, 503):
        liar.answer = lambda handler, status=status: reply(handler, b"", status)
        with pytest.raises(RemoteDown, match=str(status)):
            here.index()
    here.name("http://127.0.0.1:1")
    with pytest.raises(RemoteDown, match="nobody answers"):
        here.index()


def test_an_endless_answer_is_cut_off(here: Here, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ANSWER", 1 << 20)
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while sent < 1 << 28:
            sent += handler.wfile.write(b"[" + b" " * 65535)

    liar.answer = endless
    here.name(liar.url)
    with pytest.raises(RemoteRefuses, match="larger than any should be"):
        here.index()
    assert sent < 1 << 26


def test_a_server_without_paging_and_one_without_end(here: Here, liar: Liar) -> None:
    here.name(liar.url)
    liar.answer = lambda handler: reply(handler, [study(1), study(2)])
    assert here.index(everything=True).counts == {"studies_new": 2}
    assert len(liar.asked) == 2
    numbers = itertools.count(10)
    liar.answer = lambda handler: reply(handler, [study(next(numbers)) for _ in range(300)])
    assert here.index(limit=250).counts == {"studies_new": 250}, "more than was asked for is not taken"


def test_a_slow_answer_has_an_end(here: Here, liar: Liar) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.1)

    liar.answer = slow
    here.name(liar.url)
    begun = time.monotonic()
    with (
        DicomWeb(find_server(here.archive.database, "far"), seconds=1) as remote,
        pytest.raises(RemoteDown, match="in time"),
    ):
        remote.search("/studies")
    assert time.monotonic() - begun < 15


def test_instances_of_other_studies_are_not_taken(here: Here, liar: Liar) -> None:
    liar.answer = serves(ct(1, 1, 1), ct(2, 1, 1), b"no DICOM at all", ct(1, 1, 2))
    here.name(liar.url)
    here.index(limit=1)
    assert here.fetch(uid(1)).state == "held"
    assert list(here.studies()) == [uid(1)]
    assert here.studies()[uid(1)]["num_instances"] == 2


def test_what_is_promised_and_not_sent_is_told(here: Here, liar: Liar) -> None:
    here.name(liar.url)
    liar.answer = serves(ct(1, 1, 1))
    here.index(limit=1)
    copy = here.fetch(uid(1))
    assert (copy.state, copy.num_instances) == ("held", 1)
    assert "1 more instances" in copy.error


def test_nothing_of_use_is_a_failure(here: Here, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    here.name(liar.url)
    liar.answer = serves(ct(2, 1, 1))
    here.index(limit=1)
    copy = here.fetch(uid(1))
    assert (copy.state, here.studies()[uid(1)]["availability"]) == ("failed", "remote")
    assert "no instance of the study" in copy.error
    monkeypatch.setattr(fetching, "MAX_INSTANCES", 2)
    liar.answer = serves(*(ct(1, 1, number) for number in range(1, 6)))
    assert "more than 2 instances" in here.fetch(uid(1)).error


def test_a_broken_transfer_stores_nothing_of_its_series(here: Here, liar: Liar) -> None:
    here.name(liar.url)
    whole = serves(ct(1, 1, 1), ct(1, 1, 2))

    def broken(handler: BaseHTTPRequestHandler) -> None:
        if "/series/" not in handler.path:
            whole(handler)
            return
        body = multipart(ct(1, 1, 1), ct(1, 1, 2))
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.close_connection = True

    liar.answer = broken
    here.index(limit=1)
    copy = here.fetch(uid(1))
    assert (copy.state, here.studies()[uid(1)]["availability"]) == ("waiting", "remote"), copy
    liar.answer = whole
    with here.archive.database.transaction() as sql:
        sql.rows("update hilum.remote_copy set retry_at = now()")
    here.fetch_all()
    assert here.copy(uid(1)).state == "held"


def test_credentials_go_to_their_host_alone(here: Here, liar: Liar) -> None:
    here.name(liar.url, credentials={"username": "ann", "password": "s3cret"})
    here.index()
    basic = "Basic " + base64.b64encode(b"ann:s3cret").decode()
    assert {each.get("Authorization") for each in liar.headers} == {basic}
    here.name("http://other.example/dicom-web")
    assert find_server(here.archive.database, "far").login == "none"
    assert "s3cret" not in repr(find_server(here.archive.database, "far"))
    for wrong in ({"username": "a"}, {"token": "a", "password": "b"}, {"token": "a\nb"}, {"scope": "x"}):
        with pytest.raises(Invalid):
            here.name(liar.url, credentials=wrong)


def test_a_client_signs_in_by_oidc(here: Here, liar: Liar) -> None:
    forms: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            forms.append(str(handler.headers["Authorization"]))
            reply(handler, {"access_token": "abc", "token_type": "Bearer", "expires_in": 300})
        elif handler.headers["Authorization"] == "Bearer abc":
            reply(handler, [study()])
        else:
            reply(handler, b"", 401)

    liar.answer = answer
    root = urlsplit(liar.url)
    client_credentials = {
        "token_url": f"http://{root.netloc}/token", "client_id": "hilum", "client_secret": "s3cret", "scope": "dicom",
    }  # fmt: skip
    here.name(liar.url, credentials=client_credentials)
    assert here.index().counts == {"studies_new": 1}
    assert forms == ["Basic " + base64.b64encode(b"hilum:s3cret").decode()]
    liar.answer = lambda handler: reply(handler, b"", 400)
    with pytest.raises(RemoteRefuses, match="sign-in"):
        here.index()


def test_over_tls_only_who_is_vouched_for_is_believed(here: Here, liar: Liar, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=far", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    liar.over_tls(context)
    here.name(liar.url)
    with pytest.raises(RemoteRefuses, match="TLS could not be agreed on"):
        here.index()
    assert liar.asked == []
    with pytest.raises(Invalid, match="PEM"):
        here.name(liar.url, authorities="x")
    here.name(liar.url, authorities=certificate.read_text())
    liar.answer = lambda handler: reply(handler, [study()])
    assert here.index().counts == {"studies_new": 1}


def test_an_index_that_was_interrupted_goes_on(here: Here, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAGE", 2)
    dies_at = 6

    def answer(handler: BaseHTTPRequestHandler) -> None:
        offset = int(parse_qs(urlsplit(handler.path).query)["offset"][0])
        if offset >= dies_at:
            reply(handler, b"", 503)
        else:
            reply(handler, [study(n) for n in range(offset + 1, min(offset + 2, 9) + 1)])

    liar.answer = answer
    here.name(liar.url)
    with pytest.raises(RemoteDown):
        here.index(everything=True)
    assert len(here.studies()) == 6
    dies_at = 100
    liar.asked.clear()
    assert here.index(everything=True).counts == {"studies_unchanged": 2, "studies_new": 3}
    assert "offset=4" in liar.asked[0]
    assert len(here.studies()) == 9


def test_blank_answers_take_nothing_away(here: Here, liar: Liar) -> None:
    here.name(liar.url)
    described = study(1, **{"00081030": "CT chest", "00080050": "A1"})
    liar.answer = lambda handler: reply(handler, [described])
    here.index(series=True)
    before = here.studies()[uid(1)]
    liar.answer = lambda handler: reply(handler, [{"0020000D": {"vr": "UI", "Value": [uid(1)]}}])
    assert here.index(series=True).counts["studies_unchanged"] == 1
    assert here.studies()[uid(1)] == before
    assert len(here.series(uid(1))) == 1
    assert before["study_description"] == "CT chest"


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just(uid(1))),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_a_server_says_is_read_or_left_out(data: st.DataObject) -> None:
    given_set: dict[str, object] = {"0020000D": {"Value": [uid(1)]}, "0020000E": {"Value": [uid(1, 1)]}}
    tags = ["00080020", "00080030", "00080061", "00100010", "00201206", "00200011", "00400275", "00180050", "0020000D"]
    for tag in data.draw(st.lists(st.sampled_from(tags), max_size=4)):
        given_set[tag] = data.draw(st.one_of(VALUES, st.builds(lambda value: {"Value": [value]}, VALUES)))
    try:
        found = read_study(given_set)
    except ValueError:
        return
    assert check_uid(str(found.study["study_instance_uid"]))
    json.dumps(dict(found.study), allow_nan=False).encode()
    json.dumps(read_series([given_set], uid(1)), allow_nan=False).encode()
