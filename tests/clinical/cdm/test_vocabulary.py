"""Athena's files are loaded whole or not at all, and what Hilum's own concepts lack in them is told."""

from pathlib import Path
from typing import Any

import pytest

from hilum.clinical.cdm.concepts import missing_concepts, modality_concepts, resolved, seeds
from hilum.clinical.cdm.vocabulary import load_vocabulary, vocabulary_told
from hilum.core.errors import Conflict, Invalid
from tests.clinical.cdm.conftest import Site

CONCEPT = (
    "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\t"
    "valid_start_date\tvalid_end_date\tinvalid_reason\n"
)
MAMMOGRAPHY = '77\t"Mammography" of 5\' breast\tProcedure\tSNOMED\tProcedure\tS\t71651007\t19700101\t20991231\t\n'
CT = "4300757\tComputed tomography\tProcedure\tSNOMED\tProcedure\tS\t77477000\t19700101\t20991231\t\n"
VOCABULARY = "vocabulary_id\tvocabulary_name\tvocabulary_reference\tvocabulary_version\tvocabulary_concept_id\n"
SNOMED = "SNOMED\tSystematic Nomenclature\thttp://snomed\tv1\t0\n"
ANCESTOR = "ancestor_concept_id\tdescendant_concept_id\tmin_levels_of_separation\tmax_levels_of_separation\n"


def write(folder: Path, concept: str = CONCEPT + MAMMOGRAPHY + CT, **more: str) -> Path:
    folder.mkdir(exist_ok=True)
    files = {"CONCEPT": concept, "VOCABULARY": VOCABULARY + SNOMED} | more
    for name, text in files.items():
        (folder / f"{name}.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    return folder


def load(site: Site, folder: Path) -> dict[str, int | None]:
    return load_vocabulary(site.archive.database, "default", folder, lambda *_: None)


def test_athenas_files_take_the_place_of_the_seed(site: Site, tmp_path: Path) -> None:
    folder = write(tmp_path / "athena", CONCEPT_ANCESTOR=ANCESTOR + "4300757\t77\t1\t1\n")
    seen: list[Any] = []
    counts = load_vocabulary(site.archive.database, "default", folder, lambda *told: seen.append(told))
    assert counts == {"vocabulary": 1, "concept": 2, "concept_ancestor": 1}
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert seen[-1] == (total, total, "concept_ancestor")
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    name = site.one("select concept_name from omop_vocabulary.concept where concept_id = 77")
    assert name == '"Mammography" of 5\' breast'
    assert site.one("select count(*) from omop_vocabulary.concept") == 1 + len(seeds())
    assert site.one("select concept_code from omop_vocabulary.concept where concept_id = 4300757") == "77477000"
    assert load(site, folder) == {"vocabulary": None, "concept": None, "concept_ancestor": None}


def test_a_vocabulary_is_told_with_its_version_and_what_it_lacks(site: Site) -> None:
    database = site.archive.database
    site.rows("delete from omop_vocabulary.vocabulary")
    site.rows("insert into omop_vocabulary.vocabulary values ('None', 'OMOP', 'OMOP', 'v5.0 27-AUG-25', 0)")
    site.rows("update omop_vocabulary.concept set concept_id = 4300758 where concept_id = 4300757")
    count = site.one("select count(*) from omop_vocabulary.concept")
    assert vocabulary_told(database, "default") == (
        f"v5.0 27-AUG-25, {count} concepts in omop_vocabulary; 1 of Hilum's are missing "
        "(hilum cdm vocabulary names them)"
    )
    site.rows("update omop_vocabulary.concept set concept_id = 4300757 where concept_id = 4300758")
    site.rows("alter schema omop_vocabulary rename to elsewhere")
    with pytest.raises(Conflict, match=r"omop_vocabulary\.concept is missing"):
        vocabulary_told(database, "default")
    site.rows("alter schema elsewhere rename to omop_vocabulary")


def test_a_load_that_was_stopped_goes_on_with_the_next_table(site: Site, tmp_path: Path) -> None:
    folder = write(tmp_path / "athena", CONCEPT_ANCESTOR=ANCESTOR + "1\tx\t1\t1\n")
    before = site.rows("select * from omop_vocabulary.concept_ancestor")
    with pytest.raises(Invalid, match=r"CONCEPT_ANCESTOR.csv cannot be loaded: line 1"):
        load(site, folder)
    assert site.rows("select * from omop_vocabulary.concept_ancestor") == before
    write(folder, CONCEPT_ANCESTOR=ANCESTOR + "1\t2\t1\t1\n")
    assert load(site, folder) == {"vocabulary": None, "concept": None, "concept_ancestor": 1}


@pytest.mark.parametrize(
    "concept",
    [
        "", "concept_id,concept_name\n", CONCEPT.replace("concept_code\t", ""), CONCEPT.replace("\n", "\tmore\n"),
        CONCEPT + "1\tx\n", CONCEPT + CT.replace("77477000", "a\0b"), CONCEPT + CT.replace("Computed", "\udcff"),
        CONCEPT + CT + CT, CONCEPT + CT.replace("S\t77477000", "S\t" + "7" * 51), "x" * 100_000,
    ],
)  # fmt: skip
def test_hostile_files_leave_the_vocabulary_as_it_was(site: Site, tmp_path: Path, concept: str) -> None:
    before = site.one("select count(*) from omop_vocabulary.concept")
    with pytest.raises(Invalid, match=r"CONCEPT.csv"):
        load(site, write(tmp_path / "athena", concept))
    assert site.one("select count(*) from omop_vocabulary.concept") == before


def test_a_folder_without_the_files_and_an_attached_cdm_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"lacks CONCEPT.csv, VOCABULARY.csv"):
        load(site, tmp_path)
    site.rows("update hilum.source set cdm_attached = true")
    try:
        with pytest.raises(Conflict, match="attached"):
            load(site, write(tmp_path / "athena"))
    finally:
        site.rows("update hilum.source set cdm_attached = false")


def test_concepts_are_resolved_by_code_and_the_missing_told(site: Site) -> None:
    database = site.archive.database
    with database.transaction() as sql:
        assert missing_concepts(sql, site.cdm) == []
        sql.rows("delete from omop_vocabulary.concept where concept_id in (77, 4324693, 4013636)")
        sql.rows(
            "insert into omop_vocabulary.concept values (77, 'M', 'Procedure', 'SNOMED', 'Procedure', 'S', '71651007', "
            "'1970-01-01', '2099-12-31', null)"
        )
        assert resolved(sql, site.cdm) == {4324693: 77}
        assert modality_concepts(sql, site.cdm)["MG"] == 77
        assert [seed.concept_id for seed in missing_concepts(sql, site.cdm)] == [4013636]
        sql.connection.rollback()


def test_every_concept_of_the_data_files_has_one_meaning() -> None:
    ids = [seed.concept_id for seed in seeds()]
    assert len(ids) == len(set(ids))
