"""The addresses of DICOMweb, below ``/dicom-web`` for the source ``default`` and ``/sources/{key}/dicom-web`` for any.
Endpoints read the request, call one function of this room and hand on its answer."""

from collections.abc import Callable, Sequence
from typing import Final

from fastapi import APIRouter

from hilum.imaging.dicomweb import (
    delete_routes,
    rendered_routes,
    retrieve_routes,
    search_routes,
    store_routes,
    wado_uri_routes,
)
from hilum.imaging.dicomweb.capabilities import capability_doors
from hilum.imaging.dicomweb.doors import BASES, Door, ShortWay, router

_DOORS: Final = (
    *retrieve_routes.DOORS,
    *rendered_routes.DOORS,
    *search_routes.DOORS,
    *store_routes.DOORS,
    *delete_routes.DOORS,
)


def routers(further: Sequence[Door] = ()) -> list[APIRouter]:
    """Make the routers of DICOMweb, with the doors of further services below the same base URLs.

    Routes are tried one after the other: what is asked most stands first.
    """
    doors = (*_DOORS, *further)
    every = (*doors, *capability_doors(doors))
    return [router(BASES[0], every), router("", wado_uri_routes.DOORS), router(BASES[1], every)]


def reading_router(prefix: str, holdings: Callable[..., None]) -> APIRouter:
    """Make the router of what only reads, for instances beside the catalogue.

    Parameters
    ----------
    prefix
        Base URL of the service.
    holdings
        A dependency that says which they are (`doors.serve`).
    """
    doors = (*retrieve_routes.DOORS, *rendered_routes.DOORS, *search_routes.DOORS)
    return router(prefix, (*doors, *capability_doors(doors)), holdings)


def short_ways() -> list[ShortWay]:
    """Make the routes of what is asked most, to be tried before all others."""
    return [ShortWay(base + door.path, door.endpoint, door.short) for base in BASES for door in _DOORS if door.short]
