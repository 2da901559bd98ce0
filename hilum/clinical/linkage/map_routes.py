"""REST of mapping tables: what one would do, and loading it."""

from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, BinaryIO, Final, TypeVar, cast

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile

from hilum.clinical.cdm.cdm import require_cdm
from hilum.clinical.linkage import maps, schemas
from hilum.clinical.linkage.bulk import KIND
from hilum.core.errors import Invalid, TooLarge
from hilum.core.http import PROBLEMS, refuse_unknown_parameters
from hilum.core.routes import TheJobs
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API
from hilum.imaging.archive.store import Archive

T = TypeVar("T")
router = APIRouter(prefix=API, tags=["links"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

_IN_MEMORY: Final = 1 << 20
_TABLE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}


@router.post("/links/maps", openapi_extra=_TABLE)
async def post_map(
    request: Request, archive: TheArchive, jobs: TheJobs, source: Annotated[str, Query()] = "default"
) -> schemas.MapLoaded:
    """Load a mapping table (CSV): PatientID to person_id, or AccessionNumber to procedure_occurrence_id; then a job
    links the source's studies anew."""

    def take(file: BinaryIO) -> schemas.MapLoaded:
        with archive.database.transaction() as sql:
            cdm = require_cdm(sql, source)
            loaded = maps.load_map(sql, cdm.source_id, file)
            job_id = jobs.defer(sql, KIND, "Linking studies by a mapping table", source)
        return schemas.MapLoaded(**_told(loaded), job_id=job_id)

    return await _with_file(request, archive, take)


@router.post("/links/maps/preview", openapi_extra=_TABLE)
async def post_map_preview(
    request: Request, archive: TheArchive, source: Annotated[str, Query()] = "default"
) -> schemas.MapPreview:
    """Tell what a mapping table would do, and change nothing."""

    def look(file: BinaryIO) -> schemas.MapPreview:
        with archive.database.transaction() as sql:
            looked = maps.look_at_map(sql, require_cdm(sql, source), file)
        return schemas.MapPreview(
            **_told(looked.loaded),
            lines=[schemas.MapLine.model_validate(line) for line in looked.lines],
            unknown=looked.unknown,
            studies=looked.studies,
        )

    return await _with_file(request, archive, look)


async def _with_file(request: Request, archive: Archive, take: Callable[[BinaryIO], T]) -> T:
    """Call a function in a thread with the file of a request: its body, or the part ``file`` of a form."""
    most = archive.settings.max_upload_bytes
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > most:
        raise TooLarge(f"A mapping table says its length and has at most {most} bytes (HILUM_MAX_UPLOAD_BYTES).")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise Invalid("Send the mapping table in a part named 'file'.")
            return await anyio.to_thread.run_sync(take, part.file)
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as spooled:
        async for chunk in request.stream():
            spooled.write(chunk)
        spooled.seek(0)
        return await anyio.to_thread.run_sync(take, cast("BinaryIO", spooled))


def _told(loaded: maps.Loaded) -> dict[str, Any]:
    return {
        "kind": loaded.kind,
        "rows": loaded.rows,
        "new": loaded.new,
        "changed": loaded.changed,
        "refused": loaded.refused,
        "examples": [schemas.RefusedLine(line=line, reason=reason) for line, reason in loaded.examples],
    }
