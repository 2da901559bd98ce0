"""Faces in versions: the volume of a series as it was planned, whatever has become of its instances since, so that an
interrupted version goes on with the same masks; and what goes of each instance."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import BinaryIO, Final, LiteralString, TypeAlias, cast

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Row
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.query import Row as Catalogued
from hilum.imaging.dicom.problems import Unreadable
from hilum.research.deid.faces.step import find_faces, shows_face
from hilum.research.deid.faces.volume import Unsuitable
from hilum.research.deid.pixels import Face
from hilum.research.deid.work import MAX_FILE_BYTES

Original: TypeAlias = Mapping[str, object] | None
"""The row of the catalogue that says where an instance's bytes are; None where it is no longer what was planned."""
Volume: TypeAlias = Sequence[tuple[int, Original]]
"""The instances of a series in the order of the plan: ids of their rows, and their originals."""


def original(row: Row) -> Original:
    """Where the bytes of a planned instance are, from a row of it joined with the catalogue's."""
    return {name: row[name] for name in ("blob_key", "path", "path_mtime_ns", "size")} if row["same"] else None


def volume_of(database: Database, version_id: int, row: Row) -> Volume:
    """All instances of a version that are of the same series as one of them."""
    with database.transaction() as sql:
        rows = sql.rows(_SERIES, (version_id, row["person"], row["study"], row["series"]))
    return [(cast("int", one["id"]), original(one)) for one in rows]


def faces_of(blobs: Blobs, volume: Volume) -> dict[int, Face | Unsuitable]:
    """What goes with the face of each instance of a series; nothing where none of them may show one.

    Raises
    ------
    Unavailable
        The objects cannot be reached now.
    """
    openers = [partial(_opened, blobs, one) for _, one in volume]
    if not shows_face(openers):
        return {}
    return {number: face for (number, _), face in zip(volume, find_faces(openers), strict=True)}


def _opened(blobs: Blobs, one: Original) -> AbstractContextManager[BinaryIO]:
    if one is None or int(str(one["size"])) > MAX_FILE_BYTES:
        raise Unreadable("changed", "The instance is no longer what was planned, or too large.")
    return opened(blobs, cast("Catalogued", one))


_SERIES: Final[LiteralString] = """
  select d.id, i.size, i.blob_key, i.path, i.path_mtime_ns, coalesce(i.digest = d.original, false) as same
  from hilum.dataset_instance d left join hilum.instance i on i.id = d.instance_id
  where d.version_id = %s and d.person = %s and d.study = %s and d.series = %s
  order by d.number, d.sop, d.id
"""
