"""De-identification by `hilum deid`: files without pixels to speak of, and images that are looked at for text, some of
them with text burned in. The peer has nothing like it; other tools are told of in the documentation."""

import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from bench import corpus
from bench.corpus import Corpus
from bench.processes import Failed
from bench.table import Goal, Row

ROWS = (
    Row("deid.rate", "header-only CT files de-identified, profile research", "files/s", "higher", Goal("value", 40)),
    Row("deid.cpu", "CPU of that", "ms/file", "lower"),
    Row("text.rate", "images of 512 x 512 looked at for text", "images/s", "higher", Goal("value", 10)),
    Row("text.cpu", "CPU of that", "ms/image", "lower"),
)
PICTURES = Corpus("body", studies=1, series=1, instances=60, edge=512, body=True)


def measure(folder: Path, files: Corpus) -> Mapping[str, float]:
    """De-identify two folders, one after the other."""
    pictures = folder / "pictures"
    _write_pictures(pictures)
    plain = _run(folder / "plain", corpus.ensure(files), files.num_instances)
    looked = _run(folder / "looked", pictures, PICTURES.num_instances)
    return {"deid.rate": plain[0], "deid.cpu": plain[1], "text.rate": looked[0], "text.cpu": looked[1]}


def _write_pictures(folder: Path) -> None:
    """Slices of a body as captures, every fourth with a banner."""
    folder.mkdir()
    for number, path in enumerate(sorted(corpus.ensure(PICTURES).rglob("*.dcm"))):
        ds = pydicom.dcmread(path)
        ds.ImageType = ["DERIVED", "SECONDARY"]
        if number % 4 == 0:
            pixels = ds.pixel_array.copy()
            banner = Image.new("L", pixels.shape[::-1])
            draw = ImageDraw.Draw(banner)
            for row, text in enumerate(("Featherstonehaugh, Alistair", "MRN 00481516", "10-Mar-2018 08:15")):
                draw.text((8, 6 + 20 * row), text, fill=255, font=ImageFont.load_default(14))
            pixels[np.asarray(banner) > 96] = pixels.max()
            ds.PixelData = pixels.tobytes()
        ds.save_as(folder / path.name)


def _run(work: Path, source: Path, count: int) -> tuple[float, float]:
    """Files a second, and milliseconds of CPU a file."""
    work.mkdir()
    command = [
        sys.executable, "-m", "hilum", "deid", str(source), str(work / "out"), "--profile", "research",
        "--key-file", str(work / "key"), "--crosswalk", str(work / "crosswalk"),
    ]  # fmt: skip
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    written = sum(1 for _ in (work / "out").rglob("*.dcm"))
    if done.returncode or written != count:
        raise Failed(f"hilum deid wrote {written} of {count} files: {done.stderr[-400:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return count / wall, 1000 * cpu / count
