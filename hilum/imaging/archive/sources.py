"""Data sources: each holds studies of its own."""

import re

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from hilum.core.database import Database
from hilum.core.errors import Invalid
from hilum.imaging.archive.models import Source

_KEY = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def add_source(database: Database, key: str, name: str) -> None:
    """Add a source, or name an existing one anew.

    Raises
    ------
    Invalid
        The key is not made of lower-case letters, digits and hyphens.
    """
    if not _KEY.fullmatch(key):
        raise Invalid(f"'{key}' cannot be a source's key: lower-case letters, digits and hyphens, at most 64.")
    statement = insert(Source).values(key=key, name=name)
    with database.transaction() as transaction:
        transaction.connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"name": name}))


def source_keys(database: Database) -> list[str]:
    """The keys of all sources."""
    with database.connect() as connection:
        return list(connection.scalars(sa.select(Source.key).order_by(Source.key)))
