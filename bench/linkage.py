"""Linking a large archive to its CDM: a million real series (the index of the Imaging Data Commons) as rows of the
catalogue, their patients as persons, a third of the studies with a procedure of their accession number, half of them
with a visit; then `hilum cdm link`, the same again, `hilum cdm status`, and one link undone. The rows come without
files: what reading headers costs is not in the figures."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, LiteralString

import psycopg

from bench.client import Client
from bench.corpus import Corpus
from bench.hilum_server import HILUM, Platform
from bench.processes import Failed, run
from bench.table import Goal, Row

MEGABYTE = 1_000_000
ROWS: Final = (
    Row("link.seconds", "hilum cdm link of all series", "s", "lower", Goal("value", 600)),
    Row("link.rate", "rows of image_occurrence", "series/s", "higher"),
    Row("link.cpu", "CPU of that", "ms/series", "lower"),
    Row("link.again", "the same again, nothing to do", "s", "lower"),
    Row("link.memory", "most memory of the command", "MB", "lower"),
    Row("link.growth", "its growth over the second half", "MB", "lower"),
    Row("link.undo", "undo the link of one study", "ms", "lower"),
    Row("link.status", "hilum cdm status", "s", "lower"),
)
_COLUMNS: Final = """
    SeriesInstanceUID as series, min(StudyInstanceUID) as study, min(collection_id || '|' || PatientID) as patient,
    min(PatientSex) as sex, min(StudyDate) as study_date, min(SeriesDate) as series_date,
    min(StudyDescription) as study_description, min(SeriesDescription) as series_description,
    min(BodyPartExamined) as body_part, min(Modality) as modality, min(instanceCount) as instances
"""


def link(server: Platform, size: Corpus) -> Mapping[str, float]:
    """Fill the catalogue and the CDM, link all of it, and count what came of it; `size.series` is how many series."""
    run([*HILUM, "cdm", "create"], server.environment)
    url = json.loads(run([*HILUM, "config", "--json"], server.environment)[2])["HILUM_DATABASE_URL"]["value"].replace(
        "+psycopg", ""
    )
    with psycopg.connect(url, autocommit=True) as connection:
        series = _fill(connection, size.series)
    before = server.group.cpu_seconds()
    first = _measured([*HILUM, "cdm", "link", "--json"], server.environment)
    cpu = first.cpu + server.group.cpu_seconds() - before
    again = _measured([*HILUM, "cdm", "link", "--json"], server.environment)
    status = _measured([*HILUM, "cdm", "status", "--json"], server.environment)
    with psycopg.connect(url, autocommit=True) as connection:
        _check(connection)
        undone = _undo(server, connection)
        _check(connection)
    return {
        "link.seconds": first.wall, "link.rate": series / first.wall, "link.cpu": cpu * 1000 / series,
        "link.again": again.wall, "link.memory": max(first.memory),
        "link.growth": first.memory[-1] - first.memory[len(first.memory) // 2],
        "link.undo": undone * 1000, "link.status": status.wall,
    }  # fmt: skip


def _check(connection: psycopg.Connection) -> None:
    wanted = connection.execute(_SERIES_OF_PERSONS).fetchone()
    held = connection.execute("select count(*) from omop_imaging.image_occurrence").fetchone()
    if wanted != held:
        raise Failed(f"There are {held} rows of image_occurrence for {wanted} series.")


def _undo(server: Platform, connection: psycopg.Connection) -> float:
    """Undo the link of one study by REST; gives the seconds that took. No row of another patient may have changed."""
    row = connection.execute(_ONE_STUDY).fetchone()
    assert row
    patient = {"patient": row[1]}
    before = connection.execute(_OTHERS, patient).fetchone()
    began = time.perf_counter()
    with Client(server.port) as client:
        client.request("DELETE", f"/api/v1/imaging/studies/{row[0]}/person")
    seconds = time.perf_counter() - began
    if connection.execute(_OTHERS, patient).fetchone() != before:
        raise Failed("Undoing the link of one study changed rows of other patients.")
    return seconds


def _fill(connection: psycopg.Connection, most: int) -> int:
    """Make rows of so many series, of whole studies; gives how many they are."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "series.csv"
        _write_index(table, most)
        connection.execute(_STAGE)
        with (
            connection.cursor().copy("copy given from stdin with (format csv, header)") as copy,
            table.open("rb") as file,
        ):
            while chunk := file.read(1 << 20):
                copy.write(chunk.replace(b"\0", b""))  # some descriptions are padded with them
    for statement in _CATALOGUE:
        connection.execute(statement)
    row = connection.execute("select count(*) from hilum.series").fetchone()
    assert row
    return int(row[0])


def _write_index(table: Path, most: int) -> None:
    try:
        import duckdb

        index = files("idc_index_data").joinpath("idc_index.parquet")
    except ImportError as error:
        raise Failed("The index of real series is not installed: uv pip install --group bench") from error
    with duckdb.connect() as duck:
        duck.execute("set threads = 1")
        duck.execute(
            f"copy (with all_series as (select {_COLUMNS} from '{index}' group by 1), counted as ("
            "select study, sum(count(*)) over (order by study) as upto from all_series group by study) "
            f"select s.* from all_series s join counted c using (study) where c.upto <= {most} order by study) "
            f"to '{table}' (header, format csv)"
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """A command that ran: seconds of wall time and of CPU, and the memory it held (MB), ten times a second."""

    wall: float
    cpu: float
    memory: tuple[float, ...]


def _measured(command: list[str], environment: Mapping[str, str]) -> _Measured:
    began = time.perf_counter()
    memory: list[float] = [0.0]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        memory += [int(line.split()[1]) * 1024 / MEGABYTE for line in lines if line.startswith("VmRSS:")]
        time.sleep(0.1)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {process.returncode}.")
    return _Measured(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, tuple(memory))


_STAGE: Final[LiteralString] = """
  create temporary table given (series text, study text, patient text, sex text, study_date date, series_date date,
    study_description text, series_description text, body_part text, modality text, instances bigint)
"""
_CATALOGUE: Final[tuple[LiteralString, ...]] = (
    "analyze given",
    """
    insert into hilum.patient (source_id, key, patient_id, sex)
    select 1, patient, patient, coalesce(min(sex), '') from given group by patient
    """,
    """
    insert into hilum.study (source_id, patient_pk, study_instance_uid, study_date, accession_number,
      study_description, modality, modalities, body_part, patient_id, patient_sex, num_series, num_instances)
    select 1, p.id, g.study, g.study_date, 'A' || row_number() over (order by g.study),
      coalesce(g.study_description, ''), g.modality, g.modalities, coalesce(g.body_part, ''), p.patient_id, p.sex,
      g.series, g.instances
    from (select study, min(patient) as patient, min(study_date) as study_date,
        min(study_description) as study_description, min(modality) as modality,
        array_agg(distinct modality) as modalities, min(body_part) as body_part, count(*) as series,
        sum(instances) as instances from given group by study) g
    join hilum.patient p on p.source_id = 1 and p.key = g.patient
    """,
    """
    insert into hilum.series (study_id, series_instance_uid, series_description, series_date, modality, body_part,
      folder_path, num_instances)
    select s.id, g.series, coalesce(g.series_description, ''), g.series_date, coalesce(g.modality, ''),
      coalesce(g.body_part, ''), 'default/' || g.study || '/' || g.series, g.instances
    from given g join hilum.study s on s.study_instance_uid = g.study
    """,
    """
    insert into omop.person (person_id, gender_concept_id, year_of_birth, race_concept_id, ethnicity_concept_id,
      person_source_value)
    select id, case sex when 'M' then 8507 when 'F' then 8532 else 0 end, 1960, 0, 0, left(patient_id, 50)
    from hilum.patient
    """,
    """
    insert into omop.visit_occurrence (visit_occurrence_id, person_id, visit_concept_id, visit_start_date,
      visit_end_date, visit_type_concept_id)
    select min(id), patient_pk, 9202, study_date, study_date, 32817 from hilum.study
    where id % 2 = 0 and study_date is not null group by patient_pk, study_date
    """,
    """
    insert into omop.procedure_occurrence (procedure_occurrence_id, person_id, procedure_concept_id, procedure_date,
      procedure_type_concept_id, procedure_source_value)
    select id, patient_pk, 4180938, study_date, 32817, accession_number from hilum.study
    where id % 3 = 0 and study_date is not null
    """,
    "vacuum analyze",
)
_SERIES_OF_PERSONS: Final[LiteralString] = """
  select count(*) from hilum.series e join hilum.study s on s.id = e.study_id
  where s.person_id is not null and coalesce(e.series_date, s.study_date) is not null
"""
_ONE_STUDY: Final[LiteralString] = """
  select id, patient_pk from hilum.study where person_id is not null and num_series > 1 order by id limit 1
"""
# Every version of a row of other patients; studies of one patient may give a procedure of their day to each other.
_OTHERS: Final[LiteralString] = """
  select (select md5(string_agg(l.xmin::text || l.ctid::text, '' order by l.ctid)) from hilum.study_link l
      join hilum.study s on s.id = l.study_id where s.patient_pk <> %(patient)s),
    (select md5(string_agg(i.xmin::text || i.ctid::text, '' order by i.ctid)) from omop_imaging.image_occurrence i
      join hilum.study s on s.study_instance_uid = i.image_study_uid where s.patient_pk <> %(patient)s)
"""
