"""Series metadata is made anew: it now says how the samples of the frames that are given lie."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Empty what is kept; it is made again when it is asked for."""
    op.execute("delete from hilum.series_metadata")
