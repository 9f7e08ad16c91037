"""Through the door, in a real browser."""

import pytest

from tests.browser.conftest import violations
from viewer.extensions import db
from viewer.models import User
from viewer.office import accounts

PASSWORD = "a crack in the wall"


@pytest.fixture
def owner(app):
    accounts.add(
        "olivia@crack.example", User.Role.OWNER, "Olivia", accounts.hash_password(PASSWORD)
    )
    db.session.commit()


@pytest.mark.parametrize("dark", [False, True])
def test_a_person_logs_in_and_out(owner, open_page, dark):
    page = open_page(role=None, dark=dark)
    page.goto("/status")
    assert violations(page) == []
    page.get_by_label("E-mail address").fill("Olivia@crack.example ")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()

    page.wait_for_url("**/status")
    assert violations(page) == []
    page.get_by_label("Your account").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto("/status")
    assert "/login" in page.url
