"""Metadata as XML (PS3.18 section 10.4.3.3.2): a part of ``multipart/related`` for each instance. Few ask for it, so
nothing of it is kept."""

import tempfile
from collections.abc import Iterator
from typing import IO, Final

from fastapi import Request
from fastapi.responses import Response

from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicomweb import gzip, multipart
from hilum.imaging.dicomweb.accept import DICOM_XML
from hilum.imaging.dicomweb.answers import streamed
from hilum.imaging.dicomweb.metadata import Documents, Found

_IN_MEMORY: Final = 32 << 20


def metadata_xml(
    request: Request, archive: Archive, found: Found, headers: dict[str, str], *, compressed: bool
) -> Response:
    """Answer with metadata as XML; made as a whole before any of it is sent, for only then is its status known.

    Parameters
    ----------
    request, archive
        What was asked, and where.
    found
        What `metadata.look_up` found.
    headers
        Of the answer; without ETag if instances had to be left out, and the status is 206.
    compressed
        Whether the client takes gzip.
    """
    documents = Documents(archive, found)
    boundary = multipart.new_boundary()
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed when its last byte was sent
    size = 0
    body = _body(documents, boundary)
    for piece in gzip.compressed(body) if compressed else body:
        file.write(piece)
        size += len(piece)
    file.seek(0)
    if compressed:
        headers["Content-Encoding"] = "gzip"
    if not documents.complete:
        del headers["ETag"]
    status = 200 if documents.complete else 206
    content_type = multipart.content_type(DICOM_XML, boundary)
    return streamed(request, _read(file), content_type, status=status, headers=headers, size=size)


def _body(documents: Documents, boundary: str) -> Iterator[bytes]:
    for place, (url, document) in enumerate(documents):
        yield multipart.part_start(boundary, DICOM_XML, f"{url}/metadata", first=place == 0)
        yield document
    yield multipart.closing(boundary)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
