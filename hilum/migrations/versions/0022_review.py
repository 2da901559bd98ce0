"""Review of pixels: what was found in them, what people decided, and of which version a look into the crosswalk was."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add them."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
