"""A study that was tied to the wrong person, untied and tied to the right one is as one that was linked rightly at
first: every table of Hilum's and of the CDM, the FHIR resources, the counts, the checks, the registry and metadata
files and what a data set would hold are compared with another archive. Only what tells of the past may differ."""

import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.clinical.features.said import Finding
from hilum.clinical.fhir import versions
from hilum.clinical.linkage import decisions
from hilum.clinical.linkage.status import status_of
from hilum.clinical.metadata.tables import write_table
from hilum.clinical.registry.export import registry_csv
from hilum.core.database import Database
from hilum.core.events import read_events
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive import query
from hilum.research.datasets.definition import Definition
from hilum.research.datasets.preview import preview
from tests.clinical.cdm.conftest import Row, site_of_database
from tests.clinical.features.conftest import Hospital, number, word
from tests.clinical.features.documents import dose_report, measurement_report
from tests.conftest import fresh_database
from tests.make import ct, uid

# What tells of the past: events, who decided what, versions of a resource, and what is due to whom; and a drawn key.
PAST = (
    "hilum.event", "hilum.link_change", "hilum.fhir_imaging_study_version", "hilum.unrecorded_study",
    "hilum.delivery", "hilum.delivery_cursor", "hilum.deid_key",
)  # fmt: skip
COLUMNS = {"hilum.fhir_imaging_study": ("version",), "omop_imaging.image_feature": ("alg_datetime",)}
NODULE = Finding(key="nodule", name="Mass", concept_id=4214641)


@pytest.fixture
def pair(cluster: EmbeddedPostgres, tmp_path: Path) -> Iterator[tuple[Hospital, Hospital]]:
    """Two hospitals, each in a database of its own."""
    with fresh_database(cluster) as first, fresh_database(cluster) as second:
        made: list[Hospital] = []
        for place, url in enumerate((first, second)):
            database = Database(url, pool_size=4)
            cdm = create_cdm(database, "default", default_schemas("default"), "2000000000-2000999999")
            site = site_of_database(database, cdm, tmp_path / str(place))
            made.append(Hospital(site.archive, site.cdm))
        yield made[0], made[1]
        for site in made:
            site.archive.database.close()


def files() -> list[bytes]:
    """A study with reports, made once, for a report holds the time at which it is made."""
    images = (ct(1, 1, 1, CTDIvol=12.5), ct(1, 2, 1), ct(1, 2, 2))
    return [*images, measurement_report(), dose_report([(uid(5, 1), 11, 400)], 400)]


def begin(site: Hospital, study: list[bytes]) -> None:
    """Two persons, and a study of a PatientID that the CDM does not know, with reports and features."""
    for person in (1, 2):
        site.person(person, f"known {person}")
        site.visit(50 + person, person, "2024-01-31 08:00", "2024-01-31 18:00")
    site.store(*study)
    site.said("1", number("a", 8.5, finding=NODULE, series_uid=uid(1, 2)), word("b", "present", assertion="present"))
    tell(site)


def tell(site: Hospital) -> None:
    """Bring FHIR up to date, as a worker does after each change."""
    with site.archive.database.connect() as connection:
        events = read_events(connection, "", types=versions.TYPES, limit=1000)
    for event in events:
        versions.handle(site.archive, event)


def end(site: Hospital) -> None:
    """A later study of the second person."""
    site.store(ct(2, 1, 1, PatientID="known 2"))
    tell(site)


def state(site: Hospital) -> dict[str, Any]:
    """All that can be seen of a hospital."""
    database, folder = site.archive.database, str(site.archive.settings.data_path)
    found: dict[str, Any] = {}
    for table in site.rows(
        "select table_schema || '.' || table_name as name, (select coalesce(array_agg(column_name::text), '{}') "
        "from information_schema.columns c where c.table_schema = t.table_schema and c.table_name = t.table_name "
        "and c.data_type = 'timestamp with time zone') as moments from information_schema.tables t "
        "where table_schema in ('hilum', 'omop', 'omop_imaging', 'omop_results') and table_type = 'BASE TABLE'"
    ):
        name = str(table["name"])
        left = {*table["moments"], *COLUMNS.get(name, ())}
        rows = site.rows(f"select * from {name}") if name not in PAST else []
        found[name] = sorted(repr(plain(row, left, folder)) for row in rows)
    with database.connect() as connection:
        found["counts"] = query.statistics(connection)
    resources = "select id from hilum.fhir_imaging_study order by 1"
    found["fhir"] = [versions.find(site.archive, row["id"]).content for row in site.rows(resources)]
    found["checks"] = {check.name: check.count for check in status_of(database, "default").checks}
    found["registry"] = b"".join(registry_csv(database, "default"))
    for table in ("studies", "series"):
        file = io.BytesIO()
        write_table(site.archive, "default", table, "csv", file)  # pyright: ignore
        found[table] = file.getvalue().replace(folder.encode(), b"")
    found["data set"] = asdict(
        preview(database, site.archive.settings, Definition("preview", studies=[uid(1), uid(2)]))
    )
    return found


def plain(row: Row, left: set[str], folder: str) -> Row:
    """A row without moments, and without the folder that it lies in."""
    return {
        name: value.replace(folder, "") if isinstance(value, str) else value
        for name, value in row.items()
        if name not in left
    }


def test_wrong_then_right_is_as_right_at_first(pair: tuple[Hospital, Hospital]) -> None:
    wrong, right = pair
    given = files()
    for site in pair:
        begin(site, given)
    study, database = wrong.study(), wrong.archive.database
    before = state(wrong)
    decisions.decide(database, study, "person", 2, "ann", wrong.manner)
    tell(wrong)
    then = state(wrong)
    decisions.release(database, study, "person", "ann", wrong.manner)
    tell(wrong)
    untied = state(wrong)
    for site in pair:
        decisions.decide(site.archive.database, site.study(), "person", 1, "ann", site.manner)
        tell(site)
    # It was elsewhere meanwhile: nothing that is compared would be the same anyway.
    for name in ("omop_imaging.image_occurrence", "omop.measurement", "omop_imaging.image_feature", "fhir", "registry"):
        assert then[name] != before[name], name
        assert then[name] != state(wrong)[name], name
    kept = {"hilum.minted_procedure", "hilum.series_occurrence", "hilum.registry_file", "hilum.feature_row"}
    kept |= {"hilum.registry_group", "hilum.feature_finding"}  # which ids it has, so that they come back
    assert {name for name in before if untied[name] != before[name]} <= kept
    for site in pair:
        end(site)
    found, expected = state(wrong), state(right)
    assert {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]} == {}
    assert found["data set"]["persons"] == 2
    assert found["counts"]["linked_studies"] == 2
