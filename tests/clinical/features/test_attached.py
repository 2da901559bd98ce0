"""Features beside a CDM that is somebody else's: their rows are in the imaging schema, in the names and types that are
there, and the CDM itself stays as it was."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hilum.clinical.cdm.attach import attach_cdm
from hilum.clinical.cdm.cdm import Schemas
from hilum.clinical.features.said import Finding
from hilum.clinical.linkage import decisions
from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Conflict, Invalid
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.delete import Part, delete_part
from hilum.imaging.archive.store import Archive
from tests.clinical.cdm.foreign import build, fingerprint
from tests.clinical.cdm.test_attach import IDS, NEWER, SCHEMAS
from tests.clinical.features.conftest import Hospital, number, word
from tests.conftest import administration, fresh_database
from tests.make import ct, uid

NODULE = Finding(key="nodule", concept_id=4214641)
# A key that does not cascade, and features of somebody else's, of their own image.
THEIRS = """
  alter table imaging.image_feature add foreign key (image_occurrence_id)
    references imaging.image_occurrence (image_occurrence_id);
  insert into imaging.image_occurrence values (7, 1, 3, null, null, 'theirs', 'theirs', '2020-01-01', '1.2', '1.3',
    9);
  insert into imaging.image_feature values (5, 1, 7, 1147138, 77, 1, 1, 1, 12, null, null, null)
"""
OLDER = """
  alter table cdm.measurement drop column unit_source_concept_id, drop column measurement_event_id,
    drop column meas_event_field_concept_id;
  alter table cdm.observation drop column value_source_value
"""


@pytest.fixture
def foreign(cluster: EmbeddedPostgres) -> Iterator[tuple[str, psycopg.Connection]]:
    with fresh_database(cluster) as url, administration(url) as connection:
        yield url, connection


def attached(url: str, tmp_path: Path, schemas: Schemas = SCHEMAS) -> Hospital:
    database = Database(url, pool_size=4)
    cdm = attach_cdm(database, "default", schemas, IDS)
    archive = Archive(database, LocalBlobs(tmp_path / "objects", 0), Settings(data=tmp_path, min_free_bytes=0))
    return Hospital(archive, cdm, extractors=())


@pytest.mark.parametrize(("wide", "newer", "older"), [(True, False, False), (False, True, False), (False, False, True)])
def test_features_beside_an_attached_cdm(
    foreign: tuple[str, psycopg.Connection], tmp_path: Path, wide: bool, newer: bool, older: bool
) -> None:
    url, connection = foreign
    build(connection, wide=wide)
    connection.execute(
        "insert into cdm.measurement (measurement_id, person_id, measurement_concept_id, measurement_date, "
        "measurement_type_concept_id, value_as_number) values (77, 1, 0, '2020-01-01', 0, 99)"
    )
    if newer:
        connection.execute(NEWER)
        connection.execute(THEIRS)  # pyright: ignore
    if older:
        connection.execute(OLDER)
    person = 1 << 40 if wide else 1
    connection.execute(
        "insert into cdm.person (person_id, gender_concept_id, year_of_birth, race_concept_id, ethnicity_concept_id, "
        "person_source_value) values (%s, 8532, 1970, 0, 0, 'P1')",
        (person,),
    )
    before = fingerprint(connection, "cdm", "vocabulary")
    site = attached(url, tmp_path)
    site.store(ct(1, 1, 1), ct(1, 2, 1))
    said = (
        number("a", 8.5, finding=NODULE, series_uid=uid(1, 2)),
        word("b", "y" * 100, assertion="absent", finding=NODULE), number("c", 3),
    )  # fmt: skip
    site.said("1", *said)
    names = ("image_feature_event_field_concept_id", "image_feature_event_id") if newer else (
        "table_concept_id", "table_row_id",
    )  # fmt: skip
    oracle = f"""
      select i.image_series_uid, m.value_as_number::float, m.unit_concept_id, null
      from imaging.image_feature f join imaging.image_occurrence i using (image_occurrence_id)
      join imaging.measurement m on f.{names[0]} = 1147330 and f.{names[1]} = m.measurement_id
      where f.person_id = %(person)s and m.person_id = %(person)s
      union all
      select i.image_series_uid, null, o.value_as_concept_id, o.value_as_string
      from imaging.image_feature f join imaging.image_occurrence i using (image_occurrence_id)
      join imaging.observation o on f.{names[0]} = 1147304 and f.{names[1]} = o.observation_id
      where f.person_id = %(person)s and o.person_id = %(person)s order by 1, 2
    """
    assert connection.execute(oracle, {"person": person}).fetchall() == [  # pyright: ignore
        (uid(1, 1), 3.0, 8588, None), (uid(1, 1), None, 4188540, "y" * 60), (uid(1, 2), 8.5, 8588, None),
    ]  # fmt: skip
    seen = "select value_as_number::float, image_finding_id from results.image_feature_value order by image_feature_id"
    first = 13 if newer else 1
    ours = [(8.5, first), (None, first), (3.0, 0)]
    assert connection.execute(seen).fetchall() == [*([(99.0, 12)] if newer else []), *ours]
    rows = site.cdm_rows()
    assert not site.said("1", *said)
    site.link_all()
    assert site.cdm_rows() == rows
    delete_part(site.archive.database, site.study(), Part(uid(1, 2)), "me")
    site.work()
    assert site.counts() == (1, 1, 3 if newer else 2)
    decisions.release(site.archive.database, site.study(), "person", "me", site.manner)
    assert site.counts() == (0, 0, 1 if newer else 0)
    assert fingerprint(connection, "cdm", "vocabulary") == before
    site.archive.database.close()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ("insert into imaging.image_feature select * from imaging.image_feature", "image_feature_id 5 twice"),
        (
            "insert into cdm.observation (observation_id, person_id, observation_concept_id, observation_date, "
            "observation_type_concept_id) values (1000000001, 1, 0, '2020-01-01', 0)",
            "HILUM_OMOP_FEATURE_IDS",
        ),
    ],
)
def test_a_cdm_without_room_for_features_is_refused(
    foreign: tuple[str, psycopg.Connection], tmp_path: Path, spoil: str, text: str
) -> None:
    url, connection = foreign
    build(connection, wide=False)
    for statement in (NEWER, THEIRS, spoil):
        connection.execute(statement)  # pyright: ignore
    with pytest.raises((Conflict, Invalid), match=text):
        attached(url, tmp_path)
