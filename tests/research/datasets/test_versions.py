"""A version is made, looked at and published; the same definition and data come to the same bytes."""

import msgspec
import pytest

from hilum.core.progress import job_here
from hilum.research.datasets import versions
from hilum.research.datasets.build import build_version, files_of
from hilum.research.datasets.definition import read_definition
from hilum.research.datasets.preview import preview
from tests.research.datasets.conftest import Linked


def made(linked: Linked, **how: object) -> tuple[int, dict[str, object]]:
    """A version of a new data set of all studies; Hilum's id of it, and its row."""
    archive = linked.archive
    definition = read_definition({"name": f"set {how.get('layout', '')} {len(how)}", "filter": {}, **how})
    try:
        number = versions.add_dataset(archive.database, definition, "test")
    except Exception:
        with archive.database.connect() as connection:
            number = versions.find_dataset(connection, definition.name)["id"]
    with archive.database.connect() as connection:
        dataset = versions.find_dataset(connection, str(number))
    with archive.database.transaction() as sql:
        version = versions.add_version(sql, dataset, "test")
    with job_here(archive.database, "dataset", "", "default", lambda *_: None) as progress:
        build_version(archive, version, progress)
    with archive.database.connect() as connection:
        return version, dict(versions.version_by_id(connection, version))


def test_try(linked: Linked) -> None:
    definition = read_definition({"name": "x", "filter": {}})
    print(preview(linked.archive.database, linked.archive.settings, definition))
    version, row = made(linked)
    print({k: v for k, v in row.items() if k != "report"})
    print(msgspec.json.format(msgspec.json.encode({k:v for k,v in row["report"].items() if k != "missing"}), indent=1).decode())
    for file in files_of(linked.archive, version)[:400:10]:
        print(file.path, file.size)
    again, other = made(linked)
    assert other["digest"] == row["digest"]
