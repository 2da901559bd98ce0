"""The page of links as a coordinator uses it: what waits is accepted, chosen, refused and had back; a mapping table is
looked at and loaded; quality with its SQL; a study's own links."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Server, administration, fresh_database, serving, wait_until
from tests.make import ct, uid
from tests.web.conftest import expect_query
from tests.web.test_access import AXE, SETTLED

API = "/api/v1/imaging"
# Person 1 to 9 are women born on 1970-01-01 whose PatientID is P1 to P9, but person 8 was born in 1971.
STUDIES: dict[int, dict[str, object]] = {
    1: {},  # fits, but no procedure and no visit
    2: {"PatientID": "stranger", "PatientName": "Strange^Ann"},  # like 3
    3: {"PatientID": "stranger", "PatientName": "Strange^Ann"},
    4: {"PatientID": "mapped", "PatientBirthDate": "19600101"},
    5: {"PatientSex": "M"},
    8: {},  # birth year differs
    9: {"PatientID": None, "PatientName": None, "PatientBirthDate": "19600101"},
}


@dataclass
class Clinic:
    """A server with a CDM, and its database."""

    server: Server
    connection: psycopg.Connection

    @property
    def url(self) -> str:
        return f"{self.server.url}/links"

    def get(self, path: str) -> dict:
        return self.server.get(API + path).json()

    def id_of(self, number: int) -> int:
        return self.get(f"/studies/{uid(number)}")["id"]

    def person(self, number: int) -> tuple[int | None, str]:
        (link,) = (one for one in self.get(f"/studies/{uid(number)}/links")["links"] if one["kind"] == "person")
        return link["target_id"], link["reason"] or link["method"]

    def reset(self) -> None:
        """Forget every decision and mapping."""
        self.connection.execute("delete from hilum.person_map")
        studies = [self.id_of(number) for number in STUDIES]
        httpx.post(f"{self.server.url}{API}/links/bulk", json={"studies": studies}, timeout=60).raise_for_status()


@pytest.fixture(scope="module")
def running(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    with (
        fresh_database(cluster) as url,  # pyright: ignore
        administration(url) as connection,
        serving(folder / "data", url, study_quiet_seconds=0, omop_procedures="require") as server,
    ):
        server.hilum("cdm", "create")
        connection.execute(
            "insert into omop.person (person_id, gender_concept_id, year_of_birth, month_of_birth, day_of_birth, "
            "race_concept_id, ethnicity_concept_id, person_source_value) select n, 8532, case n when 8 then 1971 else "
            "1970 end, 1, 1, 0, 0, 'P' || n from generate_series(1, 9) n"
        )
        connection.execute(
            "insert into omop.procedure_occurrence (procedure_occurrence_id, person_id, procedure_concept_id, "
            "procedure_date, procedure_type_concept_id, procedure_source_value) "
            "values (70, 7, 4300757, '2024-01-31', 32817, 'CT|A2')"
        )
        for number, changes in STUDIES.items():
            (folder / f"{number}.dcm").write_bytes(ct(number, size=32, StudyDescription=f"Scan {number}", **changes))
        server.hilum("import", *(str(path) for path in sorted(folder.glob("*.dcm"))))
        clinic = Clinic(server, connection)
        waiting = f"{API}/links/queue/counts"
        wait_until(lambda: sum(one["studies"] for one in server.get(waiting).json()) == 8, 60, "what waits")
        yield clinic


@pytest.fixture
def clinic(running: Clinic) -> Iterator[Clinic]:
    """The clinic, as it was at first."""
    yield running
    running.reset()


def entry(page: Page, number: int, kind: str = "Person") -> Locator:
    """The row of a study that waits."""
    return page.get_by_role("listitem", name=f"Scan {number} of").and_(
        page.locator(f"[data-testid=entry][aria-label$='{kind}']")
    )


def toast(page: Page) -> Locator:
    return page.get_by_test_id("toast")


def test_a_candidate_is_accepted_and_it_is_undone(page: Page, clinic: Clinic) -> None:
    page.goto(clinic.url)
    row = entry(page, 2)
    expect(row).to_contain_text("Unknown PatientID.")
    expect(row.locator("img")).to_be_visible()
    # The person whose procedure has the accession number stands first.
    first = row.get_by_test_id("candidate").first
    expect(first).to_contain_text("Person 7")
    expect(first.locator("[data-verdict=agrees]")).to_have_text(
        ["agrees: Sex", "agrees: Birth date", "agrees: Accession number"]
    )
    expect(first.locator("[data-verdict=differs]")).to_have_text("differs: PatientID: P7, not stranger")
    expect(page.get_by_role("tab", name="Queue")).to_contain_text("8")
    first.get_by_role("button", name="Accept", exact=True).click()
    expect(row).to_have_count(0)
    expect(toast(page)).to_contain_text("Scan 2: person 7")
    assert clinic.person(2) == (7, "by_hand")
    toast(page).get_by_role("button", name="Undo").click()
    expect(row).to_be_visible()
    expect(toast(page)).to_have_count(0)
    assert clinic.person(2) == (None, "no_person")
    row.get_by_role("button", name="History").click()
    expect(row.get_by_test_id("link-change").nth(0)).to_contain_text("Person as the rules say, was 7")
    expect(row.get_by_test_id("link-change").nth(1)).to_contain_text("Person 7")


def test_those_alike_are_accepted_at_once(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.url}?kind=person&reason=no_person")
    expect(page.get_by_test_id("entry")).to_have_count(3)
    entry(page, 3).get_by_role("button", name="Accept for all 2").first.click()
    expect(page.get_by_test_id("entry")).to_have_count(1)
    expect(toast(page)).to_contain_text("2 studies of stranger: person")
    assert clinic.person(2) == clinic.person(3)
    toast(page).get_by_role("button", name="Undo").click()
    expect(page.get_by_test_id("entry")).to_have_count(3)


def test_what_must_not_be_linked_leaves_the_queue_and_comes_back(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.url}?kind=person")
    entry(page, 5).get_by_role("button", name="Must not be linked").click()
    expect(entry(page, 5)).to_have_count(0)
    assert clinic.person(5) == (None, "unlinked")
    page.get_by_role("tab", name="Refused").click()
    expect_query(page, view="refused")
    expect(entry(page, 5)).to_be_visible()
    page.reload()
    entry(page, 5).get_by_role("button", name="Let the rules decide").click()
    expect(page.get_by_role("heading", name="Nothing was refused")).to_be_visible()
    assert clinic.person(5) == (None, "sex_conflict")


def test_another_is_chosen_by_id(page: Page, clinic: Clinic, foreseen: list[str]) -> None:
    page.goto(f"{clinic.url}?kind=person&reason=blank_id")
    row = entry(page, 9)
    expect(row).to_contain_text("No PatientID")
    row.get_by_role("button", name="Choose…").click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("Search for a person")
    expect(field).to_be_focused()
    field.fill("P")
    expect(dialog.get_by_test_id("candidate")).to_have_count(9)
    field.fill("77")
    expect(dialog).to_contain_text("The CDM has no such person.")
    field.fill("p4")
    expect(dialog.get_by_test_id("candidate")).to_have_count(1)
    expect(dialog.get_by_test_id("candidate")).to_contain_text("Person 4")
    field.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("heading", name="Nothing waits for this reason")).to_be_visible()
    assert clinic.person(9) == (4, "by_hand")
    assert not foreseen


def test_it_is_worked_through_by_the_keyboard(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.url}?kind=person")
    rows = page.get_by_test_id("entry")
    expect(rows).to_have_count(6)
    current = page.locator("[data-testid=entry][data-current]")
    names = [rows.nth(n).get_attribute("aria-label") for n in range(6)]
    expect(current).to_have_attribute("aria-label", names[0] or "")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(current).to_have_attribute("aria-label", names[1] or "")
    page.keyboard.press("r")
    expect(rows).to_have_count(5)
    page.keyboard.press("u")
    expect(rows).to_have_count(6)
    # Something speaks against the first of study 5: Enter goes to it, a second Enter accepts.
    for _ in names:
        page.keyboard.press("k")
    expect(current).to_have_attribute("aria-label", names[0] or "")
    (wanted,) = (name for name in names if "Scan 5 " in (name or ""))
    for _ in range(names.index(wanted)):
        page.keyboard.press("j")
    expect(current).to_have_attribute("aria-label", wanted or "")
    page.keyboard.press("Enter")
    expect(entry(page, 5).get_by_role("button", name="Accept", exact=True).first).to_be_focused()
    page.keyboard.press("Enter")
    expect(entry(page, 5)).to_have_count(0)
    assert clinic.person(5) == (5, "by_hand")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_several_are_selected_and_decided_of_together(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.url}?kind=procedure")
    expect(page.get_by_test_id("entry")).to_have_count(1)
    page.goto(clinic.url)
    page.get_by_role("button", name="Select all on this page").click()
    many = page.get_by_role("region", name="Of those selected")
    expect(many).to_contain_text("8 selected")
    many.get_by_role("button", name="Must not be linked").click()
    expect(page.get_by_role("heading", name="Everything is linked")).to_be_visible()
    toast(page).get_by_role("button", name="Undo").click()
    expect(page.get_by_test_id("entry")).to_have_count(8)
    assert clinic.person(4) == (None, "no_person")


def test_the_place_in_the_queue_stands_in_the_address(page: Page, clinic: Clinic) -> None:
    page.goto(clinic.url)
    reasons = page.get_by_role("navigation", name="Reasons")
    reasons.get_by_role("button", name="Birth year differs").click()
    expect(page.get_by_test_id("entry")).to_have_count(1)
    expect_query(page, kind="person", reason="birth_year_conflict")
    page.reload()
    expect(entry(page, 8)).to_contain_text("Birth date: 1971-01-01, not 1970-01-01")
    page.goto(f"{clinic.url}?kind=nothing&reason=x&page=-3")
    expect(page.get_by_test_id("entry")).to_have_count(8)


def test_a_mapping_table_is_shown_and_then_loaded(
    page: Page, clinic: Clinic, tmp_path: Path, foreseen: list[str]
) -> None:
    foreseen.append("422")
    table = tmp_path / "map.csv"
    table.write_text("PatientID,person_id\nmapped,9\nelsewhere,77\n,3\n")
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    page.goto(f"{clinic.url}?view=maps")
    file = page.locator("input[type=file][accept*=csv]")
    file.set_input_files(tmp_path / "wrong.csv")
    expect(page.get_by_role("alert")).to_contain_text("names PatientID and person_id")
    file.set_input_files(table)
    expect(page.get_by_test_id("map-rejected")).to_have_text("Line 4: PatientID is blank.")
    expect(page.get_by_test_id("map-line")).to_have_count(2)
    expect(page.get_by_test_id("map-line").first).to_contain_text("77 not in the CDM")
    assert clinic.connection.execute("select count(*) from hilum.person_map").fetchone() == (0,)
    page.get_by_role("button", name="Load 2 lines").click()
    loaded = page.get_by_test_id("loaded")
    expect(loaded).to_contain_text("2 new lines")
    expect(loaded).to_have_attribute("data-state", "succeeded", timeout=60_000)
    assert clinic.person(4) == (None, "birth_year_conflict")  # the table says whose it is, the dates do not agree
    page.reload()
    expect(page.get_by_role("heading", name="Say by a table what the CDM does not know")).to_be_visible()


def test_quality_tells_shares_reasons_and_sql(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.url}?view=quality")
    expect(page.get_by_test_id("coverage").first).to_contain_text("1 of 7")
    check = page.locator("[data-testid=check][data-name=studies_linked]")
    check.get_by_role("button").first.click()
    expect(check.locator("pre")).to_contain_text("from hilum.study s")
    sql = check.locator("pre").inner_text()
    assert clinic.connection.execute(sql).fetchone() == (1,)  # pyright: ignore
    expect(check.get_by_role("button", name="Copy the SQL")).to_be_visible()
    page.get_by_test_id("not-linked").filter(has_text="Unknown PatientID").get_by_role("link").click()
    expect(page.get_by_test_id("entry")).to_have_count(3)
    expect_query(page, kind="person", reason="no_person", source="default")


def test_a_study_shows_its_links_and_they_are_changed_there(page: Page, clinic: Clinic) -> None:
    page.goto(f"{clinic.server.url}/imaging/{clinic.id_of(1)}?tab=links")
    person = page.locator("[data-testid=study-link][data-kind=person]")
    expect(person).to_contain_text("The PatientID is the person_source_value")
    expect(person).to_contain_text("P1")
    expect(page.locator("[data-testid=study-link][data-kind=procedure]")).to_contain_text("No procedure")
    before = page.get_by_test_id("link-change").count()  # other tests have decided on it, too
    person.get_by_role("button", name="Unlink").click()
    expect(person).to_contain_text("Must not be linked")
    expect(page.get_by_test_id("link-change")).to_have_count(before + 1)
    person.get_by_role("button", name="Choose…").click()
    page.get_by_role("dialog").get_by_label("Search for a person").fill("3")
    third = page.get_by_role("dialog").get_by_test_id("candidate").filter(has_text="P3")
    third.get_by_role("button", name="Choose").click()
    expect(person).to_contain_text("Said by a person")
    header = page.get_by_role("region", name="Study", exact=True)
    expect(header.get_by_role("link", name="3", exact=True)).to_be_visible()
    toast(page).get_by_role("button", name="Undo").click()
    expect(person).to_contain_text("Must not be linked")
    toast(page).get_by_role("button", name="Undo").click()
    expect(person).to_contain_text("The PatientID is the person_source_value")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_nothing_stands_in_the_way_of_anybody(
    open_tab: Callable[..., Page], clinic: Clinic, width: int, scheme: str
) -> None:
    page = open_tab(width, 900, scheme)
    study = f"{clinic.server.url}/imaging/{clinic.id_of(1)}?tab=links"
    for address, there in (
        (clinic.url, "entry"), (f"{clinic.url}?view=quality", "check"), (f"{clinic.url}?view=maps", ""),
        (f"{clinic.url}?view=refused", ""), (study, "study-link"),
    ):  # fmt: skip
        page.goto(address)
        expect(page.get_by_test_id(there).first if there else page.get_by_role("heading").last).to_be_visible()
        if there == "check":
            page.get_by_test_id("check").first.get_by_role("button").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        page.evaluate(SETTLED)
        page.evaluate(AXE.read_text())
        found = page.evaluate("async () => (await axe.run(document)).violations")
        assert [
            (address, one["id"], node["html"][:200], node["failureSummary"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ] == []


def test_a_server_without_a_cdm_says_so(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/links")
    expect(page.get_by_role("heading", name="No source has an OMOP CDM yet")).to_be_visible()
