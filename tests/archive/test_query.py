"""The study list: every filter, free text, synonyms, sorting and paging; and frames in geometric order."""

from datetime import date

import pytest

from hilum.core.errors import Invalid, NotFound
from hilum.imaging.archive import query
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.query import StudyFilter
from hilum.imaging.archive.store import Archive
from tests.archive.test_store import store
from tests.make import ct, uid


@pytest.fixture
def stocked(archive: Archive, source: SourceRef) -> Archive:
    store(
        archive, source,
        ct(1, StudyDate="20240101", BodyPartExamined="CHEST", PatientName="Müller^Jürgen", PatientID="0001"),
        ct(2, StudyDate="20240201", BodyPartExamined="HEAD", Modality="MR", StudyDescription="MR brain 50%_x"),
        ct(3, StudyDate="20240301", BodyPartExamined="THORAX", Modality="DX", InstitutionName="North"),
        ct(4, StudyDate="", BodyPartExamined="KNEE", Modality="CR", ReferringPhysicianName="Zed^Zoe"),
    )  # fmt: skip
    return archive


def found(archive: Archive, sort: str = "study_date", **wanted: object) -> list[str]:
    with archive.database.connect() as connection:
        rows, total = query.list_studies(connection, StudyFilter(**wanted), sort=sort)  # pyright: ignore
    assert total == len(rows)
    return [row["study_instance_uid"].removeprefix("2.25.7.") for row in rows]


@pytest.mark.parametrize(
    ("wanted", "studies"),
    [
        ({}, ["1", "2", "3", "4"]),
        ({"modality": ["MR"]}, ["2"]),
        ({"modality": ["MR", "ct"]}, ["1", "2"]),
        ({"modality": ["XR"]}, ["3", "4"]),
        ({"body_part": "lung"}, ["1", "3"]),
        ({"body_part": "brain"}, ["2"]),
        ({"date_from": date(2024, 2, 1)}, ["2", "3"]),
        ({"date_from": date(2024, 1, 1), "date_to": date(2024, 2, 1)}, ["1", "2"]),
        ({"patient_id": "0001"}, ["1"]),
        ({"accession_number": "A3"}, ["3"]),
        ({"status": "indexed"}, ["1", "2", "3", "4"]),
        ({"status": "processed"}, []),
        ({"q": "muller jurgen"}, ["1"]),
        ({"q": "north CHEST"}, ["3"]),
        ({"q": "zoe"}, ["4"]),
        ({"q": "50%_"}, ["2"]),
        ({"q": "5_%"}, []),
        ({"q": "'; drop table hilum.study; --"}, []),
        ({"source": "elsewhere"}, []),
    ],
)
def test_a_filter_finds_the_studies_that_match(stocked: Archive, wanted: dict[str, object], studies: list[str]) -> None:
    assert found(stocked, **wanted) == studies


@pytest.mark.parametrize("sort", query.STUDY_SORTS)
def test_every_sort_lists_every_study_once_and_pages_agree(stocked: Archive, sort: str) -> None:
    whole = found(stocked, sort)
    assert sorted(whole) == ["1", "2", "3", "4"]
    with stocked.database.connect() as connection:
        pages = [
            row["study_instance_uid"].removeprefix("2.25.7.")
            for offset in range(4)
            for row in query.list_studies(connection, StudyFilter(), sort=sort, limit=1, offset=offset)[0]
        ]
    assert pages == whole


def test_undated_studies_come_last_whichever_way_dates_are_sorted(stocked: Archive) -> None:
    assert found(stocked, "study_date") == ["1", "2", "3", "4"]
    assert found(stocked, "-study_date") == ["3", "2", "1", "4"]


def test_an_unknown_sort_is_refused_with_the_known_ones(stocked: Archive) -> None:
    with pytest.raises(Invalid, match="received_at"):
        found(stocked, "size")


def test_frames_are_counted_along_the_geometry_and_never_by_name_or_number(archive: Archive, source: SourceRef) -> None:
    store(
        archive, source,
        ct(1, 1, 1, ImagePositionPatient=[0, 0, 30]),
        ct(1, 1, 2, ImagePositionPatient=[0, 0, 10]),
        ct(1, 1, 3, ImagePositionPatient=[0, 0, 20]),
    )  # fmt: skip
    with archive.database.connect() as connection:
        row = query.find_study(connection, uid(1))
        series = query.find_series(connection, row["id"], uid(1, 1))
        order = [query.find_frame(connection, series["id"], n)[0]["instance_number"] for n in (1, 2, 3)]
        assert order == [2, 3, 1]
        for wrong in (0, -1, 4):
            with pytest.raises(NotFound):
                query.find_frame(connection, series["id"], wrong)


def test_statistics_count_the_archive(stocked: Archive) -> None:
    with stocked.database.connect() as connection:
        counts = query.statistics(connection)
    assert (counts["studies"], counts["instances"], counts["images"]) == (4, 4, 4)
    assert counts["studies_by_modality"] == {"CR": 1, "CT": 1, "DX": 1, "MR": 1}
