"""The page in a real Chromium: a browser for the run, tabs that must meet no error and break no rule of the page's own
security policy, and what a person does in them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

import hilum

expect.set_options(timeout=30_000)  # instead of 5 s: the machine may be busy

STATIC = Path(hilum.__file__).parent / "static"
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", *QUIET]
NO_GL = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis", *QUIET]
WATCH = """
  window.violations = [];
  document.addEventListener('securitypolicyviolation',
    (event) => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[[list[str]], Browser]]:
    """Starts Chromium with the arguments given. Not for longer than a module: as long as Playwright runs, so does an
    event loop of its own in this thread, and no test can have another."""
    if not (STATIC / "index.html").is_file():
        pytest.fail("the page is not built: run `npm run build` in web/")
    with sync_playwright() as playwright:
        opened: list[Browser] = []

        def launch(arguments: list[str]) -> Browser:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
            opened.append(browser)
            return browser

        yield launch
        for browser in opened:
            browser.close()


@pytest.fixture(scope="module")
def browser(chromium: Callable[[list[str]], Browser]) -> Browser:
    """Chromium with WebGL drawn in software."""
    return chromium(SOFTWARE_GL)


@pytest.fixture
def foreseen() -> list[str]:
    """Words of the complaints that a test provokes: a browser may tell one after the test has gone on."""
    return []


@pytest.fixture
def open_tab(browser: Browser, foreseen: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a tab; at the end none may have met an error or broken the security policy."""
    tabs: list[Page] = []
    faults: list[str] = []

    def new_tab(width: int = 1280, height: int = 800, scheme: str = "light", of: Browser | None = None) -> Page:
        context = (of or browser).new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            accept_downloads=True,
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
        tabs.append(page)
        return page

    yield new_tab
    violations = [one for tab in tabs for one in tab.evaluate("window.violations ?? []")]
    for tab in tabs:
        tab.context.close()
    assert violations == []
    assert [fault for fault in faults if not any(word in fault for word in foreseen)] == []


@pytest.fixture
def page(open_tab: Callable[..., Page]) -> Page:
    """A tab 1280 px wide in the light scheme."""
    return open_tab()


def until(page: Page, condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for a state of the page. Playwright's ``wait_for_function`` needs ``eval``, which the policy forbids."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} was not reached within {seconds} s; the page says: {page.inner_text('body')[:600]}")
        page.wait_for_timeout(25)


def query(page: Page) -> dict[str, str]:
    """The search parameters of the tab's address."""
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")


def expect_query(page: Page, /, **wanted: str) -> None:
    """Wait until the tab's address has these search parameters and no others."""
    until(page, lambda: query(page) == wanted, f"{wanted} in the address")


@dataclass
class Viewer:
    """The viewer of a tab, as a person uses it."""

    page: Page

    @property
    def element(self) -> Locator:
        """The element that the picture is drawn into."""
        return self.page.get_by_test_id("viewport")

    def state(self) -> dict[str, str]:
        """Its ``data-`` attributes."""
        return self.element.evaluate("element => ({...element.dataset})")

    def wait(self, seconds: float = 60, **wanted: object) -> dict[str, str]:
        """Wait until the attributes have the values given, and answer all of them."""
        want = {name: str(value) for name, value in wanted.items()}
        until(self.page, lambda: want.items() <= self.state().items(), f"{want} (now {self.state()})", seconds)
        return self.state()

    def open(self, url: str, **wanted: object) -> dict[str, str]:
        """Go to an address of the viewer and wait for its picture."""
        self.page.goto(url)
        self.element.wait_for()
        return self.wait(**{"state": "ready", **wanted})

    def grey(self) -> dict[str, Any]:
        """Statistics of the canvas: mean and deviation of its greys, how many there are, a hash of all."""
        return self.element.locator("canvas").first.evaluate(
            """canvas => {
              const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let sum = 0, squares = 0, hash = 7; const seen = new Set(); const n = data.length / 4;
              for (let i = 0; i < data.length; i += 4) {
                const v = data[i]; sum += v; squares += v * v; seen.add(v); hash = (hash * 31 + v) >>> 0;
              }
              return { mean: sum / n, deviation: Math.sqrt(squares / n - (sum / n) ** 2), levels: seen.size, hash };
            }"""
        )

    def drawn(self, levels: int = 2) -> None:
        """Wait until the canvas shows so many greys: it is drawn a little later than the picture is ready."""
        until(self.page, lambda: self.grey()["levels"] >= levels, "a picture on the canvas")

    def middle(self) -> tuple[float, float]:
        """The middle of the picture on the page."""
        box = self.element.bounding_box()
        assert box
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, dx: float, dy: float, button: Any = "left", at: tuple[float, float] | None = None) -> None:
        """Drag from the middle, or from a point of the page, in small moves as a hand does."""
        x, y = at or self.middle()
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down(button=button)
        mouse.move(x + dx / 2, y + dy / 2, steps=4)
        mouse.move(x + dx, y + dy, steps=4)
        mouse.up(button=button)

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            self.page.keyboard.press(key)
