"""The head for CT (HU) and for MR (T1, T2 and FLAIR at once). x runs to the patient's left, y to the back, z to the
vertex; 0 is the middle of the brain, in mm. The folds of the cortex come from the valleys of band-limited noise."""

from collections.abc import Mapping, Sequence

import numpy as np

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Canvas, Float, Point, Values, smooth_field

CT_PALETTE: dict[str, Values] = {
    "air": (-1000,),
    "skin": (-10,),
    "muscle": (50,),
    "scalp fat": (-75,),
    "bone": (1150,),
    "diploe": (520,),
    "csf": (7,),
    "white": (27,),
    "grey": (38,),
    "basal": (37,),
    "thalamus": (35,),
    "brainstem": (30,),
    "vitreous": (8,),
    "orbit fat": (-85,),
    "sinus": (-960,),
    "blood": (68,),
    "oedema": (17,),
    "infarct": (15,),
    "lesion": (24,),
    "tumour": (42,),
    "necrosis": (16,),
    "choroid": (90,),
}
MR_PALETTE: dict[str, Values] = {
    # T1, T2, FLAIR
    "air": (12, 10, 10),
    "skin": (420, 420, 330),
    "muscle": (430, 260, 300),
    "scalp fat": (1150, 950, 640),
    "bone": (60, 45, 40),
    "diploe": (420, 260, 240),
    "csf": (170, 1450, 130),
    "white": (860, 430, 440),
    "grey": (600, 640, 590),
    "basal": (680, 520, 520),
    "thalamus": (720, 540, 530),
    "brainstem": (780, 500, 480),
    "vitreous": (180, 1500, 260),
    "orbit fat": (1120, 930, 620),
    "sinus": (15, 12, 12),
    "blood": (640, 330, 420),
    "oedema": (560, 980, 940),
    "infarct": (480, 1080, 980),
    "lesion": (540, 960, 1010),
    "tumour": (640, 780, 820),
    "necrosis": (330, 1250, 620),
    "choroid": (560, 800, 620),
}
# Where a lesion of a named site is put.
_SITES: dict[str, Point] = {
    "right frontal lobe": (-32, -44, 24),
    "left frontal lobe": (32, -44, 24),
    "right temporal lobe": (-50, -6, -16),
    "left temporal lobe": (50, -6, -16),
    "left parietal lobe": (38, 34, 30),
    "right parietal lobe": (-38, 34, 30),
    "right basal ganglia": (-25, -2, 4),
    "left basal ganglia": (25, -2, 4),
}
_DOME_Z = (-75.0, -55.0, -30.0, 0.0, 30.0, 50.0, 65.0, 76.0, 82.0)
_DOME_X = (50.0, 60.0, 68.0, 71.0, 68.0, 58.0, 43.0, 24.0, 5.0)
_DOME_Y = (70.0, 78.0, 86.0, 90.0, 87.0, 76.0, 58.0, 34.0, 8.0)
_SHIFT = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 5.0, 6.0, 6.0)


def head(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    palette: Mapping[str, Values],
    atrophy: float,
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> Canvas:
    """Paint a head; `atrophy` 0..1 widens ventricles and sulci. Channels are those of the palette, plane 0 on top."""
    canvas = Canvas(shape, spacing, palette, "air", (0.0, 0.0, 4.0))
    z = (-160.0, *_DOME_Z)
    for tissue, extra in (
        ("skin", 13.0),
        ("scalp fat", 11.0),
        ("bone", 7.0),
        ("diploe", 5.0),
        ("bone", 2.6),
        ("csf", 1.0),
    ):
        top = [height + extra * 0.8 if height > 40 else height for height in z]
        rx = [54 + extra, *(radius + extra for radius in _DOME_X)]
        ry = [74 + extra, *(radius + extra for radius in _DOME_Y)]
        canvas.loft(tissue, top, 0, [-6, *_SHIFT], rx, ry, 2.25)
    _brain(canvas, atrophy, rng)
    _deep_structures(canvas, atrophy)
    _skull_base(canvas)
    drawn = rng.spawn(1)[0]
    for finding in findings:
        _paint_finding(canvas, finding, drawn)
    return canvas


def _brain(canvas: Canvas, atrophy: float, rng: np.random.Generator) -> None:
    """White matter, a ribbon of grey and sulci that reach in from the surface, plane by plane."""
    planes, rows, columns = canvas.voxels.shape[1:]
    extents = ((planes * abs(canvas.spacing[0]), 17), (rows * canvas.edge, 5.2), (columns * canvas.edge, 5.2))
    knots = tuple(max(3, round(size / pitch)) for size, pitch in extents)
    folds = smooth_field((planes, rows, columns), knots, rng)
    values = {name: np.asarray(canvas.palette[name], np.float32) for name in ("white", "grey", "csf")}
    x, y = canvas.x[None, :], canvas.y[:, None]
    sulcus = 0.10 + 0.14 * atrophy
    for plane, height in enumerate(float(z) for z in canvas.z):
        rx, ry = float(np.interp(height, _DOME_Z, _DOME_X, 0, 0)), float(np.interp(height, _DOME_Z, _DOME_Y, 0, 0))
        if rx < 4 or height < -48:
            continue
        shift = float(np.interp(height, _DOME_Z, _SHIFT))
        rho = np.sqrt((np.abs(x) / rx) ** 2.25 + (np.abs(y - shift) / ry) ** 2.25)
        depth = (1 - rho) * rx
        # Near the vertex the plane cuts the cortex flat: more of it is grey.
        dome = max(0.0, (height - 35) * 0.35)
        valley = np.abs(folds[plane])
        reach = _ramp((20 + dome - depth) / 5)
        ribbon = np.maximum(_ramp((0.66 - valley) / 0.14) * _ramp((21 + dome - depth) / 4), _ramp((4.5 - depth) / 1.5))
        fluid = np.maximum(_ramp((sulcus - valley) / 0.09) * reach, _ramp((1.2 + 2.2 * atrophy - depth) / 1.2))
        gap = _ramp((1.6 + atrophy - np.abs(x)) / 1.4)
        if height < 30:
            gap = gap * (np.abs(y - shift) > 40)
        ribbon = np.maximum(ribbon, _ramp((5.5 - np.abs(x)) / 2) * (np.abs(y - shift) > (40 if height < 30 else 0)))
        inside = _ramp(depth / canvas.edge + 0.5)
        fluid = np.maximum(fluid, gap)
        mix = values["white"][:, None, None] + ribbon * (values["grey"] - values["white"])[:, None, None]
        mix = mix + fluid * (values["csf"][:, None, None] - mix)
        canvas.voxels[:, plane] += inside * (mix - canvas.voxels[:, plane])


def _ramp(field: Float) -> Float:
    return np.clip(field, 0, 1).astype(np.float32)


def _deep_structures(canvas: Canvas, atrophy: float) -> None:
    wide = 1 + 0.7 * atrophy
    for side in (-1, 1):
        canvas.ellipsoid("basal", (side * 27, -4, 4), (7, 18, 13), angle=side * 12)
        canvas.ellipsoid("thalamus", (side * 11.5, 14, 6), (9, 14, 10), angle=side * -18)
        canvas.ellipsoid("basal", (side * 14, -21, 10), (5.5, 9, 11), angle=side * 10)
        canvas.ellipsoid("grey", (side * 38, -2, 4), (2, 19, 14), angle=side * 6)
        canvas.tube(
            "csf", [(side * 60, -24, -8), (side * 44, -12, 0), (side * 44, 12, 6)], (3 * wide, 2 * wide, 1.5 * wide)
        )
        body: list[Point] = [
            (side * 8, -33, 8), (side * 9, -24, 17), (side * 10, -4, 24), (side * 13, 16, 24), (side * 22, 34, 14),
            (side * 27, 46, 8),
        ]  # fmt: skip
        canvas.tube("csf", body, [radius * wide for radius in (4.2, 4.6, 4.2, 4.4, 5.4, 3.0)])
        canvas.tube(
            "csf", [(side * 22, 34, 14), (side * 31, 14, -8), (side * 33, -4, -16)], [r * wide for r in (4.5, 2.6, 2)]
        )
        canvas.tube("choroid", [(side * 14, 20, 23), (side * 24, 34, 12)], (1.3, 2.2))
    canvas.tube("csf", [(0, -6, 2), (0, 18, 4)], 1.7 * wide)
    canvas.ellipsoid("white", (0, -39, 16), (15, 5.5, 10))
    canvas.ellipsoid("white", (0, 42, 16), (16, 6.5, 8))
    canvas.ellipsoid("csf", (0, 36, 0), (9, 7, 6))


def _skull_base(canvas: Canvas) -> None:
    """Posterior fossa, brainstem, petrous bones, orbits and sinuses."""
    canvas.loft("muscle", (-160, -52), 0, 0, 50, 68, 2.25)
    for side in (-1, 1):
        canvas.ellipsoid("grey", (side * 21, 48, -38), (27, 24, 22))
        canvas.ellipsoid("white", (side * 20, 44, -38), (16, 14, 12), soft=6)
    canvas.ellipsoid("grey", (0, 50, -38), (9, 20, 18))
    canvas.ellipsoid("csf", (0, 6, -16), (17, 12, 9))
    canvas.tube("brainstem", [(0, 10, -12), (0, 12, -32), (0, 20, -80)], (14, 14.5, 8))
    canvas.ellipsoid("csf", (0, 30, -34), (7, 5, 9))
    for side in (-1, 1):
        canvas.tube("bone", [(side * 16, 10, -46), (side * 40, 20, -48), (side * 60, 28, -50)], (6, 10, 12))
        for cell in range(6):
            canvas.ellipsoid(
                "sinus", (side * (50 + 3 * cell), 26 + 4 * (cell % 3), -48 - 3 * (cell % 2)), (2.6, 2.6, 3)
            )
        canvas.ellipsoid("orbit fat", (side * 31, -66, -42), (19, 24, 17))
        canvas.ellipsoid("bone", (side * 13, -62, -44), (2.5, 26, 18))
        canvas.ellipsoid("muscle", (side * 31, -60, -42), (2.4, 20, 2.4), angle=side * -18)
        canvas.ellipsoid("vitreous", (side * 32, -76, -42), (12, 12, 12))
    canvas.ellipsoid("sinus", (0, -68, -46), (10, 22, 18))
    canvas.ellipsoid("sinus", (0, -80, -18), (16, 5, 10))
    canvas.ellipsoid("sinus", (0, -30, -46), (13, 12, 9))


def _paint_finding(canvas: Canvas, finding: Finding, rng: np.random.Generator) -> None:
    radius = finding.diameter_mm / 2
    if finding.kind == "haemorrhage":
        place = _SITES[finding.site]
        canvas.ellipsoid("oedema", place, (radius * 1.45, radius * 1.6, radius * 1.3), soft=3)
        canvas.ellipsoid("blood", place, (radius, radius * 1.15, radius), angle=15)
    elif finding.kind == "subdural":
        side = -1 if finding.site.startswith("right") else 1
        _crescent(canvas, side, finding.diameter_mm)
    elif finding.kind == "infarct":
        x, y, z = _SITES[finding.site]
        for _ in range(16):
            spot = rng.standard_normal(3) * radius * 0.42
            place = (x + float(spot[0]), y + float(spot[1]), z + float(spot[2]))
            canvas.ellipsoid("infarct", place, (radius * 0.55, radius * 0.6, radius * 0.5), soft=5)
    elif finding.kind == "white_matter_lesions":
        _scatter_lesions(canvas, finding.count)
    elif finding.kind == "brain_tumour":
        x, y, z = _SITES[finding.site]
        canvas.ellipsoid("oedema", (x * 0.95, y + 3, z), (radius * 1.6, radius * 1.9, radius * 1.5), angle=25, soft=8)
        canvas.ellipsoid("tumour", (x, y, z), (radius, radius * 1.05, radius), angle=10, soft=1)
        canvas.ellipsoid("necrosis", (x + 1, y, z), (radius * 0.5, radius * 0.6, radius * 0.5), soft=2)


def _scatter_lesions(canvas: Canvas, count: int) -> None:
    """Lesions around the ventricles; the first n of a fixed sequence, so that a follow-up adds to its prior."""
    fixed = np.random.default_rng(20240229)
    for number in range(count):
        side = 1 if number % 2 else -1
        y = float(fixed.uniform(-38, 42))
        place: Point = (side * float(fixed.uniform(17, 30)), y, float(fixed.uniform(12, 34)))
        size = float(fixed.uniform(2.4, 5.0))
        canvas.ellipsoid("lesion", place, (size * 1.5, size, size * 1.3), angle=side * 20, soft=1)


def _crescent(canvas: Canvas, side: int, thickness: float) -> None:
    """Blood between skull and brain on one side, as thick as told in its middle."""
    blood = np.asarray(canvas.palette["blood"], np.float32)
    x, y = canvas.x[None, :] * side, canvas.y[:, None]
    for plane, height in enumerate(float(z) for z in canvas.z):
        if not -20 < height < 62:
            continue
        rx, ry = float(np.interp(height, _DOME_Z, _DOME_X)), float(np.interp(height, _DOME_Z, _DOME_Y))
        depth = (1 - np.sqrt((np.abs(x) / rx) ** 2.25 + (np.abs(y) / ry) ** 2.25)) * rx
        taper = thickness * np.sqrt(np.clip(1 - (y / 62) ** 2 - ((height - 20) / 45) ** 2, 0, 1))
        alpha = _ramp((taper - depth) / canvas.edge + 0.5) * _ramp(depth / canvas.edge + 1) * (x > 0) * (taper > 0.5)
        canvas.voxels[:, plane] += alpha * (blood[:, None, None] - canvas.voxels[:, plane])
