"""When studies are complete, and their revisions."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add them; what is archived already gets its first revision as soon as a worker comes to it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
