"""Of each series: what its files say of the order that it answers, and on which days it was acquired and made."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
