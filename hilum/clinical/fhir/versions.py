"""The versions of each study's ImagingStudy: a new one is written when the resource has changed, whatever was the cause
and however often it is told. A resource is always made from the catalogue as it is now, so events may come twice, late
or in any order. Of a study that was purged nothing is left but that there was one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, LiteralString, cast

import msgspec
import sqlalchemy as sa

from hilum.clinical.fhir.imaging_study import Made, cancel, make_imaging_study
from hilum.clinical.fhir.models import ImagingStudy, ImagingStudyVersion
from hilum.core.database import Database, Row, Transaction
from hilum.core.delivery import Handlers
from hilum.core.errors import Gone, NotFound
from hilum.imaging.archive.store import Archive

TYPES: Final = (
    "hilum.study.revised.v1",
    "hilum.study.edited.v1",
    "hilum.study.deleted.v1",
    "hilum.study.restored.v1",
    "hilum.study.linked.v1",
    "hilum.study.unlinked.v1",
)
"""The events after which a study's ImagingStudy may be another one."""

_AT_ONCE: Final = 200
_SETTLED_SECONDS: Final = 60
_VERSIONS: Final = sa.select(
    ImagingStudyVersion.imaging_study_id,
    ImagingStudyVersion.version,
    ImagingStudyVersion.last_updated,
    ImagingStudyVersion.content,
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an ImagingStudy.

    Attributes
    ----------
    id, version : int
        Of the resource, and of this state of it.
    last_updated : datetime
        When it was written.
    content : str, optional
        The resource without ``id`` and ``meta``, as JSON; None where it was deleted.
    """

    id: int
    version: int
    last_updated: datetime
    content: str | None


def register(handlers: Handlers, archive: Archive) -> None:
    """Have this room told of all that changes an ImagingStudy."""
    handlers.on("fhir", TYPES, lambda event: handle(archive, event))


def handle(archive: Archive, event: Mapping[str, object]) -> None:
    """Bring the ImagingStudy of an event's study up to date.

    Parameters
    ----------
    archive
        The catalogue, and the settings.
    event
        As ``read_events`` shapes it; one of `TYPES`.
    """
    data = cast("Mapping[str, object]", event["data"])
    source = str(event["source"]).rpartition("/")[2]
    revision = data.get("revision")
    with archive.database.transaction() as sql:
        found = sql.rows("select id from hilum.source where key = %s", (source,))
        if found:
            number = revision if isinstance(revision, int) else 0
            keep(archive, sql, cast("int", found[0]["id"]), str(data["study_instance_uid"]), number)


def keep(archive: Archive, sql: Transaction, source_id: int, uid: str, revision: int = 0) -> int | None:
    """Write a new version of a study's ImagingStudy if it is not what it was.

    Parameters
    ----------
    archive
        For its settings.
    sql
        Where to write.
    source_id, uid
        The study.
    revision
        The revision that it is known to have reached; the catalogue may know a later one.

    Returns
    -------
    int, optional
        Id of the resource; None where there is nothing to tell: the study is not there and never was told of.
    """
    named = {"source": source_id, "uid": uid}
    head = _locked_head(sql, named)
    study = _study(sql, named)
    if study is None or (head is None and study["deleted_at"] is not None):
        return _bury(sql, head) if head else None
    if head is None:
        sql.rows(
            "insert into hilum.fhir_imaging_study (id, source_id, study_instance_uid) "
            "values (%(id)s, %(source)s, %(uid)s) on conflict do nothing",
            named | {"id": study["id"]},
        )
        head = cast("Row", _locked_head(sql, named))
    known = max(revision, cast("int", study["revision"]), cast("int", head["revision"] or 0))
    deleted = study["deleted_at"] is not None
    series = () if deleted else sql.rows(_SERIES, (study["id"],))
    _write(sql, head, study, make_imaging_study(study, series, known, archive.settings.fhir_patient_reference), known)
    return cast("int", head["id"])


def find(archive: Archive, number: int) -> Version:
    """The present version of an ImagingStudy; of a study that has none yet it is made now.

    Raises
    ------
    Gone
        It was deleted.
    NotFound
        There is none.
    """
    current = _VERSIONS.join(ImagingStudy, ImagingStudy.id == ImagingStudyVersion.imaging_study_id)
    current = current.where(ImagingStudy.id == number, ImagingStudy.version == ImagingStudyVersion.version)
    with archive.database.connect() as connection:
        found = connection.execute(current).first()
    if found is None:
        with archive.database.transaction() as sql:
            study = sql.rows(
                "select source_id, study_instance_uid from hilum.study where id = %s and deleted_at is null", (number,)
            )
            made = study and keep(archive, sql, cast("int", study[0]["source_id"]), str(study[0]["study_instance_uid"]))
        if made != number:
            raise NotFound(f"There is no ImagingStudy/{number}.")
        return find(archive, number)
    return _existing(Version(*found))


def find_version(database: Database, number: int, version: int) -> Version:
    """One version of an ImagingStudy; raises ``NotFound``, and ``Gone`` where it was deleted."""
    with database.connect() as connection:
        found = connection.execute(
            _VERSIONS.where(ImagingStudyVersion.imaging_study_id == number, ImagingStudyVersion.version == version)
        ).first()
    if found is None:
        raise NotFound(f"There is no version {version} of ImagingStudy/{number}.")
    return _existing(Version(*found))


def history(
    database: Database, number: int, *, limit: int, offset: int = 0, since: datetime | None = None
) -> tuple[list[Version], int]:
    """The versions of an ImagingStudy, latest first, and how many there are; raises ``NotFound`` when there are none.

    Parameters
    ----------
    database
        Where they are kept.
    number
        Id of the resource.
    limit, offset
        The page.
    since
        Only those written at or after this moment.
    """
    conditions = [
        ImagingStudyVersion.imaging_study_id == number,
        *([ImagingStudyVersion.last_updated >= since] if since else []),
    ]
    page = _VERSIONS.where(*conditions).order_by(ImagingStudyVersion.version.desc()).limit(limit).offset(offset)
    with database.connect() as connection:
        rows = connection.execute(page).all()
        total = connection.scalar(sa.select(sa.func.count()).select_from(ImagingStudyVersion).where(*conditions)) or 0
        if not connection.scalar(sa.select(ImagingStudy.id).where(ImagingStudy.id == number)):
            raise NotFound(f"There is no ImagingStudy/{number}.")
    return [Version(*row) for row in rows], total


def ensure(archive: Archive, uids: Sequence[str]) -> None:
    """Make the ImagingStudy of those of some studies, by UID, that have none yet."""
    with archive.database.connect() as connection:
        lacking = connection.exec_driver_sql(f"{_LACKING} and s.study_instance_uid = any(%s)", (list(uids),)).all()
    for source_id, uid in lacking:
        with archive.database.transaction() as sql:
            keep(archive, sql, source_id, uid)


def make_missing(archive: Archive, should_stop: Callable[[], bool] = lambda: False) -> int:
    """Make the ImagingStudy of studies that came before there were any, or of which no event told; then forget those
    of studies that were purged. Safe to run at any time and any number of times.

    Studies are taken in the order of their ids, and one that has only just come is waited for: its event is better.

    Returns
    -------
    int
        How many were made.
    """
    made = 0
    while not should_stop():
        with archive.database.transaction() as sql:
            (state,) = sql.rows("select made_up_to from hilum.fhir_state for update")
            batch = sql.rows(_NEXT, {"after": state["made_up_to"], "most": _AT_ONCE, "settled": _SETTLED_SECONDS})
            for row in batch:
                if row["lacking"]:
                    keep(archive, sql, cast("int", row["source_id"]), str(row["study_instance_uid"]))
                    made += 1
            if batch:
                sql.rows("update hilum.fhir_state set made_up_to = %s", (batch[-1]["id"],))
        if len(batch) < _AT_ONCE:
            break
    with archive.database.transaction() as sql:
        for row in sql.rows(_PURGED):
            keep(archive, sql, cast("int", row["source_id"]), str(row["study_instance_uid"]))
    return made


def _existing(version: Version) -> Version:
    if version.content is None:
        raise Gone(f"ImagingStudy/{version.id} was deleted with its study.")
    return version


def _locked_head(sql: Transaction, named: Mapping[str, object]) -> Row | None:
    found = sql.rows(_HEAD, named)
    return found[0] if found else None


def _study(sql: Transaction, named: Mapping[str, object]) -> Row | None:
    """The study's row; of a deleted one the row that was deleted last."""
    found = sql.rows(_STUDY, named)
    return found[0] if found else None


def _bury(sql: Transaction, head: Row) -> int:
    """Let a resource whose study was purged be deleted, and forget what its versions said; not before it was cancelled,
    and the server that it was published to knows of that."""
    number, revision = cast("int", head["id"]), cast("int", head["revision"])
    if head["status"] != "cancelled":
        resource = cancel(msgspec.json.decode(cast("str", head["content"])))
        _add_version(sql, head, _encode(resource).decode(), revision)
        sql.rows(_CANCEL, (number,))
    elif not head["deleted"] and (head["published_version"] == head["version"] or not head["offered"]):
        sql.rows("update hilum.fhir_imaging_study_version set content = null where imaging_study_id = %s", (number,))
        _add_version(sql, head, None, revision)
        sql.rows(_BURY, (number,))
    return number


def _write(sql: Transaction, head: Row, study: Row, made: Made, revision: int) -> None:
    content = _encode(made.resource).decode()
    values: dict[str, object] = {
        "id": head["id"],
        "status": made.status,
        "endpoint": made.endpoint,
        "patient_id": study["patient_id"],
        "issuer": study["issuer_of_patient_id"],
        "person": study["person_id"],
        "accession": study["accession_number"],
        "modalities": made.modalities,
        "from": made.started[0] if made.started else None,
        "to": made.started[1] if made.started else None,
    }
    if content != head["content"]:
        _add_version(sql, head, content, revision)
        sql.rows(_INDEX, values)


def _add_version(sql: Transaction, head: Row, content: str | None, revision: int) -> None:
    sql.rows(_ADD_VERSION, {"id": head["id"], "revision": revision, "content": content})


_HEAD: Final[LiteralString] = """
  select h.*, v.revision, v.content from hilum.fhir_imaging_study h
  left join hilum.fhir_imaging_study_version v on v.imaging_study_id = h.id and v.version = h.version
  where h.source_id = %(source)s and h.study_instance_uid = %(uid)s for update of h
"""
_STUDY: Final[LiteralString] = """
  select t.*, p.issuer_of_patient_id, s.key as source_key from hilum.study t
  join hilum.patient p on p.id = t.patient_pk join hilum.source s on s.id = t.source_id
  where t.source_id = %(source)s and t.study_instance_uid = %(uid)s
  order by t.deleted_at desc nulls first, t.id desc limit 1
"""
_SERIES: Final[LiteralString] = """
  select se.*, coalesce(i.listed, '[]') as instances from hilum.series se
  left join lateral (
    select json_agg(json_build_array(sop_instance_uid, sop_class_uid, instance_number)
      order by instance_number nulls last, sop_instance_uid) as listed
    from hilum.instance where series_id = se.id and deleted_at is null
  ) i on true
  where se.study_id = %s order by se.series_number nulls last, se.series_instance_uid
"""
_LACKING: Final[LiteralString] = """
  select s.source_id, s.study_instance_uid from hilum.study s where s.deleted_at is null and not exists
    (select from hilum.fhir_imaging_study h where h.source_id = s.source_id
      and h.study_instance_uid = s.study_instance_uid)
"""
# A study that is still coming ends the batch, so that it is not passed over.
_NEXT: Final[LiteralString] = """
  with batch as (
    select s.id, s.source_id, s.study_instance_uid, s.deleted_at,
      s.updated_at > now() - make_interval(secs => %(settled)s) and s.deleted_at is null as coming
    from hilum.study s where s.id > %(after)s order by s.id limit %(most)s
  )
  select b.id, b.source_id, b.study_instance_uid, b.deleted_at is null and not exists
    (select from hilum.fhir_imaging_study h where h.source_id = b.source_id
      and h.study_instance_uid = b.study_instance_uid) as lacking
  from batch b where b.id < coalesce((select min(id) from batch where coming), b.id + 1) order by b.id
"""
_PURGED: Final[LiteralString] = """
  select h.source_id, h.study_instance_uid from hilum.fhir_imaging_study h
  where h.status <> 'available' and not h.deleted and not exists
    (select from hilum.study s where s.source_id = h.source_id and s.study_instance_uid = h.study_instance_uid)
  limit 1000
"""
_ADD_VERSION: Final[LiteralString] = """
  with changed as (
    update hilum.fhir_imaging_study set version = version + 1, deleted = %(content)s::text is null,
      last_updated = greatest(clock_timestamp(), last_updated + interval '1 ms')
    where id = %(id)s returning id, version, last_updated
  )
  insert into hilum.fhir_imaging_study_version (imaging_study_id, version, revision, last_updated, content)
  select id, version, %(revision)s, last_updated, %(content)s from changed
"""
_INDEX: Final[LiteralString] = """
  update hilum.fhir_imaging_study set status = %(status)s, endpoint = %(endpoint)s, patient_id = %(patient_id)s,
    issuer_of_patient_id = %(issuer)s, person_id = %(person)s, accession_number = %(accession)s,
    modalities = %(modalities)s, started_from = %(from)s, started_to = %(to)s,
    attempts = 0, next_at = now(), problem = ''
  where id = %(id)s
"""
_CANCEL: Final[LiteralString] = """
  update hilum.fhir_imaging_study set status = 'cancelled', attempts = 0, next_at = now(), problem = '' where id = %s
"""
_BURY: Final[LiteralString] = """
  update hilum.fhir_imaging_study set patient_id = '', issuer_of_patient_id = '', person_id = null,
    accession_number = '', modalities = '{}', started_from = null, started_to = null,
    published_version = version, problem = '' where id = %s
"""
