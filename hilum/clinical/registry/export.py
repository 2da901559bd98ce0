"""image_registry as the CSV that goes with an upload: the columns of the SOP in their order, local time, and a row as
soon as the database gives it, so that it may have any size."""

from collections.abc import Iterator
from typing import Final, LiteralString

from hilum.clinical.cdm.cdm import require_cdm
from hilum.core.database import Database

_AT_ONCE: Final = 64 << 10
_COPY: Final[LiteralString] = """
  copy (
    select image_registry_id, file_id, proc_id, person_id, group_id, visit_id,
      to_char(datetime, 'YYYY-MM-DD HH24:MI:SS') as datetime, src_file, trg_file
    from {imaging}.image_registry order by image_registry_id
  ) to stdout with (format csv, header)
"""


def registry_csv(database: Database, source: str) -> Iterator[bytes]:
    """The registry of a source's files as CSV in UTF-8, in pieces.

    Raises
    ------
    Conflict
        The source has no CDM.
    NotFound
        There is no such source.
    """
    with database.transaction() as sql:
        cdm = require_cdm(sql, source)
    return _pieces(database, cdm.sql(_COPY))


def _pieces(database: Database, query: LiteralString) -> Iterator[bytes]:
    piece = bytearray()
    with database.transaction() as sql, sql.driver.cursor() as cursor, cursor.copy(query) as copy:
        for data in copy:
            piece += data
            if len(piece) >= _AT_ONCE:
                yield bytes(piece)
                piece.clear()
    yield bytes(piece)
