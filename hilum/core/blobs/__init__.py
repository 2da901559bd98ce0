"""Objects by key, such as ``default/1.2.3/1.2.3.4/<digest>.dcm``: written as a group and durable when the group is
committed, read whole, in ranges or as a stream. What an object means, and which keys exist by right, the catalogue
knows. A key names its content, so an object is never changed in place."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hilum.core.blobs.interface import BlobGroup, BlobItem, Blobs, check_key
from hilum.core.blobs.local import LocalBlobs
from hilum.core.errors import Invalid

__all__ = ["BlobGroup", "BlobItem", "Blobs", "LocalBlobs", "check_key", "open_blobs"]


def open_blobs(url: str, data_path: Path, min_free_bytes: int = 0) -> Blobs:
    """Open the objects of a data folder.

    Parameters
    ----------
    url
        ``file:///absolute/path``; empty for ``objects/`` in the data folder.
    data_path
        The data folder.
    min_free_bytes
        Free space of the disk below which nothing more is taken.

    Raises
    ------
    Invalid
        The URL names no storage that can be used.
    """
    if not url:
        return LocalBlobs(data_path / "objects", min_free_bytes)
    parts = urlsplit(url)
    if parts.scheme in ("s3", "gs", "az"):
        raise Invalid(
            f"HILUM_BLOBS_URL names {parts.scheme}://, which this version does not take yet: use file:///absolute/path."
        )
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query:
        raise Invalid("HILUM_BLOBS_URL must be of the form file:///absolute/path.")
    return LocalBlobs(path, min_free_bytes)
