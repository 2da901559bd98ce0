"""Which instances a rule takes, and that each is queued once however often it is told of."""

import time
from collections.abc import Callable, Sequence

import httpx
import pytest
from pydicom.dataset import Dataset

from hilum.core.errors import Conflict, Invalid, NotFound
from hilum.core.jobs import open_jobs
from hilum.imaging.archive import delete
from hilum.imaging.archive.sources import add_source
from hilum.imaging.routing import destinations, matching, queue, rules, tasks
from hilum.imaging.routing.conditions import Conditions, Pattern
from tests.make import ct, uid
from tests.routing.conftest import Forwarder

NOBODY = {"host": "127.0.0.1", "port": 9, "called_ae_title": "NOBODY"}


CASES: list[tuple[dict[str, object], set[int]]] = [
    ({}, {1, 2, 3}),
    ({"sources": ["other"]}, {3}),
    ({"modalities": ["MR", "US"]}, {2}),
    ({"senders": ["SCANNER1"]}, {1}),
    ({"station_names": ["ROOM7"]}, {2}),
    ({"patterns": [Pattern("StudyDescription", "(?i)^ct .*chest$")]}, {1, 3}),
    ({"patterns": [Pattern("StudyDescription", "CT"), Pattern("PatientID", "^P1$")]}, {1}),
    ({"patterns": [Pattern("InstanceNumber", "^2$")]}, set()),
    ({"patterns": [Pattern("RequestAttributesSequence.RequestedProcedureID", "^RP-[0-9]+$")]}, {2}),
    ({"modalities": ["CT"], "senders": ["10.1.2.3"]}, {3}),
]


def test_a_rule_takes_what_meets_all_its_conditions(forwarder: Forwarder) -> None:
    add_source(forwarder.database, "other", "Other")
    made = [forwarder.rule(forwarder.destination(**NOBODY), **conditions) for conditions, _ in CASES]
    request = Dataset()
    request.RequestedProcedureID = "RP-12"
    forwarder.keep(ct(1), sender="SCANNER1")
    forwarder.keep(
        ct(2, Modality="MR", StationName="ROOM7", StudyDescription="Head", RequestAttributesSequence=[request])
    )
    forwarder.keep(ct(3), source="other", sender="10.1.2.3")
    forwarder.hear()
    found = forwarder.items()
    for rule, (conditions, taken) in zip(made, CASES, strict=True):
        queued = {item["sop_instance_uid"] for item in found if item["rule_id"] == rule}
        assert queued == {uid(n, 1, 1) for n in taken}, conditions


def test_a_hostile_expression_neither_hangs_nor_is_taken(forwarder: Forwarder) -> None:
    to = forwarder.destination(**NOBODY)
    forwarder.rule(to, patterns=[Pattern("SeriesDescription", "^(([a-z])+.)+[A-Z]([a-z])+$")])
    forwarder.keep(ct(1, SeriesDescription="a" * 64))
    begun = time.monotonic()
    forwarder.hear()
    assert time.monotonic() - begun < 60  # by trying all ways, it would not end in a lifetime
    for pattern in ("(", r"(a)\1", "a{1000}{1000}{1000}", "x" * 501):
        with pytest.raises(Invalid):
            forwarder.rule(to, patterns=[Pattern("SeriesDescription", pattern)])
    with pytest.raises(Invalid, match="no attribute"):
        forwarder.rule(to, patterns=[Pattern("NoSuchThing", "a")])


def test_a_rule_holds_for_what_arrives_after_it(forwarder: Forwarder) -> None:
    forwarder.keep(ct(1))
    rule = forwarder.rule(forwarder.destination(**NOBODY))
    forwarder.keep(ct(2))
    rules.change_rule(forwarder.database, forwarder.archive.choice, rule, {"active": False})
    forwarder.hear()
    assert forwarder.states() == {}
    rules.change_rule(forwarder.database, forwarder.archive.choice, rule, {"active": True})
    forwarder.heard = 0
    forwarder.hear()
    assert set(forwarder.states()) == {uid(2, 1, 1)}


def test_the_rule_of_the_highest_priority_sends_and_each_destination_gets_an_instance_once(
    forwarder: Forwarder,
) -> None:
    one, two = forwarder.destination(**NOBODY), forwarder.destination(**NOBODY | {"called_ae_title": "OTHER"})
    low, high, elsewhere = forwarder.rule(one), forwarder.rule(one, priority=5, modalities=["CT"]), forwarder.rule(two)
    forwarder.keep(ct(1), ct(2, Modality="MR"))
    forwarder.hear()
    found = {(item["sop_instance_uid"], item["rule_id"]) for item in forwarder.items()}
    assert found == {(uid(1, 1, 1), high), (uid(2, 1, 1), low), (uid(1, 1, 1), elsewhere), (uid(2, 1, 1), elsewhere)}


def test_what_a_rule_that_is_off_has_queued_is_taken_over_by_another(forwarder: Forwarder) -> None:
    to = forwarder.destination(**NOBODY)
    first = forwarder.rule(to)
    forwarder.keep(ct(1))
    forwarder.hear()
    rules.change_rule(forwarder.database, forwarder.archive.choice, first, {"active": False})
    assert queue.lease(forwarder.database) is None
    forwarder.rule(to, when="study")
    revise(forwarder, 1, 1)
    (item,) = forwarder.items()
    assert item["rule_id"] != first
    assert queue.lease(forwarder.database) is not None


def revise(forwarder: Forwarder, study: int, revision: int) -> int:
    """Tell of a revision, in the shape of the contract, written as events are."""
    from hilum.core.events import Event

    with forwarder.database.transaction() as sql:
        rows = sql.rows(
            "select sop_instance_uid, digest, size from hilum.instance i join hilum.study s on s.id = i.study_id "
            "where s.study_instance_uid = %s and i.deleted_at is null order by 1",
            (uid(study),),
        )
        data = {
            "study_instance_uid": uid(study), "revision": revision, "reason": "quiet", "num_series": 1,
            "num_instances": len(rows), "num_images": len(rows),
            "changes": {"added": [], "removed": [], "replaced": []},
            "series": [{"series_instance_uid": uid(study, 1), "modality": "CT", "series_number": 1, "instances": rows}],
        }  # fmt: skip
        sql.emit(Event("hilum.study.revised.v1", "default", uid(study), data))
    return forwarder.hear()


def test_a_study_goes_whole_with_its_first_revision_and_then_only_what_is_new(forwarder: Forwarder) -> None:
    to = forwarder.destination(**NOBODY)
    forwarder.rule(to, when="study", modalities=["CT"])
    forwarder.keep(ct(1, 1, 1), ct(1, 2, 1, Modality="SR"), ct(2, Modality="MR"))
    assert forwarder.hear() == 0
    assert revise(forwarder, 1, 1) == 2
    assert revise(forwarder, 2, 1) == 0
    forwarder.keep(ct(1, 1, 2), ct(1, 1, 1, seed=9))
    assert revise(forwarder, 1, 2) == 2
    assert revise(forwarder, 1, 3) == 0
    assert set(forwarder.states()) == {uid(1, 1, 1), uid(1, 2, 1), uid(1, 1, 2)}


def test_what_came_from_a_destination_does_not_go_back(forwarder: Forwarder) -> None:
    back = forwarder.destination(**NOBODY | {"called_ae_title": "PACS"})
    forwarder.rule(back)
    forwarder.rule(forwarder.destination(url="http://192.0.2.7/dicom-web"))
    forwarder.keep(ct(1), sender="PACS")
    forwarder.keep(ct(2), sender="192.0.2.7")
    forwarder.keep(ct(3), sender="127.0.0.1")
    forwarder.hear()
    sent = [(item["sop_instance_uid"], item["destination_id"] == back) for item in forwarder.items()]
    assert sorted(map(str, sent)) == sorted(
        map(str, [(uid(1, 1, 1), False), (uid(2, 1, 1), True), (uid(3, 1, 1), True), (uid(3, 1, 1), False)])
    )


def test_another_destination_of_a_rule_gets_what_waits(forwarder: Forwarder) -> None:
    one, two = forwarder.destination(**NOBODY), forwarder.destination(**NOBODY)
    rule = forwarder.rule(one)
    forwarder.keep(ct(1))
    forwarder.hear()
    with pytest.raises(NotFound):
        rules.change_rule(forwarder.database, forwarder.archive.choice, rule, {"destination_id": 99})
    rules.change_rule(forwarder.database, forwarder.archive.choice, rule, {"destination_id": two})
    assert [item["destination_id"] for item in forwarder.items()] == [two]
    with pytest.raises(Conflict, match="Rules send to"):
        destinations.delete_destination(forwarder.database, two)
    destinations.delete_destination(forwarder.database, one)


def test_what_was_deleted_here_is_not_sent(forwarder: Forwarder) -> None:
    forwarder.rule(forwarder.destination(**NOBODY))
    forwarder.keep(ct(1), ct(2))
    forwarder.hear()
    with forwarder.database.transaction() as sql:
        (row,) = sql.rows("select id from hilum.study where study_instance_uid = %s", (uid(1),))
    delete.delete_study(forwarder.database, row["id"], "somebody")  # pyright: ignore
    held = queue.lease(forwarder.database)
    while held is None:
        held = queue.lease(forwarder.database)
    assert [item.sop_instance_uid for item in held.items] == [uid(2, 1, 1)]
    assert forwarder.states()[uid(1, 1, 1)] == "skipped"


def destination(**changes: object) -> dict[str, object]:
    address = {"url": "https://pacs.example/dicom-web"}
    return {"name": "PACS", "kind": "stow", "address": address} | changes


def test_credentials_are_kept_and_never_shown(api: httpx.Client, forwarder: Forwarder) -> None:
    given = destination(credentials={"username": "hilum", "password": "a secret"})
    made = api.post("/destinations", json=given)
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert made.json()["credentials"] == "basic"
    changed = api.patch(f"/destinations/{number}", json={"name": "Other", "address": {"timeout_seconds": 9}})
    assert changed.json()["address"] | {"url": "", "timeout_seconds": 9} == changed.json()["address"] | {"url": ""}
    kept = destinations.find_destination(forwarder.database, number)
    assert dict(kept.credentials) == {"username": "hilum", "password": "a secret"}
    moved = api.patch(f"/destinations/{number}", json={"address": {"url": "https://elsewhere.example/"}})
    assert moved.status_code == 422
    assert "credentials again" in moved.json()["detail"]
    for answer in (made, changed, moved, api.get("/destinations"), api.get(f"/destinations/{number}")):
        assert "a secret" not in answer.text
    assert "a secret" not in repr(kept)


REFUSED: list[dict[str, object]] = [
    {"address": {"url": "file:///etc/passwd"}},
    {"address": {"url": "https://user:word@pacs.example/"}},
    {"address": {"url": "https://pacs.example/?a=b"}},
    {"address": {}},
    {"kind": "cstore", "address": {"host": "pacs", "called_ae_title": "A\\B"}},
    {"kind": "cstore", "address": {"host": "pa cs", "called_ae_title": "A"}},
    {"kind": "cstore", "address": {"host": "pacs", "called_ae_title": "A"}, "credentials": {"token": "t"}},
    {"credentials": {"username": "only"}},
    {"address": {"url": "http://pacs/", "transfer_syntax_uid": "1.2.3"}},
    {"address": {"url": "https://pacs/", "tls_ca": "no certificate"}},
    {"name": ""},
    {"surprise": 1},
]


def test_a_destination_that_cannot_be_sent_to_is_refused(api: httpx.Client) -> None:
    for changes in REFUSED:
        answer = api.post("/destinations", json=destination(**changes))
        assert answer.status_code == 422, (changes, answer.text)
        assert answer.json()["detail"]
    assert api.get("/destinations").json() == []


def test_rules_are_added_changed_deleted_and_brought_back(api: httpx.Client, forwarder: Forwarder) -> None:
    to = api.post("/destinations", json=destination()).json()["id"]
    given = {"name": "All CT", "destination_id": to, "when": "instance", "conditions": {"modalities": ["CT"]}}
    made = api.post("/rules", json=given)
    assert made.status_code == 201, made.text
    rule = made.json()["id"]
    assert made.json()["conditions"] == {
        "sources": [], "modalities": ["CT"], "senders": [], "station_names": [], "patterns": []
    }  # fmt: skip
    assert api.post("/rules", json=given).status_code == 409
    assert api.post("/rules", json=given | {"name": "B", "destination_id": 99}).status_code == 404
    bad = {"conditions": {"patterns": [{"attribute": "Modality", "pattern": "("}]}}
    assert api.patch(f"/rules/{rule}", json=bad).status_code == 422
    changed = api.patch(f"/rules/{rule}", json={"priority": 3, "active": False}).json()
    assert (changed["priority"], changed["active"], changed["conditions"]) == (3, False, made.json()["conditions"])
    api.patch(f"/rules/{rule}", json={"active": True})
    forwarder.keep(ct(1))
    forwarder.hear()
    counts = api.get("/rules").json()[0]["counts"]
    assert (counts["waiting"], counts["sent"], counts["oldest_at"] is not None) == (1, 0, True)
    (item,) = api.get(f"/rules/{rule}/queue").json()["items"]
    assert (item["sop_instance_uid"], item["state"]) == (uid(1, 1, 1), "waiting")
    assert item["digest"].startswith("blake3:")
    assert api.delete(f"/rules/{rule}").status_code == 204
    assert queue.lease(forwarder.database) is None
    assert api.get(f"/rules/{rule}").status_code == 404
    assert api.post(f"/rules/{rule}/restore").json()["counts"]["waiting"] == 1
    assert api.post(f"/rules/{rule}/queue/{item['id']}/replay").status_code == 409
    assert api.delete(f"/rules/{rule}/queue/{item['id']}").status_code == 204
    assert api.get(f"/rules/{rule}/queue?state=skipped").json()["total"] == 1
    assert api.delete(f"/rules/{rule}/queue/12345").status_code == 404


def test_without_rules_an_event_costs_one_question(forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.core.database import Transaction

    forwarder.keep(ct(1))
    asked: list[object] = []
    rows = Transaction.rows
    monkeypatch.setattr(Transaction, "rows", lambda self, *given: asked.append(given) or rows(self, *given))
    forwarder.hear()
    assert len(asked) == 2 * len([event for event in forwarder.events() if "stored" in str(event["type"])])


class Listeners:
    """Keeps what `register` names."""

    def __init__(self) -> None:
        self.named: list[tuple[str, Sequence[str], Callable[[matching.Event], None]]] = []

    def on(self, name: str, types: Sequence[str], handle: Callable[[matching.Event], None], where: str = "") -> None:
        del where
        self.named.append((name, types, handle))


def test_what_is_queued_wakes_a_worker_once(forwarder: Forwarder) -> None:
    forwarder.rule(forwarder.destination(**NOBODY))
    listeners = Listeners()
    with open_jobs(forwarder.database) as jobs:
        tasks.register(jobs, forwarder.archive)
        matching.register(listeners, forwarder.database, forwarder.archive.choice, lambda: jobs.wake(tasks.SEND))
        ((name, types, handle),) = listeners.named
        assert (name, set(types)) == ("routing", {matching.STORED, matching.REVISED})
        forwarder.keep(ct(1), ct(2))
        for event in forwarder.events():
            if event["type"] in types:
                handle(event)
    with forwarder.database.transaction() as sql:
        (row,) = sql.rows("select count(*) n from procrastinate_jobs where task_name = %s", (tasks.SEND,))
    assert row["n"] == 1
    assert forwarder.count("waiting") == 2


def test_conditions_survive_the_database() -> None:
    given = Conditions(("a",), ("CT",), ("AE",), ("ROOM",), (Pattern("Modality", "C"),))
    from dataclasses import asdict

    assert Conditions.read(asdict(given)) == given
