"""De-identification by `hilum deid` and by other tools: files without pixels to speak of, images that are looked at for
text, some of them with text burned in, and how well it is done over the planted set of the tests."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from bench import corpus
from bench.corpus import Corpus
from bench.deid_peers import HILUM, PEERS, Ran, Tool, run
from bench.deid_score import inputs, score
from bench.processes import Failed
from bench.table import Goal, Row

PICTURES = Corpus("body", studies=1, series=1, instances=180, edge=512, body=True)
_PLAIN = "header-only CT files de-identified"
_LOOKED = "images of 512 x 512 looked at for text"
_SCORE = "MIDI-B-like score over the planted set"
ROWS = (
    Row("deid.rate", f"{_PLAIN}, profile research; peer: the fastest", "files/s", "higher", Goal("value", 40)),
    Row("deid.cpu", "CPU of that", "ms/file", "lower"),
    *(Row(f"deid.rate.{tool.name}", f"{_PLAIN} by {tool.title}", "files/s", "higher") for tool in PEERS),
    Row("text.rate", f"{_LOOKED}; peer: the fastest that can", "images/s", "higher", Goal("value", 10)),
    Row("text.cpu", "CPU of that", "ms/image", "lower"),
    *(
        Row(f"text.rate.{tool.name}", f"{_LOOKED} by {tool.title}", "images/s", "higher")
        for tool in PEERS
        if tool.pixels
    ),
)
SCORE_ROWS = (
    Row("score.micro", f"{_SCORE}, micro; peer: the best", "%", "higher", Goal("value", 99.5)),
    Row("score.macro", f"{_SCORE}, macro", "%", "higher", Goal("value", 99)),
    Row("score.dates", "dates moved by the person's one whole number of days", "%", "higher", Goal("value", 98)),
    *(Row(f"score.{kind}.{tool.name}", f"{_SCORE}, {kind}, {tool.title}", "%", "higher")
      for tool in PEERS for kind in ("micro", "macro")),
)  # fmt: skip


def measure(folder: Path, files: Corpus) -> Mapping[str, float]:
    """Hilum over two folders, one after the other."""
    plain, pictures = _sources(folder, files)
    one, other = _all_of(HILUM, plain, folder / "plain"), _all_of(HILUM, pictures, folder / "looked")
    return {
        "deid.rate": _rate(one), "deid.cpu": 1000 * one.cpu / len(one.written),
        "text.rate": _rate(other), "text.cpu": 1000 * other.cpu / len(other.written),
    }  # fmt: skip


def measure_peers(folder: Path, files: Corpus) -> Mapping[str, float]:
    """The other tools over the same folders; those that look for text over both."""
    plain, pictures = _sources(folder, files)
    figures: dict[str, float] = {}
    for tool in PEERS:
        try:
            figures[f"deid.rate.{tool.name}"] = _rate(_all_of(tool, plain, folder / "plain" / tool.name))
            if tool.pixels:
                looked = run(tool, pictures, folder / "looked" / tool.name)
                figures[f"text.rate.{tool.name}"] = len(list(pictures.iterdir())) / looked.wall
        except Failed as failure:
            print(f"    no figure: {failure}", file=sys.stderr)
    for key in ("deid.rate", "text.rate"):
        found = [value for name, value in figures.items() if name.startswith(f"{key}.")]
        figures |= {key: max(found)} if found else {}
    return figures


def measure_score(folder: Path, _files: Corpus) -> Mapping[str, float]:
    """How well Hilum does it."""
    return _scored(folder, [HILUM])


def measure_peers_score(folder: Path, _files: Corpus) -> Mapping[str, float]:
    """How well the others do."""
    return _scored(folder, PEERS)


def _scored(folder: Path, tools: Sequence[Tool]) -> Mapping[str, float]:
    given = inputs()
    given.write(folder / "in")
    given.planted.write_maps(folder / "maps")
    figures: dict[str, float] = {}
    for tool in tools:
        try:
            found = score(given, run(tool, folder / "in", folder / tool.name).written)
        except Failed as failure:
            print(f"    no figure: {failure}", file=sys.stderr)
            continue
        own = "" if tool is HILUM else f".{tool.name}"
        figures |= {f"score.micro{own}": found.micro, f"score.macro{own}": found.macro}
        figures["score.dates"] = max(found.exact_dates, figures.get("score.dates", 0))
        parts = [f"{action} {found.done[action]}/{count}" for action, count in found.required.items()]
        print(f"    {tool.name}: {', '.join(parts)}", file=sys.stderr)
        for kind, value in (("micro", found.micro), ("macro", found.macro)):
            figures[f"score.{kind}"] = max(value, figures.get(f"score.{kind}", 0))
    return figures


def _sources(folder: Path, files: Corpus) -> tuple[Path, Path]:
    """Both folders, flat, since not all tools go into folders."""
    plain, pictures = folder / "files", folder / "pictures"
    plain.mkdir()
    for number, path in enumerate(sorted(corpus.ensure(files).rglob("*.dcm"))):
        os.link(path, plain / f"{number:05}.dcm")
    _write_pictures(pictures)
    return plain, pictures


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


def _all_of(tool: Tool, source: Path, work: Path) -> Ran:
    """A run that has to bring every file out."""
    done, count = run(tool, source, work), sum(1 for _ in source.iterdir())
    if len(done.written) != count:
        raise Failed(f"{tool.name} wrote {len(done.written)} of {count} files")
    return done


def _rate(done: Ran) -> float:
    return len(done.written) / done.wall
