"""How well de-identification is done, in the manner of the MIDI-B challenge: required actions over the planted set of
the tests, told one by one, of which each tool's output has done so many or not. Nothing of what is judged is used here
to judge it; how outputs come to be is for ``deid_peers``.

A file that is not in the output has kept no secret and retained nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from tests.research.deid.burned import Mask, burned
from tests.research.deid.cases import build
from tests.research.deid.planted import PATIENTS, Planted, Set, accession, part10
from tests.research.deid.score import at
from tests.research.deid.wide import build_wide

ACTIONS = (
    "text_removed", "text_retained", "text_notnull", "tag_retained", "date_shifted", "uid_changed", "uid_consistent",
    "patid_consistent", "pixels_hidden", "pixels_retained",
)  # fmt: skip
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "Modality", "SeriesNumber", "InstanceNumber",
)  # fmt: skip
NOT_NULL = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
REFERENCE = "ReferencedImageSequence/0/ReferencedSOPInstanceUID"
BURNED = ("CR 14", "CR 32", "MG", "DX hershey", "MONOCHROME1", "dark letters", "turned left", "US planar")
_FIRST_BURNED = 9001


@dataclass
class Inputs:
    """The set as all tools get it: its files, those with burned-in letters, and where these letters are."""

    planted: Set
    letters: dict[int, Mask]

    def write(self, folder: Path) -> int:
        """Write the files flat into a folder; how many they are."""
        folder.mkdir(parents=True)
        for number, one in enumerate(self.planted.files):
            (folder / f"{number:04}.dcm").write_bytes(one.data)
        return len(self.planted.files)


def inputs() -> Inputs:
    """The planted set of the tests, both of its parts, and some images with letters in them."""
    made, wide = build(), build_wide()
    made.files += wide.files
    made.uids |= wide.uids
    letters: dict[int, Mask] = {}
    for image in burned():
        if image.name in BURNED:
            number = _FIRST_BURNED + len(letters)
            ds = pydicom.dcmread(BytesIO(image.data))
            ds.InstanceNumber, ds.AccessionNumber = number, accession(PATIENTS[0])
            one = Planted(f"burned-{number}.dcm", PATIENTS[0], number)
            one.data = part10(ds, ds.file_meta.TransferSyntaxUID)
            made.files.append(one)
            letters[number] = image.ink
    return Inputs(made, letters)


@dataclass
class Score:
    """Required actions and those done, by action; and what a strict judge asks beyond MIDI-B."""

    required: dict[str, int]
    done: dict[str, int]
    failed: list[str]
    exact_dates: float

    @property
    def micro(self) -> float:
        """Percent of all actions."""
        return 100 * sum(self.done.values()) / max(1, sum(self.required.values()))

    @property
    def macro(self) -> float:
        """Mean of the percentages of the actions."""
        shares = [100 * self.done[action] / count for action, count in self.required.items() if count]
        return sum(shares) / max(1, len(shares))


def score(given: Inputs, outputs: Iterable[Path]) -> Score:
    """Judge outputs."""
    found = _found(outputs)
    required: dict[str, int] = dict.fromkeys(ACTIONS, 0)
    done: dict[str, int] = dict.fromkeys(ACTIONS, 0)
    failed: list[str] = []
    judge = _Judge(found, given)
    for one in given.planted.files:
        for action, what, fine in judge.actions(one):
            required[action] += 1
            done[action] += fine
            if not fine:
                failed.append(f"{one.number} {one.name} {action} {what}")
    return Score(required, done, failed, judge.exact_dates())


def _found(outputs: Iterable[Path]) -> dict[int, tuple[bytes, Dataset]]:
    """Outputs by the InstanceNumber, which every tool keeps."""
    found: dict[int, tuple[bytes, Dataset]] = {}
    for path in outputs:
        try:
            ds = pydicom.dcmread(path)
            found[int(ds.InstanceNumber)] = path.read_bytes(), ds
        except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError, NotImplementedError, EOFError):
            continue
    return found


class _Judge:
    def __init__(self, found: dict[int, tuple[bytes, Dataset]], given: Inputs) -> None:
        self._found = found
        self._letters = given.letters
        self._uids: dict[str, str] = {}
        self._people: dict[str, str] = {}
        self._moved: dict[str, list[int]] = defaultdict(list)

    def actions(self, one: Planted) -> Iterator[tuple[str, str, bool]]:
        """Every action that a file asks for, and whether it was done."""
        data, ds = self._found.get(one.number, (b"", None))
        texts = _texts(ds) if ds is not None else ""
        lower = data.lower()
        for secret in sorted(one.leaks):
            yield "text_removed", secret, not (secret.lower() in texts or _raw(secret, lower))
        if not one.out:
            return
        for place, value in one.kept.items():
            if place != "suv":
                yield "text_retained", place, ds is not None and str(_at(ds, place)).strip() == str(value).strip()
        original = pydicom.dcmread(BytesIO(one.data))
        yield from self._tags(original, ds)
        yield from self._dates(one, ds)
        yield from self._identity(original, ds)
        if one.pixels:
            yield "pixels_retained", "", ds is not None and _samples(ds) == one.pixels
        if one.number in self._letters:
            yield "pixels_hidden", "", ds is None or _hidden(ds, original, self._letters[one.number])

    def _tags(self, original: Dataset, ds: Dataset | None) -> Iterator[tuple[str, str, bool]]:
        for keyword in REQUIRED:
            if keyword in original:
                yield "tag_retained", keyword, ds is not None and keyword in ds
        for keyword in NOT_NULL:
            yield "text_notnull", keyword, ds is not None and bool(str(ds.get(keyword, "") or ""))

    def _dates(self, one: Planted, ds: Dataset | None) -> Iterator[tuple[str, str, bool]]:
        if one.unmoved:
            return
        for place, value in one.dates.items():
            new = str(_at(ds, place) or "") if ds is not None else ""
            yield "date_shifted", place, bool(new) and new != value
            if new:
                self._moved[one.patient.patient_id].append(_days(value, new))

    def _identity(self, original: Dataset, ds: Dataset | None) -> Iterator[tuple[str, str, bool]]:
        for keyword in UIDS:
            if keyword not in original:
                continue
            old, new = str(original[keyword].value), str(ds.get(keyword, "")) if ds is not None else ""
            yield "uid_changed", keyword, bool(new) and new != old
            yield "uid_consistent", keyword, bool(new) and self._uids.setdefault(old, new) == new
        old = _at(original, REFERENCE)
        if old:
            new = str(_at(ds, REFERENCE) or "") if ds is not None else ""
            yield "uid_consistent", REFERENCE, bool(new) and self._uids.setdefault(str(old), new) == new
        person = str(ds.get("PatientID", "")) if ds is not None else ""
        old_id = str(original.PatientID)
        same = bool(person) and self._people.setdefault(old_id, person) == person
        yield "patid_consistent", "", same and list(self._people.values()).count(person) == 1

    def exact_dates(self) -> float:
        """Percent of dates that moved by as many whole days as most of their person's did."""
        right = total = 0
        for days in self._moved.values():
            most = max(set(days), key=days.count)
            right += days.count(most) if most else 0
            total += len(days)
        return 100 * right / max(1, total)


def _texts(ds: Dataset) -> str:
    parts: list[str] = []
    try:
        parts += (str(element.value) for element in ds.iterall() if element.VR not in ("SQ", "OB", "OW", "UN"))
    except Exception:  # a tool's output may be anything
        return "\n".join(parts).lower()
    return "\n".join(parts).lower()


def _raw(secret: str, lower: bytes) -> bool:
    encoded = {secret.lower().encode(codec, "ignore") for codec in ("utf-8", "latin-1", "shift_jis", "utf-16-le")}
    return any(one in lower for one in encoded if len(one) > 4)


def _at(ds: Dataset, place: str) -> Any:
    try:
        return at(ds, place)
    except (AttributeError, IndexError, KeyError, TypeError):
        return None


def _samples(ds: Dataset) -> bytes:
    try:
        return ds.pixel_array.astype("<u2").tobytes()
    except Exception:  # a tool's output may be anything
        return b""


def _hidden(ds: Dataset, original: Dataset, ink: Mask) -> bool:
    """Whether letters no longer stand out from what is right around them."""
    before = _contrast(original, ink)
    try:
        after = _contrast(ds, ink)
    except Exception:  # a tool's output may be anything
        return True
    return abs(after) < 0.1 * abs(before)


def _contrast(ds: Dataset, ink: Mask) -> float:
    """How much brighter letters are than the two pixels around them."""
    pixels = ds.pixel_array.astype(float)
    pixels = pixels.mean(axis=-1) if pixels.ndim == 3 and pixels.shape[-1] == 3 else pixels
    pixels = pixels[0] if pixels.ndim > 2 else pixels
    around = (cv2.dilate(ink.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~ink
    return float(pixels[ink].mean() - pixels[around].mean())


def _days(old: str, new: str) -> int:
    try:
        first, second = (datetime.strptime(text[:8], "%Y%m%d") for text in (old, new))  # noqa: DTZ007
    except ValueError:
        return 0
    return (second - first).days if new[8:] == old[8:] else 0
