"""Rendered resources of WADO-RS (PS3.18 sections 8.3.5 and 10.4.1.1.3). The ids are those of the DICOMweb checklist."""

import io

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from tests.dicom.files import wheel_file, written
from tests.dicom.images import image_of
from tests.dicomweb.conftest import Web, parts
from tests.dicomweb.renditions import (
    RAMP,
    ROOT,
    STUDY,
    at,
    colours,
    document,
    film,
    gif,
    jpeg,
    nothing_to_see,
    path,
    png,
    ramp,
    report,
    video,
    windowed,
)
from tests.make import uid

PICTURE = f"{path()}/rendered"
FULL = windowed(RAMP, 2048, 4096, "linear")
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0" + bytes(range(256)) * 40


def test_w44_a_picture_is_a_jpeg_by_default(web: Web) -> None:
    web.keep(ramp())
    for accept in (None, "*/*", "image/*", "image/jpeg", "image/webp,image/jpeg;q=0.5"):
        answer = web.get(PICTURE, accept)
        assert np.abs(jpeg(answer).astype(int) - FULL).mean() < 2
        assert answer.headers["content-location"] == f"{web.root}{path()}/frames/1/rendered"


def test_w45_a_png_has_exactly_the_shades_of_the_standard(web: Web) -> None:
    web.keep(ramp())
    assert np.array_equal(png(web.get(PICTURE, "image/png")), FULL)


def test_w46_a_gif_of_one_frame_stands_still_and_is_exact(web: Web) -> None:
    web.keep(ramp())
    answer = web.get(PICTURE, "image/gif")
    assert answer.headers["content-type"] == "image/gif"
    (frame,), _ = gif(answer.content)
    assert np.array_equal(frame, FULL)


@pytest.mark.parametrize(("attributes", "duration"), [({"FrameTime": "50"}, 50), ({"CineRate": "25"}, 40), ({}, 100)])
def test_w46_a_gif_of_many_frames_moves_at_the_files_rate(
    web: Web, attributes: dict[str, object], duration: int
) -> None:
    web.keep(film(4, **attributes))
    frames, shown = gif(web.get(PICTURE, "image/gif").content)
    assert [int(frame[0, 0]) for frame in frames] == [10, 20, 30, 40]
    assert shown == duration


def test_w46_a_gif_of_colours_is_close_to_them(web: Web) -> None:
    web.keep(written(at(image_of(colours(), "RGB"))))
    data = web.get(PICTURE, "image/gif").content
    shown = imagecodecs.gif_decode(data)
    shown = shown[0] if shown.ndim == 4 else shown
    assert np.abs(shown.astype(int) - colours()).mean() < 20


def test_w47_frames_by_their_number(web: Web) -> None:
    web.keep(film())
    for number in (1, 4):
        answer = web.get(f"{path()}/frames/{number}/rendered", "image/png")
        assert set(png(answer).ravel()) == {10 * number}
        assert answer.headers["content-location"].endswith(f"/frames/{number}/rendered")
    listed = web.get(f"{path()}/frames/4,2%2C1/rendered", 'multipart/related; type="image/png"')
    assert [int(imagecodecs.png_decode(body)[0, 0]) for _, body in parts(listed)] == [40, 20, 10]
    assert parts(listed)[0][0]["Content-Location"] == f"{web.root}{path()}/frames/4/rendered"
    frames, _ = gif(web.get(f"{path()}/frames/2,3/rendered", "image/gif").content)
    assert [int(frame[0, 0]) for frame in frames] == [20, 30]
    assert web.get(f"{path()}/frames/2,3/rendered", "image/png").status_code == 406


def test_w47_frames_that_are_none(web: Web) -> None:
    web.keep(film())
    for listed, status in (("0", 400), ("abc", 400), ("5", 404), ("1,9", 404), ("1,,2", 400)):
        for what in ("rendered", "thumbnail"):
            answer = web.get(f"{path()}/frames/{listed}/{what}")
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_w47_an_instance_of_many_frames_shows_the_one_that_stands_for_all(web: Web) -> None:
    web.keep(film(RepresentativeFrameNumber=3))
    assert int(png(web.get(PICTURE, "image/png"))[0, 0]) == 30
    every = web.get(PICTURE, 'multipart/related; type="image/png"')
    assert [int(imagecodecs.png_decode(body)[0, 0]) for _, body in parts(every)] == [10, 20, 30, 40]
    web.keep(film())
    assert int(png(web.get(PICTURE, "image/png"))[0, 0]) == 10


def test_w48_a_viewport_is_filled_as_far_as_the_shape_allows(web: Web) -> None:
    web.keep(ramp())
    for viewport, shape in {
        "32,32": (32, 32),
        "32,100": (32, 32),
        "128,128": (128, 128),
        "200,20": (20, 20),
        "64,64,0,0,32,16": (32, 64),
        "10,10,,,,": (10, 10),
        "64,64,32,32": (64, 64),
        "1,30000": (1, 1),
    }.items():
        assert png(web.get(f"{PICTURE}?viewport={viewport}", "image/png")).shape == shape


def test_w48_a_region_is_cut_out_and_turned_over(web: Web) -> None:
    web.keep(ramp())

    def shown(viewport: str) -> object:
        return png(web.get(f"{PICTURE}?viewport={viewport}", "image/png"))

    part = FULL[16:48, 8:40]
    assert np.array_equal(shown("32,32,8,16,32,32"), part)
    assert np.array_equal(shown("32,32,8,16,-32,32"), part[:, ::-1])
    assert np.array_equal(shown("32,32,8,16,32,-32"), part[::-1])
    assert np.array_equal(shown("64,64,,,-64,-64"), FULL[::-1, ::-1])
    assert np.array_equal(shown("32,32,-8,-16,32,32"), part), "of a corner only the absolute values count"


def test_w48_pixels_that_are_not_square_are_shown_square(web: Web) -> None:
    web.keep(ramp(PixelSpacing=["2", "1"]))
    assert png(web.get(PICTURE, "image/png")).shape == (128, 64)
    assert png(web.get(f"{PICTURE}?viewport=64,64", "image/png")).shape == (64, 32)


def test_w49_a_window_of_each_function(web: Web) -> None:
    web.keep(ramp(RescaleSlope="2", RescaleIntercept="-1000"))
    for function in ("linear", "linear-exact", "sigmoid"):
        shown = png(web.get(f"{PICTURE}?window=500.5,300,{function}", "image/png"))
        assert np.array_equal(shown, windowed(RAMP.astype(float) * 2 - 1000, 500.5, 300, function))


def test_w50_what_is_malformed_is_refused_with_a_reason(web: Web) -> None:
    web.keep(ramp())
    for query in (
        *("window=40", "window=40,400", "window=40,0,linear", "window=a,b,linear", "window=40,400,cubic", "window="),
        *("window=nan,400,linear", "window=1e99,4,linear", "window=40,-1,sigmoid", "window=1,2,3,linear"),
        *("window=1,2,linear&window=1,2,linear", "viewport=", "viewport=10", "viewport=0,10", "viewport=-1,10"),
        *("viewport=a,b", "viewport=1.5,2", "viewport=99999,99999", "viewport=10,10,100,0,5,5", "viewport=inf,10"),
        *("viewport=10,10,0,0,0,5", "viewport=1,2,3,4,5,6,7", "quality=0", "quality=101", "quality=x", "quality=-5"),
        *("quality=1.5", "annotation=everything", "annotation=", "iccprofile=maybe"),
    ):
        answer = web.get(f"{PICTURE}?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), query
        assert len(answer.json()["detail"]) > 20


def test_w50_what_is_not_done_is_not_acceptable(web: Web) -> None:
    web.keep(ramp())
    for query in ("annotation=patient", "annotation=patient,technique", "iccprofile=adobergb"):
        assert web.get(f"{PICTURE}?{query}").status_code == 406


def test_w51_a_lower_quality_makes_a_smaller_jpeg(web: Web) -> None:
    web.keep(ramp())
    sizes = [len(web.get(f"{PICTURE}?quality={quality}").content) for quality in (5, 50, 100)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_w52_studies_and_series_come_in_parts(web: Web) -> None:
    web.keep(ramp(1, 1), ramp(1, 2, WindowCenter="1000"), ramp(2, 1))
    answer = web.get(f"/studies/{STUDY}/series/{uid(1, 2)}/rendered")
    assert answer.headers["content-type"].startswith('multipart/related; type="image/jpeg"')
    ((headers, body),) = parts(answer)
    assert headers == {
        "Content-Type": "image/jpeg", "Content-Location": f"{web.root}{path(2, 1)}/frames/1/rendered",
    }  # fmt: skip
    assert imagecodecs.jpeg8_decode(body).shape == (64, 64)


def test_w52_what_a_study_holds_that_is_no_picture_comes_in_its_own_form(web: Web) -> None:
    plan = pydicom.dcmread(io.BytesIO(nothing_to_see()))
    text = pydicom.dcmread(io.BytesIO(report()))
    web.keep(ramp(1, 1), written(at(text, 2, 1)), written(at(plan, 3, 1)))
    answer = web.get(f"/studies/{STUDY}/rendered")
    assert answer.status_code == 206, "the plan has no rendered form"
    assert {headers["Content-Type"] for headers, _ in parts(answer)} == {"image/jpeg", "text/html; charset=utf-8"}
    pictures = web.get(f"/studies/{STUDY}/rendered", 'multipart/related; type="image/png"')
    assert (pictures.status_code, len(parts(pictures))) == (206, 1)
    for accept in ("image/jpeg", 'multipart/related; type="application/dicom"'):
        assert web.get(f"/studies/{STUDY}/rendered", accept).status_code == 406
    assert web.get(f"/studies/{STUDY}/series/{uid(1, 3)}/rendered").status_code == 406


def test_w52_a_damaged_instance_does_not_end_the_answer(web: Web) -> None:
    broken = at(image_of(RAMP), 1, 1)
    broken.PixelData = encapsulate([b"\xff\x4f\xff\x51 nothing"])
    broken["PixelData"].VR, broken["PixelData"].is_undefined_length = "OB", True
    web.keep(written(broken, JPEG2000Lossless), ramp(1, 2))
    assert web.get(PICTURE).status_code == 406
    assert len(parts(web.get(f"{ROOT}/rendered"))) == 1


def test_w54_the_accept_parameter_stands_for_the_header(web: Web) -> None:
    web.keep(ramp())
    assert png(web.get(f"{PICTURE}?accept=image/png", "image/jpeg")).shape == (64, 64)
    assert png(web.get(f"{PICTURE}?accept=image%2Fpng")).shape == (64, 64)


def test_w55_a_pdf_comes_as_it_was_put_in(web: Web) -> None:
    data = b"%PDF-1.4 a small one, of odd length" + b"\n"
    data += b"x" * (1 - len(data) % 2)
    web.keep(document(data))
    answer = web.get(PICTURE)
    assert (answer.content, answer.headers["content-type"]) == (data, "application/pdf")
    assert web.get(PICTURE, Range="bytes=0-3").content == b"%PDF"
    assert web.get(PICTURE, If_None_Match=answer.headers["etag"]).status_code == 304
    assert web.get(PICTURE, "image/jpeg").status_code == 406
    ((_, body),) = parts(web.get(f"{ROOT}/rendered"))
    assert body == data


def test_w55_a_video_comes_as_its_stream_in_ranges(web: Web) -> None:
    web.keep(video(MP4))
    answer = web.get(PICTURE)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content.rstrip(b"\0") == MP4.rstrip(b"\0")
    middle = len(MP4) // 3 - 20
    part = web.get(PICTURE, "video/mp4", Range=f"bytes={middle}-{middle + 99}")
    assert (part.status_code, part.content) == (206, MP4[middle : middle + 100])
    assert web.get(PICTURE, "image/jpeg").status_code == 406
    assert web.get(f"{path()}/frames/1/rendered").status_code == 404


def test_w55_a_video_in_no_container_that_browsers_know_is_not_acceptable(web: Web) -> None:
    web.keep(video(b"\0\0\0\1\x67 a bare stream of H.264, as PS3.5 has it not" * 10))
    assert web.get(PICTURE).status_code == 406


def test_w55_a_report_is_a_page_or_plain_text(web: Web) -> None:
    web.keep(report())
    page = web.get(PICTURE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Diagnosis</h1>" in page.text
    assert "Jörg Riesmeier" in page.text
    assert "&amp;%$§&quot;" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    plain = web.get(f"{PICTURE}?charset=utf-8", "text/plain")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Diameter: 3 cm" in plain.text
    assert web.get(f"{PICTURE}?charset=iso-8859-5").status_code == 406


def test_w55_a_report_cannot_bring_a_script_or_a_link(web: Web) -> None:
    evil = "<script>alert(1)</script><a href='//evil.example'>x</a><img src=//evil.example>\x1b"
    ds = pydicom.dcmread(io.BytesIO(report(PatientName=evil, StudyDescription=evil)))
    ds.ConceptNameCodeSequence[0].CodeMeaning = evil
    for entry in ds.ContentSequence:
        entry.TextValue, entry.ValueType = evil, "TEXT"
        entry.ContentSequence = Sequence()
    web.keep(written(ds))
    text = web.get(PICTURE).text
    assert "&lt;script&gt;" in text
    for forbidden in ("<script", "<a ", "<img", 'href="', 'src="', "url(", "@import"):
        assert forbidden not in text


def test_w56_what_an_image_cannot_be_is_not_acceptable(web: Web) -> None:
    web.keep(ramp())
    for accept in ("text/html", "application/dicom", "image/webp", 'multipart/related; type="text/html"'):
        answer = web.get(PICTURE, accept)
        assert answer.status_code == 406
        assert "image/jpeg" in answer.json()["detail"]


def test_w43_w56_what_has_nothing_to_see_is_not_acceptable(web: Web) -> None:
    web.keep(nothing_to_see())
    assert web.get(PICTURE).status_code == 406
    assert web.get(f"{path()}/frames/1/rendered").status_code == 404


def test_w16_what_is_not_there_is_404(web: Web) -> None:
    web.keep(ramp())
    for one in (
        f"/studies/{uid(9)}",
        f"/studies/{STUDY}/series/{uid(9)}",
        f"{path(1, 9)}",
        f"/studies/{STUDY}/instances/{uid(9)}",
    ):
        for what in ("rendered", "thumbnail"):
            assert web.get(f"{one}/{what}").status_code == 404
    assert web.get("/studies/abc/rendered").status_code == 400


def test_w30_pictures_are_conditional_and_named_by_all_that_makes_them(web: Web) -> None:
    web.keep(ramp(), film())
    queries = ("", "?quality=50", "?window=1,2,linear", "?viewport=10,10", "?accept=image/png", "?iccprofile=no")
    answers = [web.get(PICTURE + query) for query in queries]
    tags = [answer.headers["etag"] for answer in answers]
    assert len(set(tags)) == len(queries)
    for query, tag in zip(queries, tags, strict=True):
        again = web.get(PICTURE + query, If_None_Match=tag)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cache-control"] == "private, no-cache"
    assert "Accept" in answers[0].headers.get_list("vary", split_commas=True)
    every = web.get(f"{ROOT}/rendered")
    assert web.get(f"{ROOT}/rendered", If_None_Match=every.headers["etag"]).status_code == 304
    web.keep(ramp(1, 2))
    assert web.get(f"{ROOT}/rendered", If_None_Match=every.headers["etag"]).status_code == 200


def test_w59_head_tells_without_a_body(web: Web) -> None:
    web.keep(ramp())
    for what in (f"{path()}/rendered", f"{path()}/thumbnail", f"{ROOT}/rendered"):
        answer = httpx.head(web.root + what)
        assert (answer.status_code, answer.content) == (200, b"")


def test_colours_keep_their_profile_lose_it_or_become_srgb(web: Web) -> None:
    profile = bytes(imagecodecs.cms_profile("adobergb"))
    web.keep(written(at(image_of(colours(), "RGB", ICCProfile=profile + b"\0" * (len(profile) % 2)))))
    own = web.get(f"{PICTURE}?iccprofile=yes", "image/png")
    bare = web.get(f"{PICTURE}?iccprofile=no", "image/png")
    converted = web.get(f"{PICTURE}?iccprofile=srgb", "image/png")
    assert [b"iCCP" in answer.content for answer in (own, bare, converted)] == [True, False, True]
    assert np.array_equal(png(own), colours())
    srgb = bytes(imagecodecs.cms_profile("srgb"))
    expected = imagecodecs.cms_transform(colours(), profile, srgb, colorspace="rgb")
    assert np.array_equal(png(converted), expected)
    assert not np.array_equal(png(converted), colours())


def test_too_many_frames_at_once_are_refused(web: Web) -> None:
    frames = np.zeros((2001, 1, 1), np.uint8)
    web.keep(written(at(image_of(frames))))
    assert web.get(PICTURE, 'multipart/related; type="image/png"').status_code == 413
    assert web.get(PICTURE, "image/gif").status_code == 413
    assert web.get(PICTURE, "image/png").status_code == 200


def test_real_files_of_many_syntaxes_are_shown(web: Web) -> None:
    for name in ("JPEG2000.dcm", "MR_small_RLE.dcm", "image_dfl.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm"):
        data = wheel_file(name).read_bytes()
        ds = pydicom.dcmread(io.BytesIO(data))
        web.keep(data)
        place = f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"
        assert png(web.get(f"{place}/rendered", "image/png")).std() > 0
        assert max(png(web.get(f"{place}/thumbnail", "image/png")).shape) <= 256
