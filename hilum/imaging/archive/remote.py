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


def keep_remote(sql: Transaction, source: SourceRef, found: RemoteStudy, indexed_for: str) -> Became:
    """Index a remote study, or add to what is known of it: what the remote archive says goes before what it said, and
    where it says nothing, what is known stays. No series is ever taken away.

    Parameters
    ----------
    sql
        Where to write.
    source
        Whose remote archive it is.
    found
        What that tells.
    indexed_for
        The choice of further attributes; of a study without files there is nothing more to read.
    """
    source.refuse_as_it_is("it indexes no remote studies")
    source_id = source.id
    uid = str(found.study["study_instance_uid"])
    named = {"source": source_id, "uid": uid}
    study: Values = dict(found.study) | _OF_REMOTE | {"source_id": source_id, "indexed_for": indexed_for}
    new, live = (), sql.rows(_LIVE, named)
    if not live:
        if sql.rows(_DELETED, named):
            return "deleted"
        study |= _whose(sql, source_id, found.patient, uid)
        new = sql.rows(_insert_study(tuple(study)), (document([study]),))
        live = new or sql.rows(_LIVE, named)  # somebody else's came first
    row = live[0]
    if row["availability"] != REMOTE:
        return "archived"
    if not new and found.patient and not sql.rows(_DECIDED, named):
        study |= _whose(sql, source_id, found.patient, uid)
    changed = bool(new) or bool(sql.rows(_merge_study(tuple(study)), (document([study | {"id": row["id"]}]),)))
    if keep_remote_series(sql, cast("int", row["id"]), found.series) or changed:
        tell_indexed(sql, cast("int", row["id"]), counted=not found.series)
        return "new" if new else "updated"
    return "same"


def keep_remote_series(sql: Transaction, study_id: int, series: Sequence[Mapping[str, object]]) -> Sequence[Row]:
    """Add what a remote archive tells of series to a remote study that is locked; gives those that changed, each with
    whether it is ``new``."""
    if not series:
        return ()
    rows = [dict(each) | {"study_id": study_id, "metadata_version": None} for each in series]
    return sql.rows(_merge_series(tuple(rows[0])), (document(rows),))


def tell_indexed(sql: Transaction, study_id: int, *, counted: bool = False) -> None:
    """Have the ready-made attributes of a remote study made anew, and tell that what is known of it has changed; with
    ``counted`` none of its series has."""
    if not counted:
        sql.rows(_COUNT, (study_id, study_id))
    rows = sql.rows(
        "select t.*, s.key as source_key from hilum.study t join hilum.source s on s.id = t.source_id where t.id = %s",
        (study_id,),
    )
    keep_attributes(sql, rows)
    for row in rows:
        uid = str(row["study_instance_uid"])
        sql.emit(Event(INDEXED, str(row["source_key"]), uid, {"study_id": study_id, "study_instance_uid": uid}))


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
    tell_indexed(sql, study_id)
    return True


def localise(sql: Transaction, study: Row) -> None:
    """Let a locked remote study be one whose first instances are just coming."""
    sql.rows("delete from hilum.series where study_id = %s", (study["id"],))
    sql.rows(_LOCALISE, (study["id"],))


def _whose(sql: Transaction, source_id: int, patient: Patient, uid: str) -> Values:
    row = patient_key(patient, uid) | {"source_id": source_id}
    sql.rows(insert_into("patient", tuple(row), "key"), (document([row]),))
    (found,) = sql.rows("select id from hilum.patient where source_id = %s and key = %s", (source_id, row["key"]))
    return {
        "patient_pk": found["id"], "patient_id": patient.patient_id, "quarantine": "" if patient else NO_PATIENT,
    }  # fmt: skip


def _merged(table: type[Table], name: str, known: str, given: str) -> str:
    """What a column becomes: what is given, where that says anything."""
    kind = table.__table__.columns[name].type
    blank = "''" if isinstance(kind, sa.Text) else "'{}'" if isinstance(kind, sa.ARRAY) else ""
    blank = "0" if name.startswith("num_") else blank
    if name == "quarantine":
        return f"{given}.{name}"
    return (
        f"coalesce(nullif({given}.{name}, {blank}), {known}.{name})"
        if blank
        else (f"coalesce({given}.{name}, {known}.{name})")
    )


@cache
def _insert_study(columns: tuple[str, ...]) -> LiteralString:
    return insert_into("study", columns, "study_instance_uid") + " returning id, availability"


@cache
def _merge_study(columns: tuple[str, ...]) -> LiteralString:
    """Write the statement that takes columns of a study from a document; corrections of people stay."""
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
        "order by series_instance_uid on conflict (study_id, series_instance_uid) do update set "
        f"{', '.join(f'{name} = {value}' for name, value in values.items())}, version = e.version + 1 "
        f"where ({', '.join(f'e.{name}' for name in values)}) is distinct from ({', '.join(values.values())}) "
        "returning e.id, xmax = 0 as new"
    )
    return cast("LiteralString", statement)


_OF_REMOTE: Final[Values] = {"availability": REMOTE, "num_images": 0, "bytes": 0, "derived": False}
_CORRECTED: Final = frozenset(("modality", "body_part", "study_description", "accession_number"))
_LIVE: Final[LiteralString] = """
  select id, availability from hilum.study
  where source_id = %(source)s and study_instance_uid = %(uid)s and deleted_at is null for no key update
"""
_DELETED: Final[LiteralString] = """
  select 1 from hilum.deletion where source_id = %(source)s and study_instance_uid = %(uid)s
    and series_instance_uid = '' and restored_at is null limit 1
"""
_DECIDED: Final[LiteralString] = """
  select 1 from hilum.patient_decision where source_id = %(source)s and study_instance_uid = %(uid)s
"""
# Of a study that says less of itself than its series do: how many there are, of which modalities and body parts.
_COUNT: Final[LiteralString] = """
  update hilum.study s set num_series = greatest(s.num_series, e.series),
    num_instances = greatest(s.num_instances, e.instances),
    modalities = case when s.modalities = '{}' then e.modalities else s.modalities end,
    modality = case when s.modality = '' then coalesce(e.modalities[1], '') else s.modality end,
    body_parts = case when s.body_parts = '{}' then e.body_parts else s.body_parts end,
    body_part = case when s.body_part = '' then coalesce(e.body_parts[1], '') else s.body_part end
  from (
    select count(*) as series, coalesce(sum(num_instances), 0) as instances,
      coalesce(array_agg(distinct modality) filter (where modality <> ''), '{}') as modalities,
      coalesce(array_agg(distinct regexp_replace(body_part, '[^A-Z0-9]', '', 'g')) filter (where body_part <> ''), '{}')
        as body_parts
    from hilum.series where study_id = %s
  ) e where s.id = (select %s::bigint)
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
