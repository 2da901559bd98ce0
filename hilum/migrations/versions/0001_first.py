"""The catalogue, the event log, the jobs and the queue of procrastinate 3.10."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    for name in ("0001_catalogue.sql", "0001_procrastinate_3_10.sql"):
        driver.execute(Path(__file__).with_name(name).read_bytes())
