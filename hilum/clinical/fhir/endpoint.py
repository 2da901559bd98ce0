"""The Endpoints of FHIR R4: where the images of a source, and those of its remote archive, can be
fetched by DICOMweb."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.codes import Element, plain
from hilum.clinical.fhir.imaging_study import REMOTE
from hilum.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where images are served.

    Attributes
    ----------
    id : str
        The key of the source, or ``remote.`` and its number for its remote archive.
    address : str
        Base URL of DICOMweb; the series lies below it at ``/studies/{study}/series/{series}``.
    name : str
        For people.
    made_at : datetime
        When the source was made.
    """

    id: str
    address: str
    name: str
    made_at: datetime

    def resource(self) -> Element:
        """The Endpoint, without ``id`` and ``meta``."""
        return {
            "resourceType": "Endpoint",
            "identifier": [{"system": codes.URI, "value": self.address}],
            "status": "active",
            "connectionType": {"system": codes.CONNECTION_TYPE, "code": "dicom-wado-rs", "display": "DICOM WADO-RS"},
            "name": self.name,
            "payloadType": [{"text": "DICOM"}],
            "payloadMimeType": ["application/dicom"],
            "address": self.address,
        }


def list_endpoints(connection: sa.Connection, base: str) -> list[Endpoint]:
    """Every Endpoint, by id.

    Parameters
    ----------
    connection
        Where to read.
    base
        The address of this Hilum, without a slash at its end.
    """
    rows = connection.exec_driver_sql("select id, key, name, created_at, dicomweb_url from hilum.source").mappings()
    found = [endpoint for row in rows for endpoint in _of_source(row, base)]
    return sorted(found, key=lambda endpoint: endpoint.id)


def find_endpoint(connection: sa.Connection, base: str, name: str) -> Endpoint:
    """One Endpoint by its id; raises ``NotFound``."""
    for endpoint in list_endpoints(connection, base):
        if endpoint.id == name:
            return endpoint
    raise NotFound("There is no such Endpoint.")


def _of_source(row: Mapping[str, object] | sa.RowMapping, base: str) -> list[Endpoint]:
    key, made_at = str(row["key"]), row["created_at"]
    assert isinstance(made_at, datetime)
    name = plain(row["name"]) or key
    root = f"{base}/dicom-web" if key == "default" else f"{base}/sources/{key}/dicom-web"
    found = [Endpoint(key, root, name, made_at)]
    if row["dicomweb_url"]:
        found.append(
            Endpoint(f"{REMOTE}{row['id']}", str(row["dicomweb_url"]).rstrip("/"), f"{name} (remote)", made_at)
        )
    return found
