"""Letters over speckle, vessels and other texture, and the same images without; deterministic. ``python -m
tests.research.deid.textured [COUNT]`` tells how many of so many images with text keep some of it, and what becomes of
the images without."""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from time import process_time

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hilum.demo.phantoms.angiogram import coronary_run
from hilum.demo.phantoms.radiograph import mammogram, swallow
from hilum.demo.phantoms.ultrasound import abdomen_still, heart_cine, thyroid_still
from hilum.imaging.dicom.header import scan_file
from hilum.research.deid.identifiers import collected
from hilum.research.deid.pixel_text.regions import device_rules
from hilum.research.deid.pixel_text.step import TextStep
from hilum.research.deid.pixels import Verdict
from tests.research.deid.burned import MG, US_MULTI, XA, dataset, sector, stored

TEXTS = ("Kowalski, Jan", "MRN 4471209", "12/05/1974", "Dr. R. Patel", "John Smith", "2019-04-11 09:41", "SMITH")
SIZES = (9, 10, 12, 14, 16, 20, 26, 32, 40)
NAMES = (
    "heart", "abdomen", "thyroid", "fan", "swallow run", "left run", "right run", "cerebral run", "mammogram R CC",
    "mammogram L MLO",
)  # fmt: skip
STEP = TextStep(device_rules())

Frames = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Textured:
    """Frames of shape (frames, rows, columns[, 3]) and where letters are in some of them."""

    name: str
    frames: Frames
    ink: NDArray[np.bool_]

    def file(self) -> bytes:
        """As uncompressed file."""
        kind = (
            (MG, "MG") if self.name.startswith("mammogram") else (XA, "XA") if "run" in self.name else (US_MULTI, "US")
        )
        ds = dataset(1, *kind, self.frames, "RGB" if self.frames.ndim == 4 else "MONOCHROME2")
        return stored(ds, self.frames, 12 if self.frames.dtype == np.uint16 else 0)

    def left(self, verdict: Verdict) -> float:
        """The share of the letters that is in no box."""
        covered = np.zeros(self.ink.shape, bool)
        for box in verdict.boxes:
            covered[box.row : box.row + box.rows, box.column : box.column + box.columns] = True
        return float((self.ink & ~covered).sum() / max(1, self.ink.sum()))


def look(one: Textured) -> Verdict:
    """What the pixel step makes of it, nothing being known of the person."""
    file = BytesIO(one.file())
    return STEP(file, scan_file(file), collected([]).patterns(), None)


def without(seeds: Sequence[int] = (1, 2)) -> Iterator[Textured]:
    """Images without any letters but the markers of mammograms."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        found: dict[str, Frames] = {
            "heart": heart_cine((480, 640), 3, (), rng), "abdomen": abdomen_still((480, 640), (), rng)[np.newaxis],
            "thyroid": thyroid_still((480, 640), (), rng)[np.newaxis],
            "fan": np.stack([sector(rng, 480, 640) for _ in range(3)]),
            "swallow run": swallow((512, 512), 0.62, 3, (), rng),
        }  # fmt: skip
        for tree in ("left", "right", "cerebral"):
            found[f"{tree} run"] = coronary_run((512, 512), 0.42 if tree == "cerebral" else 0.38, 12, tree, (), rng)[
                4:7
            ]
        for side, view in (("R", "CC"), ("L", "MLO")):
            found[f"mammogram {side} {view}"] = mammogram((768, 576), 0.29, side, view, 0.25 * seed, (), rng)[
                np.newaxis
            ]
        for name, frames in found.items():
            yield Textured(f"{name} {seed}", frames, np.zeros(frames.shape[1:3], bool))


def written(
    clean: Textured, text: str, place: tuple[int, int], size: float, far: float, only: int | None = None
) -> Textured:
    """Letters that stand out of the middle of what is behind them by a share of all grey, in all frames or in one."""
    shape = clean.frames.shape[1:3]
    picture = Image.new("L", shape[::-1])
    ImageDraw.Draw(picture).text((place[1], place[0]), text, fill=255, font=ImageFont.load_default(size))
    alpha = np.asarray(picture).astype(np.float32) / 255
    ink = alpha > 0.4
    top = 4095 if clean.frames.dtype == np.uint16 else 255
    frames = clean.frames.copy()
    for number in range(len(frames)) if only is None else [only]:
        behind = frames[number].astype(np.float32)
        near = cv2.dilate(ink.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        level = min(top, float(np.median(behind[near])) + far * top)
        share = alpha if behind.ndim == 2 else alpha[:, :, np.newaxis]
        frames[number] = (behind * (1 - share) + level * share).round()
    return Textured(f"{clean.name} {size} {far} {text}", frames, ink)


def with_text(count: int, seed: int) -> Iterator[Textured]:
    """So many images with a line of text somewhere, sizes and contrasts mixed."""
    chance = random.Random(seed)
    clean = list(without())
    for _ in range(count):
        one, size, text = chance.choice(clean), chance.choice(SIZES), chance.choice(TEXTS)
        rows, columns = one.frames.shape[1:3]
        place = (0, 0)
        for _ in range(50):  # where there is something to write on
            place = (
                chance.randrange(rows - 2 * size),
                chance.randrange(max(1, columns - round(0.62 * size * len(text)))),
            )
            behind = one.frames[0, place[0] : place[0] + size, place[1] : place[1] + 4 * size]
            if behind.std() > 2 and behind.mean() < 0.5 * (4095 if behind.dtype == np.uint16 else 255):
                break
        only = chance.choice([None, 0]) if len(one.frames) > 1 else None
        yield written(one, text, place, size, chance.choice([0.25, 0.45, 0.7]), only)


def main() -> None:
    begun, count = process_time(), int(sys.argv[1]) if len(sys.argv) > 1 else 40
    for one in without():
        verdict = look(one)
        print(f"{one.name:24} {verdict.state} {verdict.reason}", flush=True)
    missed = 0
    for one in with_text(count, 1):
        verdict = look(one)
        if verdict.state != "unsure" and one.left(verdict) > 0.02:
            missed += 1
            print(f"{one.name}: {one.left(verdict):.2f} left", flush=True)
    print(f"{missed} of {count} keep some of their text; {process_time() - begun:.0f} CPU seconds")


if __name__ == "__main__":
    main()
