"""Run by Alembic: upgrades over the connection that ``Database.migrate`` hands in."""

from alembic import context
from sqlalchemy import Connection


def run(connection: Connection) -> None:
    """Run the revisions that are missing, in one transaction."""
    context.configure(connection=connection, version_table_schema="hilum")
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
