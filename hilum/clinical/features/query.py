"""Finding features in the store: by study, person, name, concept, value and whatever else a client filters by; those of
deleted studies are not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.core.database import Row, Transaction
from hilum.core.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFilter:
    """What features must be like; None for any. ``feature_name``, ``body_site`` and ``algorithm`` are compared without
    regard to capitals, ``unit`` with; ``algorithm`` may leave out the version."""

    study_id: int | None = None
    source: str | None = None
    person_id: int | None = None
    series_uid: str | None = None
    feature_type: str | None = None
    feature_name: str | None = None
    concept_id: int | None = None
    body_site: str | None = None
    assertion: str | None = None
    algorithm: str | None = None
    unit: str | None = None
    finding: str | None = None
    value_min: float | None = None
    value_max: float | None = None
    min_confidence: float | None = None
    superseded: bool = False


def list_features(sql: Transaction, wanted: FeatureFilter, *, limit: int, offset: int) -> tuple[list[Row], int]:
    """A page of features, by id, and how many there are in all."""
    where, values = _conditions(wanted)
    (row,) = sql.rows(f"select count(*) as total {_FROM} where {where}", values)
    page = f"{_SELECT} where {where} order by f.id limit %(limit)s offset %(offset)s"
    return sql.rows(page, values | {"limit": limit, "offset": offset}), cast("int", row["total"])


def get_feature(sql: Transaction, feature: int) -> Row:
    """One feature; raises ``NotFound``."""
    rows = sql.rows(f"{_SELECT} where s.deleted_at is null and f.id = %s", (feature,))
    if not rows:
        raise NotFound(f"There is no feature {feature}.")
    return rows[0]


def _conditions(wanted: FeatureFilter) -> tuple[LiteralString, dict[str, object]]:
    values: dict[str, object] = {"superseded": wanted.superseded}
    conditions: list[LiteralString] = ["s.deleted_at is null", "f.superseded = %(superseded)s"]
    for name, condition in _CONDITIONS.items():
        value: object = getattr(wanted, name)
        if value is not None:
            values[name] = value
            conditions.append(condition)
    return " and ".join(conditions), values


_CONDITIONS: Final[Mapping[str, LiteralString]] = {
    "study_id": "f.study_id = %(study_id)s",
    "source": "k.key = %(source)s",
    "person_id": "s.person_id = %(person_id)s",
    "series_uid": "f.series_uid = %(series_uid)s",
    "feature_type": "f.feature_type = %(feature_type)s",
    "feature_name": "lower(f.feature_name) = lower(%(feature_name)s)",
    "concept_id": "f.concept_id = %(concept_id)s",
    "body_site": "lower(f.body_site) = lower(%(body_site)s)",
    "assertion": "f.assertion = %(assertion)s",
    "algorithm": "lower(%(algorithm)s) in (lower(f.algorithm), lower(f.alg_system))",
    "unit": "f.unit = %(unit)s",
    "finding": "n.key = %(finding)s",
    "value_min": "f.value_numeric >= %(value_min)s",
    "value_max": "f.value_numeric <= %(value_max)s",
    "min_confidence": "f.confidence >= %(min_confidence)s",
}
_FROM: Final[LiteralString] = """
  from hilum.feature f join hilum.study s on s.id = f.study_id join hilum.source k on k.id = s.source_id
  left join hilum.feature_finding n on n.id = f.finding_id
"""
_SELECT: Final[LiteralString] = f"""
  select f.*, s.study_instance_uid, s.person_id, k.key as source, n.key as finding, n.name as finding_name,
    n.code as finding_code, n.concept_id as finding_concept_id, n.image_finding_id,
    r.image_feature_id, r.row_table, r.row_id
  {_FROM} left join hilum.feature_row r on r.feature_id = f.id and r.written
"""
