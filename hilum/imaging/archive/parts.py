"""Series and instances taken out of their study and put back. What is taken out belongs to a deleted study of the same
UID, so that everything that holds for a deleted study holds for it: it is hidden from all lists and addresses, has a
record beside the objects, can be restored, and is purged with its bytes. Who may ask for that is for ``delete``."""

from collections.abc import Sequence
from typing import Final, LiteralString, cast

import sqlalchemy as sa

from hilum.core.database import Row, Table, Transaction
from hilum.imaging.archive.edit import keep_corrections
from hilum.imaging.archive.models import Series, Study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.statements import MODALITY_RANK, NOT_IMAGES, STUDY_UPDATE, document
from hilum.imaging.archive.study_json import keep_attributes


def take_out(sql: Transaction, study_id: int, instance_ids: Sequence[int], moment: str | None = None) -> int:
    """Move some instances of a live study, not all of them, into a deleted one.

    Parameters
    ----------
    sql
        The transaction, in which the study is locked.
    study_id
        The study that they belong to.
    instance_ids
        The instances.
    moment
        When they were deleted; None for now.

    Returns
    -------
    int
        The id of the deleted study that has them now.
    """
    values = {"study": study_id, "ids": list(instance_ids), "at": moment}
    (made,) = sql.rows(_COPY_STUDY, values)
    values["hidden"] = hidden = cast("int", made["id"])
    sql.rows(_MOVE_WHOLE_SERIES, values)
    sql.rows(_COPY_SERIES, values)
    sql.rows(_MOVE_INSTANCES, values)
    left = sql.rows("select id from hilum.series where study_id = any(%s)", ([hidden, study_id],))
    sql.rows(_COUNT_SERIES, ([row["id"] for row in left],))
    (gone,) = sql.rows(_COUNT_STUDY, (hidden,))
    _grow(sql, study_id, gone, -1)
    mark_studies(sql, [hidden])
    return hidden


def put_back(sql: Transaction, hidden: int, study_id: int) -> None:
    """Move all instances of a deleted study into the live one of the same UID. The deleted one stays, empty, until its
    purge, which takes its record along.

    Parameters
    ----------
    sql
        The transaction, in which both are locked.
    hidden, study_id
        Ids of the deleted study and of the live one.

    Raises
    ------
    psycopg.errors.UniqueViolation
        One of the instances has been stored again since.
    """
    values = {"study": study_id, "hidden": hidden}
    (back,) = sql.rows(_COUNTS, (hidden,))
    sql.rows(_JOIN_SERIES, values)
    sql.rows(_GIVE_SERIES, values)
    sql.rows("update hilum.instance set study_id = %(study)s, deleted_at = null where study_id = %(hidden)s", values)
    series = sql.rows("select id from hilum.series where study_id = %s", (study_id,))
    sql.rows("delete from hilum.series where study_id = %s", (hidden,))
    sql.rows(_COUNT_SERIES, ([row["id"] for row in series],))
    sql.rows(_COUNT_STUDY, (hidden,))
    _grow(sql, study_id, back, 1)
    mark_studies(sql, [hidden])


def _grow(sql: Transaction, study_id: int, by: Row, sign: int) -> None:
    """Bring the study that instances left or came back to up to date, as the writer does for arrivals."""
    given: dict[str, object] = {name: sign * int(str(by[name])) for name in ("num_instances", "num_images", "bytes")}
    rows = document([given | {"id": study_id}])
    studies = sql.rows(STUDY_UPDATE, {"rows": rows, "rank": MODALITY_RANK, "not_images": NOT_IMAGES})
    keep_corrections(sql, studies, {study_id: {}})
    keep_attributes(sql, studies)
    mark_studies(sql, [study_id])


def _copied(table: type[Table], but: Sequence[str]) -> str:
    """The columns that a copy of a row has from it."""
    columns = table.__table__.columns
    return ", ".join(c.name for c in columns if c.name not in ("id", *but) and not isinstance(c.computed, sa.Computed))


_STUDY: Final = _copied(Study, ("deleted_at",))
_SERIES: Final = _copied(Series, ("study_id",))
_COPY_STUDY: Final = cast(
    "LiteralString",
    f"insert into hilum.study (deleted_at, {_STUDY}) select coalesce(%(at)s::timestamptz, now()), {_STUDY} "
    "from hilum.study where id = %(study)s returning id",
)
_MOVE_WHOLE_SERIES: Final[LiteralString] = """
  update hilum.series se set study_id = %(hidden)s where se.study_id = %(study)s
    and exists (select from hilum.instance i where i.series_id = se.id)
    and not exists (select from hilum.instance i where i.series_id = se.id and i.id <> all(%(ids)s))
"""
_COPY_SERIES: Final = cast(
    "LiteralString",
    f"insert into hilum.series (study_id, {_SERIES}) select %(hidden)s, {_SERIES} from hilum.series se "
    "where se.study_id = %(study)s "
    "and exists (select from hilum.instance i where i.series_id = se.id and i.id = any(%(ids)s))",
)
_MOVE_INSTANCES: Final[LiteralString] = """
  update hilum.instance i set study_id = %(hidden)s, series_id = target.id,
    deleted_at = coalesce(%(at)s::timestamptz, now())
  from hilum.series origin join hilum.series target
    on target.study_id = %(hidden)s and target.series_instance_uid = origin.series_instance_uid
  where i.id = any(%(ids)s) and i.series_id = origin.id
"""
_COUNT_SERIES: Final[LiteralString] = """
  update hilum.series r set version = r.version + 1, num_instances = counted.num_instances,
    num_images = counted.num_images, bytes = counted.bytes
  from (select series_id, count(*) as num_instances, coalesce(sum(num_frames), 0) as num_images,
      coalesce(sum(size), 0) as bytes from hilum.instance where series_id = any(%s) group by series_id) counted
  where r.id = counted.series_id
    and (r.num_instances, r.num_images, r.bytes) <> (counted.num_instances, counted.num_images, counted.bytes)
"""
_COUNTS: Final[LiteralString] = """
  select count(*) as num_instances, coalesce(sum(num_frames), 0) as num_images, coalesce(sum(size), 0) as bytes
  from hilum.instance where study_id = %s
"""
_COUNT_STUDY: Final[LiteralString] = """
  update hilum.study r set (num_series, num_instances, num_images, bytes) = (
    select count(*), coalesce(sum(num_instances), 0), coalesce(sum(num_images), 0), coalesce(sum(bytes), 0)
    from hilum.series where study_id = r.id)
  where id = %s returning num_instances, num_images, bytes
"""
_JOIN_SERIES: Final[LiteralString] = """
  update hilum.instance i set series_id = target.id
  from hilum.series origin join hilum.series target
    on target.study_id = %(study)s and target.series_instance_uid = origin.series_instance_uid
  where origin.study_id = %(hidden)s and i.series_id = origin.id
"""
_GIVE_SERIES: Final[LiteralString] = """
  update hilum.series se set study_id = %(study)s where se.study_id = %(hidden)s and not exists
    (select from hilum.series other where other.study_id = %(study)s
      and other.series_instance_uid = se.series_instance_uid)
"""
