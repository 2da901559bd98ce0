"""Imaging features: the store, findings, counts, and which rows of the CDM each is."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
