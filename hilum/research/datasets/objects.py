"""Where the files of data sets lie among the objects: named by their bytes, in an area of their own."""

from typing import Final

AREA: Final = "_datasets"


def object_key(digest: str) -> str:
    """Where a file of a data set lies, so that versions share what they have in common."""
    return f"{AREA}/{digest[:2]}/{digest}"
