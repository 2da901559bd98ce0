"""Concepts that are added beside Athena's: attributes of DICOM and units find theirs, and a file that is none leaves
the vocabulary as it was."""

from pathlib import Path

import pytest

from hilum.clinical.cdm.additions import add_vocabulary
from hilum.clinical.features.extract import Choice, extract_all
from hilum.core.config import Settings
from hilum.core.errors import Conflict, Invalid
from hilum.core.progress import Progress
from tests.clinical.features.conftest import Hospital
from tests.make import ct

# As DICOM2OMOP writes them.
CONCEPTS = """concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code,valid_start_date,valid_end_date,invalid_reason
2128000818,KVP,Measurement,DICOM,DICOM Attributes,,00180060,19930101,20991231,
2128000817,Slice Thickness,Measurement,DICOM,DICOM Attributes,,00180050,19930101,20991231,
2128009434,"Chest, Abdomen and Pelvis",Measurement,DICOM,DICOM Value Sets,,CHESTABDPELVIS,19930101,20991231,
"""  # noqa: E501
RELATIONS = "concept_id_1,concept_id_2,relationship_id\n2128000817,77,Maps to\n2128000817,77,Maps to\n"
UNIT = (
    "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\n"
    'foo\t"kilo"volt\tUnit\tUCUM\tUnit\tS\tkV\n'
).replace("foo", "2000100001")
ADDED = (2128000818, 2128000817, 2128009434, 2000100001)


@pytest.fixture(autouse=True)
def without_them(site: Hospital) -> None:
    """The vocabulary is that of many tests."""
    site.rows("delete from omop_vocabulary.concept where concept_id = any(%s)", list(ADDED))
    site.rows("delete from omop_vocabulary.concept_relationship where concept_id_1 = any(%s)", list(ADDED))


def add(site: Hospital, folder: Path, *texts: str) -> dict[str, int]:
    paths = [folder / f"{number}.csv" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return add_vocabulary(site.archive.database, "default", paths, lambda *_: None)


def test_attributes_and_units_find_their_concepts(site: Hospital, tmp_path: Path) -> None:
    site.person(1)
    site.store(ct(1, 1, 1, KVP="120"))
    told = (
        "select m.value_as_number::float, m.measurement_concept_id, m.unit_concept_id "
        "from omop_imaging.image_feature f join omop.measurement m on m.measurement_id = f.table_row_id "
        "where m.measurement_source_value in ('KVP', 'Slice Thickness') or m.unit_source_value in ('kV', 'mm') "
        "order by m.value_as_number desc"
    )
    assert (120.0, 0, 0) in [tuple(row.values()) for row in site.rows(told)]
    counts = add(site, tmp_path, CONCEPTS, UNIT, RELATIONS)
    assert counts == {"concept": 4, "concept_relationship": 1}
    assert add(site, tmp_path, CONCEPTS, UNIT, RELATIONS) == {"concept": 0, "concept_relationship": 0}
    assert site.one("select concept_name from omop_vocabulary.concept where concept_id = 2000100001") == '"kilo"volt'
    choice = Choice.of(Settings(feature_extractors=list(site.extractors)))  # pyright: ignore
    extract_all(site.archive, "default", choice, Progress(site.archive.database, 0))
    rows = [tuple(row.values()) for row in site.rows(told)]
    assert (120.0, 2128000818, 2000100001) in rows
    thickness = [row for row in rows if row[1] == 77]
    assert [row[2] for row in thickness] == [8588], "its standard concept, and the unit that ships"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns of neither"), ("concept_id,concept_name,concept_code\n1,a,b\n", "lacks domain_id"),
        (CONCEPTS.replace("invalid_reason", "colour"), "has colour"), (CONCEPTS + "x,y\n", "line 4"),
        (CONCEPTS + CONCEPTS.splitlines()[1] + "\n", "1 lines have no id"),
        (CONCEPTS.replace("KVP", "\udcff"), "line 1"),
        (CONCEPTS.replace(",KVP,", ",,"), "lacks concept_name"), ("\udcff\n", "no header in UTF-8"),
        (RELATIONS.replace("77", "x"), "line 1"), ("x" * 100_000, "columns of neither"),
        (CONCEPTS.replace("2128000818", "8588"), "other vocabularies"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_changes_nothing(site: Hospital, tmp_path: Path, text: str, said: str) -> None:
    count = "select (select count(*) from omop_vocabulary.concept), (select count(*) from omop_vocabulary.vocabulary)"
    before = site.rows(count)
    with pytest.raises((Invalid, Conflict), match=said):
        add(site, tmp_path, text)
    with pytest.raises(Invalid, match="There is no file"):
        add_vocabulary(site.archive.database, "default", [tmp_path / "nowhere.csv"], lambda *_: None)
    assert site.rows(count) == before
