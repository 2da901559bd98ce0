"""A question to a CDM whose answer is a number: how the rooms that write into it say what is to be counted, and what of
it is as it should be. They are asked, and shown with their SQL, where links are looked at."""

from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Question:
    """What is counted.

    Attributes
    ----------
    name
        What it is called, for programs.
    text
        What it counts, for people: it reads on from the number.
    sql
        One row with the column ``count``; with the schemas as ``Cdm.sql`` has them, and ``:source`` for the number of
        the source. Of ``image_feature`` it names the columns of the seed.
    good
        Whether a number above 0 is as it should be.
    needs
        A clinical table without which it is not asked; empty for those that every CDM has.
    """

    name: str
    text: str
    sql: LiteralString
    good: bool = False
    needs: str = ""
