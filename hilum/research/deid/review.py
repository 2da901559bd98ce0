"""A person's look at pixels that the machine left open, or at what it did: which files wait, pictures of one before and
after, and the decisions, kept in a file of the site. The next run carries them out; nothing is changed here."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from hilum.core.errors import Invalid, NotFound
from hilum.imaging.dicom.frames import frame_offsets, read_frame
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.image import describe
from hilum.imaging.dicom.picture import Picture
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.render import render
from hilum.imaging.dicom.source import inflated_file
from hilum.research.deid.crosswalk import Crosswalk
from hilum.research.deid.identifiers import Patterns
from hilum.research.deid.keys import read_keys
from hilum.research.deid.pixels import Box, Decision, PixelStep

_WAITING: Final = "pixels_unsure"
_MAX_FILE: Final = 64 << 20
_MAX_INFLATED: Final = 1 << 30
_OUTLINE: Final = (255, 64, 64)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that waits for a person, why, and what was decided."""

    path: str
    reason: str
    decision: Decision | None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    how: Literal["look", "accept", "only"]
    boxes: list[tuple[int, int, int, int]] = msgspec.field(default_factory=list[tuple[int, int, int, int]])


def read_decisions(path: Path) -> dict[str, Decision]:
    """The decisions in a file, by the path of the image within the input folder; none where there is no file yet.

    Raises
    ------
    Invalid
        When the file cannot be understood.
    """
    if not path.exists():
        return {}
    with path.open("rb") as file:
        data = file.read(_MAX_FILE)
    try:
        lines = msgspec.json.decode(data, type=list[_Line])
    except msgspec.DecodeError as error:
        raise Invalid(f"The decisions in {path.name} cannot be read: {error}.") from None
    return {line.file: Decision(line.how, tuple(Box(*box) for box in line.boxes)) for line in lines}


def write_decision(path: Path, file: str, decision: Decision) -> None:
    """Note a decision on a file in the place of an earlier one, whole or not at all."""
    decisions = {**read_decisions(path), file: decision}
    lines = [
        _Line(name, one.how, [(box.row, box.column, box.rows, box.columns) for box in one.boxes])
        for name, one in sorted(decisions.items())
    ]
    part = path.with_name(f".{path.name}.part")
    part.touch(mode=0o600)
    part.write_bytes(msgspec.json.format(msgspec.json.encode(lines), indent=1) + b"\n")
    part.replace(path)


def boxes_of(texts: Iterable[str]) -> tuple[Box, ...]:
    """Boxes from ROW,COLUMN,ROWS,COLUMNS each.

    Raises
    ------
    Invalid
        When one is no box.
    """
    found: list[Box] = []
    for text in texts:
        numbers = text.split(",")
        if len(numbers) != 4 or not all(one.strip().isdecimal() and len(one) < 7 for one in numbers):
            raise Invalid("A box is ROW,COLUMN,ROWS,COLUMNS in pixels, counted from 0.")
        found.append(Box(*(int(one) for one in numbers)))
    return tuple(found)


def waiting(crosswalk: Path, key_file: Path, decisions: Mapping[str, Decision]) -> Iterator[Waiting]:
    """The files that the last run left to a person."""
    if not crosswalk.exists():
        raise NotFound(f"There is no crosswalk {crosswalk.name}.")
    opened = Crosswalk(crosswalk, read_keys(key_file, create=False))
    try:
        for row in opened.files("quarantined"):
            if row.code == _WAITING:
                yield Waiting(row.path, row.reason, decisions.get(row.path))
    finally:
        opened.close()


def pictures(path: Path, step: PixelStep, decision: Decision | None) -> tuple[Picture, Picture | None, str]:
    """A file's first frame with its boxes outlined, the same as it would leave, and in a sentence what became of it.

    The second picture is None where nothing leaves.

    Raises
    ------
    Invalid
        When the file cannot be shown.
    """
    try:
        with path.open("rb") as opened:
            file = BytesIO(opened.read())
        header = scan_file(file)
        if header.deflated:
            file = BytesIO(inflated_file(file, header.data_set_offset, _MAX_INFLATED).read())
        verdict = step(file, header, Patterns(None, None, ()), decision)
        before = _picture(file, header)
        after = before if verdict.state == "clean" else None
        if verdict.data is not None:
            new = BytesIO(verdict.data)
            after = _picture(new, scan_file(new))
    except (NotDicom, Unreadable) as problem:
        raise Invalid(f"{path.name} cannot be shown: {problem}") from None
    marked = before.copy()
    for box in verdict.boxes:
        _outline(marked, box)
    return marked, after, f"{verdict.state}: {verdict.reason}" if verdict.reason else verdict.state


def _picture(file: BytesIO, header: Header) -> Picture:
    image = describe(file, header)
    offsets = frame_offsets(file, header) if header.pixel_data and header.pixel_data.encapsulated else ()
    shown = render(decode_frame(read_frame(file, header, offsets, 0), image), image)
    return shown if shown.ndim == 3 else np.repeat(shown[:, :, np.newaxis], 3, axis=2)


def _outline(picture: Picture, box: Box) -> None:
    top, left, bottom, right = box.row, box.column, box.row + box.rows - 1, box.column + box.columns - 1
    picture[[top, bottom], left : right + 1] = _OUTLINE
    picture[top : bottom + 1, [left, right]] = _OUTLINE
