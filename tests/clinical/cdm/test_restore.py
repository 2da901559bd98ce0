"""The catalogue is lost and made again from the objects: the CDM is found, decisions and mapping tables hold, and
linking goes on under the ids that were there."""

import json
from pathlib import Path

import httpx
import psycopg

from hilum.core.postgres import EmbeddedPostgres
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


def prepared(server: Server, connection: psycopg.Connection, folder: Path) -> None:
    server.hilum("cdm", "create")
    connection.execute(
        "insert into omop.person (person_id, gender_concept_id, year_of_birth, race_concept_id, "
        "ethnicity_concept_id, person_source_value) select n, 8532, 1970, 0, 0, 'P' || n from generate_series(1, 9) n"
    )
    for number, patient in ((1, "P1"), (2, "stranger"), (3, "P3"), (4, "mapped")):
        (folder / f"{number}.dcm").write_bytes(ct(number, 1, 1, PatientID=patient))
    server.hilum("import", *(str(path) for path in sorted(folder.glob("*.dcm"))))
    for table in (b"PatientID,IssuerOfPatientID,person_id,Days_Shifted\nmapped,,4,-30\nelse,North,5,\n",
                  b"AccessionNumber,procedure_occurrence_id\nA9,70\n"):  # fmt: skip
        answer = httpx.post(f"{server.url}/api/v1/imaging/links/maps", files={"file": ("map.csv", table)}, timeout=60)
        assert answer.json()["new"], answer.text
    server.hilum("cdm", "link")
    for number, method, body in ((2, "PUT", {"person_id": 7}), (3, "DELETE", None)):
        url = f"{server.url}/api/v1/imaging/studies/{uid(number)}/person"
        answer = httpx.request(method, url, json=body, timeout=60)
        assert answer.status_code == 200, answer.text


def test_a_repair_finds_the_cdm_and_what_was_decided(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """Or, where the CDM is gone too, says how it comes back."""
    with fresh_database(cluster) as url, administration(url) as connection:
        with serving(tmp_path / "data", url, study_quiet_seconds=0) as server:
            prepared(server, connection, tmp_path)
            wait_until(lambda: not connection.execute(
                "select study_id from hilum.unrecorded_study union all select id from hilum.source where not recorded"
            ).fetchall(), 120, "the records beside the objects")  # fmt: skip
            before = compared(connection)
        assert len(before[0]) == 10
        assert [len(rows) for rows in before[3:]] == [2, 1]
        connection.execute("drop schema hilum cascade")
        told = json.loads(server.hilum("check", "--repair", "--json", check=False).stdout)
        assert told["lost"] == []
        names = ("cdms", "link_decisions", "image_occurrences", "person_map_lines", "procedure_map_lines")
        assert [told["repaired"][name] for name in names] == [1, 2, 3, 2, 1]
        server.hilum("cdm", "link")
        assert compared(connection) == before
        connection.execute("drop schema hilum, omop, omop_vocabulary, omop_imaging, omop_results cascade")
        told = json.loads(server.hilum("check", "--repair", "--json", check=False).stdout)
        assert [text for text in told["lost"] if "hilum cdm attach" in text and "omop" in text]
