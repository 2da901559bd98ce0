"""A page of studies is indexed as a whole: it comes to what its studies would come to one after the other; and so do
their series, however the remote archive lets them be asked for."""

from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hilum.core.events import read_events
from hilum.imaging.archive.arrivals import SourceRef
from hilum.imaging.archive.delete import delete_study
from hilum.imaging.archive.edit import correct_study
from hilum.imaging.archive.identity import Patient
from hilum.imaging.archive.remote import Became, RemoteStudy, keep_remote
from hilum.imaging.archive.sources import add_source
from hilum.imaging.archive.store import Archive
from tests.make import ct, uid
from tests.remote.conftest import Here, Liar, reply

OWN = {
    "id", "source_id", "patient_pk", "study_id", "received_at", "updated_at", "version", "physician_id", "facility_id",
    "folder_path",
}  # fmt: skip
LOCAL, DELETED, DECIDED, CORRECTED, MORE, BLANK = range(1, 7)
"""Studies to which something has happened here; 2 to 9 are known, 10 and above new."""


def study(number: int, patient: str, *, series: int = 0, **said: object) -> RemoteStudy:
    values: dict[str, object] = {
        "study_instance_uid": uid(number), "study_date": "2024-01-31", "study_time": None, "timezone_offset": "",
        "study_id": "", "accession_number": f"A{number}", "study_description": "", "modality": "", "modalities": [],
        "patient_name": "", "patient_name_dicom": "", "num_series": 0, "num_instances": 0,
    }  # fmt: skip
    listed = [
        {"series_instance_uid": uid(number, n), "series_number": n, "modality": "CT", "body_part": "CHEST",
         "series_description": "", "num_instances": n}
        for n in range(1, series + 1)
    ]  # fmt: skip
    return RemoteStudy(Patient(patient) if patient else Patient(), values | said, listed)


FIRST = [study(n, f"P{n}", study_description="CT chest") for n in range(2, 10)]
THEN = [
    study(LOCAL, "P1", series=2), study(DELETED, "P2", series=1), study(DECIDED, "OTHER", num_series=7),
    study(CORRECTED, "P4", study_description="CT again"), study(MORE, "P5", series=3), study(BLANK, ""),
    study(7, "P7"), study(8, "P9", accession_number="B8"), study(9, "P9", study_description="\0odd \u00e9"),
    study(13, "P1"), study(12, "", series=2), study(11, "P9"), study(10, "P9", series=1, modalities=["MR"]),
]  # fmt: skip


def prepared(archive: Archive, key: str) -> SourceRef:
    """A source that knows some studies, and of which people have changed some."""
    add_source(archive.database, key, key)
    source = archive.source(key)
    with archive.batch(source, "stow") as batch:
        batch.add("x", [ct(LOCAL, 1, 1)])
        batch.commit()
    with archive.database.transaction() as sql:
        assert keep_remote(sql, source, FIRST, "") == ["new"] * len(FIRST)
    delete_study(archive.database, number_of(archive, source, DELETED), "ann")
    correct_study(archive.database, number_of(archive, source, CORRECTED), {"study_description": "Right"}, "ann")
    with archive.database.transaction() as sql:
        sql.rows(
            "insert into hilum.patient_decision (source_id, study_instance_uid, given_patient_id, "
            "given_issuer_of_patient_id, patient_id, issuer_of_patient_id, origin) "
            "values (%s, %s, '', '', 'P3', '', '')",
            (source.id, uid(DECIDED)),
        )
    return source


def number_of(archive: Archive, source: SourceRef, number: int) -> Any:
    with archive.database.transaction() as sql:
        query = "select id from hilum.study where source_id = %s and study_instance_uid = %s"
        return sql.rows(query, (source.id, uid(number)))[0]["id"]


def known(archive: Archive, source: SourceRef, since: int) -> dict[str, object]:
    """All that is known of a source's studies, but for numbers of our own and moments."""
    tables = {
        "studies": "select s.*, p.key as whose, j.attributes, s.deleted_at is not null as gone from hilum.study s "
        "join hilum.patient p on p.id = s.patient_pk left join hilum.study_json j on j.study_id = s.id "
        "where s.source_id = %s order by study_instance_uid, deleted_at",
        "series": "select e.* from hilum.series e join hilum.study s on s.id = e.study_id where s.source_id = %s "
        "order by series_instance_uid",
        "patients": "select * from hilum.patient where source_id = %s order by key",
    }
    with archive.database.transaction() as sql:
        found: dict[str, object] = {
            name: [
                {k: v for k, v in row.items() if k not in (*OWN, "deleted_at")} for row in sql.rows(query, (source.id,))
            ]
            for name, query in tables.items()
        }
    with archive.database.connect() as connection:
        told = read_events(connection, "", after=since, limit=1000)
    return found | {"told": sorted((str(event["type"]), str(event["subject"])) for event in told)}


def test_a_page_comes_to_what_its_studies_come_to_one_by_one(archive: Archive) -> None:
    def last() -> int:
        with archive.database.transaction() as sql:
            return int(str(sql.rows("select coalesce(max(id), 0) as id from hilum.event")[0]["id"]))

    def keep(source: SourceRef, studies: Sequence[RemoteStudy]) -> list[Became]:
        with archive.database.transaction() as sql:
            return keep_remote(sql, source, studies, "")

    single, paged = prepared(archive, "single"), prepared(archive, "paged")
    began = last()
    became = [keep(single, [each])[0] for each in THEN]
    wanted = known(archive, single, began)
    began = last()
    assert keep(paged, THEN) == became
    assert known(archive, paged, began) == wanted
    assert became == [
        "archived", "deleted", "updated", "same", "updated", "same", "same", "updated", "updated",
        "new", "new", "new", "new",
    ]  # fmt: skip
    began = last()
    again = keep(paged, THEN)
    assert set(again) == {"archived", "deleted", "same"}
    assert known(archive, paged, began) == wanted | {"told": []}
    whose = {row["study_instance_uid"]: row["patient_id"] for row in wanted["studies"]}  # type: ignore[attr-defined]  # pyright: ignore
    assert (whose[uid(DECIDED)], whose[uid(BLANK)], whose[uid(8)]) == ("P3", "P6", "P9")


STUDIES = 7
EACH = 3


def element(vr: str, value: object) -> dict[str, object]:
    return {"vr": vr, "Value": [value]}


def study_of(number: int) -> dict[str, object]:
    return {
        "0020000D": element("UI", uid(number)), "00100020": element("LO", f"P{number}"),
        "00201206": element("IS", EACH),
    }  # fmt: skip


def series_of(number: int) -> list[dict[str, object]]:
    return [
        {"0020000D": element("UI", uid(number)), "0020000E": element("UI", uid(number, n)),
         "00200011": element("IS", n), "00080060": element("CS", "CT")}
        for n in range(1, EACH + 1)
    ]  # fmt: skip


class Peer:
    """A server's way with a search for the series of several studies."""

    def __init__(self, way: str) -> None:
        self.way = way

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        asked = parse_qs(parts.query)
        offset, limit = int(asked.get("offset", ["0"])[0]), int(asked["limit"][0])
        everything = [one for number in range(1, STUDIES + 1) for one in series_of(number)]
        if parts.path.endswith("/dicom-web/studies"):
            found = [study_of(number) for number in range(1, STUDIES + 1)]
        elif parts.path.endswith("/dicom-web/series"):
            wanted = asked["StudyInstanceUID"][0].split(",")
            if self.way == "refuses":
                reply(handler, b"no such resource", 404)
                return
            found = [] if self.way == "knows no lists" else everything
            if self.way not in ("ignores the key",):
                found = [one for one in found if one["0020000D"]["Value"][0] in wanted]  # type: ignore[index]  # pyright: ignore
            if self.way == "cuts short":
                found, offset = found[:7], 0
            if self.way == "pages of four":
                limit = 4
        else:
            study_uid = parts.path.split("/")[-2]
            found = [one for one in everything if one["0020000D"]["Value"][0] == study_uid]  # type: ignore[index]  # pyright: ignore
        reply(handler, found[offset : offset + limit])


@pytest.mark.parametrize(
    ("way", "lists", "alone"),
    [
        ("answers", 1, 0), ("pages of four", 6, 0), ("ignores the key", 1, 0), ("cuts short", 2, STUDIES - 2),
        ("knows no lists", 1, STUDIES), ("refuses", 1, STUDIES),
    ],
)  # fmt: skip
def test_the_series_of_some_studies_in_one_search_or_alone(
    here: Here, liar: Liar, way: str, lists: int, alone: int
) -> None:
    liar.answer = Peer(way)
    here.name(liar.url)
    assert here.index(everything=True, series=True).counts == {"studies_new": STUDIES, "series": STUDIES * EACH}
    for number in range(1, STUDIES + 1):
        assert [one["series_instance_uid"] for one in here.series(uid(number))] == [
            uid(number, n) for n in range(1, EACH + 1)
        ]
    asked = [urlsplit(line.split()[1]).path for line in liar.asked]
    assert sum(path.endswith("/dicom-web/series") for path in asked) == lists
    assert sum(path.endswith("/series") for path in asked) - lists == alone
