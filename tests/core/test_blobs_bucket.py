"""Objects in a real bucket keep the same promises as files do, over a wire that may be cut."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.core.blobs import Blobs, StorageRefused
from hilum.core.blobs.bucket import open_bucket
from hilum.core.blobs.ranged import Heads, RangedFile
from hilum.core.blobs.remote import PART_BYTES, RemoteBlobs
from hilum.core.errors import Invalid, NotFound, Unavailable
from tests.s3 import S3, Wire

QUICK = {"retry_config": {"max_retries": 2, "retry_timeout": 5, "backoff": {"init_backoff": 0.05, "max_backoff": 0.2}}}


@pytest.fixture
def blobs(s3: S3, tmp_path: Path) -> Iterator[RemoteBlobs]:
    opened = s3.blobs(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def wire(s3: S3) -> Iterator[Wire]:
    relay = Wire(s3.port)
    yield relay
    relay.close()


def put(blobs: Blobs, objects: dict[str, bytes]) -> None:
    with blobs.group() as group:
        for key, content in objects.items():
            item = group.create()
            item.write(content)
            item.finish(key)
        group.commit()


def spooled(blobs: RemoteBlobs) -> list[Path]:
    return [path for path in blobs.spool.rglob("*") if path.is_file() and path.name != "lock"]


def ranges(wire: Wire) -> list[str]:
    """The ranges that were asked for, in order; '' for a request without one."""
    found: list[str] = []
    for request in wire.requests:
        lines = request.lower().split(b"\r\n")
        found.append(next((line[7:].decode() for line in lines if line.startswith(b"range: ")), ""))
    return found


def test_a_committed_group_gives_back_its_bytes_whole_in_ranges_and_as_a_stream(blobs: RemoteBlobs) -> None:
    content = os.urandom(3_000_000)
    put(blobs, {"default/1.2/1.2.3/a.dcm": content, "default/1.2/1.2.4/b.dcm": b""})
    key, empty = "default/1.2/1.2.3/a.dcm", "default/1.2/1.2.4/b.dcm"
    assert blobs.size(key) == len(content)
    assert blobs.exists(key)
    with blobs.open(key) as source:
        assert source.read(10) == content[:10]
        assert source.seek(-5, os.SEEK_END) == len(content) - 5
        assert source.read() == content[-5:]
        assert source.seek(100_000) == 100_000
        assert source.read(500_000) == content[100_000:600_000]
        source.seek(0)
        assert source.read() == content
    assert blobs.read(key, 1_000_000, 17) == content[1_000_000:1_000_017]
    assert blobs.read(key, len(content) - 3, 10) == content[-3:]
    assert blobs.read(key, len(content) + 3, 10) == blobs.read(key, len(content), 10) == blobs.read(key, 5, 0) == b""
    chunks = list(blobs.stream(key, chunk_size=65_536))
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) == 65_536
    assert b"".join(blobs.stream(key, 100, 2_000_000, 999_999)) == content[100:2_000_100]
    assert list(blobs.stream(empty)) == list(blobs.stream(key, 0, 0)) == []
    with blobs.open(empty) as source:
        assert source.read() == b""
    assert blobs.path(key) is None
    assert spooled(blobs) == []


def test_nothing_is_there_before_the_commit_and_nothing_stays_without_one(blobs: RemoteBlobs) -> None:
    with blobs.group() as group:
        finished, unfinished = group.create(), group.create()
        for piece in (b"wh", bytearray(b"ol"), memoryview(b"e")):
            finished.write(piece)
        assert finished.size == 5
        with finished.reader() as source:
            assert source.read() == b"whole"
        finished.finish("default/a")
        with finished.reader() as source:
            assert source.read() == b"whole"
        unfinished.write(b"ha")
        assert list(blobs.list()) == []
    assert list(blobs.list()) == []
    assert spooled(blobs) == []


def test_only_finished_objects_are_committed_and_one_content_once(blobs: RemoteBlobs) -> None:
    with blobs.group() as group:
        kept, again, dropped, unfinished = (group.create() for _ in range(4))
        for item in (kept, again, dropped, unfinished):
            item.write(b"content")
        kept.finish("default/kept")
        again.finish("default/kept")
        dropped.finish("default/dropped")
        dropped.discard()
        group.commit()
    assert list(blobs.list()) == [("default/kept", 7)]


def test_a_missing_object_is_not_found_and_a_key_is_checked(blobs: RemoteBlobs) -> None:
    put(blobs, {"default/1.2/a": b"content"})
    for key in ("default/1.2/b", "default/1.2"):
        assert not blobs.exists(key)
        for use in (blobs.open, blobs.size, lambda k: blobs.read(k, 0, 1), blobs.stream):
            with pytest.raises(NotFound):
                use(key)  # type: ignore[operator]
    blobs.delete(["default/1.2/b"])
    for key in ("", "../a", "a b", "a/.b"):
        for use in (blobs.open, blobs.size, blobs.exists, blobs.path, lambda k: blobs.read(k, 0, 1), blobs.stream):
            with pytest.raises(Invalid):
                use(key)  # type: ignore[operator]
        with pytest.raises(Invalid):
            blobs.delete([key])
        with pytest.raises(Invalid), blobs.group() as group:
            group.create().finish(key)
    with pytest.raises(Invalid):
        blobs.read("default/1.2/a", -1, 1)


def test_listing_is_by_whole_components_and_deleting_leaves_the_rest(
    s3: S3, blobs: RemoteBlobs, tmp_path: Path
) -> None:
    put(blobs, {"default/1.2/3/a": b"1", "default/1.2/4/b": b"22", "default/1.22/5/c": b"333", "d2/x": b""})
    put(s3.blobs(tmp_path / "others"), {"default/1.2/3/other": b"of another prefix"})
    assert dict(blobs.list()) == {"default/1.2/3/a": 1, "default/1.2/4/b": 2, "default/1.22/5/c": 3, "d2/x": 0}
    assert (
        dict(blobs.list("default/1.2/"))
        == dict(blobs.list("default/1.2"))
        == {
            "default/1.2/3/a": 1,
            "default/1.2/4/b": 2,
        }
    )
    assert dict(blobs.list("default/none")) == {}
    blobs.delete(["default/1.2/3/a", "default/1.2/3/never", "default/1.22/5/c"])
    assert dict(blobs.list()) == {"default/1.2/4/b": 2, "d2/x": 0}


def test_a_large_object_goes_in_parts_and_is_whole_also_after_an_upload_that_failed(
    s3: S3, blobs: RemoteBlobs, tmp_path: Path, wire: Wire
) -> None:
    content = os.urandom(3 * PART_BYTES + 12_345)
    put(blobs, {"default/large": content})
    assert blobs.size("default/large") == len(content)
    assert b"".join(blobs.stream("default/large")) == content
    cut = s3.blobs(tmp_path / "cut", wire.port, **QUICK)
    wire.cut_after(PART_BYTES // 2, for_good=True)  # in the middle of the first part
    with pytest.raises(Unavailable):
        put(cut, {"default/large2": content})
    assert wire.cuts
    assert spooled(cut) == []
    wire.refusing = False
    # The same upload succeeds over a wire that is there again, and is the one object.
    put(cut, {"default/large2": content})
    assert b"".join(cut.stream("default/large2")) == content


def test_an_upload_that_is_given_up_leaves_no_parts(s3: S3, blobs: RemoteBlobs) -> None:
    before = s3.unfinished_uploads()
    with pytest.raises(OSError):
        blobs.put("default/large", "/proc/self/mem", 3 * PART_BYTES)  # it cannot be read
    assert s3.unfinished_uploads() == before
    assert not blobs.exists("default/large")


def test_a_large_object_that_is_there_is_not_sent_again(s3: S3, tmp_path: Path, wire: Wire) -> None:
    blobs = s3.blobs(tmp_path / "data", wire.port)
    content = os.urandom(PART_BYTES + 1)
    put(blobs, {"default/large": content})
    wire.requests.clear()
    put(blobs, {"default/large": content})
    assert [request.split(b" ")[0] for request in wire.requests] == [b"HEAD"]


def test_what_is_large_is_sent_when_prepared_and_again_if_it_was_removed_since(
    s3: S3, tmp_path: Path, wire: Wire
) -> None:
    blobs, content = s3.blobs(tmp_path / "data", wire.port), os.urandom(PART_BYTES + 1)
    for removed in (False, True):
        with blobs.group() as group:
            for key, data in (("default/large", content), ("default/small", b"small")):
                item = group.create()
                item.write(data)
                item.finish(key)
            group.prepare()
            assert blobs.exists("default/large")
            if removed:
                blobs.delete(["default/large", "default/small"])
            wire.requests.clear()
            group.commit()
            sent = [request.split(b" ")[0] for request in wire.requests]
        assert sorted(sent)[:2] == ([b"HEAD", b"POST"] if removed else [b"HEAD", b"PUT"])
        assert dict(blobs.list()) == {"default/large": len(content), "default/small": 5}


def test_a_frame_is_one_ranged_request_and_many_frames_are_few(s3: S3, tmp_path: Path, wire: Wire) -> None:
    blobs = s3.blobs(tmp_path / "data", wire.port)
    content = os.urandom(20_000_000)
    put(blobs, {"default/cine": content})
    wire.requests.clear()

    def frame(number: int) -> None:
        with blobs.open("default/cine") as file:
            assert file.read(1000) == content[:1000]
            file.seek(number * 200_000 + 100_000)
            assert file.read(200_000) == content[number * 200_000 + 100_000 :][:200_000]

    frame(3)
    assert ranges(wire) == ["bytes=0-65535", "bytes=700000-899999"]
    wire.requests.clear()
    frame(50)
    assert ranges(wire) == ["bytes=10100000-10299999"], "the header is known by now"
    wire.requests.clear()
    with blobs.open("default/cine") as file:
        file.seek(100_000)
        for number in range(90):
            assert file.read(200_000) == content[number * 200_000 + 100_000 :][:200_000]
    assert len(wire.requests) < 12
    assert all(ranges(wire))


def test_objects_that_are_read_ahead_come_in_their_order_and_a_missing_one_in_its_turn(blobs: RemoteBlobs) -> None:
    objects = {f"default/{number}": bytes([number]) * number * 100 for number in range(20)}
    put(blobs, objects)
    wanted = [(key, len(content)) for key, content in objects.items()]
    assert list(blobs.read_all(wanted)) == list(objects.values())
    assert list(blobs.read_all([])) == []
    found = blobs.read_all([*wanted[:3], ("default/missing", 5), *wanted[3:]])
    assert [next(found) for _ in range(3)] == list(objects.values())[:3]
    with pytest.raises(NotFound):
        next(found)
    left = blobs.read_all(wanted)
    next(left)
    del left


def test_first_stretches_are_few_small_and_soon_forgotten() -> None:
    heads = Heads(most=2, seconds=60)
    for key in "abc":
        heads.keep(key, key.encode(), 100)
    assert [heads.get(key) for key in "abc"] == [None, (b"b", 100), (b"c", 100)]
    heads.drop("b")
    heads.keep("whole", b"all of it", 9)
    heads.keep("long", bytes(100_000), 1 << 30)
    assert [heads.get(key) for key in ("b", "whole", "long")] == [None, None, None]
    old = Heads(seconds=0)
    old.keep("a", b"a", 100)
    assert old.get("a") is None


def test_a_small_object_is_read_whole_in_one_request(s3: S3, tmp_path: Path, wire: Wire) -> None:
    blobs = s3.blobs(tmp_path / "data", wire.port)
    content = os.urandom(530_000)
    put(blobs, {"default/slice": content})
    wire.requests.clear()
    with blobs.open("default/slice", len(content)) as file:
        assert file.read(2000) == content[:2000]
        assert file.seek(0, os.SEEK_END) == len(content)
        file.seek(4000)
        assert file.read() == content[4000:]
    assert len(wire.requests) == 1


def test_a_connection_that_breaks_off_is_tried_again(s3: S3, tmp_path: Path, wire: Wire) -> None:
    blobs = s3.blobs(tmp_path / "data", wire.port)
    content = os.urandom(4_000_000)
    wire.cut_after(1_000_000)
    put(blobs, {"default/a": content})
    assert wire.cuts == 1, "the request was cut"
    wire.cut_after(1_000_000)
    assert blobs.read("default/a", 0, len(content)) == content
    assert wire.cuts == 2, "the answer was cut"
    wire.cut_after(3_000_000)
    assert b"".join(blobs.stream("default/a")) == content


def test_a_bucket_that_comes_back_in_time_loses_nothing_and_one_that_does_not_says_so(
    s3: S3, tmp_path: Path, wire: Wire
) -> None:
    blobs = s3.blobs(tmp_path / "data", wire.port)
    wire.refusing = True
    back = threading.Timer(1.5, lambda: setattr(wire, "refusing", False))
    back.start()
    put(blobs, {"default/a": b"late"})
    back.join()
    assert blobs.read("default/a", 0, 9) == b"late"
    wire.refusing = True
    hasty = s3.blobs(tmp_path / "hasty", wire.port, **QUICK)
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached now"):
        hasty.check()
    assert time.monotonic() - begin < 30
    with pytest.raises(Unavailable, match="cannot be reached now"):
        put(hasty, {"default/b": b"never"})


def test_a_missing_bucket_and_wrong_credentials_are_sentences_without_secrets(s3: S3, tmp_path: Path) -> None:
    s3.blobs(tmp_path).check()
    with pytest.raises(StorageRefused, match=r"s3://nowhere does not exist.*HILUM_BLOBS_URL"):
        s3.blobs(tmp_path, url="s3://nowhere").check()
    for wrong in ({"secret_access_key": "tell-nobody"}, {"access_key_id": "tell-nobody"}):
        other = s3.blobs(tmp_path, **wrong)
        for attempt in (
            other.check,
            lambda other=other: put(other, {"a": b"x"}),
            lambda other=other: list(other.list()),
        ):
            with pytest.raises(StorageRefused, match="refuses the credentials") as refused:
                attempt()
            assert "tell-nobody" not in str(refused.value)
    for options in ('{"secret_access_key": 1', '["x"]', '{"no_such_option": "tell-nobody"}', '{"client_options": 1}'):
        with pytest.raises(Invalid, match="HILUM_BLOBS_OPTIONS") as refused:
            open_bucket("s3://bucket", options)
        assert "tell-nobody" not in str(refused.value)
    for url in ("s3://", "s3://user@bucket", "s3://bucket/../x", "s3://bucket?x=y"):
        with pytest.raises(Invalid):
            open_bucket(url)


def test_google_and_azure_are_opened_by_the_same_settings() -> None:
    azure = {"account_name": "hilum", "account_key": "aGlsdW0="}
    assert open_bucket("az://container/prefix", json.dumps(azure)).name == "az://container/prefix"
    assert open_bucket("gs://bucket", '{"skip_signature": true}').name == "gs://bucket"


def test_a_zip_is_read_out_of_a_bucket(blobs: RemoteBlobs) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}.bin", bytes([number]) * 300_000)
    put(blobs, {"uploads/zip": made.getvalue()})
    with blobs.open("uploads/zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 20


WRITER = """
import os, sys
from hilum.core.blobs import open_blobs
from hilum.core.config import load_settings
blobs = open_blobs(load_settings())
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


@pytest.mark.parametrize("committed", [False, True])
def test_kill_9_keeps_what_was_acknowledged_and_leaves_no_files(s3: S3, tmp_path: Path, committed: bool) -> None:
    url, data = s3.url(), tmp_path / "data"
    environment = os.environ | {
        "HILUM_DATA": str(data), "HILUM_BLOBS_URL": url, "HILUM_BLOBS_OPTIONS": s3.options(),
    }  # fmt: skip
    command = [sys.executable, "-c", WRITER]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        if committed:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "committed\n"
        process.send_signal(signal.SIGKILL)
    blobs = s3.blobs(data, url=url)
    assert dict(blobs.list()) == ({f"default/{n}": 100_000 for n in range(3)} if committed else {})
    blobs.group()
    assert spooled(blobs) == []
    blobs.close()


def test_a_process_that_used_a_bucket_ends_in_order(s3: S3, tmp_path: Path) -> None:
    script = WRITER.replace("sys.stdin.readline()", "pass")
    environment = os.environ | {
        "HILUM_DATA": str(tmp_path), "HILUM_BLOBS_URL": s3.url(), "HILUM_BLOBS_OPTIONS": s3.options(),
    }  # fmt: skip
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


@settings(max_examples=60)
@given(
    st.integers(0, 400_000),
    st.lists(st.tuples(st.sampled_from(["seek", "read", "end"]), st.integers(0, 450_000)), max_size=12),
)
def test_any_reading_of_a_ranged_file_is_that_of_a_file(size: int, steps: list[tuple[str, int]]) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    asked: list[tuple[int, int]] = []

    def fetch(offset: int, length: int) -> tuple[bytes, int]:
        asked.append((offset, length))
        return content[offset : offset + length], size

    mine, wanted = RangedFile(fetch, (content[:65_536], size)), io.BytesIO(content)
    for step, number in steps:
        if step == "seek":
            assert mine.seek(number) == wanted.seek(number)
        elif step == "end":
            assert mine.seek(0, os.SEEK_END) == wanted.seek(0, os.SEEK_END)
        else:
            assert mine.read(number) == wanted.read(number)
        assert mine.tell() == wanted.tell()
    assert all(offset >= 0 and length > 0 and offset + length <= size for offset, length in asked)
