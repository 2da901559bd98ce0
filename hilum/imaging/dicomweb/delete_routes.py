"""DELETE of a study, a series or an instance. What it means is for the archive's ``delete``: hidden at once, restorable
through the API within the grace, then gone."""

from typing import Final

from fastapi.responses import Response

from hilum.imaging.archive.curation import WHO
from hilum.imaging.archive.delete import Part, delete_part, delete_study
from hilum.imaging.archive.query import live_study
from hilum.imaging.archive.routes import TheArchive
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicomweb.doors import INSTANCE, SERIES, STUDY, Door, TheInstance, TheSeries, TheStudy
from hilum.imaging.dicomweb.resources import Target, find_instances, find_series


def remove_study(archive: TheArchive, target: TheStudy) -> Response:
    """Delete a study with all that belongs to it."""
    return _delete(archive, target)


def remove_series(archive: TheArchive, target: TheSeries) -> Response:
    """Delete a series; with its last series a study goes."""
    return _delete(archive, target)


def remove_instance(archive: TheArchive, target: TheInstance) -> Response:
    """Delete an instance; with its last instance a series goes."""
    return _delete(archive, target)


def _delete(archive: Archive, target: Target) -> Response:
    with archive.database.connect() as connection:
        (find_instances if target.instance else find_series)(connection, target)
        study_id = live_study(connection, target.study, target.source)
    if target.series:
        delete_part(archive.database, study_id, Part(target.series, target.instance or ""), WHO)
    else:
        delete_study(archive.database, study_id, WHO)
    return Response(status_code=204)


DOORS: Final = (
    Door("DELETE", STUDY, remove_study),
    Door("DELETE", SERIES, remove_series),
    Door("DELETE", INSTANCE, remove_instance),
)
