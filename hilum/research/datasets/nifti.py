"""Volumes as NIfTI with a JSON beside each, in folders as BIDS names them, made by ``dcm2niix``. What it cannot turn
into a volume is told; there is no clock in what is written, so that the same series come to the same bytes."""

import gzip
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import dcm2niix
import msgspec

import hilum
from hilum.core.blobs import Blobs
from hilum.research.datasets.contents import SetInstance

_SECONDS: Final = 900
_VERSION: Final = re.compile(r"v\d+\.\d+\.\d+", re.ASCII)
_BIDS_VERSION: Final = "1.10.0"


@dataclass(frozen=True, slots=True)
class Volume:
    """What became of a series: its files by path, or none with the reason."""

    instances: Sequence[SetInstance]
    files: tuple[tuple[str, Path], ...]
    reason: str = ""


@cache
def version() -> str:
    """Of dcm2niix."""
    done = subprocess.run([dcm2niix.bin, "--version"], capture_output=True, text=True, timeout=60, check=False)
    found = _VERSION.search(done.stdout)
    return found[0] if found else "unknown"


def volumes(instances: Iterable[SetInstance], blobs: Blobs, folder: Path) -> Iterator[Volume]:
    """Turn series into volumes, one after the other.

    Parameters
    ----------
    instances
        In order: those of a series side by side.
    blobs
        Where their bytes are.
    folder
        For the files of one volume, which are to be taken before the next is asked for.
    """
    runs: dict[tuple[str, str, str], int] = {}
    for _, group in groupby(instances, key=lambda one: (one.person_id, one.study, one.series)):
        series = list(group)
        first = series[0]
        key = (first.person_id, first.accession, first.modality)
        runs[key] = runs.get(key, 0) + 1
        with TemporaryDirectory(dir=folder) as work:
            yield _converted(series, runs[key], blobs, Path(work))


def describe(name: str, licence: str, people: Iterable[str], folder: Path) -> None:
    """Write what BIDS wants at the root: ``dataset_description.json`` and ``participants.tsv``."""
    about: dict[str, object] = {
        "Name": name, "BIDSVersion": _BIDS_VERSION, "DatasetType": "raw", "License": licence.partition("\n")[0],
        "GeneratedBy": [
            {"Name": "Hilum", "Version": hilum.__version__}, {"Name": "dcm2niix", "Version": version()},
        ],
    }  # fmt: skip
    (folder / "dataset_description.json").write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
    lines = ["participant_id", *(f"sub-{person}" for person in people)]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _converted(series: Sequence[SetInstance], run: int, blobs: Blobs, work: Path) -> Volume:
    source, made = work / "dicom", work / "nifti"
    source.mkdir()
    made.mkdir()
    for number, one in enumerate(series):
        with (source / f"{number:06d}.dcm").open("wb") as file:
            for chunk in blobs.stream(one.blob_key):
                file.write(chunk)
    command = [dcm2niix.bin, "-b", "y", "-ba", "n", "-z", "n", "-w", "1", "-f", "out", "-o", str(made), str(source)]
    try:
        subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Volume(series, (), "dcm2niix took too long.")
    found = sorted(made.glob("out*.nii"))
    if not found:
        return Volume(series, (), "dcm2niix makes no volume of it.")
    first = series[0]
    modality = re.sub(r"[^a-z0-9]", "", first.modality.lower()) or "ot"
    stem = f"sub-{first.person_id}_ses-{first.accession}_run-{run:02d}"
    place = f"sub-{first.person_id}/ses-{first.accession}/{modality}"
    files: list[tuple[str, Path]] = []
    for path in found:
        suffix = re.sub(r"[^A-Za-z0-9]", "", path.stem.removeprefix("out"))
        name = f"{place}/{stem}{f'_desc-{suffix}' if suffix else ''}_{modality}"
        packed = path.with_suffix(".nii.gz")
        packed.write_bytes(gzip.compress(path.read_bytes(), compresslevel=6, mtime=0))
        files.append((f"{name}.nii.gz", packed))
        for ending in (".json", ".bval", ".bvec"):
            beside = path.with_suffix(ending)
            if beside.is_file():
                files.append((f"{name}{ending}", beside))
    return Volume([replace(one, target=files[0][0]) for one in series], tuple(files))
