"""Content negotiation (RFC 9110 section 12.5.1 with PS3.18 section 8.7)."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.core.errors import NotAcceptable
from hilum.imaging.dicom.encode import SYNTAXES
from hilum.imaging.dicomweb.accept import (
    MediaRange,
    Offer,
    accepts_gzip,
    choose,
    choose_or_refuse,
    parse_accept,
    parse_media_type,
)
from hilum.imaging.dicomweb.problems import BadRequest
from hilum.imaging.dicomweb.syntaxes import bulkdata_offers, dicom_offers, frame_offers

LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
J2K = "1.2.840.10008.1.2.4.90"
JPEG = "1.2.840.10008.1.2.4.50"


def test_a_header_is_read_with_quotes_parameters_and_qualities() -> None:
    header = 'multipart/related; TYPE="application/dicom"; transfer-syntax=*;q=0.5, image/jpeg, */*;q=0.1'
    assert parse_accept(header) == [
        MediaRange("application/dicom", True, "*", 0.5),
        MediaRange("image/jpeg", False, "", 1.0),
        MediaRange("*/*", None, "", 0.1),
    ]


@pytest.mark.parametrize("type_", ['"application/octet-stream"', "application/octet-stream"])
def test_the_type_parameter_may_stand_without_quotes(type_: str) -> None:
    assert parse_accept(f"multipart/related;type={type_}") == [MediaRange("application/octet-stream", True, "", 1.0)]


def test_separators_inside_quotes_do_not_separate() -> None:
    assert parse_media_type('multipart/related; boundary="a,b;c=\\"d"; x=1') == (
        "multipart/related",
        {"boundary": 'a,b;c="d', "x": "1"},
    )


@pytest.mark.parametrize("header", [None, "", " , "])
def test_no_header_accepts_everything(header: str | None) -> None:
    assert choose(parse_accept(header), dicom_offers(LITTLE, single=True)) is not None


@pytest.mark.parametrize(
    "header", ["nonsense", "a/b; c", 'a/b; c="d', "a/b;q=2", "a/b;q=high", "a/b;q=0.12345", "x" * 5000]
)
def test_what_is_no_media_range_is_a_bad_request(header: str) -> None:
    with pytest.raises(BadRequest):
        parse_accept(header)


@given(st.text(max_size=80))
def test_any_header_is_parsed_or_refused(header: str) -> None:
    try:
        ranges = parse_accept(header)
    except BadRequest:
        return
    choose(ranges, frame_offers(J2K, single=True))


def chosen(header: str, offers: list[Offer]) -> tuple[str, str, bool] | None:
    found = choose(parse_accept(header), offers)
    return found and (found.media_type, found.transfer_syntax, found.multipart)


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        ('multipart/related; type="application/dicom"', LITTLE, (LITTLE, True)),
        ('multipart/related; type="application/dicom"', IMPLICIT, (LITTLE, True)),
        ('multipart/related; type="application/dicom"', DEFLATED, (LITTLE, True)),
        ('multipart/related; type="application/dicom"', J2K, None),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', J2K, (J2K, True)),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', IMPLICIT, (LITTLE, True)),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', DEFLATED, (DEFLATED, True)),
        (f"application/dicom; transfer-syntax={J2K}", J2K, (J2K, False)),
        (f"application/dicom; transfer-syntax={J2K}", LITTLE, None),
        (f"application/dicom; transfer-syntax={IMPLICIT}", IMPLICIT, None),
        ("application/dicom", LITTLE, (LITTLE, False)),
        ("application/*", LITTLE, (LITTLE, False)),
        ("*/*", J2K, (J2K, True)),
        ("*/*;q=0.1, application/dicom;q=0.2", LITTLE, (LITTLE, False)),
        ("*/*, multipart/related;q=0", LITTLE, (LITTLE, False)),
        ("application/dicom+json", LITTLE, None),
    ],
)
def test_an_instance_is_given_in_the_form_that_is_accepted(
    header: str, stored: str, expected: tuple[str, bool] | None
) -> None:
    found = chosen(header, dicom_offers(stored, single=True))
    assert found == (expected and ("application/dicom", *expected))


def test_w13_a_study_is_never_given_as_a_single_part() -> None:
    assert chosen("application/dicom", dicom_offers(LITTLE, single=False)) is None


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=*",
            J2K,
            ("application/octet-stream", J2K, True),
        ),
        ("multipart/related; type=application/octet-stream", J2K, None),
        ('multipart/related; type="image/jp2"', J2K, ("image/jp2", J2K, True)),
        ('multipart/related; type="image/*"', J2K, ("image/jp2", J2K, True)),
        ("image/jpeg", JPEG, ("image/jpeg", JPEG, False)),
        ("image/jpeg", J2K, None),
        ('multipart/related; type="*/*"', LITTLE, ("application/octet-stream", LITTLE, True)),
        (f'multipart/related; type="image/jp2"; transfer-syntax={JPEG}', J2K, None),
    ],
)
def test_frames_are_given_in_the_form_that_is_accepted(
    header: str, stored: str, expected: tuple[str, str, bool] | None
) -> None:
    assert chosen(header, frame_offers(stored, single=True)) == expected


def test_w15_of_several_the_best_that_can_be_given_is_taken() -> None:
    header = (
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}, '
        'multipart/related; type="application/octet-stream"; transfer-syntax=*;q=0.5, '
        'multipart/related; type="image/jp2";q=0.4'
    )
    assert chosen(header, frame_offers(J2K, single=False)) == ("application/octet-stream", J2K, True)


def test_w29_what_ohif_accepts_is_given() -> None:
    header = (
        'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80, '
        'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1, '
        'multipart/related; type="application/octet-stream"; transfer-syntax=*, */*;q=0.1'
    )
    for stored in (LITTLE, IMPLICIT, J2K, JPEG):
        assert choose(parse_accept(header), frame_offers(stored, single=True)) is not None


def test_equal_wishes_are_met_in_the_order_of_the_client() -> None:
    offers = [Offer("application/dicom+json"), Offer("application/json")]
    assert chosen("application/json, application/dicom+json", offers) == ("application/json", "", False)


def test_a_refusal_names_what_can_be_had() -> None:
    with pytest.raises(NotAcceptable, match="image/jp2"):
        choose_or_refuse(parse_accept("text/plain"), frame_offers(J2K, single=False))


def test_bulk_data_of_several_parts_is_multipart() -> None:
    assert chosen("application/octet-stream", bulkdata_offers(J2K, parts=2)) is None
    assert chosen("*/*", bulkdata_offers("", parts=1)) == ("application/octet-stream", "", False)


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
        ("", False),
    ],
)
def test_the_gzip_coding(field: str, taken: bool) -> None:
    assert accepts_gzip({"accept-encoding": field}) is taken


@pytest.mark.parametrize(
    "header",
    [
        ",".join(["a/b"] * 1000), ";".join(["*/*"] + ["q=1"] * 1000), "*/*;" + '"' * 4000, "*/*" + ";x=" + "y" * 4000,
        ", ".join(f"a/b;q=0.{number % 10}" for number in range(300)), '*/*;x="' + "\\" * 3999, "," * 4096,
    ],
)  # fmt: skip
def test_w15_absurd_headers_cost_little(header: str) -> None:
    began = time.process_time()
    with contextlib.suppress(BadRequest):
        choose(parse_accept(header), frame_offers(J2K, single=True, made=SYNTAXES))
    assert time.process_time() - began < 1


def test_w15_the_quality_decides_before_the_order() -> None:
    header = "application/zip;q=0.3, application/dicom; transfer-syntax=*;q=0.6, */*;q=0.1"
    assert chosen(header, dicom_offers(J2K, single=True, made=SYNTAXES)) == ("application/dicom", J2K, False)
    assert chosen(header, dicom_offers(J2K, single=False, made=SYNTAXES)) == ("application/zip", J2K, False)


def test_w14_a_wildcard_means_the_default_transfer_syntax_of_instances() -> None:
    assert chosen("*/*", dicom_offers(J2K, single=True, made=SYNTAXES)) == ("application/dicom", LITTLE, True)
    assert chosen("*/*", frame_offers(J2K, single=True, made=SYNTAXES)) == ("application/octet-stream", J2K, True)
