"""Transfer syntaxes as DICOMweb sees them: the media type that goes with each (PS3.18 section 8.7.3), and in which of
them what is stored can be given. Which of them an instance can be transcoded to, ``imaging.dicom.transcode`` knows."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from hilum.imaging.dicom.encode import HTJ2K, JPEG_2000, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LS, RLE
from hilum.imaging.dicomweb.accept import DICOM, EXPLICIT_LITTLE, OCTETS, ZIP, Offer

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"

_JPEG: Final = "1.2.840.10008.1.2.4."
# The first media type of each is the registered one, the others are in use.
_MEDIA_TYPES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys((f"{_JPEG}50", f"{_JPEG}51", f"{_JPEG}57", f"{_JPEG}70"), ("image/jpeg",)),
    **dict.fromkeys((f"{_JPEG}80", f"{_JPEG}81"), ("image/jls", "image/x-jls")),
    **dict.fromkeys((f"{_JPEG}90", f"{_JPEG}91"), ("image/jp2",)),
    **dict.fromkeys((f"{_JPEG}92", f"{_JPEG}93"), ("image/jpx",)),
    **dict.fromkeys((f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"), ("image/jphc", "image/jph")),
    **dict.fromkeys((f"{_JPEG}110", f"{_JPEG}111", f"{_JPEG}112"), ("image/jxl",)),
    **dict.fromkeys((f"{_JPEG}100", f"{_JPEG}101"), ("video/mpeg2",)),
    **dict.fromkeys((f"{_JPEG}102", f"{_JPEG}103", f"{_JPEG}104", f"{_JPEG}105", f"{_JPEG}106"), ("video/mp4",)),
    **dict.fromkeys((f"{_JPEG}107", f"{_JPEG}108"), ("video/h265",)),
    "1.2.840.10008.1.2.5": ("image/dicom-rle", "image/x-dicom-rle"),
}


LOSSLESS: Final = (JPEG_LOSSLESS_SV1, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K, RLE)
"""What is made on demand, beside Explicit VR Little Endian; of one media type the first is its default."""


def is_convertible(stored: str) -> bool:
    """Whether it can be given as Explicit VR Little Endian without decoding pixels."""
    return stored in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)


def dicom_offers(stored: str, *, single: bool, made: Sequence[str] = ()) -> list[Offer]:
    """How an instance of this transfer syntax can be given whole.

    Implicit VR and big endian, which PS3.18 section 8.7.3 bars, never leave the server: they are converted.

    Parameters
    ----------
    stored : str
        UID of the transfer syntax it is kept in.
    single : bool
        Whether a single instance is asked for, which may come without a multipart wrapping.
    made : sequence of str
        UIDs of the transfer syntaxes that it can be transcoded to.
    """
    plain = [(EXPLICIT_LITTLE, stored != DEFLATED)] if is_convertible(stored) else []
    if not plain and EXPLICIT_LITTLE in made:
        plain = [(EXPLICIT_LITTLE, False)]
    kept = [] if stored in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG) else [(stored, True)]
    others = [(syntax, False) for syntax in LOSSLESS if syntax in made and syntax != stored]
    offers = _both(DICOM, [*plain, *kept, *others], single=single)
    # A zip is for keeping: whoever names no syntax gets the files as they are, where those may leave.
    zipped = sorted([*plain, *kept, *others], key=lambda one: not one[1])
    return [*offers, *(Offer(ZIP, syntax, stored=as_kept) for syntax, as_kept in zipped)]


@lru_cache(256)
def frame_offers(
    stored: str, *, single: bool, made: tuple[str, ...] = (), rather_decoded: bool = False
) -> Sequence[Offer]:
    """How frames of this transfer syntax can be given: as octets, and compressed ones by their own media type.

    Parameters
    ----------
    stored : str
        UID of the transfer syntax they are kept in.
    single : bool
        Whether one frame is asked for, which may come without a multipart wrapping.
    made : tuple of str
        UIDs of the transfer syntaxes that they can be transcoded to.
    rather_decoded : bool
        Whether compressed frames are offered decoded before they are offered as stored.
    """
    syntax = available_syntax(stored)
    found = _frames_in(syntax, as_kept=True, single=single)
    if EXPLICIT_LITTLE in made and syntax != EXPLICIT_LITTLE:
        plain = _frames_in(EXPLICIT_LITTLE, as_kept=rather_decoded, single=single)
        found = [*plain, *found] if rather_decoded else [*found, *plain]
    for other in LOSSLESS:
        if other in made and other != stored:
            found.extend(_frames_in(other, as_kept=False, single=single))
    return found


def _frames_in(syntax: str, *, as_kept: bool, single: bool) -> list[Offer]:
    types = (OCTETS, *_MEDIA_TYPES.get(syntax, ()))
    return [offer for media_type in types for offer in _both(media_type, [(syntax, as_kept)], single=single)]


def bulkdata_offers(stored: str, *, parts: int) -> list[Offer]:
    """How the value of an element can be given: as octets, compressed pixels also by their own media type.

    Parameters
    ----------
    stored : str
        UID of the transfer syntax of the pixels; empty for any other value.
    parts : int
        How many parts it makes; only one can come without a multipart wrapping.
    """
    types = (OCTETS, *_MEDIA_TYPES.get(stored, ()))
    single = [Offer(media_type) for media_type in types] if parts == 1 else []
    return [*single, *(Offer(media_type, multipart=True) for media_type in types)]


def available_syntax(stored: str) -> str:
    """The transfer syntax in which pixels can be had, (0008,3002) Available Transfer Syntax UID."""
    return EXPLICIT_LITTLE if is_convertible(stored) else stored


def _both(media_type: str, syntaxes: list[tuple[str, bool]], *, single: bool) -> list[Offer]:
    offers = [Offer(media_type, syntax, multipart=True, stored=stored) for syntax, stored in syntaxes]
    if single:
        offers.extend(Offer(media_type, syntax, multipart=False, stored=stored) for syntax, stored in syntaxes)
    return offers
