"""Both addresses of a row lead to the images: ``wadors_uri`` by DICOMweb, ``local_path`` to files or bucket, as a
reader finds them who knows nothing of Hilum."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import obstore
import pytest
from obstore.store import S3Store

from hilum.core.blobs import open_blobs
from hilum.core.config import Settings
from hilum.core.progress import Progress
from hilum.imaging.archive.store import Archive
from hilum.imaging.intake.directory import import_paths
from hilum.imaging.intake.manner import Manner
from hilum.imaging.intake.tally import Tally
from tests.clinical.cdm.conftest import Site
from tests.dicomweb.conftest import Web, listening
from tests.make import ct, uid
from tests.s3 import S3


@contextmanager
def hospital(site: Site, settings: Settings) -> Iterator[tuple[Site, Web]]:
    """A site whose objects are where settings say, and whose images are served where its rows say."""
    blobs = open_blobs(settings)
    with listening(Archive(site.archive.database, blobs, settings)) as web:
        told = settings.model_copy(update={"public_url": web.root.removesuffix("/dicom-web")})
        yield Site(replace(web.archive, settings=told), site.cdm), web
    blobs.close()


def prepared(site: Site, folder: Path, *, in_place: bool = False) -> list[tuple[str, str]]:
    """Import two series of a study that a person of the CDM has; gives the addresses of each."""
    folder.mkdir()
    for series in (1, 2):
        for instance in (1, 2):
            (folder / f"{series}-{instance}.dcm").write_bytes(ct(1, series, instance))
    manner = Manner(site.archive.source(), in_place)
    import_paths(site.archive, manner, [folder], Tally(Progress(site.archive.database, 0)))
    site.person(1)
    site.link_all()
    return [(uri, path) for uri, path in site.images("wadors_uri", "local_path")]


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
def test_the_addresses_lead_to_the_images(site: Site, s3: S3, tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    settings = s3.settings(data) if place == "bucket" else Settings(data=data, min_free_bytes=0)
    with hospital(site, settings) as (there, web):
        rows = prepared(there, tmp_path / "given")
        assert len(rows) == 2
        for number, (uri, path) in enumerate(rows, 1):
            assert uri == f"{web.root}/studies/{uid(1)}"
            if place == "bucket":
                assert path == f"{settings.blobs_url}/default/{uid(1)}/{uid(1, number)}"
            found = files_below(path, s3)
            assert sorted(found) == sorted(ct(1, number, instance) for instance in (1, 2))
        answer = httpx.get(f"{rows[0][0]}/instances", headers={"Accept": "application/dicom+json"})
        assert len(answer.json()) == 4


def test_files_that_are_indexed_in_place_are_named_where_they_lie(site: Site, s3: S3, tmp_path: Path) -> None:
    given = tmp_path / "given"
    settings = Settings(data=tmp_path / "data", min_free_bytes=0, import_roots=[tmp_path])
    with hospital(site, settings) as (there, _):
        rows = prepared(there, given, in_place=True)
    assert [path for _, path in rows] == [str(given)] * 2
    assert len(files_below(rows[0][1], s3)) == 4
