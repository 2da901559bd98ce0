"""What the service can do, told by OPTIONS (PS3.18 section 8.9): a description of its addresses in WADL or JSON. It is
made from the doors themselves, so that it names what is there and nothing else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

import msgspec
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.responses import Response

from hilum.imaging.dicomweb.accept import Offer, choose_or_refuse, describe
from hilum.imaging.dicomweb.answers import PRIVATE
from hilum.imaging.dicomweb.doors import Door, Ranges, root_of

WADL: Final = "application/vnd.sun.wadl+xml"
JSON: Final = "application/json"
OFFERS: Final = (Offer(WADL), Offer("application/wadl+xml"), Offer("application/xml"), Offer(JSON))
NAMESPACE: Final = "http://wadl.dev.java.net/2009/02"

Node: TypeAlias = "Mapping[str, str | Node | Sequence[Node]]"


def capability_doors(doors: Sequence[Door], base: Callable[[Request], str] = root_of) -> tuple[Door, ...]:
    """OPTIONS for every address of some doors, each telling of its own, and for the base URL, which tells of all.

    Parameters
    ----------
    doors
        What there is.
    base
        Gives the base URL of their addresses.
    """
    by_path: dict[str, list[Door]] = {}
    for door in doors:
        by_path.setdefault(door.path, []).append(door)
    own = (Door("OPTIONS", path, _endpoint(found, base)) for path, found in by_path.items())
    return (Door("OPTIONS", "", _endpoint(doors, base)), Door("OPTIONS", "/", _endpoint(doors, base)), *own)


def _endpoint(doors: Sequence[Door], base: Callable[[Request], str]) -> Callable[..., Response]:
    described = list(_resources(doors))
    methods = dict.fromkeys(method for door in doors for method in _methods(door))
    allow = ", ".join((*methods, "OPTIONS"))

    def capabilities(request: Request, ranges: Ranges) -> Response:
        """What can be done at this address."""
        media_type = choose_or_refuse(ranges, OFFERS).media_type
        application: Node = {"resources": {"base": base(request), "resource": described}}
        body = msgspec.json.encode({"application": application}) if media_type == JSON else _wadl(application)
        headers = {"Allow": allow, "Cache-Control": PRIVATE, "Vary": "Accept"}
        return Response(body, 200, headers, media_type)

    return capabilities


def _resources(doors: Sequence[Door]) -> Iterator[Node]:
    by_path: dict[str, list[Door]] = {}
    for door in doors:
        by_path.setdefault(door.path, []).append(door)
    for path, found in by_path.items():
        names = [part[1:-1].partition(":")[0] for part in path.split("/") if part.startswith("{")]
        params = [{"name": name, "style": "template", "required": "true"} for name in names]
        shown = "/".join(f"{{{part[1:-1].partition(':')[0]}}}" if part[:1] == "{" else part for part in path.split("/"))
        yield {"path": shown.lstrip("/"), "param": params, "method": [_method(door) for door in found]}


def _methods(door: Door) -> Sequence[str]:
    return ("GET", "HEAD") if door.method == "GET" else (door.method,)


def _method(door: Door) -> Node:
    parameters = list(_query(get_dependant(path=door.path, call=door.endpoint)))
    parameters.extend({"name": name, "style": "query", "doc": ""} for name in door.query)
    return {
        "name": door.method,
        "id": door.endpoint.__name__,
        "doc": " ".join((door.endpoint.__doc__ or "").split()),
        "request": {"param": parameters, "representation": [{"mediaType": describe(offer)} for offer in door.takes]},
        "response": {"representation": [{"mediaType": describe(offer)} for offer in door.answers]},
    }


def _query(dependant: Dependant) -> Iterator[Node]:
    for field in dependant.query_params:
        yield {"name": field.alias, "style": "query", "doc": field.field_info.description or ""}
    for inner in dependant.dependencies:
        yield from _query(inner)


def _wadl(application: Node) -> bytes:
    root = ET.Element("application", {"xmlns": NAMESPACE})
    _fill(root, application)
    return ET.tostring(root, "utf-8", xml_declaration=True)


def _fill(element: ET.Element, node: Node) -> None:
    """Names with a text become attributes (but ``doc``), names with nodes elements."""
    for name, value in node.items():
        if name == "doc":
            if value:
                ET.SubElement(element, "doc").text = str(value)
        elif isinstance(value, str):
            element.set(name, value)
        else:
            for one in [value] if isinstance(value, Mapping) else value:
                _fill(ET.SubElement(element, name), one)
