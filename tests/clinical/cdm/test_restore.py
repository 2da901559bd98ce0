"""The catalogue is lost and made again from the objects: the CDM is found, decisions and mapping tables hold, and
linking goes on under the ids that were there."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.linkage import decisions
from hilum.clinical.linkage.maps import load_map
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.sidecar import record_changes
from tests.clinical.cdm.conftest import Site, site_of_database
from tests.clinical.cdm.test_again import TABLES
from tests.conftest import administration, fresh_database
from tests.make import ct


def compared(connection: psycopg.Connection) -> list[list[tuple[object, ...]]]:
    links = (
        "select s.study_instance_uid, l.kind, l.target_id, l.method, l.reason, l.made_by from hilum.study_link l "
        "join hilum.study s on s.id = l.study_id order by 1, 2"
    )
    procedures = "select procedure_occurrence_id, person_id, procedure_date from omop.procedure_occurrence order by 1"
    maps = (
        "select patient_id, issuer_of_patient_id, person_id, days_shifted, loaded_at from hilum.person_map order by 1"
    )
    numbers = "select number, patient_id, procedure_occurrence_id from hilum.procedure_map order by 1"
    texts = [links, procedures, TABLES["image_occurrence"], maps, numbers]
    return [connection.execute(text).fetchall() for text in texts]  # pyright: ignore


def prepared(url: str, data: Path) -> Site:
    database = Database(url, pool_size=4)
    cdm = create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
    site = site_of_database(database, cdm, data)
    for number in range(1, 10):
        site.person(number)
    patients = ((1, "P1"), (2, "stranger"), (3, "P3"), (4, "mapped"))
    site.store(*(ct(number, 1, 1, PatientID=patient) for number, patient in patients))
    for table in (b"PatientID,IssuerOfPatientID,person_id,Days_Shifted\nmapped,,4,-30\nelse,North,5,\n",
                  b"AccessionNumber,procedure_occurrence_id\nA9,70\n"):  # fmt: skip
        with database.transaction() as sql:
            assert load_map(sql, cdm.source_id, io.BytesIO(table)).new
    site.link_all()
    decisions.decide(database, site.study(2), "person", 7, "ann", site.manner)
    decisions.release(database, site.study(3), "person", "ann", site.manner)
    return site


def repaired(url: str, data: Path) -> dict[str, Any]:
    """What ``hilum check --repair`` tells."""
    environment = {"HILUM_DATA": str(data), "HILUM_DATABASE_URL": url, "HILUM_MIN_FREE_BYTES": "0"}
    words = [sys.executable, "-m", "hilum", "check", "--repair", "--json"]
    done = subprocess.run(
        words, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=False, timeout=300
    )
    return json.loads(done.stdout)


def test_a_repair_finds_the_cdm_and_what_was_decided(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """Or, where the CDM is gone too, says how it comes back."""
    with fresh_database(cluster) as url, administration(url) as connection:
        data = tmp_path / "data"
        site = prepared(url, data)
        record_changes(site.archive.database, site.archive.blobs, quiet_seconds=0)
        before = compared(connection)
        assert len(before[0]) == 10
        assert [len(rows) for rows in before[3:]] == [2, 1]
        connection.execute("drop schema hilum cascade")
        told = repaired(url, data)
        assert told["lost"] == []
        names = ("cdms", "link_decisions", "image_occurrences", "person_map_lines", "procedure_map_lines")
        assert [told["repaired"][name] for name in names] == [1, 2, 3, 2, 1]
        site.link_all()
        assert compared(connection) == before
        connection.execute("drop schema hilum, omop, omop_vocabulary, omop_imaging, omop_results cascade")
        told = repaired(url, data)
        assert [text for text in told["lost"] if "hilum cdm attach" in text and "omop" in text]
        site.archive.database.close()
