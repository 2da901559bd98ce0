"""The chest and upper abdomen as a scanner sees them: HU for CT and, in a second channel, standardised uptake for PET.
x runs to the patient's left, y to the back, z to the head; 0 is the middle of the chest, in mm."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Canvas, Float, Point, Values, smooth_field

# Where a nodule of a lobe is put: inside the lobe, clear of the hilum and of the pleura.
LOBES: dict[str, Point] = {
    "right upper lobe": (-72.0, -20.0, 58.0),
    "right middle lobe": (-78.0, -52.0, -24.0),
    "right lower lobe": (-80.0, 38.0, -30.0),
    "left upper lobe": (72.0, -24.0, 52.0),
    "left lower lobe": (84.0, 40.0, -34.0),
}

_HU_SUV: dict[str, Values] = {
    "air": (-1000, 0.0),
    "fat": (-102, 0.25),
    "muscle": (52, 0.6),
    "lung": (-862, 0.35),
    "lung vessel": (25, 1.2),
    "fissure": (-640, 0.4),
    "mediastinum": (-62, 0.5),
    "vessel": (42, 1.6),
    "myocardium": (48, 2.6),
    "chamber": (40, 1.6),
    "gland": (28, 0.7),
    "airway": (-990, 0.1),
    "airway wall": (10, 0.5),
    "oesophagus": (38, 1.1),
    "liver": (58, 2.2),
    "spleen": (50, 1.8),
    "kidney": (34, 3.0),
    "kidney core": (5, 9.0),
    "stomach": (30, 1.3),
    "gas": (-960, 0.1),
    "bone": (520, 1.0),
    "marrow": (190, 1.5),
    "disc": (85, 0.7),
    "cord": (32, 1.3),
    "nodule": (38, 1.0),
    "avid nodule": (42, 9.5),
    "ground glass": (-610, 0.7),
    "consolidation": (22, 4.0),
    "fluid": (8, 0.4),
    "table": (-890, 0.0),
    "table shell": (-420, 0.0),
}
_CONTRAST: dict[str, float] = {
    "vessel": 265, "chamber": 280, "myocardium": 118, "lung vessel": 190, "liver": 96, "spleen": 128, "kidney": 165,
    "muscle": 62, "oesophagus": 60,
}  # fmt: skip

_CAVITY_Z = (-160.0, -120.0, -60.0, 0.0, 40.0, 75.0, 98.0, 112.0)
_CAVITY_RX = (128.0, 136.0, 138.0, 135.0, 124.0, 104.0, 78.0, 40.0)
_CAVITY_RY = (84.0, 90.0, 91.0, 89.0, 80.0, 66.0, 50.0, 26.0)


def thorax(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    center_z: float,
    female: bool,
    contrast: bool,
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> Canvas:
    """Paint a chest with the findings in their places.

    Returns
    -------
    Canvas
        Channel 0 in HU, channel 1 in SUV; plane 0 is the topmost.
    """
    palette = dict(_HU_SUV)
    if contrast:
        palette |= {name: (hu, _HU_SUV[name][1]) for name, hu in _CONTRAST.items()}
    canvas = Canvas(shape, spacing, palette, "air", (0.0, 8.0, center_z))
    build = float(rng.uniform(0.96, 1.04))
    # Findings draw from their own numbers: a follow-up that has more of them keeps the same heart and vessels.
    drawn = rng.spawn(1)[0]
    _wall(canvas, female, build)
    _lungs(canvas, rng)
    for finding in findings:
        _lung_finding(canvas, finding, drawn)
    _mediastinum(canvas, float(rng.uniform(0.94, 1.06)))
    _below_diaphragm(canvas)
    _great_vessels(canvas)
    _spine(canvas)
    _ribs(canvas)
    return canvas


def _wall(canvas: Canvas, female: bool, build: float) -> None:
    canvas.loft("table shell", (-900, 900), 0, 96, 225, 60, 2.4, below=134.0)
    canvas.loft("table", (-900, 900), 0, 96, 221, 56, 2.4, below=137.0)
    z = (-400.0, -200.0, -60.0, 40.0, 90.0, 130.0, 190.0)
    rx, ry = (166.0, 164.0, 170.0, 172.0, 174.0, 168.0, 120.0), (116.0, 118.0, 120.0, 116.0, 106.0, 94.0, 78.0)
    canvas.loft("fat", z, 0, 8, [r * build for r in rx], [r * build for r in ry], 2.5)
    if female:
        for side in (-1, 1):
            canvas.ellipsoid("fat", (side * 76, -106, -28), (56, 40, 50))
            canvas.ellipsoid("gland", (side * 78, -116, -30), (30, 20, 26), soft=9)
    thin = [r * build - 11 for r in rx], [r * build - 12 for r in ry]
    canvas.loft("muscle", z, 0, 9, thin[0], thin[1], 2.6)
    for side in (-1, 1):
        # Fat between the muscles of the back and below the pectorals, then the shoulder blade.
        canvas.tube("fat", [(side * 60, 101, 120), (side * 118, 74, 20)], (3.5, 2.0))
        canvas.tube("fat", [(side * 40, -88, 95), (side * 105, -72, 30)], (4.0, 1.5))
        blade: list[Point] = [(side * 86, 96, 118), (side * 104, 92, 70), (side * 112, 84, 20), (side * 96, 96, -10)]
        canvas.tube("bone", blade, (4.2, 3.6, 3.0, 2.0))
        canvas.tube("bone", [(side * 104, 92, 100), (side * 136, 62, 122)], 4.5)
        canvas.ellipsoid("bone", (side * 146, 22, 134), (22, 22, 20))
        canvas.ellipsoid("marrow", (side * 146, 22, 134), (18, 18, 16))
        canvas.tube("bone", [(side * 20, -78, 92), (side * 70, -74, 108), (side * 130, -20, 126)], 6.0)


def _lungs(canvas: Canvas, rng: np.random.Generator) -> None:
    canvas.loft("lung", _CAVITY_Z, 0, 4, _CAVITY_RX, _CAVITY_RY, 2.3)
    inside = canvas.voxels[0] < -700
    inside &= _cavity_box(canvas)
    # Gravity makes the lung at the back denser; the texture is that of the acini seen through thick planes.
    rows, columns = canvas.voxels.shape[2:]
    texture = smooth_field((rows, columns), (rows // 5, columns // 5), rng) * 14 + (canvas.y * 0.42)[:, None]
    for plane, lung in enumerate(inside):
        canvas.voxels[0, plane] += np.where(lung, np.roll(texture, 37 * plane, axis=1), 0)
    for side in (-1, 1):
        for start in _branches(side, rng):
            _grow(canvas, start[0], start[1], 4.6, 0, rng, side)
    _fissures(canvas)


def _cavity_box(canvas: Canvas) -> NDArray[np.bool_]:
    return (np.abs(canvas.x) < 140)[None, :] & (np.abs(canvas.y - 4) < 92)[:, None]


def _branches(side: int, rng: np.random.Generator) -> list[tuple[Point, Point]]:
    """Start and direction of the vessels that leave a hilum."""
    hilum = (side * 36.0, 12.0, 4.0)
    directions = [
        (0.6, -0.5, 0.75),
        (0.7, 0.35, 0.7),
        (0.85, -0.65, -0.15),
        (0.9, 0.35, 0.1),
        (0.55, 0.6, -0.75),
        (0.7, 0.0, -0.75),
    ]
    return [(hilum, (side * (x + rng.uniform(-0.1, 0.1)), y + rng.uniform(-0.1, 0.1), z)) for x, y, z in directions]


def _grow(
    canvas: Canvas, start: Point, direction: Point, radius: float, depth: int, rng: np.random.Generator, side: int
) -> None:
    """One vessel and, after it, the two it divides into, until they are too thin to be seen."""
    way = np.asarray(direction)
    way = way / np.linalg.norm(way)
    length = 21 * 0.92**depth * rng.uniform(0.85, 1.15)
    end = np.asarray(start) + way * length
    room = ((abs(end[0]) - 8) / 126) ** 2 + ((end[1] - 4) / 85) ** 2 + (max(0.0, end[2]) / 116) ** 2
    if room > 1 or end[0] * side < 14:
        return
    tip: Point = (float(end[0]), float(end[1]), float(end[2]))
    canvas.tube("lung vessel", [start, tip], (radius, radius * 0.82))
    if depth == 6 or radius < 1.1:
        return
    bend = rng.standard_normal(3)
    bend -= way * float(bend @ way)
    bend /= np.linalg.norm(bend)
    for sign, share in ((1, 0.80), (-1, 0.72)):
        turned = way + bend * sign * rng.uniform(0.3, 0.7)
        _grow(canvas, tip, (float(turned[0]), float(turned[1]), float(turned[2])), radius * share, depth + 1, rng, side)


def _fissures(canvas: Canvas) -> None:
    """The oblique fissures and, on the right, the horizontal one: sheets just dense enough to be found."""
    x, y = canvas.x[None, :], canvas.y[:, None]
    slope = y - np.float32(0.12) * np.abs(x)
    box = _cavity_box(canvas) & (np.abs(x) > 30)
    for plane, height in enumerate(canvas.z.tolist()):
        oblique = (slope - (8 - 0.72 * height)) / np.float32(1.24)
        near = box & (np.abs(oblique) < 4)
        level = abs(height - 8) < 8
        if level:
            near = box & (oblique < 4)
        there = np.nonzero(near & (canvas.voxels[0, plane] < -700))
        sheet = np.exp(-((oblique[there] / np.float32(1.1)) ** 2))
        if level:
            flat = height - 8 + np.float32(0.06) * canvas.x[there[1]]
            right = (canvas.x[there[1]] < 0) & (oblique[there] < 0)
            sheet = np.maximum(sheet, np.exp(-((flat / 2) ** 2)) * right * np.float32(0.5))
        canvas.voxels[0, plane][there] += sheet * 190


def _lung_finding(canvas: Canvas, finding: Finding, rng: np.random.Generator) -> None:
    if finding.kind in ("nodule", "avid_nodule"):
        center, radius = LOBES[finding.site], finding.diameter_mm / 2
        tissue = "avid nodule" if finding.kind == "avid_nodule" else "nodule"
        if finding.diameter_mm > 9:
            for _ in range(9):
                spike = rng.standard_normal(3)
                spike = spike / np.linalg.norm(spike) * radius * rng.uniform(1.25, 1.7)
                tip: Point = (center[0] + float(spike[0]), center[1] + float(spike[1]), center[2] + float(spike[2]))
                canvas.tube("ground glass", [center, tip], (radius * 0.45, 0.6))
        canvas.ellipsoid(tissue, center, (radius, radius, radius))
    elif finding.kind == "consolidation":
        x, y, z = LOBES[finding.site]
        for _ in range(60):
            spot = rng.standard_normal(3) * (13, 15, 13)
            size = float(rng.uniform(4, 11))
            place: Point = (x + float(spot[0]), y + float(spot[1]), z + float(spot[2]))
            canvas.ellipsoid("ground glass", place, (size * 1.25, size * 1.2, size), soft=6)
            canvas.ellipsoid("consolidation", place, (size, size * 0.9, size * 0.8), soft=6)
        canvas.tube("airway", [(x * 0.5, 10, 0), (x * 0.85, y * 0.7, z * 0.8), (x * 1.1, y, z)], (2.6, 2.0, 1.2))
    elif finding.kind == "effusion":
        side = -1 if finding.site == "right" else 1
        z = (-160.0, -110.0, -70.0, -30.0, 0.0)
        canvas.loft(
            "fluid", z, side * 78, (50, 56, 64, 72, 78), (56, 54, 50, 40, 18), (46, 40, 30, 20, 6), 2.4, below=30
        )


def _below_diaphragm(canvas: Canvas) -> None:
    canvas.ellipsoid("liver", (-62, 0, -142), (79, 86, 68))
    canvas.ellipsoid("liver", (10, -28, -150), (70, 50, 56))
    canvas.ellipsoid("mediastinum", (72, 4, -152), (66, 82, 66))
    canvas.ellipsoid("spleen", (98, 44, -156), (32, 42, 52), angle=-35)
    canvas.ellipsoid("stomach", (62, -18, -150), (40, 48, 58), angle=20)
    canvas.ellipsoid("gas", (64, -40, -140), (26, 20, 34))
    for side in (-1, 1):
        canvas.ellipsoid("mediastinum", (side * 62, 52, -250), (42, 40, 80))
        canvas.ellipsoid("kidney", (side * 62, 54, -250), (29, 27, 56))
        canvas.ellipsoid("kidney core", (side * 55, 52, -250), (13, 12, 32))
    canvas.ellipsoid("liver", (-66, -4, -214), (72, 78, 76))
    canvas.ellipsoid("mediastinum", (30, -20, -270), (108, 70, 70))
    for bowel in range(7):
        turn = bowel * 0.9
        place: Point = (28 + 62 * float(np.cos(turn)), -32 + 34 * float(np.sin(turn * 1.7)), -262 + 11.0 * (bowel % 3))
        canvas.ellipsoid("stomach", place, (22, 19, 24))
        canvas.ellipsoid("gas", (place[0], place[1] - 8, place[2]), (9, 6, 12))


def _mediastinum(canvas: Canvas, size: float) -> None:
    canvas.loft(
        "mediastinum",
        (-140, -90, -40, 0, 40, 80, 130),
        (22, 20, 14, 0, 0, 0, 0),
        (-8, -8, -10, -8, -4, 0, 0),
        (50, 48, 44, 34, 30, 34, 30),
        (84, 84, 82, 82, 80, 66, 48),
    )
    canvas.loft("mediastinum", (-160, 130), 0, 70, 30, 26)
    heart: Point = (26 * size, -22, -58)
    canvas.ellipsoid("mediastinum", heart, (66 * size, 54 * size, 56), angle=32)
    canvas.ellipsoid("myocardium", heart, (58 * size, 46 * size, 50), angle=32)
    canvas.ellipsoid("chamber", (46 * size, -10, -60), (28, 17, 33), angle=35)
    canvas.ellipsoid("chamber", (16, -44, -60), (34, 14, 34), angle=22)
    canvas.ellipsoid("chamber", (-26, -16, -50), (22, 26, 34))
    canvas.ellipsoid("chamber", (8, 22, -32), (32, 18, 24))
    arch: list[Point] = [
        (6, -16, -34),
        (-14, -24, -12),
        (-17, -24, 18),
        (-8, -14, 44),
        (10, 12, 52),
        (22, 38, 42),
        (24, 50, 14),
    ]
    canvas.tube("vessel", arch, (15, 16, 16, 14.5, 13.5, 12.5, 12))
    canvas.tube("vessel", [(-30, -12, -24), (-30, -14, 40), (-26, -18, 78)], (10, 9, 8))
    canvas.tube("vessel", [(14, -34, -20), (20, -28, 8), (30, 6, 14), (46, 12, 8)], (15, 14, 11, 8))
    canvas.tube("vessel", [(18, -24, 6), (-8, -4, 8), (-40, 8, 4)], (12, 11, 9))
    for side in (-1, 1):
        canvas.tube("vessel", [(side * 12, -16, 62), (side * 26, -4, 92), (side * 30, 4, 140)], (6.5, 6, 5))
        canvas.tube("vessel", [(side * 44, 14, 2), (side * 58, 22, -20)], (8, 5))
    for tissue, extra in (("airway wall", 1.6), ("airway", 0.0)):
        canvas.tube(tissue, [(0, 8, 150), (0, 14, 60), (2, 18, 22)], 8.6 + extra)
        canvas.tube(
            tissue, [(2, 18, 22), (-22, 22, 4), (-48, 22, -12), (-62, 30, -34)], (6.8 + extra, 6 + extra, 4, 2.6)
        )
        canvas.tube(
            tissue, [(2, 18, 22), (30, 24, 2), (52, 26, -14), (64, 34, -36)], (6.2 + extra, 5.4 + extra, 4, 2.6)
        )
    canvas.tube("oesophagus", [(4, 32, 150), (6, 36, 20), (10, 38, -70), (26, 22, -120)], 7.0)
    canvas.tube("gas", [(4, 31, 60), (6, 35, 10)], 2.0)


def _great_vessels(canvas: Canvas) -> None:
    """Aorta and inferior vena cava on their way down, in front of the spine."""
    canvas.tube("vessel", [(24, 50, 14), (22, 50, -60), (14, 50, -130), (8, 48, -330)], (12, 11.5, 11, 10))
    canvas.tube("vessel", [(-22, 10, -100), (-24, 20, -160), (-22, 36, -330)], (13, 12, 11))


def _spine(canvas: Canvas) -> None:
    canvas.loft("muscle", (-400, 150), 0, 92, 66, 24, 2.6)
    canvas.loft("bone", (-400, 150), 0, 64, 18.5, 15.5, 2.6)
    canvas.loft("marrow", (-400, 150), 0, 64, 16, 13, 2.6)
    for level in range(-18, 7):
        height = level * 22.0
        canvas.loft("disc", (height - 3, height + 3), 0, 64, 18.5, 15.5, 2.6)
        canvas.tube("bone", [(0, 94, height + 14), (0, 112, height)], (4.5, 3.0))
        for side in (-1, 1):
            canvas.tube("bone", [(side * 11, 76, height + 12), (side * 14, 88, height + 12), (0, 97, height + 12)], 4.0)
            canvas.tube("bone", [(side * 14, 86, height + 12), (side * 36, 92, height + 14)], (4.5, 3.0))
    canvas.loft("cord", (-400, 150), 0, 84, 8.5, 7.5)


def _ribs(canvas: Canvas) -> None:
    canvas.loft("bone", (-75, 78), 0, (-97, -92), 15, 5.5, 2.5)
    canvas.loft("marrow", (-75, 78), 0, (-97, -92), 12, 3.2, 2.5)
    for number in range(1, 13):
        top = 128 - 22.0 * number
        reach = 2.75 if number < 8 else 2.75 - 0.33 * (number - 7)
        for side in (-1, 1):
            line = [_rib_point(side, top, angle, number) for angle in np.linspace(0.0, reach, 9)]
            canvas.tube("bone", line, 5.2)
            canvas.tube("marrow", line, 3.2)


def _rib_point(side: int, top: float, angle: float, number: int) -> Point:
    """A point of a rib, `angle` radians forward from the spine, a little outside of the lung at its height."""
    height = top + 16 - 25 * angle - (6 if number > 6 else 0) * angle
    rx = float(np.interp(height, _CAVITY_Z, _CAVITY_RX)) + 7
    ry = float(np.interp(height, _CAVITY_Z, _CAVITY_RY)) + 7
    sin, cos = float(np.sin(angle)), float(np.cos(angle))
    x = side * max(rx * abs(sin) ** (2 / 2.3), 22 if angle < 0.5 else 14)
    return (x, 4 + ry * float(np.sign(cos)) * abs(cos) ** (2 / 2.3), height)


def pet_plane_blur(suv: Float) -> Float:
    """The uptake as a PET camera of about 7 mm resolution shows it: halved in the plane, then spread."""
    planes, rows, columns = suv.shape
    small = suv.reshape(planes, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    for axis in (1, 2, 2, 1):
        small = (np.roll(small, 1, axis) + 2 * small + np.roll(small, -1, axis)) / 4
    spread = small.copy()
    spread[1:] += small[:-1] * 0.4
    spread[:-1] += small[1:] * 0.4
    return (spread / 1.8).astype(np.float32)
