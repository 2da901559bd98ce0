"""The two networks: one finds lines of text in a picture, the other reads a line. Their files come with the package
`rapidocr` (PP-OCR, Apache-2.0), of which no code runs; `onnxruntime` runs them on one thread, and they are loaded once
a process. What is looked at in which form is for ``scan``, what a reading means for ``words``."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from hilum.core.errors import Unavailable
from hilum.imaging.dicom.picture import Picture

_DETECTOR: Final = "PP-OCRv6_det_small.onnx"
_READER: Final = "PP-OCRv6_rec_small.onnx"
_NEEDED: Final = ("onnxruntime", "rapidocr", "cv2")
_MODULES: Final = {"onnxruntime": "onnxruntime", "rapidocr": "rapidocr", "opencv": "cv2"}
_GRID: Final = 32
_SEED: Final = 0.3
_GROWTH: Final = 1.6
_LINE: Final = 48
_MAX_LINE: Final = 2048
_BATCH: Final = 6


@dataclass(frozen=True, slots=True)
class Line:
    """Where a line of text seems to be, in pixels of the picture (ends are not included), and how sure that is."""

    top: int
    left: int
    bottom: int
    right: int
    score: float


@cache
def missing() -> str:
    """What is not installed of that which finding text takes, in a sentence; empty when all is there."""
    lacking = [name for name in _NEEDED if find_spec(name) is None]
    if not lacking and not all((_models() / name).is_file() for name in (_DETECTOR, _READER)):
        lacking = [f"the models {_DETECTOR} and {_READER} of rapidocr"]
    return f"{', '.join(lacking)} is not installed: pip install 'hilum[pixels]'." if lacking else ""


@cache
def versions() -> dict[str, str]:
    """What finds and reads text, with versions, and the digests of the networks; empty when it is not installed."""
    if missing():
        return {}
    found = {
        name: f"{file} blake3:{blake3((_models() / file).read_bytes()).hexdigest()}"
        for name, file in (("text_detector", _DETECTOR), ("text_recogniser", _READER))
    }
    which = packages_distributions()  # the same modules come in several packages
    return found | {name: version(which[module][0]) for name, module in _MODULES.items()}


def find_lines(picture: Picture) -> list[Line]:
    """Where lines of text seem to be in a picture of red, green and blue of shape (rows, columns, 3)."""
    rows, columns = picture.shape[:2]
    padded = np.zeros((-(-rows // _GRID) * _GRID, -(-columns // _GRID) * _GRID, 3), np.uint8)
    padded[:rows, :columns] = picture
    chances = _run(_session(_DETECTOR), _tensor(padded)[np.newaxis])[0, 0, :rows, :columns]
    return _lines(chances)


def read_lines(pictures: list[Picture]) -> list[tuple[str, float]]:
    """The text of each picture of one line, of shape (rows, columns, 3), and the mean sureness of its characters."""
    found: list[tuple[str, float]] = [("", 0.0)] * len(pictures)
    order = sorted(range(len(pictures)), key=lambda one: pictures[one].shape[1] / pictures[one].shape[0])
    for begin in range(0, len(order), _BATCH):
        batch = order[begin : begin + _BATCH]
        lines = [_line(pictures[one]) for one in batch]
        width = max(line.shape[2] for line in lines)
        tensor = np.zeros((len(lines), 3, _LINE, width), np.float32)
        for place, line in enumerate(lines):
            tensor[place, :, :, : line.shape[2]] = line
        for one, chances in zip(batch, _run(_session(_READER), tensor), strict=True):
            found[one] = _text(chances)
    return found


def _lines(chances: NDArray[np.float32]) -> list[Line]:
    """Connected places of text, each grown to what the network was taught to shrink it from."""
    import cv2

    rows, columns = chances.shape
    seed = (chances > _SEED).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(seed, np.ones((2, 2), np.uint8)))
    found: list[Line] = []
    for label in range(1, count):
        left, top, width, height = (int(one) for one in stats[label, :4])
        if min(width, height) < 2:
            continue
        here = slice(top, top + height), slice(left, left + width)
        inside = (labels[here] == label) & (seed[here] > 0)
        if not inside.any():
            continue
        grown = int(np.ceil(width * height * _GROWTH / (2 * (width + height))))
        found.append(
            Line(
                max(0, top - grown), max(0, left - grown), min(rows, top + height + grown),
                min(columns, left + width + grown), float(chances[here][inside].mean()),
            )
        )  # fmt: skip
    return found


def _line(picture: Picture) -> NDArray[np.float32]:
    import cv2

    rows, columns = picture.shape[:2]
    width = min(_MAX_LINE, max(16, round(columns * _LINE / rows)))
    return _tensor(cv2.resize(picture, (width, _LINE), interpolation=cv2.INTER_LINEAR).astype(np.uint8))


def _tensor(picture: Picture) -> NDArray[np.float32]:
    values = picture.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[::-1])  # blue first


def _text(chances: NDArray[np.float32]) -> tuple[str, float]:
    """Characters from the chances of each place: repeats are one, class 0 parts them (CTC)."""
    best = chances.argmax(axis=1)
    fresh = (best != 0) & (best != np.concatenate(([0], best[:-1])))
    if not fresh.any():
        return "", 0.0
    characters = _characters()
    codes = cast("list[int]", best[fresh].tolist())
    text = "".join(characters[one] if one < len(characters) else " " for one in codes)
    return text, float(chances.max(axis=1)[fresh].mean())


@cache
def _models() -> Path:
    spec = find_spec("rapidocr")
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places)), "models") if places else Path()


@cache
def _session(name: str) -> Any:
    if lacking := missing():
        raise Unavailable(lacking)
    import cv2
    import onnxruntime

    cv2.setNumThreads(1)
    options: Any = cast("Any", onnxruntime).SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(_models() / name), options, providers=["CPUExecutionProvider"])


@cache
def _characters() -> tuple[str, ...]:
    told = cast("str", _session(_READER).get_modelmeta().custom_metadata_map["character"])
    return ("", *told.splitlines())


def _run(session: Any, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    return cast("NDArray[np.float32]", session.run(None, {session.get_inputs()[0].name: tensor})[0])
