"""Objects appear whole or not at all, survive what is promised, and give back exactly the bytes that went in."""

import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.blobs import Blobs, LocalBlobs, check_key, open_blobs
from hilum.core.config import Settings
from hilum.core.errors import Invalid, NotFound, OutOfSpace, Unavailable


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "objects")


def put(blobs: Blobs, objects: dict[str, bytes]) -> None:
    with blobs.group() as group:
        for key, content in objects.items():
            item = group.create()
            item.write(content)
            item.finish(key)
        group.commit()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_committed_group_gives_back_its_bytes_whole_in_ranges_and_as_a_stream(blobs: LocalBlobs) -> None:
    content = os.urandom(3_000_000)
    put(blobs, {"default/1.2/1.2.3/a.dcm": content, "default/1.2/1.2.4/b.dcm": b""})
    key = "default/1.2/1.2.3/a.dcm"
    assert blobs.size(key) == len(content)
    assert blobs.exists(key)
    with blobs.open(key) as source:
        assert source.read() == content
        assert source.seek(-5, os.SEEK_END) == len(content) - 5
    assert blobs.read(key, 1_000_000, 17) == content[1_000_000:1_000_017]
    assert blobs.read(key, len(content) - 3, 10) == content[-3:]
    assert blobs.read(key, len(content) + 3, 10) == b""
    chunks = list(blobs.stream(key, chunk_size=65_536))
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) == 65_536
    assert b"".join(blobs.stream(key, 100, 2_000_000, 999_999)) == content[100:2_000_100]
    assert list(blobs.stream("default/1.2/1.2.4/b.dcm")) == []
    path = blobs.path(key)
    assert path is not None
    assert path.read_bytes() == content


def test_nothing_is_seen_before_the_commit_and_nothing_stays_without_one(blobs: LocalBlobs) -> None:
    with blobs.group() as group:
        finished, unfinished = group.create(), group.create()
        finished.write(b"whole")
        finished.finish("default/a")
        unfinished.write(b"ha")
        assert not blobs.exists("default/a")
        assert len(files_below(blobs.root)) == 2
    assert files_below(blobs.root) == []
    assert not blobs.exists("default/a")


def test_only_finished_objects_are_committed(blobs: LocalBlobs) -> None:
    with blobs.group() as group:
        kept, dropped, unfinished = group.create(), group.create(), group.create()
        for item in (kept, dropped, unfinished):
            item.write(b"content")
        kept.finish("default/kept")
        dropped.discard()
        group.commit()
    assert list(blobs.list()) == [("default/kept", 7)]
    assert files_below(blobs.root) == [blobs.root / "default/kept"]


def test_what_was_written_can_be_read_again_before_the_commit(blobs: LocalBlobs) -> None:
    with blobs.group() as group:
        item = group.create()
        for chunk in (b"DICM", bytearray(b"more"), memoryview(b"and more")[4:]):
            item.write(chunk)
        assert item.size == 12
        with item.reader() as source:
            assert source.read() == b"DICMmoremore"
        item.write(b"!")
        item.finish("default/a")
        with item.reader() as source:
            assert source.read() == b"DICMmoremore!"
        group.commit()
    assert blobs.read("default/a", 0, 100) == b"DICMmoremore!"


def test_an_object_that_is_there_already_is_left_as_it_is(blobs: LocalBlobs) -> None:
    put(blobs, {"default/a": b"content"})
    path = blobs.path("default/a")
    assert path is not None
    before = path.stat()
    put(blobs, {"default/a": b"content"})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files_below(blobs.root) == [path]


def test_an_object_that_a_power_cut_left_short_is_replaced(blobs: LocalBlobs) -> None:
    put(blobs, {"default/a": b"content"})
    path = blobs.path("default/a")
    assert path is not None
    os.truncate(path, 3)
    put(blobs, {"default/a": b"content"})
    assert path.read_bytes() == b"content"


def test_two_objects_of_one_content_in_one_group_are_one(blobs: LocalBlobs) -> None:
    with blobs.group() as group:
        for _ in range(2):
            item = group.create()
            item.write(b"same")
            item.finish("default/a")
        group.commit()
    assert list(blobs.list()) == [("default/a", 4)]


def test_only_the_owner_may_read(blobs: LocalBlobs) -> None:
    put(blobs, {"default/1.2/a": b"content"})
    for path in [blobs.root, *blobs.root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize(
    "key",
    [
        *("", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", ".tmp/a", "a/.b", "a\\b", "a\0b", "a b", "ä", "a\n"),
        *("-a", "a" * 129, "/".join(["a" * 100] * 6), "~/a", "C:a", "a*"),
    ],
)
def test_a_key_that_could_leave_the_folder_or_confuse_is_refused(blobs: LocalBlobs, key: str) -> None:
    for use in (blobs.open, blobs.size, blobs.exists, blobs.path, lambda k: blobs.read(k, 0, 1), blobs.stream):
        with pytest.raises(Invalid):
            use(key)  # type: ignore[operator]
    with pytest.raises(Invalid):
        blobs.delete([key])
    with pytest.raises(Invalid), blobs.group() as group:
        group.create().finish(key)
    assert files_below(blobs.root) == []


@given(st.text(max_size=40))
def test_every_key_that_is_taken_stays_below_the_folder(key: str) -> None:
    try:
        check_key(key)
    except Invalid:
        return
    path = os.path.normpath(f"/objects/{key}")
    assert path == f"/objects/{key}"
    assert key.isascii()


def test_a_missing_object_is_not_found_and_a_folder_is_no_object(blobs: LocalBlobs) -> None:
    put(blobs, {"default/1.2/a": b"content"})
    for key in ("default/1.2/b", "default/1.2", "default/1.2/a/b", "other/x"):
        assert not blobs.exists(key)
        for use in (blobs.open, blobs.size, lambda k: blobs.read(k, 0, 1), blobs.stream):
            with pytest.raises(NotFound):
                use(key)  # type: ignore[operator]
        assert blobs.delete([key]) == 0
    with pytest.raises(Invalid):
        blobs.read("default/1.2/a", -1, 1)
    with pytest.raises(Invalid):
        blobs.stream("default/1.2/a", 0, -1)


def test_deleting_takes_empty_folders_along_and_leaves_the_rest(blobs: LocalBlobs) -> None:
    put(blobs, {"default/1.2/3/a": b"1", "default/1.2/4/b": b"22", "default/1.9/5/c": b"333"})
    assert blobs.delete(["default/1.2/3/a", "default/1.2/3/never", "default/1.9/5/c"]) == 2
    assert sorted(path.name for path in blobs.root.iterdir()) == [".tmp", "default"]
    assert [path.name for path in (blobs.root / "default").iterdir()] == ["1.2"]
    assert list(blobs.list()) == [("default/1.2/4/b", 2)]
    put(blobs, {"default/1.9/5/c": b"333"})
    assert blobs.size("default/1.9/5/c") == 3


def test_listing_is_by_whole_components(blobs: LocalBlobs) -> None:
    put(blobs, {"default/1.2/3/a": b"1", "default/1.2/4/b": b"22", "default/1.22/5/c": b"333", "d2/x": b""})
    assert dict(blobs.list()) == {"default/1.2/3/a": 1, "default/1.2/4/b": 2, "default/1.22/5/c": 3, "d2/x": 0}
    assert dict(blobs.list("default/1.2")) == dict(blobs.list("default/1.2/"))
    assert dict(blobs.list("default/1.2")) == {"default/1.2/3/a": 1, "default/1.2/4/b": 2}
    assert dict(blobs.list("default/none")) == {}
    assert dict(LocalBlobs(blobs.root / "nowhere").list()) == {}


def test_folders_that_others_delete_are_made_again(blobs: LocalBlobs) -> None:
    put(blobs, {"default/1.2/3/a": b"1"})
    LocalBlobs(blobs.root).delete(["default/1.2/3/a"])
    put(blobs, {"default/1.2/3/b": b"2"})
    assert dict(blobs.list()) == {"default/1.2/3/b": 1}
    shutil.rmtree(blobs.root)
    put(blobs, {"default/1.2/3/c": b"3"})
    assert dict(blobs.list()) == {"default/1.2/3/c": 1}


def test_writers_and_deleters_of_the_same_folder_do_not_lose_objects(blobs: LocalBlobs) -> None:
    stop = threading.Event()

    def churn() -> None:
        mine = LocalBlobs(blobs.root)
        while not stop.is_set():
            put(mine, {"default/1.2/3/churn": b"x"})
            mine.delete(["default/1.2/3/churn"])

    with ThreadPoolExecutor(2) as threads:
        churning = threads.submit(churn)
        try:
            for number in range(30):
                key = f"default/1.2/3/{number}"
                put(blobs, {key: b"kept"})
                assert blobs.size(key) == 4
                blobs.delete([key])
        finally:
            stop.set()
        churning.result()


def test_threads_share_one_storage(blobs: LocalBlobs) -> None:
    def write(worker: int) -> None:
        for turn in range(5):
            put(blobs, {f"default/{turn}/{n}/{worker}": bytes([worker]) * 1000 for n in range(4)})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    listed = dict(blobs.list())
    assert len(listed) == 8 * 5 * 4
    assert all(blobs.read(key, 0, 2000) == bytes([int(key[-1])]) * 1000 for key in listed)
    assert len(files_below(blobs.root)) == len(listed)


WRITER = """
import sys
from pathlib import Path
from hilum.core.blobs import LocalBlobs
blobs = LocalBlobs(Path(sys.argv[1]))
with blobs.group() as group:
    for number in range(3):
        item = group.create()
        item.write(b"x" * 100_000)
        item.finish(f"default/{number}")
    print("written", flush=True)
    sys.stdin.readline()
    group.commit()
print("committed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def writer(blobs: LocalBlobs) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(blobs.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def test_what_kill_9_left_is_removed_by_the_next_writer_but_not_what_a_live_one_is_writing(
    blobs: LocalBlobs, writer: "subprocess.Popen[str]"
) -> None:
    put(blobs, {"default/other": b"x"})
    assert len(files_below(blobs.root / ".tmp")) == 3, "the live writer keeps its files"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    put(LocalBlobs(blobs.root), {"default/more": b"x"})
    assert files_below(blobs.root / ".tmp") == []
    assert dict(blobs.list()) == {"default/other": 1, "default/more": 1}


def test_a_storage_that_is_let_go_leaves_no_temporary_folder(blobs: LocalBlobs) -> None:
    other = LocalBlobs(blobs.root)
    put(other, {"default/a": b"x"})
    assert len(list((blobs.root / ".tmp").iterdir())) == 1
    del other
    assert list((blobs.root / ".tmp").iterdir()) == []


def test_the_disk_is_flushed_before_names_are_given_and_folders_after(
    tmp_path: Path,
) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is missing")
    trace = tmp_path / "trace"
    script = (
        "import sys; from pathlib import Path; from hilum.core.blobs import LocalBlobs\n"
        "with LocalBlobs(Path(sys.argv[1])).group() as group:\n"
        "    for number in range(3):\n"
        "        item = group.create(); item.write(b'x'); item.finish(f'default/1/{number}')\n"
        "    group.commit()\n"
    )
    command = ["strace", "-y", "-e", "trace=fsync,rename", "-o", str(trace), sys.executable, "-c", script]
    subprocess.run([*command, str(tmp_path / "objects")], check=True)
    calls = [line for line in trace.read_text().splitlines() if str(tmp_path / "objects") in line]
    kinds = [(line.partition("(")[0], ".tmp/" in line) for line in calls]
    wanted = [("fsync", True)] * 3 + [("rename", True)] * 3 + [("fsync", False)] * 3
    assert [kind for kind, _ in itertools.groupby(kinds)] == [kind for kind, _ in itertools.groupby(wanted)]
    assert kinds.count(("fsync", True)) == kinds.count(("rename", True)) == 3
    flushed = {line.partition("<")[2].partition(">")[0] for line in calls if line.startswith("fsync")}
    root = str(tmp_path / "objects")
    assert {root, f"{root}/default", f"{root}/default/1"} <= flushed


def test_a_disk_that_has_less_than_its_reserve_takes_nothing_and_says_so(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "objects", min_free_bytes=1 << 60)
    with pytest.raises(OutOfSpace, match="HILUM_MIN_FREE_BYTES"):
        blobs.group()
    assert files_below(blobs.root) == []


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half(small_disk: Path) -> None:
    blobs = LocalBlobs(small_disk / "objects")
    put(blobs, {"default/first": b"x" * 1_000_000})
    with pytest.raises(OutOfSpace, match="full"):
        put(blobs, {f"default/{n}": b"x" * 1_000_000 for n in range(5)})
    assert dict(blobs.list()) == {"default/first": 1_000_000}
    assert len(files_below(blobs.root)) == 1
    put(blobs, {"default/second": b"x" * 1_000_000})


def test_a_large_object_is_stopped_when_it_eats_the_reserve(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.core.blobs.local._WRITE_BACK_BYTES", 100_000)
    blobs = LocalBlobs(small_disk / "objects", min_free_bytes=2_000_000)
    with blobs.group() as group:
        item = group.create()
        with pytest.raises(OutOfSpace, match="HILUM_MIN_FREE_BYTES"):
            item.write(b"x" * 2_500_000)
    assert files_below(blobs.root) == []


def test_a_storage_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Unavailable, match="cannot be used"):
        LocalBlobs(tmp_path / "file" / "objects").group()


def test_the_url_decides_where_objects_lie(tmp_path: Path) -> None:
    def root(url: str) -> Path:
        blobs = open_blobs(Settings(data=tmp_path, blobs_url=url, min_free_bytes=7))
        assert isinstance(blobs, LocalBlobs)
        assert blobs.min_free_bytes == 7
        return blobs.root

    assert root("") == tmp_path / "objects"
    assert root("file:///srv/my%20objects") == Path("/srv/my objects")
    assert root("file://localhost/srv") == Path("/srv")
    for url in ("file://other/srv", "file:relative", "/srv/objects", "http://x/y", "file:///a?b=c"):
        with pytest.raises(Invalid, match="file:///absolute/path"):
            open_blobs(Settings(data=tmp_path, blobs_url=url))


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=5000), max_size=6), st.integers(0, 20_000), st.integers(0, 20_000))
def test_any_range_of_any_content_is_the_slice_of_it(
    blobs: LocalBlobs, parts: list[bytes], offset: int, length: int
) -> None:
    content = b"".join(parts)
    blobs.delete(["default/a"])
    with blobs.group() as group:
        item = group.create()
        for part in parts:
            item.write(part)
        item.finish("default/a")
        group.commit()
    wanted = content[offset : offset + length]
    assert blobs.read("default/a", offset, length) == wanted
    assert b"".join(blobs.stream("default/a", offset, length, 700)) == wanted
