"""What files say becomes features: acquisition parameters, dose, and the measurements of structured reports."""

import io
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from hilum.clinical.features.acquisition import parameters, shipped
from hilum.clinical.features.content import content_of
from hilum.clinical.features.dose import read_dose
from hilum.clinical.features.extract import Choice, extract_all
from hilum.clinical.features.reports import report_of
from hilum.core.config import Settings
from hilum.core.errors import Invalid, Unavailable
from hilum.core.progress import job_here
from tests.clinical.features.conftest import Hospital
from tests.clinical.features.documents import Event, dose_report, measurement_report, projection_report
from tests.make import ct, uid, written

NAMED = ("feature_name", "value_numeric", "value_string", "unit", "series_uid")


def by_name(site: Hospital, kind: str) -> dict[str, tuple[Any, ...]]:
    """The features of a kind of series 1, by name."""
    rows = site.features(*NAMED, where=f"not superseded and feature_type = '{kind}' and series_uid = '{uid(1, 1)}'")
    return {row[0]: row[1:4] for row in rows}


def extract(site: Hospital) -> dict[str, int]:
    choice = Choice.of(Settings(acquisition_tags=list(site.tags)))
    with job_here(site.archive.database, "extract_features", "", "", lambda *_: None) as progress:
        extract_all(site.archive, "", choice, progress)
    return progress.counts


def test_the_list_that_ships_is_what_dicom_calls_it() -> None:
    from pydicom.datadict import dictionary_description

    assert 25 <= len(shipped()) <= 30
    for tag, parameter in shipped().items():
        assert parameter.name == dictionary_description(int(tag, 16))


def test_acquisition_parameters_are_features_of_their_series(site: Hospital) -> None:
    site.person(1)
    site.store(
        ct(1, 1, 1, KVP="120", Manufacturer="Acme", PixelSpacing=[0.5, 0.5], ImageType=["ORIGINAL", "PRIMARY"],
           ContrastBolusAgent="x" * 60),
        ct(1, 2, 1, PixelSpacing=[0.5, 0.7]),
    )  # fmt: skip
    found = by_name(site, "acquisition")
    assert found == {
        "KVP": (120, "", "kV"), "Manufacturer": (None, "Acme", ""), "Slice Thickness": (2.5, "", "mm"),
        "Rows": (8, "", "1"), "Columns": (8, "", "1"), "Pixel Spacing": (0.5, "", "mm"),
        "Image Type": (None, "ORIGINAL\\PRIMARY", ""),
    }  # fmt: skip
    second = "feature_name = 'Pixel Spacing' and series_uid <> '" + uid(1, 1) + "'"
    assert site.features("value_numeric", "value_string", where=second) == [(None, "0.5\\0.7")]
    oracle = """
      select m.measurement_source_value, m.value_as_number::float, m.unit_concept_id, f.image_feature_type_concept_id,
        f.alg_system, f.image_finding_id from omop.measurement m
      join omop_imaging.image_feature f on f.table_row_id = m.measurement_id and f.table_concept_id = 1147330
      join omop_imaging.image_occurrence i using (image_occurrence_id)
      where i.image_series_uid = %s and m.measurement_source_value = 'Slice Thickness' and m.person_id = 1
    """
    assert [tuple(row.values()) for row in site.rows(oracle, uid(1, 1))] == [
        ("Slice Thickness", 2.5, 8588, 32817, "hilum:acquisition|1", 0)
    ]


def test_reading_again_changes_nothing(site: Hospital) -> None:
    site.person(1)
    site.store(ct(1, 1, 1, KVP="120"), measurement_report(), ct(1, 2, 1))
    before, stored = site.cdm_rows(), site.features("*", "xmin::text")
    events = len(site.feature_events())
    assert extract(site) == {"studies": 1, "changed": 0}
    assert (site.cdm_rows(), site.features("*", "xmin::text")) == (before, stored)
    assert len(site.feature_events()) == events


def test_a_study_that_grows_and_shrinks_is_read_again(site: Hospital) -> None:
    from hilum.imaging.archive.delete import Part, delete_part

    site.store(ct(1, 1, 1))
    first = len(site.features("id"))
    site.store(ct(1, 2, 1))
    assert len(site.features("id")) == 2 * first
    delete_part(site.archive.database, site.study(), Part(uid(1, 1)), "me")
    site.work()
    assert {row[0] for row in site.features("series_uid")} == {uid(1, 2)}


def test_multi_frame_instances_have_them_in_functional_groups(site: Hospital) -> None:
    image = pydicom.dcmread(io.BytesIO(ct(1, 1, 1)))
    shared, measures, frame, timing = Dataset(), Dataset(), Dataset(), Dataset()
    measures.SliceThickness, measures.PixelSpacing = "1.5", [2, 2]
    shared.PixelMeasuresSequence = [measures]
    timing.RepetitionTime = "500"
    frame.MRTimingAndRelatedParametersSequence = [timing]
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], [frame]
    del image.SliceThickness, image.PixelSpacing
    site.store(written(image))
    found = by_name(site, "acquisition")
    assert (found["Slice Thickness"][0], found["Pixel Spacing"][0], found["Repetition Time"][0]) == (1.5, 2, 500)


def test_a_setting_names_other_parameters_or_all(site: Hospital) -> None:
    site.store(ct(1, 1, 1, ScanOptions="AXIAL", PatientAge="050Y", TableHeight="120", PatientWeight="70"))
    site.tags = ("SliceThickness", "TableHeight")
    extract(site)
    assert set(by_name(site, "acquisition")) == {"Slice Thickness", "Table Height"}
    site.tags = ("all",)
    extract(site)
    found = by_name(site, "acquisition")
    assert {"Slice Thickness", "Table Height", "Scan Options", "Bits Allocated", "Window Width"} <= set(found)
    assert not {"Patient's Age", "Patient's Weight", "Patient's Sex", "Study Date"} & set(found)
    with pytest.raises(Invalid, match="NoSuchThing"):
        parameters(["NoSuchThing"])


def test_dose_of_images_where_no_report_tells_it(site: Hospital) -> None:
    site.store(ct(1, 1, 1, CTDIvol=12.5), ct(1, 2, 1))
    assert by_name(site, "dose") == {"CTDIvol": (12.5, "", "mGy")}
    site.store(dose_report([(uid(5, 1), 11, 400)], 400))
    assert set(site.features("feature_name", "value_numeric", where="feature_type = 'dose'")) == {
        ("DLP total", 400), ("CTDIvol", 11), ("DLP", 400),
    }  # fmt: skip


def test_a_dose_report_tells_each_event_once_with_its_series(site: Hospital) -> None:
    """The later report repeats the first event and adds one; its total counts."""
    site.person(1)
    one, two = uid(5, 1), uid(5, 2)
    site.store(
        ct(1, 1, 1, IrradiationEventUID=one), ct(1, 2, 1, IrradiationEventUID=two),
        dose_report([(one, 11.5, 400), (two, 2, 50)], 450, number=2, time="120000"),
        dose_report([(one, 11.5, 400)], 400),
    )  # fmt: skip
    columns = ("feature_name", "value_numeric", "unit", "series_uid", "body_site", "body_site_concept_id")
    assert set(site.features(*columns, where="feature_type = 'dose'")) == {
        ("CTDIvol", 11.5, "mGy", uid(1, 1), "Chest", 4184181), ("DLP", 400, "mGy.cm", uid(1, 1), "Chest", 4184181),
        ("CTDIvol", 2, "mGy", uid(1, 2), "Chest", 4184181), ("DLP", 50, "mGy.cm", uid(1, 2), "Chest", 4184181),
        ("DLP total", 450, "mGy.cm", uid(1, 8), "", None),
    }  # fmt: skip
    total = "select sum(value_as_number)::float from omop.measurement where measurement_source_value = 'DLP'"
    assert site.one(total) == 450


def test_the_dose_of_a_biplane_is_measurements_of_each_event_and_plane(site: Hospital) -> None:
    """Of a projection X-ray (TID 10001, 10003); a later report of the same study repeats one event and adds another."""
    site.extractors = ("dose",)
    site.person(1)
    site.visit(50, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.rows(
        "insert into omop_vocabulary.concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, "
        "standard_concept, concept_code, valid_start_date, valid_end_date) values "
        "(900011, 'Dose Area Product', 'Measurement', 'DICOM', 'x', 'S', '122130', '1970-01-01', '2099-12-31'), "
        "(900012, 'gray square meter', 'Unit', 'UCUM', 'Unit', 'S', 'Gy.m2', '1970-01-01', '2099-12-31')"
    )
    one, two, three = (Event(uid(5, n), plane, n / 10_000, n / 100) for n, plane in ((1, "A"), (2, "B"), (3, "A")))
    try:
        site.store(
            ct(1, 1, 1, Modality="XA", IrradiationEventUID=uid(5, 1)), projection_report([one, two]),
            projection_report([three, one, two], number=2, time="120000"),
        )  # fmt: skip
        oracle = """
          select m.measurement_source_value as name, m.value_as_number::float as number, m.unit_source_value as unit,
            i.image_series_uid as series, f.anatomic_site_concept_id as site
          from omop.measurement m join omop_imaging.image_feature f on f.table_row_id = m.measurement_id
            and f.table_concept_id = 1147330
          join omop_imaging.image_occurrence i using (image_occurrence_id)
          where m.person_id = 1 and m.visit_occurrence_id = 50 and f.image_feature_type_concept_id = 32817
        """
        own, report = uid(1, 1), uid(1, 8)
        assert {tuple(row.values()) for row in site.rows(oracle)} == {
            ("Dose area product", 1e-4, "Gy.m2", own, 4184181), ("Reference dose", 0.01, "Gy", own, 4184181),
            ("Dose area product", 2e-4, "Gy.m2", report, 4184181), ("Reference dose", 0.02, "Gy", report, 4184181),
            ("Dose area product", 3e-4, "Gy.m2", report, 4184181), ("Reference dose", 0.03, "Gy", report, 4184181),
            ("Dose area product total", 4e-4, "Gy.m2", report, 4184181),
            ("Reference dose total", 0.04, "Gy", report, 4184181),
            ("Dose area product total", 2e-4, "Gy.m2", report, 4184181),
            ("Reference dose total", 0.02, "Gy", report, 4184181),
        }  # fmt: skip
        assert site.counts() == (10, 0, 10)
        coded = "select measurement_concept_id, unit_concept_id, count(*) from omop.measurement group by 1, 2"
        assert {tuple(row.values()) for row in site.rows(coded)} == {
            (900011, 900012, 3), (0, 900012, 2), (0, 0, 5),
        }  # fmt: skip
        planes = "select provenance->>'plane' as plane, count(*) as features from hilum.feature group by 1 order by 1"
        assert [tuple(row.values()) for row in site.rows(planes)] == [("Plane A", 6), ("Plane B", 4)]
    finally:
        site.rows("delete from omop_vocabulary.concept where concept_id in (900011, 900012)")


def test_measurements_of_a_report_are_features_of_one_finding(site: Hospital) -> None:
    site.extractors = ("structured_report",)
    site.person(1)
    site.store(ct(1, 2, 1), measurement_report())
    columns = (
        "feature_name", "code", "value_numeric", "value_string", "value_code", "unit", "body_site", "laterality",
        "series_uid", "assertion",
    )  # fmt: skip
    where = ("Structure of lobe of lung", "right", uid(1, 2))
    assert set(site.features(*columns)) == {
        ("Nodule", "SCT|27925004", None, "present", "", "", *where, "present"),
        ("Diameter", "SCT|81827009", 8.5, "", "", "mm", *where, ""),
        ("Attenuation Coefficient (mean)", "DCM|112031", -31.25, "", "", "[hnsf'U]", *where, ""),
        ("Radiographic lesion margin", "SCT|129737002", None, "Spiculated lesion", "SCT|129742005", "", *where, ""),
    }  # fmt: skip
    (finding,) = site.rows("select * from hilum.feature_finding")
    assert (finding["key"], finding["name"], finding["code"]) == (uid(7, 1), "Nodule", "SCT|27925004")
    rows = site.table("image_feature")
    assert {row["image_finding_id"] for row in rows} == {finding["image_finding_id"]}
    assert {row["image_feature_type_concept_id"] for row in rows} == {32841}
    assert site.counts() == (2, 2, 4)
    assert set(site.features("provenance->>'author' as who", "provenance->>'sop_instance_uid' as uid")) == {
        ("Reader^Rita", uid(1, 9, 1))
    }


def test_a_later_report_by_another_version_of_an_algorithm_supersedes(site: Hospital) -> None:
    site.extractors = ("structured_report",)
    site.person(1)
    site.store(ct(1, 2, 1), measurement_report(algorithm=("Nodule Finder", "1.0")))
    finding = site.one("select distinct image_finding_id from omop_imaging.image_feature")
    later = measurement_report(number=2, diameter=9, algorithm=("Nodule Finder", "2.0"), time="130000")
    site.store(later)
    oracle = """
      select v.value_as_number::float, v.alg_system, v.image_feature_type_concept_id, v.alg_datetime::text,
        v.image_finding_id
      from omop_imaging.image_feature_value v where v.unit_source_value = 'mm'
    """
    assert [tuple(row.values()) for row in site.rows(oracle)] == [
        (9, "hilum:algorithm/Nodule%20Finder|2.0", 32880, "2024-02-01 13:00:00", finding)
    ]
    old = site.features("value_numeric", where="superseded and unit = 'mm'")
    assert old == [(8.5,)]


def test_two_reports_with_one_tracking_uid_tell_of_one_finding(site: Hospital) -> None:
    site.extractors = ("structured_report",)
    site.person(1)
    site.store(ct(1, 2, 1), measurement_report(), measurement_report(number=2, diameter=9))
    assert site.one("select count(distinct image_finding_id) from omop_imaging.image_feature") == 1
    site.store(measurement_report(number=3, tracking=uid(7, 2)))
    assert site.one("select count(distinct image_finding_id) from omop_imaging.image_feature") == 2


def test_a_tree_without_end_and_nonsense_are_no_reports() -> None:
    deep: dict[str, Any] = {"0040A040": {"vr": "CS", "Value": ["CONTAINER"]}}
    for _ in range(500):
        deep = {"0040A040": {"vr": "CS", "Value": ["CONTAINER"]}, "0040A730": {"vr": "SQ", "Value": [deep]}}
    tree = content_of(deep)
    assert tree is not None
    assert len(list(tree.walk())) == 32
    leaf = {"0040A040": {"vr": "CS", "Value": ["NUM"]}}
    wide = {"0040A040": {"vr": "CS", "Value": ["CONTAINER"]}, "0040A730": {"vr": "SQ", "Value": [leaf] * 100_001}}
    assert content_of(wide) is None
    assert content_of({}) is None
    nonsense = {
        "0040A040": {"vr": "CS", "Value": [None, 7]}, "0040A730": {"vr": "SQ", "Value": ["x", None, {"0040A300": {}}]},
    }  # fmt: skip
    assert content_of(nonsense) is not None  # pyright: ignore


def test_texts_that_no_column_holds_are_cut(site: Hospital) -> None:
    """A NUL, a code of 5,000 characters and an event of as many are no reason to lose the rest of a study."""

    def named(value: str, meaning: str = "x") -> dict[str, Any]:
        code = {"00080100": [value], "00080102": ["DCM"], "00080104": [meaning]}
        return {"vr": "SQ", "Value": [{tag: {"vr": "UC", "Value": found} for tag, found in code.items()}]}

    def item(kind: str, value: str, *below: dict[str, Any], **more: Any) -> dict[str, Any]:
        made = {"0040A040": {"vr": "CS", "Value": [kind]}, "0040A043": named(value)}
        return made | more | ({"0040A730": {"vr": "SQ", "Value": list(below)}} if below else {})

    number = {
        "0040A300": {"vr": "SQ", "Value": [{"0040A30A": {"vr": "DS", "Value": [7]}, "004008EA": named("m" * 999)}]}
    }
    region = item("CODE", "123014", **{"0040A168": named("y" * 5000, "Che\0st" + "z" * 5000)})
    event = item("UIDREF", "113769", **{"0040A124": {"vr": "UI", "Value": ["1" * 5000]}})
    report = item("CONTAINER", "113701", item("CONTAINER", "113819", region, event, item("NUM", "113838", **number)))
    made = report_of(report | {"00080018": {"vr": "UI", "Value": ["1.2.3"]}}, "")
    assert made
    (said,) = read_dose([made], {})
    site.extractors = ()
    site.store(ct(1, 1, 1))
    assert site.said("1", said).added == 1
    assert site.features("value_numeric", "left(body_site, 7)", "length(key)") == [(7, "Chestzz", 75)]


def test_files_that_cannot_be_reached_now_take_nothing_away(site: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    site.store(ct(1, 1, 1))
    before = site.features("*", "xmin::text")

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("The bucket does not answer.")

    monkeypatch.setattr("hilum.imaging.archive.series_header.opened_instance", away)
    with pytest.raises(Unavailable):
        extract(site)
    assert site.features("*", "xmin::text") == before
