"""The frames of a series as planes of one volume: where each lies (PS3.3 C.7.6.2, C.7.6.16.2), whether they make a
volume at all, and that volume on a coarse grid of the patient's space for ``registration``. What is no regular stack
of grey slices is `Unsuitable`, with a sentence that says why."""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom import attributes as a
from hilum.imaging.dicom.dataset import MAX_DATA_SET, read_data_set, read_tree
from hilum.imaging.dicom.elements import Element
from hilum.imaging.dicom.frames import frame_offsets, native_frame, number_of_frames, read_frame
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.image import FLOAT_BITS, ImageDescription, describe_samples
from hilum.imaging.dicom.native import Pixels
from hilum.imaging.dicom.pixels import stored_frame
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.source import inflated_file

MAX_VOXELS: Final = 1 << 29
MAX_FRAMES: Final = 20_000
MIN_PLANES: Final = 8
CT_AIR: Final = -1000.0

_GREY: Final = frozenset(("MONOCHROME1", "MONOCHROME2"))
_SAME: Final = 2e-3
_JITTER_MM: Final = 0.1
_JITTER: Final = 0.05
_COARSE_MM: Final = 2.0
_FARTHEST_MM: Final = 1e5
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
# Pixel Measures, Plane Position, Plane Orientation, Pixel Value Transformation (PS3.3 C.7.6.16.2).
_GROUPS: Final = frozenset((0x00289110, 0x00209113, 0x00209116, 0x00289145))
_POSITION, _ORIENTATION, _SPACING = 0x00200032, 0x00200037, 0x00280030
_INTERCEPT, _SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_NUMBERS: Final = {vr.decode(): struct.Struct("<" + code) for vr, code in a.NUMBER_FORMATS.items()}

Point: TypeAlias = NDArray[np.float64]
Grey: TypeAlias = NDArray[np.float32]
Opener: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens the original file of an instance, seekable; it is closed after use."""


class Unsuitable(Exception):
    """A series whose face can not be taken off; says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """How the samples of a frame lie in the patient's space, but for where the first is.

    Attributes
    ----------
    along_row, along_column
        Directions of growing columns, and of growing rows.
    row_spacing, column_spacing
        Between rows, and between columns, in mm.
    """

    rows: int
    columns: int
    along_row: tuple[float, float, float]
    along_column: tuple[float, float, float]
    row_spacing: float
    column_spacing: float


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame: its file and its number there, both from 0, its first sample in mm (LPS), and its rescale."""

    file: int
    frame: int
    order: tuple[int, int]
    position: tuple[float, float, float]
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Samples:
    """What the stored values of a file's frames mean.

    Attributes
    ----------
    image
        How they lie in the file.
    padding
        Lowest and highest stored value that mean "no image here", and the one to write; None where there is none.
    inverse
        Whether air is bright: MR as MONOCHROME1.
    """

    image: ImageDescription
    padding: tuple[float, float, int] | None
    inverse: bool


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes of one volume.

    Attributes
    ----------
    lattice
        Of each plane.
    places
        Planes in order, several where there are several frames in the same place (times, echoes, directions).
    step
        From a place to the next, in mm; not along the normal where the gantry was tilted.
    modality
        CT or MR.
    """

    lattice: Lattice
    places: tuple[tuple[Plane, ...], ...]
    step: Point
    modality: str

    @property
    def matrix(self) -> Point:
        """4 x 4, from a voxel (column, row, place, 1), counted from 0, to mm in the patient's space (LPS)."""
        found = np.eye(4)
        found[:3, 0] = np.array(self.lattice.along_row) * self.lattice.column_spacing
        found[:3, 1] = np.array(self.lattice.along_column) * self.lattice.row_spacing
        found[:3, 2] = self.step
        found[:3, 3] = self.places[0][0].position
        return found


@dataclass(frozen=True, slots=True)
class Coarse:
    """A volume on a coarse grid.

    Attributes
    ----------
    values
        float32 of shape (places, rows, columns), after rescale, air dark.
    matrix
        4 x 4, from (column, row, place, 1) of it to mm (LPS).
    air
        The value of air.
    lowest
        The lowest value of the volume before it was made coarse.
    """

    values: Grey
    matrix: Point
    air: float
    lowest: float


@dataclass(frozen=True, slots=True)
class Series:
    """The files of a series as read: the planes of each file, and what is to be known to read their samples."""

    openers: Sequence[Opener]
    headers: Mapping[int, Header]
    samples: Mapping[int, Samples]
    frames: Mapping[int, Sequence[tuple[Lattice, Plane]]]
    modality: str


def read_series(openers: Sequence[Opener]) -> Series:
    """Read the headers of a series.

    Raises
    ------
    Unsuitable
        When one of its files has no grey slices of a known place.
    NotDicom, Unreadable, OSError
        When one cannot be read.
    """
    headers: dict[int, Header] = {}
    samples: dict[int, Samples] = {}
    frames: dict[int, list[tuple[Lattice, Plane]]] = {}
    count = voxels = 0
    for number, opener in enumerate(openers):
        with opener() as opened:
            file, header = _opened(opened)
            elements = read_tree(read_data_set(file, header), header)
        headers[number] = header
        samples[number] = _samples(header)
        count += number_of_frames(header)
        voxels += number_of_frames(header) * samples[number].image.rows * samples[number].image.columns
        if count > MAX_FRAMES or voxels > MAX_VOXELS:
            raise Unsuitable(f"it has more than {MAX_VOXELS >> 20} million voxels or {MAX_FRAMES} frames")
        frames[number] = list(_planes(number, header, elements, samples[number].image))
    modalities = {header.first("Modality").upper() for header in headers.values()}
    if len(modalities) > 1 or not modalities <= {"CT", "MR"}:
        raise Unsuitable("faces are taken off CT and MR only")
    return Series(openers, headers, samples, frames, modalities.pop())


def stacks(series: Series) -> Iterator[tuple[list[int], Stack | Unsuitable]]:
    """The volumes of a series with the numbers of their files: each multi-frame file is one, all others are one."""
    single = [number for number, found in series.frames.items() if len(found) == 1]
    groups = [[number] for number, found in series.frames.items() if len(found) > 1]
    for group in [single, *groups] if single else groups:
        try:
            yield group, _stacked([one for number in group for one in series.frames[number]], series.modality)
        except Unsuitable as why:
            yield group, why


def read_coarse(series: Series, stack: Stack) -> Coarse:
    """The volume of a stack, of its first frame in each place.

    Raises
    ------
    Unsuitable
        When its frames differ in how their values are meant.
    NotDicom, Unreadable, OSError
        When a frame cannot be read or decoded.
    """
    lattice = stack.lattice
    by = [max(1, int(_COARSE_MM / size)) for size in (np.linalg.norm(stack.step), lattice.row_spacing)]
    by.append(max(1, int(_COARSE_MM / lattice.column_spacing)))
    deep, high, wide = -(-len(stack.places) // by[0]), lattice.rows // by[1], lattice.columns // by[2]
    if not high or not wide:
        raise Unsuitable("its slices are too small")
    values = np.zeros((deep, high, wide), np.float32)
    counts = np.zeros(deep, np.float32)
    lowest = np.inf
    air = CT_AIR if stack.modality == "CT" else None
    for index, pixels in _first_frames(series, stack):
        known = pixels[np.isfinite(pixels)]
        if known.size:
            lowest = min(lowest, float(known.min()))
        plain = np.nan_to_num(pixels, nan=(float(known.min()) if known.size else 0.0) if air is None else air)
        blocks = plain[: high * by[1], : wide * by[2]].reshape(high, by[1], wide, by[2])
        values[index // by[0]] += blocks.mean(axis=(1, 3))
        counts[index // by[0]] += 1
    values /= counts[:, np.newaxis, np.newaxis]
    if not np.isfinite(lowest):
        raise Unsuitable("it is empty")
    scale = np.diag([float(by[2]), float(by[1]), float(by[0]), 1.0])
    scale[:3, 3] = [(one - 1) / 2 for one in (by[2], by[1], by[0])]
    return Coarse(values, stack.matrix @ scale, lowest if air is None else air, lowest)


def fill_value(samples: Samples, plane: Plane, lowest: float) -> int:
    """The stored value of "nothing here" for a frame: its padding value, else that of the volume's lowest value."""
    if samples.padding is not None:
        return samples.padding[2]
    stored = round(((-lowest if samples.inverse else lowest) - plane.intercept) / plane.slope)
    bits, signed = samples.image.bits_stored, samples.image.signed
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return min(max(stored, low), high)


def _opened(file: BinaryIO) -> tuple[BinaryIO, Header]:
    header = scan_file(file)
    return (inflated_file(file, header.data_set_offset, MAX_DATA_SET) if header.deflated else file), header


def _samples(header: Header) -> Samples:
    if header.pixel_data is None:
        raise Unsuitable("one of its files has no pixels")
    image = describe_samples(header)
    if image.samples != 1 or image.photometric not in _GREY or image.keyword in FLOAT_BITS:
        raise Unsuitable("one of its images is not of whole grey values, perhaps a picture of a volume")
    if image.bits_allocated not in (8, 16, 32):
        raise Unsuitable("its samples are packed")
    inverse = image.photometric == "MONOCHROME1" and header.first("Modality").upper() != "CT"
    return Samples(image, _padding(header, image), inverse)


def _padding(header: Header, image: ImageDescription) -> tuple[float, float, int] | None:
    value = header.integer("PixelPaddingValue")
    limit = header.integer("PixelPaddingRangeLimit")
    if value is None:
        return None
    bits = image.bits_stored
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if image.signed else (0, (1 << bits) - 1)
    if not least <= value <= most:
        return None
    limit = value if limit is None else limit
    return float(min(value, limit)), float(max(value, limit)), value


def _planes(
    file: int, header: Header, elements: Sequence[Element], image: ImageDescription
) -> Iterator[tuple[Lattice, Plane]]:
    top = {element.tag: element for element in elements}
    shared = _group(top.get(_SHARED), 0)
    order = header.integer("InstanceNumber") or 0
    for frame in range(number_of_frames(header)):
        found = {**top, **shared, **_group(top.get(_PER_FRAME), frame)}
        if found.get(_MODALITY_LUT) is not None:
            raise Unsuitable("its values are rescaled by a table")
        place, turn, size = (
            _numbers(found.get(tag), count) for tag, count in ((_POSITION, 3), (_ORIENTATION, 6), (_SPACING, 2))
        )
        if place is None or turn is None or size is None or max(map(abs, place)) > _FARTHEST_MM:
            raise Unsuitable("its slices do not say where they lie")
        slope, intercept = _numbers(found.get(_SLOPE), 1) or (1.0,), _numbers(found.get(_INTERCEPT), 1) or (0.0,)
        lattice = _lattice(image, turn, size)
        yield lattice, Plane(
            file, frame, (order, frame), (place[0], place[1], place[2]), slope[0] or 1.0, intercept[0]
        )  # fmt: skip


def _lattice(image: ImageDescription, turn: Sequence[float], size: Sequence[float]) -> Lattice:
    row, column = np.array(turn[:3]), np.array(turn[3:])
    unit = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(float(row @ column)))
    if unit > 0.01 or not all(0.01 < one < 50 for one in size):
        raise Unsuitable("its slices do not say where they lie")
    return Lattice(
        image.rows, image.columns, (turn[0], turn[1], turn[2]), (turn[3], turn[4], turn[5]), size[0], size[1]
    )


def _group(sequence: Element | None, index: int) -> dict[int, Element]:
    """The elements of the functional groups of one item that are wanted here."""
    if sequence is None or not sequence.items or index >= len(sequence.items):
        return {}
    groups = [group for group in sequence.items[index] if group.tag in _GROUPS and group.items]
    return {element.tag: element for group in groups for element in (group.items or [[]])[0]}


def _numbers(element: Element | None, count: int) -> tuple[float, ...] | None:
    if element is None or not element.value:
        return None
    one = _NUMBERS.get(element.vr)
    try:
        if one is not None:
            found = tuple(float(number) for (number,) in one.iter_unpack(element.value))
        else:
            found = tuple(float(part) for part in element.value.decode("latin-1").strip(" \0").split("\\"))
    except (ValueError, struct.error):
        return None
    return found if len(found) == count and all(map(np.isfinite, found)) else None


def _stacked(frames: Sequence[tuple[Lattice, Plane]], modality: str) -> Stack:
    lattice = frames[0][0]
    if any(not _alike(lattice, other) for other, _ in frames):
        raise Unsuitable("its slices differ in size or direction")
    normal = np.cross(lattice.along_row, lattice.along_column)
    places: dict[float, list[Plane]] = defaultdict(list)
    last = None
    for depth, plane in sorted(
        ((float(np.dot(normal, plane.position)), plane) for _, plane in frames), key=lambda one: (one[0], one[1].order)
    ):
        if last is None or depth - last > 0.01:
            last = depth
        places[last].append(plane)
    found = [sorted(planes, key=lambda plane: plane.order) for planes in places.values()]
    if len(found) < MIN_PLANES:
        raise Unsuitable(f"it has fewer than {MIN_PLANES} slices, too few to find a head in them")
    if len({len(planes) for planes in found}) > 1:
        raise Unsuitable("slices are missing or there twice")
    corners = np.array([planes[0].position for planes in found])
    steps = np.diff(corners, axis=0)
    step = (corners[-1] - corners[0]) / (len(corners) - 1)
    allowed = max(_JITTER_MM, _JITTER * float(np.linalg.norm(step)))
    same = all(
        np.linalg.norm(np.subtract(one.position, planes[0].position)) < allowed for planes in found for one in planes
    )
    if np.abs(np.linalg.norm(steps - step, axis=1)).max() > allowed or not same:
        raise Unsuitable("slices are missing, or not equally far from each other")
    return Stack(lattice, tuple(map(tuple, found)), step, modality)


def _alike(one: Lattice, other: Lattice) -> bool:
    return (one.rows, one.columns) == (other.rows, other.columns) and bool(
        np.allclose((*one.along_row, *one.along_column), (*other.along_row, *other.along_column), atol=_SAME)
        and np.allclose((one.row_spacing, one.column_spacing), (other.row_spacing, other.column_spacing), rtol=1e-3)
    )


def _first_frames(series: Series, stack: Stack) -> Iterator[tuple[int, Grey]]:
    """The first frame in each place, after rescale, air dark and what is padding not a number; file by file."""
    wanted: dict[int, list[tuple[int, Plane]]] = defaultdict(list)
    for index, planes in enumerate(stack.places):
        wanted[planes[0].file].append((index, planes[0]))
    for number, those in wanted.items():
        with series.openers[number]() as opened:
            file, header = _opened(opened)
            read = FrameReader(file, header, series.samples[number].image)
            for index, plane in those:
                yield index, _meant(read(plane.frame), series.samples[number], plane)


def _meant(pixels: Pixels, samples: Samples, plane: Plane) -> Grey:
    values = pixels.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)
    if samples.inverse:
        values = -values
    if samples.padding is not None:
        low, high, _ = samples.padding
        values[(pixels >= low) & (pixels <= high)] = np.nan
    return values


class FrameReader:
    """Decodes the frames of one file to their stored values."""

    def __init__(self, file: BinaryIO, header: Header, image: ImageDescription) -> None:
        self._file: Final = file
        self._header: Final = header
        self._image: Final = image
        encapsulated = header.pixel_data is not None and header.pixel_data.encapsulated
        self._offsets: Final[Sequence[int]] = frame_offsets(file, header) if encapsulated else ()
        count = len(self._offsets) - 1 if encapsulated else native_frame(header).count
        if count < number_of_frames(header):
            raise Unreadable("truncated", "The pixel data is shorter than its frames.")

    def __call__(self, frame: int) -> Pixels:
        """Stored values of a frame, from 0, of shape (rows, columns)."""
        return stored_frame(read_frame(self._file, self._header, self._offsets, frame), self._image)[0]
