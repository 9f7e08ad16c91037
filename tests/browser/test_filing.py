"""Filing as people do it: with a thumb, a mouse, the keyboard, and without a script."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.browser.fingers import until
from tests.support.factories import (
    customer,
    days,
    files,
    linked,
    order,
    photos,
    quote,
    text,
    visit,
    voicemail,
)
from tests.support.stored_files import painted
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.office import filing


@pytest.fixture
def maria(app):
    return customer(name="Maria Alvarez")


@pytest.fixture
def job(maria):
    """A quote with four photos and a voicemail."""
    job = quote(maria, "Q-104", title="North wall")
    filing.link(painted(photos(maria, 4)), job, None)
    filing.link([voicemail(maria)], job, None)
    db.session.commit()
    return job


def choosing(media):
    return "/work/link/choose?" + "&".join(f"media={one.id}" for one in media)


def titles(page: Page):
    """The record's files as they stand on its page: the ends of their links' ids."""
    return page.locator("[data-reorder-item]").evaluate_all(
        "items => items.map((item) => item.id.replace('link-', ''))"
    )


def saved(page: Page):
    """Wait for the answer to what is done inside: the order was saved."""
    return page.expect_response(
        lambda answer: answer.url.endswith("/files") and answer.status == 204
    )


# --- Four taps -------------------------------------------------------------------------------


def test_thirty_photos_are_linked_to_a_quote_with_four_taps_from_the_conversation(maria, page):
    message = text(maria)
    media = painted(files(message, 30))
    job = quote(maria, "Q-104", title="North wall")
    page.goto(f"/conversations/{maria.id}")
    taps = 0

    def tap(target):
        nonlocal taps
        taps += 1
        target.tap()

    tap(page.get_by_role("link", name="Photos of Maria Alvarez"))
    page.wait_for_url("**/photos*")
    tap(page.get_by_text("Select all").first)
    tap(page.get_by_role("button", name="Link to work"))
    page.wait_for_url("**/work/link/choose")
    tap(page.get_by_role("button", name="Q-104"))

    expect(page.get_by_text("30 photos linked to Q-104.")).to_be_visible()
    assert taps == 4
    assert set(linked(job)) == {one.id for one in media}


def test_a_tap_links_and_a_tap_takes_it_back(maria, page):
    media = photos(maria, 30)
    job = quote(maria, "Q-104")
    page.goto(choosing(media))
    page.get_by_role("button", name="Q-104").tap()
    expect(page.get_by_text("30 photos linked to Q-104.")).to_be_visible()
    there = len(linked(job))

    page.get_by_role("button", name="Undo").tap()

    expect(page.get_by_text("Undone: 30 photos no longer linked to Q-104.")).to_be_visible()
    assert (there, linked(job)) == (30, [])


def test_enter_in_a_field_never_links(maria, page):
    media = photos(maria, 2)
    job = quote(maria, "Q-104")
    page.goto(choosing(media))
    page.get_by_text("Caption").click()
    page.get_by_label("What they show").fill("North wall")
    page.get_by_label("What they show").press("Enter")
    page.wait_for_url("**/work/link/choose")
    expect(page.get_by_label("What they show")).to_have_value("North wall")
    page.get_by_label("Number, title, customer or place").fill("q-104")
    page.get_by_label("Number, title, customer or place").press("Enter")

    expect(page.get_by_label("What they show")).to_have_value("North wall")
    expect(page.get_by_role("button", name="Q-104")).to_have_count(2)
    assert linked(job) == []


def test_enter_beside_the_amount_makes_the_quote(maria, page):
    media = photos(maria, 2)
    page.goto(choosing(media))
    page.get_by_label("Title optional").fill("Bulkhead")
    page.get_by_label("Amount").fill("900")
    page.get_by_label("Amount").press("Enter")

    expect(page.get_by_text("made from 2 photos.")).to_be_visible()
    assert [one.record.amount for one in filing.links_from(media[0])] == [90000]


# --- The order of a record's files -----------------------------------------------------------


def test_a_photo_is_dragged_with_the_mouse(job, open_page):
    page = open_page(viewport=DESK, touch=False)
    page.goto(f"/work/{job.id}?arrange=1")
    before = titles(page)
    first, third = (page.locator("[data-reorder-grip]").nth(index) for index in (0, 2))
    with saved(page):
        start, goal = first.bounding_box(), third.bounding_box()
        page.mouse.move(start["x"] + 40, start["y"] + 40)
        page.mouse.down()
        page.mouse.move(goal["x"] + 40, goal["y"] + 40, steps=12)
        page.mouse.up()

    wanted = [before[1], before[2], before[0], *before[3:]]
    assert titles(page) == wanted
    assert order(job) == wanted
    expect(page.locator("[data-reorder-said]")).to_have_text("Now 3 of 5.")
    page.reload()
    assert titles(page) == wanted


def test_escape_puts_a_dragged_photo_back(job, open_page):
    page = open_page(viewport=DESK, touch=False)
    page.goto(f"/work/{job.id}?arrange=1")
    before = titles(page)
    start = page.locator("[data-reorder-grip]").nth(0).bounding_box()
    page.mouse.move(start["x"] + 40, start["y"] + 40)
    page.mouse.down()
    page.mouse.move(start["x"] + 360, start["y"] + 40, steps=8)
    expect(page.locator(".shot--lifted")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".shot--lifted")).to_have_count(0)
    page.mouse.up()

    assert titles(page) == before
    assert page.locator("[style*=order]").count() == 0


def test_a_photo_is_dragged_with_a_finger_by_its_handle_and_the_page_scrolls_elsewhere(job, page):
    page.goto(f"/work/{job.id}?arrange=1")
    before = titles(page)
    fingers = page.context.new_cdp_session(page)

    def touch(kind, box=None):
        points = (
            [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}] if box else []
        )
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    handles = page.locator("[data-reorder-handle]")
    first, second = handles.nth(0).bounding_box(), handles.nth(1).bounding_box()
    with saved(page):
        touch("touchStart", first)
        for part in (0.3, 0.6, 1.0):
            touch("touchMove", first | {"x": first["x"] + (second["x"] - first["x"]) * part})
        expect(page.locator(".shot--lifted")).to_have_count(1)
        touch("touchEnd")
    by_handle = titles(page)
    picture = page.locator("[data-reorder-grip]").nth(2).bounding_box()
    touch("touchStart", picture)
    for up in (40, 120, 200):
        touch("touchMove", picture | {"y": picture["y"] - up})
    touch("touchEnd")

    until(page, "scrollY > 50")
    assert by_handle == [before[1], before[0], *before[2:]]
    assert titles(page) == by_handle


def test_the_arrows_work_with_the_keyboard_and_keep_the_focus(job, page):
    page.goto(f"/work/{job.id}?arrange=1")
    before = titles(page)
    last = page.get_by_role("button", name="Move voicemail 5 earlier")
    last.focus()
    with saved(page):
        page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Move voicemail 4 earlier")).to_be_focused()
    for _ in range(3):
        with saved(page):
            page.keyboard.press("Enter")

    wanted = [before[4], *before[:4]]
    assert titles(page) == wanted
    assert order(job) == wanted
    expect(page.get_by_role("button", name="Move voicemail 1 later")).to_be_focused()


def test_a_caption_is_kept_as_soon_as_it_is_typed(job, page):
    page.goto(f"/work/{job.id}?arrange=1")
    field = page.get_by_label("Caption of photo 1")
    field.fill("Left of the window")
    with saved(page):
        field.blur()
    page.get_by_role("button", name="Done").first.click()

    expect(page.get_by_text("Left of the window")).to_be_visible()
    expect(page).to_have_url(re.compile(r"#files$"))


def test_without_a_connection_it_says_that_nothing_was_saved_and_saves_later(job, page):
    page.expected_errors.append("ERR_INTERNET_DISCONNECTED")
    page.goto(f"/work/{job.id}?arrange=1")
    before = titles(page)
    page.context.set_offline(True)
    page.get_by_role("button", name="Move photo 1 later").tap()
    expect(page.get_by_text("It is not known whether this was saved.")).to_be_visible()
    page.context.set_offline(False)
    with saved(page):
        page.get_by_role("button", name="Move photo 3 earlier").tap()

    expect(page.get_by_text("It is not known whether this was saved.")).to_be_hidden()
    assert order(job) == [
        before[1],
        before[2],
        before[0],
        *before[3:],
    ]


def test_without_a_script_buttons_order_name_and_remove(job, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"/work/{job.id}")
    page.get_by_role("link", name="Arrange").click()
    page.get_by_label("Caption of photo 2").fill("Typed before the arrow")
    page.get_by_role("button", name="Move photo 2 earlier").click()
    expect(page.get_by_label("Caption of photo 1")).to_have_value("Typed before the arrow")
    page.get_by_role("button", name="Make photo 3 the cover").click()
    expect(page.get_by_role("button", name="Make photo 3 the cover")).to_have_attribute(
        "aria-pressed", "true"
    )
    page.get_by_role("button", name="Remove photo 4 from Q-104").click()
    expect(page.get_by_text("1 photo unlinked from Q-104.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Done").first.click()

    expect(page.get_by_text("Cover", exact=True)).to_be_visible()
    assert len(linked(job)) == 5


def test_photos_are_added_from_the_record(maria, job, page):
    media = painted(photos(maria, 3, now() - days(1)))
    page.goto(f"/work/{job.id}")
    page.get_by_role("link", name="Add photos").tap()
    page.wait_for_url("**/pick")
    for index in range(2):
        page.get_by_role("checkbox").nth(index).tap()
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.get_by_role("button", name="Add to Q-104").tap()

    expect(page.get_by_text("2 photos linked to Q-104.")).to_be_visible()
    assert len(set(linked(job)) & {one.id for one in media}) == 2


# --- The tray --------------------------------------------------------------------------------


def test_the_tray_counts_what_is_ticked_and_ticks_all(maria, page):
    photos(maria, 5)
    photos(customer("+16175550124"), 2)
    page.goto("/unfiled")
    group = page.get_by_role("region", name="Maria Alvarez")
    expect(group.get_by_text("All 5", exact=True)).to_be_visible()
    group.get_by_role("checkbox").nth(1).tap()
    expect(group.get_by_text("1 chosen")).to_be_visible()
    group.get_by_role("link", name="Select all").tap()
    expect(group.get_by_text("5 chosen")).to_be_visible()
    group.get_by_role("link", name="Select none").tap()

    expect(group.get_by_text("All 5", exact=True)).to_be_visible()
    assert page.get_by_role("checkbox", checked=True).count() == 0
    assert page.url.endswith("/unfiled")


def test_the_tray_is_emptied_with_one_tap_a_customer(maria, page):
    photos(maria, 5)
    junk = photos(customer("+16175550124"), 2)
    job = quote(maria, "Q-104")
    page.goto("/unfiled")
    page.get_by_role("button", name="Link to Q-104").tap()
    expect(page.get_by_text("5 photos linked to Q-104.")).to_be_visible()
    page.get_by_role("button", name="Not needed").tap()

    expect(page.get_by_text("Nothing waits to be filed.")).to_be_visible()
    assert len(linked(job)) == 5
    assert {one.id for one in filing.list_not_needed(10)} == {one.id for one in junk}


# --- For everybody ---------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page_can_be_used_by_everybody(maria, job, open_page, viewport, dark):
    bob = customer("+16175550124", name="Bob Chen")
    old = painted(photos(bob, 2, now() - days(16)))
    new = painted(photos(maria, 14, now() - days(1)))
    clip = files(
        text(maria),
        media_type=MediaAttachment.MediaType.VIDEO,
        mime_type="video/mp4",
        duration_seconds=14.0,
    )
    visit(maria, now() - days(1), visit="Inspection", place="12 Elm St")
    filing.mark_not_needed(old[:1], None)
    filing.set_cover(job, filing.links_of(job)[1].media_id)
    db.session.commit()
    page = open_page(viewport=viewport, dark=dark)
    found = []
    for address in (
        "/unfiled",
        "/unfiled?show=not-needed",
        choosing(new),
        choosing([*new, *old, *clip]),
        f"/work/{job.id}",
        f"/work/{job.id}?arrange=1",
        f"/work/{job.id}/pick",
    ):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        found += [f"{address}: {one}" for one in violations(page)]
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        found += [f"{address} scrolls sideways"] if wide else []

    assert found == []
