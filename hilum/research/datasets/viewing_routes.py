"""DICOMweb of a version, read-only: ``/datasets/{id}/versions/{n}/dicom-web`` answers as the archive's does."""

from typing import Final
from urllib.parse import quote

from fastapi import Request

from hilum.core.access import TheCaller
from hilum.core.errors import Conflict
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb.doors import serve
from hilum.imaging.dicomweb.routes import reading_router
from hilum.research.datasets.versions import made_version
from hilum.research.datasets.viewing import VersionHoldings

_BASE: Final = "/datasets/{dataset}/versions/{version}/dicom-web"


def the_version(request: Request, archive: TheArchive, caller: TheCaller, dataset: str, version: str) -> None:
    """Dependency: serve the version that the path names. A draft is shown to those who may decide on it.

    Raises
    ------
    NotFound
        There is no such version.
    Conflict
        It is still made, or not given out.
    """
    with archive.database.connect() as connection:
        row = made_version(connection, dataset, version)
    if row["state"] != "published" and (row["state"] != "draft" or caller.only_reads):
        raise Conflict(f"The version is {row['state']}: only what is published is given out.")
    path = _BASE.format(dataset=quote(dataset, safe=""), version=quote(version, safe=""))
    serve(request, VersionHoldings(row["id"], path, request.path_params.get("study")))


router = reading_router(_BASE, the_version)
