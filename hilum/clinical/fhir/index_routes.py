"""REST of indexing: a source's FHIR server is asked for its studies, as a job."""

from fastapi import APIRouter, Depends
from pydantic import Field

from hilum.clinical.fhir.index import LIMIT, MAX_LIMIT, fhir_url
from hilum.clinical.fhir.tasks import KIND
from hilum.core.http import PROBLEMS, Model, refuse_unknown_parameters
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API

router = APIRouter(prefix=API, tags=["FHIR"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)


class FhirIndex(Model):
    """Which studies of which source's FHIR server to index; ``url`` must be the one that the source names."""

    source: str = "default"
    url: str = Field("", max_length=1000)
    limit: int = Field(LIMIT, ge=1, le=MAX_LIMIT, description="How many studies at most.")


@router.post("/studies/index-from-fhir", status_code=202)
def post_index(archive: TheArchive, jobs: TheJobs, wanted: FhirIndex) -> Job:
    """Index the studies of a source's FHIR server: they become known with availability ``remote``."""
    source = archive.source(wanted.source)
    fhir_url(archive, source, wanted.url)
    with archive.database.transaction() as transaction:
        job_id = jobs.defer(transaction, KIND, "Indexing of a FHIR server", source.key, limit=wanted.limit)
    return show(jobs, job_id)
