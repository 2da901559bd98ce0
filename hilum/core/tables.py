"""Columns that many tables have: keys, owners, moments, texts and counts that are never null."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

BIG = sa.BigInteger
TEXT = sa.Text
MOMENT = sa.DateTime(timezone=True)


def key() -> Mapped[int]:
    """A number of Hilum's own for each row."""
    return mapped_column(BIG, sa.Identity(), primary_key=True)


def owner(table: str, *, index: bool = False, primary_key: bool = False) -> Mapped[int]:
    """The row of another table that this one belongs to, and goes with."""
    reference = sa.ForeignKey(f"hilum.{table}.id", ondelete="CASCADE")
    return mapped_column(BIG, reference, index=index, primary_key=primary_key, autoincrement=False)


def text() -> Mapped[str]:
    """A text, empty where nothing is known."""
    return mapped_column(TEXT, server_default="")


def count() -> Mapped[int]:
    """How many, from 0."""
    return mapped_column(BIG, server_default="0")


def no() -> Mapped[bool]:
    """A mark that is false unless it is set."""
    return mapped_column(server_default=sa.false())


def now() -> Mapped[datetime]:
    """The moment at which the row was made."""
    return mapped_column(MOMENT, server_default=sa.func.now())
