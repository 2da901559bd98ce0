"""REST of the intake: uploads, and imports of the server's own folders. Both answer with the job that does the work."""

from typing import Annotated

from fastapi import Depends, Request
from pydantic import Field

from hilum.core.http import PROBLEMS, Model, Router, refuse_unknown_parameters
from hilum.core.routes import Job, TheJobs, show
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.intake import local, uploads

router = Router(
    prefix="/api/v1/imaging", tags=["intake"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS
)


class LocalImport(Model):
    """Which folder of the server to import."""

    source: str = "default"
    dir: Annotated[str, Field(max_length=4096, description="Relative to an import root.")] = local.DEFAULT_FOLDER


@router.post(
    "/uploads",
    status_code=202,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["files"],
                        "properties": {
                            "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                            "source": {"type": "string", "default": "default"},
                            "patient_id": {"type": "string", "description": "Whose all of it is, whatever it says."},
                            "person_id": {"type": "integer", "description": "The OMOP person, if known."},
                            "study_instance_uid": {"type": "string", "description": "Study for images to wrap."},
                            "study_date": {"type": "string", "format": "date"},
                            "study_description": {"type": "string"},
                            "patient_name": {"type": "string", "description": "For the images, as DICOM writes it."},
                            "modality": {"type": "string", "default": "OT", "description": "Of the images."},
                            "wrap_pdf": {"type": "boolean", "default": False, "description": "Wrap PDFs as well."},
                        },
                    }
                }
            },
        }
    },
)
async def post_upload(request: Request, archive: TheArchive, jobs: TheJobs) -> Job:
    """Send DICOM files or zip bundles; each is told by its content. Answers once all of it is on disk.

    JPEG and PNG images are wrapped as DICOM when a patient and a study (UID, date or description) are named.
    """
    length = request.headers.get("content-length", "")
    job_id = await uploads.receive(
        archive,
        jobs,
        request.headers.get("content-type", ""),
        int(length) if length.isdecimal() else None,
        request.stream(),
    )
    return show(jobs, job_id)


@router.post("/import-local/trigger", status_code=202)
def post_local_import(archive: TheArchive, jobs: TheJobs, wanted: LocalImport) -> Job:
    """Import a folder below the import roots."""
    source = archive.source(wanted.source)
    local.local_folder(archive.settings, wanted.dir)
    with archive.database.transaction() as transaction:
        job_id = jobs.defer(transaction, local.KIND, "Import of a folder of the server", source.key, dir=wanted.dir)
    return show(jobs, job_id)
