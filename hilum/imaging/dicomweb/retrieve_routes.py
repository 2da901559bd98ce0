"""The addresses of WADO-RS (PS3.18 section 10.4)."""

from typing import Final

from fastapi import Request
from fastapi.responses import Response

from hilum.core.http import matches
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.dicomweb import bulk, frames, metadata, wado
from hilum.imaging.dicomweb.accept import (
    DICOM,
    DICOM_XML,
    OCTETS,
    ZIP,
    MediaRange,
    Offer,
    accepts_gzip,
    choose_or_refuse,
)
from hilum.imaging.dicomweb.answers import PRIVATE
from hilum.imaging.dicomweb.doors import (
    INSTANCE,
    JSON_OFFERS,
    SERIES,
    STUDY,
    Door,
    Ranges,
    Root,
    TheInstance,
    TheSeries,
    TheStudy,
    nothing_more,
)
from hilum.imaging.dicomweb.metadata_xml import metadata_xml
from hilum.imaging.dicomweb.resources import Target

METADATA_OFFERS: Final = (*JSON_OFFERS, Offer(DICOM_XML, multipart=True))


def _metadata(request: Request, archive: TheArchive, ranges: list[MediaRange], root: str, target: Target) -> Response:
    offer = choose_or_refuse(ranges, METADATA_OFFERS)
    gzip = accepts_gzip(request.headers)
    wanted = metadata.look_up(archive, target, root)
    etag = wanted.etag + ("-xml" if offer.multipart else "") + ("-gzip" if gzip else "")
    headers = {"ETag": f'"{etag}"', "Cache-Control": PRIVATE, "Vary": "Accept, Accept-Encoding"}
    if matches(request, etag):
        return Response(status_code=304, headers=headers)
    if offer.multipart:
        return metadata_xml(request, archive, wanted, headers, compressed=gzip)
    found = metadata.metadata(archive, wanted)
    status = 200
    if not found.complete:
        status = 206
        del headers["ETag"]
    if gzip:
        headers["Content-Encoding"] = "gzip"
    return Response(found.compressed if gzip else found.plain, status, headers, offer.media_type)


def study_metadata(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudy) -> Response:
    """The attributes of all instances of a study, without bulk data."""
    return _metadata(request, archive, ranges, root, target)


def series_metadata(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheSeries) -> Response:
    """The attributes of all instances of a series, without bulk data."""
    return _metadata(request, archive, ranges, root, target)


def instance_metadata(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance
) -> Response:
    """The attributes of an instance, without bulk data."""
    return _metadata(request, archive, ranges, root, target)


def retrieve_study(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudy) -> Response:
    """All instances of a study (PS3.18 section 10.4)."""
    return wado.retrieve(request, archive, target, ranges, root)


def retrieve_series(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheSeries) -> Response:
    """All instances of a series."""
    return wado.retrieve(request, archive, target, ranges, root)


def retrieve_instance(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance
) -> Response:
    """One instance."""
    return wado.retrieve(request, archive, target, ranges, root)


def retrieve_frames(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance, numbers: str
) -> Response:
    """Frames of an instance by their numbers, counted from 1."""
    return frames.frames(request, archive, target, numbers, ranges, root)


def retrieve_bulkdata(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance, path: str
) -> Response:
    """The value of one element, as the metadata's BulkDataURI names it."""
    return bulk.bulkdata(request, archive, target, path, ranges, root)


def study_bulkdata(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudy) -> Response:
    """All bulk data of a study."""
    return bulk.all_bulkdata(request, archive, target, ranges, root)


def series_bulkdata(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheSeries) -> Response:
    """All bulk data of a series."""
    return bulk.all_bulkdata(request, archive, target, ranges, root)


def instance_bulkdata(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance
) -> Response:
    """All bulk data of an instance."""
    return bulk.all_bulkdata(request, archive, target, ranges, root)


def study_pixel_data(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheStudy) -> Response:
    """The frames of all instances of a study."""
    return frames.pixel_data(request, archive, target, ranges, root)


def series_pixel_data(request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheSeries) -> Response:
    """The frames of all instances of a series."""
    return frames.pixel_data(request, archive, target, ranges, root)


def instance_pixel_data(
    request: Request, archive: TheArchive, ranges: Ranges, root: Root, target: TheInstance
) -> Response:
    """All frames of an instance."""
    return frames.pixel_data(request, archive, target, ranges, root)


_OCTETS: Final = (Offer(OCTETS, multipart=True), Offer(OCTETS))
_SEVERAL: Final = (Offer(DICOM, multipart=True), Offer(ZIP))
_ONE: Final = (*_SEVERAL, Offer(DICOM))

DOORS: Final = (
    Door("GET", f"{INSTANCE}/frames/{{numbers}}", retrieve_frames, _OCTETS, short=nothing_more),
    Door("GET", f"{SERIES}/metadata", series_metadata, METADATA_OFFERS, short=nothing_more),
    Door("GET", f"{STUDY}/metadata", study_metadata, METADATA_OFFERS),
    Door("GET", f"{INSTANCE}/metadata", instance_metadata, METADATA_OFFERS),
    Door("GET", INSTANCE, retrieve_instance, _ONE, short=nothing_more),
    Door("GET", SERIES, retrieve_series, _SEVERAL),
    Door("GET", STUDY, retrieve_study, _SEVERAL),
    Door("GET", f"{INSTANCE}/bulkdata/{{path:path}}", retrieve_bulkdata, _OCTETS),
    Door("GET", f"{STUDY}/bulkdata", study_bulkdata, _OCTETS[:1]),
    Door("GET", f"{SERIES}/bulkdata", series_bulkdata, _OCTETS[:1]),
    Door("GET", f"{INSTANCE}/bulkdata", instance_bulkdata, _OCTETS[:1]),
    Door("GET", f"{STUDY}/pixeldata", study_pixel_data, _OCTETS[:1]),
    Door("GET", f"{SERIES}/pixeldata", series_pixel_data, _OCTETS[:1]),
    Door("GET", f"{INSTANCE}/pixeldata", instance_pixel_data, _OCTETS[:1]),
)
