"""A CDM that is there already and belongs to somebody else. It is read as it is found; what Hilum adds goes into the
imaging schema (image tables, and tables named and shaped like the clinical ones for rows that would go there) and the
results schema (cohorts, and views that show both together, for queries and cohort engines). Nothing else is written."""

from collections.abc import Mapping
from typing import Final, LiteralString, cast

from psycopg import sql as pg

from hilum.clinical.cdm.cdm import Cdm, Schemas, free_source, has_table, keep_cdm
from hilum.clinical.cdm.create import COHORTS, make_schema
from hilum.clinical.cdm.image_tables import (
    FEATURE,
    FEATURE_IDS,
    OCCURRENCE,
    REGISTRY,
    create_image_tables,
    create_sequences,
)
from hilum.clinical.chorus import COLUMNS
from hilum.core.database import Database, Transaction
from hilum.core.errors import Conflict, Invalid

ADDED: Final = ("measurement", "observation", "procedure_occurrence", "note")
"""Clinical tables that Hilum has rows for."""
_KEYS: Final = {table: f"{table}_id" for table in ADDED}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "person": ("person_id", "gender_concept_id", "year_of_birth", "month_of_birth", "day_of_birth",
        "person_source_value"),
    "visit_occurrence": ("visit_occurrence_id", "person_id", "visit_concept_id", "visit_start_date",
        "visit_start_datetime", "visit_end_date", "visit_end_datetime", "visit_source_value"),
    "procedure_occurrence": ("procedure_occurrence_id", "person_id", "procedure_concept_id", "procedure_date",
        "procedure_datetime", "procedure_type_concept_id", "visit_occurrence_id", "procedure_source_value",
        "procedure_source_concept_id"),
    "measurement": ("measurement_id", "person_id", "measurement_date", "value_as_number", "value_as_concept_id",
        "unit_concept_id", "unit_source_value", "value_source_value"),
    "observation": ("observation_id", "person_id", "observation_date", "value_as_number", "value_as_string",
        "value_as_concept_id", "unit_concept_id", "unit_source_value"),
    "note": ("note_id", "person_id", "note_date", "note_text"),
}  # fmt: skip
# What numbers and ids of the hospital are compared with: text in every version of the CDM.
_TEXTS: Final = ("person_source_value", "procedure_source_value", "visit_source_value")
_CONCEPT: Final = ("concept_id", "concept_name", "vocabulary_id", "concept_code", "standard_concept", "invalid_reason")
_INTEGERS: Final = frozenset(("smallint", "integer", "bigint"))
# Of an image table that is there already: what Hilum fills, and the columns that it must have in some form.
_OCCURRENCE_COLUMNS: Final = frozenset((
    "image_occurrence_id", "person_id", "procedure_occurrence_id", "visit_occurrence_id", "anatomic_site_concept_id",
    "wadors_uri", "local_path", "image_occurrence_date", "image_study_uid", "image_series_uid", "modality",
    "modality_concept_id", "accession_number",
))  # fmt: skip
_OCCURRENCE_NEEDED: Final = (
    "image_occurrence_id", "person_id", "procedure_occurrence_id", "image_occurrence_date", "image_study_uid",
    "image_series_uid",
)  # fmt: skip
_FEATURE_COLUMNS: Final = frozenset((
    "image_feature_id", "person_id", "image_occurrence_id", "table_concept_id", "table_row_id",
    "image_feature_event_field_concept_id", "image_feature_event_id", "image_feature_concept_id",
    "image_feature_type_concept_id", "image_finding_concept_id", "image_finding_id", "anatomic_site_concept_id",
    "alg_system", "alg_datetime",
))  # fmt: skip
_FEATURE_PAIRS: Final = (
    ("table_concept_id", "image_feature_event_field_concept_id"),
    ("table_row_id", "image_feature_event_id"),
)
_FEATURE_NEEDED: Final = tuple(sorted(_FEATURE_COLUMNS - {name for pair in _FEATURE_PAIRS for name in pair}))
_LONGEST_UID: Final = 64


def attach_cdm(
    database: Database,
    source: str,
    schemas: Schemas,
    procedure_ids: str,
    feature_ids: str = FEATURE_IDS,
    first_file: int = 1,
) -> Cdm:
    """Attach a CDM to a source.

    Parameters
    ----------
    database
        Where the CDM is.
    source
        Key of the source.
    schemas
        Where its parts are; those of imaging and results are made where they are missing.
    procedure_ids
        The range of minted procedures, ``first-last``.
    feature_ids
        The range of the measurements and observations that features are.
    first_file
        The number that image_registry begins with.

    Raises
    ------
    Conflict
        The source has a CDM, the CDM has procedures in that range, a table stands where a view has to, or there is an
        image_registry with rows.
    Invalid
        A table or column is missing, or image tables that are there are none that Hilum can fill.
    NotFound
        There is no such source.
    """
    with database.transaction() as sql:
        cdm = Cdm(free_source(sql, source), source, schemas, attached=True)
        _check_clinical(sql, cdm)
        for name in (schemas.imaging, schemas.results):
            make_schema(sql, name)
        tables = (OCCURRENCE, FEATURE, REGISTRY)
        have = frozenset(table for table in tables if has_table(sql, schemas.imaging, table))
        _check_image_tables(sql, cdm, have)
        if REGISTRY in have:
            _check_registry(sql, cdm)
        _add_tables(sql, cdm)
        _add_views(sql, cdm)
        create_image_tables(sql, cdm, have)
        create_sequences(sql, cdm, procedure_ids, feature_ids, first_file)
        for table in (OCCURRENCE, FEATURE, "image_feature_value"):
            _view(sql, cdm, table, f"select * from {{imaging}}.{table}")
        if not has_table(sql, schemas.results, "cohort"):
            sql.rows(cdm.sql(COHORTS))
        keep_cdm(sql, cdm)
    return cdm


def columns_of(sql: Transaction, schema: str, table: str) -> dict[str, tuple[str, str, bool]]:
    """The columns of a table by their names in small letters: as it is written, type, and whether it must be given."""
    rows = sql.rows(
        "select a.attname, format_type(a.atttypid, a.atttypmod) as type, "
        "a.attnotnull and not a.atthasdef and a.attidentity = '' and a.attgenerated = '' as needed "
        "from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped",
        (schema, table),
    )
    return {str(row["attname"]).lower(): (str(row["attname"]), str(row["type"]), bool(row["needed"])) for row in rows}


def _check_clinical(sql: Transaction, cdm: Cdm) -> None:
    wanted = [(cdm.schemas.cdm, table, names) for table, names in _NEEDED.items()]
    for schema, table, names in [*wanted, (cdm.schemas.vocabulary, "concept", _CONCEPT)]:
        found = columns_of(sql, schema, table)
        if not found:
            raise Invalid(f"Schema {schema} has no table {table}: it is no OMOP CDM that can be attached.")
        missing = [name for name in names if name not in found]
        if missing:
            raise Invalid(f"{schema}.{table} lacks {', '.join(missing)}: CDM 5.3 or 5.4 is needed.")
        odd = [found[name][0] for name in names if found[name][0] != name]
        if odd:
            raise Invalid(f"{schema}.{table} has columns in capitals ({', '.join(odd)}): rename them.")
        for name in (name for name in _TEXTS if name in names):
            if not found[name][1].startswith(("character varying", "text")):
                raise Invalid(f"{schema}.{table}.{name} is {found[name][1]}: it must be text.")
        kind = found[f"{table}_id"][1]
        if kind not in _INTEGERS:
            raise Invalid(f"{schema}.{table}.{table}_id is {kind}: keys must be integer or bigint.")


def _check_image_tables(sql: Transaction, cdm: Cdm, have: frozenset[str]) -> None:
    """Look whether image tables that are there can be filled, in the seed's names or the newer ones."""
    for table, known, needed in (
        (OCCURRENCE, _OCCURRENCE_COLUMNS, _OCCURRENCE_NEEDED),
        (FEATURE, _FEATURE_COLUMNS, _FEATURE_NEEDED),
    ):
        if table not in have:
            continue
        place = f"{cdm.schemas.imaging}.{table}"
        found = columns_of(sql, cdm.schemas.imaging, table)
        missing = [name for name in needed if name not in found]
        pairs = (("modality", "modality_concept_id"),) if table == OCCURRENCE else _FEATURE_PAIRS
        missing += [" or ".join(pair) for pair in pairs if not found.keys() & set(pair)]
        if missing:
            raise Invalid(f"{place} is there and lacks {', '.join(missing)}.")
        capital = [written for written, _, _ in found.values() if written != written.lower()]
        if capital:
            raise Invalid(f"{place} is there and has columns in capitals ({', '.join(capital)}): rename them.")
        unknown = [name for name, (_, _, given) in found.items() if given and name not in known]
        if unknown:
            raise Invalid(f"{place} is there and demands {', '.join(unknown)}, which Hilum does not know.")
        for name in needed:
            _check_type(place, name, found[name][1])
    for table in (OCCURRENCE, FEATURE):
        if table in have:
            _make_key(sql, cdm, table)


def _check_registry(sql: Transaction, cdm: Cdm) -> None:
    """Look whether an image_registry that is there can be filled: its numbers would not be told from ours."""
    place = f"{cdm.schemas.imaging}.{REGISTRY}"
    found = columns_of(sql, cdm.schemas.imaging, REGISTRY)
    wrong = [name for name in COLUMNS if name not in found]
    if wrong or len(found) > len(COLUMNS):
        raise Invalid(f"{place} is there and must have these columns alone: {', '.join(COLUMNS)}.")
    if sql.rows(cdm.sql("select 1 from {imaging}.image_registry limit 1")):
        raise Conflict(f"{place} is there and holds rows: rename it, and Hilum makes and fills one.")


def _check_type(place: str, name: str, kind: str) -> None:
    if name.endswith("_id") and kind not in _INTEGERS:
        raise Invalid(f"{place}.{name} is there and is {kind}; a key must be integer or bigint.")
    if name.endswith("_uid"):
        length = kind.partition("(")[2].rstrip(")")
        is_text = kind == "text" or kind.startswith("character varying")
        if not is_text or (length.isdecimal() and int(length) < _LONGEST_UID):
            raise Invalid(f"{place}.{name} is there and is {kind}; a UID needs {_LONGEST_UID} characters.")


def _make_key(sql: Transaction, cdm: Cdm, table: LiteralString) -> None:
    """Have rows that are there found by key and by series or row, as those of a new table are."""
    rows = sql.rows(cdm.sql(f"select {table}_id as id from {{imaging}}.{table} group by 1 having count(*) > 1 limit 1"))
    if rows:
        raise Invalid(f"{cdm.schemas.imaging}.{table} is there and has {table}_id {rows[0]['id']} twice.")
    sql.rows(cdm.sql(_INDEXES[table]))


def _add_tables(sql: Transaction, cdm: Cdm) -> None:
    """Make tables like the clinical ones for Hilum's own rows, with the types that the CDM has."""
    for table in ADDED:
        if has_table(sql, cdm.schemas.imaging, table):
            continue
        sql.driver.execute(
            pg.SQL("create table {} (like {}, primary key ({}))").format(
                pg.Identifier(cdm.schemas.imaging, table),
                pg.Identifier(cdm.schemas.cdm, table),
                pg.Identifier(_KEYS[table]),
            )
        )
        sql.driver.execute(
            pg.SQL("create index {} on {} (person_id)").format(
                pg.Identifier(f"{table}_of_person"), pg.Identifier(cdm.schemas.imaging, table)
            )
        )


def _add_views(sql: Transaction, cdm: Cdm) -> None:
    """Show the CDM as a whole in the results schema: every clinical table, with Hilum's rows among its own."""
    tables = sql.rows(
        "select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f') order by 1",
        (cdm.schemas.cdm,),
    )
    for row in tables:
        name = str(row["name"])
        if name in ("cohort", "cohort_definition", OCCURRENCE, FEATURE):
            continue
        table = pg.Identifier(name).as_string().replace("%", "%%")
        text = f"select * from {{cdm}}.{table}"
        if name in ADDED:
            text += f" union all select * from {{imaging}}.{table}"
        _view(sql, cdm, name, cast("LiteralString", text))


def _view(sql: Transaction, cdm: Cdm, name: str, query: LiteralString) -> None:
    results = cdm.schemas.results
    if has_table(sql, results, name):
        if name in ADDED or name in (OCCURRENCE, FEATURE):
            raise Conflict(f"{results}.{name} is there, where a view has to be: name another results schema.")
        return
    view = pg.Identifier(results, name).as_string()
    sql.driver.execute(cast("LiteralString", f"create view {view} as {cdm.sql(query)}"))


_INDEXES: Final[Mapping[str, LiteralString]] = {
    OCCURRENCE: """
      create unique index hilum_image_key on {imaging}.image_occurrence (image_occurrence_id);
      create index hilum_image_series on {imaging}.image_occurrence (image_series_uid);
    """,
    FEATURE: """
      create unique index hilum_feature_key on {imaging}.image_feature (image_feature_id);
      create index hilum_feature_occurrence on {imaging}.image_feature (image_occurrence_id);
    """,
}
