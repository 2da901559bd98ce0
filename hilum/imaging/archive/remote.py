"""Studies that are known but not here: indexed from what a remote archive tells of them, with counts and series, but no
instances. One that is archived or was deleted here is left as it is; and when its instances do come, what the remote
archive told gives way to what they say. A copy that was fetched can be given up again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, LiteralString, TypeAlias, cast

import sqlalchemy as sa

from hilum.core.database import Row, Table, Transaction
from hilum.core.events import Event
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.delete import doom
from hilum.imaging.archive.describe import NO_PATIENT, Values, patient_key
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.models import Series, Study
from hilum.imaging.archive.sidecar import mark_studies
from hilum.imaging.archive.statements import document, insert_into
from hilum.imaging.archive.study_json import keep_attributes

Became: TypeAlias = Literal["new", "updated", "same", "archived", "deleted"]
"""``archived``: it lies here, and nothing of it was touched; ``deleted``: here, by a person."""

REMOTE: Final = "remote"
INDEXED: Final = "hilum.study.indexed.v1"


@dataclass(frozen=True, slots=True)
class RemoteStudy:
    """What a remote archive tells of a study.

    Attributes
    ----------
    patient : Patient
        Whose it is; blank where it does not tell.
    study, series
        Columns of the study and of each of its series.
    """

    patient: Patient
    study: Mapping[str, object]
    series: Sequence[Mapping[str, object]]


def keep_remote(sql: Transaction, source: SourceRef, studies: Sequence[RemoteStudy], indexed_for: str) -> list[Became]:
    """Index remote studies, or add to what is known of them: what the remote archive says goes before what it said, and
    where it says nothing, what is known stays. No series is ever taken away.

    Parameters
    ----------
    sql
        Where to write.
    source
        Whose remote archive it is.
    studies
        What that tells, each study once. All of them take the same few statements.
    indexed_for
        The choice of further attributes; of a study without files there is nothing more to read.

    Returns
    -------
    list of Became
        What became of each, in the order given.
    """
    source.refuse_as_it_is("it indexes no remote studies")
    given = {_uid(found): found for found in sorted(studies, key=_uid)}
    values = {"source": source.id, "uids": list(given)}
    seen = {str(row["uid"]): row for row in sql.rows(_SEEN, values)}
    missing = [uid for uid, row in seen.items() if row["availability"] is None and not row["deleted"]]
    undecided = [uid for uid, row in seen.items() if row["availability"] == REMOTE and not row["decided"]]
    whose = _patients(sql, source.id, [given[uid] for uid in missing], [given[uid] for uid in undecided])
    rows = {
        uid: dict(found.study) | whose.get(uid, _AS_IT_IS) | _OF_REMOTE
        | {"source_id": source.id, "indexed_for": indexed_for}
        for uid, found in given.items()
    }  # fmt: skip
    new = _insert(sql, [rows[uid] for uid in missing])
    # Some may have come, or gone, since they were looked for.
    live = {str(row["study_instance_uid"]): row for row in sql.rows(_LIVE, values)}
    remote = {uid: cast("int", row["id"]) for uid, row in live.items() if row["availability"] == REMOTE}
    known = [rows[uid] | {"id": number} for uid, number in remote.items() if number not in new]
    changed = new | _merge(sql, known)
    series = [(number, each) for uid, number in remote.items() for each in given[uid].series]
    changed |= {cast("int", row["study_id"]) for row in keep_remote_series(sql, series)}
    with_series = {number for uid, number in remote.items() if given[uid].series}
    tell_indexed(sql, sorted(changed), sorted(changed & with_series))
    became: dict[str, Became] = {
        uid: "new" if number in new else "updated" if number in changed else "same" for uid, number in remote.items()
    }
    return [became.get(uid, "archived" if uid in live else "deleted") for uid in map(_uid, studies)]


def _uid(found: RemoteStudy) -> str:
    return str(found.study["study_instance_uid"])


def _patients(
    sql: Transaction, source_id: int, new: Sequence[RemoteStudy], undecided: Sequence[RemoteStudy]
) -> dict[str, Values]:
    """Whose studies are, by UID: of new ones in any case, of known ones where the remote archive tells."""
    asked = [*new, *(found for found in undecided if found.patient)]
    keys = {_uid(found): patient_key(found.patient, _uid(found)) for found in asked}
    distinct = {str(row["key"]): row | {"source_id": source_id} for row in keys.values()}
    if not distinct:
        return {}
    rows = [distinct[key] for key in sorted(distinct)]
    sql.rows(insert_into("patient", tuple(rows[0]), "key"), (document(rows),))
    numbers = {row["key"]: row["id"] for row in sql.rows(_PATIENTS, (source_id, list(distinct)))}
    return {
        _uid(found): {
            "patient_pk": numbers[keys[_uid(found)]["key"]], "patient_id": found.patient.patient_id,
            "quarantine": "" if found.patient else NO_PATIENT,
        }
        for found in asked
    }  # fmt: skip


def _insert(sql: Transaction, rows: Sequence[Values]) -> set[int]:
    if not rows:
        return set()
    return {cast("int", row["id"]) for row in sql.rows(_insert_studies(tuple(rows[0])), (document(rows),))}


def _merge(sql: Transaction, rows: Sequence[Values]) -> set[int]:
    if not rows:
        return set()
    return {cast("int", row["id"]) for row in sql.rows(_merge_studies(tuple(rows[0])), (document(rows),))}


def keep_remote_series(sql: Transaction, series: Sequence[tuple[int, Mapping[str, object]]]) -> Sequence[Row]:
    """Add what a remote archive tells of series, each with the number of its study, to remote studies that are locked;
    gives those that changed, each with its ``study_id`` and whether it is ``new``."""
    if not series:
        return ()
    rows = [dict(each) | {"study_id": study, "metadata_version": None} for study, each in series]
    return sql.rows(_merge_series(tuple(rows[0])), (document(rows),))


def tell_indexed(sql: Transaction, studies: Sequence[int], with_series: Sequence[int]) -> None:
    """Have the ready-made attributes of remote studies made anew, and tell that what is known of them has changed;
    the series of those ``with_series`` are counted anew."""
    if not studies:
        return
    if with_series:
        sql.rows(_COUNT, (list(with_series),))
    rows = sql.rows(_TOLD, (list(studies),))
    keep_attributes(sql, rows)
    for row in rows:
        uid = str(row["study_instance_uid"])
        sql.emit(Event(INDEXED, str(row["source_key"]), uid, {"study_id": row["id"], "study_instance_uid": uid}))


def make_remote(sql: Transaction, study_id: int) -> bool:
    """Take the instances of a study away that were all fetched from the remote archive, and let it be remote again;
    what is known of it and of its series stays. The objects go once nothing uses them.

    Returns
    -------
    bool
        False where the study has changed, was deleted, is still coming, or holds anything that came by itself.
    """
    rows = sql.rows(_FETCHED, (study_id,))
    if not rows:
        return False
    keys = [str(row["blob_key"]) for row in sql.rows(_KEYS, (study_id,)) if row["blob_key"]]
    doom(sql, cast("int", rows[0]["source_id"]), keys)
    sql.rows("delete from hilum.instance where study_id = %s", (study_id,))
    sql.rows(
        "delete from hilum.series_metadata m using hilum.series e where e.id = m.series_id and e.study_id = %s",
        (study_id,),
    )
    sql.rows(
        "update hilum.series set bytes = 0, folder_path = '', metadata_version = null, version = version + 1 "
        "where study_id = %s",
        (study_id,),
    )
    sql.rows(
        "update hilum.study set availability = %s, bytes = 0, updated_at = now() where id = %s", (REMOTE, study_id)
    )
    mark_studies(sql, [study_id])
    tell_indexed(sql, [study_id], [study_id])
    return True


def localise(sql: Transaction, study: Row) -> None:
    """Let a locked remote study be one whose first instances are just coming."""
    sql.rows("delete from hilum.series where study_id = %s", (study["id"],))
    sql.rows(_LOCALISE, (study["id"],))


def _merged(table: type[Table], name: str, known: str, given: str) -> str:
    """What a column becomes: what is given, where that says anything."""
    kind = table.__table__.columns[name].type
    blank = "''" if isinstance(kind, sa.Text) else "'{}'" if isinstance(kind, sa.ARRAY) else ""
    blank = "0" if name.startswith("num_") else blank
    if name == "quarantine":  # empty says that there is none
        blank = ""
    return (
        f"coalesce(nullif({given}.{name}, {blank}), {known}.{name})"
        if blank
        else (f"coalesce({given}.{name}, {known}.{name})")
    )


@cache
def _insert_studies(columns: tuple[str, ...]) -> LiteralString:
    return insert_into("study", columns, "study_instance_uid") + " returning id"


@cache
def _merge_studies(columns: tuple[str, ...]) -> LiteralString:
    """Write the statement that takes columns of studies from a document; corrections of people stay."""
    values = {
        name: f"coalesce(s.corrected->'{name}'->>'now', {_merged(Study, name, 's', 'given')})"
        if name in _CORRECTED
        else _merged(Study, name, "s", "given")
        for name in columns
        if name not in _OF_REMOTE
    }
    statement = (
        f"update hilum.study s set {', '.join(f'{name} = {value}' for name, value in values.items())}, "
        "updated_at = clock_timestamp() from json_populate_recordset(null::hilum.study, %s) given "
        f"where s.id = given.id and ({', '.join(f's.{name}' for name in values)}) "
        f"is distinct from ({', '.join(values.values())}) returning s.id"
    )
    return cast("LiteralString", statement)


@cache
def _merge_series(columns: tuple[str, ...]) -> LiteralString:
    values = {name: _merged(Series, name, "e", "excluded") for name in columns if name not in ("study_id",)}
    statement = (
        f"insert into hilum.series as e ({', '.join(columns)}) "
        f"select {', '.join(columns)} from json_populate_recordset(null::hilum.series, %s) "
        "order by study_id, series_instance_uid on conflict (study_id, series_instance_uid) do update set "
        f"{', '.join(f'{name} = {value}' for name, value in values.items())}, version = e.version + 1 "
        f"where ({', '.join(f'e.{name}' for name in values)}) is distinct from ({', '.join(values.values())}) "
        "returning e.study_id, xmax = 0 as new"
    )
    return cast("LiteralString", statement)


_OF_REMOTE: Final[Values] = {"availability": REMOTE, "num_images": 0, "bytes": 0, "derived": False}
_CORRECTED: Final = frozenset(("modality", "body_part", "study_description", "accession_number"))
# A person's word on whose a study is goes before the remote archive's.
_AS_IT_IS: Final[Values] = {"patient_pk": None, "patient_id": None, "quarantine": None}
_SEEN: Final[LiteralString] = """
  select g.uid, t.availability,
    exists (select from hilum.deletion d where d.source_id = %(source)s and d.study_instance_uid = g.uid
      and d.series_instance_uid = '' and d.restored_at is null) as deleted,
    exists (select from hilum.patient_decision p where p.source_id = %(source)s and p.study_instance_uid = g.uid)
      as decided
  from unnest(%(uids)s::text[]) g (uid) left join hilum.study t
    on t.source_id = %(source)s and t.study_instance_uid = g.uid and t.deleted_at is null
"""
_PATIENTS: Final[LiteralString] = "select id, key from hilum.patient where source_id = %s and key = any(%s)"
_LIVE: Final[LiteralString] = """
  select id, study_instance_uid, availability from hilum.study
  where source_id = %(source)s and study_instance_uid = any(%(uids)s) and deleted_at is null
  order by study_instance_uid for no key update
"""
_TOLD: Final[LiteralString] = """
  select t.*, s.key as source_key from hilum.study t join hilum.source s on s.id = t.source_id
  where t.id = any(%s) order by t.id
"""
# Of studies that say less of themselves than their series do: how many there are, of which modalities and body parts.
_COUNT: Final[LiteralString] = """
  update hilum.study s set num_series = greatest(s.num_series, e.series),
    num_instances = greatest(s.num_instances, e.instances),
    modalities = case when s.modalities = '{}' then e.modalities else s.modalities end,
    modality = case when s.modality = '' then coalesce(e.modalities[1], '') else s.modality end,
    body_parts = case when s.body_parts = '{}' then e.body_parts else s.body_parts end,
    body_part = case when s.body_part = '' then coalesce(e.body_parts[1], '') else s.body_part end
  from (
    select study_id, count(*) as series, coalesce(sum(num_instances), 0) as instances,
      coalesce(array_agg(distinct modality) filter (where modality <> ''), '{}') as modalities,
      coalesce(array_agg(distinct regexp_replace(body_part, '[^A-Z0-9]', '', 'g')) filter (where body_part <> ''), '{}')
        as body_parts
    from hilum.series where study_id = any(%s) group by study_id
  ) e where s.id = e.study_id
"""
# The timer of a study that is still coming runs; what has replaced something is no mere copy.
_FETCHED: Final[LiteralString] = """
  select s.id, s.source_id from hilum.study s where s.id = %s and s.deleted_at is null and s.availability = 'local'
    and exists (select from hilum.instance i where i.study_id = s.id)
    and not exists (select from hilum.instance i where i.study_id = s.id
      and (i.origin <> 'remote' or i.blob_key is null
        or exists (select from hilum.replaced_instance r where r.instance_id = i.id)))
    and not exists (select from hilum.study_clock c where c.source_id = s.source_id
      and c.study_instance_uid = s.study_instance_uid and c.due_at is not null)
  for no key update
"""
_KEYS: Final[LiteralString] = "select blob_key from hilum.instance where study_id = %s"
_LOCALISE: Final[LiteralString] = """
  update hilum.study set availability = 'local', num_series = 0, num_instances = 0, num_images = 0, bytes = 0,
    study_date = null, study_time = null, timezone_offset = '', accession_number = '', study_description = '',
    body_part = '', patient_name = '', patient_name_dicom = ''
  where id = %s
"""
