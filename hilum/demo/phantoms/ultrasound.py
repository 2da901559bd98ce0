"""Ultrasound: echoes with speckle in the probe's own lines, laid out as the fan a scanner shows, in colour (RGB)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.demo.people import Finding
from hilum.demo.phantoms.canvas import Float, smooth_field

RGB = NDArray[np.uint8]


class Probe:
    """A sector of `half_angle` radians seen from a probe of `curve` mm radius down to `depth` mm, drawn on `shape`."""

    def __init__(self, shape: tuple[int, int], depth: float, half_angle: float, curve: float) -> None:
        rows, columns = shape
        self.shape, self.depth, self.lines, self.samples = shape, depth, 220, 420
        self.pixel = depth * 1.06 / (rows * 0.94)
        across = (np.arange(columns) - columns / 2) * self.pixel
        down = (np.arange(rows) - rows * 0.05) * self.pixel
        drop = curve * np.cos(half_angle)
        radius = np.hypot(across[None, :], down[:, None] + drop)
        angle = np.arctan2(across[None, :], down[:, None] + drop)
        self.inside = (np.abs(angle) < half_angle) & (radius > curve) & (radius < curve + depth)
        line = np.clip((angle / half_angle + 1) / 2 * (self.lines - 1), 0, self.lines - 1.001)[self.inside]
        sample = np.clip((radius - curve) / depth * (self.samples - 1), 0, self.samples - 1.001)[self.inside]
        # Each pixel of the fan is mixed of the four echoes around it.
        self.corner = sample.astype(np.intp) * self.lines + line.astype(np.intp)
        down, across = (np.mod(part, 1).astype(np.float32) for part in (sample, line))
        self.steps = (0, 1, self.lines, self.lines + 1)
        self.weights = ((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across)
        angles = np.linspace(-half_angle, half_angle, self.lines)[None, :]
        radii = curve + np.linspace(0, depth, self.samples)[:, None]
        self.x = (radii * np.sin(angles)).astype(np.float32)
        self.y = (radii * np.cos(angles) - drop).astype(np.float32)

    def speckle(self, rng: np.random.Generator) -> Float:
        """Rayleigh speckle of mean 1, wider across than along a line."""
        parts: list[Float] = []
        for _ in range(2):
            noise: Float = rng.standard_normal((self.samples, self.lines), dtype=np.float32)
            for step in (1, 2):
                noise = noise + np.roll(noise, step, axis=1)
            parts.append(noise + np.roll(noise, 1, axis=0))
        return np.hypot(parts[0], parts[1]) / np.float32(3.54 * 1.25)

    def show(self, echo: Float, rng: np.random.Generator, speckle: Float | None = None) -> RGB:
        """Compress echoes (1 is liver) and lay them out; returns (rows, columns, 3)."""
        raw = echo * (self.speckle(rng) if speckle is None else speckle)
        shown = 96 + 62 * np.log10(np.clip(raw, 1e-3, None))
        flat = shown.ravel()
        level: Float = sum(
            (flat[self.corner + step] * weight for step, weight in zip(self.steps[1:], self.weights[1:], strict=True)),
            flat[self.corner] * self.weights[0],
        )
        grey = np.zeros(self.shape, np.uint8)
        grey[self.inside] = np.clip(level, 0, 255)
        image = np.repeat(grey[:, :, None], 3, axis=2)
        self._furniture(image)
        return image

    def _furniture(self, image: RGB) -> None:
        rows, columns = self.shape
        image[int(rows * 0.1) : int(rows * 0.4), 14:24] = np.linspace(255, 0, int(rows * 0.4) - int(rows * 0.1))[
            :, None, None
        ]
        for centimetre in range(int(self.depth // 10) + 1):
            row = int(rows * 0.05 + centimetre * 10 / self.pixel)
            long = 12 if centimetre % 5 == 0 else 6
            image[min(row, rows - 2) : row + 2, columns - 20 : columns - 20 + long] = 190
        focus = int(rows * 0.05 + self.depth * 0.55 / self.pixel)
        for step in range(6):
            image[focus - step : focus + step + 1, columns - 30 + step] = (240, 190, 40)
        image[8:14, columns // 2 - 3 : columns // 2 + 3] = (60, 190, 240)

    def disc(
        self, center: tuple[float, float], radii: tuple[float, float], angle: float = 0.0, edge: float = 1.2
    ) -> Float:
        """Share of each echo sample inside an ellipse given in mm."""
        turn = np.deg2rad(angle)
        dx, dy = self.x - center[0], self.y - center[1]
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        rho = np.sqrt(((dx * cos + dy * sin) / radii[0]) ** 2 + ((dy * cos - dx * sin) / radii[1]) ** 2)
        return np.clip((1 - rho) * np.float32(min(radii) / edge) + 0.5, 0, 1).astype(np.float32)

    def shadow(self, stone: Float) -> Float:
        """1 where sound still gets to, less below what `stone` (0..1) holds back."""
        passed = np.cumsum(stone, axis=0)
        return np.exp(-np.clip(passed - stone, 0, 14) * 0.55).astype(np.float32)


def _tissue(probe: Probe, rng: np.random.Generator) -> Float:
    """Body wall on top, then even tissue with gentle clouds and loss of strength with depth."""
    echo = np.ones((probe.samples, probe.lines), np.float32)
    echo *= 10 ** (smooth_field(echo.shape, (14, 10), rng) * np.float32(0.09))
    wall = np.clip((14 - probe.y) / 2, 0, 1)
    layers = 1.5 + 1.3 * np.sin(probe.y * 1.5 + 0.5 * np.sin(probe.x / 9))
    echo = echo * (1 - wall) + wall * np.clip(layers, 0.3, None)
    return echo * np.exp(-probe.y / np.float32(230)).astype(np.float32)


def abdomen_still(shape: tuple[int, int], findings: Sequence[Finding], rng: np.random.Generator) -> RGB:
    """Liver, gallbladder and right kidney; gallstones with their shadow, or a cyst of the kidney."""
    probe = Probe(shape, 150, 0.62, 58)
    echo = _tissue(probe, rng)
    for _ in range(11):
        x, y = float(rng.uniform(-60, 50)), float(rng.uniform(28, 100))
        ratio, turn = float(rng.uniform(3, 7)), float(rng.uniform(-60, 60))
        wall = probe.disc((x, y), (2.6 * ratio, 3.4), turn)
        echo = echo * (1 + 1.1 * wall)
        echo *= 1 - 0.93 * probe.disc((x, y), (2.5 * ratio, 2.2), turn)
    kidney: tuple[float, float] = (34, 96)
    echo = echo * (1 + 1.6 * (probe.disc(kidney, (50, 26), 14) - probe.disc(kidney, (48, 24), 14)))
    echo = echo * (1 - probe.disc(kidney, (48, 24), 14)) + 0.46 * probe.disc(kidney, (48, 24), 14) * echo
    echo = echo * (1 + 3.6 * probe.disc(kidney, (26, 9), 14, 5))
    echo = echo * (1 + 2.2 * np.exp(-(((probe.y - 136 + 0.1 * probe.x) / 2.5) ** 2)))
    bladder: tuple[float, float] = (-20, 62)
    echo = echo * (1 + 1.3 * (probe.disc(bladder, (29, 14.5), -28) - probe.disc(bladder, (27, 12.5), -28)))
    lumen = probe.disc(bladder, (27, 12.5), -28)
    echo *= 1 - 0.985 * lumen
    behind = np.clip((probe.y - bladder[1]) / 16, 0, 1) * (
        np.abs(probe.x - bladder[0] * (1 + (probe.y - 62) / 160)) < 20
    )
    echo *= 1 + 0.8 * behind * (1 - lumen)
    for finding in findings:
        if finding.kind == "gallstones":
            for number in range(finding.count):
                radius = finding.diameter_mm / 2
                place = (-27.0 + 13 * number, 72.0 - 6.5 * number)
                stone = probe.disc(place, (radius, radius * 0.8))
                echo = (echo * (1 - stone) + 6.5 * stone) * probe.shadow(stone)
        elif finding.kind == "renal_cyst":
            radius = finding.diameter_mm / 2
            echo *= 1 - 0.985 * probe.disc((62, 106), (radius, radius))
    return probe.show(echo, rng)


def thyroid_still(shape: tuple[int, int], findings: Sequence[Finding], rng: np.random.Generator) -> RGB:
    """A cross-section of the neck: both lobes, trachea, carotid arteries, and a nodule where told."""
    probe = Probe(shape, 46, 0.13, 210)
    echo = _tissue(probe, rng) * 0.5
    echo *= 1 + 0.8 * (np.clip((5 - probe.y) / 1, 0, 1))
    echo *= 1 + 2.0 * np.exp(-(((probe.y - 9.5 - 0.004 * probe.x**2) / 0.7) ** 2))
    for side in (-1, 1):
        lobe = probe.disc((side * 15, 20), (9, 8.5), side * 10)
        echo = echo * (1 - lobe) + lobe * 1.75 * np.exp(-probe.y / 120)
        echo *= 1 - 0.97 * probe.disc((side * 27, 24), (4.2, 4.2))
        echo *= 1 + 1.4 * (probe.disc((side * 27, 24), (5, 5)) - probe.disc((side * 27, 24), (4.2, 4.2)))
        echo *= 1 - 0.95 * probe.disc((side * 31, 15), (4.5, 2.3), side * 20)
    echo = echo + 1.3 * probe.disc((0, 14.5), (9, 3))
    ring = probe.disc((0, 23), (10, 9))
    echo *= 1 - 0.9 * ring
    echo += 3.4 * (ring - probe.disc((0, 24), (10, 9))) * (probe.y < 20)
    echo *= 1 - 0.75 * np.clip((probe.y - 22) / 3, 0, 1) * (np.abs(probe.x) < 9)
    for finding in findings:
        if finding.kind == "thyroid_nodule":
            side, radius = (-1 if finding.site == "right" else 1), finding.diameter_mm / 2
            halo = probe.disc((side * 15, 20), (radius + 0.7, radius * 0.8 + 0.7), 10)
            echo *= 1 - 0.7 * (halo - probe.disc((side * 15, 20), (radius, radius * 0.8), 10))
            echo *= 1 - 0.55 * probe.disc((side * 15, 20), (radius, radius * 0.8), 10)
    return probe.show(echo, rng)


def heart_cine(shape: tuple[int, int], frames: int, findings: Sequence[Finding], rng: np.random.Generator) -> RGB:
    """Four chambers from the apex through one beat; returns (frames, rows, columns, 3)."""
    probe = Probe(shape, 155, 0.68, 4)
    weak = any(finding.kind == "reduced_ejection" for finding in findings)
    still, speckle = _tissue(probe, rng), probe.speckle(rng)
    out = np.empty((frames, *shape, 3), np.uint8)
    for frame in range(frames):
        phase = frame / frames
        squeeze = (0.09 if weak else 0.24) * float(np.sin(np.pi * min(1.0, phase / 0.42))) ** 2 if phase < 0.42 else 0.0
        out[frame] = probe.show(_heart(probe, still, squeeze, phase, weak), rng, np.roll(speckle, frame % 3, axis=0))
        _trace(out[frame], phase)
    return out


def _heart(probe: Probe, still: Float, squeeze: float, phase: float, weak: bool) -> Float:
    wide = 1.16 if weak else 1.0
    echo = still * 0.5
    muscle = probe.disc((2, 80), (50 * wide - 6 * squeeze, 66), 0)
    echo = echo * (1 - muscle) + muscle * 0.85
    left = (19.5 * wide * (1 - squeeze), 41 * (1 - 0.6 * squeeze))
    right = (14.5 * (1 - squeeze), 33 * (1 - 0.6 * squeeze))
    atrium = 1 + 0.5 * squeeze
    for center, radii, turn in (
        ((22, 70), left, -10), ((-21, 73), right, 12), ((25, 126), (21 * atrium, 18 * atrium), 0),
        ((-23, 125), (19 * atrium, 17 * atrium), 0),
    ):  # fmt: skip
        chamber = probe.disc((float(center[0]), float(center[1])), (float(radii[0]), float(radii[1])), turn, 2.5)
        echo *= 1 - 0.97 * chamber
    opening = 0.0 if phase < 0.42 else float(np.sin(np.pi * (phase - 0.42) / 0.58)) ** 2
    for hinge, side in ((10.0, 1), (44.0, -1), (-10.0, -1), (-39.0, 1)):
        tip = (hinge + side * (15 - 9 * opening), 106 - 15 * opening)
        dx, dy = tip[0] - hinge, tip[1] - 107
        share = np.clip(((probe.x - hinge) * dx + (probe.y - 107) * dy) / (dx * dx + dy * dy), 0, 1)
        away = np.hypot(probe.x - hinge - share * dx, probe.y - 107 - share * dy)
        echo += 2.6 * np.exp(-((away / 1.3) ** 2))
    echo += 1.5 * np.exp(-(((probe.y - 150) / 3) ** 2)) * (np.abs(probe.x) < 66)
    return echo * np.exp(-np.clip(probe.y - 60, 0, None) / np.float32(260))


def _trace(image: RGB, phase: float) -> None:
    """The electrocardiogram along the lower edge, with a mark at the present moment."""
    rows, columns = image.shape[:2]
    time: Float = np.mod(np.arange(columns, dtype=np.float32) / columns * 2, 1)
    wave: Float = 1.0 * np.exp(-(((time - 0.08) / 0.012) ** 2)) - 0.25 * np.exp(-(((time - 0.11) / 0.012) ** 2))
    wave += 0.22 * np.exp(-(((time - 0.34) / 0.045) ** 2)) + 0.12 * np.exp(-(((time - 0.94) / 0.03) ** 2))
    line = (rows - 16 - wave * 26).astype(np.intp)
    for column in range(columns):
        low, high = sorted((int(line[column]), int(line[max(0, column - 1)])))
        image[low : high + 2, column] = (60, 220, 90)
    mark = int(columns * (0.5 + phase / 2)) % columns
    image[rows - 46 : rows - 8, mark] = (220, 220, 220)
