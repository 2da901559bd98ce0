"""C-FIND: the same answers as QIDO-RS, in both models and at all levels."""

import json
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb import qido
from hilum.imaging.dicomweb.attributes import Level, vocabulary
from hilum.imaging.dicomweb.searching import parse_search
from tests.dimse.conftest import EXPLICIT, IMPLICIT, Dicom, dcmtk
from tests.make import ct, uid

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"


def fill(archive: Archive, *instances: bytes) -> None:
    with archive.batch(archive.source(), "stow") as batch:
        for number, data in enumerate(instances):
            batch.add(str(number), [data])
        batch.commit()


@pytest.fixture
def filled(dicom: Dicom) -> Dicom:
    """Three patients, four studies, of which one has two series."""
    fill(
        dicom.archive,
        *(ct(1, 1, n) for n in (1, 2, 3)),
        ct(1, 2, 1, Modality="MR", SeriesDescription="T1"),
        ct(2, StudyDate="20240201", StudyTime="080000", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192"),
        ct(3, StudyDate="20240301", PatientID="P1", PatientName="Doe^Jane1", StudyDescription="Follow up"),
        ct(4, StudyDate="20230101", PatientName="Doe^John", AccessionNumber="XYZ"),
    )
    return dicom


def query(level: str, **keys: object) -> Dataset:
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(found, keyword, value)
    return found


def find(
    dicom: Dicom, wanted: Dataset, model: str = STUDY_ROOT, syntax: str = EXPLICIT
) -> tuple[list[Dataset], list[int]]:
    with dicom.associated((model, syntax)) as association:
        answers = list(association.send_c_find(wanted, model))
    return [data for _, data in answers if data is not None], [status.Status for status, _ in answers]


def web(dicom: Dicom, level: Level, **keys: str) -> list[dict[str, object]]:
    wanted = parse_search(level, list(keys.items()), vocabulary(dicom.archive.choice))
    with dicom.archive.database.connect() as connection:
        return [json.loads(one) for one in qido.search(connection, "default", wanted, "").objects]


MATCHES = {
    "universal": {},
    "one": {"PatientID": "P2"},
    "wildcard": {"PatientName": "doe*"},
    "question mark": {"PatientID": "P?"},
    "range": {"StudyDate": "20240101-20240215"},
    "moments": {"StudyDate": "20240131-20240201", "StudyTime": "090000-090000"},
    "text": {"StudyDescription": "*follow*"},
    "accession": {"AccessionNumber": "XYZ"},
    "list": {"StudyInstanceUID": f"{uid(1)}\\{uid(4)}"},
    "modalities": {"ModalitiesInStudy": "MR"},
    "umlaut": {"PatientName": "Müller*"},
    "none": {"PatientID": "nobody"},
}


def test_studies_are_those_of_qido_for_every_kind_of_matching(filled: Dicom) -> None:
    shown = ("PatientName", "PatientID", "StudyDate", "StudyTime", "NumberOfStudyRelatedInstances", "ModalitiesInStudy")
    for name, keys in MATCHES.items():
        for model in (STUDY_ROOT, PATIENT_ROOT):
            for syntax in (EXPLICIT, IMPLICIT):
                wanted = query("STUDY", **dict.fromkeys(("StudyInstanceUID", *shown), None))
                wanted.SpecificCharacterSet = "ISO_IR 192"
                for keyword, value in keys.items():
                    setattr(wanted, keyword, value.split("\\") if "\\" in value else value)
                found, statuses = find(filled, wanted, model, syntax)
                assert statuses == [0xFF00] * len(found) + [0], name
                expected = web(filled, Level.STUDY, **keys)
                assert [one.StudyInstanceUID for one in found] == [one["0020000D"]["Value"][0] for one in expected], (
                    name
                )
                for one, other in zip(found, expected, strict=True):
                    told = one.to_json_dict()
                    for keyword in shown:
                        tag = f"{one.data_element(keyword).tag:08X}"
                        assert told[tag] == other[tag], (name, keyword)
                    assert one.RetrieveAETitle == "HILUM"


def test_series_and_images_are_those_of_qido(filled: Dicom) -> None:
    for keys in ({"StudyInstanceUID": uid(1)}, {"StudyInstanceUID": uid(1), "Modality": "MR"}, {"Modality": "CT"}):
        found, _ = find(filled, query("SERIES", **{"SeriesInstanceUID": None, "SeriesNumber": None, **keys}))
        expected = web(filled, Level.SERIES, **keys)
        assert [one.SeriesInstanceUID for one in found] == [one["0020000E"]["Value"][0] for one in expected]
    keys = {"StudyInstanceUID": uid(1), "SeriesInstanceUID": uid(1, 1)}
    found, _ = find(filled, query("IMAGE", **{"SOPInstanceUID": None, "InstanceNumber": None, "Rows": None, **keys}))
    assert [(one.SOPInstanceUID, one.InstanceNumber, one.Rows) for one in found] == [
        (uid(1, 1, n), n, 8) for n in (1, 2, 3)
    ]
    assert [one["00080018"]["Value"][0] for one in web(filled, Level.INSTANCE, **keys)] == [
        one.SOPInstanceUID for one in found
    ]


def test_patients_with_what_they_have(filled: Dicom) -> None:
    wanted = query(
        "PATIENT", PatientID=None, PatientName="Doe*", PatientSex=None, NumberOfPatientRelatedStudies=None,
        NumberOfPatientRelatedInstances=None,
    )  # fmt: skip
    found, statuses = find(filled, wanted, PATIENT_ROOT)
    assert statuses == [0xFF00, 0xFF00, 0]
    assert [(one.PatientID, one.PatientSex) for one in found] == [("P1", "F"), ("P4", "F")]
    assert [(one.NumberOfPatientRelatedStudies, one.NumberOfPatientRelatedInstances) for one in found] == [
        (2, 5),
        (1, 1),
    ]


def test_what_is_not_kept_is_passed_over_and_said(filled: Dicom) -> None:
    found, statuses = find(filled, query("STUDY", StudyInstanceUID=uid(1), OperatorsName="X*", PatientComments=None))
    assert statuses == [0xFF01, 0]
    assert "OperatorsName" not in found[0]


def test_wrong_questions_get_a_status_and_the_association_goes_on(filled: Dicom) -> None:
    without_level = Dataset()
    without_level.PatientID = "P1"
    with filled.associated((STUDY_ROOT, EXPLICIT)) as association:
        for wrong in (
            query("PATIENT", PatientID="*"), query("NOTHING"), query("STUDY", StudyDate="yesterday"), without_level,
            query("SERIES", StudyInstanceUID="no uid"),
        ):  # fmt: skip
            ((status, _),) = association.send_c_find(wrong, STUDY_ROOT)
            assert status.Status in (0xA900, 0xC000)
        assert len(list(association.send_c_find(query("STUDY", StudyInstanceUID=""), STUDY_ROOT))) == 5


def test_a_cancelled_query_ends_early(dicom: Dicom) -> None:
    fill(dicom.archive, *(ct(n) for n in range(1, 400)))
    with dicom.associated((STUDY_ROOT, EXPLICIT)) as association:
        answers = association.send_c_find(query("STUDY", StudyInstanceUID=""), STUDY_ROOT, msg_id=7)
        next(answers)
        (context,) = association.accepted_contexts
        association.send_c_cancel(7, context.context_id)
        statuses = [status.Status for status, _ in answers]
        assert statuses[-1] in (0xFE00, 0)  # all may have been sent before it came
        assert len(statuses) < 400 or statuses[-1] == 0
        assert association.is_established


def test_dcmtk_finds(filled: Dicom, tmp_path: Path) -> None:
    done = dcmtk(
        "findscu",
        filled.port,
        "-S",
        "-k",
        "QueryRetrieveLevel=STUDY",
        "-k",
        "PatientName=DOE*",
        "-k",
        "StudyInstanceUID",
    )
    assert (done.stdout + done.stderr).count("Find Response") == 3
