"""A version as one zip, any stretch of which can be had without making the rest: its files and their checksums are
known, so a download that broke off goes on where it was."""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.http import stored
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb.zip_archive import Layout, Member
from hilum.research.datasets.outputs import files_of

MEDIA_TYPE: Final = "application/zip"
_VERSION: Final = 1
"""Of the way zips are made: one more whenever they come out otherwise."""


def zip_layout(archive: Archive, version_id: int) -> Layout:
    """The zip of a version, before any of it is read."""
    files = files_of(archive.database, version_id)

    @lru_cache(maxsize=4)
    def reader(number: int) -> Callable[[int, int], bytes]:
        return archive.blobs.reader(files[number].blob_key)

    def read(number: int, offset: int, length: int) -> bytes:
        return reader(number)(offset, length)

    return Layout([Member(file.path, file.size, file.crc32) for file in files], read)


def zip_answer(request: Request, archive: Archive, version_id: int, digest: str, name: str) -> Response:
    """Answer with the zip of a version, conditionally and in ranges."""
    layout = zip_layout(archive, version_id)
    return stored(
        request, size=layout.size, etag=f"{_VERSION}-{digest}", media_type=MEDIA_TYPE, read=layout.read, filename=name
    )
