"""The site's key as an archive uses it: one key file for all processes, known again by a mark in the database."""

from typing import Final
from urllib.parse import urlsplit

from hilum.core.config import Settings
from hilum.core.database import Database
from hilum.core.errors import Conflict
from hilum.research.deid.keys import Keys, read_keys
from hilum.research.deid.seal import Seal

_BUCKETS: Final = ("s3", "gs", "az")


def site_keys(database: Database, settings: Settings) -> Keys:
    """The keys of this archive; the key file is made where there is none yet.

    Raises
    ------
    Conflict
        It is not the file that the archive's data sets were made with, or that file is gone; or the objects are in a
        bucket, and no setting names a file that all processes have.
    Invalid
        The file holds something else than a key.
    """
    if settings.deid_key_file is None and urlsplit(settings.blobs_url).scheme in _BUCKETS:
        raise Conflict(
            "With objects in a bucket, name the key file of data sets with HILUM_DEID_KEY_FILE, the same for all "
            "processes: 64 hexadecimal digits, as openssl rand -hex 32 gives them."
        )
    path = settings.deid_key_file or settings.data_path / "deid.key"
    with database.transaction() as sql:
        known = sql.rows("select mark from hilum.deid_key")
        if known and not path.exists():
            raise Conflict(f"The key file {path} is gone: bring it back, or name it with HILUM_DEID_KEY_FILE.")
        if not known:
            sql.rows("select pg_advisory_xact_lock(4845114, 21)")
        keys = read_keys(path, create=not known)
        mark = Seal(keys).blind("key", "check")
        sql.rows("insert into hilum.deid_key (id, mark) values (1, %s) on conflict do nothing", (mark,))
        (row,) = sql.rows("select mark from hilum.deid_key")
    if bytes(row["mark"]) != mark:  # pyright: ignore[reportArgumentType]
        raise Conflict(f"{path} is not the key file that this archive was begun with: HILUM_DEID_KEY_FILE names it.")
    return keys
