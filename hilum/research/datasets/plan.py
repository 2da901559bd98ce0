"""A version is frozen: which instances, of which revisions of studies, whose they are and what their new ids are, what
people decided on their pixels, and what is known of the people. From then on it does not matter what comes into the
archive."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, cast

import msgspec

from hilum.clinical.cdm.cdm import find_cdm
from hilum.core.config import Settings
from hilum.core.database import Row, Transaction
from hilum.research.datasets.decisions import freeze
from hilum.research.datasets.definition import Definition, profile_of
from hilum.research.datasets.people import SetPerson, accession_of, keep_shifts, known_of, name_of, over_89
from hilum.research.datasets.selection import (
    HELD,
    SelectedStudy,
    Selection,
    held_counts,
    select_instances,
    select_studies,
    source_id,
)
from hilum.research.deid.engine import Engine
from hilum.research.deid.keys import Keys
from hilum.research.deid.person import Person
from hilum.research.deid.profile import Profile, Rules
from hilum.research.deid.seal import Seal
from hilum.research.deid.uids import UidMap

_COLUMNS: Final = (
    "version_id", "instance_id", "state", "code", "reason", "person", "accession", "procedure_id", "visit_id",
    "modality", "study", "series", "sop", "number", "original",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Plan:
    sql: Transaction
    version_id: int
    definition: Definition
    selection: Selection
    profile: Profile
    keys: Keys


def plan_version(sql: Transaction, version_id: int, definition: Definition, settings: Settings, keys: Keys) -> None:
    """Freeze a version, in one transaction; one that is planned already stays as it is.

    Raises
    ------
    Invalid
        There is no such profile or source.
    """
    (row,) = sql.rows("select planned from hilum.dataset_version where id = %s for update", (version_id,))
    if row["planned"]:
        return
    profile = profile_of(definition, settings)
    selection = select_studies(sql, definition, profile)
    days, conflicts = keep_shifts(sql, source_id(sql, definition.source), selection.studies, profile, keys)
    hold_conflicts(selection, conflicts, keys)
    plan = _Plan(sql, version_id, definition, selection, profile, keys)
    _people(plan, days)
    _instances(plan)
    freeze(sql, version_id)
    held = msgspec.json.encode({"reasons": held_counts(selection.held)}).decode()
    sql.rows("update hilum.dataset_version set planned = true, held = %s where id = %s", (held, version_id))


def hold_conflicts(selection: Selection, conflicts: frozenset[str], keys: Keys) -> None:
    """Hold back the studies of people whose dates the site now wants moved otherwise than they were."""
    if conflicts:
        held = [study for study in selection.studies if name_of(study, keys) in conflicts]
        selection.studies = [study for study in selection.studies if name_of(study, keys) not in conflicts]
        selection.held += [replace(study, code="shift_conflict") for study in held]


def new_uids(profile: Profile, keys: Keys) -> Engine:
    """The engine of a profile under the site's key."""
    return Engine(Rules(profile), UidMap(keys.uids).new)


def _people(plan: _Plan, days: dict[str, int]) -> None:
    sql, keys = plan.sql, plan.keys
    seal = Seal(keys)
    cdm = find_cdm(sql, plan.definition.source)
    studies = plan.selection.studies
    known = known_of(sql, source_id(sql, plan.definition.source), cdm, studies, keys)
    old = over_89(sql, cdm, studies, keys)
    numbers = {name_of(study, keys): study.person_id for study in studies}
    looked_up: set[tuple[bytes, str, str]] = set()
    for study in studies:
        name, accession = name_of(study, keys), accession_of(study, plan.selection.occurrences, keys)
        looked_up.add((seal.blind("value", study.patient_id), "person", name))
        if study.accession_number:
            looked_up.add((seal.blind("value", study.accession_number), "accession", accession))
    with sql.driver.cursor().copy(
        "copy hilum.dataset_person (version_id, person, person_id, sealed) from stdin"
    ) as into:
        for name, number in sorted(numbers.items()):
            year = (old[name] + timedelta(days[name])).year - 90 if name in old else None
            person = SetPerson(Person(name, days[name], known.get(name, frozenset()), name in old), number, year)
            into.write_row((plan.version_id, name, number, seal.seal(person.to_seal())))
    for one in sorted(looked_up):
        sql.rows("insert into hilum.dataset_value (value, kind, new) values (%s, %s, %s) on conflict do nothing", one)


def _instances(plan: _Plan) -> None:
    """The rows of instances, and of the studies that any are taken of."""
    studies: list[tuple[object, ...]] = []
    new = new_uids(plan.profile, plan.keys).new_uid
    statement = f"copy hilum.dataset_instance ({', '.join(_COLUMNS)}) from stdin"
    pages = list(_pages(plan))
    with plan.sql.driver.cursor().copy(cast("str", statement).encode()) as into:
        for study, rows in pages:
            name = name_of(study, plan.keys)
            accession = accession_of(study, plan.selection.occurrences, plan.keys)
            uid = new(study.uid)
            studies.append((plan.version_id, uid, study.id, name, study.revision))
            for row in rows:
                code = "derived" if row["derived"] or row["series_derived"] else ""
                into.write_row(
                    (plan.version_id, row["id"], "held" if code else "planned", code, HELD.get(code, ""), name,
                     accession, str(study.procedure_id or ""), str(study.visit_id or ""), str(row["modality"]).upper(),
                     uid, new(str(row["series_instance_uid"])), new(str(row["sop_instance_uid"])),
                     max(0, cast("int", row["instance_number"] or 0)), row["digest"])
                )  # fmt: skip
    with plan.sql.driver.cursor().copy(
        "copy hilum.dataset_study (version_id, study, study_id, person, revision) from stdin"
    ) as into:
        for one in studies:
            into.write_row(one)


def _pages(plan: _Plan) -> Iterator[tuple[SelectedStudy, Sequence[Row]]]:
    yield from select_instances(plan.sql, plan.definition, plan.selection.studies)
