"""The demo's clinical story into a CDM of Hilum's own, so that its studies find their persons."""

from pathlib import Path
from typing import Final

from psycopg import sql as pg

from hilum.clinical.cdm.cdm import find_cdm
from hilum.clinical.cdm.create import create_cdm, default_schemas
from hilum.core.database import Database

_ORDER: Final = (
    "care_site",
    "person",
    "observation_period",
    "visit_occurrence",
    "procedure_occurrence",
    "condition_occurrence",
    "note",
)


def load_demo_cdm(database: Database, source: str, folder: Path, procedure_ids: str) -> bool:
    """Create the CDM of the demo's source and load its CSVs, unless it has persons; gives whether that was needed."""
    with database.transaction() as sql:
        cdm = find_cdm(sql, source)
    if cdm is None:
        cdm = create_cdm(database, source, default_schemas(source), procedure_ids)
    with database.transaction() as sql:
        if sql.rows(cdm.sql("select 1 from {cdm}.person limit 1")):
            return False
        for table in _ORDER:
            with (folder / f"{table}.csv").open("rb") as file:
                columns = file.readline().decode().strip().split(",")
                copy = pg.SQL("copy {} ({}) from stdin with (format csv)").format(
                    pg.Identifier(cdm.schemas.cdm, table), pg.SQL(", ").join(map(pg.Identifier, columns))
                )
                with sql.driver.cursor().copy(copy) as into:
                    into.write(file.read())
    return True
