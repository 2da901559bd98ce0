"""Projections: a film gathers how much each ray loses on its way (chord lengths of ellipsoids and tubes), so that bones
are brightest at their edges and the lungs are dark, as on a radiograph. Also the camera and run frames made from it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.demo.phantoms.canvas import Float

Spot = tuple[float, float]

# Letters of the markers, five columns of seven dots each, the lowest bit on top.
_GLYPHS: dict[str, str] = {
    "A": "7E1111117E", "C": "3E41414122", "D": "7F4141413E", "E": "7F49494141", "F": "7F09090101", "I": "00417F4100",
    "L": "7F40404040", "M": "7F0408047F", "N": "7F0408107F", "O": "3E4141413E", "P": "7F0909090E", "R": "7F0919294E",
    "S": "2649494932", "T": "01017F0101", "X": "6314081463", " ": "0000000000",
}  # fmt: skip


class Film:
    """A plane of `shape` (rows, columns) at `pixel` mm; x runs to the right and y down, 0 is the middle."""

    def __init__(self, shape: tuple[int, int], pixel: float, center: Spot = (0.0, 0.0)) -> None:
        rows, columns = shape
        self.pixel = pixel
        self.x = ((np.arange(columns) - (columns - 1) / 2) * pixel + center[0]).astype(np.float32)
        self.y = ((np.arange(rows) - (rows - 1) / 2) * pixel + center[1]).astype(np.float32)
        self.loss: Float = np.zeros(shape, np.float32)

    def window(self, left: float, right: float, top: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of a box in mm, cut to the film."""
        columns = np.searchsorted(self.x, (left - self.pixel, right + self.pixel))
        rows = np.searchsorted(self.y, (top - self.pixel, bottom + self.pixel))
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def ellipse_chord(
        self, center: Spot, radii: Spot, depth: float, angle: float = 0.0
    ) -> tuple[tuple[slice, slice], Float]:
        """Path in mm through an ellipsoid of half-thickness `depth`, and the box that holds it."""
        reach = max(radii)
        box = self.window(center[0] - reach, center[0] + reach, center[1] - reach, center[1] + reach)
        dx, dy = (self.x[box[1]] - center[0])[None, :], (self.y[box[0]] - center[1])[:, None]
        turn = np.deg2rad(angle)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        flat = ((dx * cos + dy * sin) / radii[0]) ** 2 + ((dy * cos - dx * sin) / radii[1]) ** 2
        return box, (np.sqrt(np.clip(1 - flat, 0, None)) * np.float32(2 * depth)).astype(np.float32)

    def ellipse(self, center: Spot, radii: Spot, depth: float, weight: float = 1.0, angle: float = 0.0) -> None:
        """Add an ellipsoid; a negative weight takes away (air)."""
        box, chord = self.ellipse_chord(center, radii, depth, angle)
        self.loss[box] += chord * np.float32(weight)

    def distance(self, points: Sequence[Spot], reach: float) -> tuple[tuple[slice, slice], Float]:
        """Distance in mm from a polyline within `reach`, and its box; farther places hold `reach`."""
        array = np.asarray(points, np.float32)
        low, high = array.min(axis=0) - reach, array.max(axis=0) + reach
        outer = self.window(float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        away = np.full((outer[0].stop - outer[0].start, outer[1].stop - outer[1].start), reach, np.float32)
        for a, b in zip(array[:-1].tolist(), array[1:].tolist(), strict=True):
            rows, columns = self.window(
                min(a[0], b[0]) - reach, max(a[0], b[0]) + reach, min(a[1], b[1]) - reach, max(a[1], b[1]) + reach
            )
            dx, dy = (self.x[columns] - a[0])[None, :], (self.y[rows] - a[1])[:, None]
            ux, uy = b[0] - a[0], b[1] - a[1]
            share = np.clip((dx * ux + dy * uy) / np.float32(ux * ux + uy * uy + 1e-6), 0, 1)
            near = np.sqrt((dx - share * np.float32(ux)) ** 2 + (dy - share * np.float32(uy)) ** 2)
            inner = away[
                rows.start - outer[0].start : rows.stop - outer[0].start,
                columns.start - outer[1].start : columns.stop - outer[1].start,
            ]
            np.minimum(inner, near, out=inner)
        return outer, away

    def rod(self, points: Sequence[Spot], radius: float, weight: float = 1.0, hollow: float = 0.0) -> None:
        """Add a tube along a polyline; `hollow` is the radius of its empty inside (a rib's marrow)."""
        box, away = self.distance(points, radius + self.pixel)
        chord = np.sqrt(np.clip(radius**2 - away**2, 0, None))
        if hollow:
            chord -= np.float32(0.75) * np.sqrt(np.clip(hollow**2 - away**2, 0, None))
        self.loss[box] += np.float32(2 * weight) * chord

    def letters(self, text: str, at: Spot, dot: float, weight: float) -> None:
        """Write with dots of `dot` mm, the upper left corner at `at` (the lead marker of a radiograph)."""
        for place, letter in enumerate(text):
            for column, bits in enumerate(bytes.fromhex(_GLYPHS[letter])):
                for row in range(7):
                    if bits >> row & 1:
                        x, y = at[0] + (place * 6 + column) * dot, at[1] + row * dot
                        box = self.window(x, x + dot * 0.9, y, y + dot * 0.9)
                        self.loss[box] = self.loss[box] * 0 + np.float32(weight)


def soften(image: Float, times: int) -> Float:
    """Blur by a small binomial kernel, `times` over."""
    for _ in range(times):
        for axis in (0, 1):
            image = (np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / np.float32(4)
    return image


def branch(
    film: Film,
    start: Spot,
    heading: float,
    length: float,
    radius: float,
    depth: int,
    rng: np.random.Generator,
    draw: Callable[[list[Spot], float], None],
) -> None:
    """A tree in the plane from `start` in direction `heading` (radians): each piece is handed to `draw`."""
    points, place, turn = [start], start, heading
    for _ in range(3):
        turn += float(rng.normal(0, 0.12))
        place = (place[0] + float(np.cos(turn)) * length / 3, place[1] + float(np.sin(turn)) * length / 3)
        points.append(place)
    draw(points, radius)
    if depth:
        for sign, share in ((1, 0.8), (-1, 0.68)):
            branch(
                film,
                place,
                turn + sign * float(rng.uniform(0.25, 0.65)),
                length * 0.84,
                radius * share,
                depth - 1,
                rng,
                draw,
            )


def counts(rate: Float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """What a gamma camera counts where `rate` is expected."""
    return rng.poisson(np.clip(rate, 0, None)).astype(np.uint16)
