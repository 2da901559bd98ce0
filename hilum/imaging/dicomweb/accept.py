"""Content negotiation: the ``Accept`` header field as RFC 9110 section 12.5.1 writes it, with the ``type`` and
``transfer-syntax`` parameters that PS3.18 section 8.7 adds, and the choice between the forms that can be offered. What
can be offered is for the resources to say."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicomweb.problems import BadRequest

EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
OCTETS: Final = "application/octet-stream"
RELATED: Final = "multipart/related"
ZIP: Final = "application/zip"

MAX_LENGTH: Final = 4096
# An unquoted value may hold what a token may not: everybody writes type=application/dicom without quotes.
_PARAMETER: Final = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";]*))\s*')
_TYPE: Final = re.compile(r"[!#$&^_.+*0-9A-Za-z-]+/[!#$&^_.+*0-9A-Za-z-]+")
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_BEST_RANK: Final = (1.0, 0)
"""Of an offer that nothing can be liked better than."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One element of an ``Accept`` field.

    Attributes
    ----------
    media_type : str
        In lower case; of a multipart form the type of its parts. May be ``*/*`` or ``image/*``.
    multipart : bool or None
        Whether the form is multipart; None when either will do.
    transfer_syntax : str
        The UID, ``*`` for whichever is stored, or empty when none is named.
    quality : float
        From 0 (not acceptable) to 1.
    """

    media_type: str
    multipart: bool | None
    transfer_syntax: str
    quality: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A form in which a resource can be given.

    Attributes
    ----------
    media_type : str
        Of the whole, or of the parts when it is multipart.
    transfer_syntax : str
        UID of the encoding; empty for what has none (JSON).
    multipart : bool
        Whether the parts are wrapped in ``multipart/related``.
    stored : bool
        Whether this is what ``transfer-syntax=*`` asks for: the bytes as they are kept, where those may leave at all.
    """

    media_type: str
    transfer_syntax: str = ""
    multipart: bool = False
    stored: bool = True


def parse_media_type(text: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case and its parameters by lower-case name, quotes removed (RFC 9110 section 8.3.1).

    Raises
    ------
    BadRequest
        It is none.
    """
    media_type, *rest = _split(text, ";")
    media_type = media_type.strip().lower()
    if not _TYPE.fullmatch(media_type):
        raise BadRequest("A media type is of the form type/subtype; name=value.")
    parameters: dict[str, str] = {}
    for part in rest:
        if not part.strip():
            continue
        match = _PARAMETER.fullmatch(part)
        if match is None:
            raise BadRequest("A parameter of a media type is of the form name=value.")
        name, quoted, plain = match.groups()
        parameters.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    return media_type, parameters


def parse_accept(header: str | None, parameter: Sequence[str] = ()) -> list[MediaRange]:
    """What a client accepts, in its order.

    Parameters
    ----------
    header : str or None
        The ``Accept`` field; None or empty accepts everything.
    parameter : sequence of str
        Values of the ``accept`` query parameter (PS3.18 section 8.3.3.1), which then stand for the header.

    Raises
    ------
    BadRequest
        It cannot be parsed.
    """
    # In a query string an unescaped plus has become a space: application/dicom+json.
    text = ",".join(re.sub(r"(?<=/dicom) (?=json|xml)", "+", one) for one in parameter) or header or "*/*"
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"An Accept field has at most {MAX_LENGTH} characters here.")
    return list(_parsed(text))


@lru_cache(256)
def _parsed(text: str) -> tuple[MediaRange, ...]:
    return tuple(_range(element) for element in _split(text, ",") if element.strip()) or (_range("*/*"),)


def choose(ranges: Sequence[MediaRange], offers: Iterable[Offer]) -> Offer | None:
    """The offer that the client likes best: by quality, then by its order, then by ours; None when none will do.

    The most specific range that matches an offer decides its quality, as RFC 9110 asks.
    """
    best: Offer | None = None
    best_rank = (0.0, 0)
    for offer in offers:
        matching = [(_specificity(one), -place, one) for place, one in enumerate(ranges) if _matches(one, offer)]
        if not matching:
            continue
        _, order, decisive = max(matching, key=lambda found: found[:2])
        if decisive.quality > 0 and (best is None or (decisive.quality, order) > best_rank):
            best, best_rank = offer, (decisive.quality, order)
        if best_rank == _BEST_RANK:
            break
    return best


def choose_or_refuse(ranges: Sequence[MediaRange], offers: Sequence[Offer]) -> Offer:
    """As `choose`, with an error that names what can be had.

    Raises
    ------
    NotAcceptable
        None of the offers is acceptable.
    """
    found = choose(ranges, offers)
    if found is None:
        raise NotAcceptable(refusal(offers))
    return found


def refusal(offers: Sequence[Offer]) -> str:
    """A sentence that names what can be had."""
    if not offers:
        return "This has no form in which it could be given."
    forms = dict.fromkeys(map(describe, offers))
    syntaxes = dict.fromkeys(offer.transfer_syntax for offer in offers if offer.transfer_syntax)
    text = f"This can be given as {' or as '.join(forms)}"
    return f"{text}, with transfer-syntax={' or '.join(syntaxes)}." if syntaxes else f"{text}."


def describe(offer: Offer) -> str:
    """The media type of an offer as it would stand in an ``Accept`` field, without its transfer syntax."""
    return f'{RELATED}; type="{offer.media_type}"' if offer.multipart else offer.media_type


def _range(element: str) -> MediaRange:
    media_type, parameters = parse_media_type(element)
    quality = parameters.get("q", "1")
    if not _QUALITY.fullmatch(quality):
        raise BadRequest("A quality in an Accept field is a number from 0 to 1 with at most three decimals.")
    multipart: bool | None = False
    if media_type == RELATED:
        multipart, media_type = True, parameters.get("type", "*/*").strip().lower()
    elif media_type == "multipart/*":
        multipart, media_type = True, "*/*"
    elif media_type == "*/*":
        multipart = None
    return MediaRange(media_type, multipart, parameters.get("transfer-syntax", "").strip(), float(quality))


def _matches(wanted: MediaRange, offer: Offer) -> bool:
    if wanted.multipart is not None and wanted.multipart != offer.multipart:
        return False
    if wanted.media_type.endswith("/*"):
        family = wanted.media_type.removesuffix("*")
        if family != "*/" and not offer.media_type.startswith(family):
            return False
    elif wanted.media_type != offer.media_type:
        return False
    if not offer.transfer_syntax or wanted.transfer_syntax == offer.transfer_syntax:
        return True
    if wanted.transfer_syntax == "*":
        return offer.stored
    # Without a named syntax, DICOM and raw pixels are Explicit VR Little Endian (PS3.18 section 8.7.3); a wildcard
    # and an image type say nothing of the kind.
    uncompressed = wanted.media_type in (DICOM, OCTETS)
    return not wanted.transfer_syntax and (not uncompressed or offer.transfer_syntax == EXPLICIT_LITTLE)


def _specificity(wanted: MediaRange) -> tuple[int, int]:
    kind = 2 if not wanted.media_type.endswith("*") else 1 if wanted.media_type != "*/*" or wanted.multipart else 0
    return kind, 2 if wanted.transfer_syntax not in ("", "*") else 1 if wanted.transfer_syntax else 0


def _split(text: str, separator: str) -> Iterator[str]:
    """Split where the separator stands outside quotes."""
    start, quoted, escaped = 0, False, False
    for place, character in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == separator and not quoted:
            yield text[start:place]
            start = place + 1
    if quoted:
        raise BadRequest("A quoted text in a media type has no end.")
    yield text[start:]


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client takes the gzip content coding (RFC 9110 section 12.5.3)."""
    for element in headers.get("accept-encoding", "").lower().split(","):
        coding, _, quality = element.replace(" ", "").partition(";q=")
        if coding in ("gzip", "x-gzip", "*"):
            return quality not in ("0", "0.0", "0.00", "0.000")
    return False
