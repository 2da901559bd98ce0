"""Forwarding by C-STORE: to pynetdicom and to dcmtk's storescp."""

import io
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from hilum.imaging.routing import destinations
from tests.conftest import free_port, wait_until
from tests.dicom.formats import in_syntax
from tests.dimse.conftest import program
from tests.make import ct, uid
from tests.routing.conftest import FIRST_WAIT, Forwarder, Node, data_set_of, node


def to(peer: Node | int, **more: object) -> dict[str, object]:
    port = peer if isinstance(peer, int) else peer.port
    return {"host": "127.0.0.1", "port": port, "called_ae_title": "PEER", "calling_ae_title": "FORWARD"} | more


def in_native(file: bytes, syntax: str) -> bytes:
    """A file written anew by pydicom in another native transfer syntax."""
    data_set = pydicom.dcmread(io.BytesIO(file))
    if syntax == ExplicitVRBigEndian:
        data_set.PixelData = data_set.pixel_array.astype(">i2").tobytes()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set["PixelData"].VR = "OW"
    plain = pydicom.Dataset()
    for element in data_set:
        plain[element.tag] = element
    plain.file_meta = data_set.file_meta
    found = io.BytesIO()
    pydicom.dcmwrite(found, plain, enforce_file_format=True)
    return found.getvalue()


MIXED = {
    uid(1, 1, 1): ct(1, 1, 1),
    uid(2, 1, 1): in_syntax(ct(2, size=64), JPEG2000Lossless),
    uid(3, 1, 1): in_native(ct(3), ImplicitVRLittleEndian),
    uid(4, 1, 1): in_native(ct(4), ExplicitVRBigEndian),
    uid(5, 1, 1): ct(5, Rows=600, Columns=512, PixelData=bytes(range(256)) * 2400),
}


def test_data_sets_arrive_bit_by_bit_as_they_are_stored(forwarder: Forwarder) -> None:
    with node() as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(*MIXED.values())
        forwarder.hear()
        forwarder.send()
        assert sorted(peer.uids) == sorted(MIXED)
        for one, received in peer.received:
            assert data_set_of(received) == data_set_of(MIXED[one]), one
        assert set(peer.associations) == {"FORWARD"}
        assert len(peer.associations) == 3  # 1, 2 and 2 instances: it grows


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_a_node_does_not_take_is_converted(forwarder: Forwarder, syntax: str) -> None:
    with node(syntaxes=[syntax]) as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(*MIXED.values())
        forwarder.hear()
        forwarder.send()
        assert sorted(peer.uids) == sorted(MIXED)
        for one, received in peer.received:
            got, had = pydicom.dcmread(io.BytesIO(received)), pydicom.dcmread(io.BytesIO(MIXED[one]))
            assert got.file_meta.TransferSyntaxUID == syntax
            assert (got.pixel_array == had.pixel_array).all(), one
            assert got.PatientName == had.PatientName


def test_a_node_that_takes_nothing_makes_dead_letters(forwarder: Forwarder) -> None:
    with node(syntaxes=["1.2.840.10008.1.2.4.102"]) as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(ct(1), ct(2))
        forwarder.hear()
        forwarder.send()
    assert {item["state"] for item in forwarder.items()} == {"dead"}
    assert "no transfer syntax" in str(forwarder.items()[0]["error"])


def test_statuses_are_understood(forwarder: Forwarder) -> None:
    statuses = {uid(1, 1, 1): 0xB007, uid(1, 1, 2): 0xA900, uid(1, 1, 3): 0xC000, uid(1, 1, 4): 0x0111}
    with node(status=lambda one: statuses.get(one, 0)) as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(*(ct(1, 1, n) for n in range(1, 6)))
        forwarder.hear()
        forwarder.send()
    states = forwarder.states()
    assert [states[uid(1, 1, n)] for n in range(1, 6)] == ["sent", "dead", "dead", "dead", "sent"]
    told = {item["sop_instance_uid"]: item for item in forwarder.items()}
    assert "SOP class" in str(told[uid(1, 1, 1)]["warning"])
    assert "0xA900" in str(told[uid(1, 1, 2)]["error"])


def test_a_full_node_is_left_alone_and_asked_again(forwarder: Forwarder) -> None:
    asked: list[str] = []

    def status(one: str) -> int:
        asked.append(one)
        return 0xA700 if len(asked) <= 3 else 0

    with node(status=status) as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(*(ct(1, 1, n) for n in range(1, 5)))
        forwarder.hear()
        forwarder.send()
        assert sorted(peer.uids) == sorted(forwarder.states())
    assert len(asked) == 7


def test_a_node_that_breaks_off_gets_the_rest_again(forwarder: Forwarder) -> None:
    broken: list[str] = []

    def abort(one: str) -> bool:
        if one == uid(1, 1, 3) and len(broken) < 2:
            broken.append(one)
            return True
        return False

    with node(abort=abort) as peer:
        forwarder.rule(forwarder.destination(**to(peer)))
        forwarder.keep(*(ct(1, 1, n) for n in range(1, 7)))
        forwarder.hear()
        forwarder.send()
        assert sorted(peer.uids) == sorted(forwarder.states())
    assert set(forwarder.states().values()) == {"sent"}


def test_a_wrong_ae_title_is_said_and_nothing_is_lost(forwarder: Forwarder, api: httpx.Client) -> None:
    with node(require_called=True) as peer:
        wrong = forwarder.destination(**to(peer, called_ae_title="WRONG"))
        forwarder.rule(wrong)
        forwarder.keep(ct(1), ct(2))
        forwarder.hear()
        forwarder.send_once()
        assert "called AE title" in destinations.find_destination(forwarder.database, wrong).error
        assert {item["attempts"] for item in forwarder.items()} == {0}
        told = api.post(f"/destinations/{wrong}/test").json()
        assert (told["ok"], "called AE title" in told["message"]) == (False, True)
        mended = api.patch(f"/destinations/{wrong}", json={"address": {"called_ae_title": "PEER"}})
        assert mended.status_code == 200, mended.text
        assert api.post(f"/destinations/{wrong}/test").json()["ok"]
        forwarder.send()
        assert len(peer.uids) == 2


def test_a_node_that_is_down_is_not_hammered(forwarder: Forwarder) -> None:
    port = free_port()
    down = forwarder.destination(**to(port, retry_seconds=300))
    forwarder.rule(down)
    forwarder.keep(*(ct(1, 1, n) for n in range(1, 30)))
    forwarder.hear()
    assert forwarder.send_once()
    assert not forwarder.send_once()
    assert destinations.find_destination(forwarder.database, down).failures == 1
    with node(port=port) as peer:
        destinations.change_destination(forwarder.database, down, address={"retry_seconds": FIRST_WAIT})
        forwarder.send()
        assert len(peer.uids) == 29


def test_tls_is_spoken_and_a_foreign_certificate_refused(forwarder: Forwarder, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with node(tls=context) as peer:
        stranger = forwarder.destination(**to(peer, tls=True))
        forwarder.rule(stranger)
        forwarder.keep(ct(1))
        forwarder.hear()
        forwarder.send_once()
        assert "TLS" in destinations.find_destination(forwarder.database, stranger).error
        authority = {"tls_ca": (tmp_path / "cert").read_text()}
        destinations.change_destination(forwarder.database, stranger, address=authority)
        forwarder.send()
        assert peer.uids == [uid(1, 1, 1)]


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """dcmtk's storescp, which writes what it gets."""
    folder, port = tmp_path / "received", free_port()
    folder.mkdir()
    process = subprocess.Popen([program("storescp"), "-aet", "PEER", "+xa", "-od", str(folder), "-uf", str(port)])
    try:
        wait_until(lambda: _listens(port), what="storescp")
        yield port, folder
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_dcmtk_takes_them(forwarder: Forwarder, storescp: tuple[int, Path]) -> None:
    port, folder = storescp
    forwarder.rule(forwarder.destination(**to(port)))
    forwarder.keep(*MIXED.values())
    forwarder.hear()
    forwarder.send()
    assert set(forwarder.states().values()) == {"sent"}
    got = {str(found.SOPInstanceUID): found for found in map(pydicom.dcmread, folder.iterdir())}
    assert set(got) == set(MIXED)
    for one, had in MIXED.items():
        assert (got[one].pixel_array == pydicom.dcmread(io.BytesIO(had)).pixel_array).all()
