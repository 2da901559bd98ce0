"""The things that a WADO-RS path names, found in the catalogue: the instances of a study or series, with what is needed
to read their bytes, and the plain Part 10 file behind each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, LiteralString, Protocol, TypeAlias, cast

import sqlalchemy as sa

from hilum.core.errors import NotFound
from hilum.core.lookup import look_up
from hilum.imaging.archive.absent import refuse_absent
from hilum.imaging.archive.query import Row, refuse_deleted
from hilum.imaging.dicomweb.matching import check_path_uid
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.qido import Tables

MAX_FRAMES: Final = 10_000
_FRAMES: Final = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*")

_ABOVE: Final[LiteralString] = """
  hilum.study st join hilum.series se on se.study_id = st.id
    and st.source_id = (select id from hilum.source where key = %(source)s) and st.study_instance_uid = %(study)s
    and st.deleted_at is null
"""
_SERIES_COLUMNS: Final[LiteralString] = "se.id, se.series_instance_uid, se.version"
_INSTANCE_COLUMNS: Final[LiteralString] = """
  i.id, i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.num_frames, i.size, i.digest, i.crc32, i.blob_key,
  i.path, i.path_mtime_ns, i.derived, se.series_instance_uid, st.study_instance_uid
"""
_PLACES: Final[LiteralString] = """
  select frame_offsets[%(first)s:%(last)s + 1] as offsets from hilum.instance where id = %(id)s
"""

Place: TypeAlias = tuple[int, int]
"""Where a compressed frame begins and ends, in bytes from the start of the file."""


class Holdings(Protocol):
    """Instances that are served beside the catalogue's, read-only: those of a version of a data set."""

    @property
    def path(self) -> str:
        """Of the service, after the server's address."""
        ...

    @property
    def tables(self) -> Tables:
        """Where a search looks."""
        ...

    def find(self, connection: sa.Connection, target: "Target") -> Sequence[Row]:
        """The instances that a path names, in the order of the archive's, with the same columns; ``id`` is below 0,
        since the catalogue knows none of them. None where there is no such thing."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a source's study, one of its series, or one of its instances, with or without its series; or
    those of holdings, if such are served."""

    source: str
    study: str
    series: str | None = None
    instance: str | None = None
    holdings: Holdings | None = None

    def check(self) -> None:
        """Raise ``BadRequest`` when what stands in a UID's place is none."""
        for uid in (self.study, self.series, self.instance):
            if uid is not None:
                check_path_uid(uid)

    @property
    def noun(self) -> str:
        """What it is, for a sentence."""
        return "instance" if self.instance else "series" if self.series else "study"


def find_frames(connection: sa.Connection, target: Target, frames: Sequence[int]) -> tuple[Row, dict[int, Place]]:
    """An instance, and where those of its frames lie that are compressed, by number; of holdings only the file tells.

    Parameters
    ----------
    connection, target
        As of `find_instances`.
    frames : sequence of int
        Frame numbers, 1-based. Only the stretch with these is read: the table of a slide has hundreds of thousands.
    """
    if target.holdings is not None:
        return find_instances(connection, target)[0], {}
    first, last = min(frames), max(frames)
    # A whole array is unpacked for each of its elements that is named, and once for a stretch of it.
    query: LiteralString = f"""
      select {_INSTANCE_COLUMNS}, i.frame_offsets[%(first)s:%(last)s + 1] as offsets
      from {_ABOVE} join hilum.instance i on i.series_id = se.id and i.deleted_at is null {_narrowed(target)}
    """
    (row,) = _found(connection, query, target, {"first": first, "last": last})
    offsets: list[int] = row["offsets"] or []
    return row, dict(enumerate(pairwise(offsets), first))


def find_instances(connection: sa.Connection, target: Target) -> Sequence[Row]:
    """The instances that a path names, by series and number.

    Raises
    ------
    Gone
        It, or what it belongs to, has been deleted.
    NotHere
        It lies in the remote archive, or is just coming from there.
    NotFound
        There is no such thing, or it does not belong where the path puts it.
    """
    if target.holdings is not None:
        return _held(connection, target, target.holdings)
    query: LiteralString = f"""
      select {_INSTANCE_COLUMNS} from {_ABOVE} join hilum.instance i on i.series_id = se.id and i.deleted_at is null
      {_narrowed(target)}
      order by se.series_number nulls last, se.id, i.instance_number nulls last, i.id
    """
    return _found(connection, query, target)


def find_series(connection: sa.Connection, target: Target) -> Sequence[Row]:
    """The series (id, UID and version) that a path names, by number; raises ``NotFound`` as `find_instances`."""
    query: LiteralString = f"""
      select {_SERIES_COLUMNS} from {_ABOVE} {_narrowed(target)} order by se.series_number nulls last, se.id
    """
    return _found(connection, query, target)


def _held(connection: sa.Connection, target: Target, holdings: Holdings) -> Sequence[Row]:
    target.check()
    rows = holdings.find(connection, target)
    if not rows:
        raise NotFound(f"There is no such {target.noun} here.")
    return rows


def _narrowed(target: Target) -> LiteralString:
    series: LiteralString = "and se.series_instance_uid = %(series)s" if target.series else ""
    instance: LiteralString = "and i.sop_instance_uid = %(instance)s" if target.instance else ""
    return f"{series} {instance}"


def _found(
    connection: sa.Connection, query: LiteralString, target: Target, more: Mapping[str, object] = MappingProxyType({})
) -> Sequence[Row]:
    target.check()
    uids = {"study": target.study, "series": target.series, "instance": target.instance, "source": target.source}
    rows = cast("Sequence[Row]", look_up(connection, query, {**uids, **more}))
    if not rows:
        refuse_deleted(connection, target.study, target.source, target.series, target.instance)
        refuse_absent(connection, target.source, target.study)
        raise NotFound(f"There is no such {target.noun} here.")
    if target.noun == "study":
        refuse_absent(connection, target.source, target.study, coming=True)
    return rows


def frame_places(connection: sa.Connection, instance_id: int, first: int, last: int) -> dict[int, Place]:
    """Where compressed frames lie, by number; empty for native pixels.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The catalogue.
    instance_id : int
        The instance.
    first, last : int
        Numbers of the first and the last frame, 1-based.
    """
    rows = cast("Sequence[Row]", look_up(connection, _PLACES, {"id": instance_id, "first": first, "last": last}))
    offsets: list[int] = rows[0]["offsets"] or [] if rows else []
    return dict(enumerate(pairwise(offsets), first))


def parse_frames(listed: str) -> list[int]:
    """Frame numbers of a path, 1-based; raises ``BadRequest`` when they are none."""
    if not _FRAMES.fullmatch(listed):
        raise BadRequest("Frames are listed as whole numbers from 1, with commas between them.")
    numbers = [int(number) for number in listed.split(",")]
    if len(numbers) > MAX_FRAMES or min(numbers) < 1:
        raise BadRequest(f"Frames are counted from 1, and at most {MAX_FRAMES} are given at once.")
    return numbers


def instance_url(root: str, row: Row) -> str:
    """The URL of an instance below the base URL of the service."""
    uids = row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
    return f"{root}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"
