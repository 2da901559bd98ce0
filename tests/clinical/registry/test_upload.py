"""A site's upload is taken in: what its registry, its folders and its tags agree on is linked, and nothing else."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from hilum.clinical.chorus import COLUMNS
from hilum.clinical.linkage.decisions import decide
from hilum.clinical.upload.folder import find_upload
from hilum.clinical.upload.match import match_rows, stage_files, stage_rows
from hilum.clinical.upload.rows import RefusedRow, RegistryFile, place_in_layout
from hilum.clinical.upload.take import Taken, take_upload
from hilum.core.config import Settings
from hilum.core.errors import Invalid
from hilum.imaging.intake.lanes import thread_lanes
from hilum.research.deid.run import Request, deidentify_folder
from tests.clinical.cdm.conftest import Site
from tests.make import ct, uid
from tests.research.deid.cases import build

Row = dict[str, str]


@pytest.fixture
def central(site: Site) -> Callable[..., Taken]:
    """Takes an upload into the source of the test, as the command does."""

    def take(folder: Path, **how: Any) -> Taken:
        given = {"omop_procedures": how.pop("procedures", "mint")}
        url = site.archive.database.url.render_as_string(hide_password=False)
        settings = Settings(data=site.archive.settings.data, database_url=url, min_free_bytes=0, **given)  # pyright: ignore
        with thread_lanes() as lanes:
            return take_upload(settings, "default", folder, lambda *_: None, lanes=lanes, **how)

    return take


def place(folder: Path, number: int, person: int, *, name: str = "", data: bytes = b"", **tags: object) -> str:
    """Put a file of study ``number`` where the layout has it; gives its path."""
    path = f"{person}/Images/CT/A{number}/{uid(number, 1)}/{name or '001.dcm'}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data or ct(number, 1, 1, **{"PatientID": str(person), **tags}))
    return path


def row(number: int, person: int, **said: str) -> Row:
    given = {
        "image_registry_id": str(number), "file_id": uid(number, 1, 1), "proc_id": str(700 + number),
        "person_id": str(person), "group_id": "1", "visit_id": "", "datetime": "2024-01-31 10:15:00",
        "src_file": f"surrogate-{number}", "trg_file": "",
    }  # fmt: skip
    return given | said


def write_registry(folder: Path, *rows: Row, header: tuple[str, ...] = COLUMNS, start: str = "") -> None:
    lines = [",".join(header), *(",".join(one.get(name, "") for name in header) for one in rows)]
    (folder / "image_registry.csv").write_text(start + "\n".join(lines) + "\n", encoding="utf-8")


def codes(taken: Taken) -> dict[str, int]:
    return {str(reason["code"]): int(str(reason["count"])) for reason in taken.report.reasons}


def images(site: Site) -> list[tuple[Any, ...]]:
    found = site.rows(
        "select person_id, procedure_occurrence_id, visit_occurrence_id, image_series_uid "
        "from omop_imaging.image_occurrence order by 4"
    )
    return [tuple(one.values()) for one in found]


def test_what_hilum_deid_made_is_linked_as_a_whole(site: Site, central: Callable[..., Taken], tmp_path: Path) -> None:
    made = build()
    made.write(tmp_path / "in")
    made.write_maps(tmp_path / "maps")
    out = tmp_path / "out"
    deidentify_folder(
        Request(
            tmp_path / "in", out, "chorus", tmp_path / "site.key", tmp_path / "maps", tmp_path / "local" / "crosswalk",
            out / "image_registry.csv", workers=1,
        ),
        lambda _done, _total: None,
    )  # fmt: skip
    read = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(out.rglob("*.dcm"))]
    persons = {int(ds.PatientID): str(ds.get("PatientBirthDate") or "1970")[:4] for ds in read}
    (out / "OMOP").mkdir()
    lines = [f"{person},8532,{year},0,0" for person, year in persons.items()]
    header = "person_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id"
    (out / "OMOP" / "PERSON.csv").write_text("\n".join([header, *lines]) + "\n")
    taken = central(out)
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.dcm"))
    assert taken.report.tables == {"person": len(persons)}
    assert taken.report.counts["files"] == taken.report.counts["rows"] == len(files)
    assert codes(taken).keys() <= {"day_differs"}
    assert taken.report.complete
    assert [each for each in taken.report.waiting if each["kind"] == "person"] == []
    # The oracle: the site's own registry and the tags in the files, read by others.
    with (out / "image_registry.csv").open(newline="") as file:
        sent = {one["trg_file"]: one for one in csv.DictReader(file)}
    wanted = set()
    for path in files:
        tags = pydicom.dcmread(out / path, stop_before_pixels=True)
        said = sent[path]
        wanted.add((said["file_id"], int(said["proc_id"]), int(said["person_id"]), said["datetime"], said["src_file"]))
        assert (str(tags.SOPInstanceUID), str(tags.PatientID)) == (said["file_id"], said["person_id"])
    got = site.rows("select * from omop_imaging.image_registry")
    assert {(r["file_id"], r["proc_id"], r["person_id"], str(r["datetime"]), r["src_file"]) for r in got} == wanted
    digests = {pydicom.dcmread(r["trg_file"], stop_before_pixels=True).SOPInstanceUID for r in got}
    assert digests == {one[0] for one in wanted}
    series = {str(pydicom.dcmread(out / path, stop_before_pixels=True).SeriesInstanceUID) for path in files}
    assert {one[3] for one in images(site)} == series
    assert taken.report.counts["image_occurrences"] == len(series)
    before = images(site), site.rows("select * from omop_imaging.image_registry order by 1")
    again = central(out)
    assert again.files.counts["duplicates"] == len(files)
    assert (images(site), site.rows("select * from omop_imaging.image_registry order by 1")) == before


def test_a_number_that_the_site_minted_is_taken_over_but_not_any_number(
    site: Site, central: Callable[..., Taken], tmp_path: Path
) -> None:
    for person in (1, 2):
        site.person(person, f"other{person}")
    for number, person in ((1, 1), (2, 1), (3, 2), (4, 2)):
        place(tmp_path, number, person, StudyDate=f"2024020{number}")
    minted = {1: 2_000_000_001, 2: 2_000_000_001, 3: 2_000_999_999, 4: 2_000_000_000}
    write_registry(tmp_path, *(row(n, 1 if n < 3 else 2, proc_id=str(minted[n])) for n in minted))
    taken = central(tmp_path)
    assert codes(taken)["unknown_procedure"] == 2
    found = [one[1] for one in images(site)]
    assert (found[0], found[3]) == (minted[1], minted[4])
    assert sorted(found) == list(range(2_000_000_000, 2_000_000_004))
    again = central(tmp_path)
    assert [one[1] for one in images(site)] == found
    assert again.report.counts["procedures_minted"] == 4


def test_procedure_and_visit_are_those_of_the_registry(
    site: Site, central: Callable[..., Taken], tmp_path: Path
) -> None:
    for person in (1, 2):
        site.person(person, f"other{person}")
    site.visit(55, 1, "2020-01-01 00:00", "2020-01-02 00:00")
    site.procedure(701, 1, day="2020-01-01")
    site.procedure(702, 2)
    place(tmp_path, 1, 1)
    place(tmp_path, 2, 1)
    place(tmp_path, 3, 2)
    write_registry(tmp_path, row(1, 1, visit_id="55"), row(2, 1, proc_id="702"), row(3, 2, proc_id="999", visit_id="9"))
    taken = central(tmp_path)
    assert codes(taken) == {"unknown_procedure": 1, "unknown_visit": 1}
    assert images(site)[0] == (1, 701, 55, uid(1, 1))
    assert images(site)[1][:2] == (2, 702)  # the only one of that day, since 999 is unknown
    assert len(images(site)) == 2
    assert {(each["kind"], each["reason"], each["studies"]) for each in taken.report.waiting} == {
        ("procedure", "procedure_of_other_person", 1), ("visit", "no_visit", 2),
    }  # fmt: skip


@pytest.mark.parametrize("how", ["trg_file", "src_file", "absolute", "windows", "file name", "uid"])
def test_a_row_finds_its_file(site: Site, central: Callable[..., Taken], tmp_path: Path, how: str) -> None:
    site.person(1)
    path = place(tmp_path, 1, 1, name="scan-17.dcm")
    said = {
        "trg_file": {"file_id": "x", "trg_file": path},
        "src_file": {"file_id": "x", "src_file": path},
        "absolute": {"file_id": "x", "src_file": f"/data/site/{path}"},
        "windows": {"file_id": "x", "src_file": "D:\\up\\" + path.replace("/", "\\")},
        "file name": {"file_id": "scan-17.dcm"},
        "uid": {},
    }[how]
    write_registry(tmp_path, row(1, 1, **said))
    taken = central(tmp_path)
    assert codes(taken).keys() <= {"unknown_procedure"}
    assert [one[0] for one in images(site)] == [1]
    kept = site.one("select src_file from omop_imaging.image_registry")
    assert kept == said.get("src_file", "surrogate-1")


def test_rows_without_file_and_files_without_row_are_told(
    site: Site, central: Callable[..., Taken], tmp_path: Path
) -> None:
    site.person(1)
    upload = tmp_path / "up"
    paths = [place(upload, number, 1) for number in (1, 2, 3)]
    (upload / "1" / "Images" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    write_registry(upload, row(1, 1), row(1, 1), row(8, 1), row(9, 1, person_id="x"), row(3, 1, datetime="soon"))
    taken = central(upload, report_path=tmp_path / "report.json")
    told = codes(taken)
    assert told == {
        "row_refused": 2, "row_without_file": 1, "row_twice": 1, "file_without_row": 3, "file_not_taken": 1,
        "unknown_procedure": 1,
    }  # fmt: skip
    assert not taken.report.complete
    assert [one[0] for one in images(site)] == [1, 1, 1]
    whole = json.loads((tmp_path / "report.json").read_text())
    assert {code: len(found) for code, found in whole["findings"].items() if found} == told
    assert {one["path"] for one in whole["findings"]["file_without_row"]} == {*paths[1:], "1/Images/broken.dcm"}
    assert whole["findings"]["row_without_file"] == [{"line": 4, "file_id": uid(8, 1, 1), "person_id": 1}]
    assert whole["counts"]["rows"] == 5
    assert (tmp_path / "report.json").stat().st_mode & 0o77 == 0


def test_lies_link_nobody(site: Site, central: Callable[..., Taken], tmp_path: Path) -> None:
    for person in (1, 2, 3, 4):
        site.person(person, str(person))
    place(tmp_path, 1, 1, PatientID="2")  # the tag says another
    place(tmp_path, 2, 1)
    place(tmp_path, 3, 4, PatientSex="M")  # the CDM's person is a woman
    place(tmp_path, 4, 3)
    write_registry(tmp_path, row(1, 1), row(2, 2), row(3, 4), row(4, 3))
    taken = central(tmp_path)
    assert codes(taken)["person_contradicted"] == 2
    assert not taken.report.complete
    assert {study: site.links(study)["person"] for study in (1, 2, 3, 4)} == {
        1: (None, "unlinked"), 2: (None, "unlinked"), 3: (None, "sex_conflict"), 4: (3, "person_map"),
    }  # fmt: skip
    assert [one[0] for one in images(site)] == [3]
    decide(site.archive.database, site.study(1), "person", 1, "ann", site.manner)
    write_registry(tmp_path, row(1, 1), row(2, 1), row(3, 4), row(4, 3))
    central(tmp_path)
    assert site.links(1)["person"] == (1, "by_hand")
    assert site.links(2)["person"] == (1, "person_map")


def test_without_a_registry_folders_link(site: Site, central: Callable[..., Taken], tmp_path: Path) -> None:
    site.person(1)
    path = place(tmp_path, 1, 1)
    place(tmp_path, 2, 9)
    (tmp_path / "Jane Doe" / "Images").mkdir(parents=True)
    taken = central(tmp_path, in_place=True)
    assert codes(taken) == {"no_person_folder": 1}
    assert [one[0] for one in images(site)] == [1]
    assert site.links(2)["person"] == (None, "unknown_person")
    found = site.rows("select src_file, trg_file, person_id from omop_imaging.image_registry")
    assert found == [{"src_file": path, "trg_file": str(tmp_path / path), "person_id": 1}]


def test_nothing_outside_the_upload_is_read(site: Site, central: Callable[..., Taken], tmp_path: Path) -> None:
    site.person(1)
    site.person(2)
    upload, outside = tmp_path / "up", tmp_path / "outside"
    place(upload, 1, 1)
    place(outside, 2, 2)
    (upload / "2").symlink_to(outside / "2")
    (upload / "1" / "Images" / "more").symlink_to(outside / "2" / "Images")
    (upload / "1" / "Images" / "one.dcm").symlink_to(outside / place(outside, 3, 2))
    write_registry(
        upload, row(1, 1), row(2, 1, trg_file=f"1/Images/../../../outside/{place(outside, 2, 2)}"),
        row(3, 1, src_file="../../outside/2/Images/one.dcm"), row(4, 1, trg_file="/etc/passwd"),
    )  # fmt: skip
    taken = central(upload)
    assert codes(taken)["row_without_file"] == 3
    assert site.one("select count(*) from hilum.instance") == 1
    assert (upload / "image_registry.csv").rename(outside / "r.csv")
    (upload / "image_registry.csv").symlink_to(outside / "r.csv")
    assert central(upload).report.counts["rows"] == 0


def test_either_spelling_a_mark_and_the_sops_own_example_are_read(
    site: Site, central: Callable[..., Taken], tmp_path: Path
) -> None:
    site.person(1)
    site.visit(55, 1, "2020-01-01 00:00", "2020-01-02 00:00")
    place(tmp_path, 1, 1)
    header = ("FILE_ID", "proc_id", "Person_Id", "group_id", "visit_ id", "datetime", "src_file", "trg_file")
    said = row(1, 1, datetime="1/31/2024", group_id="A-17", trg_file="null")
    said |= {"FILE_ID": said["file_id"], "Person_Id": "1", "visit_ id": "55"}
    write_registry(tmp_path, said, header=header, start="\ufeff")
    taken = central(tmp_path)
    assert taken.report.missing_columns == ["image_registry_id"]
    assert images(site)[0][2] == 55
    assert str(site.one("select datetime from omop_imaging.image_registry")) == "2024-01-31 00:00:00"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"a,b\n1,2\n", b"file_id,person_id\n1,2\n", b"file_id,proc_id,person_id,file_id\n", b"\xff\xfe\x00f\x00",
        b"file_id,proc_id,person_id\n" + b"x" * 70_000, b"file_id,proc_id,person_id\n\0,1,2\n",
        b'file_id,proc_id,person_id\n"' + b"x\n" * 200_000,
    ],
)  # fmt: skip
def test_what_is_no_registry_is_refused_before_anything_is_taken(
    site: Site, central: Callable[..., Taken], tmp_path: Path, text: bytes
) -> None:
    place(tmp_path, 1, 1)
    (tmp_path / "image_registry.csv").write_bytes(text)
    with pytest.raises(Invalid, match=r"image_registry\.csv"):
        central(tmp_path)
    assert site.rows("select 1 from hilum.instance") == []


def test_bad_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    lines = [
        "file_id,proc_id,person_id,datetime", "ok,1,2,2024-01-31 10:00:00", "ok,null,2,2024-01-31T10:00:00+01:00",
        ",1,2,", "a,1,,", "a,1,-2,", "a,1,9999999999999999999999,", "a,x,2,", "a,1,2,31.1.2024", f"{'a' * 1025},1,2,",
        "short", "", "many,1,2,,5,6,7,8",
    ]  # fmt: skip
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines))
    with path.open("rb") as file:
        found = list(RegistryFile(file).rows())
    good = [one for one in found if not isinstance(one, RefusedRow)]
    assert [one.line for one in good] == [2, 3, 13]
    assert [str(one.moment) for one in good] == ["2024-01-31 10:00:00", "2024-01-31 10:00:00", "None"]
    assert [one.line for one in found if isinstance(one, RefusedRow)] == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_large_registry_is_matched_in_one_pass(site: Site, tmp_path: Path) -> None:
    with site.archive.database.transaction() as sql:
        place(tmp_path, 1, 1)
        assert stage_files(sql, site.cdm.source_id, find_upload(tmp_path)) == 1
        sql.rows("delete from upload_file")
        sql.rows(
            "insert into upload_file (path, person_id, name, sop) "
            "select n || '/Images/x.dcm', n, 'x.dcm', '2.25.' || n from generate_series(1, 30000) n; "
            "analyze upload_file"
        )
        assert stage_rows(sql, None) == 0
        sql.rows(
            "insert into upload_row (line, file_id, person_id, at_trg, at_src, at_file) "
            "select n, case n %% 3 when 0 then '2.25.' || n when 1 then 'x.dcm' else '-' end, n, "
            "case n %% 3 when 2 then n || '/Images/x.dcm' else '' end, '', '' from generate_series(1, %s) n",
            (30_000,),
        )
        sql.rows("insert into upload_row select 100000 + line, file_id, proc_id, person_id, visit_id, moment, "
                 "src_file, at_trg, at_src, at_file from upload_row where line <= 9")  # fmt: skip
        sql.rows("set local statement_timeout = '60s'")  # quadratic work takes minutes
        match_rows(sql)
        (found,) = sql.rows(
            "select count(*) filter (where path = person_id || '/Images/x.dcm' and line < 100000) as rows, "
            "count(*) filter (where twice) as twice, count(*) as all from upload_row"
        )
    # A name that two rows of a person bear tells neither.
    assert (found["rows"], found["twice"], found["all"]) == (29_997, 6, 30_009)


def test_places_are_read_out_of_any_path() -> None:
    assert place_in_layout("/a/b/77/Images/CT/1/2/3.dcm") == "77/Images/CT/1/2/3.dcm"
    assert place_in_layout("./77/./Images//CT/x.dcm") == "77/Images/CT/x.dcm"
    assert place_in_layout("77/Images/../../etc/passwd") == ""
    assert place_in_layout("Images/CT/x.dcm") == ""
    assert place_in_layout("wo2d4400fflse.wfdb") == ""


def test_tables_of_the_upload_are_added_or_told(site: Site, central: Callable[..., Taken], tmp_path: Path) -> None:
    site.person(1)
    place(tmp_path, 1, 1)
    omop = tmp_path / "OMOP"
    omop.mkdir()
    (omop / "person.csv").write_text(
        "\ufeffperson_id,gender_concept_id,year_of_birth,race_concept_id,ethnicity_concept_id,care_site_id\n"
        "1,8507,1900,0,0,5\n2,8507,1950,0,0,5\n", encoding="utf-8",
    )  # fmt: skip
    (omop / "visit_occurrence.csv").write_text("visit_occurrence_id,colour\n1,red\n")
    (omop / "death.csv").write_text("person_id,death_date\n77,2020-01-01\n")
    (omop / "measurement.csv").write_text("measurement_id,person_id\nx,y\n")
    (omop / "secrets.csv").write_text("a\n")
    told = central(tmp_path).report.tables
    assert told["person"] == 1
    assert "colour" in str(told["visit_occurrence"])
    assert "refers to one that is missing" in str(told["death"])
    assert "line 1" in str(told["measurement"])
    assert "No table" in str(told["secrets"])
    assert site.one("select year_of_birth from omop.person where person_id = 1") == 1970
