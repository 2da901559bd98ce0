"""The listener as a process: part of ``hilum serve`` and alone, killed, without its database, and refused a port."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.imaging.dimse.peers import Place
from hilum.imaging.dimse.setup import check_settings
from tests.conftest import Server, free_port, serving, wait_until
from tests.dimse.conftest import VERIFICATION, dcmtk
from tests.dimse.test_find import STUDY_ROOT, query
from tests.dimse.test_retrieve import GET
from tests.journeys.test_survival import _ok, counts, postmaster
from tests.make import folder, uid

API = "/api/v1/imaging"


def acknowledged(output: str) -> int:
    """How many C-STORE responses with status Success dcmtk saw."""
    return output.count("Received Store Response (Success)")


def listener(server: Server) -> psutil.Process:
    (process,) = server.children("dicom")
    return process


def test_serve_has_a_listener_that_says_where_it_is_and_dcmtk_stores_there(server: Server, tmp_path: Path) -> None:
    folder(tmp_path / "in", instances=2)
    dcmtk("echoscu", server.dicom_port)
    dcmtk("storescu", server.dicom_port, "+sd", "+r", tmp_path / "in")
    study = server.get(f"{API}/studies/{uid(1)}").json()
    assert study["num_instances"] >= 2
    assert f"DICOM is at HILUM@127.0.0.1:{server.dicom_port}" in server.log.read_text()
    shown = server.hilum("config", "--json").stdout
    assert f'"HILUM_DICOM_PORT": {{"value": {server.dicom_port}' in shown


def test_killed_in_the_middle_of_many_stores_nothing_acknowledged_is_lost(tmp_path: Path, server: Server) -> None:
    folder(tmp_path / "in", studies=4, instances=60, size=64)
    outputs: dict[int, str] = {}

    def send(number: int) -> None:
        done = dcmtk("storescu", server.dicom_port, "-v", "+sd", "+r", tmp_path / "in" / f"study{number}", check=False)
        outputs[number] = done.stdout + done.stderr

    before = counts(server)[1]
    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: counts(server)[1] >= before + 40, what="some stores")
    first = listener(server)
    first.kill()
    for thread in threads:
        thread.join()
    for number, output in outputs.items():
        in_study = server.get(f"{API}/studies/{uid(number)}").json().get("num_instances", 0)
        assert in_study >= acknowledged(output)
    wait_until(lambda: [p for p in server.children("dicom") if p.pid != first.pid], 60, "a new listener")
    wait_until(lambda: dcmtk("echoscu", server.dicom_port, check=False).returncode == 0, 60, "an answer")
    for number in range(1, 5):
        dcmtk("storescu", server.dicom_port, "+sd", "+r", tmp_path / "in" / f"study{number}")
        assert server.get(f"{API}/studies/{uid(number)}").json()["num_instances"] == 60
    assert server.hilum("check", "--json").returncode == 0


def associated(port: int) -> Association:
    ae = AE(ae_title="TESTER")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    for model in (VERIFICATION, STUDY_ROOT, GET):
        ae.add_requested_context(model)
    return ae.associate("127.0.0.1", port, ae_title="HILUM")


def test_without_its_database_it_fails_what_is_asked_and_takes_stores_when_it_is_back(
    tmp_path: Path, data: Path
) -> None:
    folder(tmp_path / "in", instances=3)
    with serving(data) as server:
        dcmtk("storescu", server.dicom_port, tmp_path / "in/study1/series1/IM1")
        open_one = associated(server.dicom_port)
        database = postmaster(data)
        os.kill(server.process.pid, signal.SIGSTOP)  # it would bring the database back
        others = {process.pid for process in server.children()} - {listener(server).pid}
        for pid in others:
            with suppress(ProcessLookupError):  # the database's processes come and go
                os.kill(pid, signal.SIGSTOP)
        for process in (*database.children(recursive=True), database):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        done = dcmtk("storescu", server.dicom_port, "-v", tmp_path / "in/study1/series1/IM2", check=False)
        assert acknowledged(done.stdout + done.stderr) == 0
        assert done.returncode != 0
        (status, _), *_ = open_one.send_c_find(query("STUDY", StudyInstanceUID=uid(1)), STUDY_ROOT)
        assert status.Status not in (0, 0xFF00)
        (status, _), *_ = open_one.send_c_get(query("STUDY", StudyInstanceUID=uid(1)), GET)
        assert status.Status not in (0, 0xFF00)
        assert open_one.send_c_echo().Status == 0
        os.kill(server.process.pid, signal.SIGCONT)
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: _ok(server), 120, "the database")
        dcmtk("storescu", server.dicom_port, tmp_path / "in/study1/series1/IM2")
        assert counts(server) == (1, 2, 2)


def hilum(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hilum", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_taken_port_an_open_address_and_wrong_settings_are_refused_in_a_sentence(
    server: Server, tmp_path: Path
) -> None:
    environment = server.environment | {"HILUM_DATA": str(tmp_path / "other"), "HILUM_PORT": str(free_port())}
    for words, sentence in (
        (("serve", "--dicom-port", str(server.dicom_port)), "DICOM port"),
        (("serve", "--dicom-host", "0.0.0.0"), "HILUM_DICOM_PEERS"),
        (("dicom", "--aet", "A title that is too long"), "AE title"),
    ):
        refused = hilum(environment, *words)
        assert refused.returncode in (1, 2)
        assert sentence in refused.stderr
        assert refused.stderr.startswith("hilum: ")
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"dicom_peers": ["CT01=nowhere"]},
        {"dicom_peers": ["CT01=host:99999"]},
        {"dicom_peers": ["CT01", "CT01"]},
        {"dicom_sources": ["CT01"]},
        {"dicom_tls_certificate": "/none"},
        {"dicom_tls_clients": True},
        {"aet": ""},
        {"aet": "A\\B"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        check_settings(Settings(**wrong))  # pyright: ignore[reportArgumentType]


def test_with_an_ae_list_it_may_listen_anywhere() -> None:
    peers = check_settings(Settings(dicom_host="0.0.0.0", dicom_peers=["CT01", "MR01=tls://[::1]:4242"]))
    assert peers == {"CT01": None, "MR01": Place("::1", 4242, tls=True)}


def test_two_listeners_alone_serve_one_archive(server: Server, tmp_path: Path) -> None:
    folder(tmp_path / "in", studies=2, instances=2)
    ports = free_port(), free_port()
    running = [
        subprocess.Popen([sys.executable, "-m", "hilum", "dicom", "--dicom-port", str(port)], env=server.environment)
        for port in ports
    ]
    try:
        for number, port in enumerate(ports, start=1):
            wait_until(lambda port=port: dcmtk("echoscu", port, check=False).returncode == 0, 60, "a listener")
            dcmtk("storescu", port, "+sd", "+r", tmp_path / "in" / f"study{number}")
    finally:
        for process in running:
            process.terminate()
    assert [process.wait(60) for process in running] == [128 + signal.SIGTERM] * 2
