"""The registry of files: which number each file has in image_registry, what an upload's registry says of it, and which
number each study has within its person; and image_registry beside the image tables of every CDM that there is."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add it."""
    driver = cast(psycopg.Connection, op.get_bind().connection.driver_connection)
    driver.execute(Path(__file__).with_suffix(".sql").read_bytes())
