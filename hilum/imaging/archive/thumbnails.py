"""Where thumbnails are kept as objects: in one folder for each version of the way pictures are made, by digest and
frame. They are made in ``render``; what an earlier version made is removed here."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Final

from hilum.core.blobs import Blobs

VERSION: Final = 2
"""Of the way pictures are made: one more whenever they come out otherwise, so that nobody keeps an older one."""

AREA: Final = "thumbnails"
_FOLDER: Final = f"{AREA}/v{VERSION}"
_VERSIONED: Final = re.compile(rf"{AREA}/v([0-9]{{1,9}})/.*")
_AT_ONCE: Final = 1000


def thumbnail_key(digest: str, frame: int, kind: str) -> str:
    """The key of the thumbnail of a frame (1-based) of the instance with this digest, in a format."""
    return f"{_FOLDER}/{digest[:2]}/{digest}-{frame}.{kind}"


def thumbnails_of(blobs: Blobs, digests: Sequence[str]) -> Iterator[str]:
    """The pictures that were made of instances: kept by digest, and made again should another study have the same."""
    for prefix, group in groupby(sorted(set(digests)), key=lambda digest: digest[:2]):
        wanted = set(group)
        for key, _ in blobs.list(f"{_FOLDER}/{prefix}"):
            if key.rpartition("/")[2].partition("-")[0] in wanted:
                yield key


def remove_outdated(blobs: Blobs) -> int:
    """Remove what earlier versions made and give how many there were; those of a newer one, which may run too, stay."""
    outdated = (key for key, _ in blobs.list(AREA) if _is_outdated(key))
    removed = 0
    while keys := list(islice(outdated, _AT_ONCE)):
        removed += blobs.delete(keys)
    return removed


def _is_outdated(key: str) -> bool:
    version = _VERSIONED.fullmatch(key)
    return version is None or int(version[1]) < VERSION
