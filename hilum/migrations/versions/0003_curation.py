"""What people change: corrections, physicians and facilities, deletions; and what still has to be recorded beside the
objects."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
