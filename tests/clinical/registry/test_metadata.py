"""Studies and series can be queried without loading DICOM: the tables say what the files say."""

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet
import pydicom
import pytest
from pydicom.dataset import Dataset

from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.metadata.tables import Format, write_table
from hilum.core.database import Database
from hilum.core.errors import Invalid, NotFound
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from tests.clinical.cdm.conftest import Site
from tests.conftest import fresh_database, serving
from tests.make import ct, uid

# The SOP's fields, by DICOM keyword.
STUDY = """AccessionNumber StudyDescription StudyInstanceUID Modality StudyDate Manufacturer ManufacturerModelName
    StudyTime MagneticFieldStrength BodyPartExamined Radiopharmaceutical ContrastBolusAgent
    ContrastBolusRoute""".split()  # noqa: SIM905
SERIES = """SeriesDescription SeriesInstanceUID SliceThickness ViewPosition ImageLaterality ImagesInAcquisition
    TransducerType TransducerFrequency SeriesNumber""".split()  # noqa: SIM905
SAID = {
    "Manufacturer": "ACME", "ManufacturerModelName": "Scan, 64", "StudyDate": "20240131", "StudyTime": "101112.5",
    "MagneticFieldStrength": "1.5", "Radiopharmaceutical": "FDG", "ContrastBolusAgent": "Iohexol",
    "ContrastBolusRoute": "IV", "ViewPosition": "AP", "ImageLaterality": "L", "ImagesInAcquisition": 7,
    "TransducerType": "LINEAR", "TransducerFrequency": 5_000_000, "SeriesDate": "20240130", "SeriesTime": "090000",
}  # fmt: skip


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def table(archive: Archive, name: Any, form: Format = "parquet", source: str = "default") -> Any:
    file = io.BytesIO()
    count = write_table(archive, source, name, form, file)
    file.seek(0)
    if form == "csv":
        rows = list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")))
        assert len(rows) == count
        return rows
    found = pa.parquet.read_table(file)
    assert found.num_rows == count
    return found


def values(data: bytes) -> dict[str, Any]:
    """What pydicom reads of a file, as the tables have it."""
    ds = pydicom.dcmread(io.BytesIO(data))
    found: dict[str, Any] = {}
    for keyword in (*STUDY, *SERIES):
        value = ds.get(keyword)
        element = ds.data_element(keyword) if keyword in ds else None
        if element is None or value in (None, ""):
            found[keyword] = None
        elif element.VR == "DA":
            found[keyword] = dt.datetime.strptime(value, "%Y%m%d").date()  # noqa: DTZ007
        elif element.VR == "TM":
            found[keyword] = dt.datetime.strptime(f"{value}.0"[:8], "%H%M%S.%f").time()  # noqa: DTZ007
        elif element.VR == "DS":
            found[keyword] = float(value)
        elif element.VR == "IS":
            found[keyword] = int(value)
        else:
            found[keyword] = str(value)
    return found


def test_the_fields_of_the_sop_are_what_the_files_say(site: Site) -> None:
    site.person(1, "P1")
    full = ct(1, 1, 1, **SAID, ProcedureCodeSequence=[
        code("24627-2", "LN", "CT Chest"), code("RPID16", "RADLEX", "CT CHEST WO"),
    ])  # fmt: skip
    bare = ct(2, 1, 1, StudyDescription=None, BodyPartExamined="", AccessionNumber="")
    site.store(full, bare)
    studies, series = table(site.archive, "studies"), table(site.archive, "series")
    assert [name for name in STUDY if name not in studies.column_names] == []
    assert [name for name in SERIES if name not in series.column_names] == []
    assert studies.schema.field("StudyDate").type == pa.date32()
    for number, data in enumerate((full, bare)):
        wanted = values(data)
        assert {name: studies.to_pylist()[number][name] for name in STUDY} == {name: wanted[name] for name in STUDY}
        assert {name: series.to_pylist()[number][name] for name in SERIES} == {name: wanted[name] for name in SERIES}
    first, second = studies.to_pylist()
    assert (first["LoincCode"], first["PlaybookCode"]) == ("24627-2", "RPID16")
    assert first["ProcedureCodeSequence.CodeMeaning"] == "CT Chest"
    assert (second["LoincCode"], second["PlaybookCode"], second["person_id"]) == (None, None, None)
    assert first["person_id"] == 1
    assert first["procedure_occurrence_id"] == site.one("select procedure_occurrence_id from omop.procedure_occurrence")
    occurrence = site.one("select image_occurrence_id from omop_imaging.image_occurrence")
    assert [row["image_occurrence_id"] for row in series.to_pylist()] == [occurrence, None]
    assert "PatientID" not in studies.column_names + series.column_names


def test_codes_are_read_once_and_of_the_series_that_has_them(site: Site) -> None:
    coded = [code("X1", "99LOCAL", "Local"), code("30746-2", "ln", "Portable XR Chest")]
    request = Dataset()
    request.RequestedProcedureCodeSequence = [code("RPID2502", "RPID", "XR CHEST"), code("", "LN", "No value")]
    site.store(
        ct(1, 1, 1, Modality="KO"), ct(1, 2, 1, ProcedureCodeSequence=coded), ct(2, 1, 1),
        ct(3, 1, 1, RequestAttributesSequence=[request]),
    )  # fmt: skip
    names = ("LoincCode", "PlaybookCode", "ProcedureCodeSequence.CodeValue",
             "ProcedureCodeSequence.CodingSchemeDesignator", "ProcedureCodeSequence.CodeMeaning")  # fmt: skip
    wanted = [
        ("30746-2", None, "X1", "99LOCAL", "Local"),
        (None, None, None, None, None),
        (None, "RPID2502", "RPID2502", "RPID", "XR CHEST"),
    ]
    for _ in range(2):  # the second time there is no file to be opened
        rows = table(site.archive, "studies").to_pylist()
        assert [tuple(row[name] for name in names) for row in rows] == wanted
        site.archive.blobs.delete([key for key, _ in site.archive.blobs.list() if key.endswith(".dcm")])


def test_csv_says_the_same_as_parquet(site: Site) -> None:
    site.store(
        ct(1, 1, 1, **SAID | {"StudyDescription": 'a "b", c\u00e9', "SpecificCharacterSet": "ISO_IR 192"}), ct(2, 1, 1)
    )
    for name in ("studies", "series"):
        typed = table(site.archive, name)
        rows = table(site.archive, name, "csv")
        assert list(rows[0]) == typed.column_names
        for row, wanted in zip(rows, typed.to_pylist(), strict=True):
            for column, value in wanted.items():
                if isinstance(value, float):
                    assert float(row[column]) == value
                elif isinstance(value, dt.time):
                    assert dt.time.fromisoformat(row[column]) == value
                else:
                    assert row[column] == ("" if value is None else str(value))


def test_a_setting_adds_tags_of_either_level(site: Site) -> None:
    ds = pydicom.dcmread(io.BytesIO(ct(1, 1, 1, PatientComments="calm", KVP="120")))
    request, inner = Dataset(), Dataset()
    inner.CodeValue = "X1"
    request.RequestedProcedureID, request.RequestedProcedureCodeSequence = "RP1", [inner]
    ds.RequestAttributesSequence = [request]
    ds.private_block(0x0009, "ACME 1", create=True).add_new(0x02, "DS", ["1.5", "2"])
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds)
    site.store(buffer.getvalue(), ct(2, 1, 1))
    names = ("PatientComments", "series:KVP", "RequestAttributesSequence.RequestedProcedureID", "0009xx02(ACME 1)",
             "study:RequestAttributesSequence.RequestedProcedureCodeSequence.CodeValue", "StudyDate")  # fmt: skip
    settings = site.archive.settings.model_copy(update={"metadata_tags": list(names)})
    archive = Archive(site.archive.database, site.archive.blobs, settings)
    study, bare = table(archive, "studies").to_pylist()
    assert study["PatientComments"] == "calm"
    assert study["RequestAttributesSequence.RequestedProcedureCodeSequence.CodeValue"] == "X1"
    assert bare["PatientComments"] is None
    (series, _) = table(archive, "series").to_pylist()
    assert (series["KVP"], series["RequestAttributesSequence.RequestedProcedureID"]) == ("120", "RP1")
    assert series["0009xx02(ACME 1)"] == "1.5\\2"
    wrong = Archive(
        site.archive.database, site.archive.blobs, settings.model_copy(update={"metadata_tags": ["NoSuchThing"]})
    )
    with pytest.raises(Invalid, match="HILUM_METADATA_TAGS"):
        table(wrong, "series")
    with pytest.raises(NotFound):
        table(archive, "studies", source="nowhere")


def test_the_tables_are_served(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    with fresh_database(cluster) as url, serving(tmp_path / "data", url, study_quiet_seconds=0) as server:
        path = "/api/v1/imaging"
        assert server.get(f"{path}/registry.csv").status_code == 409
        assert server.get(f"{path}/registry.csv?source=nowhere").status_code == 404
        upload = tmp_path / "upload"
        place = upload / "7" / "Images" / "CT" / "A1" / uid(1, 1) / "001.dcm"
        place.parent.mkdir(parents=True)
        place.write_bytes(ct(1, 1, 1, PatientID="7"))
        (upload / "OMOP").mkdir()
        columns = "person_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id"
        (upload / "OMOP" / "person.csv").write_text(f"{columns}\n7,8532,1970,0,0\n")
        words = ("import", "--layout", "chorus", str(upload))
        assert server.hilum(*words, check=False).returncode == 1
        database = Database(url, pool_size=1)
        create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
        database.close()
        taken = server.hilum(*words, "--report", str(tmp_path / "report.json"))
        assert "OMOP person: 1 rows added" in taken.stdout
        answer = server.get(f"{path}/registry.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        (row,) = csv.DictReader(io.StringIO(answer.text))
        assert (row["person_id"], row["file_id"]) == ("7", uid(1, 1, 1))
        assert Path(row["trg_file"]).read_bytes() == place.read_bytes()
        for name in ("studies", "series"):
            parquet = server.get(f"{path}/metadata/{name}.parquet")
            (told,) = pa.parquet.read_table(io.BytesIO(parquet.content)).to_pylist()
            assert told["person_id"] == 7
            (line,) = csv.DictReader(io.StringIO(server.get(f"{path}/metadata/{name}.csv").text))
            assert line["StudyInstanceUID"] == uid(1)
        assert server.get(f"{path}/metadata/patients.csv").status_code == 422
        assert server.get(f"{path}/metadata/series.xlsx").status_code == 422
        assert server.get(f"{path}/metadata/series.csv?limit=1").status_code == 422
        assert server.hilum(*words, "--patient-id", "x", check=False).returncode == 2
        assert httpx.get(f"{server.url}/openapi.json").json()["paths"][f"{path}/registry.csv"]
