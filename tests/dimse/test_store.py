"""C-STORE and C-ECHO: every syntax as it came, success only for what is kept, the right status for the rest."""

import io
import threading
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom.sop_class import uid_to_service_class

from hilum.core.database import Database
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.writer import IMPLEMENTATION_CLASS_UID
from hilum.imaging.dimse.negotiation import STORAGE_SYNTAXES, is_standard_storage
from tests.dicom.formats import MAKERS, PHOTOMETRICS
from tests.dimse.conftest import CT, EXPLICIT, IMPLICIT, VERIFICATION, Dicom, Start, dcmtk, listening, store_bytes
from tests.make import ct, folder, uid

MR = "1.2.840.10008.5.1.4.1.1.4"


def data_set(**attributes: object) -> Dataset:
    return pydicom.dcmread(io.BytesIO(ct(**attributes)))  # pyright: ignore[reportArgumentType]


def test_echo_by_two_tools(dicom: Dicom) -> None:
    assert dicom.echoes()
    dcmtk("echoscu", dicom.port)
    dcmtk("echoscu", dicom.port, to="ANY-SCP")


def test_a_file_is_the_data_set_byte_for_byte_behind_meta_information_of_its_own(dicom: Dicom) -> None:
    sent = data_set()
    with dicom.associated((CT, EXPLICIT), title="CT01") as association:
        assert association.send_c_store(sent).Status == 0
    stored = dicom.stored(uid(1, 1, 1))
    meta = pydicom.dcmread(io.BytesIO(stored)).file_meta
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == uid(1, 1, 1)
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.SourceApplicationEntityTitle == "CT01"
    body = DicomBytesIO()
    body.is_little_endian, body.is_implicit_VR = True, False
    write_dataset(body, sent)
    assert stored[scan(stored, len(stored)).data_set_offset :] == body.getvalue()
    (row,) = dicom.rows("select origin from hilum.instance")
    assert row["origin"] == "dimse"
    (event,) = dicom.rows("select data from hilum.event where type = 'hilum.instance.stored.v1'")
    assert event["data"]["origin"] == "dimse"  # pyright: ignore


def made(syntax: str) -> bytes:
    """An image in a transfer syntax, of any photometric interpretation that goes with it."""
    return next(found.data for photometric in PHOTOMETRICS if (found := MAKERS[syntax](syntax, photometric)))


def test_each_transfer_syntax_is_taken_and_kept_byte_for_byte(dicom: Dicom) -> None:
    syntaxes = sorted(set(MAKERS) & set(STORAGE_SYNTAXES))
    assert len(syntaxes) > 25
    files = {syntax: made(syntax) for syntax in syntaxes}
    headers = {syntax: scan(data) for syntax, data in files.items()}
    sop_class = {header.first("SOPClassUID") for header in headers.values()}.pop()
    bodies = {syntax: data[headers[syntax].data_set_offset :] for syntax, data in files.items()}
    with dicom.associated(*((sop_class, syntax) for syntax in syntaxes)) as association:
        for syntax in syntaxes:
            uid = headers[syntax].first("SOPInstanceUID")
            dicom.rows("delete from hilum.study")
            assert store_bytes(association, sop_class, uid, bodies[syntax], syntax) == 0, syntax
            (row,) = dicom.rows("select transfer_syntax_uid as uid from hilum.instance")
            assert row["uid"] == syntax
            assert dicom.stored(uid).endswith(bodies[syntax])


def test_dcmtk_sends_four_associations_at_once_and_every_instance_is_there_once(dicom: Dicom, tmp_path: Path) -> None:
    folder(tmp_path / "in", studies=4, instances=25, size=64)
    threads = [
        threading.Thread(target=dcmtk, args=("storescu", dicom.port, "+sd", "+r", tmp_path / "in" / f"study{n}"))
        for n in range(1, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dicom.instances() == sorted(uid(s, 1, i) for s in range(1, 5) for i in range(1, 26))
    assert {row["num_instances"] for row in dicom.rows("select num_instances from hilum.study")} == {25}


def test_what_is_sent_again_changes_nothing_and_what_differs_replaces(dicom: Dicom) -> None:
    with dicom.associated((CT, EXPLICIT)) as association:
        for sent in (data_set(), data_set(), data_set(seed=9)):
            assert association.send_c_store(sent).Status == 0
    changes = dicom.rows("select data->>'change' as change from hilum.event where type ~ 'stored' order by id")
    assert [row["change"] for row in changes] == ["added", "replaced"]
    assert len(dicom.instances()) == 1


def test_a_data_set_of_another_instance_is_refused(dicom: Dicom) -> None:
    whole = ct()
    body = whole[scan(whole).data_set_offset :]
    with dicom.associated((CT, EXPLICIT), (MR, EXPLICIT)) as association:
        assert store_bytes(association, CT, "1.2.3", body) == 0xA900
        assert store_bytes(association, MR, uid(1, 1, 1), body) == 0xA900
        assert store_bytes(association, CT, "no uid", body) == 0x0117
        assert store_bytes(association, CT, uid(1, 1, 1), b"no data set" * 100) == 0xC000
        assert association.send_c_store(data_set()).Status == 0
    assert dicom.instances() == [uid(1, 1, 1)]


def test_what_cannot_be_catalogued_is_set_aside_and_not_acknowledged(dicom: Dicom) -> None:
    with dicom.associated((CT, EXPLICIT)) as association:
        assert association.send_c_store(data_set(StudyInstanceUID=None)).Status == 0xC000
        assert association.send_c_store(data_set(instance=2)).Status == 0
        assert association.send_c_store(data_set(instance=3, PatientID="OTHER")).Status == 0xA900
    (no_study, conflict) = dicom.rows("select code, origin, name from hilum.set_aside order by id")
    assert (no_study["code"], conflict["code"]) == ("no_study_instance_uid", "patient_conflict")
    assert no_study["origin"] == "dimse"
    assert str(no_study["name"]).startswith("TESTER")
    assert dicom.instances() == [uid(1, 1, 2)]


def test_without_a_patient_id_a_study_waits_in_quarantine_as_from_anywhere(dicom: Dicom) -> None:
    with dicom.associated((CT, EXPLICIT)) as association:
        assert association.send_c_store(data_set(PatientID=None)).Status == 0
    (study,) = dicom.rows("select quarantine from hilum.study")
    assert study["quarantine"]


def test_a_full_archive_says_out_of_resources_and_takes_again_when_there_is_room(start: Start) -> None:
    full = start(min_free_bytes=1 << 60)
    with full.associated((CT, EXPLICIT)) as association:
        assert association.send_c_store(data_set()).Status == 0xA700
        assert association.send_c_store(data_set(instance=2)).Status == 0xA700
    assert full.instances() == []
    room = start(max_archive_bytes=8000)
    with room.associated((CT, EXPLICIT)) as association:
        assert association.send_c_store(data_set(size=128)).Status == 0xA700
        assert association.send_c_store(data_set(instance=2)).Status == 0
    assert room.instances() == [uid(1, 1, 2)]


def test_a_disk_that_fills_in_the_middle_of_an_instance_takes_the_next_that_fits(
    database: Database, small_disk: Path
) -> None:
    with listening(database, small_disk) as dicom:
        with dicom.associated((CT, EXPLICIT)) as association:
            sizes = (8, 1000, 1500, 8, 1200, 8)
            sent = [association.send_c_store(data_set(instance=n, size=s)).Status for n, s in enumerate(sizes, 1)]
        assert sent == [0, 0, 0xA700, 0, 0xA700, 0]
        assert dicom.instances() == [uid(1, 1, n) for n in (1, 2, 4, 6)]
        assert len(list((small_disk / "objects").rglob("*.dcm"))) == 4
        assert dicom.stored(uid(1, 1, 2)).endswith(data_set(instance=2, size=1000).PixelData)


@pytest.mark.parametrize("limit", [20_000, 300_000])
def test_an_instance_over_the_limit_is_refused_and_the_next_is_taken(start: Start, limit: int) -> None:
    dicom = start(max_instance_bytes=limit)
    with dicom.associated((CT, EXPLICIT)) as association:
        assert association.send_c_store(data_set(size=512)).Status == 0xA700
        assert association.send_c_store(data_set(instance=2)).Status == 0
    assert dicom.instances() == [uid(1, 1, 2)]


def test_every_storage_class_of_the_oracle_is_taken_and_nothing_else() -> None:
    import pynetdicom.sop_class as known

    classes = [
        value for name, value in vars(known).items() if not name.startswith("_") and hasattr(value, "service_class")
    ]
    storage = {str(one) for one in classes if uid_to_service_class(one).__name__ == "StorageServiceClass"}
    others = {str(one) for one in classes} - storage
    assert len(storage) > 150
    assert {one for one in storage if not is_standard_storage(one)} == set()
    assert {one for one in others if is_standard_storage(one)} == set()


def test_private_classes_and_those_to_come_are_taken_unless_a_setting_says_no(start: Start) -> None:
    private, unknown, no_storage = "1.2.826.0.1.3680043.9.1", "1.2.840.10008.5.1.4.1.1.999", "1.2.840.10008.5.1.1.9"
    contexts = [(one, [EXPLICIT]) for one in (private, unknown, no_storage)]
    for taken, settings in ({private, unknown}, {}), ({unknown}, {"dicom_private_classes": False}):
        with start(**settings).associated(*contexts, (VERIFICATION, IMPLICIT)) as association:
            accepted = {str(one.abstract_syntax) for one in association.accepted_contexts}
        assert accepted == taken | {VERIFICATION}
    assert association.rejected_contexts


def test_of_several_syntaxes_the_first_is_chosen_but_explicit_before_implicit(dicom: Dicom) -> None:
    jpeg = "1.2.840.10008.1.2.4.70"
    for proposed, chosen in (
        ([jpeg, EXPLICIT], jpeg), ([IMPLICIT, EXPLICIT], EXPLICIT), ([IMPLICIT], IMPLICIT), (["1.2.3", jpeg], jpeg),
    ):  # fmt: skip
        with dicom.associated((CT, proposed)) as association:
            (context,) = association.accepted_contexts
            assert context.transfer_syntax == [chosen]
    with dicom.associated((CT, ["1.2.3"])) as association:
        assert not association.accepted_contexts


def test_a_file_set_of_small_pdus_and_a_large_instance_arrive_whole(dicom: Dicom, tmp_path: Path) -> None:
    (tmp_path / "large.dcm").write_bytes(ct(size=2048))
    dcmtk("storescu", dicom.port, "--max-pdu", "4096", "--max-send-pdu", "4096", tmp_path / "large.dcm")
    assert len(dicom.stored(uid(1, 1, 1))) > 8 << 20
