"""The addresses of DICOMweb, below ``/dicom-web`` for the source ``default`` and ``/sources/{key}/dicom-web`` for any.
Endpoints read the request, call one function of this room and hand on its answer."""

from typing import Final

from hilum.imaging.dicomweb import (
    delete_routes,
    rendered_routes,
    retrieve_routes,
    search_routes,
    store_routes,
    wado_uri_routes,
)
from hilum.imaging.dicomweb.capabilities import capability_doors
from hilum.imaging.dicomweb.doors import router

_DOORS: Final = (
    *search_routes.DOORS,
    *retrieve_routes.DOORS,
    *rendered_routes.DOORS,
    *store_routes.DOORS,
    *delete_routes.DOORS,
)
_ALL: Final = (*_DOORS, *capability_doors(_DOORS))

routers: Final = [
    router("/dicom-web", _ALL),
    router("/sources/{key}/dicom-web", _ALL),
    router("", wado_uri_routes.DOORS),
]
