"""REST of what goes with an upload of images: the registry of files and the metadata tables, for whoever may view the
studies of a source; researchers get those of a dataset instead, for these have the identifiers of the source."""

import tempfile
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final, cast

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from hilum.clinical.metadata.fields import Table
from hilum.clinical.metadata.tables import Format, write_table
from hilum.clinical.registry.export import registry_csv
from hilum.core.http import PROBLEMS, refuse_unknown_parameters
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.schemas import API

router = APIRouter(prefix=API, tags=["tables"], dependencies=[Depends(refuse_unknown_parameters)], responses=PROBLEMS)

_CHUNK: Final = 1 << 20
_TYPES: Final = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}

OfSource = Annotated[str, Query(description="Key of the source.")]


@router.get("/registry.csv", response_class=StreamingResponse)
def get_registry(archive: TheArchive, source: OfSource = "default") -> StreamingResponse:
    """CHoRUS's image_registry of a source: a row for each file of a linked series."""
    return _download(registry_csv(archive.database, source), "image_registry", "csv")


@router.get("/metadata/{table}.{form}", response_class=StreamingResponse)
def get_metadata(archive: TheArchive, table: Table, form: Format, source: OfSource = "default") -> StreamingResponse:
    """What the files of a source say of its studies or series, as one table."""
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed when it is sent
    try:
        write_table(archive, source, table, form, file)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    answer = _download(_pieces(file), table, form)
    answer.headers["Content-Length"] = str(size)
    return answer


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _download(pieces: Iterator[bytes], name: str, form: Format) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"', "Cache-Control": "private, no-store"}
    return StreamingResponse(pieces, media_type=_TYPES[form], headers=headers)
