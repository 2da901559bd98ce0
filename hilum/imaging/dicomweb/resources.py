"""The things that a WADO-RS path names, found in the catalogue: the instances of a study or series, with what is needed
to read their bytes, and the plain Part 10 file behind each."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

import sqlalchemy as sa

from hilum.core.blobs import Blobs
from hilum.core.errors import NotFound
from hilum.imaging.archive.models import Instance, Series, Source, Study
from hilum.imaging.archive.objects import opened
from hilum.imaging.archive.query import Row
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.source import inflated_file
from hilum.imaging.dicomweb.matching import check_path_uid

MAX_INFLATED: Final = 512 << 20
_COLUMNS: Final = (
    Instance.id,
    Instance.sop_instance_uid,
    Instance.sop_class_uid,
    Instance.transfer_syntax_uid,
    Instance.num_frames,
    Instance.bits_allocated,
    Instance.size,
    Instance.digest,
    Instance.blob_key,
    Instance.path,
    Instance.path_mtime_ns,
    Series.series_instance_uid,
    Study.study_instance_uid,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a source's study, one of its series, or one of that series' instances."""

    source: str
    study: str
    series: str | None = None
    instance: str | None = None

    def check(self) -> None:
        """Raise ``BadRequest`` when what stands in a UID's place is none."""
        for uid in (self.study, self.series, self.instance):
            if uid is not None:
                check_path_uid(uid)

    @property
    def noun(self) -> str:
        """What it is, for a sentence."""
        return "instance" if self.instance else "series" if self.series else "study"


def find_instances(connection: sa.Connection, target: Target) -> Sequence[Row]:
    """The instances that a path names, by series and number.

    Raises
    ------
    NotFound
        There is no such thing, or it does not belong where the path puts it.
    """
    query = (
        sa.select(*_COLUMNS)
        .join(Series, Series.id == Instance.series_id)
        .join(Study, Study.id == Instance.study_id)
        .join(Source, Source.id == Study.source_id)
        .where(*_conditions(target))
        .order_by(
            Series.series_number.asc().nulls_last(),
            Series.id,
            Instance.instance_number.asc().nulls_last(),
            Instance.id,
        )
    )
    rows = connection.execute(query).mappings().all()
    if not rows:
        raise NotFound(f"There is no such {target.noun} here.")
    return rows


def find_series(connection: sa.Connection, target: Target) -> Sequence[Row]:
    """The series (id, UID and version) that a path names, by number; raises ``NotFound`` as `find_instances`."""
    query = (
        sa.select(Series.id, Series.series_instance_uid, Series.version)
        .join(Study, Study.id == Series.study_id)
        .join(Source, Source.id == Study.source_id)
        .where(*_conditions(target))
        .order_by(Series.series_number.asc().nulls_last(), Series.id)
    )
    rows = connection.execute(query).mappings().all()
    if not rows:
        raise NotFound(f"There is no such {target.noun} here.")
    return rows


def frame_places(connection: sa.Connection, instance_id: int, frames: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Where compressed frames begin and end, in bytes from the start of the file; empty for native pixels.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        The catalogue.
    instance_id : int
        The instance.
    frames : sequence of int
        Frame numbers, 1-based. Only these are read: the table of a slide has hundreds of thousands.
    """
    wanted = sa.func.unnest(sa.literal(list(frames), sa.ARRAY(sa.BigInteger))).table_valued("number").render_derived()
    number = wanted.c.number
    query = (
        sa.select(number, Instance.frame_offsets[number], Instance.frame_offsets[number + 1])
        .select_from(Instance)
        .join(wanted, sa.true())
        .where(Instance.id == instance_id, Instance.frame_offsets.is_not(None))
    )
    places = {row[0]: (row[1], row[2]) for row in connection.execute(query)}
    return {number: (start, end) for number, (start, end) in places.items() if start is not None and end is not None}


@contextmanager
def plain_file(blobs: Blobs, row: Row) -> Generator[tuple[BinaryIO, Header]]:
    """Open an instance with its header; a deflated one as the file that it would be without deflation.

    Raises
    ------
    Gone, NotFound
        The bytes are no longer where they were.
    Unreadable
        The header cannot be read.
    """
    with opened(blobs, row) as file:
        header = scan_file(file)
        yield (inflated_file(file, header.data_set_offset, MAX_INFLATED) if header.deflated else file), header


def instance_url(root: str, row: Row) -> str:
    """The URL of an instance below the base URL of the service."""
    uids = row["study_instance_uid"], row["series_instance_uid"], row["sop_instance_uid"]
    return f"{root}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}"


def _conditions(target: Target) -> list[sa.ColumnElement[bool]]:
    target.check()
    conditions = [Source.key == target.source, Study.study_instance_uid == target.study]
    if target.series:
        conditions.append(Series.series_instance_uid == target.series)
    if target.instance:
        conditions.append(Instance.sop_instance_uid == target.instance)
    return conditions
