"""Drawing in millimetres: a canvas takes ellipsoids, lofts and tubes of named tissues and keeps one value a channel (an
MR sequence, or HU and SUV) for each voxel. Anatomy lives in the modules beside this one; noise and quantisation too."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32 | np.float64]
Values = tuple[float, ...]
Point = tuple[float, float, float]


class Canvas:
    """A stack of planes in a right-handed millimetre frame that the anatomy chooses.

    Parameters
    ----------
    shape : (planes, rows, columns)
    spacing : mm between planes, rows and columns, in that order; a negative plane spacing runs downwards
    palette : tissue name -> value in each channel
    background : tissue that fills the canvas
    center : mm coordinates (column axis x, row axis y, plane axis z) of the middle of the canvas
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        spacing: tuple[float, float, float],
        palette: Mapping[str, Values],
        background: str,
        center: Point = (0.0, 0.0, 0.0),
    ) -> None:
        self.palette = palette
        self.spacing = spacing
        axes = [
            ((np.arange(count) - (count - 1) / 2) * step + middle).astype(np.float32)
            for count, step, middle in zip(shape, spacing, center[::-1], strict=True)
        ]
        self.z, self.y, self.x = axes
        self.edge = float(abs(spacing[2]))
        values = palette[background]
        self.voxels: Float = np.empty((len(values), *shape), np.float32)
        for channel, value in enumerate(values):
            self.voxels[channel] = value

    def _span(self, axis: Float, low: float, high: float) -> slice:
        """Indices of `axis` whose coordinate lies in [low, high], widened by one on each side."""
        step = float(axis[1] - axis[0]) if len(axis) > 1 else 1.0
        first, last = sorted(((low - float(axis[0])) / step, (high - float(axis[0])) / step))
        return slice(max(0, int(np.floor(first)) - 1), min(len(axis), int(np.ceil(last)) + 2))

    def blend(self, planes: slice | int, rows: slice, columns: slice, alpha: Float, values: Values) -> None:
        """Mix `values` into a block: alpha 1 replaces, 0 keeps."""
        for channel, value in enumerate(values):
            block = self.voxels[channel, planes, rows, columns]
            block += alpha * (np.float32(value) - block)

    def loft(
        self,
        tissue: str,
        z: Sequence[float],
        cx: float | Sequence[float],
        cy: float | Sequence[float],
        rx: float | Sequence[float],
        ry: float | Sequence[float],
        power: float = 2.0,
        below: float | None = None,
    ) -> None:
        """A body given by its superellipse cross-section at ascending `z`, all in mm; `below` keeps y > below only."""
        values = self.palette[tissue]
        for plane in range(len(self.z)):
            height = float(self.z[plane])
            if not z[0] <= height <= z[-1]:
                continue
            px, py, sx, sy = (
                float(np.interp(height, z, knots)) if isinstance(knots, Sequence) else knots
                for knots in (cx, cy, rx, ry)
            )
            if sx < self.edge or sy < self.edge:
                continue
            rows, columns = self._span(self.y, py - sy, py + sy), self._span(self.x, px - sx, px + sx)
            across = np.abs((self.x[columns] - px) / sx) ** power
            down = np.abs((self.y[rows] - py) / sy) ** power
            alpha = _cover((1 - (across[None, :] + down[:, None])) * (min(sx, sy) / power), self.edge)
            if below is not None:
                alpha *= _cover(self.y[rows] - below, self.edge)[:, None]
            self.blend(plane, rows, columns, alpha, values)

    def ellipsoid(self, tissue: str, center: Point, radii: Point, angle: float = 0.0, soft: float = 0.0) -> None:
        """An ellipsoid, turned by `angle` degrees in the plane; `soft` mm widens its edge."""
        cx, cy, cz = center
        rx, ry, rz = radii
        turn = np.deg2rad(angle)
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        wx, wy = float(np.hypot(rx * cos, ry * sin)) + soft, float(np.hypot(rx * sin, ry * cos)) + soft
        rows, columns = self._span(self.y, cy - wy, cy + wy), self._span(self.x, cx - wx, cx + wx)
        dx, dy = (self.x[columns] - cx)[None, :], (self.y[rows] - cy)[:, None]
        flat = ((dx * cos + dy * sin) / rx) ** 2 + ((dy * cos - dx * sin) / ry) ** 2
        thickness = abs(self.spacing[0])
        # A body that is thin beside the plane's thickness is averaged over it, as a scanner would.
        offsets = (-thickness / 3, 0.0, thickness / 3) if rz < 3 * thickness else (0.0,)
        reach = min(rx, ry, rz)
        edge = self.edge + soft
        values = self.palette[tissue]
        for plane in range(*self._span(self.z, cz - rz, cz + rz).indices(len(self.z))):
            heights = [((float(self.z[plane]) + offset - cz) / rz) ** 2 for offset in offsets]
            alphas = [_cover((1 - np.sqrt(flat + height)) * reach, edge) for height in heights]
            self.blend(plane, rows, columns, sum(alphas[1:], alphas[0]) / np.float32(len(alphas)), values)

    def tube(self, tissue: str, points: Sequence[Point], radius: float | Sequence[float]) -> None:
        """A tube along a polyline; one radius in mm for all of it, or one for each point."""
        values = self.palette[tissue]
        radii = list(radius) if isinstance(radius, Sequence) else [radius] * len(points)
        half = abs(self.spacing[0]) / 2
        for (a, ra), (b, rb) in zip(
            zip(points[:-1], radii[:-1], strict=True), zip(points[1:], radii[1:], strict=True), strict=True
        ):
            thick = max(ra, rb)
            columns, rows, planes = (
                self._span(axis, min(a[i], b[i]) - thick - pad, max(a[i], b[i]) + thick + pad)
                for i, (axis, pad) in enumerate(((self.x, 0.0), (self.y, 0.0), (self.z, half / 2)))
            )
            x, y, z = self.x[columns] - a[0], self.y[rows] - a[1], self.z[planes] - a[2]
            if 0 in (x.size, y.size, z.size):
                continue
            dx, dy, dz = (np.float32(b[i] - a[i]) for i in range(3))
            length = float(dx * dx + dy * dy + dz * dz) or 1.0
            along = (y * dy)[:, None] + (x * dx) + (z * dz)[:, None, None]
            share = np.clip(along * np.float32(1 / length), 0, 1)
            away = (y * y)[:, None] + x * x + (z * z)[:, None, None]
            away -= share * (2 * along - share * np.float32(length))
            np.maximum(away, 0, out=away)
            alpha = _cover(share * np.float32(rb - ra) + np.float32(ra) - np.sqrt(away), self.edge)
            self.blend(planes, rows, columns, alpha, values)


def _cover(distance: Float, edge: float) -> Float:
    """Share of a pixel that lies inside, from the signed distance in mm (positive inside)."""
    return np.clip(distance / np.float32(edge) + np.float32(0.5), 0, 1)


@cache
def _upsampling(count: int, knots: int) -> tuple[NDArray[np.intp], Float]:
    """First of the four knots that reach each of `count` samples, and their cubic B-spline weights (4, count)."""
    place = np.linspace(1, knots - 2.001, count)
    first = np.floor(place).astype(np.intp) - 1
    distance = np.abs(place[None, :] - (first[None, :] + np.arange(4)[:, None]))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = (2 - distance).clip(0) ** 3 / 6
    return first, np.where(distance < 1, inner, outer).astype(np.float32)


def smooth_field(shape: tuple[int, ...], knots: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Band-limited noise of standard deviation about 1: random values at `knots` places an axis, spread over `shape`.

    Sums are written out rather than left to a matrix product, whose last bits depend on the number of threads.
    """
    padded = tuple(count + 3 for count in knots)
    field: Float = rng.standard_normal(padded, dtype=np.float32)
    for axis, (count, size) in enumerate(zip(padded, shape, strict=True)):
        first, weights = _upsampling(size, count)
        spread = weights.reshape(4, *(size if other == axis else 1 for other in range(len(shape))))
        spaced = np.take(field, first, axis) * spread[0]
        for knot in range(1, 4):
            spaced += np.take(field, first + knot, axis) * spread[knot]
        field = spaced
    # A cubic B-spline keeps about 0.69 of the deviation along each axis.
    return field / np.float32(0.69 ** len(shape))


def fractal_field(
    shape: tuple[int, int], base: int, octaves: int, rng: np.random.Generator, fall: float = 0.55
) -> Float:
    """Cloud-like noise (rows, columns): octaves of `smooth_field`, each twice as fine and `fall` as strong."""
    rows, columns = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        knots = base * 2**octave
        grid = (max(2, knots * rows // max(rows, columns)), max(2, knots * columns // max(rows, columns)))
        total += smooth_field(shape, grid, rng) * np.float32(fall**octave)
    return total


def grain(shape: tuple[int, int], count: int, rng: np.random.Generator) -> list[Float]:
    """`count` planes of noise of deviation 1, fine with a coarse part, cut from a few tiles to save time."""
    tiles: list[Float] = []
    for _ in range(min(count, 4)):
        raw: Float = rng.standard_normal(shape, dtype=np.float32)
        raw += np.roll(raw, 1, axis=0)
        raw += np.roll(raw, 1, axis=1)
        coarse = smooth_field(shape, (shape[0] // 7, shape[1] // 7), rng)
        tiles.append(raw * np.float32(0.47) + coarse * np.float32(0.34))
    planes: list[Float] = []
    for plane in range(count):
        down, right = (int(step) for step in rng.integers(0, min(shape), 2))
        planes.append(np.roll(tiles[plane % len(tiles)], (down, right), axis=(0, 1)))
    return planes


def quantise_ct(hu: Float, sigma: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """Hounsfield units with scanner noise of `sigma` HU as int16, planes first."""
    out = np.empty(hu.shape, np.int16)
    for plane, noise in enumerate(grain(hu.shape[1:], len(hu), rng)):
        np.clip(hu[plane] + noise * np.float32(sigma), -1024, 3071, out=out[plane], casting="unsafe")
    return out


def quantise_mr(signal: Float, sigma: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Signal with the Rician noise of a magnitude image and a mild coil shading as uint16 in 0..4095, planes first."""
    rows, columns = signal.shape[1:]
    shading = 1 + np.float32(0.05) * smooth_field((rows, columns), (2, 2), rng)
    real, imaginary = grain((rows, columns), len(signal), rng), grain((rows, columns), len(signal), rng)
    out = np.empty(signal.shape, np.uint16)
    for plane in range(len(signal)):
        magnitude = np.hypot(signal[plane] * shading + real[plane] * sigma, imaginary[plane] * sigma)
        out[plane] = np.clip(magnitude, 0, 4095)
    return out
