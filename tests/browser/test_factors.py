"""Passkeys and codes, in a real browser with an authenticator that Chromium makes up."""

import re
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import DESK, PHONE, cramped, violations
from viewer.extensions import db, now
from viewer.models import Passkey, User, UserSession
from viewer.office import accounts

EMAIL, PASSWORD = "olivia@crack.example", "a crack in the wall"


@pytest.fixture
def site(site: str) -> str:
    """By its name: browsers make no passkeys for an IP address."""
    return site.replace("127.0.0.1", "localhost")


@pytest.fixture
def owner(app: Any) -> User:
    user = accounts.add(EMAIL, User.Role.OWNER, "Olivia", accounts.hash_password(PASSWORD))
    db.session.commit()
    return user


class Phone:
    """Chromium's virtual authenticator, as a phone with a fingerprint reader."""

    def __init__(self, page: Page) -> None:
        self.devtools = page.context.new_cdp_session(page)
        self.devtools.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
            "hasUserVerification": True, "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }  # fmt: skip
        made = self.devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        self.id = made["authenticatorId"]

    def verify(self, is_right: bool) -> None:
        """Whether the finger on it is its owner's."""
        words = {"authenticatorId": self.id, "isUserVerified": is_right}
        self.devtools.send("WebAuthn.setUserVerified", words)

    @property
    def keys(self) -> list[dict[str, Any]]:
        found = self.devtools.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(found["credentials"])


def log_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def log_out(page: Page) -> None:
    page.get_by_label("Your account").click()
    page.get_by_role("button", name="Log out", exact=True).click()
    page.wait_for_url("**/login")


@pytest.mark.parametrize(("viewport", "dark"), [(PHONE, False), (DESK, True)])
def test_a_passkey_is_made_and_logs_in_alone(owner, open_page, viewport, dark):
    page = open_page(role=None, viewport=viewport, dark=dark)
    page.expected_errors += ["401"]
    phone = Phone(page)
    log_in(page)
    page.goto("/account")
    assert violations(page) == []
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_text("Write these down")).to_be_visible()
    assert violations(page) == []
    assert len(re.findall(r"[A-Z2-7]{4}(-[A-Z2-7]{4}){5}", page.locator(".codes").inner_text()))
    page.get_by_role("link", name="I have them").click()
    expect(page.get_by_text("Passkey · added")).to_be_visible()
    assert cramped(page, "#factors ~ * .button:not(.button--small)") == []
    [key] = phone.keys
    assert (key["isResidentCredential"], key["rpId"]) == (True, "localhost")

    log_out(page)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(lambda address: "/login" not in address)

    assert page.goto("/account").status == 200
    expect(page.get_by_text("last used")).to_be_visible()
    passkey = db.session.query(Passkey).one()
    assert passkey.sign_count == phone.keys[0]["signCount"]
    db.session.rollback()


def test_a_finger_that_is_not_its_owners_does_not_log_in(owner, open_page):
    page = open_page(role=None)
    phone = Phone(page)
    log_in(page)
    page.goto("/account")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_role("link", name="I have them").click()
    log_out(page)

    phone.verify(False)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("No passkey was used.")).to_be_visible()
    assert "/login" in page.url
    phone.verify(True)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(lambda address: "/login" not in address)


def make_it_long_ago() -> None:
    """As if everybody had logged in yesterday."""
    db.session.query(UserSession).update({"confirmed_at": None})
    db.session.commit()


def test_a_grave_act_is_confirmed_with_a_passkey_and_its_form_is_not_lost(owner, open_page):
    page = open_page(role=None, viewport=DESK)
    page.expected_errors += ["403"]
    Phone(page)
    log_in(page)
    page.goto("/account")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_role("link", name="I have them").click()
    page.goto("/users")
    page.get_by_label("E-mail address").fill("fay@crack.example")
    page.locator('input[name="role"][value="field"]').check()
    make_it_long_ago()
    page.get_by_role("button", name="Add and get a link").click()

    expect(page.get_by_role("heading", name="Is it you?")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("button", name="Use your passkey").click()

    expect(page.get_by_text("Send this link to fay@crack.example")).to_be_visible()


@pytest.mark.parametrize(("viewport", "dark"), [(PHONE, True), (DESK, False)])
def test_an_authenticator_app_works_without_scripts(owner, open_page, viewport, dark):
    page = open_page(role=None, viewport=viewport, dark=dark, java_script_enabled=False)
    page.expected_errors += ["403"]
    log_in(page)
    page.goto("/account")
    make_it_long_ago()
    page.get_by_role("link", name="Set up an authenticator app").click()
    expect(page.get_by_role("heading", name="Is it you?")).to_be_visible()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    secret = page.locator(".qr__key").inner_text().replace(" ", "")
    expect(page.locator("svg.qr")).to_be_visible()
    codes = pyotp.TOTP(secret)
    page.get_by_label("The six digits").fill(codes.at(now()))
    page.get_by_role("button", name="Set it up").click()
    first = page.locator(".codes code").first.inner_text()
    page.get_by_role("link", name="I have them").click()
    log_out(page)

    log_in(page)
    assert "/login/factor" in page.url
    expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    page.get_by_label("Code of your authenticator app").fill(first)
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_text("9 codes left")).to_be_visible()
