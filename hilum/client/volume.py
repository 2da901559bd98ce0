"""The files of a series as one array in the patient's space (PS3.3 C.7.6.2): planes in order along their normal, values
after rescale, and the matrix from voxels to millimetres."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.frames import frame_offsets, number_of_frames, read_frame
from hilum.imaging.dicom.header import scan_file
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.problems import Unreadable
from hilum.imaging.dicom.pydicom_setup import pydicom
from hilum.imaging.dicom.source import inflated_file

Array: TypeAlias = NDArray[np.float32]
Point: TypeAlias = NDArray[np.float64]
_MAX_INFLATED: Final = 512 << 20
_SAME: Final = 1e-3
"""Millimetres, and direction cosines, that count as equal."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A series as an array.

    Attributes
    ----------
    array
        float32 of shape (planes, rows, columns), after rescale; with a first axis for what is there several times in
        the same place (times, echoes), by Instance Number; with a last one of 3 for colour.
    spacing
        Between planes, rows and columns, in mm; 1 where the files do not tell.
    origin
        Of the first voxel's centre, in mm to the patient's left, back and head (LPS).
    direction
        3 x 3, whose columns are the directions of planes, rows and columns.
    oriented
        Whether the files tell where the patient is; else origin and direction mean nothing.
    regular
        Whether planes are equally far from each other.
    left_out
        Frames of another size or orientation, such as a localizer among slices.
    series_instance_uid, modality
        Of the files.
    """

    array: Array
    spacing: tuple[float, float, float]
    origin: Point
    direction: Point
    oriented: bool
    regular: bool
    left_out: int
    series_instance_uid: str
    modality: str

    @property
    def affine(self) -> Point:
        """4 x 4, from a voxel (plane, row, column, 1), counted from 0, to mm in the patient's space (LPS)."""
        found = np.eye(4)
        found[:3, :3] = self.direction * np.array(self.spacing)
        found[:3, 3] = self.origin
        return found


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    pixels: Array
    position: Point | None
    orientation: Point | None
    spacing: tuple[float, float]
    thickness: float


def read_volume(files: Iterable[bytes]) -> Volume:
    """Read the files of one series.

    Parameters
    ----------
    files
        Whole DICOM files, in any order.

    Raises
    ------
    Unreadable
        A file is damaged, or none has an image.
    """
    frames: list[_Frame] = []
    uid = modality = ""
    for data in files:
        ds = cast("Any", pydicom.dcmread(BytesIO(data), stop_before_pixels=True))  # pyright: ignore[reportUnknownMemberType]
        uid, modality = str(ds.get("SeriesInstanceUID", "")), str(ds.get("Modality", ""))
        frames += _frames(data, ds)
    if not frames:
        raise Unreadable("no_image", "The series has no image.")
    kept = _alike(frames)
    return _stacked(kept, len(frames) - len(kept), uid, modality)


def _frames(data: bytes, ds: Any) -> list[_Frame]:
    file = BytesIO(data)
    header = scan_file(file)
    if header.pixel_data is None:
        return []
    if header.deflated:
        file = inflated_file(file, header.data_set_offset, _MAX_INFLATED)
    offsets = frame_offsets(file, header) if header.pixel_data.encapsulated else ()
    number = int(ds.get("InstanceNumber") or 0)
    found: list[_Frame] = []
    for frame in range(number_of_frames(header)):
        image = describe(file, header, frame)
        pixels = decode_frame(read_frame(file, header, offsets, frame), image)
        if image.modality_lut is None and not image.colour:
            values = pixels.astype(np.float32) * np.float32(image.slope) + np.float32(image.intercept)
        else:
            values = pixels.astype(np.float32)
        found.append(_Frame(number, values, *_place(ds, frame)))
    return found


def _place(ds: Any, frame: int) -> tuple[Point | None, Point | None, tuple[float, float], float]:
    """Position, orientation, spacing of rows and columns, and thickness of a frame (from 0)."""
    groups = [ds]
    for keyword, number in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        items = ds.get(keyword)
        if items and len(items) > number:
            inner = items[number]
            names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            groups += [inner[name][0] for name in names if name in inner and len(inner[name].value)]
    position = _numbers(groups, "ImagePositionPatient", 3)
    orientation = _numbers(groups, "ImageOrientationPatient", 6)
    spacing = _numbers(groups, "PixelSpacing", 2)
    spacing = _numbers(groups, "ImagerPixelSpacing", 2) if spacing is None else spacing
    thickness = _numbers(groups, "SpacingBetweenSlices", 1)
    thickness = _numbers(groups, "SliceThickness", 1) if thickness is None else thickness
    both = (1.0, 1.0) if spacing is None else (float(spacing[0]), float(spacing[1]))
    return position, orientation, both, 1.0 if thickness is None else float(thickness[0])


def _numbers(groups: Sequence[Any], keyword: str, count: int) -> Point | None:
    for group in reversed(groups):
        value = group.get(keyword)
        if value is None or value == "":
            continue
        found = np.atleast_1d(np.array(value, dtype=np.float64))
        if found.shape == (count,) and bool(np.isfinite(found).all()):
            return found
    return None


def _alike(frames: Sequence[_Frame]) -> list[_Frame]:
    """The largest group of frames of one size and orientation."""
    groups: dict[tuple[object, ...], list[_Frame]] = defaultdict(list)
    for frame in frames:
        placed = frame.position is not None and frame.orientation is not None
        cosines = tuple(np.round(frame.orientation, 3)) if placed and frame.orientation is not None else ()
        groups[frame.pixels.shape, cosines, tuple(np.round(frame.spacing, 4))].append(frame)
    return max(groups.values(), key=len)


def _stacked(frames: Sequence[_Frame], left_out: int, uid: str, modality: str) -> Volume:
    first = frames[0]
    oriented = first.position is not None and first.orientation is not None
    if not oriented:
        ordered = sorted(frames, key=lambda frame: frame.number)
        array = np.stack([frame.pixels for frame in ordered])
        spacing = (first.thickness, *first.spacing)
        return Volume(array, spacing, np.zeros(3), np.eye(3), False, True, left_out, uid, modality)
    orientation = cast("Point", first.orientation)
    along_row, along_column = orientation[:3], orientation[3:]
    normal = np.cross(along_row, along_column)
    depths = [float(np.dot(cast("Point", frame.position), normal)) for frame in frames]
    planes = _planes(frames, depths)
    steps = np.diff([depth for depth, _ in planes])
    step = float(np.median(steps)) if len(steps) else first.thickness
    regular = bool(np.all(np.abs(steps - step) < max(_SAME, abs(step) * 0.01))) if len(steps) else True
    repeats = {len(some) for _, some in planes}
    times = repeats.pop() if len(repeats) == 1 else 1
    array = np.stack([np.stack([some[time].pixels for _, some in planes]) for time in range(times)])
    left_out += len(frames) - times * len(planes)
    direction = np.column_stack([normal, along_column, along_row])
    origin = cast("Point", planes[0][1][0].position)
    return Volume(
        array[0] if times == 1 else array, (step or 1.0, *first.spacing), origin, direction, True, regular, left_out,
        uid, modality,
    )  # fmt: skip


def _planes(frames: Sequence[_Frame], depths: Sequence[float]) -> list[tuple[float, list[_Frame]]]:
    """Frames by where they lie along the normal; those of one place by number."""
    found: list[tuple[float, list[_Frame]]] = []
    for depth, _, frame in sorted(zip(depths, range(len(frames)), frames, strict=True), key=lambda one: one[:2]):
        if found and abs(found[-1][0] - depth) < _SAME:
            found[-1][1].append(frame)
        else:
            found.append((depth, [frame]))
    for _, some in found:
        some.sort(key=lambda frame: frame.number)
    return found
