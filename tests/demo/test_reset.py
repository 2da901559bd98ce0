"""`hilum demo --reset` takes the demo's data and nothing else: settings stay, and what is no demo is left alone."""

from pathlib import Path

import pytest

from hilum.core.config import Settings, load_settings
from hilum.core.errors import Conflict
from hilum.demo.run import reset_demo, write_settings


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A demo's folder, with settings that were changed and a profile of one's own."""
    folder = tmp_path / "demo"
    for name in ("demo-files", "objects", "run", "profiles"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").touch()
    assert write_settings(Settings(data=folder))
    assert load_settings(folder).omop_procedures == "require"
    (folder / "hilum.toml").write_text('omop_procedures = "mint"\n')
    return folder


def test_data_go_and_settings_stay(data: Path) -> None:
    reset_demo(Settings(data=data))
    left = {path.name for path in data.iterdir()}
    assert {"hilum.toml", "profiles"} <= left
    assert not {"demo-files", "objects", "run", "postgres"} & left
    assert not write_settings(Settings(data=data))
    assert (data / "hilum.toml").read_text() == 'omop_procedures = "mint"\n'
    reset_demo(Settings(data=data.parent / "none"))


@pytest.mark.parametrize(
    "elsewhere", [{"database_url": "postgresql://db.example/hilum"}, {"blobs_url": "s3://bucket/demo"}]
)
def test_data_that_are_elsewhere_are_not_half_deleted(data: Path, elsewhere: dict[str, str]) -> None:
    before = sorted(data.rglob("*"))
    with pytest.raises(Conflict, match="HILUM_DATABASE_URL"):
        reset_demo(Settings(data=data, **elsewhere))  # pyright: ignore
    assert sorted(data.rglob("*")) == before


def test_what_is_no_demo_is_left(data: Path) -> None:
    (data / "demo-files" / "file").unlink()
    (data / "demo-files").rmdir()
    with pytest.raises(Conflict, match="not made by hilum demo"):
        reset_demo(Settings(data=data))
    assert (data / "objects" / "file").exists()
