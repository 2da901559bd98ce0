"""A CDM beside a test's archive, and the few words to put people, procedures and visits into it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from hilum.clinical.cdm.cdm import Cdm, find_cdm
from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.cdm.vocabulary import TABLES
from hilum.clinical.linkage.bulk import link_all
from hilum.clinical.linkage.settle import Manner, settle
from hilum.clinical.linkage.tasks import TYPES, handle
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import job_here
from hilum.imaging.archive.query import find_study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies import revisions
from tests.conftest import Server, administration, fresh_database, serving, wait_until
from tests.make import uid

Row = dict[str, Any]
_OURS = [
    f"hilum.{name}"
    for name in (
        "study", "patient", "patient_decision", "person_map", "procedure_map", "link_decision", "link_change",
        "minted_procedure", "series_occurrence", "feature_finding", "feature_row", "registry_file", "registry_group",
        "event",
        "study_clock", "study_revision", "job",
    )
]  # fmt: skip
_CLINICAL = (
    "omop_imaging.image_feature", "omop.measurement", "omop.observation", "omop_imaging.image_registry",
    "omop_imaging.image_occurrence", "omop.procedure_occurrence", "omop.visit_occurrence", "omop.person",
    "omop_vocabulary.concept_ancestor",
)  # fmt: skip


@dataclass
class Site:
    """A hospital: its archive, and its CDM."""

    archive: Archive
    cdm: Cdm
    mint: bool = True
    handled: int = 0

    @property
    def manner(self) -> Manner:
        return Manner(self.mint, Manner.of(self.archive.settings).places)

    def rows(self, query: str, *parameters: object) -> list[Row]:
        """Ask the database, in words of its own."""
        with self.archive.database.transaction() as sql:
            return sql.rows(query, parameters)  # pyright: ignore

    def one(self, query: str, *parameters: object) -> Any:
        (row,) = self.rows(query, *parameters)
        return next(iter(row.values())) if len(row) == 1 else row

    def person(self, person: int, source_value: str = "", *, sex: int = 8532, born: str = "1970-01-01") -> None:
        year, month, day = (int(part) for part in born.split("-"))
        self.rows(
            f"insert into {self.cdm.schemas.cdm}.person (person_id, gender_concept_id, year_of_birth, month_of_birth, "
            "day_of_birth, race_concept_id, ethnicity_concept_id, person_source_value) "
            "values (%s, %s, %s, %s, %s, 0, 0, %s)",
            person, sex, year, month, day, source_value or f"P{person}",
        )  # fmt: skip

    def procedure(
        self, number: int, person: int, source_value: str = "", *,
        concept: int = 4300757, day: str = "2024-01-31", visit: int | None = None,
    ) -> None:  # fmt: skip
        self.rows(
            f"insert into {self.cdm.schemas.cdm}.procedure_occurrence (procedure_occurrence_id, person_id, "
            "procedure_concept_id, procedure_date, procedure_type_concept_id, visit_occurrence_id, "
            "procedure_source_value) values (%s, %s, %s, %s, 32817, %s, %s)",
            number, person, concept, day, visit, source_value,
        )  # fmt: skip

    def visit(self, number: int, person: int, start: str, end: str) -> None:
        """A visit between two moments, ``2024-01-31 08:00``."""
        self.rows(
            f"insert into {self.cdm.schemas.cdm}.visit_occurrence (visit_occurrence_id, person_id, visit_concept_id, "
            "visit_start_date, visit_start_datetime, visit_end_date, visit_end_datetime, visit_type_concept_id) "
            "values (%s, %s, 9202, %s, %s, %s, %s, 32817)",
            number, person, start[:10], start, end[:10], end,
        )  # fmt: skip

    def store(self, *files: bytes) -> None:
        """Store files, and do what workers do when a study is complete."""
        self.archived(*files)
        self.work()

    def archived(self, *files: bytes) -> None:
        """Store files, whose studies are complete with them."""
        with self.archive.batch(self.archive.source(), "import") as batch:
            for number, file in enumerate(files):
                batch.add(f"file {number}", [file])
            batch.commit()
        self.revise()

    def revise(self) -> None:
        """Make revisions, as if it had been quiet for long enough."""
        with self.archive.database.transaction() as sql:
            sql.rows("update hilum.study_clock set due_at = now() where due_at is not null")
        revisions.revise_due(self.archive.database, mark_studies)

    def work(self) -> None:
        """Make revisions that are due, and hand every event to the handler, twice."""
        self.revise()
        with self.archive.database.connect() as connection:
            events = read_events(connection, "", after=self.handled, types=TYPES, limit=1000)
        for event in events:
            handle(self.archive, self.manner, event)
            handle(self.archive, self.manner, event)
            self.handled = int(str(event["sequence"]))

    def link_all(self, *, again: bool = True) -> dict[str, int]:
        """What ``hilum cdm link --all`` does; without ``again``, what it does of a source with many studies."""
        with job_here(self.archive.database, "cdm_link", "", "default", lambda *_: None) as progress:
            link_all(self.archive, "default", self.manner, progress, again=again, many=1)
        return progress.counts

    def settle(self, *studies: int) -> int:
        with self.archive.database.transaction() as sql:
            return settle(sql, self.cdm, studies, self.manner)

    def study(self, number: int = 1) -> int:
        with self.archive.database.connect() as connection:
            return find_study(connection, uid(number))["id"]

    def links(self, number: int = 1) -> dict[str, tuple[int | None, str]]:
        """Of each kind of link of a study: the target and how it was found, or why it was not."""
        rows = self.rows("select * from hilum.study_link where study_id = %s", self.study(number))
        return {row["kind"]: (row["target_id"], row["reason"] or row["method"]) for row in rows}

    def images(self, *columns: str) -> list[tuple[Any, ...]]:
        """The rows of image_occurrence."""
        names = ", ".join(columns)
        rows = self.rows(f"select {names} from {self.cdm.schemas.imaging}.image_occurrence order by image_series_uid")
        return [tuple(row.values()) for row in rows]

    def told(self, kind: str) -> list[Row]:
        """The data of all events of a kind."""
        with self.archive.database.connect() as connection:
            events = read_events(connection, "", types=[f"hilum.study.{kind}.v1"], limit=1000)
        return [event["data"] for event in events]  # pyright: ignore


@pytest.fixture(scope="module")
def cdm_database(cluster: EmbeddedPostgres) -> Iterator[Database]:
    """A database with a CDM of Hilum's own that the tests of a module share."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=4)
        create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
        yield database
        database.close()


@pytest.fixture
def site(cdm_database: Database, tmp_path: Path) -> Site:
    """An archive with an empty CDM of Hilum's own."""
    return make_site(cdm_database, tmp_path)


def make_site(cdm_database: Database, tmp_path: Path) -> Site:
    """Empty the database that tests share, and put an archive upon it."""
    with cdm_database.transaction() as sql:
        for table in (*_OURS, *_CLINICAL):
            sql.rows(f"delete from {table}")  # pyright: ignore
        for sequence in (
            "hilum_procedure_id",
            "hilum_image_occurrence_id",
            "hilum_feature_row_id",
            "hilum_image_feature_id",
            "hilum_image_finding_id",
            "hilum_image_registry_id",
        ):
            sql.rows(f"alter sequence omop_imaging.{sequence} restart")  # pyright: ignore
        sql.rows("alter table hilum.study alter id restart with 1001")  # never a person's number
        for table in TABLES:
            sql.rows(f"comment on table omop_vocabulary.{table} is null")  # pyright: ignore - from which file it came
        cdm = find_cdm(sql, "default")
    assert cdm
    return site_of_database(cdm_database, cdm, tmp_path / "data")


def site_of_database(database: Database, cdm: Cdm, data: Path) -> Site:
    """A hospital in a database, with its objects in a folder."""
    settings = Settings(data=data, min_free_bytes=0)
    return Site(Archive(database, LocalBlobs(data / "objects", 0), settings), cdm)


@contextmanager
def serving_hospital(
    cluster: EmbeddedPostgres, folder: Path, *files: bytes, persons: int
) -> Iterator[tuple[Server, psycopg.Connection]]:
    """A server whose CDM has the persons P1 and so on, and whose workers have linked and read files, each a study."""
    with (
        fresh_database(cluster) as url,
        administration(url) as connection,
        serving(folder / "data", url, study_quiet_seconds=0) as server,
    ):
        database = Database(url, pool_size=2)
        cdm = create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
        site = site_of_database(database, cdm, server.data)
        for number in range(1, persons + 1):
            site.person(number)
        site.archived(*files)
        database.close()
        done = (
            "select count(*) from hilum.study s where exists (select from hilum.feature f where f.study_id = s.id) "
            "and exists (select from hilum.study_link l where l.study_id = s.id)"
        )
        wait_until(lambda: connection.execute(done).fetchone() == (len(files),), 120, "links and features of all")
        yield server, connection


def everything(site: Site, but: Sequence[str] = ("made_at", "updated_at", "loaded_at")) -> list[list[Row]]:
    """All that linking writes, for comparison."""
    imaging, cdm = site.cdm.schemas.imaging, site.cdm.schemas.cdm
    tables = (
        "hilum.study_link",
        f"{imaging}.image_occurrence",
        f"{imaging}.image_registry",
        f"{cdm}.procedure_occurrence",
    )
    return [
        [
            {name: value for name, value in row.items() if name not in but}
            for row in site.rows(f"select * from {table} order by 1, 2")
        ]
        for table in tables
    ]
