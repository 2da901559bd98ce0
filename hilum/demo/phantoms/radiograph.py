"""Chest radiographs, mammograms and the barium swallow: projections drawn on a film in mm."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Float, fractal_field, smooth_field
from hilum.demo.phantoms.film import Film, Spot, branch, soften

# Where a nodule or an opacity of a lobe projects on a frontal film: the patient's right is on the left.
_FRONTAL: dict[str, Spot] = {
    "right upper lobe": (-72, -88),
    "right middle lobe": (-70, 22),
    "right lower lobe": (-84, 44),
    "left upper lobe": (74, -84),
    "left lower lobe": (92, 42),
}


def _profile(film: Film, heights: Sequence[float], values: Sequence[float]) -> Float:
    """A rounded outline: `values` mm at `heights` of the film, one number a row."""
    line = np.interp(film.y, heights, values).astype(np.float32)
    reach = max(1, round(14 / film.pixel))
    for _ in range(2):
        total = np.concatenate([np.zeros(1), np.cumsum(np.pad(line, reach, mode="edge"), dtype=np.float64)])
        line = ((total[2 * reach :] - total[: -2 * reach]) / (2 * reach))[: len(film.y)].astype(np.float32)
    return line


def chest_frontal(
    shape: tuple[int, int],
    pixel: float,
    female: bool,
    marker: str,
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """A frontal chest film, 12 bits, dense is bright (for MONOCHROME2)."""
    film = Film(shape, pixel, (0.0, -8.0))
    kinds = {finding.kind: finding for finding in findings}
    x, y = film.x[None, :], film.y[:, None]
    half = _profile(film, (-230, -190, -150, -110, -40, 60, 200), (58, 62, 150, 178, 172, 164, 166))
    body = np.sqrt(np.clip(1 - (np.abs(x) / half[:, None]) ** 2.6, 0, None))
    film.loss += body * _profile(film, (-230, -150, -60, 200), (105, 150, 205, 225))[:, None]
    if female:
        for side in (-1, 1):
            film.ellipse((side * 82, 62), (62, 56), 22)
    heart_size = 1.32 if "cardiomegaly" in kinds else 1.0
    _lung_fields(film, x, y, kinds.get("pneumothorax"), rng)
    _heart(film, heart_size)
    for finding in findings:
        _opacity(film, finding, rng)
    _skeleton(film)
    film.loss += smooth_field(shape, (shape[0] // 40, shape[1] // 40), rng) * 0.8
    film.letters(marker, (-150 if marker == "R" else 138, -160), 2.2, 320)
    return _develop(film.loss, body, rng)


def _lung_fields(film: Film, x: Float, y: Float, pneumothorax: Finding | None, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        base = (62 if side < 0 else 72) - 22 * np.exp(-(((x - side * 66) / 44) ** 2)) + np.abs(x) * 0.16
        outer = _profile(film, (-160, -135, -90, -30, 60, 110), (30, 72, 106, 124, 134, 136))
        inner = _profile(film, (-160, -120, -60, 0, 60, 110), (16, 10, 8, 8, 10, 12))
        middle, width = (outer + inner) / 2, (outer - inner) / 2
        across = np.clip(1 - (np.abs(x * side - middle[:, None]) / width[:, None]) ** 2.4, 0, None)
        floor = np.clip((base - y) / 16, 0, 1) * np.clip((y + 158 - ((np.abs(x) - 40) / 7.5) ** 2) / 16, 0, 1)
        air = np.sqrt(across) * np.sqrt(floor)
        film.loss -= air * np.float32(128)
        lost = pneumothorax is not None and (pneumothorax.site == "right") == (side < 0)
        rim = 1.0
        if lost:
            # Air between chest wall and lung: no vessels there, and the thin line of the pleura.
            edge = x * side - (middle + width * 0.52)[:, None] + (y + 60) * np.float32(0.12)
            film.loss -= air * np.float32(16) * np.clip(edge / 3 + 0.5, 0, 1)
            film.loss += air * np.float32(9) * np.exp(-((edge / 0.8) ** 2))
            rim = 0.62

        def vessel(points: list[Spot], radius: float, side: int = side, rim: float = rim) -> None:
            tip = points[-1]
            if tip[0] * side > 16 and abs(tip[0]) < 128 * rim and -140 < tip[1] < 80:
                film.rod(points, radius, 1.7)

        for heading in (-1.25, -0.75, -0.25, 0.15, 0.55, 0.95, 1.3):
            turn = heading if side > 0 else np.pi - heading
            branch(
                film, (side * 36.0, -18.0 + 10 * heading), turn + float(rng.normal(0, 0.08)), 27, 3.4, 4, rng, vessel
            )
        film.ellipse((side * 34, -16), (13, 22), 9, 1.6)


def _heart(film: Film, size: float) -> None:
    film.ellipse((20 * size, 34), (60 * size, 44 * size), 44, 0.82, angle=30)
    film.ellipse((-24, 28), (24 * size, 42), 24, 0.62)
    film.ellipse((0, -50), (29, 150), 17, 0.62)
    film.ellipse((22, -64), (17, 16), 13, 1.05)
    film.rod([(28, -58), (26, 10), (16, 80)], 10, 0.5)
    film.rod([(0, -200), (-1, -120), (2, -58)], 8, -1.5)
    film.rod([(2, -58), (-20, -36), (-36, -24)], 5.5, -1.0)
    film.rod([(2, -58), (24, -38), (42, -24)], 5.0, -1.0)
    # Gas under the left dome: the stomach.
    film.ellipse((66, 98), (30, 17), 26, -1.1)


def _opacity(film: Film, finding: Finding, rng: np.random.Generator) -> None:
    if finding.kind == "nodule":
        radius = finding.diameter_mm / 2
        film.ellipse(_FRONTAL[finding.site], (radius, radius), radius + 8, 1.9)
    elif finding.kind == "consolidation":
        x, y = _FRONTAL[finding.site]
        for _ in range(70):
            spot = (x + float(rng.normal(0, 15)), y + float(rng.normal(0, 14)))
            film.ellipse(spot, (float(rng.uniform(7, 15)), float(rng.uniform(6, 13))), 4, 1.0)
    elif finding.kind == "effusion":
        side = -1 if finding.site == "right" else 1
        outward = film.x[None, :] * side
        level = 52 - np.clip(outward - 40, 0, None) ** 1.5 * 0.055
        fluid = np.clip((film.y[:, None] - level) / 12, 0, 1) * np.clip((outward - 14) / 20, 0, 1)
        film.loss += (
            fluid * np.clip((134 - outward) / 8, 0, 1) * np.clip((125 - film.y[:, None]) / 60, 0, 1) * np.float32(88)
        )


def _skeleton(film: Film) -> None:
    for level in range(-9, 8):
        center = level * 24.0
        film.ellipse((0, center), (19, 10.5), 16, 0.9)
        film.rod([(-17, center - 9), (17, center - 9)], 2.0, 1.4)
        for side in (-1, 1):
            film.ellipse((side * 10, center - 3), (3.4, 5), 4, 1.6)
    for number in range(1, 11):
        top = -164 + 23.5 * number
        width = float(np.interp(top, (-160, -110, -40, 60), (64, 104, 128, 140)))
        for side in (-1, 1):
            back = [
                (
                    side * (16 + (width - 16) * float(np.sin(a))),
                    top + 30 * (1 - float(np.cos(a))) ** 1.2 - 6 * float(np.sin(2 * a)),
                )
                for a in np.linspace(0, np.pi / 2, 13)
            ]
            film.rod(back, 6.2, 1.15, hollow=4.7)
            if number < 8:
                end = width * (0.3 + 0.03 * number)
                front = [
                    (side * (end + (width - end) * float(np.sin(a))), top + 30 + 40 * float(np.cos(a)) ** 1.1)
                    for a in np.linspace(np.pi / 2, 0.1, 11)
                ]
                film.rod(front, 6.4, 0.75, hollow=5.0)
    for side in (-1, 1):
        film.rod([(side * 14, -116), (side * 60, -134), (side * 104, -140), (side * 146, -150)], 6.0, 1.3, hollow=4.4)
        film.rod([(side * 150, -140), (side * 136, -90), (side * 126, -30), (side * 112, 6)], 4.2, 1.1, hollow=2.4)
        film.rod([(side * 92, -128), (side * 100, -60), (side * 112, 6)], 2.4, 0.7)
        film.ellipse((side * 166, -146), (24, 26), 22, 0.8)
        film.rod([(side * 170, -140), (side * 182, 0), (side * 184, 60)], 12, 1.1, hollow=8.0)


def _develop(loss: Float, body: Float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Losses to grey values: scatter lifts the dark, a curve as of a film, quantum noise in the dense parts."""
    wide = loss[::8, ::8]
    wide = soften(wide, 60)
    scatter = np.repeat(np.repeat(wide, 8, axis=0), 8, axis=1)[: loss.shape[0], : loss.shape[1]]
    level = loss * np.float32(0.92) - soften(scatter, 2) * np.float32(0.28)
    noise: Float = rng.standard_normal(loss.shape, dtype=np.float32)
    level += soften(noise, 1) * (1.6 + np.clip(loss, 0, None) * np.float32(0.010))
    shown = 1 / (1 + np.exp(-(level - 78) / np.float32(34)))
    grey = 90 + 3780 * shown * np.clip(body * 6 + (loss > 300), 0, 1)
    return np.clip(grey, 0, 4095).astype(np.uint16)


def chest_lateral(shape: tuple[int, int], pixel: float, rng: np.random.Generator) -> NDArray[np.uint16]:
    """A left lateral chest film, 12 bits, dense is bright; the spine is on the right."""
    film = Film(shape, pixel, (0.0, -8.0))
    x, y = film.x[None, :], film.y[:, None]
    half = _profile(film, (-230, -190, -150, -60, 60, 200), (50, 56, 96, 122, 128, 122))
    middle = _profile(film, (-230, -150, 0, 200), (6, 6, 0, 0))
    body = np.sqrt(np.clip(1 - (np.abs(x - middle[:, None]) / half[:, None]) ** 2.6, 0, None))
    film.loss += body * _profile(film, (-230, -120, 200), (240, 300, 320))[:, None]
    front = _profile(film, (-150, -110, -20, 60, 120), (-20, -66, -92, -96, -92))[:, None]
    back = _profile(film, (-150, -110, -20, 60, 120), (52, 78, 96, 96, 90))[:, None]
    across = np.clip(1 - (np.abs(x - (front + back) / 2) / ((back - front) / 2)) ** 2.4, 0, None)
    for shift in (0.0, 12.0):
        base = 44 + shift + 0.36 * (x + 60) - 10 * np.cos((x + 10) / 46)
        air = np.sqrt(across) * np.sqrt(np.clip((base - y) / 14, 0, 1) * np.clip((y + 150) / 20, 0, 1))
        film.loss -= air * np.float32(104)
    film.ellipse((-34, 26), (56, 40), 52, 1.0, angle=-30)
    film.ellipse((10, -50), (16, 92), 13, 1.0)
    film.rod([(4, -200), (10, -110), (16, -48)], 7.5, -1.6)
    for level in range(-9, 8):
        center = level * 24.0
        place = 66 + 10 * float(np.cos(center / 70))
        film.ellipse((place, center), (16, 10.5), 22, 1.0)
        film.rod([(place - 14, center - 9), (place + 14, center - 9)], 1.8, 1.8)
        film.rod([(place + 20, center), (place + 40, center + 14)], 4, 1.0)
    for number in range(10):
        top = -138 + 22.0 * number
        for shift in (0.0, 7.0):
            line = [
                (94 - 176 * t, top + shift + 62 * t + 10 * float(np.sin(3 * t)))
                for t in np.linspace(0, 0.9, 8).tolist()
            ]
            film.rod(line, 5.6, 0.75, hollow=4.3)
    film.rod([(-92, -96), (-104, -20), (-100, 40)], 6.5, 1.1, hollow=4.6)
    film.letters("L", (-150, -160), 2.2, 420)
    film.loss *= np.float32(0.74)
    return _develop(film.loss, body, rng)


def mammogram(
    shape: tuple[int, int],
    pixel: float,
    laterality: str,
    view: str,
    density: float,
    findings: Sequence[Finding],
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """One mammogram, 12 bits, dense is bright; a left breast has the chest wall at the left edge of the image.

    Parameters
    ----------
    density : 0 (fatty) .. 1 (extremely dense)
    findings : masses and calcifications of this side only
    """
    rows, columns = shape
    film = Film(shape, pixel, ((columns - 1) / 2 * pixel, 0.0))
    x, y = film.x[None, :], film.y[:, None]
    reach, tall = 0.72 * columns * pixel, 0.43 * rows * pixel
    nipple: Spot = (reach, 6.0 if view == "CC" else 22.0)
    lean = (y - nipple[1]) / tall
    rho = np.sqrt((x / reach) ** 2 + np.abs(lean) ** 2.2)
    breast = np.clip((1 - rho) * reach / 9, 0, 1)
    film.loss += np.sqrt(breast) * 34
    clouds = fractal_field(shape, 5, 5, rng, 0.62)
    cone = np.clip(1.05 - np.hypot((x - reach * 0.52) / (reach * 0.46), lean * 1.35), 0, 1)
    film.loss += breast * cone * np.clip(clouds * 9 + 5 + 26 * density, 0, None) * (0.55 + 0.5 * density)
    film.loss += breast * smooth_field(shape, (96, 72), rng) * 1.3

    def duct(points: list[Spot], radius: float) -> None:
        film.rod(points, radius, 1.1)

    for heading in np.linspace(2.35, 3.95, 8).tolist():
        branch(film, (nipple[0] - 4, nipple[1]), heading, reach * 0.24, 0.9, 2, rng, duct)
    for heading in np.linspace(2.5, 3.8, 3).tolist():
        branch(film, (reach * 0.9, nipple[1] + 30 * (heading - 3.1)), heading, reach * 0.34, 1.3, 1, rng, duct)
    film.ellipse((nipple[0] + 1.5, nipple[1]), (5, 6), 7, 1.2)
    film.loss += 13 * np.exp(-((((1 - rho) * reach - 1.2) / 1.1) ** 2))
    if view == "MLO":
        edge = (tall * 1.15 + y * -1.0) * 0.42 - 16 - x
        film.loss += np.clip(edge / 6, 0, 1) * (breast > 0) * 34
    for finding in findings:
        _breast_finding(film, finding, reach, rng)
    inside = breast > 0
    film.loss += rng.standard_normal(shape, dtype=np.float32) * (0.5 + 0.6 * inside)
    grey = np.where(
        inside | (film.loss > 6), 3600 / (1 + np.exp(-(film.loss - 52) / np.float32(15))) + 330, 40 + film.loss
    )
    film.loss = grey.astype(np.float32)
    if laterality == "R":
        film.loss = np.ascontiguousarray(film.loss[:, ::-1])
    corner = columns * pixel * (0.78 if laterality == "L" else 0.06)
    film.letters(f"{laterality} {view}", (corner, -rows * pixel * 0.46), 1.1, 3700)
    return np.clip(film.loss, 0, 4095).astype(np.uint16)


def _breast_finding(film: Film, finding: Finding, reach: float, rng: np.random.Generator) -> None:
    place: Spot = (reach * 0.48, -16.0)
    if finding.kind == "breast_mass":
        radius = finding.diameter_mm / 2
        film.ellipse(place, (radius, radius * 0.9), radius, 3.4)
        for turn in np.linspace(0, 2 * np.pi, 15)[:-1].tolist():
            long = radius * float(rng.uniform(1.4, 2.1))
            tip = (place[0] + long * float(np.cos(turn)), place[1] + long * float(np.sin(turn)))
            film.rod([place, tip], 0.5, 6.0)
    elif finding.kind == "calcifications":
        for _ in range(finding.count):
            spot = (place[0] + float(rng.normal(0, 4)), place[1] + float(rng.normal(0, 3)))
            film.ellipse(spot, (0.45, 0.4), 0.4, 46)


def swallow(
    shape: tuple[int, int], pixel: float, frames: int, findings: Sequence[Finding], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A barium swallow, oblique: a bolus on its way down the gullet into the stomach, 8 bits, barium dark.

    Returns
    -------
    ndarray of shape (frames, rows, columns)
    """
    still = Film(shape, pixel)
    y = still.y[:, None]
    for level in range(-6, 7):
        center = level * 25.0
        still.ellipse((26, center), (21, 11), 17, 0.55)
        still.rod([(8, center - 10), (44, center - 10)], 1.6, 1.0)
    for number in range(9):
        top = -150 + 30.0 * number
        for side in (-1, 1):
            still.rod(
                [(26 + side * 22, top), (26 + side * 80, top + 12), (26 + side * 140, top + 46)], 6, 0.5, hollow=4.6
            )
    still.ellipse((-40, 20), (72, 62), 60, 0.36, angle=20)
    still.loss += 24 * np.clip((y - 78) / 14, 0, 1) + fractal_field(shape, 6, 4, rng) * 2.2
    stricture = any(finding.kind == "stricture" for finding in findings)
    hernia = any(finding.kind == "hiatal_hernia" for finding in findings)
    out = np.empty((frames, *shape), np.uint8)
    for frame in range(frames):
        film = Film(shape, pixel)
        head = -140 + 290 * (frame + 1) / frames
        for top in np.arange(-140, min(head, 108), 4.0).tolist():
            behind = head - top
            width = 3.2 + 8.5 * float(np.exp(-(((behind - 34) / 30) ** 2)))
            if stricture:
                width *= 1 - 0.78 * float(np.exp(-(((top - 44) / 12) ** 2)))
                width *= 1 + 0.5 * float(np.exp(-(((top - 4) / 24) ** 2)))
            line = [(-4 + 6 * float(np.sin(t / 38)), t) for t in (top, top + 4)]
            film.rod(line, width, 0.9)
        filled = float(np.clip((head - 60) / 80, 0, 1))
        if filled:
            film.ellipse((38, 128), (46 * filled, 27 * filled), 24 * filled, 1.2, angle=-18)
            if hernia:
                film.ellipse((2, 74), (24 * filled, 18 * filled), 17 * filled, 1.1)
        # Successive pieces overlap: what the barium takes away is bounded.
        barium = 62 * (1 - np.exp(-film.loss / 18))
        noise: Float = rng.standard_normal(shape, dtype=np.float32)
        level = still.loss * 1.25 + barium + soften(noise, 1) * 3.2
        image = 238 * np.exp(-level / np.float32(62))
        edge = np.hypot(still.x[None, :], y) < 0.49 * shape[0] * pixel
        out[frame] = np.clip(image * edge, 0, 255)
    return out
