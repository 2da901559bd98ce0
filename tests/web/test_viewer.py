"""The viewer by mouse and keys, as a person uses it: 640 x 640 px show 360 x 360 mm, so a px is 0.5625 mm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Server
from tests.make import ct
from tests.web.conftest import NO_GL, Viewer, query, until
from tests.web.data import BROKEN, CINE, NO_SPACING, REPORT, SLICES, STACK, STUDY, rich_study, study_uid


@pytest.fixture(scope="module")
def url(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the viewer of the study with everything."""
    server.hilum("import", str(rich_study(tmp_path_factory.mktemp("study") / "rich")))
    return f"{server.url}/imaging/{study_uid(STUDY)}/view"


@pytest.fixture
def viewer(open_tab: Callable[..., Page]) -> Viewer:
    """A viewer whose picture is 640 x 640 px."""
    return Viewer(open_tab(width=788, height=688))


@pytest.fixture
def stack(viewer: Viewer, url: str) -> Viewer:
    """The CT stack at its first slice, all of it loaded."""
    viewer.open(f"{url}?series={series(STACK)}", index=1, count=SLICES, loaded=SLICES)
    viewer.drawn(4)
    return viewer


def series(number: int) -> str:
    """Series Instance UID of a series of the study."""
    return f"{study_uid(STUDY)}.{number}"


def test_a_ct_is_on_the_screen_in_its_own_window(stack: Viewer) -> None:
    state = stack.state()
    assert (state["wc"], state["ww"], state["zoom"]) == ("40", "400", "1")
    assert stack.grey()["deviation"] > 40
    label = stack.element.get_attribute("aria-label")
    assert label == f"CT, Axial, image 1 of {SLICES}, window 40 / 400"


def test_a_sigmoid_window_is_drawn_as_one(
    viewer: Viewer, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # At the lower and upper end of 40 / 400 a line is black and white; the sigmoid is at 12 and 88 percent there.
    values = np.full((64, 64), 1024 - 160, "<i2")
    values[:, 32:] = 1024 + 240
    folder = tmp_path_factory.mktemp("sigmoid")
    for n, function in ((970, "SIGMOID"), (971, "LINEAR")):
        (folder / str(n)).write_bytes(ct(n, size=64, PixelData=values.tobytes(), VOILUTFunction=function))
    server.hilum("import", str(folder))
    deviations: dict[int, float] = {}
    for n in (970, 971):
        state = viewer.open(f"{server.url}/imaging/{study_uid(n)}/view")
        assert (state["wc"], state["ww"]) == ("40", "400")
        viewer.drawn()
        deviations[n] = viewer.grey()["deviation"]
    assert deviations[971] == pytest.approx(255 / 2, abs=3)
    assert deviations[970] == pytest.approx(255 * (0.8808 - 0.1192) / 2, abs=3)


def test_an_exact_window_is_drawn_as_one(
    viewer: Viewer, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Of 2 / 4 the value 3 is white by LINEAR, three quarters of white by LINEAR_EXACT (PS3.3 C.11.2.1.3.2).
    values = np.full((64, 64), 1024, "<i2")
    values[:, 32:] = 1024 + 3
    path = tmp_path_factory.mktemp("exact") / "exact.dcm"
    path.write_bytes(
        ct(972, size=64, PixelData=values.tobytes(), VOILUTFunction="LINEAR_EXACT", WindowCenter=2, WindowWidth=4)
    )
    server.hilum("import", str(path))
    state = viewer.open(f"{server.url}/imaging/{study_uid(972)}/view")
    assert (state["wc"], state["ww"]) == ("2", "4")
    viewer.drawn()
    assert viewer.grey()["deviation"] == pytest.approx(255 * 0.75 / 2, abs=3)


def test_the_stack_goes_by_position_whatever_the_numbers_say(stack: Viewer) -> None:
    expect(stack.page.get_by_test_id("overlays")).to_contain_text("Location 0 mm")
    stack.press("End")
    stack.wait(index=SLICES, state="ready")
    expect(stack.page.get_by_test_id("overlays")).to_contain_text("Location 122.5 mm")


def test_the_wheel_scrolls_the_stack(stack: Viewer) -> None:
    before = stack.grey()["hash"]
    stack.page.mouse.move(*stack.middle())
    for _ in range(7):
        stack.page.mouse.wheel(0, 100)
    stack.wait(index=8, state="ready")
    until(stack.page, lambda: stack.grey()["hash"] != before, "another picture")
    stack.page.mouse.wheel(0, -100)
    stack.wait(index=7)


def test_a_left_drag_changes_the_window(stack: Viewer) -> None:
    stack.drag(80, 40)
    # 2 HU a px: 80 px to the right widen by 160, 40 px down raise the centre by 80.
    stack.wait(ww=560, wc=120)


def test_a_middle_drag_pans(stack: Viewer) -> None:
    stack.drag(40, 30, button="middle")
    stack.wait(pan="40,30", zoom=1, wc=40)


def test_a_right_drag_and_the_wheel_with_ctrl_zoom(stack: Viewer) -> None:
    stack.drag(0, 60, button="right")
    until(stack.page, lambda: float(stack.state()["zoom"]) > 1.2, "a larger picture")
    before = float(stack.state()["zoom"])
    stack.page.keyboard.down("Control")
    stack.page.mouse.wheel(0, -100)
    stack.page.keyboard.up("Control")
    until(stack.page, lambda: float(stack.state()["zoom"]) > before, "a still larger picture")
    assert stack.state()["index"] == "1"


def test_r_restores_everything(stack: Viewer) -> None:
    untouched = stack.grey()["hash"]
    stack.drag(80, 40)
    stack.drag(40, 30, button="middle")
    stack.drag(0, 60, button="right")
    stack.press(".", "h", "v", "i")
    stack.wait(rotation=90, flip="hv", invert="true")
    until(stack.page, lambda: stack.grey()["hash"] != untouched, "another picture")
    stack.press("r")
    stack.wait(wc=40, ww=400, zoom=1, pan="0,0", rotation=0, flip="", invert="false")
    until(stack.page, lambda: stack.grey()["hash"] == untouched, "the picture as it was")


@pytest.mark.parametrize(
    ("key", "change"), [("h", {"flip": "h"}), ("v", {"flip": "v"}), (".", {"rotation": 90}), ("i", {"invert": "true"})]
)
def test_a_key_changes_the_view_and_the_same_way_back(stack: Viewer, key: str, change: dict[str, object]) -> None:
    before = stack.grey()["hash"]
    stack.press(key)
    stack.wait(**change)
    until(stack.page, lambda: stack.grey()["hash"] != before, "a changed picture")
    back = "," if key == "." else key
    stack.press(back)
    until(stack.page, lambda: stack.grey()["hash"] == before, "the picture as it was")


def test_letters_tell_where_the_patient_lies(stack: Viewer) -> None:
    edges = stack.page.locator("[data-testid=overlays] > span")
    expect(edges).to_have_text(["R", "L", "A", "P"])
    stack.press("h")
    until(stack.page, lambda: edges.all_inner_texts() == ["L", "R", "A", "P"], "left and right changed")
    stack.press("h", ".")
    until(stack.page, lambda: edges.all_inner_texts() == ["P", "A", "R", "L"], "a quarter turn clockwise")


def test_presets_by_key_by_menu_and_typed(stack: Viewer) -> None:
    stack.press("2")
    stack.wait(wc=-600, ww=1500)
    stack.press("6")
    stack.wait(wc=40, ww=400)
    stack.page.get_by_role("button", name="40 / 400", exact=True).click()
    stack.page.get_by_role("button", name="Bone").click()
    stack.wait(wc=480, ww=2500)
    stack.page.get_by_role("button", name="480 / 2500", exact=True).click()
    stack.page.get_by_label("Center").fill("55")
    stack.page.get_by_label("Width", exact=True).fill("111")
    stack.wait(wc=55, ww=111)


def test_the_value_under_the_pointer_is_in_hu(stack: Viewer) -> None:
    x, y = stack.middle()
    stack.page.mouse.move(x - 100, y + 100)
    stack.wait(probe="100 HU")
    stack.page.mouse.move(x + 30, y + 100)
    stack.wait(probe="40 HU")
    stack.page.mouse.move(x + 300, y)
    stack.wait(probe="-1000 HU")
    expect(stack.page.get_by_test_id("probe")).to_contain_text("mm")


def test_a_length_is_in_mm(stack: Viewer) -> None:
    stack.press("l")
    stack.wait(tool="length")
    x, y = stack.middle()
    stack.drag(320, 0, at=(x - 160, y))
    stack.wait(measurements="180 mm")
    stack.press("Delete")
    stack.wait(measurements="")
    stack.press("Escape")
    stack.wait(tool="window")


def test_an_angle_is_in_degrees(stack: Viewer) -> None:
    stack.press("a")
    stack.wait(tool="angle")
    x, y = stack.middle()
    for dx, dy in ((-100, 0), (-100, -100), (0, -100)):
        stack.page.mouse.move(x + dx, y + dy, steps=3)
        stack.page.mouse.down()
        stack.page.mouse.up()
    stack.wait(measurements="90°")


def test_without_spacing_a_length_is_in_px_never_in_mm(viewer: Viewer, url: str) -> None:
    viewer.open(f"{url}?series={series(NO_SPACING)}", count=2)
    viewer.press("l")
    viewer.wait(tool="length")
    viewer.drag(0, -160)
    until(viewer.page, lambda: viewer.state()["measurements"].endswith(" px"), "a length in px")


def test_the_keyboard_alone_does_it(stack: Viewer) -> None:
    stack.press("ArrowDown", "ArrowRight", "PageDown", "ArrowUp")
    stack.wait(index=12)
    stack.press("Home", "+")
    stack.wait(index=1, zoom=1.2)
    stack.press("0", "Control+ArrowRight")
    stack.wait(zoom=1, pan="40,0")
    stack.press("Shift+ArrowUp", "Shift+ArrowRight")
    stack.wait(wc=60, ww=420)
    stack.press("?")
    expect(stack.page.get_by_role("dialog", name="Keys and mouse")).to_be_visible()
    stack.press("Escape")
    expect(stack.page.get_by_role("dialog")).to_have_count(0)
    stack.press("b")
    expect(stack.page.get_by_role("heading", name="Ida Hallberg")).to_be_visible()


def test_the_image_is_in_the_address_and_comes_back(stack: Viewer) -> None:
    stack.press("PageDown", "PageDown")
    stack.wait(index=21, state="ready")
    until(stack.page, lambda: query(stack.page).get("image") == "21", "the image in the address")
    stack.page.reload()
    stack.element.wait_for()
    stack.wait(index=21, count=SLICES, state="ready")


def test_an_instance_can_be_linked_to(viewer: Viewer, url: str) -> None:
    # Instance 1 lies last.
    viewer.open(f"{url}?series={series(STACK)}&instance={series(STACK)}.1", index=SLICES)


def test_the_strip_goes_through_the_stack(stack: Viewer) -> None:
    strip = stack.page.get_by_role("slider", name="Image of the stack")
    box = strip.bounding_box()
    assert box
    stack.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.51)
    stack.wait(index=26, state="ready")
    expect(strip).to_have_attribute("aria-valuetext", f"Image 26 of {SLICES}, {SLICES} loaded")


def test_series_change_by_thumbnail_and_by_key(stack: Viewer) -> None:
    stack.page.get_by_test_id("rail-series").filter(has_text="Cine").click()
    stack.wait(count=12, state="ready", series=series(CINE))
    stack.press("[")
    stack.wait(count=SLICES, state="ready", series=series(STACK))
    stack.page.go_back()
    stack.wait(series=series(CINE), state="ready")


def test_a_cine_plays_and_stops(viewer: Viewer, url: str) -> None:
    viewer.open(f"{url}?series={series(CINE)}", count=12, loaded=12)
    expect(viewer.page.get_by_test_id("cine")).to_contain_text("25 / s")
    viewer.press(" ")
    seen: set[str] = set()
    until(viewer.page, lambda: seen.add(viewer.state()["index"]) or len(seen) >= 4, "four frames")
    viewer.press(" ")
    stopped = viewer.wait(playing="false")["index"]
    viewer.page.wait_for_timeout(200)
    assert viewer.state()["index"] == stopped
    x, y = viewer.middle()
    viewer.page.mouse.move(x, y)
    until(viewer.page, lambda: viewer.state().get("probe", "").startswith("RGB "), "a colour under the pointer")


def test_one_broken_image_says_so_and_the_others_stay(viewer: Viewer, url: str, foreseen: list[str]) -> None:
    foreseen.append("the decoder gave no picture")
    viewer.open(f"{url}?series={series(BROKEN)}", index=1, count=4)
    viewer.press("ArrowDown", "ArrowDown")
    viewer.wait(index=3, state="failed")
    expect(viewer.page.get_by_role("alert")).to_contain_text("Image 3 of 4 images cannot be shown")
    expect(viewer.element.locator("canvas").first).to_be_hidden()
    viewer.press("ArrowDown")
    viewer.wait(index=4, state="ready", failed=1)
    viewer.drawn(4)


def test_a_series_without_images_shows_its_tags(viewer: Viewer, url: str) -> None:
    viewer.page.goto(f"{url}?series={series(REPORT)}")
    expect(viewer.page.get_by_text("This series holds no image")).to_be_visible()
    viewer.page.get_by_label("Search tags").fill("nodule")
    expect(viewer.page.get_by_test_id("tag-row").filter(has_text="No nodule.")).to_be_visible()
    # The text lies in a sequence, which stays to show where.
    expect(viewer.page.get_by_test_id("tag-row").first).to_contain_text("ContentSequence")


def test_it_works_without_webgl(
    chromium: Callable[[list[str]], Browser], open_tab: Callable[..., Page], url: str
) -> None:
    viewer = Viewer(open_tab(width=788, height=688, of=chromium(NO_GL)))
    viewer.open(f"{url}?series={series(STACK)}", index=1, wc=40, ww=400, zoom=1)
    assert viewer.page.evaluate("document.createElement('canvas').getContext('webgl2')") is None
    viewer.drawn(4)
    viewer.drag(80, 40)
    viewer.wait(ww=560, wc=120)
    viewer.press("End")
    viewer.wait(index=SLICES, state="ready", ww=560, wc=120)
    viewer.press("Home", "h", "2")
    viewer.wait(index=1, flip="h", wc=-600, ww=1500, state="ready")
    viewer.press("End")
    viewer.wait(index=SLICES, flip="h", wc=-600, state="ready")
    viewer.press("r")
    viewer.wait(flip="", wc=40, ww=400, zoom=1)


def test_a_phone_has_all_of_it(open_tab: Callable[..., Page], url: str, tmp_path: Path) -> None:
    viewer = Viewer(open_tab(width=390, height=700))
    viewer.open(f"{url}?series={series(STACK)}", count=SLICES)
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 390
    box = viewer.element.bounding_box()
    assert box
    assert box["width"] > 340
    assert box["height"] > 300
