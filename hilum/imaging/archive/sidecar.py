"""Records beside the objects: small JSON objects of what the objects alone do not tell - which source is called what,
the way an instance came in, corrections, deletions, the names of bundle files, why something was set aside - so that
``repair`` can make the catalogue again without it. Imports only mark a study; its record is written a moment later, by
a worker or at the end of the command, under a name made of its content, and then the older one goes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, LiteralString, TypeAlias, cast

import msgspec
from blake3 import blake3

from hilum.core.blobs import Blobs
from hilum.core.database import Database, Transaction
from hilum.core.errors import HilumError

Record: TypeAlias = dict[str, object]

RECORDS: Final = "_hilum"
FORMAT: Final = 1
MAX_RECORD: Final = 256 << 20
_AT_ONCE: Final = 200
_INSTANCES_AT_ONCE: Final = 20_000
_MOST_FEATURES: Final[LiteralString] = "20000"
"""Features and findings of a study that its record tells of; of more than that, those that are superseded go first."""
_RECORDER_LOCK: Final = 4_845_114_004
# Columns of a study that its files do not tell; a room that adds such a column adds it here.
_STUDY: Final[LiteralString] = (
    "t.id, t.study_instance_uid, t.received_at, t.deleted_at, t.corrected, t.revision, t.status, t.status_reason, "
    "t.availability, t.report_status, t.document_id, "
    # A person whom a link found is found again; whom a person named stands among the decisions.
    "case when not exists (select from hilum.study_link l where l.study_id = t.id) then t.person_id end as person_id"
)

MAPS: Final[dict[str, LiteralString]] = {
    "person_map": "patient_id, issuer_of_patient_id, person_id, days_shifted, loaded_at",
    "procedure_map": "number, patient_id, procedure_occurrence_id, loaded_at",
}
"""A site's mapping tables, which no file tells; larger ones than a record should hold have to be loaded again."""
_MOST_LINES: Final = 500_000
CDM: Final = ("cdm_schema", "vocabulary_schema", "imaging_schema", "results_schema", "cdm_attached")
_SOURCE: Final[LiteralString] = (
    "id, key, name, intake_profile, created_at, removed, removed_at, "
    "cdm_schema, vocabulary_schema, imaging_schema, results_schema, cdm_attached"
)

_encode = msgspec.json.Encoder(enc_hook=str).encode


def mark_studies(sql: Transaction, study_ids: Sequence[int]) -> None:
    """Say that studies have changed in what their record tells."""
    sql.rows(
        "insert into hilum.unrecorded_study (study_id) select id from unnest(%s::bigint[]) id order by id "
        "on conflict (study_id) do update set marks = hilum.unrecorded_study.marks + 1",
        (list(study_ids),),
    )


def stop_recording(sql: Transaction) -> None:
    """Wait for the one who writes records, and let nobody begin until this transaction ends: none is written of a study
    that this transaction removes."""
    sql.rows("select pg_advisory_xact_lock(%s)", (_RECORDER_LOCK,))


def record_changes(database: Database, blobs: Blobs, *, quiet_seconds: float = 5) -> int:
    """Write the records that are out of date; one process at a time does it.

    Parameters
    ----------
    database, blobs
        The catalogue and the objects.
    quiet_seconds
        Studies that changed since are left for the next time, unless they have waited for a minute.

    Returns
    -------
    int
        How many records were written.
    """
    written = 0
    with database.transaction() as lock:
        if not lock.rows("select pg_try_advisory_xact_lock(%s) as mine", (_RECORDER_LOCK,))[0]["mine"]:
            return 0
        while some := _record_studies(database, blobs, quiet_seconds):
            written += some
        while some := _record_set_aside(database, blobs):
            written += some
        return written + _record_sources(database, blobs)


def read_records(blobs: Blobs, folder: str) -> Iterator[tuple[str, Record]]:
    """The records of a folder (a source, a study, ``set-aside``) with their keys; damaged ones are passed over."""
    for key, _ in blobs.list(f"{folder}/{RECORDS}"):
        record = read_record(blobs, key)
        if record is not None:
            yield key, record


def read_record(blobs: Blobs, key: str) -> Record | None:
    """One record; None when it is damaged or of a kind that this version does not know."""
    size = blobs.size(key)
    if size > MAX_RECORD:
        return None
    data = blobs.read(key, 0, size)
    if blake3(data).hexdigest()[:32] != key.rpartition("/")[2].partition(".")[0].rpartition("-")[2]:
        return None
    record = msgspec.json.decode(data, type=dict[str, object])
    return record if record.get("format") == FORMAT else None


def _record_studies(database: Database, blobs: Blobs, quiet_seconds: float) -> int:
    with database.transaction() as sql:
        due = sql.rows(_DUE, {"quiet": quiet_seconds, "limit": _AT_ONCE, "instances": _INSTANCES_AT_ONCE})
        if not due:
            return 0
        ids = [row["study_id"] for row in due]
        records = _study_records(sql, ids)
    _write(blobs, [(f"{r['source']}/{r['study_instance_uid']}", f"{r['id']}-", r) for r in records])
    with database.transaction() as sql:
        sql.rows(
            "delete from hilum.unrecorded_study u using unnest(%s::bigint[], %s::bigint[]) as seen(id, marks) "
            "where u.study_id = seen.id and u.marks = seen.marks",
            (ids, [row["marks"] for row in due]),
        )
    return len(records)


def _study_records(sql: Transaction, ids: list[object]) -> list[Record]:
    records: dict[object, Record] = {}
    for row in sql.rows(_STUDIES, (ids,)):
        records[row["id"]] = {"format": FORMAT, "kind": "study"} | row
    for name, query in _PARTS.items():
        for record in records.values():
            record[name] = []
        for row in sql.rows(query, (ids,)):
            part = records[row.pop("study_id")][name]
            assert isinstance(part, list)
            part.append(row)  # pyright: ignore[reportUnknownMemberType]
    for row in sql.rows(_FEATURES_LEFT_OUT, (ids,)):
        records[row["study_id"]]["features_left_out"] = row["features"]
    return list(records.values())


def _record_set_aside(database: Database, blobs: Blobs) -> int:
    with database.transaction() as sql:
        rows = sql.rows(
            "select a.*, s.key as source from hilum.set_aside a join hilum.source s on s.id = a.source_id "
            "where not a.recorded and a.source_id = (select source_id from hilum.set_aside where not recorded limit 1) "
            "order by a.id limit %s",
            (_AT_ONCE,),
        )
    if not rows:
        return 0
    ids = [row["id"] for row in rows]
    source = rows[0]["source"]
    items = [{name: row[name] for name in row if name not in ("id", "source_id", "source", "recorded")} for row in rows]
    record: Record = {"format": FORMAT, "kind": "set_aside", "source": source, "items": items}
    _write(blobs, [(f"{source}/set-aside", "", record)], keep=True)
    with database.transaction() as sql:
        sql.rows("update hilum.set_aside set recorded = true where id = any(%s)", (ids,))
    return 1


def _record_sources(database: Database, blobs: Blobs) -> int:
    with database.transaction() as sql:
        due = sql.rows(f"select {_SOURCE}, xmin::text as seen from hilum.source where not recorded")
        records: list[tuple[str, str, Record]] = []
        for row in due:
            record: Record = {"format": FORMAT, "kind": "source", "key": row["key"], "name": row["name"]}
            record["intake_profile"] = row["intake_profile"]
            record["created_at"] = row["created_at"]
            record["removed_at"] = row["removed_at"] if row["removed"] else None
            record["cdm"] = {name: row[name] for name in CDM} if row["cdm_schema"] else None
            record["maps"] = {table: _map_lines(sql, table, columns, row["id"]) for table, columns in MAPS.items()}
            record["physicians"] = sql.rows(_CHANGED_PHYSICIANS, (row["id"],))
            record["facilities"] = sql.rows(_CHANGED_FACILITIES, (row["id"],))
            record["changes"] = sql.rows(_CHANGES, (row["id"],))
            records.append((str(row["key"]), "", record))
    _write(blobs, records)
    with database.transaction() as sql:
        for row in due:
            values = (row["id"], row["seen"])
            sql.rows("update hilum.source set recorded = true where id = %s and xmin::text = %s", values)
    return len(records)


def _map_lines(sql: Transaction, table: str, columns: LiteralString, source: object) -> msgspec.Raw:
    """The lines of a mapping table as JSON; none where there are too many."""
    query = cast(
        "LiteralString",
        f"select coalesce(case when count(*) <= {_MOST_LINES} then json_agg(m) end, '[]')::text as lines from "
        f"(select {columns} from hilum.{table} where source_id = %s order by id limit {_MOST_LINES + 1}) m",
    )
    (row,) = sql.rows(query, (source,))
    return msgspec.Raw(str(row["lines"]).encode())


def _write(blobs: Blobs, records: Sequence[tuple[str, str, Mapping[str, object]]], *, keep: bool = False) -> None:
    """Write records as (folder, beginning of the name, record), durable together; then drop what they replace."""
    written: dict[str, str] = {}
    with blobs.group() as group:
        for folder, begin, record in records:
            data = _encode(record)
            key = f"{folder}/{RECORDS}/{begin}{blake3(data).hexdigest()[:32]}.json"
            item = group.create()
            item.write(data)
            item.finish(key)
            written[key] = f"{folder}/{RECORDS}/{begin}"
        group.commit()
    if keep:
        return
    for key, begin in written.items():
        folder = begin.rpartition("/")[0]
        blobs.delete([old for old, _ in blobs.list(folder) if old != key and old.startswith(begin)])


def try_to_record(database: Database, blobs: Blobs) -> None:
    """Write all records that are out of date, at the end of a command; what cannot be written now is written later."""
    try:
        record_changes(database, blobs, quiet_seconds=0)
    except HilumError:
        return


# A record tells of every instance, and of features: few studies at once where they are large, but always one.
_DUE: Final[LiteralString] = """
  select study_id, marks from (
    select study_id, marks, sum(items) over (order by study_id) - items as before from (
      select u.study_id, u.marks, t.num_instances + (select coalesce(sum(features), 0) from hilum.feature_count c
        where c.study_id = t.id) as items from hilum.unrecorded_study u join hilum.study t on t.id = u.study_id
      where t.updated_at <= now() - make_interval(secs => %(quiet)s)
        or u.since <= now() - make_interval(secs => least(60, 12 * %(quiet)s))
      order by u.study_id limit %(limit)s
    ) due
  ) counted where before <= %(instances)s order by study_id
"""
_STUDIES: Final[LiteralString] = f"""
  select {_STUDY}, s.key as source, d.made_by as deleted_by, d.series_instance_uid as deleted_series,
    d.sop_instance_uid as deleted_instance
  from hilum.study t join hilum.source s on s.id = t.source_id
    left join lateral (select made_by, series_instance_uid, sop_instance_uid from hilum.deletion
      where study_id = t.id and restored_at is null order by id desc limit 1) d on true
  where t.id = any(%s)
"""
# Features that no file tells: given by a person or a program, or corrected.
_UNTOLD: Final[LiteralString] = "(f.corrected or f.extractor = '' or strpos(f.extractor, '/') > 0)"
_PARTS: Final[dict[str, LiteralString]] = {
    "corrections": """
      select study_id, field, old, new, of_file, undoes, made_by, made_at, id from hilum.correction
      where study_id = any(%s) order by id
    """,
    "instances": """
      select i.study_id, se.series_instance_uid, i.origin, i.received_at, json_agg(i.digest order by i.id) as digests
      from hilum.instance i join hilum.series se on se.id = i.series_id
      where i.study_id = any(%s) and i.path is null group by 1, 2, 3, 4 order by i.received_at, min(i.id)
    """,
    "in_place": """
      select i.study_id, i.path, se.series_instance_uid, i.digest, i.size, i.path_mtime_ns, i.origin, i.received_at
      from hilum.instance i join hilum.series se on se.id = i.series_id
      where i.study_id = any(%s) and i.path is not null order by i.id
    """,
    "decisions": """
      select t.id as study_id, d.study_instance_uid, d.given_patient_id, d.given_issuer_of_patient_id, d.patient_id,
        d.issuer_of_patient_id, d.origin, d.decided_at
      from hilum.patient_decision d join hilum.study t
        on t.source_id = d.source_id and t.study_instance_uid = d.study_instance_uid
      where t.id = any(%s) order by d.id
    """,
    "link_decisions": """
      select t.id as study_id, d.study_instance_uid, d.kind, d.target_id, d.made_by, d.made_at
      from hilum.link_decision d join hilum.study t
        on t.source_id = d.source_id and t.study_instance_uid = d.study_instance_uid
      where t.id = any(%s) order by d.kind
    """,
    "replaced": """
      select i.study_id, r.digest, r.size, r.blob_key, r.path, r.origin, r.received_at, r.replaced_at
      from hilum.replaced_instance r join hilum.instance i on i.id = r.instance_id
      where i.study_id = any(%s) order by r.id
    """,
    "features": f"""
      select g.*, n.key as finding, r.image_feature_id, r.row_table, r.row_id from (
        select f.study_id, f.series_uid, f.extractor, f.extractor_version, f.key, f.digest, f.feature_type,
          f.feature_name, f.code, f.concept_id, f.algorithm, f.algorithm_version, f.alg_system, f.algorithm_time,
          f.value_numeric, f.value_string, f.value_code, f.unit, f.body_site, f.body_site_code, f.laterality,
          f.assertion, f.confidence, f.finding_id, f.provenance, f.superseded, f.corrected, f.created_at, f.updated_at,
          f.id, row_number() over (partition by f.study_id order by f.superseded, f.id) as place
        from hilum.feature f where f.study_id = any(%s) and {_UNTOLD}
      ) g left join hilum.feature_finding n on n.id = g.finding_id left join hilum.feature_row r on r.feature_id = g.id
      where g.place <= {_MOST_FEATURES} order by g.id
    """,
    "findings": f"""
      select study_id, key, name, code, concept_id, image_finding_id from (
        select t.id as study_id, n.*, row_number() over (partition by t.id order by n.id) as place
        from hilum.feature_finding n join hilum.study t
          on t.source_id = n.source_id and t.study_instance_uid = n.study_instance_uid
        where t.id = any(%s)
      ) n where place <= {_MOST_FEATURES} order by n.place
    """,
    "bundle_files": """
      select study_id, name, kind, size, digest, blob_key, received_at from hilum.bundle_file
      where study_id = any(%s) order by id
    """,
}
_FEATURES_LEFT_OUT: Final[LiteralString] = f"""
  select study_id, count(*) - {_MOST_FEATURES} as features from hilum.feature f
  where f.study_id = any(%s) and {_UNTOLD} group by study_id having count(*) > {_MOST_FEATURES}
"""
_CHANGED_PHYSICIANS: Final[LiteralString] = """
  select p.key, p.name, p.renamed, r.key as merged_into, p.id from hilum.physician p
  left join hilum.physician r on r.id = p.merged_into
  where p.source_id = %s and (p.renamed or p.merged_into is not null
    or exists (select from hilum.physician m where m.merged_into = p.id)
    or exists (select from hilum.name_change c where c.kind = 'physician' and c.named_id = p.id)) order by p.id
"""
_CHANGED_FACILITIES: Final[LiteralString] = """
  select p.key, p.name, p.renamed, r.key as merged_into, p.id from hilum.facility p
  left join hilum.facility r on r.id = p.merged_into
  where p.source_id = %s and (p.renamed or p.merged_into is not null
    or exists (select from hilum.facility m where m.merged_into = p.id)
    or exists (select from hilum.name_change c where c.kind = 'facility' and c.named_id = p.id)) order by p.id
"""
_CHANGES: Final[LiteralString] = """
  select kind, named_id, field, old, new, made_by, made_at from hilum.name_change where source_id = %s order by id
"""
