"""The tables of the imaging extension beside a CDM, in its imaging schema: image_occurrence and image_feature with the
names of the seed and, beside them, the newer published ones, the view image_feature_value, CHoRUS's image_registry, and
the sequences that ids are drawn from. Their rows are the business of other rooms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, LiteralString, cast

from hilum.clinical.cdm.cdm import Cdm, has_table
from hilum.core.database import Transaction
from hilum.core.errors import Conflict, Invalid

OCCURRENCE: Final = "image_occurrence"
FEATURE: Final = "image_feature"
FEATURE_IDS: Final = "1000000000-1999999999"
"""The range of Hilum's measurements and observations where no setting names another."""
REGISTRY: Final = "image_registry"


def create_image_tables(sql: Transaction, cdm: Cdm, have: frozenset[str] = frozenset()) -> None:
    """Create the image tables with keys of the types that the CDM has, but for those that are there (``have``)."""
    schemas = cdm.schemas
    types = {
        "<PERSON>": column_type(sql, schemas.cdm, "person", "person_id"),
        "<PROCEDURE>": column_type(sql, schemas.cdm, "procedure_occurrence", "procedure_occurrence_id"),
        "<VISIT>": column_type(sql, schemas.cdm, "visit_occurrence", "visit_occurrence_id"),
        "<CONCEPT>": column_type(sql, schemas.vocabulary, "concept", "concept_id"),
    }
    if OCCURRENCE not in have:
        sql.rows(_typed(cdm.sql(_OCCURRENCE), types))
    if FEATURE not in have:
        sql.rows(_typed(cdm.sql(_FEATURE), types))
    if REGISTRY not in have:
        sql.rows(cdm.sql(_REGISTRY))
    if not has_table(sql, schemas.imaging, "image_feature_value"):
        sql.rows(cdm.sql(feature_names(sql, cdm).of(_VALUES)))


def create_sequences(
    sql: Transaction, cdm: Cdm, procedure_ids: str, feature_ids: str = FEATURE_IDS, first_file: int = 1
) -> None:
    """Make the sequences of Hilum's own ids; those of minted procedures, and of measurements and observations, come
    from reserved ranges, and files of the registry have their first number.

    Raises
    ------
    Conflict
        The CDM has rows in such a range.
    Invalid
        The range is none.
    """
    procedures = _free_range(sql, cdm, "HILUM_OMOP_PROCEDURE_IDS", procedure_ids, ("procedure_occurrence",))
    features = _free_range(sql, cdm, "HILUM_OMOP_FEATURE_IDS", feature_ids, ("measurement", "observation"))
    sql.rows(cdm.sql("create sequence if not exists {imaging}.hilum_procedure_id " + procedures))
    sql.rows(cdm.sql("create sequence if not exists {imaging}.hilum_feature_row_id " + features))
    _create_after(sql, cdm, "image_occurrence", "image_occurrence_id")
    _create_after(sql, cdm, "image_feature", "image_feature_id")
    _create_after(sql, cdm, "image_feature", "image_finding_id")
    registry = cast("LiteralString", f"minvalue {first_file}")
    sql.rows(cdm.sql("create sequence if not exists {imaging}.hilum_image_registry_id " + registry))


def _free_range(sql: Transaction, cdm: Cdm, setting: str, ids: str, tables: tuple[LiteralString, ...]) -> LiteralString:
    """The limits of a sequence within which no row of some tables is."""
    first, last = (int(part) for part in ids.split("-"))
    if not 0 < first < last:
        raise Invalid(f"{setting}: {ids} is no range of ids.")
    for table in tables:
        key: LiteralString = table + "_id"
        if column_type(sql, cdm.schemas.cdm, table, key) == "integer" and last >= 1 << 31:
            raise Invalid(f"{setting}: the CDM's ids are integers, up to {(1 << 31) - 1}.")
        query: LiteralString = f"select count(*) as taken from {{cdm}}.{table} where {key} between %s and %s"
        (row,) = sql.rows(cdm.sql(query), (first, last))
        if row["taken"]:
            raise Conflict(
                f"{row['taken']} rows of the CDM's {table} have ids from {first} to {last}: name a free range with "
                f"{setting}."
            )
    return cast("LiteralString", f"minvalue {first} maxvalue {last}")


def _create_after(sql: Transaction, cdm: Cdm, table: LiteralString, column: LiteralString) -> None:
    """Make a sequence of ids that follow those which a table has."""
    (row,) = sql.rows(cdm.sql(f"select coalesce(max({column}), 0) + 1 as next from {{imaging}}.{table}"))
    begin = cast("LiteralString", str(row["next"]))
    sql.rows(cdm.sql(f"create sequence if not exists {{imaging}}.hilum_{column} start {begin}"))


def column_type(sql: Transaction, schema: str, table: str, column: str) -> str:
    """The type of a column, as PostgreSQL writes it.

    Raises
    ------
    Invalid
        There is no such column.
    """
    rows = sql.rows(
        "select format_type(a.atttypid, a.atttypmod) as type from pg_attribute a join pg_class c on c.oid = a.attrelid "
        "join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s and a.attname = %s "
        "and a.attnum > 0 and not a.attisdropped",
        (schema, table, column),
    )
    if not rows:
        raise Invalid(f"Schema {schema} has no column {table}.{column}.")
    return str(rows[0]["type"])


def writable_columns(sql: Transaction, table: LiteralString) -> dict[str, str]:
    """The columns of a table (``"schema"."table"``) that can be written, with their types as PostgreSQL writes them."""
    rows = sql.rows(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute where attrelid = %s::regclass "
        "and attnum > 0 and not attisdropped and attgenerated = ''",
        (table,),
    )
    return {str(row["attname"]): str(row["type"]) for row in rows}


@dataclass(frozen=True, slots=True)
class FeatureNames:
    """What image_feature calls the table and the key of a feature's value: as the seed does, or by the newer names."""

    newer: bool

    def of(self, statement: LiteralString) -> LiteralString:
        """A statement that names the seed's columns, in the names that are there."""
        if not self.newer:
            return statement
        newer = statement.replace("table_concept_id", "image_feature_event_field_concept_id")
        return newer.replace("table_row_id", "image_feature_event_id")


def feature_names(sql: Transaction, cdm: Cdm) -> FeatureNames:
    """The names that the image_feature of a CDM has."""
    rows = sql.rows(
        "select attname from pg_attribute where attrelid = %s::regclass and attname = 'table_concept_id'",
        (cdm.sql("{imaging}.image_feature"),),
    )
    return FeatureNames(newer=not rows)


def _typed(statement: LiteralString, types: Mapping[str, str]) -> LiteralString:
    text: str = statement
    for word, kind in types.items():
        text = text.replace(word, kind)
    return cast("LiteralString", text)


_OCCURRENCE: Final[LiteralString] = """
  create table {imaging}.image_occurrence (
    image_occurrence_id bigint primary key,
    person_id <PERSON> not null,
    procedure_occurrence_id <PROCEDURE> not null,
    visit_occurrence_id <VISIT>,
    anatomic_site_concept_id <CONCEPT>,
    wadors_uri text,
    local_path text not null,
    image_occurrence_date date not null,
    image_study_uid varchar(250) not null,
    image_series_uid varchar(250) not null,
    modality varchar(250) not null,
    modality_concept_id <CONCEPT> default 0 not null,
    accession_number varchar(250)
  );
  create unique index image_occurrence_series on {imaging}.image_occurrence (image_study_uid, image_series_uid);
  create index image_occurrence_person on {imaging}.image_occurrence (person_id);
  create index image_occurrence_procedure on {imaging}.image_occurrence (procedure_occurrence_id);
  create index image_occurrence_visit on {imaging}.image_occurrence (visit_occurrence_id);
"""
_FEATURE: Final[LiteralString] = """
  create table {imaging}.image_feature (
    image_feature_id bigint primary key,
    person_id <PERSON> not null,
    image_occurrence_id bigint not null references {imaging}.image_occurrence (image_occurrence_id) on delete cascade,
    table_concept_id <CONCEPT> not null,
    table_row_id bigint not null,
    image_feature_concept_id <CONCEPT> not null,
    image_feature_type_concept_id <CONCEPT> not null,
    image_finding_concept_id <CONCEPT>,
    image_finding_id bigint,
    anatomic_site_concept_id <CONCEPT>,
    alg_system text,
    alg_datetime timestamp,
    image_feature_event_field_concept_id <CONCEPT> generated always as (table_concept_id) stored,
    image_feature_event_id bigint generated always as (table_row_id) stored
  );
  create index image_feature_person on {imaging}.image_feature (person_id);
  create index image_feature_occurrence on {imaging}.image_feature (image_occurrence_id);
  create index image_feature_row on {imaging}.image_feature (table_row_id, table_concept_id);
"""
# Columns and order of the CHoRUS Imaging SOP; but a visit may be missing, as its Multimodal Linkage SOP has it.
_REGISTRY: Final[LiteralString] = """
  create table {imaging}.image_registry (
    image_registry_id bigint primary key,
    file_id varchar(1024) not null,
    proc_id bigint not null,
    person_id bigint not null,
    group_id bigint not null,
    visit_id bigint,
    datetime timestamp not null,
    src_file varchar(1024) not null,
    trg_file varchar(1024)
  );
  create index image_registry_person on {imaging}.image_registry (person_id);
"""
# The event field is a table's concept, or (CDM 5.4's own convention) that of its key.
_VALUES: Final[LiteralString] = """
  create view {imaging}.image_feature_value as
  select f.image_feature_id, f.person_id, f.image_occurrence_id, f.image_feature_concept_id,
    f.image_feature_type_concept_id, f.image_finding_concept_id, f.image_finding_id, f.anatomic_site_concept_id,
    f.alg_system, f.alg_datetime,
    coalesce(m.measurement_date, o.observation_date) as value_date,
    coalesce(m.value_as_number, o.value_as_number) as value_as_number,
    coalesce(m.value_as_concept_id, o.value_as_concept_id) as value_as_concept_id,
    coalesce(o.value_as_string, m.value_source_value) as value_as_string,
    coalesce(m.unit_concept_id, o.unit_concept_id) as unit_concept_id,
    coalesce(m.unit_source_value, o.unit_source_value) as unit_source_value
  from {imaging}.image_feature f
  left join {read}.measurement m on f.table_concept_id in (1147330, 1147138) and m.measurement_id = f.table_row_id
  left join {read}.observation o on f.table_concept_id in (1147304, 1147165) and o.observation_id = f.table_row_id
"""
