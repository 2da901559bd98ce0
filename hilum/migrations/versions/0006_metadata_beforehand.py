"""The metadata of a series is made before anybody asks for it: which series still wait for that. Those that are there
already do not; theirs is made when it is first asked for."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, empty for the series that are there, and the index of those that wait."""
    op.execute("alter table hilum.series add column metadata_version bigint")
    op.execute("alter table hilum.series alter column metadata_version set default -1")
    op.execute("create index series_metadata_due on hilum.series (id) where metadata_version < version")
