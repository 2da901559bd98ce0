"""What is done with a study before it is processed, which features were corrected by hand, and of which studies nothing
has changed since they were linked."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
