"""A CDM of Hilum's own: OMOP CDM 5.4 as the package ``omop-cdm`` has it, the image tables, the tables of cohorts, and
the seed of concepts that ships. Keys between clinical tables are enforced; keys into the vocabulary are not, so that it
can be loaded and replaced, and are checked by ``hilum cdm status`` instead."""

from typing import TYPE_CHECKING, Final, LiteralString

from hilum.clinical.cdm.cdm import Cdm, Schemas, free_source, keep_cdm
from hilum.clinical.cdm.image_tables import FEATURE_IDS, create_image_tables, create_sequences
from hilum.clinical.cdm.seed import load_seed
from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict

if TYPE_CHECKING:
    import sqlalchemy as sa

_LOCK: Final = 4_845_114_014
# Tables that have no key in the CDM: the package gives them one, which Athena's files do not keep.
_WITHOUT_KEY: Final = ("concept_synonym", "drug_strength")


def default_schemas(
    source: str, *, cdm: str = "", vocabulary: str = "", imaging: str = "", results: str = ""
) -> Schemas:
    """The schemas that a source's own CDM gets where none are named."""
    stem = "omop" if source == "default" else f"omop_{source.replace('-', '_')}"
    return Schemas(
        cdm or stem, vocabulary or f"{stem}_vocabulary", imaging or f"{stem}_imaging", results or f"{stem}_results"
    )


def create_cdm(
    database: Database,
    source: str,
    schemas: Schemas,
    procedure_ids: str,
    feature_ids: str = FEATURE_IDS,
    first_file: int = 1,
) -> Cdm:
    """Create the CDM of a source.

    Parameters
    ----------
    database
        Where.
    source
        Key of the source.
    schemas
        Where its parts go; made where they are missing. A vocabulary that is there is shared, not touched.
    procedure_ids
        The range of minted procedures, ``first-last``.
    feature_ids
        The range of the measurements and observations that features are.
    first_file
        The number that image_registry begins with.

    Raises
    ------
    Conflict
        The source has a CDM, or a schema holds tables already.
    NotFound
        There is no such source.
    """
    metadata = _tables(schemas)
    with database.transaction() as sql:
        sql.rows("select pg_advisory_xact_lock(%s)", (_LOCK,))
        cdm = Cdm(free_source(sql, source), source, schemas, attached=False)
        shares = bool(_relations(sql, schemas.vocabulary)) and schemas.vocabulary != schemas.cdm
        for name in (schemas.cdm, schemas.imaging, schemas.results):
            if _relations(sql, name):
                raise Conflict(f"Schema {name} holds tables already: name others, or attach it with hilum cdm attach.")
        for name in {schemas.cdm, schemas.vocabulary, schemas.imaging, schemas.results}:
            make_schema(sql, name)
        tables = [t for t in metadata.sorted_tables if not (shares and t.schema == schemas.vocabulary)]
        metadata.create_all(sql.connection, tables=tables, checkfirst=False)
        create_image_tables(sql, cdm)
        create_sequences(sql, cdm, procedure_ids, feature_ids, first_file)
        sql.rows(cdm.sql(COHORTS))
        sql.rows(cdm.sql(_VIEWS))
        if not shares:
            load_seed(sql, cdm)
        keep_cdm(sql, cdm)
    return cdm


def make_schema(sql: Transaction, name: str) -> None:
    """Make a schema unless it is there; one that is there needs no right to make any."""
    from psycopg import sql as pg

    if not sql.rows("select 1 from pg_namespace where nspname = %s", (name,)):
        sql.driver.execute(pg.SQL("create schema {}").format(pg.Identifier(name)))


def _relations(sql: Transaction, schema: str) -> list[str]:
    rows = sql.rows("select tablename from pg_tables where schemaname = %s order by 1", (schema,))
    return [str(row["tablename"]) for row in rows]


def _tables(schemas: Schemas) -> "sa.MetaData":
    """The package's tables in the schemas of this CDM, without keys into the vocabulary."""
    import sqlalchemy as sa
    from omop_cdm.constants import CDM_SCHEMA, VOCAB_SCHEMA
    from omop_cdm.regular.cdm54 import Base

    places = {CDM_SCHEMA: schemas.cdm, VOCAB_SCHEMA: schemas.vocabulary}
    made = sa.MetaData(naming_convention=Base.metadata.naming_convention)

    def column(given: "sa.Column[object]") -> "sa.Column[object]":
        found = [key.column for key in given.foreign_keys if key.column.table.schema != VOCAB_SCHEMA]
        keys = [sa.ForeignKey(f"{places[str(f.table.schema)]}.{f.table.name}.{f.name}") for f in found]
        return sa.Column(
            given.name,
            given.type,
            *keys,
            primary_key=given.primary_key and given.table.name not in _WITHOUT_KEY,
            nullable=given.nullable,
            index=given.index and not given.primary_key,
            autoincrement=False,
        )

    for table in Base.metadata.tables.values():
        sa.Table(table.name, made, *map(column, table.columns), schema=places[str(table.schema)])
    return made


COHORTS: Final[LiteralString] = """
  create table {results}.cohort (
    cohort_definition_id bigint not null,
    subject_id bigint not null,
    cohort_start_date date not null,
    cohort_end_date date not null
  );
  create index cohort_of_definition on {results}.cohort (cohort_definition_id, subject_id);
  create table {results}.cohort_definition (
    cohort_definition_id bigint primary key,
    cohort_definition_name varchar(255) not null,
    cohort_definition_description text,
    definition_type_concept_id integer not null,
    cohort_definition_syntax text,
    subject_concept_id integer not null,
    cohort_initiation_date date
  );
"""
# Cohort engines look for every table beside person.
_VIEWS: Final[LiteralString] = """
  create view {cdm}.image_occurrence as select * from {imaging}.image_occurrence;
  create view {cdm}.image_feature as select * from {imaging}.image_feature;
  create view {cdm}.image_feature_value as select * from {imaging}.image_feature_value;
  create index person_by_source_value on {cdm}.person (person_source_value);
"""
