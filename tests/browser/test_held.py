"""The pages on which a customer is handed out and forgotten can be read and used by anybody."""

from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import violations
from tests.support import factories, stored_files
from viewer.models import Conversation


def _somebody() -> Conversation:
    home = factories.customer("+16175550177", "Zephyrine Quillfeather")
    stored_files.keep(message=factories.text(home, body="Look at this crack"))
    return home


def test_an_owner_asks_to_forget_takes_it_back_and_notes_a_consent(page: Any) -> None:
    home = _somebody()
    page.goto(f"/conversations/{home.id}")
    page.get_by_label("This conversation").click()
    page.get_by_role("link", name="Everything held about this customer").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Everything held about Zephyrine Quillfeather"
    )
    assert violations(page) == []

    with page.expect_download() as download:
        page.get_by_role("button", name="Download everything").click()
    assert download.value.suggested_filename.startswith("Everything held")
    page.get_by_label("I know that this cannot be undone").check()
    page.get_by_role("button", name="Forget after 7 days").click()

    expect(page.get_by_text("Waiting.")).to_be_visible()
    assert violations(page) == []
    page.goto("/forgotten")
    assert violations(page) == []
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("Taken back", exact=True)).to_be_visible()
    page.goto(f"/conversations/{home.id}/consent")
    assert violations(page) == []
    page.get_by_label("They agreed").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Noted.")).to_be_visible()
