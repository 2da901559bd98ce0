"""The score of an output folder against the planted set: it reads with pydicom and searches on its own, and uses
nothing of what it judges."""

import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.research.deid.planted import Planted, Set

# The key of each run draws new UIDs: what stands in their 39 digits by chance is nobody's.
_DRAWN = re.compile(rb"(?<![0-9.])2\.25\.[0-9]{30,39}(?![0-9.])")


@dataclass
class Score:
    """What became of the set."""

    leaks: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    kept: int = 0
    moved: int = 0
    wrong_dates: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed_pixels: list[str] = field(default_factory=list)
    suv: int = 0

    @property
    def retention(self) -> float:
        return self.kept / max(1, self.kept + len(self.lost))


def score(made: Set, folder: Path) -> Score:
    """Judge an output folder."""
    found: dict[int, tuple[Path, Dataset]] = {}
    for path in sorted(folder.rglob("*.dcm")):
        ds = pydicom.dcmread(path)
        found[int(ds.InstanceNumber)] = path, ds
    result = Score()
    made_uids = {str(ds.SOPInstanceUID) for _, ds in found.values()}
    for one in made.files:
        there = found.get(one.number)
        if not one.out:
            if there:
                result.stray.append(one.name)
            continue
        if there is None:
            result.missing.append(f"{one.number} {one.name}")
            continue
        _judge(one, *there, made.uids, made_uids, result)
    return result


def _judge(one: Planted, path: Path, ds: Dataset, old_uids: set[str], new_uids: set[str], result: Score) -> None:
    raw = path.read_bytes()
    said = "\n".join(str(e.value) for e in ds.iterall() if e.VR not in ("SQ", "OB", "OW", "UN"))
    lower, texts = _DRAWN.sub(b"*", raw).lower(), _DRAWN.sub(b"*", said.encode()).decode().lower()
    for secret in one.leaks:
        encoded = {
            secret.lower().encode(c, "ignore") for c in ("utf-8", "latin-1", "shift_jis", "iso2022_jp", "utf-16-le")
        }
        hidden = any(e in lower for e in encoded if len(e) > 4)
        if hidden or secret.lower() in texts:
            result.leaks.append(f"{one.number} {one.name}: {secret}")
    for old in old_uids:
        if old.encode() + b"\0" in raw or old in said.split("\n"):
            result.leaks.append(f"{one.number} {one.name}: {old}")
    for place, value in one.kept.items():
        if place == "suv":
            same = abs(suv(ds) - suv(value)) < 1e-9
            new: Any = suv(ds)
            result.suv += same
        else:
            new = at(ds, place)
            same = new == value or str(new).strip() == str(value).strip()
        if same:
            result.kept += 1
        else:
            result.lost.append(f"{one.number} {place}: {value!r} -> {new!r}")
    days = 0 if one.unmoved else one.patient.days
    for place, value in one.dates.items():
        day = dt.datetime.strptime(value[:8], "%Y%m%d") + dt.timedelta(days)  # noqa: DTZ007
        expected = f"{day:%Y%m%d}{value[8:]}"
        if str(at(ds, place)) == expected:
            result.moved += 1
        else:
            result.wrong_dates.append(f"{one.number} {place}: {value} -> {at(ds, place)}")
    for element in ds.iterall():
        if element.keyword == "ReferencedSOPInstanceUID" and str(element.value) not in new_uids:
            result.broken.append(f"{one.number} {element.value}")
    if one.pixels:
        samples = ds.pixel_array.astype("<u2").tobytes()
        if samples != one.pixels:
            result.changed_pixels.append(f"{one.number} {one.name}")
    if str(ds.PatientID) != one.patient.person_id or ds.PatientIdentityRemoved != "YES":
        result.broken.append(f"{one.number} identity")


def at(ds: Dataset, place: str) -> Any:
    """A value by a path of keywords, item numbers from 0, or +TYPE for the content item of a value type."""
    if "," in place:
        element = ds.get(Tag(int(place.replace(",", ""), 16)))
        return element.value if element else None
    here: Any = ds
    for part in place.split("/"):
        if part.startswith("+"):
            here = next((item for item in here if item.ValueType == part[1:]), None)
        elif part.isdigit():
            here = here[int(part)]
        else:
            here = here.get(part) if here is not None else None
    return here


def suv(ds: Dataset) -> float:
    """The factor from Bq/ml to SUV by body weight (QIBA's happy path)."""
    item = ds.RadiopharmaceuticalInformationSequence[0]
    scan = _moment(ds.SeriesDate, ds.SeriesTime)
    if "RadiopharmaceuticalStartDateTime" in item:
        text = str(item.RadiopharmaceuticalStartDateTime)
        start = _moment(text[:8], text[8:14])
    else:
        start = _moment(ds.SeriesDate, item.RadiopharmaceuticalStartTime)
    decay = 2 ** (-(scan - start).total_seconds() / float(item.RadionuclideHalfLife))
    return float(ds.PatientWeight) * 1000 / (float(item.RadionuclideTotalDose) * decay)


def _moment(date: str, time: str) -> dt.datetime:
    return dt.datetime.strptime(f"{date}{str(time)[:6]}", "%Y%m%d%H%M%S")  # noqa: DTZ007


def nothing_wrong(found: Score) -> None:
    """Nothing that identifies anyone is left, and all that is wanted is there, as it has to be."""
    assert found.leaks == []
    assert found.missing == []
    assert found.stray == []
    assert found.lost == []
    assert found.wrong_dates == []
    assert found.broken == []
    assert found.changed_pixels == []
