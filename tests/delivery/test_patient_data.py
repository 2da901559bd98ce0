"""Events name things by UID; whose study it is leaves with them only where a setting says so."""

from hilum.core.config import Settings
from hilum.core.delivery import webhooks
from hilum.core.events import read_events
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.event_patients import naming_patients
from hilum.imaging.archive.store import Archive
from tests.conftest import wait_until
from tests.delivery.conftest import Receiver, emit
from tests.make import ct, uid

OURS = {"PatientID": "SECRET-17", "AccessionNumber": "ACC-99"}


def stored(archive: Archive, source: SourceRef) -> list[dict[str, object]]:
    with archive.batch(source, "stow") as batch:
        batch.add("file", [ct(**OURS)])
        batch.commit()
    with archive.database.connect() as connection:
        return read_events(connection, "http://hilum")


def test_an_event_holds_no_patient_data(archive: Archive, source: SourceRef, couriers, receiver: Receiver) -> None:
    webhooks.add_hook(archive.database, receiver.url)
    stored(archive, source)
    couriers(webhooks.group(archive.database, list))
    wait_until(receiver.requests)
    text = str(receiver.requests())
    assert uid(1) in text
    assert not any(value in text for value in ("SECRET-17", "ACC-99", "Doe"))


def test_the_setting_adds_patient_and_accession_as_events_leave(
    archive: Archive, source: SourceRef, couriers, receiver: Receiver
) -> None:
    webhooks.add_hook(archive.database, receiver.url)
    (before,) = stored(archive, source)
    emit(archive.database, "other", n=1)
    couriers(webhooks.group(archive.database, naming_patients(archive.database)))
    wait_until(lambda: len(receiver.requests()) == 2)
    first, second = (request["body"] for request in receiver.requests())
    assert '"patient_id":"SECRET-17","accession_number":"ACC-99"' in first
    assert second == '{"n":1}'
    with archive.database.connect() as connection:
        assert read_events(connection, "http://hilum", limit=1) == [before]


def test_it_is_off_by_default() -> None:
    assert Settings().event_patient_data is False
