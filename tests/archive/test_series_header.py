"""The header of a series, read from its first instance."""

from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.series_header import DicomJson, series_headers
from hilum.imaging.archive.store import Archive
from tests.archive.test_store import store
from tests.make import ct


def headers(archive: Archive) -> dict[str, DicomJson]:
    with archive.database.connect() as connection:
        ids = dict(connection.exec_driver_sql("select id, series_instance_uid from hilum.series").all())  # pyright: ignore
        return {ids[number]: found for number, found in series_headers(connection, archive, [*ids, 999_999])}  # pyright: ignore


def test_the_first_instance_of_each_series_is_read(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(instance=2), ct(instance=1), ct(2, ProtocolName="Thorax"), ct(2, instance=3))
    one, two = headers(archive).values()
    assert (one["00200013"]["Value"], two["00200013"]["Value"]) == ([1], [1])
    assert two["00181030"]["Value"] == ["Thorax"]
    assert "7FE00010" not in one


def test_a_series_that_cannot_be_read_is_passed_over(archive: Archive, source: SourceRef) -> None:
    store(archive, source, ct(), ct(2))
    with archive.database.connect() as connection:
        key = connection.exec_driver_sql("select blob_key from hilum.instance order by id").scalar()
    archive.blobs.delete([str(key)])
    assert len(headers(archive)) == 1
