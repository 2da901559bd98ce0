"""Workitems over UPS-RS (PS3.18 sections 11.4 to 11.8, PS3.4 annex CC): created, read, updated, claimed, ended."""

import pytest

from tests.worklist.conftest import (
    STATE,
    TRANSACTION,
    Worklist,
    element,
    new_uid,
    performed,
    read,
    value,
    warnings,
    workitem,
)

INCONSISTENT = ["The submitted request is inconsistent with the state of the UPS Instance."]
INCONSISTENT_UPDATE = ["The submitted request is inconsistent with the current state of the Workitem."]


def test_x03_a_workitem_is_created_with_the_uid_of_the_query_and_comes_back(worklist: Worklist) -> None:
    uid = new_uid()
    answer = worklist.send("POST", f"/workitems?{uid}", workitem())
    assert (answer.status_code, answer.content, warnings(answer)) == (201, b"", [])
    assert answer.headers["location"] == f"{worklist.root}/workitems/{uid}"
    found = worklist.get(uid)
    sent = workitem()
    del sent[TRANSACTION]
    assert {tag: found[tag] for tag in sent} == sent
    assert (value(found, "00080016"), value(found, "00080018")) == ("1.2.840.10008.5.1.4.34.6.1", uid)
    assert str(value(found, "00404010")).endswith("+0000")


@pytest.mark.parametrize("name", ["workitem", "uid", "AffectedSOPInstanceUID"])
def test_x03_the_uid_may_be_named_in_the_query(worklist: Worklist, name: str) -> None:
    uid = new_uid()
    assert worklist.send("POST", f"/workitems?{name}={uid}", workitem()).status_code == 201
    assert value(worklist.get(uid), "00080018") == uid


def test_x03_the_uid_may_stand_in_the_data_set_or_nowhere(worklist: Worklist) -> None:
    uid = new_uid()
    answer = worklist.send("POST", "/workitems", workitem(t00001000=element("UI", uid)))
    assert answer.headers["location"].endswith(uid)
    assert "00001000" not in worklist.get(uid)
    made = worklist.send("POST", "/workitems", workitem()).headers["location"].rpartition("/")[2]
    assert made.startswith("2.25.")
    answer = worklist.send("POST", f"/workitems?{new_uid()}", workitem(t00080018=element("UI", uid)))
    assert answer.status_code == 400


@pytest.mark.parametrize("tag", ["00741000", "00741200", "00741204", "00404005", "00404041"])
def test_x03_a_required_value_must_be_there_at_create(worklist: Worklist, tag: str) -> None:
    for data in (workitem(**{f"t{tag}": {"vr": "CS"}}), {k: v for k, v in workitem().items() if k != tag}):
        answer = worklist.send("POST", f"/workitems?{new_uid()}", data)
        assert answer.status_code == 400
        assert f"({tag[:4]},{tag[4:]})" in answer.json()["detail"]
        assert answer.json()["detail"].endswith("(PS3.4 table CC.2.5-3).")


@pytest.mark.parametrize(
    "changes",
    [
        {"t00741000": element("CS", "IN PROGRESS")},
        {"t00081195": element("UI", "1.2.3")},
        {"t00741002": element("SQ", {"00741004": element("DS", 5)})},
        {"t00741216": performed()["00741216"]},
        {"t00741200": element("CS", "STAT")},
        {"t00404041": element("CS", "PERHAPS")},
        {"t00404005": element("DT", "tomorrow")},
        {"t0020000D": element("UI", "1..2")},
    ],
)
def test_x03_what_may_not_be_in_a_new_workitem_is_refused(worklist: Worklist, changes: dict[str, object]) -> None:
    answer = worklist.send("POST", f"/workitems?{new_uid()}", workitem(**changes))  # pyright: ignore
    assert answer.status_code == 400, answer.text


def test_x03_what_is_missing_of_type_2_is_created_empty_and_said(worklist: Worklist) -> None:
    uid = new_uid()
    small = {tag: workitem()[tag] for tag in ("00741000", "00741200", "00741204", "00404005", "00404041")}
    answer = worklist.send("POST", f"/workitems?{uid}", small)
    assert answer.status_code == 201
    assert warnings(answer) == ["The Workitem was created with modifications."]
    found = worklist.get(uid)
    assert (found["00100010"], value(found, "00741202")) == ({"vr": "PN"}, "DEFAULT")


def test_x03_a_uid_is_used_once(worklist: Worklist) -> None:
    uid = worklist.create()
    assert worklist.send("POST", f"/workitems?{uid}", workitem()).status_code == 409


def test_x03_an_unknown_workitem_is_404_everywhere(worklist: Worklist) -> None:
    uid = new_uid()
    assert worklist.send("GET", f"/workitems/{uid}").status_code == 404
    assert worklist.update(uid, {}).status_code == 404
    assert worklist.change(uid, "IN PROGRESS", "1.2").status_code == 404
    assert worklist.send("POST", f"/workitems/{uid}/cancelrequest").status_code == 404
    assert worklist.subscribe(uid, "NODE").status_code == 404
    assert worklist.send("DELETE", f"/workitems/{uid}/subscribers/NODE").status_code == 404


def test_x03_a_whole_life(worklist: Worklist) -> None:
    uid = worklist.create()
    transaction = worklist.claim(uid)
    assert value(worklist.get(uid), STATE) == "IN PROGRESS"
    progress = {"00741002": element("SQ", {"00741004": element("DS", 40)})}
    assert worklist.update(uid, progress, transaction).status_code == 200
    answer = worklist.change(uid, "COMPLETED", transaction)
    assert (answer.status_code, warnings(answer)) == (409, INCONSISTENT)
    assert "UnifiedProcedureStepPerformedProcedureSequence" in answer.json()["detail"]
    assert worklist.update(uid, performed(), transaction).status_code == 200
    answer = worklist.change(uid, "COMPLETED", transaction)
    assert (answer.status_code, answer.content, warnings(answer)) == (200, b"", [])
    assert value(worklist.get(uid), STATE) == "COMPLETED"
    answer = worklist.change(uid, "COMPLETED", transaction)
    assert (answer.status_code, warnings(answer)) == (
        200,
        ["The UPS is already in the requested state of COMPLETED."],
    )


@pytest.mark.parametrize("left_out", ["00404019", "00404028", "00404033", "00404050", "00404051"])
def test_x03_completion_needs_what_was_performed(worklist: Worklist, left_out: str) -> None:
    uid = worklist.create()
    transaction = worklist.claim(uid)
    data = performed()
    del value(data, "00741216")[left_out]  # pyright: ignore
    assert worklist.update(uid, data, transaction).status_code == 200
    answer = worklist.change(uid, "COMPLETED", transaction)
    assert (answer.status_code, warnings(answer)) == (409, INCONSISTENT)
    assert f"({left_out[:4]},{left_out[4:]})" in answer.json()["detail"]
    assert value(worklist.get(uid), STATE) == "IN PROGRESS"


MISSING, WRONG = ["The Transaction UID is missing."], ["The Transaction UID is incorrect."]


@pytest.mark.parametrize(
    ("before", "asked", "whose", "status", "warning"),
    [
        ("SCHEDULED", "IN PROGRESS", "none", 400, MISSING),
        ("SCHEDULED", "COMPLETED", "mine", 409, INCONSISTENT),
        ("SCHEDULED", "CANCELED", "mine", 409, INCONSISTENT),
        ("SCHEDULED", "SCHEDULED", "mine", 400, INCONSISTENT),
        ("SCHEDULED", "CANCELLED", "mine", 400, INCONSISTENT),
        ("IN PROGRESS", "IN PROGRESS", "mine", 409, INCONSISTENT),
        ("IN PROGRESS", "IN PROGRESS", "other", 400, WRONG),
        ("IN PROGRESS", "COMPLETED", "none", 400, MISSING),
        ("IN PROGRESS", "COMPLETED", "other", 400, WRONG),
        ("IN PROGRESS", "CANCELED", "other", 400, WRONG),
        ("IN PROGRESS", "SCHEDULED", "mine", 400, INCONSISTENT),
        ("COMPLETED", "IN PROGRESS", "mine", 409, INCONSISTENT),
        ("COMPLETED", "CANCELED", "mine", 409, INCONSISTENT),
        ("COMPLETED", "CANCELED", "other", 400, WRONG),
        ("CANCELED", "COMPLETED", "mine", 409, INCONSISTENT),
        ("CANCELED", "CANCELED", "mine", 200, ["The UPS is already in the requested state of CANCELED."]),
        ("CANCELED", "IN PROGRESS", "other", 400, WRONG),
    ],
)
def test_x03_the_table_of_transitions(
    worklist: Worklist, before: str, asked: str, whose: str, status: int, warning: list[str]
) -> None:
    uid = worklist.create()
    mine = new_uid()
    if before == "COMPLETED":
        mine = worklist.complete(uid)
    elif before != "SCHEDULED":
        mine = worklist.claim(uid)
    if before == "CANCELED":
        assert worklist.change(uid, "CANCELED", mine).status_code == 200
    answer = worklist.change(uid, asked, {"none": None, "mine": mine, "other": new_uid()}[whose])
    assert (answer.status_code, warnings(answer)) == (status, warning)
    assert value(worklist.get(uid), STATE) == before


def test_x03_a_performer_cancels_and_the_reason_is_kept_or_filled_in(worklist: Worklist) -> None:
    uid = worklist.create()
    transaction = worklist.claim(uid)
    reason = {"00741002": element("SQ", {"00741238": element("LT", "wrong series")})}
    assert worklist.update(uid, reason, transaction).status_code == 200
    assert worklist.change(uid, "CANCELED", transaction).status_code == 200
    (progress,) = worklist.get(uid)["00741002"]["Value"]  # pyright: ignore
    assert value(progress, "00741238") == "wrong series"
    assert value(value(progress, "0074100E"), "00080100") == "110513"  # pyright: ignore
    assert "00404052" in progress


@pytest.mark.parametrize("place", ["transaction-uid", "bare", "data set"])
def test_x03_an_update_of_a_claimed_workitem_names_the_transaction(worklist: Worklist, place: str) -> None:
    uid = worklist.create()
    transaction = worklist.claim(uid)
    data = {"00741204": element("LO", "another label")}
    wrong = new_uid()
    for given, status in ((wrong, 400), (transaction, 200)):
        if place == "data set":
            answer = worklist.update(uid, data | {TRANSACTION: element("UI", given)})
        else:
            query = given if place == "bare" else f"transaction-uid={given}"
            answer = worklist.send("POST", f"/workitems/{uid}?{query}", data)
        assert answer.status_code == status, answer.text
        assert warnings(answer) == ([] if status == 200 else INCONSISTENT_UPDATE)
        assert value(worklist.get(uid), "00741204") == ("another label" if status == 200 else "Liver segmentation")
    answer = worklist.update(uid, data)
    assert (answer.status_code, warnings(answer)) == (400, INCONSISTENT_UPDATE)


def test_x03_a_scheduled_workitem_is_updated_by_anybody_but_not_as_if_it_were_claimed(worklist: Worklist) -> None:
    uid = worklist.create()
    before = value(worklist.get(uid), "00404010")
    assert worklist.update(uid, {"00741200": element("CS", "HIGH")}).status_code == 200
    found = worklist.get(uid)
    assert value(found, "00741200") == "HIGH"
    assert value(found, "00404010") > before  # pyright: ignore
    answer = worklist.update(uid, {"00741200": element("CS", "LOW")}, new_uid())
    assert (answer.status_code, warnings(answer)) == (409, ["The target URI did not reference a claimed Workitem."])


def test_x03_what_has_ended_is_not_updated(worklist: Worklist) -> None:
    uid = worklist.create()
    transaction = worklist.complete(uid)
    answer = worklist.update(uid, {"00741204": element("LO", "late")}, transaction)
    assert (answer.status_code, warnings(answer)) == (400, INCONSISTENT_UPDATE)


@pytest.mark.parametrize(
    "data",
    [
        {STATE: element("CS", "COMPLETED")},
        {"00100010": element("PN", {"Alphabetic": "Roe^Richard"})},
        {"00080018": element("UI", "1.2.3.4")},
        {"00404010": element("DT", "20300101")},
        {"0040A370": element("SQ", {"00080050": element("SH", "A1")})},
        {"00741200": element("CS")},
        {"00741200": element("CS", "STAT")},
    ],
)
def test_x03_an_update_changes_only_what_may_be_changed(worklist: Worklist, data: dict[str, object]) -> None:
    uid = worklist.create()
    before = worklist.get(uid)
    assert worklist.update(uid, data).status_code == 400
    assert worklist.get(uid) == before


def test_x03_the_transaction_uid_is_never_told(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    with worklist.open(node) as socket:
        worklist.subscribe(uid, node)
        transaction = worklist.claim(uid)
        data = {TRANSACTION: element("UI", transaction), "00741204": element("LO", "x")}
        assert worklist.update(uid, data).status_code == 200
        assert worklist.update(uid, performed(), transaction).status_code == 200
        assert worklist.change(uid, "COMPLETED", transaction).status_code == 200
        told = "".join(str(socket.recv(timeout=60)) for _ in range(3))
    everything = (
        worklist.send("GET", "/workitems?includefield=all").text + worklist.send("GET", f"/workitems/{uid}").text
    )
    for text in (told, everything, str(worklist.feed(uid))):
        assert uid in text
        assert transaction not in text
    assert worklist.send("GET", f"/workitems?TransactionUID={transaction}").status_code == 400
    assert worklist.send("GET", "/workitems?includefield=00081195").status_code == 400


def test_x03_a_scheduled_workitem_is_canceled_by_whoever_asks(worklist: Worklist) -> None:
    uid = worklist.create()
    reason = {"00741238": element("LT", "ordered twice")}
    answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest", reason)
    assert (answer.status_code, warnings(answer)) == (202, [])
    found = worklist.get(uid)
    assert value(found, STATE) == "CANCELED"
    assert value(value(found, "00741002"), "00741238") == "ordered twice"  # pyright: ignore
    answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest")
    assert (answer.status_code, warnings(answer)) == (
        202,
        ["The UPS is already in the requested state of CANCELED."],
    )


def test_x03_a_claimed_workitem_is_canceled_by_its_performer_who_is_told(worklist: Worklist, node: str) -> None:
    uid = worklist.create()
    transaction = worklist.claim(uid)
    answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest")
    assert (answer.status_code, warnings(answer)) == (409, ["The performer cannot be contacted."])
    worklist.subscribe(uid, node)
    reason = {"00741236": element("AE", "BOSS"), "00741238": element("LT", "no more"), "0074100C": element("LO", "Jo")}
    answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest", reason)
    assert answer.status_code == 202
    assert value(worklist.get(uid), STATE) == "IN PROGRESS"
    with worklist.open(node) as socket:
        told = read(socket, 2)[1]
    assert value(told, "00001002") == 2
    assert {tag: value(told, tag) for tag in reason} == {"00741236": "BOSS", "00741238": "no more", "0074100C": "Jo"}
    assert worklist.change(uid, "CANCELED", transaction).status_code == 200


def test_x03_a_claimed_workitem_whose_performer_is_silent_is_canceled_by_whoever_asks(worklist: Worklist) -> None:
    silent, working = worklist.create(), worklist.create()
    claim, other = worklist.claim(silent), worklist.claim(working)
    with worklist.archive.database.transaction() as sql:
        sql.rows("update hilum.workitem set changed_at = now() - interval '25 hours'")
    assert worklist.update(working, performed(), other).status_code == 200
    reason = {"00741238": element("LT", "its node is gone")}
    answers = [worklist.send("POST", f"/workitems/{uid}/cancelrequest", reason) for uid in (silent, working)]
    assert [answer.status_code for answer in answers] == [202, 409]
    found = worklist.get(silent)
    assert value(found, STATE) == "CANCELED"
    assert value(value(found, "00741002"), "00741238") == "its node is gone"  # pyright: ignore
    assert value(worklist.get(working), STATE) == "IN PROGRESS"
    assert worklist.change(silent, "COMPLETED", claim).status_code == 400


def test_x03_a_completed_workitem_stays_so(worklist: Worklist) -> None:
    uid = worklist.create()
    worklist.complete(uid)
    answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest")
    assert (answer.status_code, warnings(answer)) == (409, ["The UPS is already COMPLETED."])


def test_x03_every_change_is_in_the_history_and_in_the_feed_without_the_patient(worklist: Worklist) -> None:
    uid = worklist.create()
    worklist.complete(uid)
    kinds = ["created", "state_changed", "updated", "state_changed"]
    states = [(None, "SCHEDULED"), ("SCHEDULED", "IN PROGRESS"), ("IN PROGRESS",) * 2, ("IN PROGRESS", "COMPLETED")]
    assert worklist.feed(uid) == [
        (f"hilum.workitem.{kind}.v1", {"workitem_uid": uid, "old_state": old, "new_state": new})
        for kind, (old, new) in zip(kinds, states, strict=True)
    ]
    with worklist.archive.database.transaction() as sql:
        rows = sql.rows(
            "select old, new, made_by from hilum.workitem_change where workitem_id = "
            "(select id from hilum.workitem where uid = %s) order by id",
            (uid,),
        )
    assert [(row["old"] or None, row["new"]) for row in rows] == states
    assert {row["made_by"] for row in rows} == {"local user"}
