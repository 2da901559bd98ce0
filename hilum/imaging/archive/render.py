"""Pictures of what is archived, made by ``imaging.dicom`` from the frame's bytes: frames as someone wants to see them,
and thumbnails, which are kept as objects and never fail for want of an image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import BinaryIO, Final, Literal

from hilum.core.blobs import Blobs
from hilum.core.errors import NotFound, TooLarge
from hilum.imaging.archive.decoded import DecodedFrame, DecodedFrames
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.thumbnails import VERSION, thumbnail_key
from hilum.imaging.dicom.cine import Cine, read_cine
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.gif import to_gif
from hilum.imaging.dicom.header import Header
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.overlay import Overlay, read_overlays
from hilum.imaging.dicom.picture import JPEG_QUALITY, Picture, scaled, thumbnail, to_jpeg, to_png, to_srgb
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.placeholder import placeholder
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.render import render
from hilum.imaging.dicom.uids import is_video, uid_name
from hilum.imaging.dicom.viewport import Viewport, fitted
from hilum.imaging.dicom.voi import Window, asked_window, own_window

Format = Literal["png", "jpeg", "gif"]
Profile = Literal["own", "none", "srgb"]
Place = tuple[int, int] | tuple[()]

THUMBNAIL_PIXELS: Final = 256
MAX_CINE_FRAMES: Final = 500
MAX_CINE_PIXELS: Final = 256 << 20
"""Of all frames of an animation together."""

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
        ``png``, ``jpeg`` or ``gif``.
    function : str or None
        VOI LUT Function of the window; None is the file's own.
    viewport : Viewport or None
        Where it is to be shown; it goes before the scale.
    quality : int
        Of JPEG, 1 to 100.
    profile : str
        ICC profile of colours: the file's own, none, or ``srgb``, into which the colours are brought.
    """

    center: float | None = None
    width: float | None = None
    invert: bool = False
    scale: float = 1.0
    overlays: bool = False
    format: Format = "png"
    function: str | None = None
    viewport: Viewport | None = None
    quality: int = JPEG_QUALITY
    profile: Profile = "own"

    @property
    def key(self) -> str:
        """What names this way to show anything."""
        return blake2b(f"{VERSION} {self}".encode(), digest_size=8).hexdigest()

    def etag(self, instance: Row, frame: int) -> str:
        """What names this picture of a frame: it changes whenever the picture does."""
        return f"{instance['digest'][:32]}-{frame}-{self.key}"


def frame_picture(blobs: Blobs, instance: Row, frame: int, place: Place, look: Look) -> bytes:
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
        Where it lies, as `query.frame_place` gives it; empty where only the file tells.
    look
        How it is to be shown.

    Raises
    ------
    Unreadable
        The pixels cannot be decoded.
    Invalid
        The window or the scale is out of bounds.
    """
    shown, icc = _shown(blobs, instance, frame, place, look)
    if look.format == "gif":
        return b"".join(to_gif([shown]))
    return to_jpeg(shown, icc, look.quality) if look.format == "jpeg" else to_png(shown, icc)


def film(
    blobs: Blobs, instance: Row, frames: Sequence[int], places: Mapping[int, tuple[int, int]], look: Look
) -> Iterator[bytes]:
    """Show frames one after the other, as the file's frame rate says: an animated GIF in pieces.

    Parameters
    ----------
    blobs, instance, look
        As of `frame_picture`.
    frames
        Their numbers, 1-based, in the order of showing.
    places
        Where each lies, by number; those of native pixels are left out.

    Raises
    ------
    TooLarge
        There are more frames, or pixels in all of them, than an animation may have.
    Unreadable, Invalid
        As `frame_picture`, before the first piece.
    """
    if len(frames) > MAX_CINE_FRAMES:
        raise TooLarge(f"An animation has at most {MAX_CINE_FRAMES} frames; ask for some of the {len(frames)}.")
    first, _ = _shown(blobs, instance, frames[0], places.get(frames[0], ()), look)
    if len(frames) * first.shape[0] * first.shape[1] > MAX_CINE_PIXELS:
        raise TooLarge("The animation would be too large; ask for fewer frames, or for a viewport.")
    pictures = (_shown(blobs, instance, frame, places.get(frame, ()), look)[0] for frame in frames)
    return to_gif(pictures, cine(blobs, instance).frame_ms if len(frames) > 1 else 0)


def cine(blobs: Blobs, instance: Row) -> Cine:
    """How the frames of an instance make a film; errors as of `objects.opened_instance`."""
    with opened_instance(blobs, instance) as (file, header):
        return read_cine(file, header)


def frame_window(blobs: Blobs, instance: Row, frame: int) -> Window | None:
    """The file's own center and width for a frame (1-based), or None; errors as of `frame_picture`."""
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
    return None if image.colour else own_window(image)


def series_thumbnail(
    blobs: Blobs, instance: Row, frame: int, place: Place, kind: Literal["png", "jpeg"] = "png"
) -> bytes:
    """Give the thumbnail of a frame, made once and then kept as an object.

    Where no picture can be made of it, a neutral one says why.

    Parameters
    ----------
    blobs, instance, frame, place
        As of `frame_picture`.
    kind
        Its format.

    Raises
    ------
    Gone, NotFound
        The instance's bytes are no longer there.
    """
    key = thumbnail_key(instance["digest"], frame, kind)
    try:
        return b"".join(blobs.stream(key))
    except NotFound:
        pass
    try:
        decoded = _decode(blobs, instance, frame, place)
        shown = render(decoded.pixels, decoded.image)
    except (Unreadable, NotDicom) as problem:
        neutral = placeholder(("NO PREVIEW", _reason(instance, problem.code)), THUMBNAIL_PIXELS)
        return to_jpeg(neutral) if kind == "jpeg" else to_png(neutral)
    small, icc = thumbnail(shown, THUMBNAIL_PIXELS, decoded.image.aspect), decoded.image.icc
    data = to_jpeg(small, icc) if kind == "jpeg" else to_png(small, icc)
    with blobs.group() as group:
        item = group.create()
        item.write(data)
        item.finish(key)
        group.commit()
    return data


def thumbnail_etag(instance: Row, frame: int) -> str:
    """What names the thumbnail of a frame."""
    return f"{instance['digest'][:32]}-{frame}-t{VERSION}"


def _shown(blobs: Blobs, instance: Row, frame: int, place: Place, look: Look) -> tuple[Picture, bytes]:
    """A frame as it is to be seen, and the ICC profile of its colours."""
    decoded = _decoded(blobs, instance, frame, place)
    pixels, image = decoded.pixels, decoded.image
    if look.function is not None:
        image = replace(image, voi_function=look.function)
    window = asked_window(pixels, image, look.center, look.width) if pixels.ndim == 2 else None
    overlays = _overlays(blobs, instance, frame, place) if look.overlays else []
    shown = render(pixels, image, window, invert=look.invert, overlays=overlays)
    icc = image.icc if look.profile != "none" and shown.ndim == 3 else b""
    if icc and look.profile == "srgb":
        shown, icc = to_srgb(shown, icc)
    if look.viewport is not None:
        return fitted(shown, look.viewport, image.aspect), icc
    return scaled(shown, look.scale, image.aspect), icc


def _decoded(blobs: Blobs, instance: Row, frame: int, place: Place) -> DecodedFrame:
    return _DECODED.get(instance["digest"], frame, lambda: _decode(blobs, instance, frame, place))


def _decode(blobs: Blobs, instance: Row, frame: int, place: Place) -> DecodedFrame:
    syntax = instance["transfer_syntax_uid"]
    if is_video(syntax):
        raise Unreadable("pixels", f"Video ({uid_name(syntax)}) is not decoded; fetch the instance itself.")
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
        read = _read(file, header, frame, place)
    return DecodedFrame(decode_frame(read, image), image)


def _overlays(blobs: Blobs, instance: Row, frame: int, place: Place) -> list[Overlay]:
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header, frame - 1)
        return read_overlays(file, header, image, _read(file, header, frame, place), frame - 1)


def _read(file: BinaryIO, header: Header, frame: int, place: Place) -> bytes:
    """A frame by its place, or by what the file itself says of its places."""
    if place:
        return read_frame(file, header, place, 0)
    compressed = header.pixel_data is not None and header.pixel_data.encapsulated
    return read_frame(file, header, frame_offsets(file, header) if compressed else (), frame - 1)


def _reason(instance: Row, code: str) -> str:
    if is_video(instance["transfer_syntax_uid"]):
        return "VIDEO"
    if code == "no_pixel_data":
        sop_class = instance["sop_class_uid"]
        return next((word for start, word in _NO_IMAGE if sop_class.startswith(start)), "NO IMAGE")
    return _REASONS.get(code, "NOT DECODED")
