"""Data sets: who deleted a version and when, objects that may go, the software that made it, compared validity."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add them."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
