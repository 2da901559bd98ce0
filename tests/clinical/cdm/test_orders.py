"""What the files say of the order that they answer finds the procedure, is carried along, and is read once."""

from typing import Any

import pytest
from pydicom.dataset import Dataset

from hilum.clinical.linkage.orders import KINDS, order_of, read_orders
from hilum.clinical.linkage.status import status_of
from hilum.core.errors import Unavailable
from hilum.imaging.archive.delete import Part, delete_part
from tests.clinical.cdm.conftest import Site
from tests.make import ct, uid

LOINC = {"CodeValue": "24627-2", "CodingSchemeDesignator": "LN", "CodeMeaning": "CT Chest"}


def item(**values: Any) -> Dataset:
    found = Dataset()
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def concept(site: Site, number: int, code: str, *, vocabulary: str = "LOINC", standard: str | None = "S") -> None:
    site.rows(
        "insert into omop_vocabulary.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, "
        "standard_concept, concept_code, valid_start_date, valid_end_date) values (%s, 'made up', 'Measurement', %s, "
        "'', %s, %s, '1970-01-01', '2099-12-31')",
        number, vocabulary, standard, code,
    )  # fmt: skip


@pytest.fixture
def vocabulary(site: Site):
    yield site
    site.rows("delete from omop_vocabulary.concept_relationship")
    site.rows("delete from omop_vocabulary.concept where concept_name = 'made up'")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"RequestedProcedureID": "N7"}, "requested_procedure_id"),
        ({"PerformedProcedureStepID": "N7"}, "performed_procedure_step_id"),
        ({"PlacerOrderNumberImagingServiceRequest": " N7 "}, "placer_order_number"),
        ({"FillerOrderNumberImagingServiceRequest": "N7"}, "filler_order_number"),
        ({"RequestAttributesSequence": [item(RequestedProcedureID="N7")]}, "requested_procedure_id"),
        (
            {"RequestAttributesSequence": [item(AccessionNumber="X"), item(AccessionNumber="N7")]},
            "accession_number_of_request",
        ),
        (
            {"ReferencedRequestSequence": [item(PlacerOrderNumberImagingServiceRequest="N7")]},
            "placer_order_number",
        ),
        ({"AccessionNumber": "N7"}, "accession_number"),
    ],
)
def test_every_number_of_the_order_finds_the_procedure(site: Site, said: dict[str, Any], kind: str) -> None:
    """In whichever series of the study it stands; the concept and the day of the procedure do not matter."""
    site.person(1)
    site.procedure(70, 1, "X1|N7", concept=0, day="2024-02-20")
    site.procedure(71, 1, "N77", concept=0, day="2024-02-20")
    given = {"AccessionNumber": ""} | said
    site.store(ct(1, 1, 1, AccessionNumber=given["AccessionNumber"]), ct(1, 2, 1, **given))
    assert site.links()["procedure"] == (70, "procedure_source_value")
    assert site.one("select evidence->'by' from hilum.study_link where kind = 'procedure'") == [kind]
    assert {row[0] for row in site.images("procedure_occurrence_id")} == {70}


def test_the_most_telling_number_decides(site: Site) -> None:
    """An accession that two procedures bear is told apart by the requested procedure; one that names one is enough."""
    site.person(1)
    site.procedure(70, 1, "A1|RP1", concept=0)
    site.procedure(71, 1, "A1|RP2", concept=0)
    site.procedure(72, 1, "A2", concept=0)
    site.store(ct(1, 1, 1, RequestedProcedureID="RP2"), ct(2, 1, 1, PatientID="P1", RequestedProcedureID="RP1"))
    assert site.links(1)["procedure"] == (71, "procedure_source_value")
    assert site.links(2)["procedure"] == (72, "procedure_source_value")
    evidence = site.one(
        "select evidence from hilum.study_link where kind = 'procedure' and study_id = %s", site.study(1)
    )
    assert evidence == {"by": ["accession_number", "requested_procedure_id"], "candidates": [70, 71]}


def test_a_code_is_evidence_and_the_concept_of_a_minted_procedure(vocabulary: Site) -> None:
    site = vocabulary
    site.person(1)
    concept(site, 3_000_001, "24627-2")
    site.store(ct(1, 1, 1), ct(1, 2, 1, ProcedureCodeSequence=[item(**LOINC)]))
    row = site.one("select * from omop.procedure_occurrence")
    assert (row["procedure_concept_id"], row["procedure_source_concept_id"]) == (3_000_001, 3_000_001)
    code = {"scheme": "LN", "code": "24627-2", "meaning": "CT Chest"}
    found = code | {"concept_id": 3_000_001, "source_concept_id": 3_000_001}
    evidence = "select evidence from hilum.study_link where kind = 'procedure'"
    assert site.one(evidence)["code"] == found
    site.procedure(70, 1, "A1", concept=0)
    site.link_all()
    assert site.links()["procedure"] == (70, "procedure_source_value")
    assert site.one(evidence)["code"] == found
    site.rows("delete from omop.procedure_occurrence")
    site.rows("delete from omop_vocabulary.concept where concept_id = 3000001")
    site.link_all()
    row = site.one("select * from omop.procedure_occurrence")
    assert (row["procedure_concept_id"], row["procedure_source_concept_id"]) == (4180938, None)
    assert site.one(evidence)["code"] == code


def test_a_code_that_is_no_standard_one_gives_what_it_maps_to(vocabulary: Site) -> None:
    site = vocabulary
    site.person(1)
    concept(site, 3_000_001, "RPID16", vocabulary="RadLex", standard=None)
    concept(site, 3_000_002, "24627-2")
    site.rows(
        "insert into omop_vocabulary.concept_relationship values (3000001, 3000002, 'Maps to', '1970-01-01', "
        "'2099-12-31', null)"
    )
    coded = item(CodeValue="RPID16", CodingSchemeDesignator="RADLEX", CodeMeaning="CT CHEST")
    site.store(ct(1, 1, 1, ProcedureCodeSequence=[coded]))
    row = site.one("select * from omop.procedure_occurrence")
    assert (row["procedure_concept_id"], row["procedure_source_concept_id"]) == (3_000_002, 3_000_001)


def test_files_are_read_once_for_each_version_of_their_series(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1), ct(1, 2, 1))
    study = site.study()
    assert read_orders(site.archive, [study]) == 0
    assert site.link_all()["series_read"] == 0
    site.store(ct(1, 1, 0, InstanceNumber=0, RequestedProcedureID="RP0"))
    numbers = site.one(
        "select o.numbers from hilum.series_order o join hilum.series e on e.id = o.series_id "
        "where e.series_instance_uid = %s", uid(1, 1),
    )  # fmt: skip
    assert numbers == [{"kind": "requested_procedure_id", "number": "RP0"}]
    delete_part(site.archive.database, study, Part(uid(1, 1), uid(1, 1, 0)), "ann")
    assert read_orders(site.archive, [study]) == 1
    site.rows("delete from hilum.series_order")
    assert site.link_all()["series_read"] == 2


def test_storage_that_is_away_is_told_and_nothing_is_linked_without_it(site: Site) -> None:
    """And an object that is lost for good does not stand in the way."""
    site.person(1)
    site.procedure(70, 1, "RP7", concept=0)
    site.store(ct(1, 1, 1, AccessionNumber="", RequestedProcedureID="RP7"))
    site.rows("delete from hilum.series_order")
    objects = site.archive.settings.data_path / "objects"
    objects.rename(objects.with_name("away"))
    objects.symlink_to(objects)  # a file system that refuses every access
    with pytest.raises(Unavailable):
        site.link_all()
    objects.unlink()
    objects.with_name("away").rename(objects)
    assert site.link_all()["series_read"] == 1
    assert site.links()["procedure"] == (70, "procedure_source_value")
    site.rows("delete from hilum.series_order")
    site.archive.blobs.delete([site.one("select blob_key from hilum.instance")])
    assert site.link_all()["series_read"] == 0


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ({"SeriesDate": "20240102", "AcquisitionDate": "20240103", "ContentDate": "20240104"}, "2024-01-02"),
        ({"SeriesDate": "", "AcquisitionDate": "20240103", "ContentDate": "20240104"}, "2024-01-03"),
        ({"SeriesDate": "", "AcquisitionDateTime": "20240105101112.5+0100"}, "2024-01-05"),
        ({"SeriesDate": "", "ContentDate": "20240104"}, "2024-01-04"),
        ({"SeriesDate": ""}, "2024-01-31"),
        ({"SeriesDate": "", "StudyDate": "", "AcquisitionDate": "20240103"}, "2024-01-03"),
    ],
)
def test_the_day_of_a_row(site: Site, days: dict[str, str | None], found: str) -> None:
    site.person(1)
    site.procedure(70, 1, "A1")
    site.store(ct(1, 1, 1, **{"AcquisitionDate": "", "ContentDate": ""} | days))
    assert site.images("image_occurrence_date::text") == [(found,)]


def test_the_coded_region_decides_and_what_decided_is_kept(vocabulary: Site) -> None:
    """In SNOMED RT and CT, by our table and by the site's own vocabulary; a code that nobody knows gives way."""
    site = vocabulary
    site.person(1)
    concept(site, 3_000_009, "86598002", vocabulary="SNOMED")
    codes = [("T-D4000", "SRT"), ("86598002", "SCT"), ("T-D4000", "99LOCAL")]
    site.store(
        *(
            ct(1, n, 1, AnatomicRegionSequence=[item(CodeValue=code, CodingSchemeDesignator=scheme, CodeMeaning="x")])
            for n, (code, scheme) in enumerate(codes, 1)
        )
    )
    assert site.images("anatomic_site_concept_id") == [(37303869,), (3_000_009,), (4184181,)]
    known = site.rows("select anatomy_from, anatomy_word from hilum.series_occurrence order by series_instance_uid")
    assert [tuple(row.values()) for row in known] == [
        ("code", "818981001"), ("code", "86598002"), ("body_part", "CHEST"),
    ]  # fmt: skip
    counts = {check.name: check.count for check in status_of(site.archive.database, "default").checks}
    assert (counts["anatomy_by_code"], counts["anatomy_by_body_part"], counts["anatomy_by_description"]) == (2, 1, 0)


def test_a_hostile_header_is_bounded() -> None:
    many: Any = [{"00401001": {"vr": "SH", "Value": [f"{n}\0" + "x" * 500]}} for n in range(5000)]
    order = order_of(
        {
            "00400275": {"vr": "SQ", "Value": many},
            "0040A370": {"vr": "SQ", "Value": [None, {}, {"00402016": {"vr": "LO"}}]},
            "00081032": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": [7]}}]},
            "00080022": {"vr": "DA", "Value": ["99999999"]},
            "00402016": {"vr": "LO", "Value": []},
        }
    )
    assert len(order.numbers) == 20
    assert {len(number.number) for number in order.numbers} == {64}
    assert not any("\0" in number.number for number in order.numbers)
    assert (order.codes, order.acquired, order.made) == ((), None, None)
    assert {number.kind for number in order.numbers} <= set(KINDS)


@pytest.mark.parametrize("first", [1, 2])
def test_a_procedure_that_another_days_study_bears_the_number_of(site: Site, first: int) -> None:
    """Whichever of the two comes first: the one with the number has it."""
    site.person(1)
    site.procedure(70, 1, "RP9")
    other = {"PatientID": "P1", "StudyDate": "20240401", "RequestedProcedureID": "RP9"}
    files = {1: ct(1, 1, 1, AccessionNumber=""), 2: ct(2, 1, 1, **other)}
    site.store(files[first])
    site.store(files[3 - first])
    assert site.links(2)["procedure"] == (70, "procedure_source_value")
    assert site.links(1)["procedure"][1] == "minted"
