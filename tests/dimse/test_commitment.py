"""Storage commitment: what is kept is said to be, what is not is not, and the report comes, also after a restart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_role

from hilum.imaging.dimse import commitment
from tests.conftest import free_port, wait_until
from tests.dimse.conftest import CT, EXPLICIT, Dicom, Start
from tests.dimse.test_find import fill
from tests.make import ct, uid

PUSH = "1.2.840.10008.1.20.1"
INSTANCE = "1.2.840.10008.1.20.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
Reports = list[tuple[int, Dataset]]


def asked(*instances: tuple[str, str], transaction: str = "1.2.3.4") -> Dataset:
    found = Dataset()
    found.TransactionUID = transaction
    found.ReferencedSOPSequence = []
    for sop_class, instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        found.ReferencedSOPSequence.append(item)
    return found


def keeper(reports: Reports) -> Callable[[evt.Event], tuple[int, None]]:
    def take(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0, None

    return take


@contextmanager
def modality(port: int) -> Iterator[Reports]:
    """A peer that takes reports on associations of the archive's."""
    reports: Reports = []
    ae = AE("TESTER")
    ae.add_supported_context(PUSH, EXPLICIT, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, keeper(reports))])
    try:
        yield reports
    finally:
        server.shutdown()


def ask(dicom: Dicom, request: Dataset) -> int:
    with dicom.associated((PUSH, EXPLICIT)) as association:
        status, _ = association.send_n_action(request, 1, PUSH, INSTANCE)
        return status.Status


def test_a_report_on_a_new_association_says_what_is_kept_and_what_is_not(start: Start) -> None:
    port = free_port()
    dicom = start(dicom_peers=[f"TESTER=127.0.0.1:{port}"])
    fill(dicom.archive, ct(1, 1, 1), ct(1, 1, 2))
    with modality(port) as reports:
        assert ask(dicom, asked((CT, uid(1, 1, 1)), (CT, uid(1, 1, 2)))) == 0
        wait_until(lambda: len(reports) == 1, what="the report")
        assert ask(dicom, asked((CT, uid(1, 1, 1)), (MR, uid(1, 1, 2)), (CT, "1.2"), transaction="1.2.3.5")) == 0
        wait_until(lambda: len(reports) == 2, what="the second report")
    (event, whole), (other, partly) = reports
    assert (event, whole.TransactionUID) == (1, "1.2.3.4")
    assert [one.ReferencedSOPInstanceUID for one in whole.ReferencedSOPSequence] == [uid(1, 1, 1), uid(1, 1, 2)]
    assert (other, partly.TransactionUID) == (2, "1.2.3.5")
    assert [one.ReferencedSOPInstanceUID for one in partly.ReferencedSOPSequence] == [uid(1, 1, 1)]
    assert [one.FailureReason for one in partly.FailedSOPSequence] == [0x0119, 0x0112]


def test_a_report_waits_for_the_peer_and_for_a_restart_of_the_listener(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(commitment, "POLL_SECONDS", 0.1)
    port = free_port()
    dicom = start(dicom_peers=[f"TESTER=127.0.0.1:{port}"])
    fill(dicom.archive, ct(1, 1, 1))
    assert ask(dicom, asked((CT, uid(1, 1, 1)))) == 0
    wait_until(lambda: dicom.rows("select 1 from hilum.commitment where attempts > 1"), what="two attempts")
    start(dicom_peers=[f"TESTER=127.0.0.1:{port}"])
    with modality(port) as reports:
        wait_until(lambda: reports, what="the report")
        wait_until(lambda: dicom.rows("select 1 from hilum.commitment where reported_at is not null"), what="the note")
    assert reports[0][0] == 1


def test_a_peer_of_unknown_place_is_told_on_its_own_association(dicom: Dicom) -> None:
    fill(dicom.archive, ct(1, 1, 1))
    reports: Reports = []
    with dicom.associated(
        (PUSH, EXPLICIT), ext_neg=[build_role(PUSH, scu_role=True, scp_role=False)],
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, keeper(reports))],
    ) as association:  # fmt: skip
        status, _ = association.send_n_action(asked((CT, uid(1, 1, 1))), 1, PUSH, INSTANCE)
        assert status.Status == 0
        wait_until(lambda: reports, what="the report")
        wait_until(lambda: dicom.rows("select 1 from hilum.commitment where reported_at is not null"), what="the note")
        assert association.is_established
    assert reports[0][0] == 1


def test_wrong_requests_get_a_status(dicom: Dicom) -> None:
    with dicom.associated((PUSH, EXPLICIT)) as association:
        for request, action, instance, status in (
            (asked(), 1, INSTANCE, 0x0115),
            (asked((CT, "no uid")), 1, INSTANCE, 0x0115),
            (asked((CT, "1.2")), 2, INSTANCE, 0x0123),
            (asked((CT, "1.2")), 1, "1.2.3", 0x0112),
        ):
            assert association.send_n_action(request, action, PUSH, instance)[0].Status == status
