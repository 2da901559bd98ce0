"""Both addresses of a row lead to the images: ``wadors_uri`` by DICOMweb, ``local_path`` to files or bucket, as a
reader finds them who knows nothing of Hilum."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import obstore
import psycopg
import pytest
from obstore.store import S3Store

from hilum.core.postgres import EmbeddedPostgres
from tests.conftest import Server, administration, fresh_database, serving
from tests.make import ct, uid
from tests.s3 import S3


def prepared(server: Server, connection: psycopg.Connection, folder: Path, *options: str) -> list[tuple[str, str]]:
    """Import two series of a study that a person of the CDM has; gives the addresses of each."""
    folder.mkdir()
    for series in (1, 2):
        for instance in (1, 2):
            (folder / f"{series}-{instance}.dcm").write_bytes(ct(1, series, instance))
    server.hilum("import", *options, str(folder))
    server.hilum("cdm", "create")
    connection.execute(
        "insert into omop.person (person_id, gender_concept_id, year_of_birth, race_concept_id, "
        "ethnicity_concept_id, person_source_value) values (1, 8532, 1970, 0, 0, 'P1')"
    )
    server.hilum("cdm", "link")
    return connection.execute(
        "select wadors_uri, local_path from omop_imaging.image_occurrence order by image_series_uid"
    ).fetchall()


@pytest.fixture
def database(cluster: EmbeddedPostgres) -> Iterator[tuple[str, psycopg.Connection]]:
    with fresh_database(cluster) as url, administration(url) as connection:
        yield url, connection


def files_below(path: str, s3: S3) -> list[bytes]:
    """What lies below an address, whatever it is called there."""
    parts = urlsplit(path)
    if not parts.scheme:
        return [file.read_bytes() for file in sorted(Path(path).rglob("*")) if file.is_file()]
    given = {"endpoint": f"http://127.0.0.1:{s3.port}", "allow_http": "true"}
    options = json.loads(s3.options()) | given
    store = S3Store(parts.netloc, config=options)
    keys = [entry["path"] for some in obstore.list(store, parts.path.strip("/")) for entry in some]
    return [bytes(obstore.get(store, key).bytes()) for key in sorted(keys)]


@pytest.mark.parametrize("place", ["files", "bucket"])
def test_the_addresses_lead_to_the_images(
    database: tuple[str, psycopg.Connection], s3: S3, tmp_path: Path, place: str
) -> None:
    url, connection = database
    bucket = s3.url()
    settings = {"blobs_url": bucket, "blobs_options": s3.options()} if place == "bucket" else {}
    with serving(tmp_path / "data", url, **settings) as server:
        rows = prepared(server, connection, tmp_path / "given")
        assert len(rows) == 2
        for number, (uri, path) in enumerate(rows, 1):
            assert uri == f"{server.url}/dicom-web/studies/{uid(1)}"
            if place == "bucket":
                assert path == f"{bucket}/default/{uid(1)}/{uid(1, number)}"
            found = files_below(path, s3)
            assert sorted(found) == sorted(ct(1, number, instance) for instance in (1, 2))
        answer = httpx.get(f"{rows[0][0]}/instances", headers={"Accept": "application/dicom+json"}, timeout=60)
        assert len(answer.json()) == 4


def test_files_that_are_indexed_in_place_are_named_where_they_lie(
    database: tuple[str, psycopg.Connection], s3: S3, tmp_path: Path
) -> None:
    url, connection = database
    given = tmp_path / "given"
    with serving(tmp_path / "data", url, import_roots=json.dumps([str(tmp_path)])) as server:
        rows = prepared(server, connection, given, "--in-place")
    assert [path for _, path in rows] == [str(given)] * 2
    assert len(files_below(rows[0][1], s3)) == 4
