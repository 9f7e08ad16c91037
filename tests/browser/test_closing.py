"""A file that did not come, or only in part, on a phone: what is told, and what can be done."""

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, cramped, violations
from tests.support.pictures import noise
from viewer.extensions import db
from viewer.models import MediaAttachment

Availability = MediaAttachment.Availability


@pytest.fixture
def talk_of(deliver, message, provider, work):
    """The address of a conversation in which this was sent."""

    def send(*items: object) -> str:
        deliver(message(media=list(items)).payload())
        work()
        found = db.session.scalars(sa.select(MediaAttachment.conversation_id)).first()
        db.session.rollback()
        return f"/conversations/{found}"

    return send


def availability() -> MediaAttachment.Availability:
    db.session.rollback()
    found = db.session.scalars(sa.select(MediaAttachment)).one().availability
    db.session.rollback()
    return found


@pytest.mark.parametrize("viewport", [PHONE, DESK])
@pytest.mark.parametrize("dark", [False, True])
def test_a_dead_photo_is_closed_in_the_conversation_and_undone(
    viewport, dark, talk_of, provider, open_page
):
    page = open_page("office", viewport, dark=dark)
    page.goto(talk_of(provider.serve(b"", status=410)))
    expect(page.locator(".receipt")).to_have_text("Photo not available at the provider")

    page.locator("summary", has_text="Close…").tap()
    page.get_by_label("Reason").fill("Came by e-mail")
    assert violations(page) == []
    assert cramped(page, ".settle .button") == []
    page.get_by_role("button", name="Came another way").tap()

    expect(page.locator(".media__wait strong")).to_have_text("Photo: came another way")
    expect(page.locator(".media__wait")).to_contain_text("Came by e-mail")
    assert availability() is Availability.CAME_ANOTHER_WAY
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator(".media__wait strong")).to_have_text("Photo: not available at the provider")


def test_asking_for_it_again_shows_the_draft_that_the_app_opens(talk_of, provider, open_page):
    page = open_page("office")
    page.goto(talk_of(provider.serve(b"", status=410)))

    page.get_by_role("link", name="Ask for it again").tap()

    expect(page.get_by_label("The text")).to_have_value(
        "Hi, the photo you sent us on Monday, September 21 did not come through."
        " Could you please send it again? Thank you!"
    )
    address = page.get_by_role("link", name="Open in the phone app").get_attribute("href")
    assert address.startswith("openphone://message?number=%2B16175550123&")
    assert violations(page) == []


def test_a_photo_that_came_cut_off_says_so_on_the_picture_and_in_the_lightbox(
    talk_of, provider, open_page
):
    whole = noise(900, 600, 60)
    cut = whole[: len(whole) // 2]
    page = open_page("office")
    page.goto(talk_of(provider.serve(whole), provider.serve(cut)))

    expect(page.locator(".receipt")).to_have_text("1 of 2 photos here; 1 here, but incomplete")
    marked = page.locator("figure", has=page.locator(".media__state"))
    expect(marked).to_have_count(1)
    expect(marked.locator(".media__state")).to_have_text("Here, but incomplete")
    marked.locator("a.media__link").tap()
    expect(page.get_by_role("dialog")).to_contain_text(
        "Here, but incomplete. The file is incomplete: it ends early."
    )


def test_what_came_instead_is_accepted_on_its_own_page(talk_of, provider, open_page):
    page = open_page("office")
    item = {"url": provider.serve(b"<!doctype html><p>Sign in"), "type": "image/jpeg"}
    page.goto(talk_of(item))
    db.session.rollback()
    found = db.session.scalars(sa.select(MediaAttachment.id)).one()
    db.session.rollback()
    page.goto(f"/media/{found}/passport")
    expect(page.locator(".passport__state")).to_contain_text("Not the file.")
    assert violations(page) == []

    page.get_by_role("button", name="It is the file: keep it").tap()

    expect(page.get_by_text("What came is kept as the file.")).to_be_visible()
    assert availability() is Availability.HERE
