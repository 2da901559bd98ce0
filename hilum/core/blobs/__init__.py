"""Objects by key, such as ``default/1.2.3/1.2.3.4/<digest>.dcm``: written as a group and durable when the group is
committed, read whole, in ranges or as a stream. What an object means, and which keys exist by right, the catalogue
knows. A key names its content, so an object is never changed in place."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from hilum.core.blobs.interface import HEAD_BYTES, BlobGroup, BlobItem, Blobs, StorageRefused, check_key
from hilum.core.blobs.local import LocalBlobs
from hilum.core.config import Settings
from hilum.core.errors import Invalid

__all__ = ["HEAD_BYTES", "BlobGroup", "BlobItem", "Blobs", "LocalBlobs", "StorageRefused", "check_key", "open_blobs"]


def open_blobs(settings: Settings) -> Blobs:
    """Open the objects that the settings name: below a folder, by default the data folder, or in a bucket.

    A bucket is not asked for anything yet; ``check`` does that.

    Raises
    ------
    Invalid
        The URL or the options name no storage that can be used.
    """
    url = settings.blobs_url
    if not url:
        return LocalBlobs(settings.data_path / "objects", settings.min_free_bytes)
    parts = urlsplit(url)
    if parts.scheme in ("s3", "gs", "az"):
        from hilum.core.blobs.bucket import open_bucket  # its library is large, and most have no bucket
        from hilum.core.blobs.remote import RemoteBlobs

        bucket = open_bucket(url, settings.blobs_options.get_secret_value())
        return RemoteBlobs(bucket, settings.data_path / "spool")
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path.is_absolute() or parts.query:
        raise Invalid("HILUM_BLOBS_URL must be file:///absolute/path, s3://…, gs://… or az://….")
    return LocalBlobs(path, settings.min_free_bytes)
