"""What ``/fhir`` can do, as FHIR R4 has it told: a CapabilityStatement, made from what
the routes and the search know."""

from typing import Final

import hilum
from hilum.clinical.fhir.codes import Element
from hilum.clinical.fhir.outcome import FHIR_JSON
from hilum.clinical.fhir.search import INCLUDE, PARAMETERS

RELEASED: Final = "2026-11-22"
FHIR_VERSION: Final = "4.0.1"


def capability_statement(root: str) -> Element:
    """The CapabilityStatement of a server at a base URL."""
    studies: Element = {
        "type": "ImagingStudy",
        "profile": "http://hl7.org/fhir/StructureDefinition/ImagingStudy",
        "interaction": [{"code": code} for code in ("read", "vread", "history-instance", "search-type")],
        "versioning": "versioned",
        "readHistory": True,
        "conditionalRead": "full-support",
        "searchInclude": [INCLUDE],
        "searchParam": [
            {"name": each.name, "type": each.kind, "documentation": each.documentation} for each in PARAMETERS
        ],
    }
    endpoints: Element = {
        "type": "Endpoint",
        "profile": "http://hl7.org/fhir/StructureDefinition/Endpoint",
        "interaction": [{"code": code} for code in ("read", "search-type")],
        "versioning": "no-version",
        "searchParam": [
            {"name": "_id", "type": "token", "documentation": "The id of the resource."},
            {"name": "identifier", "type": "token", "documentation": "The address."},
        ],
    }
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": RELEASED,
        "kind": "instance",
        "software": {"name": "Hilum", "version": hilum.__version__},
        "implementation": {"description": "The imaging studies of this archive.", "url": root},
        "fhirVersion": FHIR_VERSION,
        "format": [FHIR_JSON, "json"],
        "rest": [{"mode": "server", "resource": [endpoints, studies]}],
    }
