"""How a client wants to see what is rendered: the query parameters of WADO-RS (PS3.18 section 8.3.5) as a `Look`. Those
of WADO-URI, which say much the same in other words, are read in ``wado_uri``."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import QueryParams

from hilum.core.errors import NotAcceptable
from hilum.imaging.archive.render import Look, Profile
from hilum.imaging.dicom.picture import JPEG_QUALITY, MAX_PIXELS, MAX_SIDE
from hilum.imaging.dicom.viewport import Region, Viewport
from hilum.imaging.dicom.voi import MAX_WINDOW
from hilum.imaging.dicomweb.problems import BadRequest

PARAMETERS: Final = ("accept", "annotation", "charset", "iccprofile", "quality", "viewport", "window")
FUNCTIONS: Final = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
ANNOTATIONS: Final = frozenset(("patient", "technique"))
PROFILES: Final[dict[str, Profile]] = {"yes": "own", "no": "none", "srgb": "srgb"}
_OTHER_PROFILES: Final = frozenset(("adobergb", "rommrgb", "displayp3"))

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")


def parse_look(parameters: QueryParams) -> Look:
    """The look that the parameters of a request for rendered resources ask for.

    Raises
    ------
    BadRequest
        One of them is malformed, or stands there twice.
    NotAcceptable
        One of them asks for what is not done here.
    """
    check_annotation(once(parameters, "annotation"))
    check_charset(once(parameters, "charset"))
    center, width, function = _window(once(parameters, "window"))
    return Look(
        center=center,
        width=width,
        function=function,
        viewport=_viewport(once(parameters, "viewport")),
        quality=parse_quality(once(parameters, "quality"), "quality"),
        profile=_profile(once(parameters, "iccprofile")),
    )


def parse_thumbnail_size(parameters: QueryParams) -> Viewport | None:
    """The viewport of a thumbnail, of which only width and height may be given; errors as of `parse_look`."""
    value = once(parameters, "viewport")
    if value is not None and value.count(",") > 1:
        raise BadRequest("The viewport of a thumbnail is width,height.")
    return _viewport(value)


def once(parameters: QueryParams, name: str) -> str | None:
    """The value of a parameter, None without one; raises ``BadRequest`` when there are several."""
    values = parameters.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"The parameter {name} stands there more than once.")
    return values[0] if values else None


def check_annotation(value: str | None) -> None:
    """Refuse annotations: nothing is drawn into pictures, least of all the patient's name."""
    if value is None:
        return
    if not set(value.split(",")) <= ANNOTATIONS:
        raise BadRequest("Annotations are patient, technique or both.")
    raise NotAcceptable("Annotations are not drawn into pictures here; leave out the parameter annotation.")


def check_charset(value: str | None) -> None:
    """Refuse every character set but UTF-8, in which all text is given."""
    if value is not None and value.strip().lower() not in ("utf-8", "utf8", "*"):
        raise NotAcceptable("Text is given in UTF-8.")


def parse_quality(value: str | None, name: str) -> int:
    """A quality of JPEG from 1 to 100, the usual one for None; raises ``BadRequest``."""
    if value is None:
        return JPEG_QUALITY
    quality = int(value) if _WHOLE.fullmatch(value) else 0
    if not 1 <= quality <= 100:
        raise BadRequest(f"The {name} is a whole number from 1 to 100.")
    return quality


def check_window(center: float, width: float, function: str) -> None:
    """Refuse a window that is none (PS3.3 section C.11.2.1.2)."""
    least = 1 if function == "LINEAR" else 0
    if not (abs(center) <= MAX_WINDOW and least <= width <= MAX_WINDOW and width > 0):
        raise BadRequest("A window has a finite center and a width of at least 1, or above 0 where it is not linear.")


def decimals(value: str, name: str) -> Sequence[float | None]:
    """Numbers with commas between them, None where one is left out; raises ``BadRequest`` when one is no number."""
    parts = value.split(",")
    if len(parts) > 8 or not all(not part or _DECIMAL.fullmatch(part) for part in parts):
        raise BadRequest(f"The {name} is made of decimal numbers, with commas between them.")
    return [float(part) if part else None for part in parts]


def _window(value: str | None) -> tuple[float | None, float | None, str | None]:
    if value is None:
        return None, None, None
    numbers, _, word = value.rpartition(",")
    function = FUNCTIONS.get(word.lower())
    found = decimals(numbers, "window") if function else ()
    if function is None or len(found) != 2 or found[0] is None or found[1] is None:
        raise BadRequest(f"A window is center,width,function, and the function one of {', '.join(FUNCTIONS)}.")
    check_window(found[0], found[1], function)
    return found[0], found[1], function


def _viewport(value: str | None) -> Viewport | None:
    if value is None:
        return None
    numbers = [*decimals(value, "viewport"), *[None] * 6]
    width, height, left, top, across, down = numbers[:6]
    if value.count(",") > 5 or width is None or height is None or not (width.is_integer() and height.is_integer()):
        raise BadRequest("A viewport is width,height and then, for a part of the image, its left,top,width,height.")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise BadRequest(f"A viewport has 1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS >> 20} Mi in all.")
    if across == 0 or down == 0:
        raise BadRequest("The part of the image that a viewport shows has a width and a height.")
    return Viewport(
        int(width),
        int(height),
        Region(abs(left or 0), abs(top or 0), abs(across) if across else None, abs(down) if down else None),
        mirrored=(across or 0) < 0,
        flipped=(down or 0) < 0,
    )


def _profile(value: str | None) -> Profile:
    if value is None:
        return "own"
    if value in _OTHER_PROFILES:
        raise NotAcceptable("Colours are given with the image's own profile (yes), without one (no) or as srgb.")
    if value not in PROFILES:
        raise BadRequest("The iccprofile is yes, no or srgb.")
    return PROFILES[value]
