"""Without a connection, what was tapped says so and stays where it was; and how old a page is."""

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.support.factories import customer, photos
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment


@pytest.fixture
def dana(app: Any) -> Conversation:
    one = customer(name="Dana Whitfield")
    for hours in range(1, 7):
        photos(one, 4, now() - timedelta(hours=hours))
    return one


def cut(page: Page) -> None:
    page.expected_errors += ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "Failed to load"]  # type: ignore[attr-defined]
    page.context.set_offline(True)


def refusal(page: Page) -> Any:
    return page.get_by_role("alert")


def bar(page: Page) -> Any:
    return page.locator("[data-offline-bar]")


def test_linking_says_that_nothing_was_changed_and_the_page_stays(open_page, dana):
    page = open_page()
    page.goto("/unfiled")
    address = page.url
    page.get_by_role("button", name="Link to work…").first.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    cut(page)

    page.get_by_role("button", name="Link to work…").first.click()

    expect(refusal(page)).to_contain_text("No connection. Linking needs one; nothing was changed.")
    assert page.url == address
    assert page.evaluate("scrollY") == place
    assert violations(page) == []
    page.get_by_role("button", name="OK").click()
    expect(refusal(page)).to_have_count(0)


def test_what_was_selected_stays_selected_and_can_be_sent_later(open_page, dana):
    page = open_page()
    page.goto("/photos")
    page.get_by_role("button", name="Select").click()
    for number in range(3):
        page.locator("[data-tile]").nth(number).locator("a").first.click()
    cut(page)

    page.locator(".selection__action", has_text="Link").click()
    expect(refusal(page)).to_contain_text("No connection. Linking needs one; nothing was changed.")
    expect(page.get_by_text("3 selected")).to_be_visible()

    page.context.set_offline(False)
    page.locator(".selection__action", has_text="Link").click()
    expect(page).to_have_url(re.compile("/work/link/choose"))
    expect(refusal(page)).to_have_count(0)


def test_a_caption_that_cannot_be_saved_stays_typed(open_page, dana):
    media = db.session.scalars(sa.select(MediaAttachment)).first()
    page = open_page()
    page.goto(f"/media/{media.id}/passport")
    page.get_by_label("Caption").fill("The north wall")
    cut(page)

    page.get_by_role("button", name="Save").click()

    expect(refusal(page)).to_contain_text(
        "No connection. Saving a caption needs one; nothing was changed."
    )
    expect(page.get_by_label("Caption")).to_have_value("The north wall")
    db.session.expire_all()
    assert db.session.get(MediaAttachment, media.id).caption is None


def test_a_link_that_leads_nowhere_now_says_so(open_page, dana):
    page = open_page()
    page.goto("/")
    address = page.url
    cut(page)

    page.get_by_role("link", name="Dana Whitfield").click()

    expect(refusal(page)).to_contain_text(
        "No connection. Opening this needs one; nothing was changed."
    )
    assert page.url == address


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("address", ["/", "/photos", "/unfiled", "/conversation"])
def test_an_open_page_says_that_it_is_offline_and_from_when(
    open_page, dana, viewport, dark, address
):
    page = open_page(viewport=viewport, dark=dark)
    page.goto(f"/conversations/{dana.id}" if address == "/conversation" else address)
    expect(bar(page)).to_be_empty()
    cut(page)

    expect(bar(page)).to_have_text(
        re.compile(r"^Offline\. This page is from \d+:\d\d [AP]M, just now\.$")
    )
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
    page.context.set_offline(False)
    expect(bar(page)).to_be_empty()


def test_the_age_of_a_page_is_that_of_its_last_answer(open_page, dana):
    page = open_page()
    page.clock.install(time=now().timestamp())
    page.goto("/")
    cut(page)
    page.clock.run_for(25 * 60_000)

    expect(bar(page)).to_contain_text("25 min ago.")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_a_server_is_asked_nothing(open_page, dana, status):
    page = open_page()
    page.clock.install(time=now().timestamp())
    page.goto("/unfiled")
    page.expected_errors.append(str(status))
    page.clock.run_for(6_000)  # that the page came proves nothing any more
    page.context.route("**/service-worker.js", lambda route: route.fulfill(status=status))

    page.get_by_role("button", name="Not needed").first.click()

    expect(refusal(page)).to_contain_text(
        "The server does not answer. Marking needs it; nothing was changed."
    )


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_did_not_answer_is_not_said_to_have_failed(open_page, dana, status):
    page = open_page()
    page.goto("/unfiled")
    address = page.url
    page.expected_errors.append(str(status))
    page.context.route("**/unfiled/not-needed", lambda route: route.fulfill(status=status))

    page.get_by_role("button", name="Not needed").first.click()

    expect(refusal(page)).to_contain_text(
        "It is not known whether “Marking” was done. Doing it again does no harm."
    )
    assert page.url == address
    page.context.unroute("**/unfiled/not-needed")
    page.get_by_role("button", name="Not needed").first.click()
    expect(page.get_by_text("Undo")).to_be_visible()


def test_a_request_that_breaks_off_is_not_said_to_have_failed(open_page, dana):
    page = open_page()
    page.goto("/unfiled")
    page.expected_errors += ["ERR_FAILED", "Failed to load"]
    page.context.route("**/unfiled/not-needed", lambda route: route.abort())

    page.get_by_role("button", name="Not needed").first.click()

    expect(refusal(page)).to_contain_text("It is not known whether “Marking” was done.")


def test_what_the_server_refuses_is_shown_by_its_own_page(open_page, dana):
    page = open_page()
    page.goto("/work/quotes/new?conversation=" + str(dana.id))
    page.expected_errors.append("422")
    page.get_by_label("Amount in dollars").fill("a lot")

    page.get_by_role("button", name="Save", exact=True).last.click()

    expect(page).to_have_title(re.compile("^Not saved"))
    expect(page.get_by_label("Amount in dollars")).to_have_value("a lot")


def test_logging_out_without_a_connection_says_that_it_did_not_happen(open_page, dana):
    page = open_page()
    page.goto("/")
    cut(page)
    page.get_by_label("Your account").click()

    page.get_by_role("button", name="Log out").click()

    expect(refusal(page)).to_contain_text("you are still logged in")
