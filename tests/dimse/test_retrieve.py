"""C-MOVE and C-GET: each instance as the receiver can take it, and honest counts."""

import io
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role

from hilum.imaging.dimse import command as c
from hilum.imaging.dimse.pdu import AssociateAccept, Decided, accept_bytes, data_pdu, read_request
from tests.conftest import free_port, wait_until
from tests.dimse.conftest import CT, EXPLICIT, IMPLICIT, Dicom, Start, dcmtk, one_pdu, program, received
from tests.dimse.test_find import fill, query
from tests.dimse.test_store import made
from tests.make import ct, uid

MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


@contextmanager
def archive_peer(port: int, *syntaxes: str, status: int = 0, fail: str = "") -> Iterator[list[Dataset]]:
    """A storage provider by pynetdicom that keeps what it gets; with ``fail`` it refuses that instance."""
    taken: list[Dataset] = []

    def store(event: evt.Event) -> int:
        found = event.dataset
        found.file_meta = event.file_meta
        found.originator = event.request.MoveOriginatorApplicationEntityTitle
        if found.SOPInstanceUID == fail:
            return 0xA700
        taken.append(found)
        return status

    ae = AE("PEER")
    ae.add_supported_context(CT, list(syntaxes))
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.7", list(syntaxes))
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield taken
    finally:
        server.shutdown()


def move(dicom: Dicom, wanted: Dataset, to: str = "PEER", model: str = MOVE) -> list[tuple[Dataset, Dataset | None]]:
    with dicom.associated((model, EXPLICIT)) as association:
        return list(association.send_c_move(wanted, to, model))


def test_a_study_moves_whole_with_counts(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{port}"])
    sent = [ct(1, 1, n) for n in (1, 2, 3)]
    fill(dicom.archive, *sent, ct(2))
    with archive_peer(port, EXPLICIT, IMPLICIT) as taken:
        answers = move(dicom, query("STUDY", StudyInstanceUID=uid(1)))
    assert [status.Status for status, _ in answers] == [0xFF00, 0xFF00, 0]
    assert [answers[0][0].NumberOfRemainingSuboperations, answers[0][0].NumberOfCompletedSuboperations] == [2, 1]
    assert [answers[-1][0].NumberOfCompletedSuboperations, answers[-1][0].NumberOfFailedSuboperations] == [3, 0]
    for one, original in zip(taken, sent, strict=True):
        assert one.originator == "TESTER"
        before = pydicom.dcmread(io.BytesIO(original))
        assert {e.tag: e.value for e in one} == {e.tag: e.value for e in before}


def test_series_images_and_patients_move_too(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{port}"])
    fill(dicom.archive, *(ct(1, series, n) for series in (1, 2) for n in (1, 2)), ct(2, PatientID="P1"))
    with archive_peer(port, EXPLICIT) as taken:
        for wanted, model, number in (
            (query("SERIES", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 2)), MOVE, 2),
            (
                query("IMAGE", StudyInstanceUID=uid(1), SeriesInstanceUID=uid(1, 1), SOPInstanceUID=uid(1, 1, 2)),
                MOVE,
                1,
            ),
            (query("STUDY", StudyInstanceUID=[uid(1), uid(2)]), MOVE, 5),
            (query("PATIENT", PatientID="P1"), PATIENT_MOVE, 5),
            (query("STUDY", StudyInstanceUID="1.2.3"), MOVE, 0),
        ):
            taken.clear()
            answers = move(dicom, wanted, model=model)
            assert answers[-1][0].Status == 0
            assert len(taken) == number


def test_what_the_receiver_does_not_take_is_converted(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{port}"])
    compressed = made(JPEG_LOSSLESS)
    fill(dicom.archive, compressed, ct(2))
    original = pydicom.dcmread(io.BytesIO(compressed), force=True)
    study, pixels = original.StudyInstanceUID, original.pixel_array
    for syntax in (JPEG_LOSSLESS, EXPLICIT, IMPLICIT):
        with archive_peer(port, syntax) as taken:
            assert move(dicom, query("STUDY", StudyInstanceUID=study))[-1][0].Status == 0
        assert taken[0].file_meta.TransferSyntaxUID == syntax
        assert (taken[0].pixel_array == pixels).all()


def test_partial_failure_names_what_failed(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{port}"])
    fill(dicom.archive, *(ct(1, 1, n) for n in (1, 2, 3)))
    with archive_peer(port, EXPLICIT, fail=uid(1, 1, 2)):
        status, failed = move(dicom, query("STUDY", StudyInstanceUID=uid(1)))[-1]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid(1, 1, 2)
    status, failed = move(dicom, query("STUDY", StudyInstanceUID=uid(1)))[-1]
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 3)
    assert failed is not None
    assert len(failed.FailedSOPInstanceUIDList) == 3


def test_an_unknown_destination_and_wrong_identifiers_are_refused(start: Start) -> None:
    dicom = start(dicom_peers=["TESTER"])
    fill(dicom.archive, ct())
    assert move(dicom, query("STUDY", StudyInstanceUID=uid(1)), "NOBODY")[-1][0].Status == 0xA801
    assert move(dicom, query("STUDY", StudyInstanceUID=uid(1)), "TESTER")[-1][0].Status == 0xA801
    for wrong in (query("STUDY"), query("PATIENT", PatientID="P1"), query("STUDY", StudyInstanceUID="*")):
        assert move(dicom, wrong, "TESTER")[-1][0].Status == 0xA900


def test_a_get_brings_the_instances_back_on_the_same_association(dicom: Dicom) -> None:
    fill(dicom.archive, *(ct(1, 1, n) for n in (1, 2, 3)))
    taken: list[Dataset] = []

    def store(event: evt.Event) -> int:
        taken.append(event.dataset)
        return 0xA700 if len(taken) == 3 else 0

    with dicom.associated(
        (GET, EXPLICIT),
        (CT, IMPLICIT),
        ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)],
    ) as association:
        answers = list(association.send_c_get(query("STUDY", StudyInstanceUID=uid(1)), GET))
        assert association.send_c_get is not None
    assert [one.SOPInstanceUID for one in taken] == [uid(1, 1, n) for n in (1, 2, 3)]
    status, failed = answers[-1]
    assert (status.Status, status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == uid(1, 1, 3)


def test_a_get_without_a_context_for_the_class_fails_honestly(dicom: Dicom) -> None:
    fill(dicom.archive, ct())
    with dicom.associated((GET, EXPLICIT), (CT, EXPLICIT)) as association:
        status, _ = list(association.send_c_get(query("STUDY", StudyInstanceUID=uid(1)), GET))[-1]
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xA702, 1)


def test_dcmtk_gets_and_moves(start: Start, tmp_path: Path) -> None:
    port = free_port()
    dicom = start(dicom_peers=["MOVESCU", "GETSCU", "ECHOSCU", f"STORESCP=127.0.0.1:{port}"])
    fill(dicom.archive, *(ct(1, 1, n) for n in (1, 2, 3)))
    got, moved = tmp_path / "got", tmp_path / "moved"
    got.mkdir()
    moved.mkdir()
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid(1)}")
    dcmtk("getscu", dicom.port, "-S", "-od", str(got), *keys)
    assert len(list(got.iterdir())) == 3
    peer = subprocess.Popen([program("storescp"), "-od", str(moved), str(port)])
    try:
        wait_until(lambda: dcmtk("echoscu", port, check=False).returncode == 0, what="storescp")
        dcmtk("movescu", dicom.port, "-S", "-aem", "STORESCP", *keys)
    finally:
        peer.terminate()
        peer.wait()
    assert len(list(moved.iterdir())) == 3


def test_a_cancelled_move_stops_and_says_what_was_left(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{port}"])
    fill(dicom.archive, *(ct(1, 1, n) for n in range(1, 40)))

    def store(_: evt.Event) -> int:
        time.sleep(0.2)  # so that the cancel comes before the last of them
        return 0

    ae = AE("PEER")
    ae.add_supported_context(CT, EXPLICIT)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        with dicom.associated((MOVE, EXPLICIT)) as association:
            answers = association.send_c_move(query("STUDY", StudyInstanceUID=uid(1)), "PEER", MOVE, msg_id=9)
            association.send_c_cancel(9, association.accepted_contexts[0].context_id)
            status = list(answers)[-1][0]
    finally:
        server.shutdown()
    assert status.Status == 0xFE00
    assert status.NumberOfRemainingSuboperations > 0


def test_a_receiver_that_breaks_off_or_answers_another_question_has_taken_nothing_more(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        dicom = start(dicom_peers=["TESTER", f"PEER=127.0.0.1:{door.getsockname()[1]}"])
        fill(dicom.archive, *(ct(1, 1, n) for n in (1, 2, 3)))
        for odd in (answer_other_message, break_off):
            peer = threading.Thread(target=odd, args=(door,))
            peer.start()
            status, failed = move(dicom, query("STUDY", StudyInstanceUID=uid(1)))[-1]
            peer.join(60)
            assert (status.Status, status.NumberOfCompletedSuboperations) == (0xA702, 0), odd.__name__
            assert failed is not None
            assert len(failed.FailedSOPInstanceUIDList) == 3
    assert dicom.echoes()


def accepted(door: socket.socket) -> socket.socket:
    """A connection whose association is accepted, and whose first instance has come."""
    connection, _ = door.accept()
    connection.settimeout(60)
    request = read_request(one_pdu(connection)[1])
    decided = tuple(Decided(one.id, 0, one.transfer_syntaxes[0]) for one in request.contexts)
    connection.sendall(accept_bytes(request, AssociateAccept(decided)))
    while one_pdu(connection)[1][5] != 2:  # the last fragment of a data set
        pass
    return connection


def answer_other_message(door: socket.socket) -> None:
    """Say Success, but of a message that was never sent."""
    with accepted(door) as connection:
        values: dict[int, int | str] = {c.ANSWERED_ID: 77, c.STATUS: 0, c.AFFECTED_CLASS: CT}
        connection.sendall(b"".join(data_pdu(1, 3, c.command_bytes(c.C_STORE | c.RESPONSE, values))))
        received(connection)


def break_off(door: socket.socket) -> None:
    """Close the connection instead of an answer."""
    accepted(door).close()
