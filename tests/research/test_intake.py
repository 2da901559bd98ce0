"""A source with an intake profile stores only what was de-identified, whichever way it came."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from hilum.core.errors import Conflict, Invalid
from hilum.core.plugins import PLUGS, plugged
from hilum.imaging.archive.patients import Chosen
from hilum.imaging.archive.sidecar import read_records, record_changes
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.bundle import import_bundle
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from hilum.research.deid.pixel_text import detector
from tests.make import ct
from tests.research.deid.burned import burned, clean, frames_of, written

SECRETS = (b"MRN-00042", b"Nightingale", b"ACC-77-3141", b"1.2.826.0.1.777", b"St. Nowhere", b"19610203")


def original(number: int = 1, **also: object) -> bytes:
    """A CT slice with a patient's name, ids, dates and places in it."""
    given: dict[str, object] = {
        "PatientID": "MRN-00042", "PatientName": "Nightingale^Florence", "AccessionNumber": "ACC-77-3141",
        "PatientBirthDate": "19610203", "StudyDate": "20240105", "InstitutionName": "St. Nowhere",
        "StudyInstanceUID": "1.2.826.0.1.777.1", "SeriesInstanceUID": "1.2.826.0.1.777.2",
        "SOPInstanceUID": f"1.2.826.0.1.777.3.{number}", "InstanceNumber": number,
        "StudyDescription": "CT chest for Nightingale", **also,
    }  # fmt: skip
    return ct(**given)


def kept(archive: Archive) -> list[bytes]:
    """Every object that is stored."""
    return [b"".join(archive.blobs.stream(key)) for key, _ in archive.blobs.list("")]


def all_text(archive: Archive) -> bytes:
    """Every row of the catalogue, and of the jobs."""
    names = ("source", "patient", "study", "study_json", "series", "instance", "set_aside", "bundle_file", "event",
        "job", "physician", "facility", "person_shift")  # fmt: skip
    with archive.database.connect() as connection:
        return b"\n".join(
            str(connection.exec_driver_sql(f"select to_jsonb(x)::text from hilum.{name} x").scalars().all()).encode()
            for name in names
        )


def assert_nothing_left(archive: Archive) -> None:
    for data in [*kept(archive), all_text(archive), *(p.read_bytes() for p in _files(archive) if p.is_file())]:
        assert not any(secret in data for secret in SECRETS)


def _files(archive: Archive) -> list[Path]:
    return list(archive.settings.data_path.rglob("*")) if archive.settings.data_path.exists() else []


@pytest.fixture
def quiet(archive: Archive) -> Archive:
    """An archive whose source ``quiet`` de-identifies."""
    add_source(archive.database, "quiet", "Quiet", intake_profile="research")
    return archive


def test_only_the_deidentified_file_is_stored(quiet: Archive) -> None:
    with quiet.batch(quiet.source("quiet"), "stow") as batch:
        for number in (1, 2):
            batch.add(str(number), [original(number)])
        outcomes = batch.commit().outcomes
    assert [outcome.state for outcome in outcomes] == ["added", "added"]
    stored = [pydicom.dcmread(io.BytesIO(data)) for data in kept(quiet) if data[128:132] == b"DICM"]
    assert len(stored) == 2
    assert {ds.PatientIdentityRemoved for ds in stored} == {"YES"}
    assert len({ds.StudyInstanceUID for ds in stored}) == 1
    assert {ds.StudyDescription for ds in stored} == {"CT chest for"}
    with quiet.database.connect() as connection:
        row = connection.exec_driver_sql("select patient_id, study_date, num_instances from hilum.study").one()
        days = connection.exec_driver_sql("select days from hilum.person_shift").scalar_one()
    import datetime as dt

    assert row.patient_id == stored[0].PatientID
    assert row.study_date == dt.date(2024, 1, 5) + dt.timedelta(days)
    assert row.num_instances == 2
    assert_nothing_left(quiet)


def test_what_cannot_be_deidentified_leaves_no_trace(quiet: Archive) -> None:
    page = np.zeros((300, 380), np.uint8)
    page[written(page.shape, [(25 * row, 2, "Nightingale Florence") for row in range(12)], 25)] = 255
    secondary = original(
        3, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Rows=300, Columns=380, BitsAllocated=8, BitsStored=8, HighBit=7,
        PixelRepresentation=0, PixelData=page.tobytes(),
    )  # fmt: skip
    with quiet.batch(quiet.source("quiet"), "stow") as batch:
        batch.add("ok", [original(1)])
        batch.add("page", [secondary])
        batch.add("broken", [original(4)[:400]])
        outcomes = {outcome.name: outcome for outcome in batch.commit().outcomes}
    assert outcomes["ok"].state == "added"
    assert (outcomes["page"].state, outcomes["page"].code) == ("set_aside", "pixels_unsure")
    assert outcomes["broken"].state == "set_aside"
    assert_nothing_left(quiet)


def test_what_is_written_into_pixels_is_not_stored(quiet: Archive) -> None:
    chosen = [one for one in (*burned(), *clean()) if one.name in ("CR 14", "US RGB pil 12", "wrist", "sector 0")]
    with quiet.batch(quiet.source("quiet"), "dimse") as batch:
        for one in chosen:
            batch.add(one.name, [one.data])
        assert {outcome.state for outcome in batch.commit().outcomes} == {"added"}
    files = [data for data in kept(quiet) if data[128:132] == b"DICM"]
    stored = {int(pydicom.dcmread(io.BytesIO(data)).InstanceNumber): data for data in files}
    for one in chosen:
        before = frames_of(one.data)
        after = frames_of(stored[int(pydicom.dcmread(io.BytesIO(one.data)).InstanceNumber)])
        if one.ink.any():
            assert np.ptp(after[0][one.ink], axis=0).max() == 0, one.name
        else:
            assert np.array_equal(before, after), one.name


def test_without_the_networks_images_do_not_come_in(quiet: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "_NEEDED", ("onnxruntime", "no_such_package"))
    detector.missing.cache_clear()
    try:
        with quiet.batch(quiet.source("quiet"), "stow") as batch:
            batch.add("1", [original(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")])
            (outcome,) = batch.commit().outcomes
    finally:
        detector.missing.cache_clear()
    assert outcome.code == "pixels_unseen"
    assert "no_such_package is not installed: pip install 'hilum[pixels]'" in outcome.reason
    assert_nothing_left(quiet)


def test_a_zip_with_a_letter_beside_the_images_keeps_only_the_images(quiet: Archive) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        bundle.writestr("a/1", original(1))
        bundle.writestr("a/letter.txt", b"Dear Ms Nightingale, MRN-00042")
    from hilum.core.progress import job_here

    packed.seek(0)
    with job_here(quiet.database, "import", "", "quiet", lambda *_: None) as progress:
        import_bundle(
            quiet, Manner(quiet.source("quiet"), False, "upload", None, None), "b.zip", packed, Tally(progress)
        )
    assert sum(data[128:132] == b"DICM" for data in kept(quiet)) == 1
    assert_nothing_left(quiet)


def test_what_would_go_around_it_is_refused(quiet: Archive, tmp_path: Path) -> None:
    source = quiet.source("quiet")
    with pytest.raises(Conflict, match="de-identifies"), quiet.batch(source, "upload", Chosen("MRN-00042")):
        pass
    path = tmp_path / "1.dcm"
    path.write_bytes(original())
    with pytest.raises(Conflict, match="de-identifies"), quiet.batch(source, "import") as batch:
        batch.index("1", str(path))
    with quiet.batch(quiet.source(), "import") as batch:  # another source is as ever
        batch.add("1", [original()])
        assert batch.commit().outcomes[0].state == "added"


def test_the_profile_chorus_lets_nobody_in_whom_no_map_names(quiet: Archive) -> None:
    add_source(quiet.database, "quiet", "Quiet", intake_profile="chorus")
    source = quiet.source("quiet")
    with quiet.batch(source, "stow") as batch:
        batch.add("1", [original()])
        assert [(one.state, one.code) for one in batch.commit().outcomes] == [("set_aside", "no_person")]
    with quiet.database.transaction() as sql:
        sql.rows(
            "insert into hilum.person_map (source_id, patient_id, person_id, days_shifted) values (%s, %s, 1001, -40)",
            (source.id, "MRN-00042"),
        )
    with quiet.batch(source, "stow") as batch:
        batch.add("1", [original()])
        assert batch.commit().outcomes[0].state == "added"
    with quiet.database.connect() as connection:
        row = connection.exec_driver_sql("select patient_id, study_date::text from hilum.study").one()
    assert tuple(row) == ("1001", "2023-11-26")


def test_a_process_without_the_plug_takes_nothing(quiet: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLUGS, "intake", "hilum.research.absent:open_intake")
    plugged.cache_clear()
    try:
        with quiet.batch(quiet.source("quiet"), "stow") as batch, pytest.raises(ModuleNotFoundError):
            batch.add("1", [original()])
        assert kept(quiet) == []
    finally:
        plugged.cache_clear()


def test_the_profile_is_recorded_beside_the_objects(quiet: Archive) -> None:
    record_changes(quiet.database, quiet.blobs, quiet_seconds=0)
    (record,) = [record for _, record in read_records(quiet.blobs, "quiet")]
    assert record["intake_profile"] == "research"


def test_profiles_are_known_when_a_source_is_added() -> None:
    from hilum.core.config import Settings
    from hilum.research.datasets.definition import profile_named

    with pytest.raises(Invalid, match="no profile"):
        profile_named("unheard-of", Settings())
