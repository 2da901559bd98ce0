"""TLS: with the listener's own certificate, and with clients that must show theirs."""

import ssl
import subprocess
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tests.conftest import free_port
from tests.dimse.conftest import CT, EXPLICIT, VERIFICATION, Start, dcmtk
from tests.dimse.test_find import fill, query
from tests.dimse.test_retrieve import move
from tests.make import ct, uid


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority (ca.pem), and certificates that it signed for the listener and a client; a stranger's own."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    for name in ("server", "client"):
        openssl(
            *new, "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", folder / "ca.pem",
            "-CAkey", folder / "ca.key", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
        )  # fmt: skip
    return folder


def client(certificates: Path, name: str | None) -> tuple[ssl.SSLContext, None]:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.check_hostname = False
    if name:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return context, None


def own(certificates: Path) -> dict[str, object]:
    return {
        "dicom_tls_certificate": certificates / "server.pem", "dicom_tls_key": certificates / "server.key",
        "dicom_tls_ca": certificates / "ca.pem",
    }  # fmt: skip


def test_instances_come_by_tls_and_plain_connections_are_not_served(
    start: Start, certificates: Path, tmp_path: Path
) -> None:
    dicom = start(**own(certificates))
    with dicom.associated((CT, EXPLICIT), tls_args=client(certificates, None)) as association:
        assert association.is_established
    (tmp_path / "one.dcm").write_bytes(ct(size=512))
    dcmtk("storescu", dicom.port, "--anonymous-tls", "+cf", str(certificates / "ca.pem"), tmp_path / "one.dcm")
    assert dicom.instances() == [uid(1, 1, 1)]
    with dicom.associated((CT, EXPLICIT)) as association:
        assert not association.is_established


def test_clients_must_show_a_certificate_that_is_trusted(start: Start, certificates: Path) -> None:
    dicom = start(**own(certificates), dicom_tls_clients=True)
    for name, served in (("client", True), ("stranger", False), (None, False)):
        with dicom.associated((VERIFICATION, EXPLICIT), tls_args=client(certificates, name)) as association:
            assert (association.is_established and association.send_c_echo().get("Status") == 0) is served
    dcmtk(
        "echoscu", dicom.port, "+tls", str(certificates / "client.key"), str(certificates / "client.pem"),
        "+cf", str(certificates / "ca.pem"),
    )  # fmt: skip


def test_a_peer_that_is_moved_to_may_ask_for_tls(start: Start, certificates: Path) -> None:
    port, taken = free_port(), list[str]()

    def store(event: evt.Event) -> int:
        taken.append(event.request.AffectedSOPInstanceUID)
        return 0

    peer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    peer.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    ae = AE("PEER")
    ae.add_supported_context(CT, ExplicitVRLittleEndian)
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)], ssl_context=peer
    )
    try:
        dicom = start(dicom_peers=["TESTER", f"PEER=tls://127.0.0.1:{port}"], dicom_tls_ca=certificates / "ca.pem")
        fill(dicom.archive, ct())
        assert move(dicom, query("STUDY", StudyInstanceUID=uid(1)))[-1][0].Status == 0
    finally:
        server.shutdown()
    assert taken == [uid(1, 1, 1)]
