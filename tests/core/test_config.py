"""Settings: the command line before the environment, before hilum.toml, before the default; and a typo is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.core.config import explain_settings, load_settings
from hilum.core.errors import Invalid
from hilum.core.postgres import EmbeddedPostgres


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HILUM_DATA", "HILUM_PORT", "HILUM_DATABASE_URL", "HILUM_IMPORT_ROOTS", "HILUM_BLOBS_OPTIONS"):
        monkeypatch.delenv(name, raising=False)


def test_each_place_overrides_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(tmp_path).port == 8000
    (tmp_path / "hilum.toml").write_text("port = 1\nworkers = 3\n")
    assert load_settings(tmp_path).port == 1
    monkeypatch.setenv("HILUM_PORT", "2")
    assert load_settings(tmp_path).port == 2
    assert load_settings(tmp_path, port=3).port == 3
    origins = {e.name: e.origin for e in explain_settings(load_settings(tmp_path, port=3), {"port": 3})}
    assert (origins["HILUM_PORT"], origins["HILUM_WORKERS"], origins["HILUM_HOST"]) == (
        "command line", "hilum.toml", "default",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["portt = 1", "port = 'x'", "port = 99999", "port = ", "\x00"])
def test_a_setting_that_cannot_be_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "hilum.toml").write_text(text)
    with pytest.raises(Invalid, match=r"port|hilum\.toml"):
        load_settings(tmp_path)


def test_import_roots_come_as_a_path_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HILUM_IMPORT_ROOTS", "/a:b")
    assert load_settings(tmp_path).import_root_paths() == [Path("/a"), tmp_path / "b"]


def test_options_of_a_bucket_may_be_a_table_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "hilum.toml").write_text('[blobs_options]\nregion = "x"\nsecret_access_key = "tell-nobody"\n')
    settings = load_settings(tmp_path)
    assert '"secret_access_key": "tell-nobody"' in settings.blobs_options.get_secret_value()
    shown = [str(entry.value) for entry in explain_settings(settings)]
    assert "tell-nobody" not in f"{shown} {settings!r} {settings}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:tell-nobody@db.example:5433/hilum", "postgresql://ann:***@db.example:5433/hilum"),
        ("postgresql+psycopg://ann:@db.example/hilum?a=b@c", "postgresql+psycopg://ann:***@db.example/hilum?a=b@c"),
        ("postgresql://ann:tell-@nobody:/x@db.example/hilum", "postgresql://ann:***@db.example/hilum"),
        ("postgresql://ann:tell?nobody@db.example/hilum", "postgresql://ann:***@db.example/hilum"),
        (
            "postgresql://ann@/hilum?host=/run/pg&Password=tell-nobody",
            "postgresql://ann@/hilum?host=/run/pg&Password=***",
        ),
        ("postgresql:///hilum?sslpassword=tell-nobody&port=1", "postgresql:///hilum?sslpassword=***&port=1"),
        ("postgresql://db.example/hilum", "postgresql://db.example/hilum"),
        ("", ""),
    ],
)
def test_the_address_of_a_database_is_shown_without_its_password(url: str, shown: str) -> None:
    found = {entry.name: entry.value for entry in explain_settings(load_settings(Path("/nowhere"), database_url=url))}
    assert found["HILUM_DATABASE_URL"] == shown


def test_config_tells_the_database_that_is_really_used(data: Path, tmp_path: Path) -> None:
    def told(**more: str) -> str:
        environment = os.environ | {"HILUM_DATA": str(data)} | more
        command = [sys.executable, "-m", "hilum", "config", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["HILUM_DATABASE_URL"]["value"]

    assert told(HILUM_DATA=str(tmp_path)) == ""
    with EmbeddedPostgres(data) as server:
        assert told() == server.url
    url = "postgresql://ann:{}@db.example/hilum"
    assert told(HILUM_DATABASE_URL=url.format("tell-nobody")) == url.format("***")
