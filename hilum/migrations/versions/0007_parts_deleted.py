"""A deletion may be of one series or instance, named here; empty for a whole study."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add which."""
    op.execute(
        "alter table hilum.deletion add column series_instance_uid text default '' not null, "
        "add column sop_instance_uid text default '' not null"
    )
