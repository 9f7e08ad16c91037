"""The gallery in a real browser: many pictures, chosen with a thumb or a mouse."""

import hashlib
import io
import zipfile
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.browser.fingers import opened
from tests.support.factories import customer, files, photos, quote, text, voicemail
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment
from viewer.office import filing

State = MediaAttachment.State


@pytest.fixture
def basement(deliver: Any, work: Any, provider: Any, message: Any) -> Conversation:
    """Five photos that came the whole way, and one of everything else."""
    colours = ("grey", "teal", "red", "navy", "olive")
    served = [provider.serve(picture(900, 600, colour)) for colour in colours]
    deliver(message(media=served, sent_at=now() - timedelta(minutes=5)).payload())
    work()
    conversation = db.session.scalars(sa.select(Conversation)).one()
    media = list(db.session.scalars(sa.select(MediaAttachment)))
    filing.link(media[:1], quote(conversation, "Q-104"), None)
    other = text(conversation, now() - timedelta(days=1))
    files(other, media_type="document", file_name="report.pdf", source_key="d")
    files(other, state=State.PENDING, sha256=None, file_size=None, source_key="p")
    files(other, state=State.NEEDS_ATTENTION, sha256=None, file_size=None, source_key="n")
    voicemail(conversation, now() - timedelta(days=2))
    db.session.commit()
    return conversation


@pytest.fixture
def address(basement: Conversation) -> str:
    found = f"/conversations/{basement.id}/photos"
    db.session.rollback()
    return found


def chosen(page: Page) -> int:
    return page.locator("input[name=media]:checked, input[type=hidden][name=media]").count()


def pick(page: Page, number: int) -> Any:
    return page.get_by_role("checkbox").nth(number)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_it_can_be_used_by_everybody(open_page, address, viewport, dark):
    page = open_page(viewport=viewport, dark=dark, touch=viewport is PHONE)
    for one in (address, "/photos", "/photos?kind=videos&since=2026-01-01", "/photos?since=x"):
        if one.endswith("=x"):
            page.expected_errors.append("400")
        page.goto(one)
        assert violations(page) == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == viewport["width"], one
    page.goto(address)
    page.get_by_role("button", name="Filters").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_text("Select all").click()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")

    assert violations(page) == []


def test_nothing_moves_while_the_pictures_come(open_page, address):
    page = open_page()
    page.add_init_script(
        "window.shifts = [];"
        "new PerformanceObserver(list => shifts.push(...list.getEntries().map(e => e.value)))"
        ".observe({type: 'layout-shift', buffered: true})"
    )

    page.goto(address)
    page.evaluate(
        "Promise.all([...document.querySelectorAll('.tile__image')].map(one => one.decode()))"
    )

    assert page.locator(".tile__image").count() == 5
    assert page.evaluate("shifts.reduce((sum, one) => sum + one, 0)") == 0


def test_photos_are_selected_and_downloaded(open_page, address):
    page = open_page()
    page.goto(address)
    expect(page.get_by_role("group", name="Selected files")).to_be_hidden()

    page.get_by_role("button", name="Select", exact=True).tap()
    page.locator(".tile__open").nth(0).tap()
    page.locator(".tile__open").nth(1).tap()
    expect(page.get_by_text("2 selected")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").tap()

    content = download.value.path().read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sums = archive.read("SHA256SUMS").decode()
        for name in archive.namelist()[:-1]:
            assert f"{hashlib.sha256(archive.read(name)).hexdigest()}  {name}" in sums
        assert len(archive.namelist()) == 3
    assert download.value.suggested_filename.startswith("(617) 555-0123 ")
    assert page.url.endswith(address)  # one goes on where one was


def test_a_tap_opens_unless_one_is_selecting(open_page, address):
    page = open_page()
    page.goto(address)
    first = page.locator(".tile__open").first

    page.get_by_role("button", name="Select", exact=True).tap()
    first.tap()
    assert chosen(page) == 1
    page.get_by_role("button", name="Done").tap()
    assert chosen(page) == 0
    first.tap()

    viewer = page.get_by_role("dialog", name="Photo viewer")
    expect(viewer).to_be_visible()
    expect(viewer.get_by_text("1 of 5", exact=True)).to_be_visible()
    opened(page)
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_text("2 of 5", exact=True)).to_be_visible()


def test_holding_a_picture_begins_a_selection(open_page, address):
    page = open_page()
    page.goto(address)

    page.locator(".tile__open").first.evaluate(
        "one => one.dispatchEvent(new PointerEvent('contextmenu',"
        " {pointerType: 'touch', bubbles: true, cancelable: true}))"
    )

    expect(page.get_by_text("1 selected")).to_be_visible()


def test_a_mouse_selects_a_range_and_escape_lets_go(open_page, address):
    page = open_page(viewport=DESK, touch=False)
    page.goto(address)

    page.locator(".tile").nth(0).hover()
    pick(page, 0).click()
    pick(page, 3).click(modifiers=["Shift"])
    expect(page.get_by_text("4 selected")).to_be_visible()
    page.keyboard.press("Escape")

    expect(page.get_by_role("group", name="Selected files")).to_be_hidden()
    assert chosen(page) == 0


def test_the_keyboard_alone_selects(open_page, address):
    page = open_page(viewport=DESK, touch=False)
    page.goto(address)

    pick(page, 0).focus()
    page.keyboard.press("Space")
    expect(page.get_by_text("1 selected")).to_be_visible()
    pick(page, 1).focus()
    page.keyboard.press("Enter")  # selects, and downloads nothing

    expect(page.get_by_text("2 selected")).to_be_visible()


def test_what_is_not_here_cannot_be_selected(open_page, address):
    page = open_page()
    page.goto(address)

    page.get_by_text("Select all").tap()

    expect(page.get_by_text("7 selected")).to_be_visible()
    expect(page.get_by_text("Photo: not available at the provider")).to_be_visible()


def test_older_ones_come_by_themselves_and_all_are_selected(open_page, site):
    dana = customer(name="Dana Whitfield")
    for number in range(11):
        photos(dana, 10, now() - timedelta(hours=9 * number))
    page = open_page()
    page.goto(f"/conversations/{dana.id}/photos")
    assert page.locator(".tile").count() == 48

    page.get_by_text("Select all").tap()
    expect(page.get_by_text("110 selected")).to_be_visible()
    for count in (96, 110):
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        expect(page.locator(".tile")).to_have_count(count)
    headings = page.locator("section h2").all_text_contents()

    assert len(headings) == len(set(headings))  # a day that two pages share has one heading
    assert page.locator("input[name=media]:checked").count() == 110
    assert page.locator("input[type=hidden][name=media]").count() == 0
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    expect(page.get_by_text("110 selected")).to_be_visible()


def test_without_a_script_everything_is_there(open_page, address):
    page = open_page(java_script_enabled=False)
    page.goto(address)

    page.get_by_role("button", name="Filters").click()
    page.get_by_label("Work").select_option("Linked to work")
    page.get_by_role("button", name="Show").click()
    page.get_by_text("Select all").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()

    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
