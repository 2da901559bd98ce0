"""The instances of a study or series as a zip (PS3.18 section 8.6.1.3): a file each, in folders named by UIDs. Where
all leave as they are kept, sizes and checksums are known from their arrival: the zip then has a length and can be had
in ranges. What is transcoded is made file by file on the way."""

import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.imaging.archive.convert import instance_bytes
from hilum.imaging.archive.objects import reader
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.explicit import CHUNK
from hilum.imaging.dicomweb.accept import ZIP
from hilum.imaging.dicomweb.answers import in_ranges, streamed
from hilum.imaging.dicomweb.resources import Target
from hilum.imaging.dicomweb.zip_archive import Directory, Layout, Member

_VERSION: Final = 1
"""Of the way zips are made: one more whenever they come out otherwise."""
_IN_MEMORY: Final = 32 << 20


def zipped(
    request: Request, archive: Archive, target: Target, given: Sequence[tuple[Row, str]], *, status: int
) -> Response:
    """Answer with a zip.

    Parameters
    ----------
    request, archive
        What was asked, and where.
    target
        What the path names; the zip is named by its UID.
    given
        The instances, and the transfer syntax that each is wanted in.
    status
        Of the answer: 206 when it lacks some.
    """
    name = {"Content-Disposition": f'attachment; filename="{target.instance or target.series or target.study}.zip"'}
    if any(row["transfer_syntax_uid"] != syntax for row, syntax in given):
        return streamed(request, _streamed(archive, given), ZIP, status=status, headers=name)
    members = [Member(_name(row), row["size"], row["crc32"]) for row, _ in given]

    @lru_cache(maxsize=1)
    def member(number: int) -> Callable[[int, int], bytes]:
        return reader(archive.blobs, given[number][0])

    def read(number: int, offset: int, length: int) -> bytes:
        return member(number)(offset, length)

    layout = Layout(members, read)
    digests = "\n".join(f"{_name(row)} {row['digest']}" for row, _ in given)
    etag = blake2b(f"{_VERSION}\n{digests}".encode(), digest_size=16).hexdigest()
    answer = in_ranges(request, etag, ZIP, layout.size, layout.read, status=status)
    answer.headers.update(name)
    return answer


def _name(row: Row) -> str:
    return f"{row['study_instance_uid']}/{row['series_instance_uid']}/{row['sop_instance_uid']}.dcm"


def _streamed(archive: Archive, given: Sequence[tuple[Row, str]]) -> Iterator[bytes]:
    directory = Directory()
    for row, syntax in given:
        if row["transfer_syntax_uid"] == syntax:
            yield directory.add(Member(_name(row), row["size"], row["crc32"]))
            yield from instance_bytes(archive, row, syntax)
        else:
            yield from _made(directory, _name(row), instance_bytes(archive, row, syntax))
    yield directory.end()


def _made(directory: Directory, name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A member that has to be made before its size and checksum, which stand before it, are known."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        size = checksum = 0
        for chunk in chunks:
            file.write(chunk)
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
        yield directory.add(Member(name, size, checksum))
        file.seek(0)
        while chunk := file.read(CHUNK):
            yield chunk
