"""Pictures of what is archived, made by ``imaging.dicom`` from the frame's bytes: frames as someone wants to see them,
and thumbnails, which are kept as objects and never fail for want of an image."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from hilum.core.blobs import Blobs
from hilum.core.errors import NotFound
from hilum.imaging.archive.decoded import DecodedFrame, DecodedFrames
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.dicom.frames import read_frame
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.overlay import Overlay, read_overlays
from hilum.imaging.dicom.picture import scaled, thumbnail, to_jpeg, to_png
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.placeholder import placeholder
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.render import render
from hilum.imaging.dicom.uids import is_video, uid_name
from hilum.imaging.dicom.voi import Window, asked_window, own_window

THUMBNAIL_PIXELS: Final = 256

_VERSION: Final = 2
"""Of the way pictures are made: one more whenever they come out otherwise, so that nobody keeps an older one."""

_DECODED: Final = DecodedFrames()
_REASONS: Final = {"truncated": "CUT SHORT", "frames": "DAMAGED"}
_NO_IMAGE: Final = (
    ("1.2.840.10008.5.1.4.1.1.104.1", "PDF"),
    ("1.2.840.10008.5.1.4.1.1.104.2", "CDA"),
    ("1.2.840.10008.5.1.4.1.1.88.59", "KEY IMAGES"),
    ("1.2.840.10008.5.1.4.1.1.88.", "REPORT"),
    ("1.2.840.10008.5.1.4.1.1.11.", "PRESENTATION"),
    ("1.2.840.10008.5.1.4.1.1.9.", "WAVEFORM"),
    ("1.2.840.10008.5.1.4.1.1.481.3", "CONTOURS"),
    ("1.2.840.10008.5.1.4.1.1.481.5", "PLAN"),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How someone wants to see a frame.

    Attributes
    ----------
    center, width : float or None
        Of the window, after rescale; what is None is the file's own.
    invert : bool
        Swap black and white.
    scale : float
        1 to 8 times the image's size.
    overlays : bool
        Draw its overlay planes.
    format : str
        ``png`` or ``jpeg``.
    """

    center: float | None = None
    width: float | None = None
    invert: bool = False
    scale: float = 1.0
    overlays: bool = False
    format: Literal["png", "jpeg"] = "png"

    def etag(self, instance: Row, frame: int) -> str:
        """What names this picture of a frame: it changes whenever the picture does."""
        look = blake2b(f"{_VERSION} {self}".encode(), digest_size=8).hexdigest()
        return f"{instance['digest'][:32]}-{frame}-{look}"


def frame_picture(blobs: Blobs, instance: Row, frame: int, place: tuple[int, int] | tuple[()], look: Look) -> bytes:
    """Show a frame: non-square pixels made square, the colours' ICC profile kept.

    Parameters
    ----------
    blobs
        Where instances are kept.
    instance
        The instance's row.
    frame
        Its number in the instance, 1-based.
    place
        Where it lies, as `query.frame_place` gives it.
    look
        How it is to be shown.

    Raises
    ------
    Unreadable
        The pixels cannot be decoded.
    Invalid
        The window or the scale is out of bounds.
    """
    decoded = _decoded(blobs, instance, frame, place)
    pixels, image = decoded.pixels, decoded.image
    window = asked_window(pixels, image, look.center, look.width) if pixels.ndim == 2 else None
    overlays = _overlays(blobs, instance, frame, place) if look.overlays else []
    shown = render(pixels, image, window, invert=look.invert, overlays=overlays)
    shown = scaled(shown, look.scale, image.aspect)
    return to_jpeg(shown, image.icc) if look.format == "jpeg" else to_png(shown, image.icc)


def frame_window(blobs: Blobs, instance: Row, frame: int) -> Window | None:
    """The file's own center and width for a frame (1-based), or None; errors as of `frame_picture`."""
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
    return None if image.colour else own_window(image)


def series_thumbnail(blobs: Blobs, instance: Row, frame: int, place: tuple[int, int] | tuple[()]) -> bytes:
    """Give the thumbnail of a frame as PNG, made once and then kept as an object.

    Where no picture can be made of it, a neutral one says why.

    Parameters
    ----------
    blobs, instance, frame, place
        As of `frame_picture`.

    Raises
    ------
    Gone, NotFound
        The instance's bytes are no longer there.
    """
    key = f"thumbnails/{_VERSION}/{instance['digest'][:2]}/{instance['digest']}-{frame}.png"
    try:
        return blobs.read(key, 0, blobs.size(key))
    except NotFound:
        pass
    try:
        decoded = _decode(blobs, instance, frame, place)
        shown = render(decoded.pixels, decoded.image)
    except (Unreadable, NotDicom) as problem:
        return to_png(placeholder(("NO PREVIEW", _reason(instance, problem.code)), THUMBNAIL_PIXELS))
    png = to_png(thumbnail(shown, THUMBNAIL_PIXELS, decoded.image.aspect), decoded.image.icc)
    with blobs.group() as group:
        item = group.create()
        item.write(png)
        item.finish(key)
        group.commit()
    return png


def thumbnail_etag(instance: Row, frame: int) -> str:
    """What names the thumbnail of a frame."""
    return f"{instance['digest'][:32]}-{frame}-t{_VERSION}"


def _decoded(blobs: Blobs, instance: Row, frame: int, place: tuple[int, int] | tuple[()]) -> DecodedFrame:
    return _DECODED.get(instance["digest"], frame, lambda: _decode(blobs, instance, frame, place))


def _decode(blobs: Blobs, instance: Row, frame: int, place: tuple[int, int] | tuple[()]) -> DecodedFrame:
    syntax = instance["transfer_syntax_uid"]
    if is_video(syntax):
        raise Unreadable("pixels", f"Video ({uid_name(syntax)}) is not decoded; fetch the instance itself.")
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
        read = read_frame(file, header, place, 0 if place else frame - 1)
    return DecodedFrame(decode_frame(read, image), image)


def _overlays(blobs: Blobs, instance: Row, frame: int, place: tuple[int, int] | tuple[()]) -> list[Overlay]:
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
        read = read_frame(file, header, place, 0 if place else frame - 1)
        return read_overlays(file, header, image, read, frame - 1)


def _reason(instance: Row, code: str) -> str:
    if is_video(instance["transfer_syntax_uid"]):
        return "VIDEO"
    if code == "no_pixel_data":
        sop_class = instance["sop_class_uid"]
        return next((word for start, word in _NO_IMAGE if sop_class.startswith(start)), "NO IMAGE")
    return _REASONS.get(code, "NOT DECODED")
