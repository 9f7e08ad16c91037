"""Work as people do it: on a phone, at a desk, with the keyboard, and without a script."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.support.factories import NOW, customer, files, photos, quote, text, visit, voicemail
from tests.support.stored_files import painted
from viewer.extensions import db
from viewer.models import Message, WorkRecord
from viewer.office import evidence, filing, records
from viewer.search import indexing

Kind = WorkRecord.Kind


@pytest.fixture
def rosa(app):
    conversation = customer(name="Rosa Lindqvist")
    indexing.index_conversations([conversation, customer("+16175550124", name="Bob Chen")])
    db.session.commit()
    return conversation


@pytest.fixture
def job(rosa):
    """A quote that was sent with three photos and a voicemail; one photo came later."""
    record = records.create(Kind.QUOTE, rosa, {"title": "Basement wall", "amount": 125000})
    first, *more = painted(photos(rosa, 4))
    filing.link([*more, voicemail(rosa)], record, None)
    records.send_quote(record)
    filing.link([first], record, None)
    db.session.commit()
    return record


def save(page: Page) -> None:
    page.locator(".form__actions button").click()


def fits(page: Page) -> bool:
    """Whether nobody has to scroll sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_of_work_can_be_used_by_everybody(open_page, job, rosa, viewport, dark):
    records.create(Kind.INVOICE, rosa, {"amount": 5})
    [kept] = evidence.snapshots_of(job)
    addresses = [
        "/work",
        "/work/appointments",
        "/work?q=nothing",
        f"/work/{job.id}",
        f"/work/{job.id}/edit",
        f"/work/{job.id}/evidence/{kept.id}",
        "/work/quotes/new",
        f"/work/appointments/new?conversation={rosa.id}",
        f"/conversations/{rosa.id}/work",
    ]
    db.session.commit()
    page = open_page(viewport=viewport, dark=dark)

    for address in addresses:
        page.goto(address)
        assert violations(page) == [], address
        assert fits(page), address


@pytest.mark.parametrize("letter", ["Leak ", "W"], ids=["words", "letters"])
def test_the_longest_kind_of_visit_makes_no_page_wider(page, rosa, letter):
    kind = (letter * 60)[:59] + "!"
    record = visit(rosa, NOW, visit=kind)
    incoming, call = photos(rosa, at=NOW), voicemail(rosa)
    ours = files(text(rosa, direction=Message.Direction.OUTGOING, sender="+16175550100"))
    filing.link([*painted([*incoming, *ours]), call], record, None)
    short = quote(rosa, "Q-104")
    filing.link(incoming, short, None)
    addresses = [
        f"/conversations/{rosa.id}",
        f"/conversations/{rosa.id}/photos",
        f"/conversations/{rosa.id}/work",
        f"/work/{record.id}",
        f"/work/{record.id}/edit",
        "/work/appointments",
        f"/work/link/choose?media={incoming[0].id}",
        "/photos",
        "/unfiled",
        "/",
    ]
    db.session.commit()

    for address in addresses:
        page.goto(address)
        assert fits(page), address
    page.goto(addresses[0])
    uses = page.locator(".message__use")
    expect(uses).to_have_count(4)
    high = uses.evaluate_all("all => all.map((one) => one.getClientRects()[0].height)")
    assert sorted(high)[0] < 32 < sorted(high)[1]  # what fits a line stands on one


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_a_quote_is_made_mended_and_sent(open_page, rosa, script):
    page = open_page("office", java_script_enabled=script)
    page.expected_errors.append("422")
    page.goto("/work/quotes")
    page.get_by_role("link", name="New quote").click()
    page.get_by_label("Search customers").fill("rosa")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Rosa Lindqvist").click()
    page.get_by_label("Title").fill("Basement wall")
    page.get_by_label("Amount").fill("12,5")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Amount")).to_have_value("12,5")
    if script:
        assert violations(page) == []
    page.get_by_role("alert").get_by_role("link", name="Amount").click()
    expect(page.get_by_label("Amount")).to_be_focused()
    page.get_by_label("Amount").fill("1,250")
    page.get_by_role("button", name="Another customer").click()
    page.get_by_role("button", name="Bob Chen").click()
    expect(page.get_by_label("Title")).to_have_value("Basement wall")
    save(page)
    expect(page.locator(".record-facts")).to_contain_text("Bob Chen")
    expect(page.locator(".record-facts")).to_contain_text("$1,250.00")
    page.get_by_role("button", name="Mark as sent").click()

    expect(page.locator(".notice--done")).to_contain_text("Quote Q-101 is sent now.")
    page.get_by_role("link", name="with no files").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What Q-101 was priced from")


def test_two_editors_learn_of_each_other(open_page, rosa, job):
    first, second = open_page("office"), open_page("owner", viewport=DESK)
    second.expected_errors.append("409")
    address = f"/work/{job.id}/edit"
    db.session.commit()
    for page in (first, second):
        page.goto(address)
    first.get_by_label("Amount").fill("1,300")
    save(first)
    expect(first.locator(".notice--done")).to_contain_text("is saved")
    second.get_by_label("Amount").fill("1,400")
    save(second)

    expect(second.get_by_role("alert")).to_be_focused()
    expect(second.get_by_role("alert")).to_contain_text("office@crack.example changed this quote")
    expect(second.get_by_label("Amount")).to_have_value("1,400")
    expect(second.get_by_label("Amount")).to_have_accessible_description("Saved now: $1,300.00")
    assert violations(second) == []
    second.get_by_role("button", name="Save mine").click()
    expect(second.locator(".record-facts")).to_contain_text("$1,400.00")


def test_on_paper_there_is_the_list_and_nothing_to_press(open_page, job):
    [kept] = evidence.snapshots_of(job)
    address = f"/work/{job.id}/evidence/{kept.id}"
    hashes = [item.sha256 for item in kept.items]
    db.session.commit()
    page = open_page(viewport=DESK)
    page.goto(address)
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    page.emulate_media(media="print")

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for digest in hashes:
        expect(page.get_by_text(digest)).to_be_visible()
    expect(page.get_by_text("Added after it was sent")).to_be_visible()
    for gone in (".tabs", ".bar__back", ".proofs__actions", ".proof__links", ".menu"):
        expect(page.locator(gone).first).to_be_hidden()


def test_the_photos_of_a_record_open_in_the_viewer(open_page, job):
    address = f"/work/{job.id}"
    db.session.commit()
    page = open_page()
    page.goto(address)
    page.locator("[data-slide]").nth(1).click()

    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("dialog")).to_contain_text("of 4")


def test_the_conversation_leads_to_its_work_and_back(open_page, rosa, job):
    address = f"/conversations/{rosa.id}"
    db.session.commit()
    page = open_page()
    page.goto(address)
    page.get_by_label("This conversation").click()
    page.get_by_role("link", name="Work", exact=True).nth(0).click()
    page.get_by_role("link", name="Basement wall").click()
    page.locator(".bar__sub a").click()

    expect(page).to_have_url(f"{page.url.partition('/conversations')[0]}{address}")
