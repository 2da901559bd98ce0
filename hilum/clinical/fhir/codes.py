"""The codes and systems of FHIR R4 (4.0.1) that this room writes, and how a text of DICOM becomes one of FHIR. What is
said of a study with them belongs to ``imaging_study``."""

import csv
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final, TypeAlias

from hilum.imaging.dicom.names import body_part_name, body_part_word, modality_name
from hilum.imaging.dicom.uids import uid_name

Element: TypeAlias = dict[str, object]

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED: Final = "http://snomed.info/sct"
URI: Final = "urn:ietf:rfc:3986"
DICOM_UID: Final = "urn:dicom:uid"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
CONNECTION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
REVISION: Final = "urn:hilum:fhir:study-revision"
"""The extension that tells which revision of the study a resource was made from."""

MAX_UNSIGNED: Final = 2**31 - 1
_CONTROL: Final = re.compile(r"[\s\x00-\x20\x7f-\xa0\ud800-\udfff\ufffe\uffff]+")
_OID: Final = re.compile(r"[012](?:\.(?:0|[1-9][0-9]*))+")
_SNOMED_CODE: Final = re.compile(r"[1-9][0-9]{5,17}")
_SNOMED_RT: Final = frozenset(("SRT", "SNM3", "99SDM"))
_LATERALITY: Final = {
    "L": ("419161000", "Unilateral left"),
    "R": ("419465000", "Unilateral right"),
    "B": ("51440002", "Bilateral"),
}


def plain(value: object) -> str:
    """A text as FHIR takes one: no control characters, single blanks, none at its ends; empty where nothing is left."""
    return _CONTROL.sub(" ", str(value or "")).strip()


def identifier_type(code: str) -> Element:
    """The type of an identifier, by its code in HL7 table 0203."""
    return {"coding": [{"system": IDENTIFIER_TYPE, "code": code}]}


def system_of(issuer: str) -> str:
    """The system of an issuer's identifiers, empty where its name is not one: an OID or a URI."""
    if _OID.fullmatch(issuer):
        return f"urn:oid:{issuer}"
    return issuer if re.fullmatch(r"(?:https?://|urn:)[!-~]+", issuer) else ""


@lru_cache(maxsize=256)
def modality(code: str) -> Element:
    """A modality; OT (other) where the file names none."""
    known = plain(code) or "OT"
    return {"system": DCM, "code": known, "display": plain(modality_name(known)) or known}


@lru_cache(maxsize=1024)
def sop_class(uid: str) -> Element:
    """A SOP class; in words where the file names none, for the element is required."""
    return {"system": URI, "code": f"urn:oid:{uid}"} if uid else {"display": "unknown"}


@lru_cache(maxsize=1024)
def title_of(sop_class_uid: str) -> str:
    """What an instance of a SOP class is called, empty where the class is not a registered one."""
    name = uid_name(sop_class_uid) if sop_class_uid else ""
    return "" if name == sop_class_uid else name.removesuffix(" Storage")


@lru_cache(maxsize=1024)
def body_site(body_part: str, region: str = "") -> Element | None:
    """Where in the body something is.

    Parameters
    ----------
    body_part
        Body Part Examined (0018,0015).
    region
        Code, scheme and meaning of the Anatomic Region Sequence (0008,2218), parted by ``^``; empty where it is absent.

    Returns
    -------
    Element, optional
        A coding of SNOMED CT: of the region, else of the body part where the table of this room knows it; else words.
    """
    code, scheme, meaning = (*region.split("^", 2), "", "")[:3]
    words = plain(meaning)
    coded = _region(plain(code), plain(scheme), words) or _body_sites().get(body_part_word(body_part))
    if coded:
        return {"system": SNOMED, "code": coded[0], "display": coded[1]}
    words = words or plain(body_part_name(plain(body_part)))
    return {"display": words} if words else None


def region_code(code: str, scheme: str) -> str:
    """The code of SNOMED CT for that of a region; empty where its scheme is another, or the code is not known."""
    found = _region(code, scheme, "")
    return found[0] if found else ""


def _region(code: str, scheme: str, words: str) -> tuple[str, str] | None:
    """A code of SNOMED CT for that of a region; None where its scheme is another, or the code is not known."""
    regions = _regions()
    if scheme in _SNOMED_RT:
        return regions.get(code)
    if scheme != "SCT" or not _SNOMED_CODE.fullmatch(code):
        return None
    known = regions.get(code)
    return (code, words or code) if known is None else known


@cache
def _regions() -> dict[str, tuple[str, str]]:
    """Code and display of SNOMED CT by that code, and by what SNOMED RT has for it."""
    rows = _table("anatomic_regions.csv")
    return {key: (row["code"], row["display"]) for row in rows for key in (row["code"], *row["srt"].split())}


def laterality(value: str) -> Element | None:
    """Left, right or both; None for a part that has no side."""
    found = _LATERALITY.get(value.strip().upper())
    return {"system": SNOMED, "code": found[0], "display": found[1]} if found else None


@cache
def _body_sites() -> dict[str, tuple[str, str]]:
    return {row["word"]: (row["code"], row["display"]) for row in _table("body_sites.csv")}


def _table(name: str) -> list[dict[str, str]]:
    text = files("hilum.clinical.fhir").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def body_part_of(code: str, display: str) -> str:
    """The word of DICOM for a body site: that of its code where the table knows it, else what it is called."""
    word = next((word for word, (known, _) in _body_sites().items() if known == code and code), "")
    return word or body_part_word(plain(display))[:16]


def side_of(code: str) -> str:
    """The letter of DICOM for a laterality; empty for a code that is none."""
    return next((side for side, (known, _) in _LATERALITY.items() if known == code), "")
