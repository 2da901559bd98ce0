"""A DICOM listener in a thread of the test, with an archive of the test's own behind it; DICOM's own tools and raw
sockets as its peers."""

import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from hilum.core.blobs import LocalBlobs
from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.supervise import bind
from hilum.imaging.archive.store import Archive
from hilum.imaging.dimse.listener import Listener
from hilum.imaging.dimse.provider import open_listener
from tests.conftest import wait_until

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


@dataclass
class Dicom:
    """A running listener."""

    port: int
    archive: Archive
    listener: Listener

    def rows(self, query: str) -> list[dict[str, object]]:
        """Ask the catalogue."""
        with self.archive.database.transaction() as transaction:
            return transaction.rows(query)  # pyright: ignore[reportArgumentType]

    def instances(self) -> list[str]:
        """SOP Instance UIDs in the catalogue."""
        found = self.rows("select sop_instance_uid as uid from hilum.instance where deleted_at is null order by 1")
        return [str(row["uid"]) for row in found]

    def stored(self, uid: str) -> bytes:
        """The file of an instance."""
        (row,) = self.rows(f"select blob_key from hilum.instance where sop_instance_uid = '{uid}'")
        with self.archive.blobs.open(str(row["blob_key"])) as file:
            return file.read()

    @contextmanager
    def associated(
        self, *contexts: tuple[str, object], title: str = "TESTER", **options: object
    ) -> Iterator[Association]:
        """An association by pynetdicom, of SOP classes with their transfer syntaxes."""
        ae = AE(ae_title=title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        for uid, syntaxes in contexts:
            ae.add_requested_context(uid, syntaxes)  # pyright: ignore[reportArgumentType]
        association = ae.associate("127.0.0.1", self.port, ae_title="HILUM", **options)  # pyright: ignore
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
            ae.shutdown()

    def echoes(self) -> bool:
        """Whether the listener serves whoever comes next."""
        with self.associated((VERIFICATION, IMPLICIT)) as association:
            return association.is_established and association.send_c_echo().Status == 0

    @contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            yield connection


@contextmanager
def listening(database: Database, folder: Path, **settings: object) -> Iterator[Dicom]:
    """Run a listener on a free port."""
    given = {"data": folder / "data", "min_free_bytes": 0} | settings
    objects = LocalBlobs(folder / "objects", int(str(given["min_free_bytes"])))
    archive = Archive(database, objects, Settings(**given))  # pyright: ignore[reportArgumentType]
    with bind("127.0.0.1", 0) as listening_socket, open_listener(archive, listening_socket) as listener:
        thread = threading.Thread(target=listener.run, daemon=True)
        thread.start()
        yield Dicom(listening_socket.getsockname()[1], archive, listener)
        assert thread.is_alive(), "the listener died"
    objects.close()


Start = Callable[..., Dicom]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Start a listener with settings of the test's own."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(listening(database, tmp_path, **settings))


@pytest.fixture
def dicom(start: Start) -> Dicom:
    """A listener with the default settings."""
    return start()


def program(tool: str) -> str:
    """The file of one of dcmtk's tools: pynetdicom has put programs of the same names beside Python's."""
    folders = [one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != Path(sys.executable).parent]
    found = shutil.which(tool, path=os.pathsep.join(folders))
    assert found, f"{tool} of dcmtk is not installed"
    return found


def dcmtk(
    tool: str, port: int, *words: str | Path, to: str = "HILUM", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one of dcmtk's tools against a port of loopback; options go first, what they work on last."""
    options = [word for word in words if not isinstance(word, Path)]
    files = [str(word) for word in words if isinstance(word, Path)]
    command = [program(tool), "-aec", to, *options, "127.0.0.1", str(port), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def store_bytes(
    association: Association, sop_class: str, sop_instance: str, data: bytes, syntax: str = EXPLICIT
) -> int:
    """Send a data set as it is, by pynetdicom; gives the status."""
    (context,) = [
        one
        for one in association.accepted_contexts
        if one.abstract_syntax == sop_class and one.transfer_syntax[0] == syntax
    ]
    request = C_STORE()
    request.MessageID, request.Priority = 1, 0
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = io.BytesIO(data)
    association._reactor_checkpoint.clear()  # else its own thread would take the answer
    wait_until(lambda: association._is_paused, what="an association that waits")
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer is not None
    return int(answer.Status)  # pyright: ignore[reportAttributeAccessIssue]


def received(connection: socket.socket) -> list[tuple[int, bytes]]:
    """The PDUs that come until the other side closes the connection."""
    pdus: list[tuple[int, bytes]] = []
    while head := _exactly(connection, 6):
        kind, length = struct.unpack(">BxI", head)
        pdus.append((kind, _exactly(connection, length)))
    return pdus


def one_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """The next PDU."""
    kind, length = struct.unpack(">BxI", _exactly(connection, 6))
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        try:
            piece = connection.recv(count - len(found))
        except ConnectionResetError:
            piece = b""
        if not piece:
            return b""
        found += piece
    return found
