"""Links for strangers, the trash and the passport, as people use them."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.support import factories
from tests.support.pictures import picture
from tests.support.stored_files import keep
from viewer import demo
from viewer.extensions import db, now
from viewer.models import MediaAttachment, User
from viewer.office import accounts, filing, sharing, trash

LOOKS = [(PHONE, False), (PHONE, True), (DESK, False), (DESK, True)]
VOICE = Path(demo.__file__).parent / "voices" / "bulkhead.mp3"


@pytest.fixture
def files(app: Any) -> list[MediaAttachment]:
    """Three photos and a voicemail of a customer, linked to a quote."""
    maria = factories.customer(name="Maria Alvarez")
    message = factories.text(maria)
    media = [
        keep(picture(900, 600, colour), message, with_copies=True, position=place)
        for place, colour in enumerate(("teal", "olive", "navy"))
    ]
    media.append(keep(VOICE.read_bytes(), message, with_copies=True, position=3))
    filing.link(media, factories.quote(maria, "Q-104", title="North wall"), None)
    db.session.commit()
    return media


def made(media: list[MediaAttachment], passphrase: str = "") -> str:
    """The path of a link to these."""
    user = accounts.find_user("olivia@crack.example") or accounts.add(
        "olivia@crack.example", User.Role.OWNER, "Olivia"
    )
    hashed = sharing.hash_passphrase(passphrase) if passphrase else None
    _, token = sharing.create(
        "North wall", media, now() + timedelta(days=7), user, passphrase_hash=hashed
    )
    db.session.commit()
    return f"/s/{token}"


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_the_office_shares_from_the_gallery_and_a_stranger_looks(files, open_page):
    office = open_page("office", DESK, permissions=["clipboard-read", "clipboard-write"])
    office.goto("/photos")
    office.get_by_role("button", name="Select", exact=True).click()
    for box in office.get_by_role("checkbox").all()[:3]:
        box.check(force=True)
    office.get_by_role("button", name="Share").click()
    office.wait_for_url("**/shares/new")
    office.get_by_label("Title").fill("For the insurer")
    office.get_by_label("90 days").check(force=True)
    office.get_by_role("button", name="Make the link").click()
    office.wait_for_url(re.compile(r"/shares/[0-9a-f-]{36}$"))
    address = office.get_by_label("Link", exact=True).input_value()
    office.get_by_role("button", name="Copy").click()
    expect(office.get_by_role("button", name="Copied")).to_be_visible()
    copied = office.evaluate("navigator.clipboard.readText()")

    stranger = open_page(None, PHONE, java_script_enabled=False)
    stranger.goto(address)
    expect(stranger.get_by_role("heading", name="For the insurer")).to_be_visible()
    stranger.get_by_role("link").first.click()
    expect(stranger.get_by_role("heading")).to_have_text(re.compile("1 of 3"))
    stranger.get_by_role("link", name="Next").click()
    expect(stranger.get_by_role("heading")).to_have_text(re.compile("2 of 3"))
    with stranger.expect_download() as download:
        stranger.get_by_role("link", name="Save").first.click()

    assert copied == address
    assert re.fullmatch(r"(photo|file|recording|voicemail)-2\.(jpg|mp3)",
                        download.value.suggested_filename)  # fmt: skip
    office.reload()
    expect(office.get_by_text("1 time, last")).to_be_visible()
    expect(office.get_by_label("Link", exact=True)).to_have_count(0)


@pytest.mark.parametrize(("viewport", "dark"), LOOKS)
def test_a_strangers_pages_are_for_everybody(files, open_page, viewport, dark):
    address, locked = made(files), made(files, "blue house")
    page = open_page(None, viewport, dark=dark)
    page.expected_errors.append("404")
    page.expected_errors.append("401")

    for path in (address, f"{address}/1", f"{address}/4", locked, "/s/nothing"):
        page.goto(path)
        assert violations(page) == [], path
        assert fits(page), path
    page.goto(locked)
    page.get_by_label("Passphrase").fill("red house")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_contain_text("That is not the passphrase")
    assert violations(page) == []
    page.get_by_label("Passphrase").fill("Blue House")
    page.get_by_role("button", name="Open").click()

    expect(page.get_by_role("heading", name="North wall")).to_be_visible()


def test_a_voicemail_plays_for_a_stranger(files, open_page):
    page = open_page(None)
    page.goto(made(files))
    db.session.refresh(files[3])

    heard = page.locator("audio").evaluate(
        """sound => new Promise((done, failed) => {
            sound.ontimeupdate = () => sound.currentTime > 0.2 && done(sound.duration);
            sound.onerror = failed;
            sound.play();
        })"""
    )

    assert heard == pytest.approx(files[3].duration_seconds, abs=0.2)


@pytest.mark.parametrize(("viewport", "dark"), LOOKS)
def test_the_offices_pages_are_for_everybody(files, open_page, viewport, dark):
    made(files)
    old = keep(picture(colour="maroon"), files[0].message, with_copies=True)
    owner = accounts.find_user("olivia@crack.example")
    assert owner is not None
    trash.trash(old, owner)
    old.trashed_at = now() - timedelta(days=40)
    db.session.commit()
    page = open_page("owner", viewport, dark=dark)
    page.expected_errors.append("422")

    paths = (
        "/shares", f"/shares/new?media={files[0].id}&media={files[3].id}", "/trash",
        "/trash?show=deleted", f"/media/{files[0].id}/passport", f"/media/{old.id}/passport",
    )  # fmt: skip
    for path in paths:
        page.goto(path)
        assert violations(page) == [], path
        assert fits(page), path
    page.goto(paths[1])
    page.get_by_label("Title").fill("")
    page.get_by_role("radio", name="Until a day").check(force=True)
    page.get_by_label("Last day").fill("2020-01-01")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_text("Give it a title")).to_be_visible()
    expect(page.get_by_label("Last day")).to_have_value("2020-01-01")
    assert violations(page) == []
    page.goto("/shares")
    page.get_by_role("link", name="North wall").click()
    page.get_by_text("Revoke the link…").click()
    assert violations(page) == []
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("it opens nothing any more")).to_be_visible()


def test_a_photo_goes_to_the_trash_and_comes_back_without_a_script(files, open_page):
    page = open_page("office", PHONE, java_script_enabled=False)
    page.goto(f"/media/{files[0].id}/passport")
    page.get_by_label("Caption").fill("East wall")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Photo: East wall")).to_be_visible()
    page.get_by_role("button", name="Check the bytes now").click()
    expect(page.get_by_text("exactly those that came")).to_be_visible()
    page.get_by_role("button", name="Put in the trash").click()
    expect(page.get_by_text("Linked to Q-104")).to_be_visible()
    page.get_by_role("button", name="Put in the trash").click()
    expect(page.get_by_text("in the trash. Its bytes are kept")).to_be_visible()

    page.get_by_role("button", name="Restore").click()

    expect(page.get_by_text("is back where it was")).to_be_visible()
    expect(page.get_by_role("link", name="Q-104")).to_be_visible()


def test_the_owner_deletes_for_good_in_two_steps(files, open_page):
    made(files)
    owner = accounts.find_user("olivia@crack.example")
    assert owner is not None
    old = keep(message=files[0].message, with_copies=True)
    trash.trash(old, owner)
    old.trashed_at = now() - timedelta(days=40)
    db.session.commit()
    page = open_page("owner", PHONE)
    page.goto("/trash")

    page.get_by_text("Delete 1 for good…").click()
    assert violations(page) == []
    page.get_by_label("I am sure").check()
    page.get_by_role("button", name="Delete for good").click()

    expect(page.get_by_text("1 file deleted for good")).to_be_visible()
    expect(page.get_by_text("The trash is empty")).to_be_visible()
