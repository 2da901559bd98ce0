"""image_registry says of every file what image_occurrence says of its series, whatever becomes of the study."""

import csv
import io
from collections.abc import Mapping

from hilum.clinical.chorus import COLUMNS
from hilum.clinical.linkage.decisions import decide, release, release_all
from hilum.clinical.registry.export import registry_csv
from hilum.imaging.archive import delete
from tests.clinical.cdm.conftest import Site
from tests.make import ct, uid

# What must be in the table, asked of the catalogue and image_occurrence alone.
ORACLE = """
  select i.sop_instance_uid as file_id, x.procedure_occurrence_id as proc_id, x.person_id, x.visit_occurrence_id as
    visit_id, x.image_occurrence_date as day
  from hilum.instance i join hilum.series e on e.id = i.series_id join hilum.study s on s.id = e.study_id
  join omop_imaging.image_occurrence x on x.image_study_uid = s.study_instance_uid
    and x.image_series_uid = e.series_instance_uid
  where i.deleted_at is null and s.deleted_at is null order by 1
"""


def registry(site: Site) -> list[dict[str, str]]:
    """The CSV, read by the standard library."""
    text = b"".join(registry_csv(site.archive.database, "default")).decode()
    reader = csv.DictReader(io.StringIO(text))
    assert tuple(reader.fieldnames or ()) == COLUMNS
    return list(reader)


def check(site: Site) -> list[dict[str, str]]:
    """The CSV, compared with the oracle and the table."""
    rows = registry(site)
    wanted = site.rows(ORACLE)

    def told(row: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(str(row[name] or "") for name in ("file_id", "proc_id", "person_id", "visit_id"))

    assert sorted(map(told, rows)) == [told(row) for row in wanted]
    by_file = {row["file_id"]: row for row in rows}
    assert [by_file[row["file_id"]]["datetime"][:10] for row in wanted] == [str(row["day"]) for row in wanted]
    table = site.rows("select * from omop_imaging.image_registry order by 1")
    assert [[str(v) if v is not None else "" for v in row.values()] for row in table] == [
        list(r.values()) for r in rows
    ]
    return rows


def test_a_row_for_each_file_of_a_linked_study_in_the_columns_of_the_sop(site: Site) -> None:
    site.person(1)
    site.visit(55, 1, "2024-01-31 08:00", "2024-01-31 18:00")
    site.procedure(70, 1, "A1", visit=55)
    site.store(
        ct(1, 1, 1, PatientID="P1", AccessionNumber="A1", StudyTime="101112", SeriesDate="20240131",
           SeriesTime="121314.567"),
        ct(1, 1, 2, PatientID="P1", AccessionNumber="A1", StudyTime="101112", SeriesDate="20240131",
           SeriesTime="121314.567"),
        ct(2, 1, 1, PatientID="P1", AccessionNumber="", StudyDate="20230101", StudyTime="090000"),
        ct(3, 1, 1, PatientID="nobody"),
    )  # fmt: skip
    rows = check(site)
    assert [row["image_registry_id"] for row in rows] == ["1", "2", "3"]
    by_file = {row["file_id"]: row for row in rows}
    first, earlier = by_file[uid(1, 1, 1)], by_file[uid(2, 1, 1)]
    assert (first["proc_id"], first["visit_id"], first["datetime"]) == ("70", "55", "2024-01-31 12:13:14")
    assert (earlier["visit_id"], earlier["datetime"]) == ("", "2023-01-01 09:00:00")
    assert {row["group_id"] for row in rows} == {"1", "2"}
    assert first["group_id"] == by_file[uid(1, 1, 2)]["group_id"] != earlier["group_id"]
    assert {row["trg_file"] for row in rows} == {""}
    assert all("/" not in row["src_file"] for row in rows)


def test_it_follows_every_change_and_a_file_keeps_its_number(site: Site) -> None:
    site.person(1)
    site.person(2)
    site.store(ct(1, 1, 1, PatientID="P1"), ct(1, 1, 2, PatientID="P1"))
    before = check(site)
    site.store(ct(1, 2, 1, PatientID="P1"))
    assert len(check(site)) == 3
    decide(site.archive.database, site.study(), "person", 2, "ann", site.manner)
    assert {row["person_id"] for row in check(site)} == {"2"}
    release(site.archive.database, site.study(), "person", "ann", site.manner)
    assert check(site)[:2] == before
    release(site.archive.database, site.study(), "person", "ann", site.manner)
    assert check(site) == []
    release_all(site.archive.database, "default", [site.study()], "ann", site.manner)
    assert check(site)[:2] == before
    delete.delete_study(site.archive.database, site.study(), "ann")
    site.work()
    assert check(site) == []
    delete.restore_study(site.archive.database, uid(1))
    site.work()
    assert check(site)[:2] == before
    site.rows("delete from hilum.study")
    assert site.link_all()["orphans_removed"] == 5  # two series, three files
    assert registry(site) == []


def test_where_files_are_is_told_on_request_alone(site: Site) -> None:
    site.person(1)
    site.store(ct(1, 1, 1, PatientID="P1"))
    assert registry(site)[0]["trg_file"] == ""
    from dataclasses import replace

    from hilum.clinical.linkage.settle import settle

    with site.archive.database.transaction() as sql:
        settle(sql, site.cdm, [site.study()], replace(site.manner, targets=True))
    (row,) = check(site)
    (kept,) = site.rows("select blob_key from hilum.instance")
    assert row["trg_file"] == str(site.archive.settings.data_path / "objects" / kept["blob_key"])
