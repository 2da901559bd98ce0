"""The abdomen for CT, in HU, in the portal venous phase or without contrast. x runs to the patient's left, y to the
back, z to the head; 0 is the level of the renal hila, in mm."""

from collections.abc import Sequence

import numpy as np

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Canvas, Point, Values

_NATIVE: dict[str, Values] = {
    "air": (-1000,), "table": (-890,), "table shell": (-420,), "fat": (-104,), "muscle": (52,), "inner fat": (-98,),
    "liver": (57,), "liver vessel": (42,), "gallbladder": (9,), "spleen": (48,), "pancreas": (36,), "stomach": (32,),
    "content": (14,), "gas": (-940,), "wall": (40,), "kidney": (33,), "medulla": (31,), "pelvis": (6,), "vessel": (40,),
    "adrenal": (20,), "bone": (540,), "marrow": (185,), "disc": (85,), "cord": (28,), "cyst": (6,), "lesion": (38,),
    "rim": (50,), "stone": (980,), "lung": (-840,), "calcium": (620,),
}  # fmt: skip
_PORTAL: dict[str, Values] = {
    "liver": (108,), "liver vessel": (168,), "spleen": (124,), "pancreas": (98,), "wall": (86,), "kidney": (188,),
    "medulla": (168,), "vessel": (165,), "muscle": (64,), "adrenal": (70,), "lesion": (58,), "rim": (128,),
}  # fmt: skip
_SEGMENTS: dict[str, Point] = {
    "segment VII": (-92, 30, 62),
    "segment VI": (-98, 18, 22),
    "segment IV": (-34, -46, 48),
    "segment VIII": (-70, -14, 76),
    "segment II": (14, -52, 66),
}


def abdomen(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    contrast: bool,
    build: float,
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> Canvas:
    """Paint an abdomen; `build` 0.9..1.15 is how stout it is. One channel, HU; plane 0 on top."""
    palette = _NATIVE | (_PORTAL if contrast else {})
    canvas = Canvas(shape, spacing, palette, "air", (0.0, 6.0, 20.0))
    canvas.loft("table shell", (-900, 900), 0, 92, 225, 60, 2.4, below=130.0)
    canvas.loft("table", (-900, 900), 0, 92, 221, 56, 2.4, below=133.0)
    z = (-160.0, -60.0, 20.0, 140.0)
    rx, ry = (158.0, 160.0, 162.0, 160.0), (104.0, 108.0, 112.0, 114.0)
    canvas.loft("fat", z, 0, 2, [r * build for r in rx], [r * build for r in ry], 2.5)
    canvas.loft("muscle", z, 0, 12, [142, 142, 143, 143], [86, 90, 94, 96], 2.5)
    canvas.loft("inner fat", z, 0, -2, [131, 131, 132, 133], [72, 78, 84, 88], 2.4)
    canvas.loft("muscle", z, 0, 88, 88, 22, 2.8)
    canvas.loft("fat", z, 0, 104, 5, 10, 2.0)
    for side in (-1, 1):
        canvas.loft("muscle", (-160, -40, 40), side * 36, [58, 62, 66], [25, 22, 9], [22, 20, 10])
    _bowel(canvas, rng)
    _organs(canvas, rng)
    for finding in findings:
        _paint_finding(canvas, finding)
    _spine(canvas)
    for number in range(5):
        for side in (-1, 1):
            line = [
                (side * 134 * float(np.sin(a)), 6 + 86 * float(np.cos(a)), 112 - 24 * number - 26 * float(a))
                for a in np.linspace(0.35, 2.3 - 0.35 * number, 11)
            ]
            canvas.tube("bone", line, 5.0)
            canvas.tube("marrow", line, 3.0)
    return canvas


def _organs(canvas: Canvas, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        canvas.ellipsoid("lung", (side * 84, 34, 122), (46, 52, 34))
    canvas.ellipsoid("liver", (-68, 0, 52), (66, 80, 78), angle=8)
    canvas.ellipsoid("liver", (-88, 14, 6), (40, 52, 62))
    canvas.ellipsoid("liver", (8, -46, 66), (66, 30, 40), angle=-8)
    trunk: Point = (-34, 0, 42)
    for tip in ((-98, 24, 66), (-96, -8, 52), (-60, -44, 60), (20, -46, 68), (-92, 26, 20), (-62, 20, 90)):
        bend: Point = ((trunk[0] + tip[0]) / 2, (trunk[1] + tip[1]) / 2 - 6, (trunk[2] + tip[2]) / 2 + 4)
        canvas.tube("liver vessel", [trunk, bend, tip], (5.2, 3.8, 1.6))
        side_tip: Point = (tip[0] + float(rng.uniform(-14, 14)), tip[1] + float(rng.uniform(-16, 16)), tip[2] + 8)
        canvas.tube("liver vessel", [bend, side_tip], (2.6, 1.2))
    for tip in ((-84, 30, 84), (-60, -22, 92), (6, -34, 86)):
        canvas.tube("liver vessel", [(-22, 28, 98), tip], (4.6, 1.8))
    canvas.tube("vessel", [(-34, 0, 42), (-14, 4, 28), (0, 2, 12), (44, 24, 36), (86, 36, 52)], (6.5, 6.5, 6, 4, 3))
    canvas.ellipsoid("gallbladder", (-48, -48, 14), (14, 20, 26), angle=25)
    canvas.ellipsoid("spleen", (96, 40, 60), (26, 42, 46), angle=-38)
    canvas.ellipsoid("wall", (56, -34, 70), (44, 36, 46), angle=25)
    canvas.ellipsoid("content", (56, -34, 70), (38, 31, 41), angle=25)
    canvas.ellipsoid("gas", (54, -54, 74), (25, 13, 30), angle=15)
    canvas.tube(
        "pancreas", [(-26, -8, 6), (-10, -18, 18), (20, -10, 30), (52, 14, 38), (76, 28, 44)], (13, 10, 9, 9, 7)
    )
    canvas.tube("wall", [(-40, -14, 30), (-46, 4, 2), (-30, 12, -24), (6, 10, -30), (30, -4, -18)], 11.5)
    canvas.tube("content", [(-40, -14, 30), (-46, 4, 2), (-30, 12, -24), (6, 10, -30)], 7.5)
    for side in (-1, 1):
        hilum = 0.0 if side > 0 else -10.0
        canvas.ellipsoid("kidney", (side * 66, 46, hilum), (28, 26, 54), angle=side * 28)
        canvas.ellipsoid("medulla", (side * 63, 44, hilum), (19, 17, 42), angle=side * 28, soft=3)
        canvas.ellipsoid("inner fat", (side * 54, 38, hilum), (13, 10, 24), angle=side * 28, soft=2)
        canvas.ellipsoid("pelvis", (side * 50, 36, hilum), (9, 6, 14), angle=side * 28)
        canvas.tube(
            "pelvis", [(side * 46, 36, hilum - 6), (side * 38, 40, -50), (side * 38, 40, -160)], (3.5, 2.4, 2.2)
        )
        canvas.tube("vessel", [(side * 48, 36, hilum), (side * 8, 28, 6)], (4.2, 5))
        canvas.tube("adrenal", [(side * 40, 38, 66), (side * 46, 52, 58)], (3.4, 2.2))
    canvas.tube("vessel", [(14, 40, 160), (9, 40, 40), (6, 38, -160)], (11.5, 10.5, 9.5))
    canvas.tube("vessel", [(-22, 26, 130), (-24, 32, 40), (-22, 36, -160)], (13, 12.5, 11.5))
    canvas.tube("vessel", [(8, 30, 22), (6, 8, 10), (6, -2, -60)], (5, 4.4, 3.4))
    canvas.tube("vessel", [(-6, 2, 14), (-8, -4, -60)], (6.0, 5.0))


def _bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        colon: list[Point] = [(side * 112, 16, 40 if side > 0 else 0), (side * 114, 22, -60), (side * 108, 20, -160)]
        canvas.tube("wall", colon, 18.5)
        canvas.tube("content", colon, 15.5)
        canvas.tube("gas", [(x, y - 6, z) for x, y, z in colon], (5.0, 9.0, 7.0))
    transverse: list[Point] = [(-100, -30, 0), (-40, -66, -16), (20, -70, -8), (84, -48, 24)]
    canvas.tube("wall", transverse, 18.0)
    canvas.tube("content", transverse, 15.0)
    canvas.tube("gas", [(x, y - 5, z) for x, y, z in transverse], (6.0, 9.0, 4.0, 9.0))
    for number in range(46):
        x, y = float(rng.uniform(-82, 88)), float(rng.uniform(-58, 8))
        loop: Point = (x, y, float(rng.uniform(-130, -22)))
        if number >= 34:
            loop = (float(rng.uniform(20, 90)), y, float(rng.uniform(-30, 40)))
            x = loop[0]
        tip: Point = (
            x + float(rng.uniform(-26, 26)),
            y + float(rng.uniform(-14, 14)),
            loop[2] + float(rng.uniform(-14, 14)),
        )
        canvas.tube("wall", [loop, tip], 12.0)
        canvas.tube("content", [loop, tip], 9.4)
    for _ in range(40):
        start: Point = (float(rng.uniform(-60, 60)), float(rng.uniform(-50, 10)), float(rng.uniform(-120, -10)))
        end: Point = (start[0] * 1.3, start[1] - 10, start[2] - 12)
        canvas.tube("vessel", [start, end], (1.5, 0.8))


def _paint_finding(canvas: Canvas, finding: Finding) -> None:
    radius = finding.diameter_mm / 2
    side = -1 if finding.site.startswith("right") else 1
    if finding.kind == "liver_lesion":
        place = _SEGMENTS[finding.site]
        canvas.ellipsoid("rim", place, (radius * 1.15, radius * 1.15, radius * 1.15), soft=1)
        canvas.ellipsoid("lesion", place, (radius, radius, radius), soft=1)
    elif finding.kind == "liver_cyst":
        canvas.ellipsoid("cyst", _SEGMENTS[finding.site], (radius, radius, radius))
    elif finding.kind == "renal_stone":
        canvas.ellipsoid("stone", (side * 52, 37, -4), (radius, radius, radius))
    elif finding.kind == "renal_cyst":
        canvas.ellipsoid("cyst", (side * 84, 56, 22 if side > 0 else 12), (radius, radius, radius))


def _spine(canvas: Canvas) -> None:
    canvas.loft("bone", (-160, 160), 0, 66, 23.5, 17.5, 2.6)
    canvas.loft("marrow", (-160, 160), 0, 66, 21, 15, 2.6)
    for level in range(-4, 5):
        height = level * 34.0
        canvas.loft("disc", (height - 5, height + 5), 0, 66, 23.5, 17.5, 2.6)
        canvas.tube("bone", [(0, 100, height + 18), (0, 120, height + 8)], (4.0, 3.5))
        for side in (-1, 1):
            canvas.tube(
                "bone", [(side * 15, 80, height + 20), (side * 17, 94, height + 16), (0, 104, height + 14)], 4.2
            )
            canvas.tube("bone", [(side * 17, 90, height + 20), (side * 44, 92, height + 20)], (4.5, 2.5))
    canvas.loft("cord", (-160, 160), 0, 90, 10.5, 8.5)
    canvas.tube("calcium", [(14, 33, -30), (12, 31, -38)], 1.4)
