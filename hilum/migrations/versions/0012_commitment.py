"""Storage commitment: what was asked to be kept, and the report that its asker is owed."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
