"""An attached CDM is read as it is and untouched but for the imaging and the results schema, table by table."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hilum.clinical.cdm.attach import attach_cdm
from hilum.clinical.cdm.cdm import Schemas
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Conflict, Invalid
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from tests.clinical.cdm.conftest import Site
from tests.clinical.cdm.foreign import build, fingerprint, load, synthea
from tests.conftest import administration, fresh_database
from tests.make import ct, uid

SCHEMAS = Schemas("cdm", "vocabulary", "imaging", "results")
IDS = "2000000000-2000999999"
TABLES = ("person", "visit_occurrence", "procedure_occurrence", "concept")
LIKE = ("measurement", "note", "observation", "procedure_occurrence")


@pytest.fixture
def foreign(cluster: EmbeddedPostgres) -> Iterator[tuple[str, psycopg.Connection]]:
    """A database of Hilum's, and a connection to build a CDM with."""
    with fresh_database(cluster) as url, administration(url) as connection:
        yield url, connection


def attached(url: str, tmp_path: Path, schemas: Schemas = SCHEMAS) -> Site:
    database = Database(url, pool_size=4)
    cdm = attach_cdm(database, "default", schemas, IDS)
    archive = Archive(database, LocalBlobs(tmp_path / "objects", 0), Settings(data=tmp_path, min_free_bytes=0))
    return Site(archive, cdm)


def test_synthea_is_linked_and_untouched(foreign: tuple[str, psycopg.Connection], tmp_path: Path) -> None:
    """Studies are made for chest radiographs of the CDM; the oracle asks the CDM in its own words."""
    url, connection = foreign
    build(connection, wide=False)
    load(connection, synthea(), TABLES)
    before = fingerprint(connection, "cdm", "vocabulary")
    site = attached(url, tmp_path)
    wanted = connection.execute(
        "select p.person_source_value, p.gender_source_value, to_char(p.birth_datetime, 'YYYYMMDD'), "
        "to_char(o.procedure_date, 'YYYYMMDD'), o.procedure_occurrence_id, p.person_id from cdm.procedure_occurrence o "
        "join cdm.person p using (person_id) where o.procedure_concept_id = 4163872 and not exists (select from "
        "cdm.procedure_occurrence x where x.person_id = o.person_id and x.procedure_date = o.procedure_date and "
        "x.procedure_concept_id = 4163872 and x.procedure_occurrence_id <> o.procedure_occurrence_id) "
        "order by o.procedure_occurrence_id limit 30"
    ).fetchall()
    assert len(wanted) == 30
    files = [
        ct(n, 1, 1, PatientID=patient, PatientSex=sex, PatientBirthDate=born, StudyDate=day, Modality="DX",
           AccessionNumber="")
        for n, (patient, sex, born, day, *_) in enumerate(wanted, 1)
    ]  # fmt: skip
    files += [
        ct(
            41,
            1,
            1,
            PatientID=wanted[0][0],
            PatientSex=wanted[0][1],
            PatientBirthDate=wanted[0][2],
            StudyDate="19010203",
        ),
        ct(42, 1, 1, PatientID="nobody"),
    ]
    site.store(*files)
    for n, (*_, procedure, person) in enumerate(wanted, 1):
        links = site.links(n)
        assert links["person"] == (person, "person_source_value")
        assert links["procedure"] == (procedure, "same_day")
        assert links["visit"][1] == "procedure"
    assert site.links(41)["procedure"] == (2_000_000_000, "minted")
    assert site.links(42)["person"] == (None, "no_person")
    assert fingerprint(connection, "cdm", "vocabulary") == before
    oracle = connection.execute(
        "select count(*) from imaging.image_occurrence i join results.procedure_occurrence o "
        "on o.procedure_occurrence_id = i.procedure_occurrence_id and o.person_id = i.person_id "
        "join cdm.person p on p.person_id = i.person_id"
    ).fetchone()
    assert oracle == (31,)
    assert connection.execute("select count(*) from imaging.procedure_occurrence").fetchone() == (1,)
    count = "select count(*) from {}.procedure_occurrence"
    theirs, together = (connection.execute(count.format(s)).fetchone() for s in ("cdm", "results"))  # pyright: ignore
    assert theirs
    assert together == (theirs[0] + 1,)
    site.archive.database.close()


def test_keys_are_of_the_types_that_the_cdm_has(foreign: tuple[str, psycopg.Connection], tmp_path: Path) -> None:
    url, connection = foreign
    build(connection, wide=True)
    site = attached(url, tmp_path)
    types = connection.execute(
        "select distinct data_type from information_schema.columns where table_schema = 'imaging' and "
        "column_name in ('person_id', 'procedure_occurrence_id', 'visit_occurrence_id', 'measurement_id')"
    ).fetchall()
    assert types == [("bigint",)]
    made = connection.execute("select tablename from pg_tables where schemaname = 'imaging' order by 1").fetchall()
    assert made == [(name,) for name in sorted((*LIKE, "image_feature", "image_occurrence", "image_registry"))]
    site.person(1 << 40, "P1")
    site.store(ct(1, 1, 1))
    assert site.images("person_id") == [(1 << 40,)]
    site.archive.database.close()


NEWER = (
    "create schema imaging; create table imaging.image_occurrence (image_occurrence_id integer primary key, "
    "person_id integer not null, procedure_occurrence_id integer, visit_occurrence_id integer, "
    "anatomic_site_concept_id integer, wadors_uri text, local_path text, image_occurrence_date date not null, "
    "image_study_uid varchar(250) not null, image_series_uid varchar(250) not null, modality_concept_id integer); "
    "create table imaging.image_feature (image_feature_id integer, person_id integer, image_occurrence_id integer, "
    "image_feature_event_field_concept_id integer, image_feature_event_id integer, image_feature_concept_id integer, "
    "image_feature_type_concept_id integer, image_finding_concept_id integer, image_finding_id integer, "
    "anatomic_site_concept_id integer, alg_system text, alg_datetime timestamp)"
)


def test_image_tables_in_the_newer_names_are_kept_and_used(
    foreign: tuple[str, psycopg.Connection], tmp_path: Path
) -> None:
    url, connection = foreign
    build(connection, wide=False)
    connection.execute(NEWER)
    connection.execute(
        "insert into imaging.image_occurrence values (7, 1, 3, null, null, 'theirs', 'theirs', '2020-01-01', %s, %s, "
        "9)",
        (uid(1), uid(1, 1)),
    )
    connection.execute(
        "insert into imaging.image_occurrence select 9, 1, 3, null, null, 'theirs', 'theirs', '2020-01-01', "
        "image_study_uid, image_series_uid, 9 from imaging.image_occurrence"
    )
    site = attached(url, tmp_path)
    site.person(1)
    site.store(ct(1, 1, 1), ct(1, 2, 1))
    columns = ("image_occurrence_id", "person_id", "wadors_uri = 'theirs'", "modality_concept_id")
    assert sorted(site.images(*columns)) == [(7, 1, True, 9), (9, 1, True, 9), (10, 1, False, 4300757)]
    assert connection.execute("select count(*) from imaging.image_feature_value").fetchone() == (0,)
    site.archive.database.close()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("alter table imaging.image_occurrence drop column image_study_uid", "lacks image_study_uid"),
        (
            "alter table imaging.image_occurrence drop column modality_concept_id",
            "lacks modality or modality_concept_id",
        ),
        ("alter table imaging.image_occurrence alter image_study_uid type varchar(32)", "image_study_uid"),
        ("alter table imaging.image_occurrence add column own text not null", "demands own"),
        ('alter table imaging.image_occurrence rename image_study_uid to "image_study_UID"', "image_study_UID"),
        ("alter table cdm.person drop column person_source_value", "cdm.person lacks person_source_value"),
        ("drop table cdm.note", "no table note"),
        ("alter table cdm.person alter person_id type text", "person_id is text"),
        ("create schema results; create table results.measurement (a int)", "results.measurement"),
        (
            "insert into cdm.procedure_occurrence (procedure_occurrence_id, person_id, procedure_concept_id, "
            "procedure_date, procedure_type_concept_id) values (2000000005, 1, 0, '2020-01-01', 0)",
            "HILUM_OMOP_PROCEDURE_IDS",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_difference(foreign_template: str, spoil: str, text: str) -> None:
    """And nothing is left behind."""
    database = Database(foreign_template, pool_size=1)
    try:
        with administration(foreign_template) as connection:
            connection.execute(spoil)  # pyright: ignore
            before = fingerprint(connection, "cdm", "vocabulary", "imaging", "results")
            with pytest.raises((Invalid, Conflict), match=text):
                attach_cdm(database, "default", SCHEMAS, IDS)
            assert fingerprint(connection, "cdm", "vocabulary", "imaging", "results") == before
            connection.execute("drop schema cdm, vocabulary, imaging cascade; drop schema if exists results cascade")
            build(connection, wide=False)
            connection.execute(NEWER)
    finally:
        database.close()


@pytest.fixture(scope="module")
def foreign_template(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A database with an empty CDM and image tables, which each test gives back as it was."""
    with fresh_database(cluster) as url:
        with administration(url) as connection:
            build(connection, wide=False)
            connection.execute(NEWER)
        yield url
