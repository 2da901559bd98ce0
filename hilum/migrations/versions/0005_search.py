"""What is searched by beside the catalogue's own columns: attributes that a setting names, and names by their sound."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add it; studies that are there are filled by `hilum reindex`."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
