"""A proxy that keeps instances while nobody answers: nothing that it acknowledged is lost, whatever is killed."""

import threading
from pathlib import Path

import pydicom
import pytest

from hilum.core.config import Settings
from hilum.core.errors import InUse, Invalid, OutOfSpace
from hilum.imaging.dicom.header import Header, NotDicom
from hilum.imaging.relay.proxy import serve_proxy
from hilum.imaging.relay.spool import Letter, open_spool
from tests.conftest import wait_until
from tests.dimse.conftest import dcmtk
from tests.make import ct, folder, uid
from tests.relay.conftest import Site, body_digest
from tests.relay.test_outages import expected, send

LETTER = Letter(
    called="HILUM", calling="CT01", sop_class_uid="1.2", sop_instance_uid=uid(1, 1, 1), transfer_syntax_uid="1.2.3"
)


def nothing(_: Header) -> None:
    """No check."""


def test_what_is_kept_outlives_a_kill_and_is_delivered_once_the_link_is_up(site: Site, tmp_path: Path) -> None:
    site.nats.kill()
    folder(tmp_path / "in", studies=2, instances=30, size=64)
    keep = tmp_path / "keep"
    proxy = site.proxy("--keep", keep)
    dcmtk("echoscu", proxy.port)
    query = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    found = dcmtk("findscu", proxy.port, "-v", *query, check=False)
    assert "Failed" in found.stdout + found.stderr or "Refused" in found.stdout + found.stderr
    acknowledged: set[Path] = set()
    sender = threading.Thread(target=send, args=(proxy.port, tmp_path / "in", acknowledged))
    sender.start()
    wait_until(lambda: len(list((keep / "waiting").glob("*.json"))) >= 20, 120, "20 kept instances")
    proxy.kill()
    sender.join()
    assert len(acknowledged) >= 10
    # What a kill may leave: a file that was never acknowledged, and a part of one.
    (keep / "waiting" / "1-left.dcm").write_bytes(b"left")
    (keep / "waiting" / "1-left.part").write_bytes(b"left")
    # One that the receiver will not take: of no study.
    proxy = site.proxy("--keep", keep)
    (tmp_path / "homeless").write_bytes(ct(3, StudyInstanceUID=None))
    dcmtk("storescu", proxy.port, tmp_path / "homeless")
    site.nats.start()
    receiver = site.dicom()
    site.connected(receiver, proxy)
    wait_until(lambda: not list((keep / "waiting").iterdir()), 120, "an empty folder")
    right, there = expected(tmp_path / "in"), site.digests()
    for path in acknowledged:
        one = str(pydicom.dcmread(path).SOPInstanceUID)
        assert there[one] == right[one]
    assert right.items() >= there.items()
    (aside,) = (keep / "refused").glob("*.dcm")
    assert pydicom.dcmread(aside).SOPInstanceUID == uid(3, 1, 1)
    assert '"refused":"C000"' in aside.with_suffix(".json").read_text()
    # With the link up associations are relayed, and nothing is kept.
    assert send(proxy.port, tmp_path / "in", set())
    assert site.digests() == right
    assert not list((keep / "waiting").iterdir())
    # By setting all is kept first all the same.
    always = site.proxy("--keep", tmp_path / "always", RELAY_KEEP_ALWAYS=True)
    site.connected(always)
    (tmp_path / "one").write_bytes(ct(8))
    dcmtk("storescu", always.port, tmp_path / "one")
    assert always.said("relay.keeping")
    wait_until(lambda: site.digests().get(uid(8, 1, 1)) == body_digest(ct(8)), 120, "a delivered instance")
    # Patients' images are for nobody else to read.
    assert keep.stat().st_mode & 0o077 == 0


def test_a_proxy_needs_a_list_of_callers_off_loopback_and_one_channel() -> None:
    for given in ({"dicom_host": "0.0.0.0"}, {"relay_channels": ["a", "b"]}, {"relay_channels": ["a.b"]},
                  {"nats_url": ""}, {"relay_keep_always": True}, {"relay_locals": ["CT01"]}):  # fmt: skip
        settings = Settings(**({"nats_url": "nats://x", "relay_channels": ["main"]} | given))  # pyright: ignore
        with pytest.raises(Invalid):
            serve_proxy(settings, lambda _: None)


def test_a_folder_is_held_by_one_and_keeps_only_what_is_whole(tmp_path: Path) -> None:
    with open_spool(tmp_path, 0) as spool:
        with pytest.raises(InUse), open_spool(tmp_path, 0):
            pass
        data = ct()
        spool.keep(LETTER, data[:200], [data[200:]], nothing, 1 << 20)
        with pytest.raises(NotDicom):
            spool.keep(LETTER, b"no", [b"thing"], nothing, 1 << 20)

        def breaks() -> object:
            yield b"x"
            raise ConnectionError

        with pytest.raises(OutOfSpace):
            spool.keep(LETTER, b"", breaks(), nothing, 1 << 20)  # pyright: ignore
        (kept,) = spool.waiting(10)
        assert (kept.letter.called, kept.letter.size, kept.letter.offset) == ("HILUM", len(data), 200)
        with spool.open(kept) as file:
            assert body_digest(file.read()) == body_digest(data)
        assert spool.waiting(10, kept.name + "~") == []
        assert len(list((tmp_path / "waiting").iterdir())) == 2
        spool.delivered(kept)
        assert not list((tmp_path / "waiting").iterdir())


def test_a_full_disk_takes_nothing(tmp_path: Path) -> None:
    with open_spool(tmp_path, 1 << 60) as spool:
        with pytest.raises(OutOfSpace):
            spool.keep(LETTER, b"", [ct()], nothing, 1 << 20)
        assert not list((tmp_path / "waiting").iterdir())
