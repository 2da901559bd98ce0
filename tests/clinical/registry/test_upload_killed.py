"""kill -9 in the middle of ``hilum import --layout chorus``, in each of its steps: run again it comes to what it would
have come to, nothing twice and nothing lost."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hilum.core.database import Database
from hilum.imaging.archive.check import check
from tests.clinical.cdm.conftest import Site, make_site
from tests.clinical.registry.test_upload import images, place, row, write_registry
from tests.conftest import wait_until
from tests.make import ct, uid

STUDIES = 60
EACH = 5
"""Instances of a study: more in all than the import takes at once, so that some may be in when the last are not."""
LAST = max(map(str, range(1, STUDIES + 1)))
"""Person and study whose folder is walked last."""
KEY = 7_340_032
# What is being written when it is killed: a table, and the row at which it is held up.
STEPS = (
    ("omop.person", f"new.person_id = {LAST}"),
    ("hilum.instance", f"new.sop_instance_uid = '{uid(int(LAST), 1, EACH)}'"),
    ("omop_imaging.image_occurrence", f"new.image_study_uid = '{uid(int(LAST))}'"),
    ("omop_imaging.image_registry", f"new.file_id = '{uid(int(LAST), 1, EACH)}'"),
)

pytestmark = pytest.mark.timeout(600)


def make_upload(folder: Path) -> None:
    rows: list[dict[str, str]] = []
    for study in range(1, STUDIES + 1):
        for number in range(1, EACH + 1):
            path = place(
                folder, study, study, name=f"{number:03}.dcm",
                data=ct(study, 1, number, size=8, PatientID=str(study)),
            )  # fmt: skip
            registry_id = str(study * 1000 + number)
            rows.append(
                row(study, study, image_registry_id=registry_id, file_id=uid(study, 1, number), src_file=path)
                | {"proc_id": str(2_000_000_000 + study)}
            )
    write_registry(folder, *rows)
    (folder / "OMOP").mkdir()
    header = "person_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id\n"
    persons = "".join(f"{study},8532,1970,0,0\n" for study in range(1, STUDIES + 1))
    (folder / "OMOP" / "person.csv").write_text(header + persons)


def begin(site: Site, folder: Path) -> subprocess.Popen[str]:
    """The command, as an operator gives it."""
    environment = os.environ | {
        "HILUM_DATA": str(site.archive.settings.data),
        "HILUM_DATABASE_URL": site.archive.database.url.render_as_string(hide_password=False),
        "HILUM_MIN_FREE_BYTES": "0",
    }
    words = [sys.executable, "-m", "hilum", "import", "--layout", "chorus", str(folder), "--json"]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(site: Site, folder: Path) -> dict[str, Any]:
    process = begin(site, folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err + out
    return json.loads(out)


@contextmanager
def held_up(database: Database, table: str, at: str) -> Iterator[psycopg.Connection]:
    """Whoever inserts that row waits until the block is left."""
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create or replace function public.held_up() returns trigger language plpgsql as "  # pyright: ignore
            f"'begin perform pg_advisory_xact_lock({KEY}); return new; end'"
        )
        connection.execute(
            f"create trigger held_up before insert on {table} for each row when ({at}) "  # pyright: ignore
            "execute function public.held_up()"
        )
        connection.execute("select pg_advisory_lock(%s)", (KEY,))
        try:
            yield connection
        finally:
            connection.execute("select pg_advisory_unlock_all()")
            connection.execute(f"drop trigger held_up on {table}")  # pyright: ignore


def is_waiting(connection: psycopg.Connection) -> bool:
    query = "select 1 from pg_locks where locktype = 'advisory' and objid = %s and not granted"
    return connection.execute(query, (KEY,)).fetchone() is not None


def registry(site: Site) -> list[tuple[Any, ...]]:
    """The rows of the registry, each with the bytes of its file instead of where that lies."""
    rows = site.rows("select * from omop_imaging.image_registry order by file_id")
    assert len({one["image_registry_id"] for one in rows}) == len(rows)
    names = ("file_id", "proc_id", "person_id", "group_id", "visit_id", "datetime", "src_file")
    return [(*(one[name] for name in names), Path(one["trg_file"]).read_bytes()) for one in rows]


def test_killed_in_any_step_it_goes_on(cdm_database: Database, tmp_path: Path) -> None:
    upload = tmp_path / "upload"
    make_upload(upload)
    smooth = make_site(cdm_database, tmp_path / "smooth")
    told = run(smooth, upload)["upload"]
    wanted = images(smooth), registry(smooth)
    assert (len(wanted[0]), len(wanted[1])) == (STUDIES, STUDIES * EACH)

    site = make_site(cdm_database, tmp_path / "killed")
    for table, at in STEPS:
        with held_up(cdm_database, table, at) as connection:
            process = begin(site, upload)
            wait_until(lambda: is_waiting(connection) or process.poll() is not None, 120, f"the writing of {table}")  # noqa: B023
            assert process.poll() is None, process.communicate()
            process.kill()
            process.communicate()
        if table == "hilum.instance":
            # How many of the others are in by then is the threads' affair.
            assert site.one("select count(*) from hilum.instance") < STUDIES * EACH
        else:
            assert images(site) == []
    again = run(site, upload)["upload"]
    assert again["counts"] == told["counts"]
    assert (images(site), registry(site)) == wanted
    assert site.one("select count(*) from omop.person") == STUDIES
    assert site.one("select count(*) from omop.procedure_occurrence") == STUDIES
    assert site.one("select count(*) from hilum.instance") == STUDIES * EACH
    assert not check(site.archive.database, site.archive.blobs).found
