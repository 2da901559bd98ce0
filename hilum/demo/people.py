"""The people of the demo and what happened to them, as the data files tell it: typed, checked, in a fixed order."""

from functools import cache
from importlib import resources
from typing import TypeVar

import msgspec

T = TypeVar("T")


class Finding(msgspec.Struct, frozen=True):
    """Something a phantom shows and a report names; `site` is a lobe, a side, a level or a segment."""

    kind: str
    site: str = ""
    diameter_mm: float = 0.0
    count: int = 1
    percent: int = 0


class Person(msgspec.Struct, frozen=True):
    """One fictitious person; `name` is written as DICOM PN, all component groups with ``=`` between them."""

    patient_id: str
    name: str
    sex: str
    birth_date: str
    site: str
    charset: str = "ISO_IR 192"
    weight_kg: int = 70
    height_cm: int = 170
    conditions: tuple[tuple[str, str], ...] = ()


class Study(msgspec.Struct, frozen=True):
    """One imaging study of the story; `prior` is the key of the study it is compared with."""

    key: str
    patient_id: str
    protocol: str
    date: str
    time: str
    syntax: str
    history: str
    findings: tuple[Finding, ...] = ()
    prior: str = ""
    on_cd: bool = False


class Equipment(msgspec.Struct, frozen=True):
    """A machine of a site."""

    manufacturer: str
    model: str
    station: str
    serial: str
    software: str


class Site(msgspec.Struct, frozen=True):
    """A fictitious hospital."""

    key: str
    name: str
    address: str
    department: str
    prefix: str
    referrers: tuple[str, ...]
    radiologists: tuple[str, ...]
    operators: tuple[str, ...]


class Condition(msgspec.Struct, frozen=True):
    """A diagnosis: its OMOP concept (0 where none is sure) and its ICD-10 code and words."""

    concept_id: int
    code: str
    name: str


class Protocol(msgspec.Struct, frozen=True):
    """A kind of examination."""

    modality: str
    body_part: str
    description: str
    procedure_concept_id: int
    procedure_code: str


class Misfit(msgspec.Struct, frozen=True):
    """What is wrong with a study, so that it waits in the queue of links: of which kind of link, for which reason, and
    why in a sentence; what its files say instead of the truth, and what is odd in the CDM, perhaps with the patient id
    of somebody else."""

    study: str
    kind: str
    reason: str
    why: str
    header: dict[str, str] = {}
    cdm: str = ""
    other: str = ""


class Story(msgspec.Struct, frozen=True):
    """All of it."""

    sites: dict[str, Site]
    equipment: dict[str, dict[str, Equipment]]
    protocols: dict[str, Protocol]
    conditions: dict[str, Condition]
    persons: tuple[Person, ...]
    studies: tuple[Study, ...]
    misfits: dict[str, Misfit]


def read_data(name: str, shape: type[T]) -> T:
    """A JSON file of ``hilum/demo/data`` in the given shape; an unknown or missing field is an error."""
    return msgspec.json.decode(resources.files("hilum.demo").joinpath("data", name).read_bytes(), type=shape)


class _Places(msgspec.Struct, frozen=True):
    sites: tuple[Site, ...]
    equipment: dict[str, dict[str, Equipment]]


class _Catalogue(msgspec.Struct, frozen=True):
    protocols: dict[str, Protocol]
    conditions: dict[str, Condition]


@cache
def story() -> Story:
    """The story, read once."""
    places = read_data("sites.json", _Places)
    catalogue = read_data("protocols.json", _Catalogue)
    return Story(
        sites={site.key: site for site in places.sites},
        equipment=places.equipment,
        protocols=catalogue.protocols,
        conditions=catalogue.conditions,
        persons=read_data("persons.json", tuple[Person, ...]),
        studies=read_data("studies.json", tuple[Study, ...]),
        misfits={one.study: one for one in read_data("misfits.json", tuple[Misfit, ...])},
    )
