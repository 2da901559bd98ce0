"""Everything that ties studies to the CDM of their source, brought up to date in one transaction: person, procedure,
visit, minted procedures, rows of image_occurrence, of features and of image_registry, and the events that tell of it.
It may be done at any time and any number of times; what is right already stays as it is, with the moment at which it
was made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString, TypeAlias, cast

from hilum.clinical.cdm.cdm import Cdm, lock_source
from hilum.clinical.features.rows import keep_features
from hilum.clinical.linkage.persons import link_persons
from hilum.clinical.linkage.procedures import keep_minted, link_by_day, link_by_number
from hilum.clinical.linkage.visits import link_visits
from hilum.clinical.occurrence.keep import Places, keep_occurrences
from hilum.clinical.registry.keep import keep_registry
from hilum.core.config import Settings
from hilum.core.database import Transaction
from hilum.core.events import Event
from hilum.imaging.archive.sidecar import mark_studies

LINKED: Final = "hilum.study.linked.v1"
UNLINKED: Final = "hilum.study.unlinked.v1"
KINDS: Final = ("person", "procedure", "visit")
_FEW: Final = 50
"""For more studies than these statements are planned otherwise (``_FOR_MANY``)."""

Targets: TypeAlias = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Manner:
    """How studies are linked, as the settings say: whether procedures are minted, where images are, and whether
    image_registry tells that of each file."""

    mint: bool
    places: Places
    targets: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "Manner":
        """As the settings say."""
        return cls(settings.omop_procedures == "mint", Places.of(settings), settings.registry_trg_file)


@dataclass(frozen=True, slots=True)
class _Study:
    number: int
    uid: str
    targets: Targets


def settle(sql: Transaction, cdm: Cdm, studies: Sequence[int], manner: Manner) -> int:
    """Bring the links of studies up to date, and what follows from them.

    Parameters
    ----------
    sql
        Where; until it ends, nobody else links studies of this source.
    cdm
        Of the studies' source.
    studies
        Their numbers, also of deleted ones; a few thousand at once.
    manner
        How.

    Returns
    -------
    int
        How many of them, or of their like, are tied to something else than before.
    """
    lock_source(sql, cdm.source_id)
    if len(studies) > _FEW:
        sql.rows(_FOR_MANY)
    own = [cast("int", row["id"]) for row in sql.rows(_NAMESAKES, (list(studies), cdm.source_id))]
    before = _state(sql, own)
    others = _add(sql, before, link_persons(sql, cdm, own))
    link_persons(sql, cdm, others)
    # Whose procedures are looked for among those of one day depends on the other studies of that day.
    own = [*before]
    everyone = own + _add(sql, before, _of_one_day(sql, cdm, own, before))
    sql.rows(_WITHOUT_PERSON, (everyone,))
    found = link_by_number(sql, cdm, everyone)
    more = _add(sql, before, _of_procedures(sql, cdm, everyone, before))
    found += link_by_number(sql, cdm, more)
    everyone += more
    link_by_day(sql, cdm, sorted({*everyone} - {*found}), mint=manner.mint)
    link_visits(sql, cdm, everyone)
    uids = [study.uid for study in before.values()]
    keep_minted(sql, cdm, uids)
    sql.rows(_PERSONS, {"studies": everyone})
    keep_occurrences(sql, cdm, everyone, uids, manner.places)
    keep_features(sql, cdm, everyone, uids)
    keep_registry(sql, cdm, everyone, uids, manner.places, targets=manner.targets)
    return _tell(sql, cdm, before, _state(sql, everyone))


def _state(sql: Transaction, studies: Sequence[int]) -> dict[int, _Study]:
    if not studies:
        return {}
    found: dict[int, _Study] = {}
    for row in sql.rows(_STATE, (list(studies),)):
        number = cast("int", row["id"])
        targets = {kind: cast("int | None", row[kind]) for kind in KINDS}
        found[number] = _Study(number, str(row["study_instance_uid"]), targets)
    return found


def _of_one_day(sql: Transaction, cdm: Cdm, studies: Sequence[int], before: Mapping[int, _Study]) -> list[int]:
    """The studies of the same person and day, also of the person that a study was linked to before."""
    held = [study for study in before.values() if study.targets["person"] is not None]
    rows = sql.rows(
        _SIBLINGS,
        {
            "studies": list(studies),
            "source": cdm.source_id,
            "held": [study.number for study in held],
            "persons": [study.targets["person"] for study in held],
        },
    )
    return [cast("int", row["id"]) for row in rows]


def _of_procedures(sql: Transaction, cdm: Cdm, studies: Sequence[int], before: Mapping[int, _Study]) -> list[int]:
    """The studies of the same persons on the days of the procedures that studies have, or had: they may have been given
    such a one for its day, or may be given it now."""
    had = [study.targets["procedure"] for study in before.values() if study.targets["procedure"] is not None]
    rows = sql.rows(cdm.sql(_SHARERS), {"studies": list(studies), "source": cdm.source_id, "had": had})
    return [cast("int", row["id"]) for row in rows]


def _add(sql: Transaction, before: dict[int, _Study], studies: Sequence[int]) -> list[int]:
    """Note the state of studies that come along, and give those that are new."""
    new = [number for number in studies if number not in before]
    before |= _state(sql, new)
    return new


def _tell(sql: Transaction, cdm: Cdm, before: Mapping[int, _Study], after: Mapping[int, _Study]) -> int:
    changed = [study for number, study in after.items() if study.targets != before[number].targets]
    for study in changed:
        was, now = before[study.number].targets["person"], study.targets["person"]
        data: dict[str, object] = {"study_id": study.number, "study_instance_uid": study.uid}
        if was is not None and was != now:
            sql.emit(Event(UNLINKED, cdm.source, study.uid, data | {"person_id": was}))
        if now is not None:
            found = {
                "person_id": now,
                "procedure_occurrence_id": study.targets["procedure"],
                "visit_occurrence_id": study.targets["visit"],
            }
            sql.emit(Event(LINKED, cdm.source, study.uid, data | found))
    if changed:
        mark_studies(sql, [study.number for study in changed])
    return len(changed)


# Each statement anew, since a plan for any number of studies takes it for ten; and by index: the planner would rather
# read all series for some thousand studies, with several processes.
_FOR_MANY: Final[LiteralString] = """
  select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('random_page_cost', '1.1', true),
    set_config('max_parallel_workers_per_gather', '0', true)
"""
# A study that was deleted and stored again has several rows: the rows of image_occurrence go by UID.
_NAMESAKES: Final[LiteralString] = """
  select s.id from hilum.study s where s.study_instance_uid in
    (select study_instance_uid from hilum.study where id = any(%s)) and s.source_id = %s
"""
_STATE: Final[LiteralString] = """
  select s.id, s.study_instance_uid, p.target_id as person, r.target_id as procedure, v.target_id as visit
  from hilum.study s
  left join hilum.study_link p on p.study_id = s.id and p.kind = 'person'
  left join hilum.study_link r on r.study_id = s.id and r.kind = 'procedure'
  left join hilum.study_link v on v.study_id = s.id and v.kind = 'visit'
  where s.id = any(%s)
"""
_SIBLINGS: Final[LiteralString] = """
  with days as (
    select l.target_id as person_id, s.study_date from hilum.study s
    join hilum.study_link l on l.study_id = s.id and l.kind = 'person' and l.target_id is not null
    where s.id = any(%(studies)s)
    union
    select g.person_id, s.study_date from unnest(%(held)s::bigint[], %(persons)s::bigint[]) g (id, person_id)
    join hilum.study s on s.id = g.id
  )
  select distinct s.id from days d
  join hilum.study_link l on l.kind = 'person' and l.target_id = d.person_id
  join hilum.study s on s.id = l.study_id and s.study_date = d.study_date
  where s.source_id = %(source)s and s.deleted_at is null
"""
_SHARERS: Final[LiteralString] = """
  with targets as (
    select l.target_id as id from hilum.study_link l where l.study_id = any(%(studies)s) and l.kind = 'procedure'
      and l.method in ('by_hand', 'procedure_map', 'procedure_source_value')
    union
    select unnest(%(had)s::bigint[])
  )
  select distinct s.id from targets t
  join {cdm}.procedure_occurrence o on o.procedure_occurrence_id = t.id
  join hilum.study_link l on l.kind = 'person' and l.target_id = o.person_id
  join hilum.study s on s.id = l.study_id and s.study_date = o.procedure_date
  where s.source_id = %(source)s and s.deleted_at is null
"""
_WITHOUT_PERSON: Final[LiteralString] = """
  delete from hilum.study_link l using hilum.study s
  where s.id = l.study_id and s.id = any(%s) and s.deleted_at is null and l.kind in ('procedure', 'visit')
    and not exists (select from hilum.study_link p where p.study_id = s.id and p.kind = 'person'
      and p.target_id is not null)
"""
# Studies are locked in the order in which imports lock them.
_PERSONS: Final[LiteralString] = """
  with moved as (
    select s.id, l.target_id as person_id from hilum.study s
    join hilum.study_link l on l.study_id = s.id and l.kind = 'person'
    where s.id = any(%(studies)s) and s.deleted_at is null and s.person_id is distinct from l.target_id
    order by s.study_instance_uid for no key update of s
  )
  update hilum.study s set person_id = m.person_id, updated_at = clock_timestamp() from moved m where s.id = m.id
"""
