"""X-ray angiography and scintigraphy: runs of frames in which contrast or tracer arrives, stays and leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Float, fractal_field
from hilum.demo.phantoms.film import Film, Spot, counts, soften


@dataclass(frozen=True, slots=True)
class _Vessel:
    points: list[Spot]
    radii: list[float]
    start_mm: float


def coronary_run(
    shape: tuple[int, int], pixel: float, frames: int, tree: str, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A run of 8-bit frames, contrast dark, of the coronary ``left`` or ``right``, or of the ``cerebral`` arteries.

    Returns
    -------
    ndarray of shape (frames, rows, columns)
    """
    film = Film(shape, pixel)
    vessels = _tree(tree, findings, rng)
    thickness, arrival = np.zeros(shape, np.float32), np.full(shape, 1e6, np.float32)
    for vessel in vessels:
        way = vessel.start_mm
        for a, b, radius in zip(vessel.points[:-1], vessel.points[1:], vessel.radii, strict=False):
            box, away = film.distance([a, b], radius + 1)
            chord = 2 * np.sqrt(np.clip(radius**2 - away**2, 0, None))
            np.maximum(thickness[box], chord, out=thickness[box])
            inside = chord > 0
            arrival[box] = np.where(inside, np.minimum(arrival[box], way), arrival[box])
            way += float(np.hypot(b[0] - a[0], b[1] - a[1]))
    still = _background(film, tree, rng)
    out = np.empty((frames, *shape), np.uint8)
    last = float(max(vessel.start_mm for vessel in vessels)) + 60
    blush = soften(thickness[::4, ::4], 10).repeat(4, axis=0).repeat(4, axis=1) * np.float32(16)
    # Only the vessels' own pixels have to be worked out for each frame.
    rows, columns = np.nonzero(thickness)
    depth, reached = thickness[rows, columns] * np.float32(18), arrival[rows, columns]
    for frame in range(frames):
        front = last * 1.5 * (frame - 1) / frames
        since = front - reached
        dose = np.clip(since / 14, 0, 1) * np.exp(-np.clip(since - last * 0.75, 0, None) / 26)
        level = still + blush * np.float32(np.clip((front - last * 0.8) / last, 0, 0.4))
        beat = 0 if tree == "cerebral" else round(4 * float(np.sin(frame * 1.3)))
        level[(rows + beat) % shape[0], (columns + beat // 2) % shape[1]] += depth * dose
        noise: Float = rng.standard_normal(shape, dtype=np.float32)
        image = 226 * np.exp(level * np.float32(-1 / 78)) + soften(noise, 1) * 6
        np.clip(image, 0, 255, out=out[frame], casting="unsafe")
    return out


def _background(film: Film, tree: str, rng: np.random.Generator) -> Float:
    film.loss += fractal_field(film.loss.shape, 4, 4, rng) * 2.0
    if tree == "cerebral":
        film.ellipse((0, 6), (84, 92), 40, 0.5)
        box, away = film.distance(
            [(86 * float(np.cos(a)), 6 + 94 * float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 40).tolist()], 6
        )
        film.loss[box] += np.clip(5 - away, 0, None) * 5
        film.ellipse((-30, 52), (20, 16), 20, 0.3)
        film.ellipse((30, 52), (20, 16), 20, 0.3)
        return film.loss
    for level in range(-4, 5):
        film.ellipse((44, level * 26.0), (19, 11), 16, 0.55)
    for number in range(-1, 6):
        film.rod([(50, -80 + 32.0 * number), (0, -96 + 32.0 * number), (-90, -50 + 32.0 * number)], 6, 0.55, hollow=4.6)
    film.ellipse((-10, 10), (66, 56), 50, 0.34, angle=35)
    film.loss += 26 * np.clip((film.y[:, None] - 52 + 0.1 * film.x[None, :]) / 10, 0, 1)
    film.rod([(36, -95), (26, -60), (12, -46), (8, -42)], 1.3, 8)
    return film.loss


_TREES: dict[str, list[tuple[list[Spot], float]]] = {
    "left": [
        ([(8, -42), (0, -41), (-8, -38)], 2.3),
        ([(-8, -38), (-26, -30), (-40, -12), (-48, 12), (-46, 38), (-40, 54)], 1.8),
        ([(-8, -38), (-6, -22), (4, -4), (16, 16), (20, 36)], 1.8),
        ([(-26, -30), (-44, -30), (-62, -14), (-70, 8)], 1.2),
        ([(-40, -12), (-56, 4), (-64, 28)], 1.1),
        ([(-34, -20), (-28, 4), (-24, 24)], 0.8),
        ([(-6, -22), (-18, -2), (-22, 26), (-20, 44)], 1.2),
        ([(4, -4), (-6, 14), (-6, 38)], 1.1),
        ([(-44, -2), (-36, 18), (-32, 36)], 0.7),
    ],
    "right": [
        ([(8, -42), (-12, -44), (-34, -34), (-46, -12), (-46, 14), (-34, 32), (-14, 42)], 2.1),
        ([(-34, -34), (-22, -20), (-10, -14)], 0.9),
        ([(-46, -12), (-66, -8), (-76, 8)], 1.1),
        ([(-46, 12), (-62, 26), (-70, 46)], 1.0),
        ([(-14, 42), (6, 38), (26, 40)], 1.4),
        ([(-14, 42), (0, 54), (18, 62)], 1.2),
        ([(6, 38), (12, 22), (20, 12)], 0.8),
    ],
    "cerebral": [
        ([(-14, 98), (-16, 74), (-8, 60), (-18, 50), (-14, 38)], 2.6),
        ([(-14, 38), (-30, 34), (-48, 28), (-60, 20)], 1.9),
        ([(-14, 38), (-4, 30), (-2, 8), (-6, -20), (2, -48), (8, -70)], 1.5),
        ([(-60, 20), (-70, 2), (-66, -26), (-50, -52)], 1.3),
        ([(-60, 20), (-76, 22), (-78, 44)], 1.1),
        ([(-48, 28), (-56, 4), (-46, -22), (-36, -44)], 1.2),
        ([(-48, 28), (-40, 10), (-32, -10)], 0.7),
        ([(-5, -10), (-20, -26), (-26, -52), (-22, -72)], 1.0),
        ([(-6, -20), (-14, -48), (-8, -78)], 0.9),
        ([(-66, -26), (-74, -40), (-66, -60)], 0.9),
        ([(-60, 20), (-62, 40), (-54, 58)], 0.9),
    ],
}


def _tree(tree: str, findings: Sequence[Finding], rng: np.random.Generator) -> list[_Vessel]:
    vessels: list[_Vessel] = []
    ways: dict[Spot, float] = {}
    for number, (line, radius) in enumerate(_TREES[tree]):  # the second of the left tree is the LAD
        points = _wavy(line, rng)
        near = min(ways, key=lambda spot: (spot[0] - line[0][0]) ** 2 + (spot[1] - line[0][1]) ** 2, default=line[0])
        start = ways.get(near, 0.0)
        length = 0.0
        ways.setdefault(line[0], start)
        for a, b in pairwise(line):
            length += float(np.hypot(b[0] - a[0], b[1] - a[1]))
            ways.setdefault(b, start + length)
        radii = np.linspace(radius, radius * 0.5, len(points)).tolist()
        for finding in findings:
            if finding.kind == "stenosis" and number == (0 if tree == "right" else 1):
                middle = len(radii) * 0.4
                radii = [
                    r * (1 - finding.percent / 100 * float(np.exp(-(((i - middle) / 2.2) ** 2))))
                    for i, r in enumerate(radii)
                ]
        vessels.append(_Vessel(points, radii, start))
    for finding in findings:
        if finding.kind == "aneurysm":
            x, y = _TREES[tree][0][0][-1]
            vessels.append(_Vessel([(x + 1, y - 4), (x + 1.5, y - 4.5)], [finding.diameter_mm / 2] * 2, 70.0))
    return vessels


def _wavy(line: list[Spot], rng: np.random.Generator) -> list[Spot]:
    """The polyline made smooth (Catmull-Rom) and a little winding."""
    ends = np.asarray([line[0], *line, line[-1]], np.float64)
    points: list[Spot] = []
    for i in range(1, len(ends) - 2):
        a, b, c, d = ends[i - 1 : i + 3]
        for t in np.linspace(0, 1, 8, endpoint=False).tolist():
            spot = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            points.append((float(spot[0]) + float(rng.normal(0, 0.12)), float(spot[1]) + float(rng.normal(0, 0.12))))
    points.append(line[-1])
    return points


def bone_scan(
    shape: tuple[int, int], pixel: float, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Whole body from the front and from the back, counts; shape (2, rows, columns)."""
    views: list[Float] = []
    for view, facing in (("anterior", 1), ("posterior", -1)):
        film = Film(shape, pixel, (0.0, 0.0))
        _soft_body(film)
        spine = 1.0 if view == "posterior" else 0.55
        film.ellipse((0, -800), (78, 102), 40, 0.05)
        for level in range(18):
            film.ellipse((0, -640 + 30.0 * level), (18, 13), 16, 0.16 * spine)
        for number in range(10):
            top = -610 + 27.0 * number
            wide = 95 + 5.5 * number
            for side in (-1, 1):
                line = [
                    (side * (18 + wide * float(np.sin(a))), top + 26 * (1 - float(np.cos(a))))
                    for a in np.linspace(0, 1.5, 8)
                ]
                film.rod(line, 6, 0.13 if view == "posterior" else 0.10)
        if view == "anterior":
            film.rod([(0, -600), (0, -460)], 12, 0.16)
        for side in (-1, 1):
            film.rod([(side * 20, -650), (side * 150, -660)], 8, 0.12)
            film.ellipse((side * 172, -630), (28, 32), 24, 0.14)
            film.rod([(side * 176, -610), (side * 208, -330)], 12, 0.055)
            film.rod([(side * 210, -320), (side * 236, -70)], 10, 0.055)
            film.ellipse((side * 240, -30), (26, 46), 12, 0.08)
            film.ellipse((side * 70, -80), (60, 62), 26, 0.08)
            film.ellipse((side * 26, -70), (18, 46), 18, 0.16 * spine)
            film.ellipse((side * 108, -10), (26, 28), 24, 0.11)
            film.rod([(side * 108, 0), (side * 86, 400)], 17, 0.05)
            film.ellipse((side * 86, 420), (34, 36), 26, 0.10)
            film.rod([(side * 84, 440), (side * 78, 800)], 14, 0.05)
            film.ellipse((side * 80, 850), (30, 52), 20, 0.09)
            film.ellipse((side * 66, -250), (28, 50), 22, 0.10 if view == "posterior" else 0.05)
        film.ellipse((0, -30), (36, 28), 34, 0.30 if view == "anterior" else 0.14)
        for finding in findings:
            if finding.kind == "bone_metastases":
                for x, y in ((6, -520), (-112, -470), (60, -110), (-98, 90), (4, -250))[: finding.count]:
                    film.ellipse((x * facing, y), (18, 16), 18, 0.75)
        views.append(soften(film.loss, 3) * 2.0 + 0.05)
    return np.stack([counts(view, rng) for view in views])


def _soft_body(film: Film) -> None:
    film.ellipse((0, -800), (84, 112), 60, 0.008)
    film.ellipse((0, -400), (170, 330), 100, 0.012)
    for side in (-1, 1):
        film.rod([(side * 176, -640), (side * 214, -330), (side * 240, -30)], 36, 0.010)
        film.rod([(side * 92, -40), (side * 86, 420), (side * 80, 860)], 62, 0.010)


def renogram(
    shape: tuple[int, int], pixel: float, frames: int, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Dynamic kidney scan from the back, counts; shape (frames, rows, columns). Each frame stands for 20 s."""
    blocked = {finding.site for finding in findings if finding.kind == "obstruction"}
    out = np.empty((frames, *shape), np.uint16)
    for frame in range(frames):
        minute = (frame + 0.5) / 3
        film = Film(shape, pixel)
        film.ellipse((0, 0), (170, 190), 100, 0.010 * float(np.exp(-minute / 6)) + 0.004)
        film.ellipse((0, -150), (60, 60), 40, 0.12 * float(np.exp(-minute / 2)))
        film.ellipse((90, -90), (70, 56), 50, 0.03 * float(np.exp(-minute / 5)))
        film.rod([(0, -190), (0, 60)], 12, 0.30 * float(np.exp(-minute / 0.7)))
        for side, name in ((-1, "left"), (1, "right")):
            uptake = 1 - float(np.exp(-minute / 1.4))
            leaving = 0.0 if name in blocked else max(0.0, minute - 3.0)
            film.ellipse((side * 66, -20), (28, 52), 24, 0.26 * uptake * float(np.exp(-leaving / 3.2)), angle=side * 12)
            pelvis = 0.03 * minute if name in blocked else 0.10 * float(np.exp(-(((minute - 4.5) / 2) ** 2)))
            film.ellipse((side * 52, -16), (12, 18), 12, pelvis * 2)
        film.ellipse((0, 150), (38, 30), 30, 0.04 * max(0.0, minute - 2.5))
        out[frame] = counts(soften(film.loss, 4) * 6.0, rng)
    return out


def thyroid_scan(
    shape: tuple[int, int], pixel: float, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Static thyroid image, counts; shape (1, rows, columns)."""
    film = Film(shape, pixel)
    hot = [finding for finding in findings if finding.kind == "hot_nodule"]
    film.ellipse((0, 0), (70, 110), 60, 0.03)
    for side in (-1, 1):
        film.ellipse((side * 17, -4), (11, 25), 9, 0.5 if hot else 1.9, angle=side * 10)
        film.ellipse((side * 26, -78), (16, 12), 10, 0.5)
    film.rod([(-10, 10), (10, 10)], 6, 0.5)
    for finding in hot:
        side = -1 if finding.site == "right" else 1
        film.ellipse((side * 18, 4), (finding.diameter_mm / 2, finding.diameter_mm / 2), 10, 5.0)
    return counts(soften(film.loss, 3) * 4.0, rng)[None]
