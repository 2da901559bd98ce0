"""What is counted of links: how many studies are tied to what and how, whether the rows that follow are whole, and what
the site's mapping tables are good for."""

from typing import Final, LiteralString

from hilum.clinical.cdm.questions import Question

_LIVE: Final[LiteralString] = "from hilum.study s where s.source_id = :source and s.deleted_at is null"
_SERIES: Final[LiteralString] = (
    "from hilum.series e join hilum.study s on s.id = e.study_id where s.source_id = :source and s.deleted_at is null"
)
_IMAGES: Final[LiteralString] = (
    "from {imaging}.image_occurrence i left join hilum.series_occurrence o on o.source_id = :source "
    "and o.image_occurrence_id = i.image_occurrence_id"
)
_LINKS: Final[LiteralString] = (
    "from hilum.study_link l join hilum.study s on s.id = l.study_id and s.source_id = :source and s.deleted_at is null"
)
_ANATOMY: Final[tuple[tuple[LiteralString, str], ...]] = (
    ("code", "is coded (Anatomic Region Sequence)"),
    ("body_part", "is their Body Part Examined"),
    ("description", "is named in a description"),
)

_COVERAGE: Final[tuple[Question, ...]] = (
    Question("studies", "studies of the source", f"select count(*) {_LIVE}", good=True),
    Question(
        "studies_linked", "studies tied to a person", f"select count(*) {_LIVE} and s.person_id is not null", good=True
    ),
    Question(
        "procedures_minted",
        "studies whose procedure was minted",
        f"select count(*) {_LINKS} where l.kind = 'procedure' and l.method = 'minted'",
        good=True,
    ),
    Question("series", "series of the source", f"select count(*) {_SERIES}", good=True),
    Question(
        "image_occurrences", "rows of image_occurrence", "select count(*) from {imaging}.image_occurrence", good=True
    ),
    Question(
        "series_without_row",
        "series of linked studies without a row in image_occurrence",
        f"select count(*) {_SERIES} and s.person_id is not null and not exists (select from hilum.series_occurrence o "
        "join {imaging}.image_occurrence i on i.image_occurrence_id = o.image_occurrence_id "
        "where o.source_id = :source and o.study_instance_uid = s.study_instance_uid "
        "and o.series_instance_uid = e.series_instance_uid)",
    ),
    Question(
        "rows_without_series",
        "rows of image_occurrence whose series is not in the archive",
        f"select count(*) {_IMAGES} where not exists (select 1 {_SERIES} "
        "and s.study_instance_uid = i.image_study_uid and e.series_instance_uid = i.image_series_uid)",
    ),
    Question(
        "rows_of_another_person",
        "rows that were there before, for another person than the archive says",
        f"select count(*) {_IMAGES} join hilum.study s on s.study_instance_uid = i.image_study_uid "
        "and s.source_id = :source and s.deleted_at is null where s.person_id is distinct from i.person_id",
    ),
    *(
        Question(
            f"anatomy_by_{name}",
            f"series whose body site {text}",
            f"select count(*) from hilum.series_occurrence o where o.source_id = :source and o.anatomy_from = '{name}' "
            "and exists (select from {imaging}.image_occurrence i where i.image_occurrence_id = o.image_occurrence_id)",
            good=True,
        )
        for name, text in _ANATOMY
    ),
    Question(
        "without_anatomic_site",
        "rows without an anatomic site",
        "select count(*) from {imaging}.image_occurrence where coalesce(anatomic_site_concept_id, 0) = 0",
    ),
    Question(
        "without_modality_concept",
        "rows without a concept of their modality",
        "select count(*) from {imaging}.image_occurrence where coalesce(modality_concept_id, 0) = 0",
    ),
)
_KEYS: Final[tuple[Question, ...]] = (
    Question(
        "person_unknown",
        "rows whose person is not in the CDM",
        "select count(*) from {imaging}.image_occurrence i where not exists "
        "(select from {cdm}.person p where p.person_id = i.person_id)",
    ),
    Question(
        "procedure_unknown",
        "rows whose procedure is not there, or another person's",
        "select count(*) from {imaging}.image_occurrence i where not exists (select from {read}.procedure_occurrence p "
        "where p.procedure_occurrence_id = i.procedure_occurrence_id and p.person_id = i.person_id)",
    ),
    Question(
        "visit_unknown",
        "rows whose visit is not there, or another person's",
        "select count(*) from {imaging}.image_occurrence i where i.visit_occurrence_id is not null and not exists "
        "(select from {cdm}.visit_occurrence v where v.visit_occurrence_id = i.visit_occurrence_id "
        "and v.person_id = i.person_id)",
    ),
    Question(
        "visit_of_procedure_unknown",
        "procedures of studies whose visit is not in the CDM, or another person's",
        f"select count(distinct o.procedure_occurrence_id) {_LINKS} "
        "join {cdm}.procedure_occurrence o on o.procedure_occurrence_id = l.target_id "
        "where l.kind = 'procedure' and o.visit_occurrence_id is not null and not exists "
        "(select from {cdm}.visit_occurrence v where v.visit_occurrence_id = o.visit_occurrence_id "
        "and v.person_id = o.person_id)",
    ),
    Question(
        "procedure_concept_unknown",
        "procedures of studies whose concept is not in the vocabulary",
        f"select count(distinct o.procedure_occurrence_id) {_LINKS} "
        "join {read}.procedure_occurrence o on o.procedure_occurrence_id = l.target_id "
        "where l.kind = 'procedure' and not exists "
        "(select from {vocabulary}.concept c where c.concept_id = o.procedure_concept_id)",
    ),
    Question(
        "outside_observation",
        "rows dated outside the person's observation periods",
        "select count(*) from {imaging}.image_occurrence i where not exists (select from {cdm}.observation_period o "
        "where o.person_id = i.person_id and i.image_occurrence_date "
        "between o.observation_period_start_date and o.observation_period_end_date)",
        needs="observation_period",
    ),
    Question(
        "accession_of_another",
        "linked studies whose accession number is on another person's procedure of that time",
        "select count(distinct s.id) from {cdm}.procedure_occurrence p "
        "cross join lateral unnest(string_to_array(p.procedure_source_value, '|')) n (number) "
        "join hilum.study s on s.accession_number = n.number and s.source_id = :source and s.deleted_at is null "
        "where n.number <> '' and s.person_id <> p.person_id and abs(s.study_date - p.procedure_date) <= 1",
    ),
)
_MAPS: Final[tuple[Question, ...]] = (
    Question(
        "person_map", "lines of the mapping table of persons", "select count(*) from hilum.person_map m "
        "where m.source_id = :source", good=True,
    ),
    Question(
        "person_map_used",
        "lines of the mapping table of persons by which a study is tied",
        "select count(*) from hilum.person_map m where m.source_id = :source "
        f"and exists (select 1 {_LINKS} join hilum.patient p on p.id = s.patient_pk "
        "where l.kind = 'person' and l.method = 'person_map' and l.target_id = m.person_id "
        "and s.patient_id = m.patient_id and m.issuer_of_patient_id in (p.issuer_of_patient_id, ''))",
        good=True,
    ),
    Question(
        "studies_by_person_map",
        "studies tied to their person by the mapping table",
        f"select count(*) {_LINKS} where l.kind = 'person' and l.method = 'person_map' and l.target_id is not null",
        good=True,
    ),
    Question(
        "person_map_unknown",
        "lines of the mapping table of persons whose person is not in the CDM",
        "select count(*) from hilum.person_map m where m.source_id = :source "
        "and not exists (select from {cdm}.person p where p.person_id = m.person_id)",
    ),
    Question(
        "procedure_map", "lines of the mapping table of procedures", "select count(*) from hilum.procedure_map m "
        "where m.source_id = :source", good=True,
    ),
    Question(
        "procedure_map_used",
        "lines of the mapping table of procedures by which a study is tied",
        "select count(*) from hilum.procedure_map m where m.source_id = :source "
        f"and exists (select 1 {_LINKS} where l.kind = 'procedure' and l.method = 'procedure_map' "
        "and l.target_id = m.procedure_occurrence_id and m.patient_id in (s.patient_id, ''))",
        good=True,
    ),
    Question(
        "studies_by_procedure_map",
        "studies tied to their procedure by the mapping table",
        f"select count(*) {_LINKS} where l.kind = 'procedure' and l.method = 'procedure_map' "
        "and l.target_id is not null",
        good=True,
    ),
    Question(
        "procedure_map_unknown",
        "lines of the mapping table of procedures whose procedure is not in the CDM",
        "select count(*) from hilum.procedure_map m where m.source_id = :source and not exists "
        "(select from {cdm}.procedure_occurrence p where p.procedure_occurrence_id = m.procedure_occurrence_id)",
    ),
)  # fmt: skip
QUESTIONS: Final[tuple[Question, ...]] = (*_COVERAGE, *_KEYS, *_MAPS)
