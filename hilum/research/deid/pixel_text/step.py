"""The pixel step of de-identification: which frames of an instance are looked at, what is made black, and the second
look that must find nothing. What it cannot settle is `unsure`, with the reason, for a person to settle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from hilum.imaging.dicom.dataset import read_data_set, read_tree
from hilum.imaging.dicom.frames import frame_offsets, native_frame, number_of_frames, read_frame
from hilum.imaging.dicom.header import Header, scan_file
from hilum.imaging.dicom.image import ImageDescription, describe
from hilum.imaging.dicom.native import Pixels
from hilum.imaging.dicom.pixels import decode_frame
from hilum.imaging.dicom.problems import NotDicom, Unreadable
from hilum.imaging.dicom.uids import uid_name
from hilum.research.deid.identifiers import Patterns
from hilum.research.deid.pixel_text.blackout import Blackened, Refused, blacken, within
from hilum.research.deid.pixel_text.detector import missing
from hilum.research.deid.pixel_text.reading import judge
from hilum.research.deid.pixel_text.regions import DeviceRules, device_rules, outside_regions
from hilum.research.deid.pixel_text.scan import Spot, Views, find_text
from hilum.research.deid.pixels import Box, Decision, Verdict
from hilum.research.deid.profile import Profile

_ALL: Final = 6
_FULL: Final = 12
_MARGIN: Final = 2
_ROUNDS: Final = 3
_MAX_PIXELS: Final = 1 << 25
_MAX_LINES: Final = 400
_MOST: Final = 0.5
_UNREAD: Final = 0.03
_READ: Final = 0.5
_WORD: Final = 2
_NEW_CELLS: Final = 3


@dataclass(frozen=True, slots=True)
class TextStep:
    """Finds text in pixels and makes it black; a `PixelStep`.

    Attributes
    ----------
    rules
        Where devices write text.
    keep_markers
        Whether words of side and position and short numbers may stay.
    regions_only
        Whether everything outside of the regions that an ultrasound image declares goes black.
    """

    rules: DeviceRules
    keep_markers: bool = True
    regions_only: bool = True

    def __call__(self, file: BinaryIO, header: Header, patterns: Patterns, decision: Decision | None = None) -> Verdict:
        """Look at an instance; see `hilum.research.deid.pixels.PixelStep`."""
        try:
            return self._verdict(file, header, patterns, decision or Decision("look"))
        except Refused as problem:
            return Verdict("unsure", reason=f"it holds text, but {problem}")
        except (Unreadable, NotDicom) as problem:
            return Verdict("unsure", reason=f"its pixels cannot be decoded: {problem}")

    def _verdict(self, file: BinaryIO, header: Header, patterns: Patterns, decision: Decision) -> Verdict:
        frames = _Frames(file, header)
        if frames.image.rows * frames.image.columns > _MAX_PIXELS:
            return Verdict("unsure", reason="it is too large to be looked at")
        drawn = _inside(decision.boxes, frames.image)
        if decision.how == "only":
            made = blacken(file, header, frames.image, drawn) if drawn else None
            return _blackened(header, made, drawn, ()) if made else Verdict("clean")
        accepted = decision.how == "accept"
        known = self._known(file, header, frames)
        if not accepted:
            known = [*drawn, *known]
        found, unread = self._text(frames, known, patterns)
        reason = _too_much(found, unread, frames.image)
        if reason and not accepted:
            return Verdict("unsure", tuple(found), reason=reason)
        boxes = [*known, *found]
        made: Blackened | None = None
        if boxes and not reason:
            made = self._with_nothing_left(file, header, frames.image, boxes, found, patterns)
            if made is None and not accepted:
                return Verdict("unsure", tuple(boxes), reason="text is found in it even after it was made black")
        if accepted and drawn:
            boxes, made = [*drawn, *boxes], None
        if not boxes:
            return Verdict("clean")
        return _blackened(header, made or blacken(file, header, frames.image, boxes), boxes, found)

    def frame_as_it_leaves(
        self, file: BinaryIO, header: Header, decision: Decision, found: Sequence[Box], frame: int
    ) -> bytes:
        """A file in which one frame is as it leaves by a decision, and the others as they were: nothing is looked for.

        Parameters
        ----------
        file, header
            The original, inflated if it was deflated.
        decision
            ``accept`` or ``only``.
        found
            What a look at the file came to.
        frame
            From 0.

        Raises
        ------
        Refused
            When it would not leave.
        Unreadable, NotDicom
            When its pixels cannot be decoded.
        """
        frames = _Frames(file, header)
        boxes = _inside(decision.boxes, frames.image)
        if decision.how != "only":
            boxes += [*self._known(file, header, frames), *found]
        here = [replace(box, frame=frame) for box in boxes if box.frame in (None, frame)]
        return blacken(file, header, frames.image, here).data

    def _with_nothing_left(
        self, file: BinaryIO, header: Header, image: ImageDescription, boxes: list[Box], found: list[Box],
        patterns: Patterns,
    ) -> Blackened | None:  # fmt: skip
        """The file with black boxes in which nothing more is found; what more is found is added to both lists. None
        where there always is."""
        for _ in range(_ROUNDS):
            made = blacken(file, header, image, boxes)
            left = self._left(made, boxes, patterns)
            if not left:
                return made
            boxes += left
            found += left
            if _share(found, image) > _MOST:
                break
        return None

    def _known(self, file: BinaryIO, header: Header, frames: "_Frames") -> list[Box]:
        """Where text is known to stand, if anything but one plain colour is there."""
        boxes = self.rules.boxes(header)
        if self.regions_only:
            elements = read_tree(read_data_set(file, header), header)
            boxes += outside_regions(elements, frames.image.rows, frames.image.columns) or []
        boxes = _inside(boxes, frames.image)
        return boxes if frames.show(boxes) else []

    def _text(self, frames: "_Frames", known: Sequence[Box], patterns: Patterns) -> tuple[list[Box], list[Box]]:
        """Boxes around text that goes, in any frame: they are for all of them. And those where no two characters were
        read, which may be vessels as well."""
        found: list[Box] = []
        unread: list[Box] = []
        for seen, new in frames.looks(known):
            spots = find_text(seen, new)
            if len(spots) > _MAX_LINES:
                raise Refused("it has more lines than are read")
            reads = judge(seen, spots, patterns, keep_markers=self.keep_markers)
            for read in reads:
                if read.goes:
                    found.append(_box(read.spot, frames.image))
                    unread += found[-1:] if read.sure < _READ or len(read.text.strip()) < _WORD else []
        return _distinct(found), unread

    def _left(self, made: Blackened, boxes: Sequence[Box], patterns: Patterns) -> list[Box]:
        """Text that a second look finds in the file with black boxes, outside of these."""
        file = BytesIO(made.data)
        again, _ = self._text(_Frames(file, scan_file(file)), (), patterns)
        return [box for box in again if not any(_covers(other, box) for other in boxes)]


def text_step(profile: Profile) -> TextStep | None:
    """What looks at pixels under a profile; None where nothing does, or where the extra `pixels` is not installed.

    Raises
    ------
    Invalid
        When the profile's device rules cannot be read.
    """
    rules = device_rules(profile.device_rules)
    if profile.pixels == "quarantine" or missing():
        return None
    return TextStep(rules, keep_markers=profile.markers == "keep", regions_only=profile.ultrasound == "regions")


class _Frames:
    """The frames of an instance, decoded one at a time."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file: Final = file
        self._header: Final = header
        self.image: Final[ImageDescription] = describe(file, header)
        encapsulated = header.pixel_data is not None and header.pixel_data.encapsulated
        self._offsets: Final[Sequence[int]] = frame_offsets(file, header) if encapsulated else ()
        self.count: Final = len(self._offsets) - 1 if encapsulated else native_frame(header).count
        if self.count < number_of_frames(header) or not self.count:
            raise Unreadable("truncated", "The pixel data is shorter than its frames.")

    def show(self, boxes: Sequence[Box]) -> bool:
        """Whether there is more than one plain colour in boxes; of long cines that is taken for granted."""
        if not boxes or self.count > _ALL:
            return bool(boxes)
        for number in range(self.count):
            pixels = self._decoded(number)
            plain = pixels[boxes[0].row, boxes[0].column]
            for box in boxes:
                if (pixels[box.row : box.row + box.rows, box.column : box.column + box.columns] != plain).any():
                    return True
        return False

    def looks(self, known: Sequence[Box]) -> Iterator[tuple[Views, NDArray[np.bool_] | None]]:
        """Frames to look at, known boxes black in them, with the cells that are new since frames before it.

        All of short cines; of longer ones some as a whole, and of the others what has sharp edges where no frame before
        had any.
        """
        whole = (
            set(range(self.count))
            if self.count <= _ALL
            else set(np.linspace(0, self.count - 1, _FULL, dtype=int).tolist())
        )
        sharp: NDArray[np.bool_] | None = None
        for number in sorted(whole):
            seen = Views(self._covered(number, known), self.image)
            sharp = seen.sharp if sharp is None else sharp | seen.sharp
            yield seen, None
        for number in range(self.count):
            if number in whole or sharp is None:
                continue
            seen = Views(self._covered(number, known), self.image)
            new = seen.sharp & ~sharp
            sharp = sharp | seen.sharp
            if new.sum() >= _NEW_CELLS:
                yield seen, new

    def _covered(self, number: int, known: Sequence[Box]) -> Pixels:
        pixels = self._decoded(number)
        if not known:
            return pixels
        pixels = pixels.copy()
        dark = pixels.max() if self.image.inverse and pixels.ndim == 2 else pixels.min()
        for box in known:
            if box.frame in (None, number):
                pixels[box.row : box.row + box.rows, box.column : box.column + box.columns] = dark
        return pixels

    def _decoded(self, number: int) -> Pixels:
        return decode_frame(read_frame(self._file, self._header, self._offsets, number), self.image)


def _box(spot: Spot, image: ImageDescription) -> Box:
    top, left = spot.top - _MARGIN, spot.left - _MARGIN
    return within(Box(top, left, spot.bottom + _MARGIN - top, spot.right + _MARGIN - left), image)


def _inside(boxes: Sequence[Box], image: ImageDescription) -> list[Box]:
    return [box for box in (within(one, image) for one in boxes) if box.rows and box.columns]


def _too_much(found: Sequence[Box], unread: Sequence[Box], image: ImageDescription) -> str:
    """Why what was found is not made black unseen; empty where it is."""
    if _share(found, image) > _MOST:
        return "more than half of it seems to be text"
    if _share(unread, image) > _UNREAD:
        return "what seems to be text in it cannot be read, and is large"
    return ""


def _distinct(boxes: Sequence[Box]) -> list[Box]:
    """The boxes without those that lie within another."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda one: -one.rows * one.columns):
        if not any(_covers(other, box, share=1.0) for other in kept):
            kept.append(box)
    return kept


def _covers(box: Box, other: Box, share: float = 0.7) -> bool:
    """Whether a box covers a share of another one's area."""
    height = min(box.row + box.rows, other.row + other.rows) - max(box.row, other.row)
    width = min(box.column + box.columns, other.column + other.columns) - max(box.column, other.column)
    return height > 0 and width > 0 and height * width >= share * other.rows * other.columns


def _share(boxes: Sequence[Box], image: ImageDescription) -> float:
    """The share of an image that boxes make up."""
    covered = np.zeros((-(-image.rows // 4), -(-image.columns // 4)), bool)
    for box in boxes:
        covered[box.row // 4 : (box.row + box.rows) // 4, box.column // 4 : (box.column + box.columns) // 4] = True
    return float(covered.mean())


def _blackened(header: Header, made: Blackened, boxes: Sequence[Box], found: Sequence[Box]) -> Verdict:
    parts: list[str] = []
    if found:
        parts.append(f"{len(found)} of text found")
    if len(boxes) > len(found):
        parts.append(f"{len(boxes) - len(found)} where text is known to stand")
    new = scan_file(BytesIO(made.data)).transfer_syntax_uid
    if header.pixel_data is not None and header.pixel_data.encapsulated and new != header.transfer_syntax_uid:
        parts.append(f"stored as {uid_name(new)}")
    return Verdict("blackened", tuple(boxes), made.data, reason=", ".join(parts), changed=made.changed)
