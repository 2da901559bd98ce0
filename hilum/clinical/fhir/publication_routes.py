"""REST of publication: which studies wait for the FHIR server, and sending them now."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from hilum.clinical.fhir.publication import publication, publish_now
from hilum.core.errors import Conflict
from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, refuse_unknown_parameters
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API

router = APIRouter(prefix=API, tags=["FHIR"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)


class WaitingStudy(Model):
    """A study of which the FHIR server does not have the newest version; ``problem`` is empty where it is just due."""

    id: int
    study_instance_uid: str
    source: str
    version: int
    published_version: int
    attempts: int
    next_at: datetime
    problem: str


class FhirPublication(Page[WaitingStudy]):
    """How publication stands; ``items`` are the studies that wait, ``total`` how many do."""

    server: str
    published: int
    failures: int
    problem: str
    next_at: datetime


class Sent(Model):
    """How many studies are sent now."""

    studies: int


@router.get("/fhir/publication")
def get_publication(archive: TheArchive, limit: Limit = 20, offset: Offset = 0) -> FhirPublication:
    """Which studies wait for the FHIR server, and why."""
    found = publication(archive.database, limit=limit, offset=offset)
    server = archive.settings.fhir_publish_url
    return FhirPublication.model_validate(asdict(found) | {"server": server, "limit": limit, "offset": offset})


@router.post("/fhir/publication/retry", status_code=202)
def post_retry(
    archive: TheArchive, everything: Annotated[bool, Query(description="Also what the server has already.")] = False
) -> Sent:
    """Send what waits now, or everything again (to a server that has lost it)."""
    if not archive.settings.fhir_publish_url:
        raise Conflict("Nothing is published: HILUM_FHIR_PUBLISH_URL names no server.")
    return Sent(studies=publish_now(archive.database, everything=everything))
