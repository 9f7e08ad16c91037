"""A real Chromium (Debian's) in front of a real server; nothing it meets is made up but people.

site   the viewer on a port of its own, with the test's database, worker and provider behind it
page   a browser page at phone size in which the owner is logged in; `open_page(...)` gives others

After each test: no error on the console, no request to another host. A test that means one says
so: `page.expected_errors.append("404")`, `page.friends.append("http://127.0.0.1:9000")`.

Chromium 156 without a window seems to stop drawing now and then: in two of some thousand tests
timers and requests went on, and what waited for a frame waited in vain. So a test that fails is
asked whether its pages still draw; where one does not, a new browser runs it once more, which the
summary counts as a rerun. Every other failure stands.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from tests.support.chromium import find_chromium
from tests.support.servers import serving
from viewer.extensions import db

PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 900}
# WCAG 2.2 AA, and what axe calls best practice.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# Several Chromiums share few cores; what is there at once is waited for no longer for that.
PATIENCE = 30_000  # ms
expect.set_options(timeout=PATIENCE)


OPENED = pytest.StashKey[list[tuple[BrowserContext, "Watched"]]]()
# Of a page that is shown: how many frames it draws in two seconds.
FRAMES = """() => new Promise((done) => {
    let frames = 0;
    const draw = () => { frames += 1; requestAnimationFrame(draw); };
    requestAnimationFrame(draw);
    setTimeout(() => done(document.hidden ? null : frames), 2000);
})"""


class StoppedDrawing(Exception):
    """A fault of the browser, not of what it shows."""


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except (AssertionError, Error) as failure:
        opened = pyfuncitem.stash.get(OPENED, [])
        for page in [page for context, _ in opened for page in context.pages]:
            with suppress(Error):  # it is closed, or elsewhere by now: the failure stands
                if page.evaluate(FRAMES) == 0:
                    raise StoppedDrawing(page.url) from failure
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    once_more = pytest.mark.flaky(reruns=1, only_rerun=[StoppedDrawing.__name__])
    for item in items:
        if "open_page" in getattr(item, "fixturenames", ()):
            item.add_marker(once_more)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def launched(playwright: Playwright) -> Iterator[list[Browser]]:
    """The one that is used, or none."""
    browsers: list[Browser] = []
    yield browsers
    for browser in browsers:
        browser.close()


@pytest.fixture
def chromium(
    playwright: Playwright, launched: list[Browser], request: pytest.FixtureRequest
) -> Browser:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    if launched and getattr(request.node, "execution_count", 1) > 1:
        launched.pop().close()
    if not launched:
        launched.append(
            playwright.chromium.launch(
                executable_path=program,
                # As root there is no sandbox; the sound is heard by nobody.
                args=["--no-sandbox", "--mute-audio", "--autoplay-policy=no-user-gesture-required"],
            )
        )
    return launched[0]


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """Its address."""
    with serving(app) as address:
        yield address


class Watched:
    """What a page must not do: fail, or talk to strangers."""

    def __init__(self, context: BrowserContext, site: str) -> None:
        self.expected_errors: list[str] = []
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.friends: list[str] = []  # other hosts that it may talk to
        self.site = site
        context.on("console", self._said)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.site, "data:", "blob:", *self.friends)):
            self.strangers.append(request.url)

    def check(self) -> None:
        unexpected = [
            error
            for error in self.errors
            if not any(expected in error for expected in self.expected_errors)
        ]
        assert unexpected == []
        assert self.strangers == []


@pytest.fixture
def open_page(
    chromium: Browser, site: str, log_in: Callable[..., Any], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """open_page(role="field", viewport=DESK, dark=True, **what Playwright's new_context takes).

    role None: nobody is logged in.
    """
    opened: list[tuple[BrowserContext, Watched]] = []
    request.node.stash[OPENED] = opened

    def start(
        role: str | None = "owner",
        viewport: dict[str, int] = PHONE,
        *,
        dark: bool = False,
        touch: bool = True,
        **words: Any,
    ) -> Page:
        context = chromium.new_context(
            base_url=site,
            viewport=viewport,
            has_touch=touch,
            color_scheme="dark" if dark else "light",
            **words,
        )
        context.set_default_timeout(PATIENCE)
        if role is not None:
            cookie = log_in(role).get_cookie("viewer")
            context.add_cookies([{"name": "viewer", "value": cookie.value, "url": site}])
        watched = Watched(context, site)
        opened.append((context, watched))
        # A test that only looked into the database keeps the server from writing until it lets go.
        looked = db.session()
        context.on("request", lambda _: looked.rollback())
        page = context.new_page()
        page.expected_errors = watched.expected_errors  # type: ignore[attr-defined]
        page.friends = watched.friends  # type: ignore[attr-defined]
        return page

    yield start
    for context, _ in opened:
        context.close()
    for _, watched in opened:
        watched.check()


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


def violations(page: Page) -> list[str]:
    """What axe finds wrong, a line each."""
    found = _ask_axe(page, {"type": "tag", "values": TAGS})
    return [
        f"{rule}: {node['html'][:160]} – {node['failureSummary']}"
        for rule, node in found
        if rule != "target-size" or _is_small(page, node["target"])
    ]


def cramped(page: Page, buttons: str) -> list[str]:
    """Those of these that are seen and smaller than a thumb."""
    found: list[str] = page.evaluate(
        """(buttons) => [...document.querySelectorAll(buttons)]
            .filter((one) => one.offsetWidth && (one.offsetWidth < 44 || one.offsetHeight < 44))
            .map((one) => one.outerHTML)""",
        buttons,
    )
    return found


def _ask_axe(page: Page, only: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = Axe().run(page, options={"runOnly": only}).response
    return [(rule["id"], node) for rule in found["violations"] for node in rule["nodes"]]


def _is_small(page: Page, target: list[str]) -> bool:
    """A target that a bar covers half of is scrolled out from under it before it is measured; one
    that lies below an open menu is none until the menu is closed."""
    place = page.evaluate("() => scrollY")
    is_below_menu = page.locator(target[0]).evaluate(
        """one => {
            one.scrollIntoView({ block: "center" });
            const { left, top, width, height } = one.getBoundingClientRect();
            const over = document.elementFromPoint(left + width / 2, top + height / 2);
            const menu = over?.closest(".menu");
            return Boolean(menu) && !menu.contains(one);
        }"""
    )
    again = _ask_axe(page, {"type": "rule", "values": ["target-size"]})
    page.evaluate("place => scrollTo(0, place)", place)
    return not is_below_menu and target in [node["target"] for _, node in again]
