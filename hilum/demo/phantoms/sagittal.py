"""The knee and the lumbar spine for MR, painted in sagittal planes: here x runs to the back, y to the feet and z, the
stacking axis, to the patient's left; 0 is the middle of the joint or of L3, in mm."""

from collections.abc import Sequence

import numpy as np

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Canvas, Point, Values

_KNEE: dict[str, Values] = {
    # proton density, T2 with fat suppression
    "air": (10, 10),
    "fat": (1080, 190),
    "skin": (430, 260),
    "muscle": (520, 300),
    "cortex": (70, 60),
    "marrow": (960, 170),
    "cartilage": (720, 620),
    "fluid": (820, 1500),
    "meniscus": (110, 100),
    "tear": (640, 1050),
    "ligament": (150, 120),
    "vessel": (260, 900),
}
_SPINE: dict[str, Values] = {
    # T1, T2
    "air": (10, 10),
    "fat": (1150, 950),
    "muscle": (430, 280),
    "cortex": (110, 90),
    "marrow": (660, 480),
    "nucleus": (430, 1050),
    "dry nucleus": (400, 380),
    "annulus": (280, 210),
    "csf": (230, 1450),
    "cord": (520, 560),
    "root": (420, 520),
    "ligament": (140, 110),
    "vessel": (140, 110),
    "bowel": (420, 520),
}


def knee(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> Canvas:
    """Paint a right or left knee (the sides look alike). Channels: proton density, fat-suppressed T2."""
    canvas = Canvas(shape, spacing, _KNEE, "air")
    kinds = {finding.kind for finding in findings}
    for tissue, cut in (("skin", 0.0), ("fat", 1.8), ("muscle", 7.0)):
        canvas.tube(
            tissue,
            [(4, -140, 0), (8, -60, 0), (4, 0, 0), (8, 60, 0), (10, 140, 0)],
            [r - cut for r in (70, 64, 58, 54, 50)],
        )
    for _ in range(26):
        x, z = float(rng.uniform(24, 56)), float(rng.uniform(-36, 36))
        canvas.tube("fat", [(x, -90, z), (x * 0.8, -20, z)], (1.6, 1.0))
        canvas.tube("fat", [(x * 0.8, 24, z), (x, 100, z)], (1.0, 1.4))
    canvas.ellipsoid("fat", (30, -4, 0), (22, 30, 26), soft=4)
    canvas.tube("vessel", [(38, -110, 2), (36, 0, 2), (36, 110, 0)], 4.2)
    canvas.tube("muscle", [(-26, -120, 0), (-30, -56, 0)], (20, 14))
    if "joint_effusion" in kinds:
        canvas.ellipsoid("fluid", (-34, -54, 0), (8, 26, 26))
        canvas.ellipsoid("fluid", (36, 6, -18), (7, 14, 8))
    canvas.ellipsoid("fluid", (-24, -8, 0), (3, 18, 22))
    canvas.ellipsoid("fat", (-32, 14, 0), (13, 20, 22))
    _knee_bones(canvas)
    canvas.tube("ligament", [(-26, -130, 0), (-40, -60, 0)], (3.5, 4.5))
    canvas.tube("ligament", [(-45, -20, 0), (-42, 10, 0), (-26, 40, 0)], (3.4, 3.0, 3.2))
    canvas.tube("ligament", [(14, -12, -4), (2, 2, -2), (-10, 14, 0)], (3.6, 3.0, 3.4))
    canvas.tube("ligament", [(-2, -14, 3), (14, -8, 3), (26, 20, 2)], (3.8, 4.2, 3.4))
    for side in (-1, 1):
        middle = side * 20.0
        for front in (-1, 1):
            horn: Point = (front * 17.0 + 5, 3.2, middle)
            canvas.ellipsoid("meniscus", horn, (8.5, 3.8, 13))
        canvas.ellipsoid("cartilage", (5, 2.6, middle), (9, 1.4, 12))
    if "meniscal_tear" in kinds:
        canvas.tube("tear", [(15, 1.6, -20), (27, 5.4, -20)], (1.3, 1.0))
        canvas.tube("tear", [(17, 1.8, -15), (28, 5.2, -24)], (1.2, 0.9))
    return canvas


def _knee_bones(canvas: Canvas) -> None:
    for tissue, cut in (("cortex", 0.0), ("marrow", 1.7)):
        canvas.tube(tissue, [(2, -150, 0), (2, -66, 0), (2, -34, 0)], (16 - 2 * cut, 18 - cut, 28 - cut))
    for side in (-1, 1):
        place: Point = (6, -22, side * 21.0)
        canvas.ellipsoid("cartilage", place, (28, 25.5, 18))
    canvas.ellipsoid("cartilage", (-9, -26, 0), (18, 21, 26))
    for tissue, cut in (("cortex", 0.0), ("marrow", 1.4)):
        for side in (-1, 1):
            canvas.ellipsoid(tissue, (6, -22, side * 21.0), (25.4 - cut, 23 - cut, 16 - cut))
        canvas.ellipsoid(tissue, (-6, -28, 0), (18 - cut, 20 - cut, 24 - cut))
        canvas.tube(tissue, [(4, 17, 0), (4, 22, 0)], (10, 10))
        canvas.ellipsoid(tissue, (5, 19 + cut / 2, 0), (30 - cut, 13 - cut, 38 - cut))
        canvas.tube(tissue, [(2, 24, 0), (2, 60, 0), (4, 150, 0)], (24 - cut, 17 - 1.6 * cut, 14 - 2 * cut))
        canvas.tube(tissue, [(22, 34, 34), (24, 150, 32)], (8 - cut, 6 - cut))
        canvas.ellipsoid(tissue, (-42, -34, 0), (10 - cut, 19 - cut, 20 - cut), angle=8)
    canvas.ellipsoid("cartilage", (-32.5, -33, 0), (1.8, 15, 15))


def lumbar_spine(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> Canvas:
    """Paint T11 to the sacrum with its lordosis. Channels: T1, T2. A disc herniation is a finding with site L4/L5."""
    canvas = Canvas(shape, spacing, _SPINE, "fat", (0.0, 10.0, 0.0))
    canvas.voxels[:, :, :, canvas.x > 92] = 10
    levels = [(_lordosis(height), height) for height in (-142.0, -106.0, -71.0, -36.0, 0.0, 36.0, 71.0)]
    for side in (-1, 1):
        canvas.tube("muscle", [(62, -170, side * 26), (58, 0, side * 28), (70, 130, side * 24)], (21, 24, 22))
        canvas.tube("muscle", [(2, -60, side * 40), (0, 0, side * 42), (14, 130, side * 44)], (12, 20, 22))
    for _ in range(30):
        place: Point = (float(rng.uniform(-110, -44)), float(rng.uniform(-150, 150)), float(rng.uniform(-20, 20)))
        canvas.ellipsoid("bowel", place, (float(rng.uniform(9, 17)), float(rng.uniform(8, 13)), 22), soft=4)
    canvas.tube("vessel", [(-24, -170, 6), (-28, 0, 6), (-24, 56, 6)], 8.0)
    canal: list[Point] = [(_lordosis(float(y)) + 27, float(y), 0) for y in range(-175, 112, 14)]
    canvas.tube("fat", canal, 11.0)
    canvas.tube("csf", canal, [8.4 if point[1] < 70 else 6.2 for point in canal])
    canvas.tube("cord", [point for point in canal if point[1] < -66], 3.9)
    for root in range(7):
        line = [(x + 3.5, y, (root - 3) * 1.7) for x, y, _ in canal if y > -72]
        canvas.tube("root", line, 0.75)
    for x, y in levels:
        for tissue, cut in (("cortex", 0.0), ("marrow", 1.5)):
            canvas.loft(tissue, (-24 + cut, 24 - cut), x, y, 16.5 - cut, 14 - cut, 5.0)
        canvas.tube("marrow", [(x + 42, y + 8, 0), (x + 60, y + 14, 0)], (5.5, 5.0))
        canvas.tube("ligament", [(x + 40, y + 2, 0), (x + 40, y - 8, 0)], 1.6)
    herniated = {finding.site for finding in findings if finding.kind == "disc_herniation"}
    names = ("T11/T12", "T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5")
    for name, (x, y), (next_x, next_y) in zip(names, levels[:-1], levels[1:], strict=True):
        _disc(canvas, ((x + next_x) / 2, (y + next_y) / 2, 0), name in herniated)
    _sacrum(canvas, "L5/S1" in herniated)
    return canvas


def _lordosis(height: float) -> float:
    """How far in front of the straight line a vertebra at `height` mm lies."""
    return -10 * float(np.exp(-(((height - 45) / 75) ** 2))) + 4 * float(np.exp(-(((height + 130) / 50) ** 2)))


def _disc(canvas: Canvas, place: Point, herniated: bool) -> None:
    canvas.loft("annulus", (-23, 23), place[0], place[1], 16.8, 4.4, 3.0)
    canvas.loft("dry nucleus" if herniated else "nucleus", (-17, 17), place[0] + 0.5, place[1], 11, 2.9, 2.4)
    if herniated:
        canvas.ellipsoid("annulus", (place[0] + 18, place[1] + 1.5, 2), (7.0, 5.5, 9))
        canvas.ellipsoid("dry nucleus", (place[0] + 18, place[1] + 1.5, 2), (4.5, 3, 6))


def _sacrum(canvas: Canvas, herniated: bool) -> None:
    _disc(canvas, (-2, 91, 0), herniated)
    spots = ((8.0, 107.0, 15.0), (24.0, 127.0, 12.0), (40.0, 142.0, 10.0), (54.0, 154.0, 8.0))
    for tissue, cut in (("cortex", 0.0), ("marrow", 1.6)):
        for x, y, radius in spots:
            canvas.ellipsoid(tissue, (x, y, 0), (radius + 1 - cut, radius - cut, 26), angle=35)
