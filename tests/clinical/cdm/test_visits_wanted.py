"""Studies of a remote archive by a list of visits."""

from collections.abc import Iterator

import httpx
import pytest

from hilum.clinical.linkage.wanted import visit_lines
from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import Progress
from hilum.imaging.remote.lists import index_lines
from hilum.imaging.remote.servers import change_server
from tests.clinical.cdm.conftest import Site
from tests.dicomweb.conftest import Web, shared
from tests.make import ct, uid


@pytest.fixture(scope="module")
def remote(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Another Hilum with six studies, each of a patient of its own on 31 January 2024; the sixth is P1's, in March."""
    with shared(cluster, tmp_path_factory.mktemp("remote")) as web:
        web.keep(*(ct(study) for study in range(1, 6)), ct(6, PatientID="P1", StudyDate="20240301"))
        yield web


def test_by_number_by_day_and_in_doubt(site: Site, remote: Web) -> None:
    assert httpx.get(f"{remote.root}/studies").status_code == 200
    for person in (1, 2, 3, 4):
        site.person(person)
    site.person(5, "another")
    site.rows("insert into hilum.person_map (source_id, patient_id, issuer_of_patient_id, person_id) "
              "values (%s, 'P5', '', 5)", site.cdm.source_id)  # fmt: skip
    site.visit(10, 1, "2024-01-30 08:00", "2024-02-01 10:00")
    site.visit(20, 2, "2024-01-31 08:00", "2024-01-31 10:00")
    site.visit(21, 2, "2024-01-31 12:00", "2024-01-31 14:00")
    site.visit(30, 3, "2024-01-31 08:00", "2024-01-31 10:00")
    site.visit(31, 3, "2024-01-31 12:00", "2024-01-31 14:00")
    site.visit(40, 4, "2023-01-01 08:00", "2023-01-02 10:00")
    site.visit(50, 5, "2024-01-31 08:00", "2024-01-31 10:00")
    site.procedure(300, 3, "71250|A3", visit=31)
    change_server(site.archive.database, "default", {"url": remote.root})
    with site.archive.database.transaction() as sql:
        lines = visit_lines(sql, site.cdm, ["10", "20", "31", "40", "50", "99", "x"])
    progress = Progress(site.archive.database, 0)
    report = index_lines(site.archive, "default", lines, progress)
    assert {line.name: (line.state, list(line.studies)) for line in report.lines} == {
        "10": ("found", [uid(1)]),
        "20": ("ambiguous", [uid(2)]),
        "31": ("found", [uid(3)]),
        "40": ("missing", []),
        "50": ("found", [uid(5)]),
        "99": ("missing", []),
        "x": ("missing", []),
    }
    assert [line.reason for line in report.of("missing")] == [
        "The remote archive has no study for it.", "The CDM has no such visit.", "The CDM has no such visit.",
    ]  # fmt: skip
    assert progress.counts == {"found": 3, "studies_new": 3, "ambiguous": 1, "missing": 3}
    found = site.rows("select study_instance_uid from hilum.study order by 1")
    assert [row["study_instance_uid"] for row in found] == [uid(1), uid(3), uid(5)]
