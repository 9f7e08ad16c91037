"""The inbox and the search in a real browser: by thumb, by keyboard, and without programs."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.support.pictures import picture
from viewer.extensions import now
from viewer.search import indexing


@pytest.fixture
def arrived(log_in, deliver, work, message, provider):
    """Three customers, one of them with photos, and one of long ago."""
    log_in("owner")  # who is here before it arrives
    photos = [provider.serve(picture()), provider.serve(picture())]
    for number, (sender, text, media, age) in enumerate(
        [
            ("+16175550123", "There is a crack in the foundation wall", photos, 1),
            ("+16175550124", "Can you come on Thursday?", [], 2),
            ("+16175550125", "A very long word: " + "foundationcrack" * 20, [], 400),
        ]
    ):
        moment = (now() - timedelta(days=age)).replace(microsecond=0)
        deliver(
            message(
                text=text, media=media, sender=sender, sent_at=moment,
                conversation=f"CNbrowser{number}",
            ).payload()
        )  # fmt: skip
    work()
    indexing.fill_index()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("viewport", [PHONE, DESK])
def test_inbox_and_search_are_for_everybody(arrived, open_page, viewport, dark):
    page = open_page(viewport=viewport, dark=dark)

    for address in (
        "/", "/?show=photos&show=unread&since=2020-01-01", "/?show=voicemail", "/?since=soon",
        "/search", "/search?q=crack", "/search?q=617", "/search?q=gargoyle",
    ):  # fmt: skip
        page.goto(address)
        assert violations(page) == [], address
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], address
    page.goto("/")
    page.get_by_text("Dates", exact=True).locator("..").click()
    assert violations(page) == []


def test_what_is_new_is_opened_read_and_brought_back(arrived, page):
    page.goto("/")
    inbox = page.get_by_role("navigation", name="Main").get_by_role("link", name="Inbox")
    expect(inbox).to_have_accessible_name("Inbox 3 unread")
    page.get_by_role("link", name="There is a crack").click()
    page.wait_for_url("**/conversations/**")

    expect(inbox).to_have_accessible_name("Inbox 2 unread")
    page.get_by_label("This conversation").click()
    page.get_by_role("button", name="Mark as unread").click()
    page.wait_for_url("**/")
    expect(inbox).to_have_accessible_name("Inbox 3 unread")
    page.get_by_role("button", name="Mark all as read").click()
    expect(inbox).to_have_accessible_name("Inbox")
    expect(page.get_by_role("status").first).to_contain_text("3 conversations marked as read.")


def test_filters_are_chosen_by_thumb_and_stay_in_the_address(arrived, page):
    page.goto("/")
    chips = page.get_by_role("navigation", name="Show")
    chips.get_by_role("link", name="Unread").click()
    chips.get_by_role("link", name="Photos", exact=True).click()
    lines = page.locator(".inbox > li")
    expect(lines).to_have_count(1)
    page.get_by_text("Dates", exact=True).locator("..").click()
    page.get_by_label("To").fill((now() - timedelta(days=30)).date().isoformat())
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_text("No conversation is like that.")).to_be_visible()
    assert "show=unread&show=photos" in page.url
    page.get_by_role("link", name="Show all", exact=True).click()
    expect(lines).to_have_count(1)
    chips.get_by_role("link", name="All").click()
    expect(lines).to_have_count(3)


@pytest.mark.parametrize("address", ["/?show=attention", "/?show=unread&show=attention"])
def test_the_chosen_filter_is_in_sight(arrived, page, address):
    page.goto(address)

    chosen = page.get_by_role("navigation", name="Show").get_by_role("link", name="Needs attention")
    expect(chosen).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("script", [True, False])
def test_a_search_opens_at_the_message(arrived, open_page, script):
    page = open_page(java_script_enabled=script)
    page.goto("/")
    box = page.get_by_role("searchbox")
    box.fill("foundation wa")
    box.press("Enter")
    page.wait_for_url("**/search?q=foundation+wa")
    expect(page.locator("mark")).to_have_text(["foundation", "wall"])
    page.locator(".line__link").click()

    page.wait_for_url("**#message-*")
    target = page.locator(":target")
    expect(target).to_contain_text("There is a crack in the foundation wall")
    expect(target).to_be_in_viewport()


def test_the_keyboard_alone_reaches_everything(arrived, open_page):
    page = open_page(viewport=DESK, touch=False)
    page.goto("/")
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("(document.activeElement.textContent || '').trim().slice(0, 40)"))

    for words in ("Search", "Dates", "All", "Needs attention", "Mark all as read"):
        assert words in seen, seen
