"""The tables of docs/reference/dimse.md say what the code does."""

import re
from pathlib import Path

from hilum.core.config import Settings
from hilum.imaging.dicom.writer import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from hilum.imaging.dimse import association, channel, commitment, negotiation, pdu, status, wire
from hilum.imaging.dimse.negotiation import SERVICES, STORAGE_SYNTAXES

PAGE = (Path(__file__).parents[2] / "docs/reference/dimse.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.M)


def test_services_and_transfer_syntaxes() -> None:
    services = set(re.findall(r"\| `(1\.2\.[0-9.]+)` \| [CN]-", section("Services")))
    assert services == SERVICES
    assert tuple(first_cells(section("Transfer syntaxes"))) == STORAGE_SYNTAXES
    assert negotiation.is_standard_storage("1.2.840.10008.5.1.4.34.7")


def test_limits() -> None:
    limits = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section("Associations"), re.M))
    settings = Settings()
    assert limits["longest PDU, taken and sent"] == f"{pdu.MAX_PDU} bytes"
    assert f"({settings.dicom_max_associations})" in limits["associations at once, a process"]
    assert limits["time to ask for an association (ARTIM)"] == f"{association.ARTIM_SECONDS:g} s"
    assert limits["time for one PDU, and between the PDUs of a message"] == f"{wire.PDU_SECONDS:g} s"
    assert wire.PDU_SECONDS == channel.MESSAGE_SECONDS
    assert f"({settings.dicom_idle_seconds:g} s)" in limits["time between two messages"]
    assert f"({settings.max_instance_bytes >> 30} GiB)" in limits["instance"]
    assert limits["identifier of a query"] == f"{channel.MAX_IDENTIFIER} bytes"
    assert limits["storage commitment request"] == f"{commitment.MAX_REQUEST} bytes"
    assert f"`{IMPLEMENTATION_CLASS_UID}`, version name `{IMPLEMENTATION_VERSION}`" in PAGE


def test_every_status_that_is_answered_is_in_a_table_and_no_other() -> None:
    listed = {
        int(code, 16)
        for title in ("C-STORE", "C-FIND", "C-MOVE and C-GET", "Storage commitment")
        for code in first_cells(section(title))
    }
    known = {value for name, value in vars(status).items() if name.isupper() and isinstance(value, int)}
    assert listed == known - {status.UNKNOWN_OPERATION, status.CLASS_CONFLICT}
