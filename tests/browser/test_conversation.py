"""The conversation's page in a real browser: where it opens, and that no place is ever lost."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.browser.fingers import until
from tests.support.conversations import stored
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import Message, Unread
from viewer.office import accounts

THEM, OTHER = "+16175550123", "+16175550145"
AT_END = "document.documentElement.scrollHeight - scrollY - innerHeight < 2"
WATCH = """
window.shifts = [];
window.seen = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifts.push(entry.value);
}).observe({ type: "layout-shift", buffered: true });
const look = () => {
  const paints = performance.getEntriesByType("paint").length;
  if (paints) seen.push(scrollY);
  if (seen.length < 5) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@pytest.fixture
def long(talk):
    """The address of a conversation of 140 messages, and their ids."""
    row = talk(messages=140, at=now(), apart=timedelta(minutes=47), body="Text number {}")
    found = f"/conversations/{row.id}", [message.id for message in row.messages]
    db.session.rollback()
    return found


def texts(page):
    return page.locator("article").evaluate_all("all => all.map((one) => one.id.slice(8))")


def top_of(page, message_id):
    return page.evaluate(
        "(id) => document.getElementById(`message-${id}`).getBoundingClientRect().top",
        str(message_id),
    )


# --- Where it opens ------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [PHONE, DESK])
def test_it_opens_at_its_end_and_nobody_sees_it_jump(long, open_page, viewport):
    address, ids = long
    page = open_page(viewport=viewport)
    page.add_init_script(WATCH)
    page.goto(address)

    assert page.evaluate(AT_END)
    expect(page.locator(f"#message-{ids[-1]}")).to_be_in_viewport()
    until(page, "seen.length >= 5")
    assert len(set(page.evaluate("seen"))) == 1  # from the first paint on
    assert page.evaluate("shifts") == []


def test_it_opens_at_what_is_new(long, open_page, log_in):
    address, ids = long
    log_in("owner")
    message = db.session.get(Message, ids[-30])
    db.session.add(
        Unread(
            user_id=accounts.find_user("owner@crack.example").id,
            conversation_id=message.conversation_id,
            since=message.sent_at,
        )
    )
    db.session.commit()

    page = open_page()
    page.goto(address)

    expect(page.get_by_text("New", exact=True)).to_be_in_viewport()
    assert 0 < top_of(page, ids[-30]) < PHONE["height"] / 3
    assert not page.evaluate(AT_END)


def test_on_the_way_back_it_is_where_one_was(long, page):
    address, _ = long
    page.goto(address)
    page.evaluate("scrollBy({ top: -1200, behavior: 'instant' })")
    place = page.evaluate("scrollY")
    page.goto("/status")

    page.go_back()

    until(page, f"Math.abs(scrollY - {place}) < 2")


def test_without_programs_it_has_all_its_ways(long, open_page):
    address, ids = long
    page = open_page(java_script_enabled=False)
    page.goto(address)
    assert texts(page) == [str(i) for i in ids[-50:]]

    with page.expect_navigation():
        page.get_by_role("link", name="Older messages").click()
    assert texts(page) == [str(i) for i in ids[-100:-50]]
    with page.expect_navigation():
        page.get_by_role("link", name="Newer messages").click()
    assert texts(page) == [str(i) for i in ids[-50:]]
    page.locator("article time").first.click()

    page.wait_for_url(f"**{address}#message-{ids[-50]}")


# --- Older, newer --------------------------------------------------------------------------


def test_older_messages_come_without_moving_what_is_read(long, page):
    address, ids = long
    page.goto(address)
    page.evaluate("scrollTo({ top: 1500, behavior: 'instant' })")
    watched = next(i for i in ids[-50:] if top_of(page, i) > 200)
    before = top_of(page, watched)
    page.locator("[data-more=older]").evaluate("link => link.click()")  # without scrolling to it

    expect(page.locator("article")).to_have_count(100)
    assert top_of(page, watched) == pytest.approx(before, abs=1)
    assert texts(page) == [str(i) for i in ids[-100:]]
    headings = page.locator(".day__name time").evaluate_all("all => all.map((t) => t.dateTime)")
    assert headings == sorted(set(headings))


def test_scrolling_up_brings_the_older_ones_by_itself(long, page):
    address, ids = long
    page.goto(address)

    for count in (100, 140):
        page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        expect(page.locator("article")).to_have_count(count)

    assert texts(page) == [str(i) for i in ids]
    expect(page.get_by_role("link", name="Older messages")).to_have_count(0)
    expect(page.locator("[data-announcer]")).to_have_text("40 older messages")


def test_a_link_to_a_message_opens_there_and_both_ways_are_open(long, page):
    _, ids = long
    wanted = ids[70]
    page.goto(f"/messages/{wanted}")

    found = page.locator(f"#message-{wanted}")
    expect(found).to_be_in_viewport()
    assert page.url.endswith(f"#message-{wanted}")
    assert found.evaluate("one => getComputedStyle(one).animationName") == "found"
    page.evaluate("scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' })")
    until(page, f"document.getElementById('message-{ids[-1]}')")
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    until(page, f"document.getElementById('message-{ids[0]}')")
    shown = texts(page)
    assert shown == [str(i) for i in ids[ids.index(wanted) - 70 :]]


def test_the_time_of_a_message_is_its_address(long, page):
    address, ids = long
    page.goto(address)
    page.evaluate("window.here = true")

    time = page.locator(f"#message-{ids[-3]} .message__time")
    assert time.get_attribute("href") == f"/messages/{ids[-3]}"
    time.click()

    page.wait_for_url(f"**#message-{ids[-3]}")
    assert page.evaluate("window.here")  # the page was not loaded again


def test_a_day_is_jumped_to_from_the_menu(long, page):
    address, ids = long
    day = db.session.get(Message, ids[60]).sent_at.date().isoformat()
    db.session.rollback()
    page.goto(address)

    page.get_by_label("This conversation").click()
    page.get_by_label("Go to a day").fill(day)
    page.get_by_role("button", name="Go", exact=True).click()

    page.wait_for_url("**after=**")
    expect(page.locator(f"#day-{day}")).to_be_in_viewport()
    assert page.locator(f"#day-{day}").bounding_box()["y"] < 200


# --- For everybody -------------------------------------------------------------------------


@pytest.fixture
def lively(deliver, work, message, provider):
    """A group with photos, one of which is missing; the address of its page."""
    photos = [provider.serve(picture(colour=colour)) for colour in ("grey", "tan", "beige")]
    begin = now() - timedelta(hours=30)
    for index, (sender, text, media) in enumerate(
        [
            (THEM, "The crack: https://crack.example/wall and 617-555-0123", []),
            (THEM, None, photos),
            (OTHER, "Mine as well", [provider.serve(b"", status=404)]),
        ]
    ):
        payload = message(
            text=text,
            media=media,
            sender=sender,
            conversation="CNgroup",
            sent_at=begin + timedelta(hours=index, minutes=1),
        ).payload()
        others = [number for number in (THEM, OTHER) if number != sender]
        payload["data"]["context"]["recipientIdentifiers"] = ["+16175550100", *others]
        assert deliver(payload).status_code == 204
    work()
    conversation = db.session.query(Message.conversation_id).distinct().scalar()
    db.session.rollback()
    return f"/conversations/{conversation}"


@pytest.mark.parametrize("viewport", [PHONE, DESK])
def test_any_number_of_photos_makes_a_tidy_grid(talk, attach, open_page, viewport):
    row = talk(messages=9, at=now())
    for count, message in enumerate(row.messages, 1):
        for position in range(count):
            # Not stored: a square as well, and nothing is asked for.
            attach(message, position=position)
        attach(message, position=count, **stored(media_type="document", mime_type="text/plain"))
    address = f"/conversations/{row.id}"
    page = open_page(viewport=viewport)
    page.goto(address)

    for count in range(1, 10):
        grid = page.locator(".media-grid").nth(count - 1)
        across, widths, rest = grid.evaluate(
            """(grid) => {
              const rows = {};
              for (const tile of grid.querySelectorAll(".media--tile")) {
                const { top, width } = tile.getBoundingClientRect();
                (rows[Math.round(top)] ??= []).push(width + 3);
              }
              const file = grid.querySelector(".media--document").getBoundingClientRect().width;
              const sums = Object.values(rows).map((row) => row.reduce((a, b) => a + b) - 3);
              return [grid.clientWidth, sums, file];
            }"""
        )
        assert widths
        assert all(abs(width - across) < 1 for width in [*widths, rest]), count


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("viewport", [PHONE, DESK])
def test_everybody_can_use_it(lively, open_page, viewport, dark):
    page = open_page(viewport=viewport, dark=dark)
    page.goto(lively)
    until(page, "document.images.length > 2")

    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    page.get_by_label("This conversation").click()
    assert violations(page) == []
    box = page.locator(".conversation__actions .menu__list").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= viewport["width"]


def test_on_paper_there_is_nothing_to_press(lively, page):
    page.goto(lively)
    page.emulate_media(media="print", color_scheme="dark")

    for pressed in ("nav", "button", "summary", ".pill", ".more", ".player", "audio"):
        assert page.locator(pressed).filter(visible=True).count() == 0, pressed
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.locator(".media__image").first).to_be_visible()
    colors = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert colors == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    page.pdf()
