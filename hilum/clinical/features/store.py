"""Writing features: what an extractor says of a study as a whole, and single features that a person or a program adds,
changes or takes away. In the same transaction their concepts are looked up, the rows of the CDM follow, counts are
kept, and an event tells of it. The same again changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString, cast
from uuid import uuid4

import msgspec

from hilum.clinical.cdm.cdm import find_cdm, lock_source
from hilum.clinical.features.rows import keep_features
from hilum.clinical.features.said import Extraction, Finding, Said, alg_system
from hilum.core.database import Row, Transaction
from hilum.core.errors import Invalid, NotFound
from hilum.core.events import Event
from hilum.imaging.archive.sidecar import mark_studies

CHANGED: Final = "hilum.features.changed.v1"


@dataclass(frozen=True, slots=True)
class Study:
    """A study that features are of."""

    number: int
    uid: str
    source_id: int
    source: str


@dataclass(frozen=True, slots=True)
class Changes:
    """How many features were added, changed, removed and superseded."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    superseded: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.superseded)


def lock_study(sql: Transaction, study: int) -> Study:
    """Find a study and let nobody else write features of its source until the transaction ends; raises ``NotFound``
    where it is not there, or deleted."""
    rows = sql.rows("select source_id from hilum.study where id = %s", (study,))
    if rows:
        lock_source(sql, cast("int", rows[0]["source_id"]))
        rows = sql.rows(_STUDY, (study,))
    if not rows:
        raise NotFound("There is no such study.")
    row = rows[0]
    return Study(cast("int", row["id"]), str(row["uid"]), cast("int", row["source_id"]), str(row["source"]))


def write_extraction(sql: Transaction, study: Study, extraction: Extraction) -> Changes:
    """Write what an extractor says of a study now.

    What it said before in the same version and does not say now goes; what it said in other versions stays in the store
    and is superseded.

    Parameters
    ----------
    sql
        Where; ``study`` was locked in it.
    study
        Of which study.
    extraction
        What is said, each feature with a key of its own.

    Raises
    ------
    Invalid
        Two features have one key.
    """
    keys = [said.key for said in extraction.features]
    if len(set(keys)) != len(keys):
        raise Invalid("Two of the features have the same key.")
    named = _named(study, extraction)
    removed = sql.rows(_REMOVE, named | {"keys": keys})
    written = _write(sql, study, extraction.extractor, extraction.version, extraction.features)
    superseded = sql.rows(_SUPERSEDE, named)
    added = sum(bool(row["added"]) for row in written)
    changes = Changes(added, len(written) - added, len(removed), len(superseded))
    _follow(sql, study, changes, {row["feature_type"] for row in (*removed, *written, *superseded)})
    if changes and "/" in extraction.extractor:
        mark_studies(sql, [study.number])
    return changes


def add(sql: Transaction, study: Study, said: Said) -> int:
    """Add one feature; gives its id. Of a feature with an algorithm, what other versions of it said of the same study
    or series is superseded."""
    extractor = extractor_of(said.feature_type, said.algorithm)
    whole = Extraction(extractor=extractor, version=said.algorithm_version, series_uid=said.series_uid)
    (row,) = _write(sql, study, extractor, said.algorithm_version, (said,))
    superseded = sql.rows(_SUPERSEDE_THERE, _named(study, whole)) if extractor else []
    _follow(sql, study, Changes(added=1, superseded=len(superseded)), {said.feature_type})
    mark_studies(sql, [study.number])
    return cast("int", row["id"])


def change(sql: Transaction, study: Study, feature: int, said: Said) -> None:
    """Replace the content of a feature. What its extractor says of it again leaves that alone, until it says something
    else."""
    values = _values(sql, study, said) | {"id": feature}
    changed = sql.rows(_CHANGE, values)
    _follow(sql, study, Changes(changed=len(changed)), {said.feature_type})
    mark_studies(sql, [study.number])


def remove(sql: Transaction, study: Study, feature: int) -> None:
    """Take a feature out of the store."""
    rows = sql.rows("delete from hilum.feature where id = %s returning feature_type", (feature,))
    _follow(sql, study, Changes(removed=len(rows)), {row["feature_type"] for row in rows})
    mark_studies(sql, [study.number])


def extractor_of(feature_type: str, algorithm: str) -> str:
    """By what name the versions of an algorithm are told apart that is no extractor of Hilum's; empty without one. What
    such a one says, no file tells: it stands in the record of the study (see ``hilum.imaging.archive.sidecar``)."""
    return f"{feature_type}/{algorithm}" if algorithm else ""


def fresh_key() -> str:
    """A key for a feature that nobody will extract again."""
    return str(uuid4())


def follow_again(sql: Transaction, study: Study) -> None:
    """Bring the rows of a study's features up to date, as after the vocabulary has changed."""
    cdm = find_cdm(sql, study.source)
    if cdm:
        keep_features(sql, cdm, [study.number], [study.uid])


def count_features(sql: Transaction, study: int) -> None:
    """Count the features of a study anew."""
    sql.rows(_COUNT, {"study": study})


def _follow(sql: Transaction, study: Study, changes: Changes, types: set[object]) -> None:
    if not changes:
        return
    count_features(sql, study.number)
    follow_again(sql, study)
    data: dict[str, object] = {
        "study_id": study.number,
        "study_instance_uid": study.uid,
        "feature_types": sorted(map(str, types)),
        "added": changes.added,
        "changed": changes.changed,
        "removed": changes.removed,
        "superseded": changes.superseded,
    }
    sql.emit(Event(CHANGED, study.source, study.uid, data))


def _named(study: Study, extraction: Extraction) -> dict[str, object]:
    return {
        "study": study.number,
        "extractor": extraction.extractor,
        "version": extraction.version,
        "series": extraction.series_uid,
    }


def _write(sql: Transaction, study: Study, extractor: str, version: str, features: Sequence[Said]) -> list[Row]:
    if not features:
        return []
    findings = _keep_findings(sql, study, [said.finding for said in features if said.finding])
    rows = [_row(said, findings) for said in features]
    document = msgspec.json.encode(rows).decode()
    values = {"study": study.number, "extractor": extractor, "version": version, "features": document}
    return sql.rows(_INSERT, values)


def _values(sql: Transaction, study: Study, said: Said) -> dict[str, object]:
    findings = _keep_findings(sql, study, [said.finding] if said.finding else [])
    row = _row(said, findings)
    return row | {"provenance": msgspec.json.encode(said.provenance).decode()}


def _keep_findings(sql: Transaction, study: Study, findings: Sequence[Finding]) -> Mapping[str, int]:
    """The numbers of findings, by key; of several with one key the last that says what it is counts, and a mere key
    changes nothing."""
    if not findings:
        return {}
    by_key: dict[str, Finding] = {}
    for finding in findings:
        if finding.key not in by_key or finding.name or finding.code or finding.concept_id is not None:
            by_key[finding.key] = finding
    latest = list(by_key.values())
    values = {
        "source": study.source_id,
        "uid": study.uid,
        "keys": [finding.key for finding in latest],
        "names": [finding.name for finding in latest],
        "codes": [finding.code for finding in latest],
        "concepts": [finding.concept_id for finding in latest],
    }
    sql.rows(_FINDINGS, values)
    return {str(row["key"]): cast("int", row["id"]) for row in sql.rows(_FINDING_NUMBERS, values)}


def _row(said: Said, findings: Mapping[str, int]) -> dict[str, object]:
    row: dict[str, object] = {name: getattr(said, name) for name in _COLUMNS}
    return row | {
        "digest": said.digest(),
        "alg_system": alg_system(said.algorithm, said.algorithm_version),
        "algorithm_time": said.algorithm_time or datetime.now(UTC),
        "finding_id": findings[said.finding.key] if said.finding else None,
    }


_COLUMNS: Final = (
    "key", "series_uid", "feature_type", "feature_name", "code", "concept_id", "algorithm", "algorithm_version",
    "value_numeric", "value_string", "value_code", "unit", "body_site", "body_site_code", "laterality", "assertion",
    "confidence", "provenance", "superseded",
)  # fmt: skip
_WRITTEN: Final[tuple[LiteralString, ...]] = (
    "key", "series_uid", "digest", "feature_type", "feature_name", "code", "concept_id", "algorithm",
    "algorithm_version", "alg_system", "algorithm_time", "value_numeric", "value_string", "value_code", "unit",
    "body_site", "body_site_code", "laterality", "assertion", "confidence", "finding_id", "provenance", "superseded",
)  # fmt: skip
_STUDY: Final[LiteralString] = """
  select s.id, s.study_instance_uid as uid, s.source_id, k.key as source from hilum.study s
  join hilum.source k on k.id = s.source_id where s.id = %s and s.deleted_at is null
"""
_SCOPE: Final[LiteralString] = """
  study_id = %(study)s and extractor = %(extractor)s and (%(series)s = '' or series_uid = %(series)s)
"""
_REMOVE: Final[LiteralString] = f"""
  delete from hilum.feature where {_SCOPE} and extractor_version = %(version)s and key <> all(%(keys)s)
  returning feature_type
"""
_SUPERSEDE: Final[LiteralString] = f"""
  update hilum.feature set superseded = true, updated_at = now()
  where {_SCOPE} and extractor_version <> %(version)s and not superseded returning feature_type
"""
_SUPERSEDE_THERE: Final[LiteralString] = """
  update hilum.feature set superseded = extractor_version <> %(version)s, updated_at = now()
  where study_id = %(study)s and extractor = %(extractor)s and series_uid = %(series)s
    and superseded <> (extractor_version <> %(version)s) returning feature_type
"""
_INSERT: Final[LiteralString] = f"""
  insert into hilum.feature as f (study_id, extractor, extractor_version, {", ".join(_WRITTEN)})
  select %(study)s, %(extractor)s, %(version)s, {", ".join(f"g.{name}" for name in _WRITTEN)}
  from json_populate_recordset(null::hilum.feature, %(features)s) g
  on conflict (study_id, extractor, extractor_version, key) do update set
    {", ".join(f"{name} = excluded.{name}" for name in _WRITTEN)}, corrected = false, updated_at = now()
  where (f.digest, f.superseded) <> (excluded.digest, excluded.superseded)
  returning f.id, f.feature_type, f.xmax = 0 as added
"""
_CHANGE: Final[LiteralString] = f"""
  update hilum.feature set corrected = true, updated_at = now(),
    {", ".join(f"{name} = %({name})s" for name in _WRITTEN if name not in ("key", "digest"))}
  where id = %(id)s returning id
"""
_FINDINGS: Final[LiteralString] = """
  insert into hilum.feature_finding as n (source_id, study_instance_uid, key, name, code, concept_id)
  select %(source)s, %(uid)s, g.* from unnest(%(keys)s::text[], %(names)s::text[], %(codes)s::text[],
    %(concepts)s::bigint[]) g
  on conflict (source_id, study_instance_uid, key) do update set name = excluded.name, code = excluded.code,
    concept_id = case when excluded.code = '' then excluded.concept_id else n.concept_id end
  where (excluded.name <> '' or excluded.code <> '' or excluded.concept_id is not null)
    and ((n.name, n.code) <> (excluded.name, excluded.code)
      or (excluded.code = '' and n.concept_id is distinct from excluded.concept_id))
"""
_FINDING_NUMBERS: Final[LiteralString] = """
  select key, id from hilum.feature_finding
  where source_id = %(source)s and study_instance_uid = %(uid)s and key = any(%(keys)s)
"""
_COUNT: Final[LiteralString] = """
  with fresh as (
    select feature_type, count(*) as features from hilum.feature where study_id = %(study)s and not superseded
    group by 1
  ), gone as (
    delete from hilum.feature_count where study_id = %(study)s and feature_type not in (select feature_type from fresh)
  )
  insert into hilum.feature_count as c (study_id, feature_type, features)
  select %(study)s, feature_type, features from fresh
  on conflict (study_id, feature_type) do update set features = excluded.features
  where c.features <> excluded.features
"""
