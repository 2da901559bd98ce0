"""Pictures of what is archived, made by ``imaging.dicom`` from the frame's bytes and kept beside the instance."""

from typing import Final

from hilum.core.blobs import Blobs
from hilum.core.errors import NotFound
from hilum.imaging.archive.objects import opened_instance
from hilum.imaging.archive.query import Row
from hilum.imaging.dicom.frames import read_frame
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.picture import thumbnail, to_png
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.render import render

THUMBNAIL_PIXELS: Final = 256


def series_thumbnail(blobs: Blobs, instance: Row, frame: int) -> bytes:
    """Give the thumbnail of a frame as PNG, made once and then kept as an object.

    Parameters
    ----------
    blobs
        Where it is kept.
    instance
        The instance's row.
    frame
        Its number in the instance, 1-based.

    Raises
    ------
    Invalid
        The pixels cannot be decoded.
    """
    key = f"thumbnails/{instance['digest'][:2]}/{instance['digest']}-{frame}.png"
    try:
        return blobs.read(key, 0, blobs.size(key))
    except NotFound:
        pass
    with opened_instance(blobs, instance) as (file, header):
        image = describe(file, header)
        pixels = decode_frame(read_frame(file, header, instance["frame_offsets"] or (), frame - 1), image)
    png = to_png(thumbnail(render(pixels, image), THUMBNAIL_PIXELS, image.aspect))
    with blobs.group() as group:
        item = group.create()
        item.write(png)
        item.finish(key)
        group.commit()
    return png
