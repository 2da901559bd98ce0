"""Images with identifiers burned into their pixels, of many kinds, and clean ones beside them; deterministic. Each
knows where its letters are, so that a test can tell whether all of them are gone and nothing else is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from hilum.imaging.dicom.encode import encode_frame
from hilum.imaging.dicom.frames import frame_offsets, number_of_frames, read_frame
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.pixels import decode_frame
from tests.research.deid.planted import PATIENTS, base, item, part10

LITTLE, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE, LS, J2K = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
LOSSLESS, SV1, HT = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.201"
BASELINE, EXTENDED, J2K_LOSSY = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.91"
NEAR = "1.2.840.10008.1.2.4.81"
US, US_MULTI, SC, CR = (f"1.2.840.10008.5.1.4.1.1.{one}" for one in ("6.1", "3.1", "7", "1"))
DX, MG, XA = (f"1.2.840.10008.5.1.4.1.1.{one}" for one in ("1.1", "1.2", "12.1"))

NAME = "Featherstonehaugh, Alistair"
LINES = (NAME, "MRN 00481516", "DOB 02/04/1961", "10-Mar-2018 08:15", "Saint Bartleby Hospital")

Mask = NDArray[np.bool_]


@dataclass
class Burned:
    """An image: its file, where its letters are (of the first frame), and where what may stay."""

    name: str
    data: bytes
    ink: Mask
    kept: Mask = field(default_factory=lambda: np.zeros((0, 0), bool))
    exact: bool = True


def written(
    shape: tuple[int, int], lines: list[tuple[int, int, str]], size: float, *, font: str = "pil", turn: int = 0
) -> Mask:
    """The ink of lines (row, column, text), turned by quarters counter-clockwise."""
    rows, columns = shape if turn % 2 == 0 else shape[::-1]
    canvas = np.zeros((rows, columns), np.uint8)
    if font == "pil":
        picture = Image.fromarray(canvas)
        draw = ImageDraw.Draw(picture)
        for row, column, text in lines:
            draw.text((column, row), text, fill=255, font=ImageFont.load_default(size))
        canvas = np.asarray(picture)
    else:
        for row, column, text in lines:
            thick = max(1, round(size / 14))
            place = column, row + round(size)
            cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size / 26, 255, thick)
    return np.rot90(canvas > 96, turn)


def radiograph(rng: np.random.Generator, rows: int, columns: int, bits: int = 12) -> NDArray[np.uint16]:
    """A smooth bright shape with bones on black, with noise."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = np.clip(1.3 - (x / 0.75) ** 2 - (y / 1.1) ** 4, 0, 1)
    bones = sum(np.exp(-(((x - a) / 0.06) ** 2)) for a in (-0.35, -0.1, 0.15, 0.4)) * (np.abs(y) < 0.9)
    value = 0.1 + 0.55 * body + 0.2 * bones * body + rng.normal(0, 0.008, (rows, columns))
    return (np.clip(value, 0, 1) * ((1 << bits) - 1)).astype(np.uint16)


def sector(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.uint8]:
    """A fan of speckle on black."""
    y, x = np.mgrid[0 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    fan = (np.abs(np.arctan2(x, y + 0.05)) < 0.7) & (np.hypot(x * 0.75, y) < 0.88) & (y > 0.14)
    speckle = cv2.GaussianBlur(rng.rayleigh(60, (rows, columns)).astype(np.float32), (0, 0), 1.4)
    return (np.clip(speckle * (0.5 + 0.5 * np.sin(6 * y)), 0, 200) * fan).astype(np.uint8)


def dataset(number: int, sop_class: str, modality: str, pixels: NDArray[np.generic], photometric: str) -> Dataset:
    """A data set that describes pixels of shape (frames, rows, columns[, 3])."""
    ds = base(PATIENTS[1], number, sop_class, modality, 9)
    for keyword in ("SpecificCharacterSet", "PatientTelephoneNumbers"):
        if keyword in ds:
            del ds[keyword]
    ds.PatientName, ds.PatientID = "Featherstonehaugh^Alistair", "MRN00481516"
    ds.Rows, ds.Columns = pixels.shape[1:3]
    ds.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    if len(pixels) > 1:
        ds.NumberOfFrames = len(pixels)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    return ds


def stored(ds: Dataset, pixels: NDArray[np.generic], bits: int = 0) -> bytes:
    """As uncompressed file."""
    if bits:
        ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    return part10(ds, LITTLE)


def packed(ds: Dataset, frames: list[bytes], syntax: str, bits: int = 0) -> bytes:
    """As file of compressed frames."""
    if bits:
        ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelData = encapsulate([one + b"\0" * (len(one) % 2) for one in frames])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return part10(ds, syntax)


def ybr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luminance and colour of shape (…, 3)."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return np.clip(np.round(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def jpeg(picture: NDArray[np.generic], *, subsampling: str | None = "420", bits: int = 8) -> bytes:
    """A baseline or, of 12 bits, extended stream."""
    if bits > 8:
        return bytes(imagecodecs.jpeg8_encode(picture, level=92, bitspersample=bits))
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=90, subsampling=subsampling))


def burned() -> Iterator[Burned]:
    """The images with identifiers."""
    rng = np.random.default_rng(20261122)
    number = iter(range(1, 1000))

    def grey(
        name: str, shape: tuple[int, int], size: float, how: Callable[..., object] | None = None, **given: object
    ) -> Burned:
        sop, modality = given.pop("kind", (CR, "CR"))  # pyright: ignore
        photometric, signed = given.pop("photometric", "MONOCHROME2"), given.pop("signed", False)
        dark, level, syntax = given.pop("dark", False), given.pop("level", None), given.pop("syntax", LITTLE)
        window = given.pop("window", None)
        picture = radiograph(rng, *shape)
        step = round(1.5 * size)
        lines = [
            (round(8 + step * place), round(shape[1 if not given.get("turn") else 0] * 0.02) + 3, text)
            for place, text in enumerate(LINES[:3])
        ]
        ink = written(shape, lines, size, **given)  # pyright: ignore
        top = 4095 if level is None else level
        picture[ink] = 0 if dark else top
        if level is not None:  # hidden in a few grey levels of a flat corner
            corner = np.zeros(shape, bool)
            corner[: 6 * step, : 3 * shape[1] // 4] = True
            picture[corner] = 20
            picture[ink] = 20 + level
        elif dark:
            around = cv2.dilate(ink.astype(np.uint8), np.ones((9, 9))) > 0
            picture[around & ~ink] = 3800
        if photometric == "MONOCHROME1":
            picture = 4095 - picture
        pixels = picture[np.newaxis]
        if signed:
            pixels = (pixels.astype(np.int32) - 1024).astype(np.int16)
        ds = dataset(next(number), sop, modality, pixels, photometric)  # pyright: ignore
        ds.BitsStored, ds.HighBit = (16, 15) if signed else (12, 11)
        if window:
            ds.WindowCenter, ds.WindowWidth = window
        if syntax == LITTLE:
            return Burned(name, stored(ds, pixels), ink)
        if syntax == EXTENDED:
            return Burned(name, packed(ds, [jpeg(picture, bits=12)], EXTENDED), ink, exact=False)
        frames = [encode_frame(one, syntax, bits_stored=ds.BitsStored) for one in pixels]  # pyright: ignore
        return Burned(name, packed(ds, frames, syntax), ink)  # pyright: ignore

    for size in (14, 32, 60):
        yield grey(f"CR {size}", (600, 560), size)
    yield grey("CR small on large", (2000, 1600), 20)
    yield grey("MG", (900, 800), 30, kind=(MG, "MG"))
    yield grey("DX hershey", (800, 700), 24, font="hershey", kind=(DX, "DX"))
    yield grey("MONOCHROME1", (480, 440), 18, photometric="MONOCHROME1")
    yield grey("dark letters", (480, 440), 18, dark=True)
    yield grey("turned left", (480, 440), 18, turn=1)
    yield grey("turned right", (480, 440), 18, turn=3)
    yield grey("upside down", (480, 440), 18, turn=2)
    yield grey("few levels", (512, 512), 20, level=6)
    yield grey("windowed away", (512, 512), 20, level=60, window=(2000, 1500))
    yield grey("signed", (480, 480), 18, signed=True)
    for syntax in (RLE, LS, J2K, LOSSLESS, SV1, HT):
        yield grey(f"grey {syntax}", (320, 400), 15, syntax=syntax)
    yield grey("extended 12 bit", (400, 400), 18, syntax=EXTENDED)
    yield from _coloured(rng, number)
    yield from _others(rng, number)


def _scene(
    rng: np.random.Generator, shape: tuple[int, int] = (480, 640), size: float = 14, font: str = "pil"
) -> tuple[NDArray[np.uint8], Mask]:
    rows, columns = shape
    grey = sector(rng, rows, columns)
    picture = np.repeat(grey[:, :, np.newaxis], 3, axis=2)
    step = round(1.4 * size)
    lines = [
        (3, 8, LINES[0]),
        (3 + step, 8, LINES[1]),
        (3, columns // 2 + 40, LINES[2]),
        (3 + step, columns // 2 + 40, LINES[3]),
    ]
    lines.append((rows - step - 4, 8, LINES[4]))
    picture[: 2 * step + 8] = (40, 60, 96)
    ink = written(shape, lines, size, font=font)
    picture[ink] = (230, 230, 240)
    return picture, ink


def _coloured(rng: np.random.Generator, number: Iterator[int]) -> Iterator[Burned]:
    for font, size in (("pil", 12), ("hershey", 14)):
        picture, ink = _scene(rng, size=size, font=font)
        yield Burned(
            f"US RGB {font} {size}", stored(dataset(next(number), US, "US", picture[np.newaxis], "RGB"), picture), ink
        )
    picture, ink = _scene(rng)
    ds = dataset(next(number), US, "US", picture[np.newaxis], "RGB")
    ds.PlanarConfiguration = 1
    yield Burned("US planar", stored(ds, np.ascontiguousarray(picture.transpose(2, 0, 1))), ink)
    full = ybr(picture)
    yield Burned("US YBR_FULL", stored(dataset(next(number), US, "US", full[np.newaxis], "YBR_FULL"), full), ink)
    pairs = np.empty((480, 320, 4), np.uint8)
    pairs[:, :, 0], pairs[:, :, 1] = full[:, ::2, 0], full[:, 1::2, 0]
    pairs[:, :, 2:] = full[:, ::2, 1:]
    yield Burned(
        "US YBR_FULL_422", stored(dataset(next(number), US, "US", full[np.newaxis], "YBR_FULL_422"), pairs), ink
    )
    for syntax, photometric in ((RLE, "RGB"), (LS, "RGB"), (J2K, "YBR_RCT"), (SV1, "RGB"), (HT, "YBR_RCT")):
        frame = encode_frame(picture, syntax, bits_stored=8, colours_mix=photometric == "YBR_RCT")
        yield Burned(
            f"US {syntax}",
            packed(dataset(next(number), US, "US", picture[np.newaxis], photometric), [frame], syntax),
            ink,
        )
    for subsampling, photometric in (("420", "YBR_FULL_422"), ("422", "YBR_FULL_422"), ("444", "YBR_FULL")):
        ds = dataset(next(number), US, "US", picture[np.newaxis], photometric)
        ds.LossyImageCompression = "01"
        yield Burned(
            f"US JPEG {subsampling}", packed(ds, [jpeg(picture, subsampling=subsampling)], BASELINE), ink, exact=False
        )
    lossy = bytes(imagecodecs.jpeg2k_encode(picture, level=45, codecformat="j2k", reversible=False, mct=True))
    ds = dataset(next(number), US, "US", picture[np.newaxis], "YBR_ICT")
    ds.LossyImageCompression = "01"
    yield Burned("US J2K lossy", packed(ds, [lossy], J2K_LOSSY), ink)
    index = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    ds = dataset(next(number), US, "US", index[np.newaxis], "PALETTE COLOR")
    shades = (np.arange(255, -1, -1, dtype=np.uint16) * 257).tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", shades)
    yield Burned("US PALETTE", stored(ds, 255 - index), ink)


def _others(rng: np.random.Generator, number: Iterator[int]) -> Iterator[Burned]:
    page = np.full((700, 900, 3), 235, np.uint8)
    lines = [
        (30 + 44 * row, 40, text) for row, text in enumerate((*LINES, "Patient Protocol", "Dr. Kasia Szczepanski"))
    ]
    ink = written(page.shape[:2], lines, 22)
    page[ink] = 10
    yield Burned("SC screenshot", stored(dataset(next(number), SC, "OT", page[np.newaxis], "RGB"), page), ink)
    frames, inks = [], []
    for _ in range(3):
        frame, ink = _scene(rng, (300, 480), 12)
        frames.append(frame)
        inks.append(ink)
    cine = np.stack(frames)
    yield Burned("cine RGB", stored(dataset(next(number), US_MULTI, "US", cine, "RGB"), cine), inks[0])
    streams = [jpeg(frame) for frame in frames]
    yield Burned(
        "cine JPEG",
        packed(dataset(next(number), US_MULTI, "US", cine, "YBR_FULL_422"), streams, BASELINE),
        inks[0],
        exact=False,
    )
    run = np.stack([sector(rng, 240, 320) for _ in range(20)])
    ink = written((240, 320), [(215, 10, "Featherstonehaugh")], 15)
    run[14:16, ink] = 255
    yield Burned("late in a cine", stored(dataset(next(number), US_MULTI, "US", run, "MONOCHROME2"), run), ink)
    picture, ink = _scene(rng)
    ds = dataset(next(number), US, "US", picture[np.newaxis], "RGB")
    ds.SequenceOfUltrasoundRegions = [
        item(
            RegionSpatialFormat=1,
            RegionLocationMinX0=60,
            RegionLocationMinY0=60,
            RegionLocationMaxX1=579,
            RegionLocationMaxY1=440,
        )
    ]
    yield Burned("US with regions", stored(ds, picture), ink)
    picture = radiograph(rng, 700, 600)
    ink = written(picture.shape, [(320, 120, NAME)], 22)
    picture[ink] = 4095
    ds = dataset(next(number), XA, "XA", picture[np.newaxis], "MONOCHROME2")
    yield Burned("across the body", stored(ds, picture[np.newaxis], 12), ink)


def clean() -> Iterator[Burned]:
    """Images of which nothing may change: none has an identifier, some have markers."""
    rng = np.random.default_rng(7)
    for place, (name, shape, marks, size) in enumerate(
        (
            ("wrist", (900, 700), [(60, 560, "L")], 60), ("chest", (1200, 1200), [(80, 1050, "R")], 50),
            ("portable", (900, 800), [(40, 60, "PORTABLE"), (40, 700, "L")], 32), ("plain", (700, 700), [], 0),
            ("mammogram", (1200, 1000), [(100, 800, "LMLO")], 40), ("plain small", (256, 256), [], 0),
            ("ticks", (800, 800), [(760, 40, "10 cm")], 18),
        )
    ):  # fmt: skip
        picture = radiograph(rng, *shape)
        mask = written(shape, marks, size) if marks else np.zeros(shape, bool)
        picture[mask] = 4095
        if name == "ticks":
            picture[60:740:40, 20:32] = 4095
        ds = dataset(900 + place, CR, "CR", picture[np.newaxis], "MONOCHROME2")
        yield Burned(name, stored(ds, picture[np.newaxis], 12), np.zeros(shape, bool), mask)
    for place, shape in enumerate(((360, 480), (480, 640))):
        fan = sector(rng, *shape)
        yield Burned(
            f"sector {place}",
            stored(dataset(950 + place, US, "US", fan[np.newaxis], "MONOCHROME2"), fan),
            np.zeros(shape, bool),
        )


def frames_of(data: bytes) -> NDArray[np.generic]:
    """All frames of a file as they are decoded, of shape (frames, rows, columns[, 3])."""
    file = BytesIO(data)
    header = scan_file(file)
    image = describe(file, header)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    frames = [read_frame(file, header, offsets, number) for number in range(number_of_frames(header))]
    return np.stack([decode_frame(frame, image) for frame in frames])
