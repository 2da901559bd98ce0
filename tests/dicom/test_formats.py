"""The page of formats says what was measured, cell by cell. HILUM_WRITE_FORMATS=1 writes it anew."""

import io
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian

from hilum.core.errors import HilumError
from hilum.imaging.dicom import encode
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import scan
from hilum.imaging.dicom.uids import uid_name
from tests.dicom.files import written
from tests.dicom.formats import (
    MAKERS,
    NAMES,
    PHOTOMETRICS,
    Made,
    frames_of,
    in_syntax,
    is_read,
    is_rendered,
    is_transcoded,
)
from tests.dicom.images import image_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
NOT_DEFINED = "–"
TARGETS = {
    "native": ExplicitVRLittleEndian,
    "RLE": encode.RLE,
    "JPEG lossless": encode.JPEG_LOSSLESS_SV1,
    "JPEG-LS": encode.JPEG_LS,
    "JPEG 2000": encode.JPEG_2000,
    "HTJ2K": encode.HTJ2K,
}

HEAD = """# Formats

What Hilum does with each kind of image. Every cell is measured by a test (`tests/dicom/test_formats.py`), which fails
when this page says otherwise; `HILUM_WRITE_FORMATS=1 scripts/test tests/dicom/test_formats.py` writes it anew.

## How a frame becomes a picture

`GET /api/v1/imaging/studies/{id}/series/{sid}/frames/{n}` shows a frame (from 1, in geometric order) as PNG, or with
`format=jpeg` as JPEG, by PS3.3 C.11: modality table or rescale, then the window that is asked for (`center`, `width` or
one of them), else the file's first window, else its VOI table, else all values but pixel padding; LINEAR, LINEAR_EXACT
and SIGMOID as the file says; MONOCHROME1 or Presentation LUT Shape INVERSE turned, `invert=true` turned again. Of an
enhanced object the frame's own functional groups hold. Pixels that are not square are made square, `scale` (1 to 8)
enlarges, `overlays=true` draws the overlay planes, an ICC profile stays in the picture. `…/frames/{n}/window` gives the
file's own center and width, or null.

## What viewers are given

Over DICOMweb a frame comes as it is stored. Where web viewers would show it wrongly without an error, it comes decoded
(Explicit VR Little Endian) to whoever asks for any transfer syntax, and the metadata says how its samples then lie:
JPEG Extended; RLE of 32 bits or of 16-bit colour; JPEG 2000 of another sign than its header; JPEG baseline with markers
that contradict the header's colours; uncompressed samples that are packed, big-endian, share their colour in pairs or
have junk beside their stored bits. Who names the stored transfer syntax gets the stored bytes, and who asks for plain
octets gets every compressed frame decoded.

## Transfer syntax and photometric interpretation

**R** read: catalogued, its frames found and given as they are. **P** picture: decoded to the right values (exactly, if
the syntax is lossless) and shown. **T** transcoded: given in Explicit VR Little Endian and in every other syntax of the
second table that can hold it, bit for bit the same. – : the standard has no such pair, or none was found to test.

"""


def cell(syntax: str, photometric: str) -> str:
    made = MAKERS[syntax](syntax, photometric)
    if made is None:
        return NOT_DEFINED
    can = [is_read(made), is_rendered(made), all(is_transcoded(made, target) for target in TARGETS.values())]
    return " ".join(letter for letter, measured in zip("RPT", can, strict=True) if measured) or "no"


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def syntaxes() -> str:
    text = row(["Transfer syntax", *PHOTOMETRICS]) + row(["---"] * (len(PHOTOMETRICS) + 1))
    for syntax in MAKERS:
        title = f"{NAMES.get(syntax, uid_name(syntax))} `{syntax}`"
        text += row(
            [
                title,
                *(cell(syntax, photometric) for photometric in PHOTOMETRICS),
            ]
        )
    return text


def kinds() -> dict[str, Made]:
    """Images of every kind of sample, two frames each."""
    draw = np.random.default_rng(1).integers

    def grey(dtype: str, bits: int = 0) -> Made:
        info = np.iinfo(dtype)
        low, high = (info.min, info.max + 1) if not bits else (-(1 << bits - 1), 1 << bits - 1)
        if bits and info.min == 0:
            low, high = 0, 1 << bits
        values = draw(low, high, (2, 16, 16), dtype=np.int64 if "64" not in dtype else np.uint64).astype(dtype)
        more = {"BitsStored": bits, "HighBit": bits - 1} if bits else {}
        return Made(written(image_of(values, **more)), list(values))

    def packed(bits: int) -> Made:
        values = draw(0, 1 << bits, (2, 16, 16))
        data_set = image_of(values.astype(np.uint16), BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
        number = sum(int(value) << bits * place for place, value in enumerate(values.ravel()))
        data_set.PixelData = number.to_bytes(values.size * bits // 8, "little")
        return Made(written(data_set), list(values))

    def real(dtype: str, keyword: str) -> Made:
        values: NDArray[np.floating] = np.random.default_rng(2).normal(size=(2, 16, 16)).astype(dtype)
        data_set = image_of(values)
        for unwanted in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del data_set[unwanted]
        setattr(data_set, keyword, values.tobytes())
        return Made(written(data_set), list(values))

    def junk() -> Made:
        values = draw(0, 1 << 16, (2, 16, 16)).astype(np.uint16)
        data_set = image_of(values, BitsStored=10, HighBit=12)
        return Made(written(data_set), list(values >> 3 & 0x3FF))

    def colour(dtype: str) -> Made:
        values = draw(0, np.iinfo(dtype).max + 1, (2, 16, 16, 3)).astype(dtype)
        return Made(written(image_of(values, "RGB")), list(values))

    def planar() -> Made:
        values = draw(0, 256, (2, 16, 16, 3)).astype(np.uint8)
        data_set = image_of(values, "RGB", PlanarConfiguration=1)
        data_set.PixelData = np.ascontiguousarray(values.transpose(0, 3, 1, 2)).tobytes()
        return Made(written(data_set), list(values))

    return {
        "1 bit": packed(1),
        "8 bits, unsigned": grey("u1"),
        "8 bits, signed": grey("i1"),
        "12 bits, packed": packed(12),
        "12 bits in 16, unsigned": grey("u2", 12),
        "12 bits in 16, signed": grey("i2", 12),
        "10 bits in 16, not at the low end, junk around": junk(),
        "16 bits, unsigned": grey("u2"),
        "16 bits, signed": grey("i2"),
        "32 bits, unsigned": grey("u4"),
        "32 bits, signed": grey("i4"),
        "Float Pixel Data": real("f4", "FloatPixelData"),
        "Double Float Pixel Data": real("f8", "DoubleFloatPixelData"),
        "RGB, 8 bits, by pixel": colour("u1"),
        "RGB, 8 bits, by plane": planar(),
        "RGB, 16 bits, by pixel": colour("u2"),
    }


def targets() -> str:
    text = "\n## Samples, and what they are transcoded to\n\n"
    text += "yes: bit for bit the same. refused: the syntax has no form for them, and Hilum says so.\n\n"
    text += row(["Samples", "picture", *TARGETS]) + row(["---"] * (len(TARGETS) + 2))
    for kind, made in kinds().items():
        cells = ["yes" if is_rendered(made) else "no"]
        for target in TARGETS.values():
            try:
                in_syntax(made.data, target)
            except HilumError:
                cells.append("refused")
            else:
                cells.append("yes" if is_transcoded(made, target) else "no")
        text += row([kind, *cells])
    return text


def tables() -> str:
    values = np.random.default_rng(3).integers(0, 256, (3, 16, 16)).astype(np.uint8)
    frames = [encode.encode_frame(one, encode.JPEG_LS, bits_stored=8) for one in values]
    text = "\n## Where frames lie\n\n" + row(["Offset table", "frames found"]) + row(["---", "---"])
    for kind in ("none", "basic", "extended", "none, frames in two fragments", "basic, frames in two fragments"):
        data_set = image_of(values)
        if kind == "extended":
            data_set.PixelData, offsets, lengths = encapsulate_extended(frames)
            data_set.ExtendedOffsetTable, data_set.ExtendedOffsetTableLengths = offsets, lengths
        else:
            fragments = 2 if "fragments" in kind else 1
            data_set.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=kind.startswith("basic"))
        data_set["PixelData"].is_undefined_length = True
        data = written(data_set, encode.JPEG_LS)
        header, file = scan(data), io.BytesIO(data)
        found = frame_offsets(file, header)
        same = all(read_frame(file, header, found, n) == frame for n, frame in enumerate(frames))
        text += row([kind, "yes" if same and len(frames_of(data)) == 3 else "no"])
    return text


def test_the_page_says_what_was_measured() -> None:
    measured = HEAD + syntaxes() + targets() + tables()
    if os.environ.get("HILUM_WRITE_FORMATS"):
        PAGE.write_text(measured)
    assert PAGE.read_text() == measured


def test_no_cell_is_empty_and_nothing_that_is_promised_fails() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(rows) > 50
    for line in rows:
        cells = [text.strip() for text in line.strip("|").split("|")]
        if cells[0] not in ("Transfer syntax", "Samples", "Offset table", "---"):
            complete = "R" if cells[0].startswith(("MPEG", "HEVC")) else "R P T"  # video is passed on, never decoded
            assert set(cells[1:]) <= {complete, NOT_DEFINED, "yes", "refused"}
