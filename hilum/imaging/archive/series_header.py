"""What the files of a series say of the whole series, read from one of them: for whoever above needs attributes that
the catalogue does not keep (procedure codes, coded anatomy, acquisition parameters)."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa
import structlog

from hilum.core.errors import HilumError, Unavailable
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.dataset import read_data_set
from hilum.imaging.dicom.dicom_json import dataset_json

log = structlog.get_logger()

_FIRST: Final = sa.text("""
  select distinct on (i.series_id) i.series_id, i.id, i.size, i.digest, i.blob_key, i.path, i.path_mtime_ns
  from hilum.instance i where i.series_id = any(:series) and i.deleted_at is null
  order by i.series_id, i.instance_number nulls last, i.id
""")

DicomJson = dict[str, dict[str, object]]


def series_headers(
    connection: sa.Connection, archive: Archive, series: Sequence[int]
) -> Iterator[tuple[int, DicomJson]]:
    """Read the header of the first instance (by Instance Number) of each series.

    Parameters
    ----------
    connection
        Where the series are found.
    archive
        Where their bytes are.
    series
        Hilum's ids. One without an instance, or whose first instance cannot be read, is passed over.

    Yields
    ------
    int, dict
        The series, and the instance as the DICOM JSON Model has it (PS3.18 annex F), without pixels; binary values
        of more than a kilobyte are left out.

    Raises
    ------
    Unavailable
        The objects cannot be reached now.
    """
    for row in connection.execute(_FIRST, {"series": list(series)}).mappings().all():
        try:
            yield row["series_id"], instance_header(archive, row)
        except Unavailable:
            raise
        except HilumError as error:
            log.warning("series_header.unreadable", instance=row["id"], problem=type(error).__name__)


def instance_header(archive: Archive, row: Row) -> DicomJson:
    """Read what an instance says, as ``series_headers`` gives it; of a structured report that is its content.

    Parameters
    ----------
    archive
        Where its bytes are.
    row
        Of the catalogue, with ``size``, ``digest``, ``blob_key``, ``path`` and ``path_mtime_ns``.

    Raises
    ------
    Gone, NotFound, Unavailable, Unreadable
        Its bytes are not there, or cannot be read.
    """
    with opened_instance(archive.blobs, row, header_only=True) as (file, header):
        found = msgspec.json.decode(dataset_json(read_data_set(file, header), header, ""), type=DicomJson)
    return {tag: attribute for tag, attribute in found.items() if "BulkDataURI" not in attribute}
