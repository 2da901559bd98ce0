"""REST of what waits for a person: studies whose patient is not known, and instances that name another patient than
their study does."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Depends
from pydantic import Field

from hilum.core.http import PROBLEMS, Limit, Model, Offset, Page, Router, refuse_unknown_parameters
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive import patients, query, schemas, views
from hilum.imaging.archive.patients import check_patient
from hilum.imaging.archive.routes import Of, TheArchive
from hilum.imaging.dicom.names import person_name
from hilum.imaging.intake import conflicts

router = Router(
    prefix=schemas.API, tags=["intake"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)


class Release(Model):
    """Whose a quarantined study is."""

    patient_id: Annotated[str, Field(max_length=64)]
    issuer_of_patient_id: Annotated[str, Field(max_length=64)] = ""


class Conflict(Model):
    """Files of one study that name another patient than the archived study does; they are set aside."""

    id: int
    source: str
    study: int | None = Field(description="Hilum's id of the archived study.")
    study_instance_uid: str
    archived_patient_id: str | None
    archived_patient_name: str | None
    arrived_patient_id: str
    arrived_issuer_of_patient_id: str
    arrived_patient_name: str
    files: int
    received_at: datetime


class Settle(Model):
    """Whose everything is: the archived study's patient's, or the one's that arrived later."""

    patient: Literal["archived", "arrived"]


@router.get("/quarantine")
def get_quarantine(
    archive: TheArchive, source: str | None = None, limit: Limit = 20, offset: Offset = 0
) -> Page[schemas.Study]:
    """Studies that wait for a person to say whose they are, latest first; `quarantine` says why."""
    with archive.database.connect() as connection:
        rows, total = patients.quarantined(connection, source, limit=limit, offset=offset)
    return Page(items=[views.study(row) for row in rows], total=total, limit=limit, offset=offset)


@router.post("/quarantine/{study}/release")
def post_release(archive: TheArchive, study: str, wanted: Release, source: Of = None) -> schemas.Study:
    """Give a quarantined study its patient. What comes again, or later, without a patient follows."""
    patient = check_patient(wanted.patient_id, wanted.issuer_of_patient_id)
    with archive.database.transaction() as transaction:
        found = query.find_study(transaction.connection, study, source)
        patients.release(transaction, found["id"], patient)
        return views.study(query.find_study(transaction.connection, str(found["id"])))


@router.get("/conflicts")
def get_conflicts(
    archive: TheArchive, source: str | None = None, limit: Limit = 20, offset: Offset = 0
) -> Page[Conflict]:
    """Studies of which files came under two patients, latest first."""
    with archive.database.connect() as connection:
        rows, total = patients.conflicts(connection, source, limit=limit, offset=offset)
    return Page(items=[_conflict(row) for row in rows], total=total, limit=limit, offset=offset)


@router.post("/conflicts/{number}/settle", status_code=202)
def post_settle(archive: TheArchive, jobs: TheJobs, number: int, wanted: Settle) -> Job:
    """Decide whose a study is; a job then takes the files that were set aside."""
    with archive.database.transaction() as transaction:
        source, uid = patients.settle(transaction, number, wanted.patient)
        title = "Files of a settled conflict"
        job_id = jobs.defer(transaction, conflicts.KIND, title, source, study_instance_uid=uid)
    return show(jobs, job_id)


def _conflict(row: query.Row) -> Conflict:
    return Conflict(
        id=row["id"],
        source=row["source_key"],
        study=row["study"],
        study_instance_uid=row["study_instance_uid"],
        archived_patient_id=row["archived_patient_id"],
        archived_patient_name=row["archived_patient_name"],
        arrived_patient_id=row["patient_id"],
        arrived_issuer_of_patient_id=row["issuer_of_patient_id"],
        arrived_patient_name=person_name(row["patient_name_dicom"]),
        files=row["files"],
        received_at=row["received_at"],
    )
