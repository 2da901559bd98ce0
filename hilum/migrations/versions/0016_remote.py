"""Remote archives: what a source's DICOMweb asks for, what is fetched from it, and how far an index of it has come."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
