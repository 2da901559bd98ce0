"""The how-to's node works as it is printed, and the conformance statement says what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag

from hilum.imaging.dicomweb.accept import describe
from hilum.imaging.worklist import courier, dataset, payload, problems, reports, routes, search, subscriptions
from hilum.imaging.worklist.requirements import REQUIREMENTS, TRANSACTION_UID
from tests.conftest import wait_until
from tests.worklist.conftest import STATE, Worklist, element, new_uid, performed, value

DOCS = Path(__file__).parents[2] / "docs"
STATEMENT = (DOCS / "reference" / "dicomweb" / "worklist.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = STATEMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_x03_the_node_of_the_how_to_takes_work_as_it_is_printed(alone: Worklist, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "how-to" / "worklist.md").read_text(), re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 50
    (tmp_path / "node.py").write_text(program)
    before, foreign = alone.create(), alone.create(t00741202=element("LO", "OTHER"))
    command = [sys.executable, str(tmp_path / "node.py"), alone.root]
    nodes = [subprocess.Popen([*command, name, "AI"], stdout=subprocess.PIPE, text=True) for name in ("N1", "N2")]
    try:
        wait_until(lambda: value(alone.get(before), STATE) == "COMPLETED", 120, "the one that waited")
        later = [alone.create() for _ in range(6)]
        wait_until(lambda: len(alone.search("?ProcedureStepState=COMPLETED")) == 7, 120, "the rest")
    finally:
        for node in nodes:
            node.kill()
    printed = [line.split()[-1] for node in nodes for line in node.communicate()[0].splitlines()]
    assert sorted(printed) == sorted([before, *later])
    assert value(alone.get(foreign), STATE) == "SCHEDULED"


def test_x03_the_statement_names_every_address() -> None:
    documented = [(row[0], row[1].strip("`")) for row in table("Transactions")]
    assert sorted(documented) == sorted((door.method, door.path) for door in routes.DOORS)


def test_x03_the_statement_names_the_media_types(worklist: Worklist) -> None:
    rows = dict(table("Media types"))
    given = re.findall(r"`([^`]+)`", rows["answer"])
    assert given == [describe(offer) for offer in payload.OFFERS]
    uid = worklist.create()
    for accept in given:
        answer = worklist.send("GET", f"/workitems/{uid}", headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(accept), accept
    taken = re.findall(r"`([^`]+)`", rows["request"])
    bodies = {"json": b"{}", "xml": b"<NativeDicomModel/>"}
    for kind in taken:
        body = bodies["xml" if "xml" in kind else "json"]
        if kind.startswith("multipart"):
            kind, body = f"{kind}; boundary=b", b"--b\r\n\r\n" + body + b"\r\n--b--\r\n"
        answer = worklist.client.post(f"{worklist.root}/workitems/{uid}", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 200, answer.text


def test_x03_the_statement_names_the_attributes() -> None:
    words = {"always": "always", "present": "if present", "asked": "if asked for"}
    expected = [
        [
            keyword_for_tag(int(one.tag, 16)),
            one.create,
            "yes" if one.change else "no",
            "never" if one.tag == TRANSACTION_UID else words[one.given],
        ]
        for one in REQUIREMENTS
    ]
    assert table("Attributes") == expected


def test_x03_the_statement_names_the_warnings() -> None:
    texts = {text for name, text in vars(problems).items() if name.isupper() and isinstance(text, str)}
    texts |= {
        routes.CREATED_OTHERWISE,
        *search.NOT_DONE.values(),
        *(routes.ALREADY.format(s) for s in ("COMPLETED", "CANCELED")),
    }
    documented = {row[0] for row in table("Warnings")}
    assert documented == texts | {"There are N additional results that can be requested"}


def test_x03_the_statement_names_the_limits() -> None:
    found = [int(re.match(r"[0-9]+", row[1])[0]) for row in table("Limits")]  # pyright: ignore
    assert found == [
        payload.MAX_BODY >> 20,
        dataset.MAX_DEPTH,
        dataset.MAX_TEXT,
        search.MAX_KEYS,
        search.MAX_VALUE,
        search.MAX_WILDCARDS,
        search.MAX_PATH,
        search.MAX_RESULTS,
        subscriptions.MAX_SUBSCRIBERS,
        reports.MAX_KEPT,
        courier.MAX_SOCKETS,
        int(courier.SEND_SECONDS),
    ]


@pytest.mark.parametrize("before", ["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"])
@pytest.mark.parametrize("column", [1, 2, 3, 4])
def test_x03_the_statement_tells_how_changes_of_state_end(
    worklist: Worklist, node: str, before: str, column: int
) -> None:
    (row,) = [row for row in table("Changes of state") if row[0] == before]
    uid = worklist.create()
    worklist.subscribe(uid, node)
    transaction = new_uid()
    if before == "COMPLETED":
        transaction = worklist.complete(uid)
    elif before != "SCHEDULED":
        transaction = worklist.claim(uid)
    if before == "CANCELED":
        worklist.change(uid, "CANCELED", transaction)
    if before == "IN PROGRESS":
        worklist.update(uid, performed(), transaction)
    if column == 4:
        answer = worklist.send("POST", f"/workitems/{uid}/cancelrequest")
    else:
        answer = worklist.change(uid, ("IN PROGRESS", "COMPLETED", "CANCELED")[column - 1], transaction)
    assert answer.status_code == int(row[column])
