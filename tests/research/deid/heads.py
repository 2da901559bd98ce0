"""Heads to take the faces off: template heads as MR and CT, turned, cut into slices in any direction, written in many
forms, with the truth of where brain and face are. `data/heads.md` tells where they come from.

`python -m tests.research.deid.heads [FOLDER]` measures every case and prints a table; with a folder, it draws them."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from time import process_time
from typing import Any

import cv2
import numpy as np
import SimpleITK as sitk  # noqa: N813 - as everybody does
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from hilum.imaging.dicom.encode import encode_frame
from hilum.research.deid.faces.registration import rotated
from hilum.research.deid.faces.step import find_faces
from hilum.research.deid.pixels import Face
from tests.research.deid.planted import CT, MR, PATIENTS, base, concept, item, part10

ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
LITTLE, IMPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{one}" for one in (".1", "", ".2", ".1.99"))
AIR_HU = -1024

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

# Of each head where its face is: the middle, the bridge of the nose and the chin, in mm (LPS).
_FACES = {"pydeface": (4, -99, -14, -115), "voxface": (0, -104, -4, -110), "robex": (0, -84, -12, -118)}
_HALF_WIDTH, _DEPTH, _ABOVE = 50, 55, 4


@dataclass(frozen=True, eq=False)
class Head:
    """A head: values from 0 to 255 of shape (slices, rows, columns), its brain, and mm from (column, row, slice, 1)."""

    name: str
    values: NDArray[np.uint8]
    brain: Mask
    matrix: Points

    @cache  # noqa: B019 - there are three heads
    def skin(self) -> Points:
        """The surface of the face as seen from before it, in mm of the head, of shape (number, 3)."""
        x, nose, top, chin = _FACES[self.name]
        spacing = self.matrix[1, 1]
        solid = self.solid()
        found: list[tuple[float, float, float]] = []
        for z in np.arange(chin, top + _ABOVE, spacing):
            for across in np.arange(x - _HALF_WIDTH, x + _HALF_WIDTH, spacing):
                column, _, place = np.rint((np.array((across, 0, z)) - self.matrix[:3, 3]) / spacing).astype(int)
                if not (0 <= place < solid.shape[0] and 0 <= column < solid.shape[2]):
                    continue
                hits = np.flatnonzero(solid[place, :, column])
                if len(hits) and self.matrix[1, 3] + hits[0] * spacing < nose + _DEPTH:
                    found.append((across, self.matrix[1, 3] + hits[0] * spacing, z))
        return np.array(found)

    @cache  # noqa: B019
    def solid(self) -> Mask:
        """What is no air, without what floats around."""
        image = sitk.GetImageFromArray((self.values > 38).astype(np.uint8))
        image = sitk.BinaryMorphologicalOpening(image, [1, 1, 1])
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(image))
        return sitk.GetArrayFromImage(parts) == 1

    @cache  # noqa: B019
    def as_ct(self) -> Volume:
        """Hounsfield units: air, soft tissue with a texture, and bone around the brain."""
        solid = sitk.GetImageFromArray(self.solid().astype(np.uint8))
        inside = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(solid, [3, 3, 3]))) > 0
        brain = sitk.GetImageFromArray(self.brain.astype(np.uint8))
        near = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(brain, squaredDistance=False)) * self.matrix[0, 0]
        found = np.full(self.values.shape, AIR_HU, np.float32)
        soft = 20 + self.values.astype(np.float32) / 255 * 60
        found[inside] = np.where(self.values > 20, soft, -700)[inside]
        found[inside & (near > 2) & (near < 8)] = 900
        found[self.brain] = soft[self.brain]
        return found


@cache
def head(name: str) -> Head:
    """One of the three heads."""
    with np.load(Path(__file__).parent / "data" / "heads.npz") as found:
        values = found[f"{name}_values"]
        brain = np.unpackbits(found[f"{name}_brain"], count=values.size).reshape(values.shape).astype(bool)
        return Head(name, values, brain, found[f"{name}_matrix"])


@dataclass
class Scan:
    """A head as it was scanned.

    Attributes
    ----------
    values
        HU or MR values, of shape (slices, rows, columns).
    brain
        Of the same shape.
    skin
        Voxels (slice, row, column) of the surface of the face.
    """

    modality: str
    values: Volume
    brain: Mask
    skin: NDArray[np.int64]
    positions: list[list[float]]
    orientation: list[float]
    spacing: tuple[float, float]
    step: float
    notes: dict[str, Any] = field(default_factory=dict[str, Any])


DIRECTIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)), "sagittal": ((0, 1, 0), (0, 0, -1)), "coronal": ((1, 0, 0), (0, 0, -1)),
    "feet first": ((-1, 0, 0), (0, 1, 0)),
}  # fmt: skip


def scan(
    name: str,
    modality: str = "MR",
    plane: str = "axial",
    *,
    pixel: float = 1.6,
    step: float = 3.0,
    turned: tuple[float, float, float] = (0, 0, 0),
    tilted: tuple[float, float, float] = (0, 0, 0),
    gantry: float = 0,
    shift: tuple[float, float, float] = (6, -14, 30),
    extent: tuple[float, float] | None = None,
) -> Scan:
    """Scan a head.

    Parameters
    ----------
    turned
        Degrees by which the head is turned in the scanner (nods, leans, looks aside).
    tilted
        Degrees by which the planes are turned.
    gantry
        Degrees by which axial planes are sheared.
    extent
        The part from foot to head (of 0 to 1) that slices are of.
    """
    of = head(name)
    values = of.as_ct() if modality == "CT" else of.values.astype(np.float32) * 3
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotated(*turned), shift
    to_patient = move @ of.matrix
    row, column = (rotated(*tilted) @ np.array(one, float) for one in DIRECTIONS[plane])
    normal = np.cross(row, column)
    along = normal
    if gantry:
        lean = np.radians(gantry)
        column = column * np.cos(lean) + normal * np.sin(lean)
        along = normal  # the table still moves straight
    size = np.array(of.values.shape)[::-1]
    corners = np.array([(x, y, z, 1) for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])])
    corners = (corners @ to_patient.T)[:, :3]
    frame = np.linalg.inv(np.column_stack([row, column, along]))
    low, high = (corners @ frame.T).min(axis=0), (corners @ frame.T).max(axis=0)
    if extent:
        low[2], high[2] = low[2] + (high[2] - low[2]) * extent[0], low[2] + (high[2] - low[2]) * extent[1]
    columns, rows = (int(np.ceil((high[i] - low[i]) / pixel)) for i in (0, 1))
    count = int((high[2] - low[2]) / step) + 1
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([row * pixel, column * pixel, along * step])
    matrix[:3, 3] = np.column_stack([row, column, along]) @ low
    to_head = np.linalg.inv(to_patient) @ matrix
    transform = sitk.AffineTransform(to_head[:3, :3].ravel().tolist(), to_head[:3, 3].tolist())

    def cut(array: NDArray[Any], how: int, outside: float) -> NDArray[Any]:
        image = sitk.GetImageFromArray(array)
        made = sitk.Resample(image, [columns, rows, count], transform, how, [0.0] * 3, [1.0] * 3,
                             np.eye(3).ravel().tolist(), outside)  # fmt: skip
        return sitk.GetArrayFromImage(made)

    skin = np.column_stack([of.skin(), np.ones(len(of.skin()))]) @ (np.linalg.inv(matrix) @ move).T
    at = np.rint(skin[:, 2::-1]).astype(np.int64)
    at = at[((at >= 0) & (at < (count, rows, columns))).all(axis=1)]
    return Scan(
        modality, cut(values, sitk.sitkLinear, AIR_HU if modality == "CT" else 0),
        cut(of.brain.astype(np.uint8), sitk.sitkNearestNeighbor, 0) > 0, at,
        [(matrix[:3, 3] + n * along * step).round(6).tolist() for n in range(count)],
        [*row.round(8).tolist(), *column.round(8).tolist()], (pixel, pixel), step,
    )  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How a scan is written."""

    enhanced: bool = False
    bits: int = 12
    signed: bool = False
    slope: float = 1
    padded: bool = False
    inverted: bool = False
    syntax: str = LITTLE
    frames_apart: int = 1
    """How many frames there are in each place."""


def stored(one: Scan, form: Form) -> NDArray[np.int64]:
    """The stored values of a scan."""
    intercept = intercept_of(one, form)
    found = np.rint((one.values - intercept) / form.slope).astype(np.int64)
    low, high = (-(1 << (form.bits - 1)), (1 << (form.bits - 1)) - 1) if form.signed else (0, (1 << form.bits) - 1)
    found = np.clip(found, low, high)
    if form.inverted:
        found = high - found
    if form.padded:
        rows, columns = np.ogrid[-1 : 1 : found.shape[1] * 1j, -1 : 1 : found.shape[2] * 1j]
        found[:, np.hypot(rows, columns) > 1.2] = padding(form)
    return found


def intercept_of(one: Scan, form: Form) -> float:
    return -1024 if one.modality == "CT" and not form.signed else 0


def padding(form: Form) -> int:
    return -2000 if form.signed else 1


def dicom(one: Scan, form: Form | None = None, series: int = 3, **tags: Any) -> list[bytes]:
    """A scan as files, a slice each or all in one."""
    form = form or Form()
    samples = stored(one, form).astype(f"{'i' if form.signed else 'u'}{1 if form.bits <= 8 else 2}")
    if form.enhanced:
        return [_enhanced(one, form, samples, series, tags)]
    made: list[bytes] = []
    for number, (pixels, position) in enumerate(zip(samples, one.positions, strict=True)):
        for again in range(form.frames_apart):
            ds = _start(
                one, form, (series, number * form.frames_apart + again + 1), CT if one.modality == "CT" else MR, samples
            )
            ds.ImagePositionPatient, ds.ImageOrientationPatient = position, one.orientation
            ds.PixelSpacing, ds.SliceThickness = list(one.spacing), one.step
            _rescale(ds, one, form)
            for keyword, value in tags.items():
                setattr(ds, keyword, value)
            made.append(_written(ds, [pixels], form))
    return made


def _start(one: Scan, form: Form, number: tuple[int, int], sop_class: str, samples: NDArray[Any]) -> Dataset:
    ds = base(PATIENTS[0], number[1], sop_class, one.modality, number[0])
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = f"{one.modality} HEAD", "AX", "HEAD"
    ds.Rows, ds.Columns = samples.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME1" if form.inverted else "MONOCHROME2"
    ds.BitsAllocated = 8 * samples.dtype.itemsize
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = form.bits, form.bits - 1, int(form.signed)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = ds.StudyInstanceUID + ".77", ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if one.modality == "CT" else "M"]
    if form.padded:
        ds.add_new(0x00280120, "SS" if form.signed else "US", padding(form))
    return ds


def _rescale(ds: Dataset, one: Scan, form: Form) -> None:
    if one.modality == "CT" or form.slope != 1:
        ds.RescaleIntercept, ds.RescaleSlope = str(intercept_of(one, form)), str(form.slope)
        ds.RescaleType = "HU" if one.modality == "CT" else "US"


def _enhanced(one: Scan, form: Form, samples: NDArray[Any], series: int, tags: dict[str, Any]) -> bytes:
    ds = _start(one, form, (series, 1), ENHANCED_CT if one.modality == "CT" else ENHANCED_MR, samples)
    del ds.BodyPartExamined
    ds.NumberOfFrames = len(samples)
    region = item(AnatomicRegionSequence=[concept("69536005", "Head", "SCT")], FrameLaterality="U")
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=list(one.spacing), SliceThickness=one.step)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=one.orientation)],
        FrameAnatomySequence=[region],
    )  # fmt: skip
    value = item()
    _rescale(value, one, form)
    if len(value):
        shared.PixelValueTransformationSequence = [value]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=position)]) for position in one.positions
    ]
    for keyword, given in tags.items():
        setattr(ds, keyword, given)
    return _written(ds, list(samples), form)


def _written(ds: Dataset, frames: Sequence[NDArray[Any]], form: Form) -> bytes:
    if form.syntax in (LITTLE, IMPLICIT, BIG, DEFLATED):
        data = b"".join(
            np.ascontiguousarray(one, one.dtype.newbyteorder("<>"[form.syntax == BIG])).tobytes() for one in frames
        )
        ds.PixelData = data + b"\0" * (len(data) % 2)
        ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    else:
        ds.PixelData = encapsulate([encode_frame(one, form.syntax, bits_stored=form.bits) for one in frames])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    return part10(ds, form.syntax)


@dataclass(frozen=True)
class Truth:
    """What became of a head: voxels of the brain that changed, the share of the face's surface that is gone, and the
    share of all that changed."""

    brain: int
    skin: float
    changed: float


def judged(one: Scan, form: Form, after: NDArray[Any], thorough: float = 0.1) -> Truth:
    """Compare the stored values that left with those that were."""
    before = stored(one, form)
    changed = after.astype(np.int64) != before
    solid = one.values > (-300 if one.modality == "CT" else 255 * 3 * thorough)
    at = tuple(one.skin.T)
    met = solid[at]
    return Truth(int((changed & one.brain).sum()), float(changed[at][met].mean()), float(changed.mean()))


def _cases() -> list[tuple[str, Scan]]:
    """All that is measured: each head as MR and CT, in every direction, straight, turned and tilted."""
    found: list[tuple[str, Scan]] = []
    for name in _FACES:
        for modality in ("MR", "CT"):
            for plane in ("axial", "sagittal", "coronal"):
                found.append((f"{name} {modality} {plane}", scan(name, modality, plane)))
            found += [
                (f"{name} {modality} oblique", scan(name, modality, tilted=(25, 10, -15))),
                (f"{name} {modality} nods 20", scan(name, modality, turned=(20, 0, 0))),
                (f"{name} {modality} looks up 20", scan(name, modality, turned=(-20, 0, 0))),
                (f"{name} {modality} looks aside 20, leans 15", scan(name, modality, turned=(5, 15, 20))),
                (f"{name} {modality} gantry 18", scan(name, modality, gantry=18)),
                (f"{name} {modality} axial 5 mm", scan(name, modality, step=5, pixel=1)),
            ]
    return found


def _measured(name: str, one: Scan, draw: Path | None) -> str:
    files = dicom(one, Form(enhanced=True))
    begun = process_time()
    (face,) = find_faces([lambda: BytesIO(files[0])])
    seconds = process_time() - begun
    if not isinstance(face, Face):
        return f"| {name} | {face} | | | {seconds:.1f} |"
    before = stored(one, Form(enhanced=True))
    masks = np.array([np.unpackbits(np.frombuffer(mask, np.uint8), count=before[0].size).reshape(before[0].shape) > 0
                      if mask else np.zeros(before[0].shape, bool) for mask in face.masks])  # fmt: skip
    after = np.where(masks, np.array(face.values)[:, np.newaxis, np.newaxis], before)
    found = judged(one, Form(enhanced=True), after)
    if draw:
        picture(one, before, after, draw / f"{name.replace(' ', '_').replace(',', '')}.png")
    return f"| {name} | {found.brain} | {found.skin:.1%} | {found.changed:.1%} | {seconds:.1f} |"


def picture(one: Scan, before: NDArray[Any], after: NDArray[Any], path: Path) -> None:
    """Draw the surface from before and from the side, and the middle slice, before and after."""
    row, column = np.array(one.orientation[:3]), np.array(one.orientation[3:])
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack(
        [row * one.spacing[1], column * one.spacing[0], np.subtract(one.positions[1], one.positions[0])]
    )
    matrix[:3, 3] = one.positions[0]
    size = np.array(before.shape)[::-1]
    corners = np.array([(x, y, z, 1) for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])]) @ matrix.T
    low, high = corners[:, :3].min(axis=0), corners[:, :3].max(axis=0)
    inverse = np.linalg.inv(matrix)
    transform = sitk.AffineTransform(inverse[:3, :3].ravel().tolist(), inverse[:3, 3].tolist())
    grid = [int(n) for n in (high - low) / 1.5]
    drawn: list[NDArray[np.uint8]] = []
    for values in (before, after):
        image = sitk.GetImageFromArray(values.astype(np.float32))
        cube = sitk.GetArrayFromImage(
            sitk.Resample(image, grid, transform, sitk.sitkLinear, low.tolist(), [1.5] * 3, np.eye(3).ravel().tolist())
        )[::-1]
        solid = cube > (700 if one.modality == "CT" else 90)
        drawn += [_shaded(solid), _shaded(solid.transpose(0, 2, 1)[:, ::-1])]
        middle = cube[:, :, cube.shape[2] // 2]
        drawn.append(np.clip(middle / np.percentile(cube, 99.5) * 255, 0, 255).astype(np.uint8))
    height = max(one.shape[0] for one in drawn)
    cv2.imwrite(str(path), np.hstack([np.pad(one, ((0, height - one.shape[0]), (0, 4))) for one in drawn]))


def _shaded(solid: Mask) -> NDArray[np.uint8]:
    """The surface as seen along the second axis."""
    depth = np.where(solid.any(axis=1), solid.argmax(axis=1), solid.shape[1]).astype(np.float32)
    depth = cv2.GaussianBlur(depth, (0, 0), 0.8)
    down, across = np.gradient(depth)
    light = (0.8 - 0.35 * down - 0.25 * across) / np.sqrt(1 + down**2 + across**2)
    light = np.clip(light * 0.8 + 0.2 - depth / solid.shape[1] * 0.3, 0.05, 1)
    return (np.where(depth < solid.shape[1] - 2, light, 0) * 255).astype(np.uint8)


def main() -> None:
    """Print what becomes of every case."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    print(
        "| case | brain voxels changed | face surface gone | all voxels changed | CPU seconds |\n|---|---|---|---|---|"
    )
    for name, one in _cases():
        print(_measured(name, one, folder), flush=True)


if __name__ == "__main__":
    main()
