"""The page on WADO-RS says what the code does."""

import re
from pathlib import Path

from hilum.imaging.dicom.dataset import INLINE_MAX, NUMBERS_INLINE_MAX
from hilum.imaging.dicom.encode import SYNTAXES
from hilum.imaging.dicom.image import MAX_BYTES
from hilum.imaging.dicom.uids import uid_name
from hilum.imaging.dicomweb import accept, retrieve_routes, syntaxes
from hilum.imaging.dicomweb.resources import MAX_FRAMES
from hilum.imaging.dicomweb.retrieve_routes import METADATA_OFFERS

PAGE = (Path(__file__).parents[2] / "docs/reference/dicomweb/retrieve.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_names_every_address() -> None:
    short = {"S": "/studies/{study}", "E": "/studies/{study}/series/{series}"}
    short["I"] = short["E"] + "/instances/{instance}"
    named = {short[one[0]] + one[1:] for row in table("Resources") for one in re.findall(r"`([^`]+)`", row[1])}
    assert named == {door.path.replace("{path:path}", "{path}") for door in retrieve_routes.DOORS}


def test_the_page_names_every_transfer_syntax_that_is_made() -> None:
    rows = table("Transfer syntaxes")
    assert {row[1] for row in rows} == set(SYNTAXES)
    assert {row[1] for row in rows[1:]} == set(syntaxes.LOSSLESS)
    for name, uid, media_type in rows:
        assert uid_name(uid).startswith(name.partition(",")[0].removesuffix(" Lossless"))
        offers = syntaxes.frame_offers("1.2.840.10008.1.2.1", single=True, made=SYNTAXES)
        types = {offer.media_type for offer in offers if offer.transfer_syntax == uid} - {accept.OCTETS}
        assert media_type.strip("`") in types or (not types and not media_type)


def test_of_one_image_type_the_first_syntax_on_the_page_is_the_default() -> None:
    first: dict[str, str] = {}
    for _, uid, media_type in table("Transfer syntaxes"):
        first.setdefault(media_type.strip("`"), uid)
    offers = syntaxes.frame_offers("1.2.840.10008.1.2.1", single=True, made=SYNTAXES)
    for media_type, uid in first.items():
        if media_type:
            chosen = accept.choose(accept.parse_accept(media_type), offers)
            assert chosen is not None
            assert chosen.transfer_syntax == uid


def test_the_page_names_every_media_type() -> None:
    named = set(re.findall(r"application/[a-z+-]+", "".join(cell for row in table("Media types") for cell in row)))
    dicom = syntaxes.dicom_offers("1.2.840.10008.1.2.1", single=True, made=SYNTAXES)
    given = {offer.media_type for offer in (*dicom, *METADATA_OFFERS, *syntaxes.bulkdata_offers("", parts=1))}
    assert named == given


def test_the_page_names_the_limits() -> None:
    limits = [int(re.sub(r"\D", "", row[1])) for row in table("Limits")]
    assert limits == [MAX_FRAMES, accept.MAX_LENGTH, MAX_BYTES >> 20, 4, INLINE_MAX, NUMBERS_INLINE_MAX]
