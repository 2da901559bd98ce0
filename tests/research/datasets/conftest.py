"""An archive with some of the demo's studies, tied to the demo's CDM, for the tests of data sets."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hilum.clinical.features.extract import Choice, extract_all
from hilum.clinical.linkage.bulk import link_all
from hilum.clinical.linkage.settle import Manner
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import job_here
from hilum.demo import DemoManifest
from hilum.demo.load_cdm import load_demo_cdm
from hilum.demo.make import StudyEntry
from hilum.imaging.archive.store import Archive
from hilum.imaging.studies.revisions import complete
from tests.conftest import fresh_database
from tests.demo.test_demo import files_of, folder, manifest

__all__ = ["folder", "manifest"]


@dataclass(frozen=True)
class Linked:
    """An archive, and the studies that are in it."""

    archive: Archive
    studies: list[StudyEntry]
    url: str


def some_studies(manifest: DemoManifest) -> list[StudyEntry]:
    """Two persons with more than one study and some of each modality, small ones first."""
    ordered = sorted(manifest.studies, key=lambda study: study.instances)
    chosen: dict[str, StudyEntry] = {}
    for modality, count in (("CT", 2), ("MR", 2), ("PT", 1), ("CR", 2), ("DX", 1), ("US", 1), ("NM", 1)):
        for study in [one for one in ordered if modality in one.modalities and not one.on_cd][:count]:
            chosen[study.key] = study
    return list(chosen.values())


def fill(archive: Archive, folder: Path, studies: list[StudyEntry]) -> None:
    """Store studies, load the CDM, complete them and link them, with no features read."""
    for study in studies:
        with archive.batch(archive.source(), "import") as batch:
            for number, file in enumerate(files_of(folder, study)):
                batch.add(f"{study.key} {number}", [file])
            batch.commit()
    load_demo_cdm(archive.database, "default", folder / "cdm", "2000000000-2000999999")
    with archive.database.transaction() as sql:
        numbers = [row["id"] for row in sql.rows("select id from hilum.study order by id")]
        for number in numbers:
            complete(sql, number)
    with job_here(archive.database, "cdm_link", "", "default", lambda *_: None) as progress:
        link_all(archive, "default", Manner.of(archive.settings), progress)
        extract_all(archive, "default", Choice(frozenset(), {}), progress)


@contextmanager
def archive_of(cluster: EmbeddedPostgres, data: Path, files: Iterable[bytes]) -> Iterator[Linked]:
    """An archive of some files, complete and without a CDM."""
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        blobs = LocalBlobs(data / "objects", 0)
        archive = Archive(database, blobs, Settings(data=data, min_free_bytes=0, database_url=url, deid_workers=1))
        with archive.batch(archive.source(), "import") as batch:
            for number, file in enumerate(files):
                batch.add(str(number), [file])
            batch.commit()
        with database.transaction() as sql:
            for row in sql.rows("select id from hilum.study"):
                complete(sql, row["id"])  # pyright: ignore
        yield Linked(archive, [], url)
        blobs.close()
        database.close()


@pytest.fixture(scope="module")
def linked(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, folder: Path, manifest: DemoManifest
) -> Iterator[Linked]:
    """The archive, shared by the tests of a module, whose versions this process makes by itself."""
    work = tmp_path_factory.mktemp("linked")
    with fresh_database(cluster) as url:
        database = Database(url, pool_size=6)
        blobs = LocalBlobs(work / "data" / "objects", 0)
        settings = Settings(data=work / "data", min_free_bytes=0, database_url=url, deid_workers=1)
        archive = Archive(database, blobs, settings)
        studies = some_studies(manifest)
        fill(archive, folder, studies)
        yield Linked(archive, studies, url)
        blobs.close()
        database.close()
