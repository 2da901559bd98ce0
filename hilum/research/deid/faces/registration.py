"""Where the template's head lies in a volume: a search over turns and shifts on a coarse grid, then an affine transform
that makes the mutual information of both the greatest (SimpleITK), on one thread and without chance, so that the same
volume always comes to the same. Whether the result can be right is checked here, too; what fails is `Unsuitable`."""

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hilum.research.deid.faces.template import AIR, BRAIN, HEAD, MATCHED, REMOVED, SKIN, Template
from hilum.research.deid.faces.volume import Coarse, Grey, Point, Unsuitable

_GRID_MM: Final = 3.0
_MAX_GRID: Final = 40_000_000
_MAX_MM: Final = 2500.0
_HU: Final = (-300.0, 300.0)
_BINS: Final = 24
_SEARCH_EVERY: Final = 5
_PITCH, _TURN, _ROLL = (-30, -15, 0, 15, 30), (-20, 0, 20), (-20, 0, 20)
_SHIFTS: Final = ((-24, 0, 24), (-40, -20, 0, 20, 40))
_KEPT: Final = 4
_LEAST_SEEN: Final = 0.5
_BEFORE_MM: Final = 40.0
_BEHIND_MM: Final = 30.0
_SCALES: Final = (0.7, 1.35)
_MOST_TURNED: Final = 50.0
_LEAST_COVERED: Final = 0.85
_LEAST_PARTED: Final = 0.95
_LEAST_ALIKE: Final = 0.06
_LEAST_FACING: Final = 0.9


@dataclass(frozen=True, slots=True)
class Grid:
    """A volume on a regular grid along the patient's axes, from right, front and foot.

    Attributes
    ----------
    values
        From 0 (air) to 1, of shape (slices, rows, columns).
    inside
        Where the volume has voxels.
    origin
        Of the first voxel, in mm (LPS).
    """

    values: Grey
    inside: NDArray[np.bool_]
    origin: Point


@cache
def missing() -> str:
    """What is not installed of that which finding faces takes, in a sentence; empty when all is there."""
    return "" if find_spec("SimpleITK") else "SimpleITK is not installed: pip install 'hilum[pixels]'."


def versions() -> dict[str, str]:
    """What finds heads, with its version; empty when it is not installed."""
    return {} if missing() else {"simpleitk": metadata.version("SimpleITK")}


def sitk() -> Any:
    """SimpleITK, on one thread."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # pyright: ignore
    return SimpleITK


def patient_grid(coarse: Coarse, modality: str) -> Grid:
    """Lay a volume on a grid of 3 mm."""
    tool = sitk()
    deep, high, wide = coarse.values.shape
    ends = np.array([(x, y, z, 1.0) for x, y, z in product((0, wide - 1), (0, high - 1), (0, deep - 1))])
    corners = (ends @ coarse.matrix.T)[:, :3]
    origin, far = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((far - origin) / _GRID_MM).astype(int) + 1
    if (far - origin).max() > _MAX_MM or size.prod() > _MAX_GRID:
        raise Unsuitable("it is larger than a person")
    inverse = np.linalg.inv(coarse.matrix)
    to_index = tool.AffineTransform(inverse[:3, :3].ravel().tolist(), inverse[:3, 3].tolist())
    values = _clipped(coarse, modality)

    def laid(array: Grey, how: int) -> Grey:
        image = tool.GetImageFromArray(array)
        made = tool.Resample(
            image, size.tolist(), to_index, how, origin.tolist(), [_GRID_MM] * 3, np.eye(3).ravel().tolist(), 0.0
        )
        return tool.GetArrayFromImage(made)

    inside = laid(np.ones(values.shape, np.float32), tool.sitkNearestNeighbor) > 0
    return Grid(laid(values, tool.sitkLinear), inside, origin)


def _clipped(coarse: Coarse, modality: str) -> Grey:
    """Values from 0 to 1: of CT what is between air and bone, of MR all but the brightest."""
    if modality == "CT":
        low, high = _HU
    else:
        low, high = coarse.air, float(np.percentile(coarse.values, 99.5))
    if high <= low:
        raise Unsuitable("it is empty")
    return ((np.clip(coarse.values, low, high) - low) / (high - low)).astype(np.float32)


def search(grid: Grid, template: Template) -> list[tuple[float, Point]]:
    """The best rigid places of the template's head in a grid, on a coarse scale: their scores, and 4 x 4 matrices."""
    tool = sitk()
    every = _SEARCH_EVERY
    labels = template.labels[::every, ::every, ::every]
    picked = (labels & MATCHED) > 0
    smooth = tool.GetArrayFromImage(
        tool.DiscreteGaussian(tool.GetImageFromArray(template.head.astype(np.float32)), 4.0)
    )
    values = smooth[::every, ::every, ::every][picked]
    of_template = np.minimum(values / 256 * _BINS, _BINS - 1).astype(np.int64)
    points = template.points(MATCHED, every)
    image = tool.GetImageFromArray(grid.values)
    soft = np.clip(tool.GetArrayFromImage(tool.DiscreteGaussian(image, 4.0)), 0, 1)
    of_patient = np.minimum(soft * _BINS, _BINS - 1).astype(np.int64)
    of_patient[~grid.inside] = -1
    return _best(points, of_template, of_patient, grid, template)


def _best(
    points: Point, of_template: NDArray[np.int64], of_patient: NDArray[np.int64], grid: Grid, template: Template
) -> list[tuple[float, Point]]:
    shape = np.array(grid.values.shape)[::-1]
    flat = of_patient.ravel()

    def score(matrix: Point) -> float:
        at = np.rint((points @ matrix[:3, :3].T + (matrix[:3, 3] - grid.origin)) / _GRID_MM).astype(np.int64)
        seen = ((at >= 0) & (at < shape)).all(axis=1)
        at = at[seen]
        bins = flat[(at[:, 2] * shape[1] + at[:, 1]) * shape[0] + at[:, 0]]
        known = bins >= 0
        share = known.sum() / len(points)
        if share < _LEAST_SEEN:
            return 0.0
        return mutual(of_template[seen][known], bins[known]) * share

    brain = template.points(BRAIN | HEAD, 4)
    middle, top = brain.mean(axis=0), brain[:, 2].max()
    center, crown = _crown(grid)
    found: list[tuple[float, Point]] = []
    for pitch, turn, roll in product(_PITCH, _TURN, _ROLL):
        rotation = rotated(pitch, roll, turn)
        for back, down in product(*_SHIFTS):
            aim = np.array([center[0], center[1] + back, crown - (top - middle[2]) + down])
            matrix = placed(rotation, middle, aim)
            found.append((score(matrix), matrix))
    found.sort(key=lambda one: -one[0])
    return found[:_KEPT]


def _crown(grid: Grid) -> tuple[Point, float]:
    """The middle of the uppermost part of what is no air, and the height of its top."""
    solid = grid.values > 0.25
    areas = solid.sum(axis=(1, 2)) * _GRID_MM**2
    high = np.flatnonzero(areas > 1500)
    if not len(high):
        raise Unsuitable("it shows nothing of a head's size")
    top = int(high[-1])
    part = np.argwhere(solid[max(0, top - 40) : top + 1])
    middle = np.median(part[:, ::-1], axis=0) * _GRID_MM + grid.origin
    return middle, float(grid.origin[2] + top * _GRID_MM)


def mutual(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Mutual information of two lists of bins, over their joint entropy."""
    joint = np.bincount(one * _BINS + other, minlength=_BINS * _BINS).reshape(_BINS, _BINS) / max(len(one), 1)

    def entropy(chances: NDArray[np.float64]) -> float:
        some = chances[chances > 0]
        return float(-(some * np.log(some)).sum())

    both = entropy(joint.ravel())
    return (entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1)) - both) / both if both > 0 else 0.0


def rotated(pitch: float, roll: float, turn: float) -> Point:
    """A rotation of so many degrees about the patient's left, back and head, in this order."""
    (ca, cb, cc), (sa, sb, sc) = (f(np.radians([pitch, roll, turn])) for f in (np.cos, np.sin))
    about_left = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_back = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_head = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_head @ about_back @ about_left


def placed(linear: Point, middle: Point, aim: Point) -> Point:
    """4 x 4, a linear map about ``middle``, which goes to ``aim``."""
    found = np.eye(4)
    found[:3, :3] = linear
    found[:3, 3] = aim - linear @ middle
    return found


def refine(grid: Grid, template: Template, starts: list[tuple[float, Point]]) -> Point:
    """The affine place of the template's head, from the best of some rigid ones: template mm to patient mm, 4 x 4."""
    tool = sitk()
    moving, moving_mask = _images(grid.values, grid.inside, [_GRID_MM] * 3, grid.origin)
    head = (template.head / np.float32(255)).astype(np.float32)
    fixed, fixed_mask = _images(head, (template.labels & MATCHED) > 0, [template.spacing] * 3, template.origin)
    middle = template.points(BRAIN, 4).mean(axis=0).tolist()

    def improved(transform: Any, shrink: int, smooth: float, steps: int, stride: float) -> tuple[float, Any]:
        method = tool.ImageRegistrationMethod()
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(fixed_mask)
        method.SetMetricMovingMask(moving_mask)
        method.SetInterpolator(tool.sitkLinear)
        method.SetShrinkFactorsPerLevel([shrink])
        method.SetSmoothingSigmasPerLevel([smooth])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetOptimizerAsRegularStepGradientDescent(stride, 0.02, steps, relaxationFactor=0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:
            raise Unsuitable("no head was found in it") from None
        return float(method.GetMetricValue()), transform

    tried: list[tuple[float, Any]] = []
    for _, start in starts:
        rigid = tool.Euler3DTransform()
        rigid.SetCenter(middle)
        rigid.SetMatrix(start[:3, :3].ravel().tolist(), 1e-6)
        rigid.SetTranslation((start[:3, :3] @ middle + start[:3, 3] - middle).tolist())
        tried.append(improved(rigid, 4, 4.0, 40, 4.0))
    best = min(tried, key=lambda one: one[0])[1]
    affine = tool.AffineTransform(3)
    affine.SetCenter(middle)
    affine.SetMatrix(best.GetMatrix())
    affine.SetTranslation(best.GetTranslation())
    improved(affine, 3, 3.0, 60, 3.0)
    improved(affine, 2, 2.0, 40, 1.0)
    return placed(
        np.array(affine.GetMatrix()).reshape(3, 3), np.array(middle), np.array(middle) + affine.GetTranslation()
    )


def _images(values: Grey, mask: NDArray[np.bool_], spacing: list[float], origin: Point) -> tuple[Any, Any]:
    tool = sitk()
    found: list[Any] = []
    for array in (values, mask.astype(np.uint8)):
        image = tool.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin(origin.tolist())
        found.append(image)
    return found[0], found[1]


def locate(coarse: Coarse, modality: str, template: Template) -> Point:
    """Where the template's head lies in a volume.

    Returns
    -------
    ndarray
        4 x 4, from the template's mm to the patient's (LPS).

    Raises
    ------
    Unsuitable
        When that is not sure enough to take a face off by it.
    """
    grid = patient_grid(coarse, modality)
    starts = search(grid, template)
    matrix = refine(grid, template, starts)
    _check(measure(grid, template, matrix))
    return matrix


@dataclass(frozen=True, slots=True)
class Fit:
    """What tells whether a place of the template's head can be right.

    Attributes
    ----------
    scales
        By how much it is stretched, least and most.
    turned
        How far it is turned from upright, face forward, in degrees.
    covered
        The share of the brain that lies in the volume.
    parted
        How often a voxel of the brain is brighter than one of the air around the skull.
    alike
        Mutual information over joint entropy.
    facing
        Of the lines of sight to the face that meet something in the volume, the share that first meet what goes.
    """

    scales: tuple[float, float]
    turned: float
    covered: float
    parted: float
    alike: float
    facing: float


def measure(grid: Grid, template: Template, matrix: Point) -> Fit:
    """Measure how well the template's head, put somewhere, fits a volume."""
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    turned = float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))
    brain = _sampled(grid, matrix, template.points(BRAIN, 2))
    air = _sampled(grid, matrix, template.points(AIR, 2))
    covered = float(np.isfinite(brain).mean())
    brain, air = brain[np.isfinite(brain)], np.sort(air[np.isfinite(air)])
    if not len(brain) or not len(air):
        return Fit((float(sizes.min()), float(sizes.max())), turned, covered, 0.0, 0.0, 0.0)
    parted = float(np.searchsorted(air, brain).mean() / len(air))
    return Fit(
        (float(sizes.min()), float(sizes.max())), turned, covered, parted, _alike(grid, template, matrix),
        _facing(grid, template, matrix, float(0.6 * np.median(air) + 0.4 * np.median(brain))),
    )  # fmt: skip


def _sampled(grid: Grid, matrix: Point, points: Point) -> Grey:
    """The values of a grid at points of the template, of shape (..., 3); not a number outside of the volume."""
    at = np.rint((points @ matrix[:3, :3].T + (matrix[:3, 3] - grid.origin)) / _GRID_MM).astype(np.int64)
    shape = np.array(grid.values.shape)[::-1]
    known = ((at >= 0) & (at < shape)).all(axis=-1)
    at = np.clip(at, 0, shape - 1)
    index = at[..., 2], at[..., 1], at[..., 0]
    return np.where(known & grid.inside[index], grid.values[index], np.float32(np.nan))


def _alike(grid: Grid, template: Template, matrix: Point) -> float:
    values = _sampled(grid, matrix, template.points(MATCHED, 2))
    known = np.isfinite(values)
    own = template.head[::2, ::2, ::2][(template.labels[::2, ::2, ::2] & MATCHED) > 0]
    bins = np.minimum(values[known] * _BINS, _BINS - 1).astype(np.int64)
    return mutual(own[known].astype(np.int64) * _BINS // 256, np.maximum(bins, 0))


def _facing(grid: Grid, template: Template, matrix: Point, threshold: float) -> float:
    places = np.argwhere(template.labels & SKIN)
    steps = np.arange(-_BEFORE_MM, _BEHIND_MM, template.spacing)
    sight = (places[:, ::-1] * template.spacing + template.origin)[:, np.newaxis] + steps[:, np.newaxis] * (0, 1, 0)
    solid = np.nan_to_num(_sampled(grid, matrix, sight), nan=0.0) > threshold
    solid[:, :-1] &= solid[:, 1:]  # a single bright voxel is noise
    meets = solid.any(axis=1)
    if not meets.any():
        return 1.0
    first = places[:, 1] + (solid.argmax(axis=1) - round(_BEFORE_MM / template.spacing))
    gone = template.labels[places[:, 0], np.clip(first, 0, template.labels.shape[1] - 1), places[:, 2]] & REMOVED
    return float((gone[meets] > 0).mean())


def _check(fit: Fit) -> None:
    """See that a fit is good enough to take a face off by it; the bounds are measured (``docs/reference/deid.md``)."""
    if fit.covered < _LEAST_COVERED:
        raise Unsuitable("the head is only in part in it")
    good = (
        _SCALES[0] < fit.scales[0] and fit.scales[1] < _SCALES[1] and fit.turned < _MOST_TURNED
        and fit.parted > _LEAST_PARTED and fit.alike > _LEAST_ALIKE and fit.facing > _LEAST_FACING
    )  # fmt: skip
    if not good:
        raise Unsuitable("no head was found in it for certain")
