"""Versions take faces off whole series, come to the same bytes when interrupted, and hold back what they cannot take a
face off; on the way in, where there is but one image at a time, it does not come in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilum.core.postgres import EmbeddedPostgres
from hilum.core.progress import job_here
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from hilum.research.datasets.build import build_version
from tests.research.datasets.conftest import Linked, archive_of
from tests.research.datasets.test_versions import Version, begin, build, dataset
from tests.research.deid.heads import Form, dicom, judged, scan

PROFILE = 'name = "faceless"\nbase = "research"\nfaces = "remove"\n'
HEAD = scan("robex", "CT", pixel=2.0, step=5.0)


@pytest.fixture(scope="module")
def heads(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    """An archive with a head and the lower part of one."""
    data = tmp_path_factory.mktemp("heads") / "data"
    (data / "profiles").mkdir(parents=True)
    (data / "profiles" / "faceless.toml").write_text(PROFILE)
    part = dicom(scan("robex", "CT", pixel=3.0, step=4.0, extent=(0.0, 0.4)), series=4)
    with archive_of(cluster, data, [*dicom(HEAD), *part]) as linked:
        yield linked


def test_a_version_has_heads_without_faces(heads: Linked, tmp_path: Path) -> None:
    version = begin(heads, dataset(heads, name="faceless", profile="faceless", clinical=False))
    build(heads, version)
    made = Version(heads, version, tmp_path / "first")
    found = sorted((ds for _, ds in made.dicom()), key=lambda ds: int(ds.InstanceNumber))
    assert len(found) == len(HEAD.positions)
    truth = judged(HEAD, Form(), np.stack([ds.pixel_array for ds in found]))
    assert truth.brain == 0
    assert truth.skin >= 0.9
    assert {ds.RecognizableVisualFeatures for ds in found} == {"NO"}
    held = made.manifest()["held_back"]["instances"]  # pyright: ignore
    assert [one["code"] for one in held] == ["face_unsure"]
    assert "only in part" in held[0]["reason"]
    assert "simpleitk" in made.manifest()["software"]["instances"]  # pyright: ignore

    class Stop(Exception):
        pass

    def stop(done: int, _total: int | None) -> None:
        if done:
            raise Stop

    again = begin(heads, int(made.row["dataset_id"]))
    with pytest.raises(Stop), job_here(heads.archive.database, "dataset", "", "default", stop) as progress:
        build_version(heads.archive, again, progress)
    with heads.archive.database.transaction() as sql:  # as if that had been in the middle of a series
        sql.rows(
            "update hilum.dataset_instance set state = 'planned' where version_id = %s and number between 10 and 20",
            (again,),
        )
    build(heads, again)
    assert Version(heads, again, tmp_path / "again").files() == made.files()


def test_on_the_way_in_a_head_is_set_aside_with_what_to_do(archive: Archive) -> None:
    folder = archive.settings.data_path / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faceless.toml").write_text(PROFILE)
    add_source(archive.database, "faceless", "Faceless", intake_profile="faceless")
    with archive.batch(archive.source("faceless"), "stow") as batch:
        batch.add("one", [dicom(HEAD)[0]])
        (outcome,) = batch.commit().outcomes
    assert (outcome.state, outcome.code) == ("set_aside", "face")
    assert "`hilum deid`" in outcome.reason
