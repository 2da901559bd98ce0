"""image_occurrence of studies that lie in a remote archive, are fetched, and given up again."""

from collections.abc import Iterator

import pytest

from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import Progress
from hilum.imaging.remote import copies
from hilum.imaging.remote.fetching import fetch
from hilum.imaging.remote.indexing import Wish, index_studies
from hilum.imaging.remote.keeping import release
from hilum.imaging.remote.servers import change_server
from tests.clinical.cdm.conftest import Site
from tests.dicomweb.conftest import Web, shared
from tests.make import ct, uid


@pytest.fixture(scope="module")
def remote(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Another Hilum with a study of two series."""
    with shared(cluster, tmp_path_factory.mktemp("remote")) as web:
        web.keep(ct(1, 1, 1), ct(1, 2, 1))
        yield web


def test_a_row_a_series_wherever_it_lies(site: Site, remote: Web) -> None:
    site.person(1)
    change_server(site.archive.database, "default", {"url": remote.root})
    index_studies(site.archive, "default", Wish(series=True), Progress(site.archive.database, 0))
    site.work()
    columns = "image_occurrence_id", "image_series_uid", "local_path", "modality", "person_id"
    there = site.images(*columns)
    assert [row[1:] for row in there] == [
        (uid(1, n), f"{remote.root}/studies/{uid(1)}/series/{uid(1, n)}", "CT", 1) for n in (1, 2)
    ]
    study = site.study()
    with site.archive.database.transaction() as sql:
        copies.want(sql, study)
    wanted = copies.lease(site.archive.database)
    assert wanted
    fetch(site.archive, wanted)
    site.work()
    here = site.images(*columns)
    assert [row[2].endswith(f"/objects/default/{uid(1)}/{row[1]}") for row in here] == [True, True], here
    assert [(row[0], row[1], *row[3:]) for row in here] == [(row[0], row[1], *row[3:]) for row in there]
    release(site.archive.database, study)
    site.work()
    assert site.images(*columns) == there
    assert site.study() == study
