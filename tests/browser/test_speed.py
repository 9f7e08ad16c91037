"""On a bad link: nothing moves while photos load, the page is light, the photo is there at once."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.browser.conftest import PHONE
from tests.browser.fingers import until
from viewer.demo import drawing
from viewer.extensions import db, now
from viewer.models import Conversation

# What Chromium's developer tools call "Fast 4G": bytes a second, milliseconds.
FAST_4G = {
    "offline": False,
    "downloadThroughput": 9 * 1000 * 1000 / 8 * 0.9,
    "uploadThroughput": 1.5 * 1000 * 1000 / 8 * 0.9,
    "latency": 60 * 2.75,
}
RUNS = 3  # the best is said: another job on this machine is no news about the page
WEIGHT = 60_000  # bytes before pictures

WATCH = """
window.shifts = [];
window.largest = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifts.push(entry.value);
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => {
  for (const { renderTime, loadTime, element } of list.getEntries()) {
    largest.push({ at: renderTime || loadTime, what: element?.className });
  }
}).observe({ type: "largest-contentful-paint", buffered: true });
"""


@pytest.fixture
def photos(provider):
    """Addresses of photos as phones send them, lying and standing."""

    def serve(count):
        drawn = [
            drawing.crack_photo(seed, size=size)
            for seed, size in enumerate([(1200, 900), (900, 1200), (1200, 800), (1200, 900)])
        ]
        return [  # no two of the same bytes: a message shows those once
            provider.serve(
                drawing.encode(drawn[number % len(drawn)], "JPEG", 1, seed=number),
                content_type="image/jpeg",
            )
            for number in range(count)
        ]

    return serve


@pytest.fixture
def fifty(deliver, work, message, photos):
    """The address of a conversation of fifty messages and thirty photos, the last just now."""
    addresses = iter(photos(30))
    begin = now().replace(microsecond=0) - timedelta(hours=6)
    sizes = {5: 4, 11: 1, 17: 3, 23: 6, 29: 2, 35: 5, 41: 3, 46: 1, 47: 2, 48: 1, 49: 2}
    for index in range(50):
        text = message(
            text=None
            if index % 7 == 3 and index in sizes
            else f"Message {index}: the crack runs "
            f"from the window to the floor, about {index} inches long. " * (1 + index % 3),
            media=[next(addresses) for _ in range(sizes.get(index, 0))],
            sent_at=begin + timedelta(minutes=7 * index),
        )
        assert deliver(text.payload()).status_code == 204
    work()
    assert next(addresses, None) is None
    address = f"/conversations/{db.session.scalars(sa.select(Conversation.id)).one()}"
    db.session.rollback()
    return address


def narrow(page, conditions=FAST_4G):
    """Let this page have no more than such a link. Returns the weights of what it asks for."""
    link = page.context.new_cdp_session(page)
    link.send("Network.enable")
    link.send("Network.clearBrowserCache")
    link.send("Network.emulateNetworkConditions", conditions)
    kinds, weights = {}, {}
    link.on("Network.requestWillBeSent", lambda e: kinds.update({e["requestId"]: e["type"]}))
    link.on(
        "Network.loadingFinished",
        lambda e: weights.setdefault(kinds.get(e["requestId"]), []).append(e["encodedDataLength"]),
    )
    return weights


def loaded(page, least):
    shown = "[...document.images].filter((image) => image.naturalWidth).length"
    until(page, f"document.readyState === 'complete' && {shown} >= {least}")


def test_nothing_moves_while_thirty_photos_load(fifty, open_page):
    page = open_page()
    page.add_init_script(WATCH)
    narrow(page)
    page.goto(fifty)
    opened_at = page.evaluate("scrollY")
    height = page.evaluate("document.documentElement.scrollHeight")

    page.evaluate(  # as a thumb would: every photo comes into sight, and is loaded
        """async () => {
          for (let top = scrollY; top > 0; top -= 300) {
            scrollTo({ top, behavior: "instant" });
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          }
        }"""
    )
    loaded(page, 60)  # each with its placeholder

    assert page.evaluate("document.documentElement.scrollHeight") == height
    assert opened_at + PHONE["height"] == pytest.approx(height, abs=1)
    shifts = page.evaluate("shifts")
    print(f"\nlayout shift (CLS): {sum(shifts):.4f} in {len(shifts)} shifts")
    assert shifts == []


def test_the_largest_picture_is_a_photo_and_the_page_is_light(fifty, open_page):
    """It says how soon the picture is there: asked is 1000 ms. Times are said, not asserted.

    For figures run it alone (`pytest -n 0 -s`): beside other tests they are too large.
    """
    found = []
    for _ in range(RUNS):
        page = open_page()
        page.add_init_script(WATCH)
        weights = narrow(page)
        document = page.goto(fifty)
        loaded(page, 6)
        until(page, "largest.some((paint) => paint.what === 'media__image')")
        found.append(page.evaluate("largest.at(-1)"))
        page.context.close()

    best = min(found, key=lambda paint: paint["at"])
    words = {kind: sum(sizes) for kind, sizes in weights.items() if kind != "Image"}
    print(
        f"\nlargest picture on Fast 4G (asked: within 1000 ms): "
        f"{[round(paint['at']) for paint in found]} ms, best {best}"
    )
    print(f"before pictures: {sum(words.values())} bytes {words}")
    print(f"pictures in sight: {sum(weights['Image'])} bytes in {len(weights['Image'])} files")
    assert best["what"] == "media__image"
    assert document.headers["content-encoding"] in ("br", "gzip")
    assert sum(words.values()) < WEIGHT
