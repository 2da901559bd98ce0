"""Data sets: definitions, versions with their people, studies, instances and files, shifts, and the crosswalk."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add them."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
