"""OMOP: the schemas of a source's CDM, mapping tables, links of studies, and the image_occurrence of a series."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
