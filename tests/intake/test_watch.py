"""An inbox, watched by real processes: each file is taken once, whole, and ends where a person looks for it."""

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hilum.core.database import Database
from hilum.imaging.archive.sources import add_source
from hilum.imaging.intake.inbox import Inbox
from tests.conftest import wait_until
from tests.make import ct
from tests.watched import files_below


@contextmanager
def watching(
    inbox: Path, data: Path, url: str, *, processes: int = 1, **more: str
) -> Iterator[list[subprocess.Popen[bytes]]]:
    settings = {"HILUM_DATA": str(data), "HILUM_DATABASE_URL": url, "HILUM_MIN_FREE_BYTES": "0", **more}
    command = [sys.executable, "-m", "hilum", "watch", str(inbox), "--settle", "0.1"]
    watchers = [subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for watcher in watchers:
            assert watcher.stdout is not None
            assert b"Watching" in watcher.stdout.readline()
        yield watchers
    finally:
        for watcher in watchers:
            if watcher.poll() is None:
                watcher.terminate()
            watcher.wait(60)


def drop(inbox: Path, name: str, data: bytes) -> None:
    """Put a file into the inbox as a careful writer does."""
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".part").write_bytes(data)
    path.with_name(path.name + ".part").rename(path)


def waiting(inbox: Path) -> list[str]:
    ours = ("processed", "rejected")
    paths = (Path(name) for name in files_below(inbox))
    return sorted(str(path) for path in paths if path.parts[0] not in ours and path.name != "lock")


def below(folder: Path) -> set[str]:
    return set(files_below(folder))


def number(database: Database, what: str) -> int:
    with database.transaction() as transaction:
        return int(str(transaction.rows(f"select count(*) as n from hilum.{what}")[0]["n"]))  # pyright: ignore


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


def test_two_watchers_share_an_inbox_and_everything_ends_where_it_belongs(
    inbox: Path, tmp_path: Path, database: Database, database_url: str
) -> None:
    add_source(database, "north", "North")
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as cd:
        cd.writestr("A", ct(9))
        cd.writestr("B", ct(9, instance=2)[:-30])
    for n in range(1, 151):
        drop(inbox, f"IM{n}", ct(1, 1, n))
    drop(inbox, "north/cd.zip", bundle.getvalue())
    drop(inbox, "north/deep/er/one", ct(2))
    drop(inbox, "nowhere/one", ct(3))
    drop(inbox, "notes.txt", b"hello")
    drop(inbox, "half.dcm.tmp", ct(4)[:200])
    os.mkfifo(inbox / "pipe")
    (inbox / "out").symlink_to("/etc/passwd")
    with watching(inbox, tmp_path / "data", database_url, processes=2):
        wait_until(lambda: waiting(inbox) == ["half.dcm.tmp"], what="an empty inbox")
        (inbox / "half.dcm.tmp").write_bytes(ct(4))
        (inbox / "half.dcm.tmp").rename(inbox / "half.dcm")
        wait_until(lambda: waiting(inbox) == [], what="the last file")
        wait_until(lambda: (inbox / "processed" / "half.dcm").exists(), what="its end")
    assert number(database, "instance") == 153
    assert number(database, "event where type = 'hilum.instance.stored.v1'") == 153
    assert len(list((inbox / "processed").glob("IM*"))) == 150
    assert (inbox / "processed" / "north" / "deep" / "er" / "one").exists()
    assert below(inbox / "rejected") == {
        f"{name}{end}" for name in ("north/cd.zip", "nowhere/one", "notes.txt", "pipe", "out")
        for end in ("", ".reason.txt")
    }  # fmt: skip
    assert "not DICOM" in (inbox / "rejected" / "notes.txt.reason.txt").read_text()
    assert "no source 'nowhere'" in (inbox / "rejected" / "nowhere" / "one.reason.txt").read_text()
    assert "cd.zip/B" in (inbox / "rejected" / "north" / "cd.zip.reason.txt").read_text()
    with database.transaction() as transaction:
        rows = transaction.rows("select s.key from hilum.study t join hilum.source s on s.id = t.source_id order by 1")
    assert [row["key"] for row in rows] == ["default", "default", "north", "north"]


def test_killed_watchers_lose_nothing_and_the_next_takes_what_they_had(
    inbox: Path, tmp_path: Path, database: Database, database_url: str
) -> None:
    dropped: set[str] = set()
    for turn in range(2):
        for n in range(1, 301):
            drop(inbox, f"IM{turn}.{n}", ct(1, turn + 1, n))
            dropped.add(f"IM{turn}.{n}")
        before = number(database, "instance")
        with watching(inbox, tmp_path / "data", database_url, processes=2) as watchers:
            wait_until(lambda before=before: number(database, "instance") > before, what="some instances")
            for watcher in watchers:
                watcher.kill()
        assert {Path(name).name for name in below(inbox)} >= dropped
    with watching(inbox, tmp_path / "data", database_url):
        wait_until(lambda: below(inbox / "processed") == dropped, 120, "all files")
    assert number(database, "instance") == len(dropped)
    assert below(inbox / "rejected") == set()


def test_sigterm_finishes_what_is_taken_and_leaves_the_rest_in_the_inbox(
    inbox: Path, tmp_path: Path, database: Database, database_url: str
) -> None:
    for n in range(1, 401):
        drop(inbox, f"IM{n}", ct(1, 1, n))
    with watching(inbox, tmp_path / "data", database_url) as (watcher,):
        wait_until(lambda: number(database, "instance"), what="some instances")
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(120) == 0
    done = len(below(inbox / "processed"))
    assert done == number(database, "instance")
    assert done + len(waiting(inbox)) == 400
    assert list((inbox / ".claimed").iterdir()) == []


def test_a_growing_file_waits(inbox: Path) -> None:
    watcher = Inbox(inbox, 0)
    (inbox / "growing").write_bytes(b"1")
    assert watcher.claim(10, 100) == []
    (inbox / "growing").write_bytes(b"12")
    assert watcher.claim(10, 100) == []
    assert [claimed.name for claimed in watcher.claim(10, 100)] == ["growing"]
    watcher.close()
    assert (inbox / "growing").read_bytes() == b"12"


def test_a_name_that_is_taken_gets_a_number(inbox: Path) -> None:
    watcher = Inbox(inbox, 0)
    for _ in range(2):
        (inbox / "same.dcm").write_bytes(b"1")
        watcher.claim(10, 100)
        (claimed,) = watcher.claim(10, 100)
        watcher.settle(claimed, [])
    assert below(inbox / "processed") == {"same.dcm", "same-1.dcm"}
    watcher.close()


def test_the_inbox_must_be_a_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hilum", "watch", str(tmp_path / "none"), "--data", str(tmp_path / "data")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, "is no folder" in done.stderr) == (2, True)
