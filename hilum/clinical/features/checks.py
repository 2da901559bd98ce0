"""What is counted of features: how many there are, and whether their rows in the CDM are what the store says, with
concepts."""

from typing import Final, LiteralString

from hilum.clinical.cdm.questions import Question

# A table's concept or, where the site wrote rows of its own, that of its key (CDM 5.4's convention).
_MEASUREMENT: Final[LiteralString] = "f.table_concept_id in (1147330, 1147138)"
_OBSERVATION: Final[LiteralString] = "f.table_concept_id in (1147304, 1147165)"
_ROWS: Final[LiteralString] = "from {imaging}.image_feature f"
_MEASURED: Final[LiteralString] = (
    f"{_ROWS} join {{read}}.measurement m on {_MEASUREMENT} and m.measurement_id = f.table_row_id"
)
_OBSERVED: Final[LiteralString] = (
    f"{_ROWS} join {{read}}.observation o on {_OBSERVATION} and o.observation_id = f.table_row_id"
)
_STORED: Final[LiteralString] = (
    "from hilum.feature f join hilum.study s on s.id = f.study_id and s.source_id = :source and s.deleted_at is null "
    "where not f.superseded"
)
_WRITTEN: Final[LiteralString] = (
    "from hilum.feature f join hilum.feature_row r on r.feature_id = f.id and r.source_id = :source "
    "join {imaging}.image_feature i on i.image_feature_id = r.image_feature_id"
)
_OWN_ROWS: Final[LiteralString] = (
    "join pg_sequence q on q.seqrelid = '{imaging}.hilum_feature_row_id'::regclass "
    "and t.<key> between q.seqmin and q.seqmax "
    "where not exists (select from {imaging}.image_feature f where f.table_row_id = t.<key>)"
)
_UNIT: Final[LiteralString] = "coalesce(<of>.unit_source_value, '') <> '' and coalesce(<of>.unit_concept_id, 0) = 0"

QUESTIONS: Final[tuple[Question, ...]] = (
    Question("features", "current features of the source", f"select count(*) {_STORED}", good=True),
    Question("image_features", "rows of image_feature", f"select count(*) {_ROWS}", good=True),
    Question(
        "occurrences_without_features",
        "rows of image_occurrence without features",
        "select count(*) from {imaging}.image_occurrence i where not exists "
        "(select from {imaging}.image_feature f where f.image_occurrence_id = i.image_occurrence_id)",
        good=True,
    ),
    Question(
        "features_without_row",
        "current features whose image is in image_occurrence, without a row in image_feature",
        f"select count(*) {_STORED} and exists (select from hilum.series_occurrence o "
        "join {imaging}.image_occurrence i on i.image_occurrence_id = o.image_occurrence_id "
        "where o.source_id = :source and o.study_instance_uid = s.study_instance_uid "
        "and i.person_id = s.person_id and f.series_uid in ('', o.series_instance_uid)) "
        "and not exists (select from hilum.feature_row r join {imaging}.image_feature i "
        "on i.image_feature_id = r.image_feature_id where r.feature_id = f.id)",
    ),
    Question(
        "superseded_features_with_row",
        "features that a later version superseded and that are in image_feature all the same",
        f"select count(*) {_WRITTEN} where f.superseded",
    ),
    Question(
        "versions_side_by_side",
        "images of which several versions of one extractor are current",
        f"select count(*) from (select f.study_id {_STORED} and f.extractor <> '' "
        "group by f.study_id, f.extractor, f.series_uid having count(distinct f.extractor_version) > 1) v",
    ),
    Question(
        "image_features_without_value",
        "rows of image_feature whose row in measurement or observation is not there",
        f"select (select count(*) {_ROWS} where {_MEASUREMENT} and not exists "
        "(select from {read}.measurement m where m.measurement_id = f.table_row_id)) + "
        f"(select count(*) {_ROWS} where {_OBSERVATION} and not exists "
        "(select from {read}.observation o where o.observation_id = f.table_row_id)) as count",
    ),
    Question(
        "values_without_image_feature",
        "rows of measurement and observation that Hilum wrote and no row of image_feature names",
        f"select (select count(*) from {{write}}.measurement t {_OWN_ROWS.replace('<key>', 'measurement_id')}) + "
        f"(select count(*) from {{write}}.observation t {_OWN_ROWS.replace('<key>', 'observation_id')}) as count",
    ),
    Question(
        "table_concept_wrong",
        "rows of image_feature that name no table, or another than their row is in",
        f"select count(*) {_ROWS} left join hilum.feature_row r on r.source_id = :source "
        "and r.image_feature_id = f.image_feature_id where coalesce(f.table_concept_id, 0) = 0 "
        f"or r.row_table = 'measurement' and not {_MEASUREMENT} or r.row_table = 'observation' and not {_OBSERVATION}",
    ),
    Question(
        "value_in_wrong_table",
        "features that are a number in observation, or none in measurement",
        f"select count(*) {_WRITTEN} where (r.row_table = 'measurement') <> (f.value_numeric is not null)",
    ),
    Question(
        "feature_of_another_person",
        "rows of image_feature of another person than their image or their value",
        f"select count(*) {_ROWS} left join {{imaging}}.image_occurrence i "
        "on i.image_occurrence_id = f.image_occurrence_id "
        f"left join {{read}}.measurement m on {_MEASUREMENT} and m.measurement_id = f.table_row_id "
        f"left join {{read}}.observation o on {_OBSERVATION} and o.observation_id = f.table_row_id "
        "where i.person_id is distinct from f.person_id or m.person_id <> f.person_id or o.person_id <> f.person_id",
    ),
    Question(
        "features_without_concept",
        "rows of image_feature without a concept",
        f"select count(*) {_ROWS} where coalesce(f.image_feature_concept_id, 0) = 0",
    ),
    Question(
        "findings_without_concept",
        "findings in image_feature without a concept",
        f"select count(distinct f.image_finding_id) {_ROWS} where f.image_finding_id <> 0 "
        "and coalesce(f.image_finding_concept_id, 0) = 0",
    ),
    Question(
        "units_without_concept",
        "values of features whose unit has no concept",
        f"select (select count(*) {_MEASURED} where {_UNIT.replace('<of>', 'm')}) + "
        f"(select count(*) {_OBSERVED} where {_UNIT.replace('<of>', 'o')}) as count",
    ),
)
