"""What each kind of instance can be rendered as (PS3.18 section 8.7.4), and its bytes in that form: pictures and films
of images, the stored stream of a video, the stored document, a report as a page. Which of it is asked for, and how it
is answered, is for ``rendered`` and ``wado_uri``."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from hilum.core.errors import Invalid, NotAcceptable, NotFound
from hilum.core.http import CHUNK
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.archive.render import Format, Look, cine, film, frame_picture
from hilum.imaging.archive.store import Archive
from hilum.imaging.dicom.content import read_content
from hilum.imaging.dicom.dataset import bulkdata, read_data_set
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.report import to_html, to_text
from hilum.imaging.dicom.uids import is_compressed, is_video
from hilum.imaging.dicom.video import VideoStream, video_stream
from hilum.imaging.dicomweb.accept import Offer
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.resources import Place, frame_places

Kind: TypeAlias = Literal["image", "video", "document", "report", "none"]
Places: TypeAlias = Mapping[int, Place]

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
HTML: Final = "text/html"
TEXT: Final = "text/plain"
PDF: Final = "application/pdf"
PICTURES: Final[dict[str, Format]] = {JPEG: "jpeg", PNG: "png", GIF: "gif"}
DOCUMENTS: Final = {
    "1.2.840.10008.5.1.4.1.1.104.1": PDF,
    "1.2.840.10008.5.1.4.1.1.104.2": "text/xml",
    "1.2.840.10008.5.1.4.1.1.104.3": "model/stl",
    "1.2.840.10008.5.1.4.1.1.104.4": "model/obj",
    "1.2.840.10008.5.1.4.1.1.104.5": "model/mtl",
}
"""Media types of encapsulated documents by SOP class."""
REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
"""How the SOP classes of structured reports begin."""

_DOCUMENT: Final = "00420011"
_DOCUMENT_LENGTH: Final = "00420015"


def kind_of(row: Row) -> Kind:
    """What an instance is to those who see it."""
    sop_class: str = row["sop_class_uid"]
    if sop_class in DOCUMENTS:
        return "document"
    if sop_class.startswith(REPORTS):
        return "report"
    if not row["num_frames"]:
        return "none"
    return "video" if is_video(row["transfer_syntax_uid"]) else "image"


def media_types(archive: Archive, row: Row) -> Sequence[str]:
    """The media types that an instance can be rendered as, the usual one first; none where there is nothing to see."""
    kind = kind_of(row)
    if kind == "image":
        return tuple(PICTURES)
    if kind == "report":
        return (HTML, TEXT)
    if kind == "document":
        return (DOCUMENTS[row["sop_class_uid"]],)
    if kind == "video":
        media_type = find_video(archive, row).media_type
        return (media_type,) if media_type else ()
    return ()


def offers(archive: Archive, row: Row, *, single: bool, several: bool) -> list[Offer]:
    """The forms in which an instance can be given, alone and as parts.

    Raises
    ------
    NotAcceptable
        There is nothing to see in it, or nothing that has a media type.
    """
    types = media_types(archive, row)
    if not types:
        raise NotAcceptable("An instance of this kind has no rendered form.")
    alone = [Offer(media_type) for media_type in types] if single else []
    return [*alone, *([Offer(media_type, multipart=True) for media_type in types] if several else [])]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Frames of an instance, to be shown.

    Attributes
    ----------
    numbers : sequence of int
        Of the frames, 1-based.
    places : mapping
        Where each lies (`resources.frame_places`).
    """

    archive: Archive
    row: Row
    numbers: Sequence[int]
    places: Places
    look: Look

    def one(self, number: int) -> bytes:
        """A frame as a picture; raises ``NotAcceptable`` when it cannot be decoded, ``BadRequest`` for its look."""
        with _told():
            return frame_picture(self.archive.blobs, self.row, number, self.places.get(number, ()), self.look)

    def film(self) -> Iterator[bytes]:
        """All of them as an animation; errors as of `one`, and ``TooLarge``."""
        with _told():
            return film(self.archive.blobs, self.row, self.numbers, self.places, self.look)


def find_pictures(archive: Archive, row: Row, numbers: Sequence[int], look: Look, media_type: str) -> Pictures:
    """Find the frames of an image; raises ``NotFound`` when there is no such frame."""
    if max(numbers) > row["num_frames"]:
        raise NotFound(f"The last frame is {row['num_frames']}.")
    return Pictures(
        archive, row, numbers, find_places(archive, row, numbers), replace(look, format=PICTURES[media_type])
    )


def find_places(archive: Archive, row: Row, numbers: Sequence[int]) -> Places:
    """Where frames lie (`resources.frame_places`); of native pixels nothing needs to be looked up."""
    if not is_compressed(row["transfer_syntax_uid"]):
        return {}
    with archive.database.connect() as connection:
        return frame_places(connection, row["id"], min(numbers), max(numbers))


def representative_frame(archive: Archive, row: Row, otherwise: int = 1) -> int:
    """The frame (1-based) that stands for all of an image: the one that its file names, or another."""
    if row["num_frames"] < 2:
        return 1
    with _told():
        number = cine(archive.blobs, row).representative
    return number if number and number <= row["num_frames"] else otherwise


def find_video(archive: Archive, row: Row) -> VideoStream:
    """Find the stream of a video; raises ``NotAcceptable`` when it is damaged."""
    places = find_places(archive, row, [1])
    if 1 not in places:
        raise NotAcceptable("The video stream of this instance cannot be found.")
    with _told(), opened_instance(archive.blobs, row) as (file, _):
        return video_stream(file, *places[1])


def video_reader(archive: Archive, row: Row, stream: VideoStream) -> Callable[[int, int], bytes]:
    """Make the function that reads ``length`` bytes of a video from ``offset``; it may be called in any thread."""

    def read(offset: int, length: int) -> bytes:
        with opened_instance(archive.blobs, row) as (file, _):
            return stream.read(file, offset, length)

    return read


def video_chunks(archive: Archive, row: Row) -> Iterator[bytes]:
    """A video in pieces."""
    stream = find_video(archive, row)
    with opened_instance(archive.blobs, row) as (file, _):
        for offset in range(0, stream.size, CHUNK):
            yield stream.read(file, offset, CHUNK)


def document(archive: Archive, row: Row) -> bytes:
    """The stored document of an instance (PS3.3 section C.24.2), without padding; ``NotAcceptable`` without one."""
    with _told(), opened_instance(archive.blobs, row) as (file, header):
        data = read_data_set(file, header)
        try:
            found = bulkdata(data, header, [_DOCUMENT])
        except LookupError as error:
            raise NotAcceptable("The instance holds no document.") from error
        try:
            length = int.from_bytes(bulkdata(data, header, [_DOCUMENT_LENGTH]), "little")
        except LookupError:
            length = 0
    return found[:length] if len(found) - 1 <= length else found


def report(archive: Archive, row: Row, media_type: str) -> bytes:
    """A structured report as a page or as plain text, in UTF-8; raises ``NotAcceptable`` when it is damaged."""
    with _told(), opened_instance(archive.blobs, row) as (file, header):
        content = read_content(file, header)
    return (to_html(content) if media_type == HTML else to_text(content)).encode()


@contextmanager
def _told() -> Generator[None]:
    """Errors of making a picture as this room tells them: what cannot be shown is not acceptable, a look that does not
    fit the image is a bad request."""
    try:
        yield
    except (Unreadable, NotDicom) as error:
        raise NotAcceptable(f"This cannot be rendered. {error}") from error
    except Invalid as error:
        raise BadRequest(str(error)) from error
