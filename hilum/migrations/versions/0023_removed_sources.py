"""Of each source: whether it was removed, and when that was last."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
