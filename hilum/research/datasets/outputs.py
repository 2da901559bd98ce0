"""What a version gives out: files by path, each kept as an object named by its bytes. Where they come from is for
``assemble``."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString, cast

from blake3 import blake3

from hilum.core.blobs import Blobs
from hilum.core.database import Database
from hilum.research.datasets.contents import SetInstance
from hilum.research.datasets.objects import object_key

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class OutFile:
    """A file as it is given out.

    Attributes
    ----------
    path
        In the layout.
    digest
        BLAKE3, in hexadecimal digits.
    """

    path: str
    size: int
    crc32: int
    digest: str
    blob_key: str

    @classmethod
    def of(cls, one: SetInstance, path: str) -> "OutFile":
        """An instance under a path."""
        return cls(path, one.size, one.crc32, one.digest, one.blob_key)


@dataclass(slots=True)
class Outputs:
    """Gathers the files of a version."""

    blobs: Blobs
    files: list[OutFile] = field(default_factory=list[OutFile])

    def put(self, path: str, file: Path) -> OutFile:
        """Keep a file that was made for the version."""
        digest, checksum, size = blake3(), 0, 0
        with self.blobs.group() as group:
            item = group.create()
            with file.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
                    checksum = zlib.crc32(chunk, checksum)
                    size += len(chunk)
                    item.write(chunk)
            key = object_key(digest.hexdigest())
            item.finish(key)
            group.commit()
        made = OutFile(path, size, checksum, digest.hexdigest(), key)
        self.files.append(made)
        return made

    def put_all(self, folder: Path, below: str = "") -> None:
        """Keep every file of a folder, under the same names."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{below}{file.relative_to(folder).as_posix()}", file)


def files_of(database: Database, version_id: int) -> Sequence[OutFile]:
    """The files of a version, by path."""
    with database.transaction() as sql:
        rows = sql.rows(_FILES, (version_id,))
    return [
        OutFile(
            str(row["path"]), cast("int", row["size"]), cast("int", row["crc32"]), str(row["digest"]),
            str(row["blob_key"]),
        )
        for row in rows
    ]  # fmt: skip


_FILES: Final[LiteralString] = """
  select path, size, crc32, digest, blob_key from hilum.dataset_file where version_id = %s order by path collate "C"
"""
