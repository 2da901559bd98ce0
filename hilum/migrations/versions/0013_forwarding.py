"""Forwarding: destinations, rules, what waits to be sent; and of each instance who sent it."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
