"""How well a source's images are tied to its CDM: counts, and checks that each show the SQL they ask."""

from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm, has_table, require_cdm
from hilum.clinical.cdm.concepts import Seed, missing_concepts
from hilum.clinical.linkage.queue import waiting
from hilum.core.database import Database


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it is called, what it counts, how many there are, and the SQL that counts them. ``good`` says
    whether a number above 0 is as it should be."""

    name: str
    text: str
    count: int
    sql: str
    good: bool


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a source's links: the CDM, counts and problems, what waits and why, and concepts that ship and that
    the site's vocabulary lacks."""

    cdm: Cdm
    checks: tuple[Check, ...]
    waiting: tuple[dict[str, object], ...]
    missing: tuple[Seed, ...]


def status_of(database: Database, source: str) -> Status:
    """Look how a source's images are tied to its CDM; raises ``Conflict`` where it has none."""
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
        checks: list[Check] = []
        for name, text, good, statement in _CHECKS:
            if name == "outside_observation" and not has_table(sql, cdm.schemas.cdm, "observation_period"):
                continue
            query = cast("LiteralString", cdm.sql(statement).replace(":source", str(cdm.source_id)))
            (row,) = sql.rows(query)
            checks.append(Check(name, text, cast("int", row["count"]), query, good))
        return Status(cdm, tuple(checks), tuple(waiting(sql, source)), tuple(missing_concepts(sql, cdm)))


_LIVE: Final[LiteralString] = "from hilum.study s where s.source_id = :source and s.deleted_at is null"
_SERIES: Final[LiteralString] = (
    "from hilum.series e join hilum.study s on s.id = e.study_id where s.source_id = :source and s.deleted_at is null"
)
_IMAGES: Final[LiteralString] = (
    "from {imaging}.image_occurrence i left join hilum.series_occurrence o on o.source_id = :source "
    "and o.image_occurrence_id = i.image_occurrence_id"
)
_ANATOMY: Final[tuple[tuple[LiteralString, str], ...]] = (
    ("code", "is coded (Anatomic Region Sequence)"),
    ("body_part", "is their Body Part Examined"),
    ("description", "is named in a description"),
)
_CHECKS: Final[tuple[tuple[str, str, bool, LiteralString], ...]] = (
    ("studies", "studies of the source", True, f"select count(*) {_LIVE}"),
    ("studies_linked", "studies tied to a person", True, f"select count(*) {_LIVE} and s.person_id is not null"),
    (
        "procedures_minted",
        "studies whose procedure was minted",
        True,
        "select count(*) from hilum.study_link l join hilum.study s on s.id = l.study_id "
        "where s.source_id = :source and s.deleted_at is null and l.kind = 'procedure' and l.method = 'minted'",
    ),
    ("series", "series of the source", True, f"select count(*) {_SERIES}"),
    ("image_occurrences", "rows of image_occurrence", True, "select count(*) from {imaging}.image_occurrence"),
    (
        "series_without_row",
        "series of linked studies without a row in image_occurrence",
        False,
        f"select count(*) {_SERIES} and s.person_id is not null and not exists (select from hilum.series_occurrence o "
        "join {imaging}.image_occurrence i on i.image_occurrence_id = o.image_occurrence_id "
        "where o.source_id = :source and o.study_instance_uid = s.study_instance_uid "
        "and o.series_instance_uid = e.series_instance_uid)",
    ),
    (
        "rows_without_series",
        "rows of image_occurrence whose series is not in the archive",
        False,
        f"select count(*) {_IMAGES} where not exists (select 1 {_SERIES} "
        "and s.study_instance_uid = i.image_study_uid and e.series_instance_uid = i.image_series_uid)",
    ),
    (
        "rows_of_another_person",
        "rows that were there before, for another person than the archive says",
        False,
        f"select count(*) {_IMAGES} join hilum.study s on s.study_instance_uid = i.image_study_uid "
        "and s.source_id = :source and s.deleted_at is null where s.person_id is distinct from i.person_id",
    ),
    *(
        (
            f"anatomy_by_{name}",
            f"series whose body site {text}",
            True,
            f"select count(*) from hilum.series_occurrence o where o.source_id = :source and o.anatomy_from = '{name}' "
            "and exists (select from {imaging}.image_occurrence i where i.image_occurrence_id = o.image_occurrence_id)",
        )
        for name, text in _ANATOMY
    ),
    (
        "without_anatomic_site",
        "rows without an anatomic site",
        False,
        "select count(*) from {imaging}.image_occurrence where coalesce(anatomic_site_concept_id, 0) = 0",
    ),
    (
        "without_modality_concept",
        "rows without a concept of their modality",
        False,
        "select count(*) from {imaging}.image_occurrence where coalesce(modality_concept_id, 0) = 0",
    ),
    (
        "person_unknown",
        "rows whose person is not in the CDM",
        False,
        "select count(*) from {imaging}.image_occurrence i where not exists "
        "(select from {cdm}.person p where p.person_id = i.person_id)",
    ),
    (
        "procedure_unknown",
        "rows whose procedure is not there, or another person's",
        False,
        "select count(*) from {imaging}.image_occurrence i where not exists (select from {read}.procedure_occurrence p "
        "where p.procedure_occurrence_id = i.procedure_occurrence_id and p.person_id = i.person_id)",
    ),
    (
        "visit_unknown",
        "rows whose visit is not there, or another person's",
        False,
        "select count(*) from {imaging}.image_occurrence i where i.visit_occurrence_id is not null and not exists "
        "(select from {cdm}.visit_occurrence v where v.visit_occurrence_id = i.visit_occurrence_id "
        "and v.person_id = i.person_id)",
    ),
    (
        "visit_of_procedure_unknown",
        "procedures of studies whose visit is not in the CDM, or another person's",
        False,
        "select count(distinct o.procedure_occurrence_id) from hilum.study_link l join hilum.study s "
        "on s.id = l.study_id and s.source_id = :source and s.deleted_at is null "
        "join {cdm}.procedure_occurrence o on o.procedure_occurrence_id = l.target_id "
        "where l.kind = 'procedure' and o.visit_occurrence_id is not null and not exists "
        "(select from {cdm}.visit_occurrence v where v.visit_occurrence_id = o.visit_occurrence_id "
        "and v.person_id = o.person_id)",
    ),
    (
        "procedure_concept_unknown",
        "procedures of studies whose concept is not in the vocabulary",
        False,
        "select count(distinct o.procedure_occurrence_id) from hilum.study_link l join hilum.study s "
        "on s.id = l.study_id and s.source_id = :source and s.deleted_at is null "
        "join {read}.procedure_occurrence o on o.procedure_occurrence_id = l.target_id "
        "where l.kind = 'procedure' and not exists "
        "(select from {vocabulary}.concept c where c.concept_id = o.procedure_concept_id)",
    ),
    (
        "outside_observation",
        "rows dated outside the person's observation periods",
        False,
        "select count(*) from {imaging}.image_occurrence i where not exists (select from {cdm}.observation_period o "
        "where o.person_id = i.person_id and i.image_occurrence_date "
        "between o.observation_period_start_date and o.observation_period_end_date)",
    ),
    (
        "accession_of_another",
        "linked studies whose accession number is on another person's procedure",
        False,
        "select count(distinct s.id) from hilum.study s join {cdm}.procedure_occurrence p "
        "on p.procedure_source_value = s.accession_number where s.source_id = :source and s.deleted_at is null "
        "and s.accession_number <> '' and s.person_id <> p.person_id",
    ),
)
