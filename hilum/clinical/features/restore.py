"""After the catalogue was made again from the objects: features that no file tells come back from the records of their
studies, with the findings that they are of and, where the CDM has them still, as the rows that they were. What else the
CDM has of a source's features goes, for files are read for it again."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

import msgspec

from hilum.clinical.cdm.cdm import Cdm, find_cdm, has_table, lock_source
from hilum.clinical.cdm.image_tables import FEATURE
from hilum.clinical.features.store import count_features
from hilum.core.database import Row, Transaction

_ROW_COLUMNS: Final = ("table_row_id", "image_feature_event_id")


def bring_back(sql: Transaction, study: int, record: Mapping[str, object]) -> int:
    """Bring back what the record of a study says of its features and findings; what is there already stays.

    Parameters
    ----------
    sql
        The transaction in which the study is catalogued again.
    study
        Hilum's number of it.
    record
        Its record, with ``features`` and ``findings``.

    Returns
    -------
    int
        How many features came back.
    """
    features = cast("Sequence[dict[str, object]]", record.get("features") or ())
    findings = cast("Sequence[dict[str, object]]", record.get("findings") or ())
    if not (features or findings):
        return 0
    (owner,) = sql.rows(_OWNER, (study,))
    cdm = find_cdm(sql, str(owner["source"]))
    there = _still_there(sql, cdm, features) if cdm else {}
    last = cast("int", sql.rows(cdm.sql(_LAST_FINDING))[0]["last_value"]) if cdm else 0
    sql.rows(_FINDINGS, {**owner, "findings": _json(findings), "last": last})
    numbers = {row["key"]: row["id"] for row in sql.rows(_NUMBERS, (owner["source_id"], owner["uid"]))}
    rows = [row | {"study_id": study, "finding_id": numbers.get(row["finding"])} for row in features]
    made = sql.rows(_FEATURES, {"features": _json(rows)})
    ids = {(row["extractor"], row["extractor_version"], row["key"]): row["id"] for row in made}
    known: list[Row] = []
    for row in features:
        feature = ids.get((row["extractor"], row["extractor_version"], row["key"]))
        if feature is not None and there.get(cast("int", row["image_feature_id"])) == row["row_id"] is not None:
            known.append(row | {"feature_id": feature})
    sql.rows(_ROWS, {**owner, "rows": _json(known)})
    count_features(sql, study)
    return len(made)


def drop_unknown(sql: Transaction, cdm: Cdm) -> int:
    """Take out of a CDM those rows of features which Hilum wrote for the images of its source and which no feature of
    the store is any more; gives how many there were."""
    column = _row_column(sql, cdm)
    if column is None:
        return 0
    lock_source(sql, cdm.source_id)
    values = {"source": cdm.source_id, "sequence": cdm.sql("{imaging}.hilum_feature_row_id")}
    return len(sql.rows(cdm.sql(_UNKNOWN.replace("<row_id>", column)), values))


def _still_there(sql: Transaction, cdm: Cdm, features: Sequence[Mapping[str, object]]) -> dict[int, int]:
    """Which rows of image_feature the CDM has of those that features were, and which measurement or observation each
    is."""
    column = _row_column(sql, cdm)
    asked = [row["image_feature_id"] for row in features if row["image_feature_id"] is not None]
    if column is None or not asked:
        return {}
    rows = sql.rows(cdm.sql(_THERE.replace("<row_id>", column)), (asked,))
    return {cast("int", row["image_feature_id"]): cast("int", row["row_id"]) for row in rows}


def _row_column(sql: Transaction, cdm: Cdm) -> LiteralString | None:
    """What the site's image_feature calls the id of the measurement or observation; None without such a table."""
    if not has_table(sql, cdm.schemas.imaging, FEATURE):
        return None
    rows = sql.rows(_COLUMNS, (cdm.schemas.imaging, FEATURE, list(_ROW_COLUMNS)))
    names = {row["column_name"] for row in rows}
    return next((name for name in _ROW_COLUMNS if name in names), None)


def _json(rows: Sequence[Mapping[str, object]]) -> str:
    return msgspec.json.encode(rows).decode()


_WRITTEN: Final[LiteralString] = (
    "study_id, series_uid, extractor, extractor_version, key, digest, feature_type, feature_name, code, concept_id, "
    "algorithm, algorithm_version, alg_system, algorithm_time, value_numeric, value_string, value_code, unit, "
    "body_site, body_site_code, laterality, assertion, confidence, finding_id, provenance, superseded, corrected, "
    "created_at, updated_at"
)
_OWNER: Final[LiteralString] = """
  select s.source_id, s.study_instance_uid as uid, k.key as source from hilum.study s
  join hilum.source k on k.id = s.source_id where s.id = %s
"""
# A number that the CDM has not given yet is one of a CDM that is no more.
_FINDINGS: Final[LiteralString] = """
  insert into hilum.feature_finding as n (source_id, study_instance_uid, key, name, code, concept_id, image_finding_id)
  select %(source_id)s, %(uid)s, g.key, g.name, g.code, g.concept_id,
    case when g.image_finding_id <= %(last)s then g.image_finding_id end
  from json_populate_recordset(null::hilum.feature_finding, %(findings)s) g
  on conflict (source_id, study_instance_uid, key) do update set image_finding_id = excluded.image_finding_id
  where n.image_finding_id is null
"""
_LAST_FINDING: Final[LiteralString] = "select last_value from {imaging}.hilum_image_finding_id"
_NUMBERS: Final[LiteralString] = """
  select key, id from hilum.feature_finding where source_id = %s and study_instance_uid = %s
"""
_FEATURES: Final[LiteralString] = f"""
  insert into hilum.feature ({_WRITTEN})
  select {_WRITTEN} from json_populate_recordset(null::hilum.feature, %(features)s)
  on conflict (study_id, extractor, extractor_version, key) do nothing
  returning id, extractor, extractor_version, key
"""
_ROWS: Final[LiteralString] = """
  insert into hilum.feature_row (feature_id, source_id, study_instance_uid, image_feature_id, row_table, row_id,
    written)
  select g.feature_id, %(source_id)s, %(uid)s, g.image_feature_id, g.row_table, g.row_id, true
  from json_populate_recordset(null::hilum.feature_row, %(rows)s) g on conflict do nothing
"""
_COLUMNS: Final[LiteralString] = """
  select column_name from information_schema.columns
  where table_schema = %s and table_name = %s and column_name = any(%s)
"""
_THERE: Final[LiteralString] = """
  select image_feature_id, <row_id> as row_id from {imaging}.image_feature where image_feature_id = any(%s)
"""
# The ids of measurements and observations come from one range, which nobody else uses.
_UNKNOWN: Final[LiteralString] = """
  with gone as materialized (
    select i.image_feature_id, i.<row_id> as row_id from {imaging}.image_feature i
    join hilum.series_occurrence o on o.source_id = %(source)s and o.image_occurrence_id = i.image_occurrence_id
    join pg_sequence q on q.seqrelid = to_regclass(%(sequence)s) and i.<row_id> between q.seqmin and q.seqmax
    where not exists (select from hilum.feature_row r where r.source_id = %(source)s
      and r.image_feature_id = i.image_feature_id and r.row_id = i.<row_id>)
  ), numbers as (
    delete from {write}.measurement t using gone where t.measurement_id = gone.row_id
  ), others as (
    delete from {write}.observation t using gone where t.observation_id = gone.row_id
  )
  delete from {imaging}.image_feature i using gone where i.image_feature_id = gone.image_feature_id
  returning i.image_feature_id
"""
