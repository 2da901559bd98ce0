"""A series has the code of its anatomic region, and a source what its FHIR server asks for."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add them."""
    op.execute("alter table hilum.series add column anatomic_region text default '' not null")
    op.execute(
        "alter table hilum.source add column fhir_user text default '' not null, "
        "add column fhir_secret text default '' not null"
    )
