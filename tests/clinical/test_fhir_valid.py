"""Whatever comes in, what goes out is FHIR R4 (4.0.1) to three judges of others."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence
from pydicom.sr._concepts_dict import concepts

from hilum.clinical.fhir import codes
from hilum.clinical.fhir.imaging_study import cancel, make_imaging_study
from hilum.core.postgres import EmbeddedPostgres
from hilum.imaging.dicom.header import NotDicom
from tests.clinical.conftest import Fhir
from tests.clinical.oracles import assert_valid, by_fhir_resources, by_fhirkit, by_npm
from tests.dicom.files import wheel
from tests.dicomweb.conftest import shared
from tests.make import ct, uid
from tests.routing.test_cstore_out import in_native

ODD = st.sampled_from(
    [
        "", " ", "\x1b$B", "a\0b", "CT\\PT", "ÅÄÖ 山田", "\ufffe", "x" * 64, "a\n\tb", "  two  blanks ", "\u2028",
        "6x \u2005«", "^^^",
    ]
)  # fmt: skip
TEXTS = st.one_of(ODD, st.text(max_size=70))
CODES = st.one_of(st.sampled_from(["CT", "MR", "PT", "SR", "", "ct ", "C T", "OT"]), st.text(max_size=16))
DATES = st.one_of(st.none(), st.dates(), st.sampled_from([date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29)]))
TIMES = st.one_of(st.none(), st.times(), st.sampled_from([time(0), time(23, 59, 59, 999_999)]))
OFFSETS = st.one_of(
    st.sampled_from(["", "+0100", "-0330", "+1400", "-1200", "+9999", "0100", "+0060", "Z", "-0000"]),
    st.text(max_size=6),
)  # fmt: skip
NOW = datetime.now(UTC)
NUMBERS = st.one_of(st.none(), st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]))
UIDS = st.lists(st.integers(0, 9999), min_size=1, max_size=5).map(lambda parts: ".".join(["1.2", *map(str, parts)]))
PARTS = st.one_of(st.sampled_from(["CHEST", "HEAD", "cspine", "ARM", "Left foot", ""]), TEXTS)
REGIONS = st.one_of(
    st.sampled_from(["", "69536005^SCT^Head", "T-D3000^SRT^", "T-X^SNM3^\n", "x^SCT^y", "1^99A^Left foot", "^^"]), TEXTS
)
INSTANCES = st.lists(
    st.tuples(UIDS, st.sampled_from(["", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"]), NUMBERS), max_size=3
)  # fmt: skip
SERIES = st.fixed_dictionaries(
    {
        "series_instance_uid": UIDS, "series_number": NUMBERS, "modality": CODES, "series_description": TEXTS,
        "body_part": PARTS, "anatomic_region": REGIONS,
        "laterality": st.sampled_from(["", "L", "R", "B", "U", "l", "?"]), "series_date": DATES, "series_time": TIMES,
        "procedure_step_date": DATES, "procedure_step_time": TIMES, "instances": INSTANCES,
        "num_instances": st.integers(0, 9),
    }
)  # fmt: skip
STUDIES = st.fixed_dictionaries(
    {
        "study_instance_uid": UIDS, "source_id": st.just(3), "source_key": st.sampled_from(["default", "a-b-9"]),
        "availability": st.sampled_from(["local", "remote"]), "timezone_offset": OFFSETS, "study_date": DATES,
        "study_time": TIMES, "modalities": st.lists(CODES, max_size=4, unique=True), "study_description": TEXTS,
        "accession_number": TEXTS, "patient_id": TEXTS, "patient_name": TEXTS,
        "issuer_of_patient_id": st.one_of(TEXTS, st.sampled_from(["1.2.3", "https://a.example/i", "urn:x:y", "1.02"])),
        "person_id": st.one_of(st.none(), st.integers(1, 2**62)), "deleted_at": st.sampled_from([None, NOW]),
    }
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(STUDIES, st.lists(SERIES, max_size=3), st.integers(0, 3)), min_size=10, max_size=10))
def test_any_study_makes_a_valid_resource(cases: list[tuple[dict, list[dict], int]]) -> None:
    made = [make_imaging_study(study, series, revision, "Patient/{person_id}") for study, series, revision in cases]
    for each in made:
        if each.started:
            assert each.started[0] <= each.started[1]
    resources = [each.resource for each in made]
    assert_valid(json.loads(json.dumps(each | {"id": "1"})) for each in [*resources, *map(cancel, resources)])


def test_a_time_has_its_zone_and_without_one_there_is_no_time() -> None:
    def started(
        offset: str, clock: time | None = time(10, 15, 30, 5000), day: date | None = date(2024, 1, 31)
    ) -> object:
        study = {
            "study_instance_uid": "1.2", "source_id": 1, "source_key": "default", "availability": "local",
            "timezone_offset": offset, "study_date": day, "study_time": clock, "modalities": [], "patient_id": "P",
            "study_description": "", "accession_number": "", "patient_name": "", "issuer_of_patient_id": "",
            "person_id": None, "deleted_at": None,
        }  # fmt: skip
        return make_imaging_study(study, [], 0, "").resource.get("started")

    assert started("+0100") == "2024-01-31T10:15:30+01:00"
    assert started("-0330") == "2024-01-31T10:15:30-03:30"
    assert [started(offset) for offset in ("", "+1500", "0100", "+0161")] == ["2024-01-31"] * 4
    assert started("+0100", None) == "2024-01-31"
    assert started("+0100", day=None) is None


@pytest.fixture(scope="module")
def real(cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fhir]:
    """FHIR of an archive with every file of pydicom's wheel that it takes, and some of ours."""
    with shared(cluster, tmp_path_factory.mktemp("real")) as web:
        with web.archive.batch(web.archive.source(), "import") as batch:
            for path in wheel():
                with suppress(NotDicom):
                    batch.add(path.name, [path.read_bytes()])
            for one in (
                ct(1, TimezoneOffsetFromUTC="+0530"),
                ct(1, 2, Modality="SR", BodyPartExamined="KNEE", Laterality="L"),
            ):
                batch.add("ours", [one])
            batch.commit()
        fhir = Fhir(web.root.removesuffix("/dicom-web") + "/fhir", web)
        with web.archive.database.connect() as connection:
            for number in connection.exec_driver_sql("select id from hilum.study").scalars():
                fhir.resource(f"/ImagingStudy/{number}")
        yield fhir


def test_every_answer_is_valid(real: Fhir) -> None:
    whole = real.resource("/ImagingStudy?_count=500&_include=ImagingStudy:endpoint")
    studies = [entry["resource"] for entry in whole["entry"] if entry["search"]["mode"] == "match"]
    assert len(studies) == whole["total"] > 40
    other = [whole, *studies, *(real.resource(path) for path in ("/metadata", "/Endpoint", "/Endpoint/default"))]
    number = studies[0]["id"]
    other += [real.resource(f"/ImagingStudy/{number}{path}") for path in ("/_history", "/_history/1")]
    other += [real.resource("/ImagingStudy?_id=0"), real.resource("/ImagingStudy?_summary=count")]
    other += [real.get(path).json() for path in ("/Patient/1", "/ImagingStudy/x", "/ImagingStudy?started=soon")]
    assert [each["resourceType"] for each in other[-3:]] == ["OperationOutcome"] * 3
    assert_valid(other)


def test_what_the_files_say_is_in_the_resource(real: Fhir) -> None:
    (entry,) = real.search(("identifier", f"urn:oid:{uid(1)}"))["entry"]
    study = entry["resource"]
    assert study["started"] == "2024-01-31T10:15:00+05:30"
    assert [each["code"] for each in study["modality"]] == ["CT", "SR"]
    assert study["subject"]["identifier"]["value"] == "P1"
    assert study["identifier"][1]["type"]["coding"][0]["code"] == "ACSN"
    assert study["basedOn"][0]["identifier"]["value"] == "A1"
    assert (study["numberOfSeries"], study["numberOfInstances"], study["description"]) == (2, 2, "CT chest")
    first, second = study["series"]
    assert first["bodySite"] == {"system": "http://snomed.info/sct", "code": "816094009", "display": "Chest"}
    assert second["laterality"]["code"] == "419161000"
    assert first["instance"] == [
        {
            "uid": uid(1, 1, 1),
            "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2.840.10008.5.1.4.1.1.2"},
            "number": 1,
            "title": "CT Image",
        }
    ]
    whole = real.resource("/ImagingStudy?_count=500")
    with real.archive.database.connect() as connection:
        rows = connection.exec_driver_sql(
            "select study_instance_uid, num_series, num_instances, modalities from hilum.study"
        ).all()
    told = {
        entry["resource"]["identifier"][0]["value"].removeprefix("urn:oid:"): entry["resource"]
        for entry in whole["entry"]
    }
    for study_instance_uid, series, instances, modalities in rows:
        resource = told[study_instance_uid]
        assert (resource["numberOfSeries"], resource["numberOfInstances"]) == (series, instances)
        assert sum(len(each["instance"]) for each in resource["series"]) == instances
        assert {each["code"] for each in resource["modality"]} - {"OT"} == set(modalities) - {"OT"}


def test_the_endpoint_really_serves_the_series(real: Fhir) -> None:
    (entry,) = real.search(("identifier", f"urn:oid:{uid(1)}"))["entry"]
    study = entry["resource"]
    endpoint = real.resource(f"/{study['endpoint'][0]['reference']}")
    address = endpoint["address"]
    assert endpoint["connectionType"]["code"] == "dicom-wado-rs"
    for series in study["series"]:
        answer = httpx.get(f"{address}/studies/{uid(1)}/series/{series['uid']}", timeout=60)
        assert (answer.status_code, answer.content.count(b"DICM")) == (200, series["numberOfInstances"])


REGION_CASES = {
    ("CHEST", ""): ("816094009", "Chest"),
    ("CHEST", "69536005^SCT^whatever"): ("69536005", "Head"),
    ("CHEST", "7569003^SCT^Finger"): ("7569003", "Finger"),
    ("CHEST", "736637009^SCT^Somewhere rare"): ("736637009", "Somewhere rare"),
    ("", "T-D1100^SRT^Head"): ("69536005", "Head"),
    ("", "T-D3000^SNM3^"): ("816094009", "Chest"),
    ("HEAD", "T-D3000^99SDM^"): ("816094009", "Chest"),
    ("HEAD", "T-00000^SRT^Nowhere"): ("69536005", "Head"),
    ("HEAD", "X1^99ACME^Left foot"): ("69536005", "Head"),
    ("HEAD", "'; drop^SCT^Odd"): ("69536005", "Head"),
    ("", "X1^99ACME^Left foot"): (None, "Left foot"),
}


@pytest.mark.parametrize(("body_part", "region"), REGION_CASES)
def test_a_region_goes_before_a_body_part(body_part: str, region: str) -> None:
    code, display = REGION_CASES[body_part, region]
    coded = {"system": "http://snomed.info/sct", "code": code} if code else {}
    assert codes.body_site(body_part, region) == coded | {"display": display}


def test_regions_are_codes_that_dicom_knows() -> None:
    known = {code: 4 in cids for group in concepts["SCT"].values() for code, (_, cids) in group.items()}
    listed = {code for code, _ in codes._regions().values()}  # pyright: ignore[reportPrivateUsage]
    assert {code for code, in_cid_4 in known.items() if in_cid_4} <= listed <= set(known)


def coded(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    item.AnatomicRegionModifierSequence = [Dataset()]
    item.AnatomicRegionModifierSequence[0].CodeValue = "7771000"
    return Sequence([item])


def in_frames(region: Sequence, side: str) -> Sequence:
    """The functional groups of an enhanced object that tell of a region."""
    anatomy = Dataset()
    anatomy.AnatomicRegionSequence, anatomy.FrameLaterality = region, side
    groups = Dataset()
    groups.FrameAnatomySequence = Sequence([anatomy])
    return Sequence([groups])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_the_region_of_a_file_becomes_its_body_site(fhir: Fhir, syntax: str) -> None:
    """In every encoding, so by each of the two readers."""
    finger = coded("7569003", "SCT", "Finger")
    files = [
        ct(1, AnatomicRegionSequence=finger),
        ct(2, SharedFunctionalGroupsSequence=in_frames(finger, "R")),
        ct(3, AnatomicRegionSequence=coded("X", "99ACME", "Left foot"), BodyPartExamined=None, Laterality="L"),
    ]
    with fhir.archive.batch(fhir.archive.source(), "import") as batch:
        for one in files:
            batch.add("one", [in_native(one, syntax)])
        batch.commit()
    found = [fhir.search(("identifier", f"urn:oid:{uid(n)}"))["entry"][0]["resource"] for n in (1, 2, 3)]
    assert_valid(found)
    one, two, three = (resource["series"][0] for resource in found)
    assert one["bodySite"] == two["bodySite"] == {
        "system": "http://snomed.info/sct", "code": "7569003", "display": "Finger",
    }  # fmt: skip
    assert three["bodySite"] == {"display": "Left foot"}
    assert (two["laterality"]["display"], three["laterality"]["display"]) == ("Unilateral right", "Unilateral left")
    assert "laterality" not in one


def test_body_sites_are_codes_that_dicom_knows() -> None:
    known = _known()
    for word in ("CHEST", "BRAIN", "LSPINE", "ABDOMENPELVIS"):
        assert codes.body_site(word)
    for word, (code, display) in codes._body_sites().items():
        assert display in known[code], (word, code, display)
    assert codes.body_site("Left big toe") == {"display": "Left big toe"}
    assert codes.body_site("") is None


def _known() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for names in concepts["SCT"].values():
        for code, (meaning, _) in names.items():
            found.setdefault(code, set()).add(meaning.removesuffix(" (body structure)"))
    return found


WRONG = {
    "no status": lambda r: r.pop("status"),
    "no uid of a series": lambda r: r["series"][0].pop("uid"),
    "no subject": lambda r: r.pop("subject"),
    "modality as in R5": lambda r: r.update(modality=[{"coding": r["modality"]}]),
    "a status that is none": lambda r: r.update(status="done"),
    "a reference to the wrong type": lambda r: r.update(subject={"reference": "Endpoint/1"}),
    "a negative count": lambda r: r.update(numberOfSeries=-1),
    "a time without zone": lambda r: r.update(started="2024-01-31T10:15:00"),
    "an unknown field": lambda r: r.update(colour="red"),
    "an empty list": lambda r: r.update(series=[]),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_judges_find_what_is_wrong(real: Fhir, what: str) -> None:
    (entry,) = real.search(("identifier", f"urn:oid:{uid(1)}"))["entry"]
    resource = entry["resource"]
    WRONG[what](resource)
    said = by_fhirkit([resource]), by_fhir_resources([resource]), by_npm([resource])
    assert any(judge[0] for judge in said)
