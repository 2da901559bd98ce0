"""Whatever Hilum does beside an attached CDM, it writes nothing of it: each of its tables refuses every write
meanwhile, and has the same rows, columns and indexes afterwards."""

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from hilum.clinical.features.said import Finding
from hilum.clinical.linkage import decisions
from hilum.clinical.upload.take import take_upload
from hilum.core.config import Settings
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.delete import delete_study, purge
from hilum.imaging.intake.lanes import thread_lanes
from tests.clinical.cdm.foreign import build, fingerprint, load, synthea
from tests.clinical.cdm.test_attach import SCHEMAS, attached
from tests.clinical.features.conftest import Hospital, number, word
from tests.clinical.registry.test_upload import place, row, write_registry
from tests.conftest import administration, fresh_database
from tests.make import ct

STUDIES = 6
# All that Synthea's archive has, but for DEVICE_EXPOSURE.csv, whose header lacks four of its columns.
TABLES = (
    "concept", "condition_era", "condition_occurrence", "death", "drug_era", "drug_exposure", "location", "measurement",
    "observation", "observation_period", "person", "procedure_occurrence", "specimen", "visit_occurrence",
)  # fmt: skip
NODULE = Finding(key="nodule", concept_id=4214641)


def forbid_writing(connection: psycopg.Connection) -> int:
    """Let every table of the CDM and its vocabulary refuse to be written; gives how many there are."""
    connection.execute(
        "create function public.untouched() returns trigger language plpgsql as "
        "$$ begin raise exception 'a write to %.%', tg_table_schema, tg_table_name; end $$"
    )
    tables = connection.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('cdm', 'vocabulary')"
    ).fetchall()
    for (table,) in tables:
        connection.execute(
            f"create trigger untouched before insert or update or delete or truncate on {table} "
            "for each statement execute function public.untouched()"
        )
    return len(tables)


def test_nothing_of_an_attached_cdm_is_ever_written(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    with fresh_database(cluster) as url, administration(url) as connection:
        build(connection, wide=False)
        loaded = load(connection, synthea(), TABLES)
        before = fingerprint(connection, "cdm", "vocabulary")
        assert len(before) == forbid_writing(connection)
        assert {name: count for name, count in loaded.items() if count} == {
            name.partition(".")[2]: told[-1][0]  # type: ignore[index]  # pyright: ignore
            for name, told in before.items()
            if told[-1][0]  # type: ignore[index]  # pyright: ignore
        }
        with pytest.raises(psycopg.errors.RaiseException, match=r"a write to cdm\.person"):
            connection.execute("delete from cdm.person")

        plain = attached(url, tmp_path, SCHEMAS)
        site = Hospital(plain.archive, plain.cdm, extractors=("acquisition", "dose", "structured_report"))
        persons = connection.execute(
            "select p.person_source_value, p.gender_source_value, to_char(p.birth_datetime, 'YYYYMMDD'), "
            "to_char(o.procedure_date, 'YYYYMMDD'), p.person_id from cdm.procedure_occurrence o "
            "join cdm.person p using (person_id) where o.procedure_concept_id = 4163872 "
            "order by o.procedure_occurrence_id limit %s",
            (STUDIES,),
        ).fetchall()
        site.store(*(
            ct(n, 1, 1, PatientID=patient, PatientSex=sex, PatientBirthDate=born, StudyDate=day, Modality="DX",
               AccessionNumber="", KVP="120", SliceThickness="2.5")
            for n, (patient, sex, born, day, _) in enumerate(persons, 1)
        ))  # fmt: skip
        assert connection.execute("select count(*) from imaging.image_occurrence").fetchone() == (STUDIES,)
        assert connection.execute("select count(*) from imaging.image_registry").fetchone() == (STUDIES,)

        # Features of every kind of value, a new version of them, and none any more.
        site.said("1", number("a", 8.5, finding=NODULE), word("b", "yes", assertion="present"), study=1)
        site.said("2", number("a", 9.5, finding=NODULE), study=1)
        assert site.counts()[0] >= STUDIES
        site.said("2", study=1)

        # The wrong person, nobody, the right one; then everything anew.
        study, (right, wrong) = site.study(2), (persons[1][4], persons[2][4])
        database, manner = site.archive.database, site.manner
        decisions.decide(database, study, "person", wrong, "ann", manner)
        decisions.release(database, study, "person", "ann", manner)
        decisions.release(database, study, "person", "ann", manner)
        decisions.decide(database, study, "person", right, "ann", manner)
        assert site.links(2)["person"][0] == right
        site.link_all()

        # A site's upload, whose tables are its owner's to load.
        upload = tmp_path / "upload"
        _, sex, born, _, person = persons[3]
        place(upload, 20, person, PatientSex=sex, PatientBirthDate=born)
        write_registry(upload, row(20, person, proc_id="2000000777"))
        (upload / "OMOP").mkdir()
        (upload / "OMOP" / "person.csv").write_text("person_id,gender_concept_id\n999999,8532\n")
        plain_url = database.url.render_as_string(hide_password=False)
        settings = Settings(data=tmp_path, database_url=plain_url, min_free_bytes=0)  # pyright: ignore
        with thread_lanes() as lanes:
            taken = take_upload(settings, "default", upload, lambda *_: None, lanes=lanes)
        assert taken.report.counts["registry_rows"] == 1, taken

        delete_study(database, site.study(3), "ann")
        site.work()
        purge(database, site.archive.blobs, timedelta(0))
        assert connection.execute("select count(*) from imaging.image_occurrence").fetchone() == (STUDIES,)
        database.close()
        assert fingerprint(connection, "cdm", "vocabulary") == before
