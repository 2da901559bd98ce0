"""The catalogue is lost and made again from the objects: the CDM is found, decisions and mapping tables hold, and
linking goes on under the ids that were there."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg

from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.linkage import decisions
from hilum.clinical.linkage.maps import load_map
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.sidecar import record_changes
from tests.clinical.cdm.conftest import Site, site_of_database
from tests.clinical.cdm.test_again import TABLES
from tests.conftest import Server, administration, fresh_database, serving, wait_until
from tests.make import ct, uid


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


FEATURES = (
    "select s.study_instance_uid, f.extractor, f.extractor_version, f.key, f.digest, f.feature_type, f.feature_name, "
    "f.code, f.concept_id, f.algorithm, f.algorithm_version, f.alg_system, f.algorithm_time, f.value_numeric, "
    "f.value_string, f.unit, f.laterality, f.assertion, f.confidence, f.provenance, f.superseded, f.corrected, "
    "f.series_uid, f.created_at, n.key, n.name, n.concept_id, n.image_finding_id from hilum.feature f "
    "join hilum.study s on s.id = f.study_id left join hilum.feature_finding n on n.id = f.finding_id "
    "where f.corrected or f.extractor = '' or f.extractor like '%/%' order by 1, 2, 3, 4"
)
GIVEN_ROWS = (
    "select i.* from omop_imaging.image_feature i join hilum.feature_row r using (image_feature_id) "
    "join hilum.feature f on f.id = r.feature_id where f.extractor = '' or f.extractor like '%/%' order by 1"
)
VALUES = (
    "select f.image_occurrence_id, f.image_feature_concept_id, f.image_finding_id, v.value_as_number, "
    "v.value_as_string, v.unit_source_value from omop_imaging.image_feature f "
    "join omop_imaging.image_feature_value v using (image_feature_id) order by 1, 2, 3, 4, 5, 6"
)
LOOSE = (
    "select count(*) from (select measurement_id as id from omop.measurement union all "
    "select observation_id from omop.observation) m "
    "where not exists (select from omop_imaging.image_feature i where i.table_row_id = m.id)"
)


def give(server: Server) -> None:
    """Features as people and nodes send them: two of one nodule, in two versions, one by hand, one corrected."""
    nodule = {"finding": "nodule 1", "finding_name": "Nodule", "finding_concept_id": 4147841}
    for version, volume in (("1", 310.5), ("2", 305.25)):
        features = [
            {"key": "v", "feature_name": "Volume", "value_numeric": volume, "unit": "mm3", "confidence": 0.5, **nodule},
            {"key": "m", "feature_name": "Malignant", "value_string": "likely", "assertion": "possible", **nodule},
        ]
        body = {
            "feature_type": "ai_classification", "algorithm": "https://nodes.example/lung",
            "algorithm_version": version, "algorithm_time": "2024-05-01T10:00:00+02:00", "features": features,
        }  # fmt: skip
        url = f"{server.url}/api/v1/imaging/studies/{uid(1)}/features"
        assert httpx.put(url, json=body, timeout=60).status_code == 200
    said: dict[str, object] = {
        "study_id": uid(1), "series_uid": uid(1, 1), "feature_type": "manual", "feature_name": "Spiculated",
        "value_string": "yes", "laterality": "left", "provenance": {"author": "Dr. Roe", "frames": [1, 2]}, **nodule,
    }  # fmt: skip
    url = f"{server.url}/api/v1/imaging/features"
    assert httpx.post(url, json=said, timeout=60).status_code == 201
    of_node = said | {"feature_type": "nlp_finding", "feature_name": "Effusion", "algorithm": "reader", "finding": ""}
    gone, kept = (httpx.post(url, json=of_node, timeout=60).json()["id"] for _ in range(2))
    assert httpx.delete(f"{url}/{gone}", timeout=60).status_code == 204
    assert httpx.patch(f"{url}/{kept}", json={"assertion": "absent"}, timeout=60).status_code == 200
    listed = httpx.get(url, params={"study_id": uid(1), "feature_type": "acquisition"}, timeout=60).json()["items"]
    change = httpx.patch(f"{url}/{listed[0]['id']}", json={"value_string": "as the technician says"}, timeout=60)
    assert change.status_code == 200


def test_a_repair_brings_back_what_people_and_nodes_said(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """With their findings, provenance and versions, as the rows of the CDM that they were; what files tell is read
    again, and nothing is in the CDM twice. Then the study is processed as it was."""
    with fresh_database(cluster) as url, administration(url) as connection:

        def processed(uids: int) -> bool:
            query = "select count(*) from hilum.study where status = 'processed' and deleted_at is null"
            return connection.execute(query).fetchone() == (uids,)

        def seen() -> list[list[tuple[object, ...]]]:
            counts = "select feature_type, features from hilum.feature_count order by 1, 2"
            texts = [FEATURES, GIVEN_ROWS, VALUES, LOOSE, counts]
            return [connection.execute(text).fetchall() for text in texts]  # pyright: ignore

        data = tmp_path / "data"
        prepared(url, data).archive.database.close()
        with serving(data, url, study_quiet_seconds=0) as server:
            wait_until(lambda: processed(4), 120, "link and features")
            give(server)
            before = seen()
            wait_until(
                lambda: not connection.execute("select 1 from hilum.unrecorded_study").fetchall(), 120, "records"
            )
        assert [len(rows) for rows in before[:2]] == [7, 4]
        assert len({row[-1] for row in before[0] if row[-4] == "nodule 1"}) == 1
        assert before[3] == [(0,)]
        connection.execute("drop schema hilum cascade")
        told = json.loads(server.hilum("check", "--repair", "--json", check=False).stdout)
        assert (told["lost"], told["repaired"]["features"]) == ([], 7)
        assert processed(0), "what was linked and read before has to be again"
        assert seen()[0] == before[0]
        with serving(data, url, study_quiet_seconds=0):
            wait_until(lambda: processed(4), 120, "link and features again")
        assert seen() == before
