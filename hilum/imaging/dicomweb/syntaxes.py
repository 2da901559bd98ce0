"""Transfer syntaxes as DICOMweb sees them: the media type that goes with each (PS3.18 section 8.7.3), and in which of
them what is stored can be given."""

from typing import Final, Literal

from hilum.imaging.dicomweb.accept import DICOM, EXPLICIT_LITTLE, OCTETS, Offer

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


def is_convertible(stored: str) -> bool:
    """Whether it can be given as Explicit VR Little Endian without decoding pixels."""
    return stored in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)


def dicom_offers(stored: str, *, single: bool) -> list[Offer]:
    """How an instance of this transfer syntax can be given whole.

    Implicit VR and big endian, which PS3.18 section 8.7.3 bars, never leave the server: they are converted.

    Parameters
    ----------
    stored : str
        UID of the transfer syntax it is kept in.
    single : bool
        Whether a single instance is asked for, which may come without a multipart wrapping.
    """
    syntaxes = [(EXPLICIT_LITTLE, stored != DEFLATED)] if is_convertible(stored) else []
    if stored not in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG):
        syntaxes.append((stored, True))
    return _both(DICOM, syntaxes, single=single)


def frame_offers(stored: str, *, single: bool, decoded: Literal["no", "too", "rather"] = "no") -> list[Offer]:
    """How frames of this transfer syntax can be given: as octets, and compressed ones by their own media type.

    Parameters
    ----------
    stored : str
        UID of the transfer syntax they are kept in.
    single : bool
        Whether one frame is asked for, which may come without a multipart wrapping.
    decoded : str
        Whether compressed frames are also given as uncompressed octets, and whether rather so than as stored.
    """
    syntax = available_syntax(stored)
    compressed = _both(OCTETS, [(syntax, True)], single=single)
    for media_type in _MEDIA_TYPES.get(stored, ()):
        compressed.extend(_both(media_type, [(stored, True)], single=single))
    if decoded == "no" or syntax == EXPLICIT_LITTLE:
        return compressed
    plain = _both(OCTETS, [(EXPLICIT_LITTLE, decoded == "rather")], single=single)
    return [*plain, *compressed] if decoded == "rather" else [*compressed, *plain]


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
