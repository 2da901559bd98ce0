"""Thumbnails of WADO-RS (PS3.18 section 10.4.1.1.4), and the objects that they are kept as."""

import io

import numpy as np
import pydicom
import pytest

from hilum.imaging.archive.thumbnails import remove_outdated, thumbnails_of
from tests.dicom.files import written
from tests.dicom.images import image_of
from tests.dicomweb.conftest import Web
from tests.dicomweb.renditions import (
    RAMP,
    ROOT,
    STUDY,
    at,
    film,
    jpeg,
    nothing_to_see,
    path,
    png,
    ramp,
    report,
    windowed,
)  # fmt: skip
from tests.make import uid

LEVELS = (f"/studies/{STUDY}", ROOT, path(), f"{path()}/frames/1", f"/studies/{STUDY}/instances/{uid(1, 1, 1)}")
SHOWN = windowed(RAMP, 2048, 4096, "linear")


def test_w53_every_level_has_one_small_picture(web: Web) -> None:
    web.keep(ramp())
    for level in LEVELS:
        assert np.abs(jpeg(web.get(f"{level}/thumbnail")).astype(int) - SHOWN).mean() < 2
        assert np.array_equal(png(web.get(f"{level}/thumbnail?accept=image/png")), SHOWN), "nothing is written into it"
        assert web.get(f"{level}/thumbnail", "image/jpeg").headers["content-type"] == "image/jpeg"


@pytest.mark.bucket
def test_w53_a_large_image_is_made_small_once_and_kept(web: Web) -> None:
    web.keep(written(at(image_of(np.kron(RAMP, np.ones((10, 8), np.uint16)), WindowCenter=2048, WindowWidth=4096))))
    first = png(web.get(f"{path()}/thumbnail", "image/png"))
    assert first.shape == (256, 205)
    (kept,) = [key for key, _ in web.archive.blobs.list("thumbnails")]
    assert kept.endswith("-1.png")
    assert np.array_equal(png(web.get(f"{path()}/thumbnail", "image/png")), first)


def test_w53_a_series_shows_its_middle_a_study_its_first_images(web: Web) -> None:
    shades = {1: "100", 2: "2048", 3: "4000"}
    web.keep(*(ramp(2, number, WindowCenter=center) for number, center in shades.items()), ramp(3, 1))
    text = pydicom.dcmread(io.BytesIO(report()))
    web.keep(written(at(text, 1, 1)))
    middle = png(web.get(f"{path(2, 2)}/thumbnail", "image/png"))
    for level in (f"/studies/{STUDY}/series/{uid(1, 2)}", f"/studies/{STUDY}"):
        assert np.array_equal(png(web.get(f"{level}/thumbnail", "image/png")), middle)


def test_w53_a_film_shows_the_frame_that_stands_for_it(web: Web) -> None:
    for attributes, shade in (({}, 30), ({"RepresentativeFrameNumber": 2}, 20)):
        web.keep(film(5, **attributes))
        assert int(png(web.get(f"{path()}/thumbnail", "image/png"))[0, 0]) == shade
    assert int(png(web.get(f"{path()}/frames/4,5/thumbnail", "image/png"))[0, 0]) == 40


def test_w53_the_size_may_be_asked_for(web: Web) -> None:
    web.keep(ramp())
    assert jpeg(web.get(f"{path()}/thumbnail?viewport=32,100")).shape == (32, 32)
    for query in ("viewport=32", "viewport=32,32,0,0,5,5", "viewport=x,y"):
        assert web.get(f"{path()}/thumbnail?{query}").status_code == 400


def test_w53_what_has_no_picture_shows_a_neutral_one(web: Web) -> None:
    for data in (report(), nothing_to_see()):
        web.keep(data)
        for query in ("", "?viewport=64,64"):
            assert jpeg(web.get(f"{path()}/thumbnail{query}")).max() > 0
    assert web.get(f"{path()}/thumbnail", "text/html").status_code == 406


def test_w53_w30_a_thumbnail_is_conditional(web: Web) -> None:
    web.keep(ramp())
    answer = web.get(f"{path()}/thumbnail")
    again = web.get(f"{path()}/thumbnail", If_None_Match=answer.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    others = [web.get(f"{path()}/thumbnail{query}") for query in ("?accept=image/png", "?viewport=9,9")]
    assert len({answer.headers["etag"], *(other.headers["etag"] for other in others)}) == 3


@pytest.mark.bucket
def test_thumbnails_of_an_earlier_version_are_removed(web: Web) -> None:
    web.keep(ramp())
    web.get(f"{path()}/thumbnail")
    blobs = web.archive.blobs
    (current,) = [key for key, _ in blobs.list("thumbnails")]
    digest = current.rpartition("/")[2].partition("-")[0]
    old, newer = (
        [f"thumbnails/ab/{digest}-1.png", f"thumbnails/2/ab/{digest}-1.png", "thumbnails/v1/ab/x-1.png"],
        "thumbnails/v9/ab/x-1.png",
    )
    with blobs.group() as group:
        for key in (*old, newer):
            item = group.create()
            item.write(b"picture")
            item.finish(key)
        group.commit()
    assert list(thumbnails_of(blobs, [digest])) == [current]
    assert remove_outdated(blobs) == len(old)
    assert {key for key, _ in blobs.list("thumbnails")} == {current, newer}
    assert remove_outdated(blobs) == 0
