"""Grave acts ask again who it is, and lose nothing of what was sent."""

import json
import re
from html import unescape
from typing import Any

import pyotp
import pytest
from flask import Flask

from tests.support.authenticator import Authenticator
from tests.support.pictures import picture
from tests.support.visitors import OWNER, PASSWORD, Visitor, rows, trail
from viewer.extensions import db, now
from viewer.models import ApiToken, MediaAttachment, User
from viewer.office import accounts, second_factor, totp
from viewer.web import access

# What asks again. A route that somebody adds and marks is to be added here.
GRAVE = {
    "accounts.account.add_token",
    "accounts.factors.add_app",
    "accounts.factors.add_passkey",
    "accounts.factors.app",
    "accounts.factors.new_codes",
    "accounts.factors.passkey_options",
    "accounts.factors.remove_app",
    "accounts.factors.remove_passkey",
    "accounts.users.add",
    "accounts.users.change",
    "accounts.users.disable",
    "accounts.users.enable",
    "accounts.users.invite",
    "accounts.users.reset_factor",
    "conversations.held.archive",
    "conversations.held.forget",
    "media.trash.purge",
}


@pytest.fixture
def boss(owner: User, visitor: Any, clock: Any) -> Visitor:
    """The owner's browser, in which they logged in eleven minutes ago."""
    someone = visitor()
    someone.log_in()
    clock.shift(660)
    return someone


def fields_in(answer: Any) -> dict[str, list[str]]:
    """What the form with the password sends again, but for the form's token."""
    [form] = [one for one in answer.text.split("<form")[1:] if "confirm_password" in one]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form):
        if name != "csrf_token":
            found.setdefault(unescape(name), []).append(unescape(value))
    return found


def test_what_is_grave_is_what_was_agreed_on(app: Flask):
    with app.app_context():
        found = {name for name in app.view_functions if access.needs_recent_login(name)}

    assert found == GRAVE


def test_no_grave_act_is_done_by_a_browser_left_open(boss, app: Flask):
    """Each of them, with the right form token: the question, and nothing is changed."""
    before = [vars(row)["password_hash"] for row in rows(User)], len(trail("user.invite"))
    user_id = rows(User)[0].id
    seen = set()
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in GRAVE:
            continue
        path = re.sub(r"<[^>]+>", str(user_id), rule.rule)
        if "POST" in (rule.methods or ()):
            answer = boss.post(path, sure="1")
            assert answer.status_code == 403, path
            assert "Is it you?" in answer.text
            assert fields_in(answer) == {"sure": ["1"]}
        else:
            assert boss.get(path).location.startswith("/confirm?next=/account/")
        seen.add(rule.endpoint)

    assert seen == GRAVE
    assert (
        [vars(row)["password_hash"] for row in rows(User)], len(trail("user.invite"))
    ) == before  # fmt: skip
    assert len(rows(User)) == 1


def test_a_form_comes_back_whole_and_is_done_with_the_password(boss):
    name = 'Fay "<b>&amp;" F.'
    question = boss.post("/users", email="fay@crack.example", role="field", name=name)
    form = fields_in(question)
    assert question.status_code == 403
    assert form == {"email": ["fay@crack.example"], "role": ["field"], "name": [name]}
    assert rows(User, email="fay@crack.example") == []

    wrong = boss.post("/users", confirm_password="guess", **form)
    assert (wrong.status_code, fields_in(wrong)) == (403, form)
    assert "not your password" in wrong.text
    assert rows(User, email="fay@crack.example") == []
    done = boss.post("/users", confirm_password=PASSWORD, **form)

    assert done.status_code == 200
    assert "/invitations/" in done.text
    assert rows(User, email="fay@crack.example")[0].name == accounts.tidy_name(name)
    assert [(e.who, e.words) for e in trail("confirm")] == [(OWNER, "password")]


def test_several_values_of_a_field_come_back(boss):
    form = fields_in(boss.post("/account/tokens", name="CRM", scope=["read", "link"]))

    boss.post("/account/tokens", confirm_password=PASSWORD, **form)

    assert rows(ApiToken)[0].scopes == ["read", "link"]


def test_one_is_asked_again_after_ten_minutes_and_on_each_device(boss, visitor, clock):
    other = visitor()
    other.log_in()
    clock.shift(660)
    boss.post("/users", email="a@crack.example", role="field", confirm_password=PASSWORD)

    assert other.post("/users", email="b@crack.example", role="field").status_code == 403
    clock.shift(599)
    assert boss.post("/users", email="b@crack.example", role="field").status_code == 200
    clock.shift(1)
    assert boss.post("/users", email="c@crack.example", role="field").status_code == 403


def test_guessing_has_to_wait_and_others_passwords_do_not_count(boss, office, visitor):
    answers = [
        boss.post("/users", email="a@crack.example", role="field", confirm_password=f"guess {n}")
        for n in range(12)
    ]

    assert {answer.status_code for answer in answers} == {403}
    assert "Wait a minute" in answers[-1].text
    late = boss.post("/users", email="a@crack.example", role="field", confirm_password=PASSWORD)
    assert late.status_code == 403
    assert rows(User, email="a@crack.example") == []


def test_without_its_form_token_nothing_is_even_compared(boss, app):
    boss.token = "x"

    answer = boss.post("/users", email="a@crack.example", confirm_password=PASSWORD)

    assert answer.status_code == 400
    assert trail("confirm") == []


def test_a_page_follows_the_question(boss):
    asked = boss.get("/account/authenticator").location
    assert asked == "/confirm?next=/account/authenticator"
    assert "Is it you?" in boss.get(asked).text
    wrong = boss.post("/confirm", next="/account/authenticator", confirm_password="guess")
    assert (wrong.status_code, fields_in(wrong)) == (403, {"next": ["/account/authenticator"]})
    answer = boss.post("/confirm", next="/account/authenticator", confirm_password=PASSWORD)

    assert answer.location == "/account/authenticator"
    assert boss.get("/account/authenticator").status_code == 200
    away = boss.post("/confirm", next="//evil.example", confirm_password=PASSWORD)
    assert away.location == "/"


def test_a_code_and_a_passkey_will_do_too(boss, clock):
    secret, device = totp.new_secret(), Authenticator()
    boss.post("/confirm", confirm_password=PASSWORD)
    options = json.loads(boss.post("/account/passkeys/options").text)
    boss.post("/account/passkeys", credential=device.create(options))
    second_factor.add_app(accounts.find_user(OWNER), secret, pyotp.TOTP(secret).at(now()))
    db.session.commit()

    def add(email: str, **proof: str) -> int:
        return int(boss.post("/users", email=email, role="field", **proof).status_code)

    clock.shift(660)
    code = pyotp.TOTP(secret).at(now())
    assert add("a@crack.example", confirm_code=code) == 200
    clock.shift(660)
    assert add("b@crack.example", confirm_code=code) == 403
    answer = device.get(json.loads(boss.post("/confirm/passkey/options").text))
    assert add("c@crack.example", confirm_passkey=answer) == 200
    clock.shift(660)
    assert add("d@crack.example", confirm_passkey=answer) == 403
    assert [e.words for e in trail("confirm")] == ["password", "code", "passkey"]


def test_a_link_to_everything_of_a_customer_asks_again(boss, monkeypatch, conversation_files):
    monkeypatch.setattr("viewer.web.sharing.manage.MANY", 1)
    one, two = conversation_files
    form = {"title": "Photos", "lasts": "30", "passphrase": ""}

    assert boss.post("/shares", media=[one], **form).status_code == 303
    question = boss.post("/shares", media=[one, two], **form)
    assert question.status_code == 403
    again = fields_in(question)
    assert again["media"] == [one, two]
    assert boss.post("/shares", confirm_password=PASSWORD, **again).status_code == 303


@pytest.fixture
def conversation_files(deliver: Any, work: Any, message: Any, provider: Any) -> list[str]:
    """The ids of two stored photos."""
    urls = [provider.serve(picture(60 + n, 40), content_type="image/jpeg") for n in range(2)]
    deliver(message(media=urls).payload())
    work()
    return [str(row.id) for row in rows(MediaAttachment)]
