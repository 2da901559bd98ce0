"""Frames as pictures over HTTP: in geometric order, windowed as asked, conditional, and a thumbnail for everything."""

from collections.abc import Iterator

import httpx
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, JPEGBaseline8Bit, generate_uid

from hilum.imaging.archive.decoded import DecodedFrame, DecodedFrames
from hilum.imaging.archive.store import Archive
from tests.dicom.files import wheel_file, written
from tests.dicom.images import image_of
from tests.dicom.test_pixels import IMAGE
from tests.dicomweb.conftest import Web, listening

STUDY, SERIES = generate_uid(), generate_uid()


@pytest.fixture
def web(archive: Archive) -> Iterator[Web]:
    with listening(archive) as running:
        yield running


def kept(web: Web, *data_sets: Dataset, syntax: str | None = None) -> None:
    for data_set in data_sets:
        data_set.StudyInstanceUID, data_set.SeriesInstanceUID = STUDY, SERIES
    web.keep(*(written(one, syntax) if syntax else written(one) for one in data_sets))


def get(web: Web, path: str, **options: object) -> httpx.Response:
    root = web.root.removesuffix("/dicom-web")
    url = f"{root}/api/v1/imaging/studies/{STUDY}/series/{SERIES}/{path}"
    return httpx.get(url, timeout=60, **options)  # pyright: ignore[reportArgumentType]


def picture(answer: httpx.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    return imagecodecs.png_decode(answer.content)


def slices() -> list[Dataset]:
    """Five slices whose value is their place along the normal; neither numbers nor names are in that order."""
    found: list[Dataset] = []
    for place, number in ((3, 1), (0, 2), (4, 3), (1, 4), (2, 5)):
        one = image_of(np.full((8, 8), 10 * place, np.uint16), InstanceNumber=number)
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 5 * place], [1, 0, 0, 0, 1, 0]
        one.WindowCenter, one.WindowWidth, one.VOILUTFunction = 20, 40, "LINEAR_EXACT"
        found.append(one)
    return found


def test_frames_are_counted_from_one_along_the_normal(web: Web) -> None:
    kept(web, *slices())
    shades = [int(picture(get(web, f"frames/{number}"))[0, 0]) for number in range(1, 6)]
    assert shades == [0, 64, 128, 191, 255]
    for number in (0, -1, 6, 10**12):
        assert get(web, f"frames/{number}").status_code == 404


def test_without_geometry_the_instance_number_counts_and_frames_of_one_stay_together(web: Web) -> None:
    two = image_of(np.array([[[1] * 4] * 4, [[2] * 4] * 4], np.uint8), InstanceNumber=2)
    one = image_of(np.full((4, 4), 9, np.uint8), InstanceNumber=1)
    kept(web, two, one)
    shades = [int(picture(get(web, f"frames/{n}", params={"center": 5, "width": 10}))[0, 0]) for n in (1, 2, 3)]
    assert shades[0] > shades[2] > shades[1]
    assert get(web, "frames/4").status_code == 404


def test_the_picture_follows_what_is_asked(web: Web) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    kept(web, image_of(ramp, WindowCenter=128, WindowWidth=256))
    assert np.array_equal(picture(get(web, "frames/1")), ramp)
    asked = {"center": 100, "width": 50}
    expected = np.floor(np.clip((ramp.astype(float) - 99.5) / 49 + 0.5, 0, 1) * 255 + 0.5)
    assert np.array_equal(picture(get(web, "frames/1", params=asked)), expected)
    assert np.array_equal(picture(get(web, "frames/1", params=asked | {"invert": "true"})), 255 - expected)
    assert picture(get(web, "frames/1", params={"center": 0}))[15, 15] == 255
    assert len(np.unique(picture(get(web, "frames/1", params={"width": 1})))) == 2
    assert picture(get(web, "frames/1", params={"scale": 8})).shape == (128, 128)
    jpeg = get(web, "frames/1", params={"format": "jpeg"})
    assert jpeg.headers["content-type"] == "image/jpeg"
    assert np.abs(imagecodecs.jpeg8_decode(jpeg.content).astype(int) - ramp).mean() < 3


def test_what_makes_no_picture_is_refused_with_a_sentence(web: Web) -> None:
    kept(web, image_of(np.zeros((4, 4), np.uint16)))
    wrong: list[dict[str, object]] = [
        {"width": 0}, {"width": -1}, {"width": "nan"}, {"center": "inf"}, {"scale": 0.5}, {"scale": 9},
        {"scale": "nan"}, {"format": "gif"}, {"windowWidth": 3},
    ]  # fmt: skip
    for asked in wrong:
        answer = get(web, "frames/1", params=asked)
        assert answer.status_code == 422, asked
        assert answer.json()["detail"]


def test_pixels_that_are_not_square_are_shown_square(web: Web) -> None:
    kept(web, image_of(np.zeros((10, 20), np.uint8), PixelAspectRatio=[2, 1]))
    assert picture(get(web, "frames/1")).shape == (20, 20)


def test_a_frame_is_conditional_and_stays_with_the_person_who_asked(web: Web) -> None:
    kept(web, *slices())
    answer = get(web, "frames/2")
    assert answer.headers["cache-control"] == "private, no-cache"
    tag = answer.headers["etag"]
    again = get(web, "frames/2", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    others = [get(web, "frames/3"), get(web, "frames/2", params={"invert": "true"})]
    others.append(get(web, "frames/2", params={"scale": 2}))
    assert len({tag, *(other.headers["etag"] for other in others)}) == 4


def test_the_window_of_the_file_is_told(web: Web) -> None:
    plain = image_of(np.zeros((4, 4), np.uint16), InstanceNumber=9)
    kept(web, *slices(), plain)
    assert get(web, "frames/1/window").json() == {"center": 20.0, "width": 40.0}
    answer = get(web, "frames/6/window")
    assert (answer.status_code, answer.json()) == (200, None)


def test_compressed_frames_of_several_are_found(web: Web) -> None:
    frames = [bytes(imagecodecs.jpeg8_encode(np.full((16, 16), 40 * n, np.uint8))) for n in range(5)]
    data_set = image_of(np.zeros((5, 16, 16), np.uint8), WindowCenter=128, WindowWidth=256)
    data_set.PixelData = encapsulate(frames)
    data_set["PixelData"].is_undefined_length = True
    kept(web, data_set, syntax=JPEGBaseline8Bit)
    assert [int(picture(get(web, f"frames/{n}"))[0, 0]) for n in range(1, 6)] == [0, 40, 80, 120, 160]


def test_every_series_has_a_thumbnail(web: Web) -> None:
    kept(web, *slices())
    small = picture(get(web, "thumbnail"))
    assert small.shape == (8, 8)
    assert (small == 128).all()


def no_image() -> Dataset:
    data_set = image_of(np.zeros((4, 4), np.uint8))
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated"):
        del data_set[keyword]
    return data_set


def pdf() -> Dataset:
    data_set = no_image()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    data_set.EncapsulatedDocument = b"%PDF"
    return data_set


def report() -> Dataset:
    data_set = no_image()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    return data_set


def cmyk() -> Dataset:
    return image_of(np.zeros((4, 16), np.uint8), Columns=4, SamplesPerPixel=4, PhotometricInterpretation="CMYK")


@pytest.mark.parametrize("make", [pdf, report, cmyk])
def test_what_cannot_be_shown_has_a_neutral_thumbnail(web: Web, make: object) -> None:
    assert callable(make)
    kept(web, make())
    answer = get(web, "thumbnail")
    neutral = picture(answer)
    assert neutral.shape == (256, 256)
    assert set(np.unique(neutral)) == {38, 150}
    assert get(web, "thumbnail", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert get(web, "frames/1").status_code in (404, 422)


@pytest.mark.parametrize("damaged", [True, False])
def test_a_damaged_frame_and_a_video_have_one_too(web: Web, damaged: bool) -> None:
    data_set = image_of(np.zeros((16, 16, 3), np.uint8), "YBR_PARTIAL_420", NumberOfFrames=1 if damaged else 7)
    data_set.PixelData = encapsulate([b"\xff\xd8\xff\xe0 no picture at all" if damaged else b"\0\0\1\xba" * 100])
    data_set["PixelData"].is_undefined_length = True
    kept(web, data_set, syntax=JPEGBaseline8Bit if damaged else MPEG4HP41)
    assert picture(get(web, "thumbnail")).shape == (256, 256)
    answer = get(web, "frames/1")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("The compressed frame ends" if damaged else "Video")


def test_real_files_of_all_kinds_have_thumbnails(web: Web) -> None:
    names = (
        "JPGExtended.dcm",
        "SC_rgb_jpeg.dcm",
        "reportsi.dcm",
        "rtplan.dcm",
        "examples_palette.dcm",
        "liver_1frame.dcm",
    )
    for name in names:
        web.keep(wheel_file(name).read_bytes())
    root = web.root.removesuffix("/dicom-web")
    for study in httpx.get(f"{root}/api/v1/imaging/studies").json()["items"]:
        detail = httpx.get(f"{root}/api/v1/imaging/studies/{study['id']}").json()
        for series in detail["series"]:
            url = f"{root}/api/v1/imaging/studies/{study['id']}/series/{series['id']}/thumbnail"
            answer = httpx.get(url, timeout=60)
            assert imagecodecs.png_decode(answer.content).ndim in (2, 3)


def frame(size: int) -> DecodedFrame:
    return DecodedFrame(np.zeros(size, np.uint8), IMAGE)


def test_decoded_frames_are_kept_up_to_a_number_of_bytes_the_last_used_longest() -> None:
    frames, decoded = DecodedFrames(100), list[str]()

    def get_one(name: str, size: int = 30) -> None:
        def decode() -> DecodedFrame:
            decoded.append(name)
            return frame(size)

        frames.get(name, 1, decode)

    for name in "abcabd":
        get_one(name)
    assert decoded == list("abcd")
    assert frames.bytes == 90
    get_one("a")
    get_one("c")
    assert decoded == list("abcdc")
    get_one("large", 51)
    assert frames.bytes == 90
