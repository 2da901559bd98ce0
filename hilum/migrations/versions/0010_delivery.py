"""Delivery of events: cursors, dead letters, webhooks, sites."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
