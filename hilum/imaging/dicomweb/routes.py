"""The addresses of DICOMweb, below ``/dicom-web`` for the source ``default`` and ``/sources/{key}/dicom-web`` for any.
Endpoints read the request, call one function of this room and hand on its answer."""

from typing import Final

from hilum.imaging.dicomweb import delete_routes, retrieve_routes, search_routes, store_routes
from hilum.imaging.dicomweb.doors import router

_DOORS: Final = (*search_routes.DOORS, *retrieve_routes.DOORS, *store_routes.DOORS, *delete_routes.DOORS)

routers: Final = [router("/dicom-web", _DOORS), router("/sources/{key}/dicom-web", _DOORS)]
