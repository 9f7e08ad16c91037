"""Second factors: nobody comes in by the password alone, and whoever lost one has a way back."""

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pyotp
import pytest
from flask import Flask

from tests.conftest import BOTH
from tests.support.authenticator import PRESENT, Authenticator
from tests.support.crowds import run_all
from tests.support.pictures import picture
from tests.support.visitors import ANOTHER, OWNER, PASSWORD, Visitor, rows, trail, watched
from viewer import create_app
from viewer.extensions import db, now
from viewer.models import (
    Mail,
    MediaAttachment,
    Passkey,
    PasskeyChallenge,
    RecoveryCode,
    User,
    UserSession,
)
from viewer.office import accounts, second_factor, totp

OFFICE = "omar@crack.example"


def code_of(secret: str, *, later: int = 0) -> str:
    return pyotp.TOTP(secret).at(now() + later * timedelta(seconds=30))


@pytest.fixture
def secret(owner: User, clock: Any) -> str:
    """The owner has an authenticator app, and used it a minute ago."""
    found = totp.new_secret()
    second_factor.add_app(owner, found, code_of(found))
    db.session.commit()
    clock.shift(60)
    return found


def first_step(someone: Visitor, email: str = OWNER) -> Any:
    answer = someone.post("/login", email=email, password=PASSWORD, next="/status")
    assert (answer.status_code, answer.location) == (303, "/login/factor?next=/status")
    someone.get("/login/factor?next=/status")
    return answer


# -- the authenticator app -------------------------------------------------------------------------


def test_a_password_alone_does_not_log_in(secret, visitor):
    someone = visitor()
    first_step(someone)

    assert not someone.is_in
    assert rows(UserSession) == []
    wrong = someone.post("/login/factor", code="000000", next="/status")
    assert wrong.status_code == 401
    assert not someone.is_in
    answer = someone.post("/login/factor", code=code_of(secret), next="/status")
    assert (answer.status_code, answer.location) == (303, "/status")
    assert someone.is_in
    assert [e.words for e in trail("login")] == ["with an authenticator app"]
    assert [e.who for e in trail("login.failed")] == [OWNER]


def test_a_code_works_once(secret, visitor):
    code = code_of(secret)
    here, thief = visitor(), visitor()
    first_step(here)
    first_step(thief)

    assert here.post("/login/factor", code=code).status_code == 303
    assert thief.post("/login/factor", code=code).status_code == 401
    assert not thief.is_in


@BOTH
@pytest.mark.proof
def test_of_one_code_at_two_doors_at_once_one_is_let_in(secret, visitor):
    code, crowd = code_of(secret), [visitor(f"203.0.113.{n}") for n in range(6)]
    for someone in crowd:
        first_step(someone)
    start, answers = threading.Barrier(len(crowd)), []

    def use(someone: Visitor) -> None:
        start.wait()
        answers.append(someone.post("/login/factor", code=code).status_code)

    run_all([threading.Thread(target=use, args=(someone,)) for someone in crowd])

    assert sorted(answers) == [303] + [401] * 5


def test_guesses_at_a_code_have_to_wait(secret, visitor):
    thief, owner_ = visitor("203.0.113.66"), visitor()
    first_step(owner_)
    owner_.post("/login/factor", code=code_of(secret))
    owner_.get("/account")
    owner_.post("/logout")
    first_step(thief)

    answers = [thief.post("/login/factor", code=f"{n:06}").status_code for n in range(12)]

    assert answers == [401] * 10 + [429] * 2
    assert thief.post("/login/factor", code=code_of(secret, later=1)).status_code == 429
    owner_.token = ""
    first_step(owner_)  # the device is known: the thief's guesses are not its own
    assert owner_.post("/login/factor", code=code_of(secret, later=1)).status_code == 303


def test_the_first_step_holds_for_ten_minutes_and_for_that_password(secret, visitor, clock):
    late, changed = visitor(), visitor()
    first_step(late)
    clock.shift(601)
    answer = late.post("/login/factor", code=code_of(secret))
    assert (answer.status_code, answer.location) == (303, "/login")
    first_step(changed)
    accounts.set_password(accounts.find_user(OWNER), accounts.hash_password(ANOTHER))
    db.session.commit()

    assert changed.post("/login/factor", code=code_of(secret)).location == "/login"
    assert visitor().get("/login/factor").location == "/login"
    assert rows(UserSession) == []


@pytest.mark.on_sqlite("compares statements, which on PostgreSQL include its locks")
def test_who_has_no_second_factor_logs_in_with_as_many_questions_as_before(owner, visitor):
    someone, statements = visitor(), []
    someone.get("/login")

    with watched(statements):
        someone.post("/login", email=OWNER, password=PASSWORD)

    assert statements == [
        "SELECT users", "SELECT throttles", "INSERT throttles", "DELETE throttles",
        "SELECT throttles", "SELECT users", "SELECT throttles", "DELETE throttles",
        "DELETE user_sessions", "INSERT audit_entries", "INSERT user_sessions",
    ]  # fmt: skip


@pytest.fixture
def inside(owner: User, visitor: Callable[..., Visitor], clock: Any) -> Visitor:
    someone = visitor()
    someone.log_in()
    return someone


def set_up_app(someone: Visitor) -> tuple[str, Any]:
    page = someone.get("/account/authenticator").text
    [shown] = re.findall(r'qr__key">([A-Z2-7 ]+)<', page)
    [key] = re.findall(r'name="key" value="([^"]+)"', page)
    secret = shown.replace(" ", "")
    assert secret not in key
    return secret, someone.post("/account/authenticator", key=key, code=code_of(secret))


def codes_in(answer: Any) -> list[str]:
    return re.findall(r"<li><code>([A-Z2-7-]{29})</code>", answer.text)


def test_an_app_is_set_up_once_it_shows_the_right_code(inside, visitor, clock):
    page = inside.get("/account/authenticator")
    [key] = re.findall(r'name="key" value="([^"]+)"', page.text)
    assert page.headers["Cache-Control"] == "no-store"
    assert "<svg" in page.text
    assert inside.post("/account/authenticator", key=key, code="000000").status_code == 400
    assert not rows(User)[0].has_second_factor

    secret, answer = set_up_app(inside)

    assert answer.headers["Cache-Control"] == "no-store"
    assert len(set(codes_in(answer))) == 10
    stored = str([vars(row) for row in rows(User) + rows(RecoveryCode)])
    assert secret not in stored
    assert not any(code.replace("-", "") in stored for code in codes_in(answer))
    assert [e.words for e in trail("factor.add")] == ["an authenticator app"]
    clock.shift(60)
    other = visitor()
    first_step(other)
    assert other.post("/login/factor", code=code_of(secret)).status_code == 303


def test_a_key_of_somebody_else_is_not_taken(inside, office, visitor):
    omar = visitor()
    omar.log_in(OFFICE)
    secret = totp.new_secret()
    key = totp.seal(secret, rows(User, email=OWNER)[0].id)

    answer = omar.post("/account/authenticator", key=key, code=code_of(secret))

    assert answer.status_code == 303
    assert not rows(User, email=OFFICE)[0].has_second_factor


# -- recovery codes --------------------------------------------------------------------------------


def test_a_recovery_code_logs_in_once_and_is_in_the_audit_log(inside, visitor):
    _, answer = set_up_app(inside)
    code = codes_in(answer)[3]
    here, again = visitor(), visitor()
    first_step(here)

    typed = f" {code.lower().replace('-', ' ')} "
    assert here.post("/login/factor", code=typed).status_code == 303
    assert "9 codes left" in here.get("/").text
    first_step(again)
    assert again.post("/login/factor", code=code).status_code == 401
    assert [(e.who, e.words) for e in trail("factor.recovery")] == [(OWNER, "9 left")]


def test_new_recovery_codes_void_the_old_ones(inside, visitor):
    _, first = set_up_app(inside)
    second = inside.post("/account/recovery-codes")
    other = visitor()
    first_step(other)

    assert other.post("/login/factor", code=codes_in(first)[0]).status_code == 401
    assert other.post("/login/factor", code=codes_in(second)[0]).status_code == 303


def test_a_lost_factor_is_reset_by_an_owner(secret, office, visitor, clock):
    lost = totp.new_secret()
    omar = accounts.find_user(OFFICE)
    second_factor.add_app(omar, lost, code_of(lost))
    db.session.commit()
    somewhere, boss = visitor(), visitor()
    clock.shift(60)
    first_step(somewhere, OFFICE)
    somewhere.post("/login/factor", code=code_of(lost))
    assert somewhere.is_in
    first_step(boss)
    boss.post("/login/factor", code=code_of(secret))
    assert boss.get("/users").text.count("has a second factor") == 2
    assert "Reset the second factor" in boss.get(f"/users/{omar.id}").text

    boss.post(f"/users/{omar.id}/factor-reset")

    assert not somewhere.is_in
    assert rows(RecoveryCode, user_id=omar.id) == []
    assert [(e.who, e.words) for e in trail("factor.reset")] == [(OWNER, OFFICE)]
    back = visitor()
    answer = back.post("/login", email=OFFICE, password=PASSWORD)
    assert answer.location == "/account#factors"
    assert "Your second factor was reset" in back.get("/account").text
    back.post("/logout")
    back.token = ""
    assert back.log_in(OFFICE).location == "/"  # told once


def test_a_link_for_a_new_password_does_not_replace_the_second_factor(secret, visitor):
    link = f"/invitations/{accounts.invite(accounts.find_user(OWNER))}"
    db.session.commit()
    thief = visitor()
    thief.get(link)

    answer = thief.post(link, new_password=ANOTHER, repeated=ANOTHER)

    assert answer.location == "/login/factor?next=/"
    assert not thief.is_in


def test_an_app_whose_key_cannot_be_read_any_more_has_a_way_back(inside, settings):
    secret, answer = set_up_app(inside)
    other = Visitor(
        create_app(settings | {"SECRET_KEY": "one-more-for-tests-0123456789abcdef"}).test_client()
    )
    first_step(other)

    assert other.post("/login/factor", code=code_of(secret, later=1)).status_code == 401
    assert other.post("/login/factor", code=codes_in(answer)[0]).status_code == 303
    assert "cannot be read since" in unescape(other.get("/account").text)


# -- passkeys --------------------------------------------------------------------------------------


def add_passkey(someone: Visitor, device: Authenticator, name: str = "Phone") -> Any:
    options = json.loads(someone.post("/account/passkeys/options").text)
    return someone.post("/account/passkeys", credential=device.create(options), name=name)


def challenge(someone: Visitor) -> dict[str, Any]:
    if not someone.token:
        someone.get("/login")
    return json.loads(someone.post("/login/passkey/options").text)


def use_passkey(someone: Visitor, device: Authenticator) -> Any:
    return someone.post("/login/passkey", credential=device.get(challenge(someone)), next="/status")


def test_a_passkey_logs_in_without_password_and_name(inside, visitor):
    device = Authenticator()
    assert len(codes_in(add_passkey(inside, device))) == 10
    other = visitor()

    answer = use_passkey(other, device)

    assert (answer.status_code, answer.location) == (303, "/status")
    assert other.is_in
    assert [e.words for e in trail("login")][-1] == "with the passkey Phone"
    assert rows(PasskeyChallenge) == []
    first_step(visitor())  # and the password alone does not log in any more


def test_who_looks_at_an_answer_cannot_use_it_again(inside, visitor):
    device = Authenticator()
    add_passkey(inside, device)
    here, thief = visitor(), visitor()
    answer = device.get(challenge(here))
    thief.get("/login")

    assert here.post("/login/passkey", credential=answer).status_code == 303
    assert thief.post("/login/passkey", credential=answer).status_code == 401
    assert not thief.is_in


FORGERIES: dict[str, Callable[[Authenticator], Any]] = {
    "of another site": lambda device: setattr(device, "origin", "https://localhost.evil.example"),
    "for another host": lambda device: setattr(device, "host", "evil.example"),
    "without verifying its user": lambda device: setattr(device, "flags", PRESENT),
    "of another key": lambda device: setattr(device, "key", Authenticator().key),
    "of an unknown passkey": lambda device: setattr(device, "credential_id", b"x" * 32),
    "of a copy": lambda device: setattr(device, "count", 3),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_answer_does_not_log_in(forge, inside, visitor):
    device = Authenticator(count=5)
    add_passkey(inside, device)
    assert use_passkey(visitor(), device).status_code == 303
    thief = visitor()
    forge(device)

    assert use_passkey(thief, device).status_code == 401
    assert not thief.is_in


def test_a_challenge_is_over_after_five_minutes(inside, visitor, clock):
    device = Authenticator()
    add_passkey(inside, device)
    late = visitor()
    options = challenge(late)
    clock.shift(301)

    assert late.post("/login/passkey", credential=device.get(options)).status_code == 401


@pytest.mark.parametrize(
    "answer", ["", "x", "[]", "{}", '{"id": 1}', "[" * 10_000, "\0", "é", "x" * 20_000]
)
def test_what_is_no_answer_of_a_passkey_is_refused(answer, inside, visitor):
    someone = visitor()
    someone.get("/login")

    assert someone.post("/login/passkey", credential=answer).status_code == 401
    assert inside.post("/account/passkeys", credential=answer).status_code == 303
    assert rows(Passkey) == []


def test_a_disabled_users_passkey_opens_nothing(inside, office, visitor):
    omar, device = visitor(), Authenticator()
    omar.log_in(OFFICE)
    add_passkey(omar, device)
    accounts.disable(accounts.find_user(OFFICE))
    db.session.commit()

    assert use_passkey(visitor(), device).status_code == 401


def test_a_host_that_somebody_claims_gets_no_passkeys(owner, visitor):
    someone = visitor(base="http://viewer.evil.example")
    someone.get("/login")

    assert someone.post("/login/passkey/options").status_code == 404


def test_strangers_fill_no_table_with_challenges(owner, visitor, monkeypatch):
    monkeypatch.setattr("viewer.office.passkeys.MOST_CHALLENGES", 5)
    someone = visitor()
    for _ in range(12):
        challenge(someone)

    assert len(rows(PasskeyChallenge)) == 5
    answers = [someone.post("/login/passkey/options").status_code for _ in range(60)]
    assert 429 in answers


def test_passkeys_are_removed_and_with_the_last_factor_the_codes(inside, office, visitor):
    device, stranger = Authenticator(), visitor()
    add_passkey(inside, device)
    set_up_app(inside)
    [passkey] = rows(Passkey)
    stranger.log_in(OFFICE)

    stranger.post(f"/account/passkeys/{passkey.id}/removal")
    assert len(rows(Passkey)) == 1  # it is not theirs
    inside.post(f"/account/passkeys/{passkey.id}/removal")
    assert use_passkey(visitor(), device).status_code == 401
    assert rows(User, email=OWNER)[0].has_second_factor
    inside.post("/account/authenticator/removal")

    assert not rows(User, email=OWNER)[0].has_second_factor
    assert rows(RecoveryCode) == []
    assert [e.words for e in trail("factor.remove")] == [
        "the passkey Phone", "an authenticator app",
    ]  # fmt: skip


# -- demanded --------------------------------------------------------------------------------------


@pytest.fixture
def demanded(settings: dict[str, Any]) -> None:
    settings["SECOND_FACTOR"] = "office"


def test_where_it_is_demanded_nothing_else_can_be_done_before(demanded, inside, app: Flask):
    assert inside.get("/").location == "/account#factors"
    assert inside.get("/status").location == "/account#factors"
    assert inside.post("/read").status_code == 403
    assert inside.post("/account/tokens", name="x", scope="read").status_code == 403
    assert "Your role needs a second factor" in inside.get("/account").text

    set_up_app(inside)

    assert inside.get("/").status_code == 200
    answer = inside.post("/account/authenticator/removal")
    assert answer.location == "/account#factors"
    assert "add another one first" in inside.get("/account").text
    assert rows(User)[0].has_second_factor


def test_it_is_demanded_of_whom_the_setting_names(demanded, visitor, hashed, office):
    accounts.add("fay@crack.example", User.Role.FIELD, "Fay", hashed)
    db.session.commit()
    fay, omar = visitor(), visitor()
    fay.log_in("fay@crack.example")
    omar.log_in(OFFICE)

    assert fay.get("/").status_code == 200
    assert omar.get("/").status_code == 302


# -- new devices -----------------------------------------------------------------------------------


def test_a_login_on_a_new_device_is_shown_on_the_others(owner, visitor, clock):
    here = visitor()
    here.log_in()
    here.post("/logout")
    here.token = ""
    here.log_in()
    assert "If that was not you" not in here.get("/account").text
    clock.shift(1)
    thief = visitor(agent="Mozilla/5.0 (X11; Linux) Firefox/150.0")
    thief.log_in()

    page = here.get("/account").text
    assert "New: Firefox on Linux" in page
    assert "If that was not you" not in thief.get("/account").text
    thief.post("/account/devices/known")  # it cannot say so of itself
    assert "New: Firefox on Linux" in here.get("/account").text
    here.post("/account/devices/known")
    assert "If that was not you" not in here.get("/account").text


def test_the_first_device_is_told_of_the_second(owner, visitor, clock):
    first, second = visitor(), visitor()
    first.log_in()
    clock.shift(1)
    second.log_in()

    assert "If that was not you" in first.get("/account").text
    second.post("/account/devices/known")
    assert "If that was not you" in first.get("/account").text


def test_a_login_on_a_new_device_is_told_by_mail_and_one_on_a_known_device_is_not(
    settings, request
):
    settings["SMTP_URL"] = "smtp://127.0.0.1:9"  # nobody is there: no login waits for it
    request.getfixturevalue("owner")
    someone = request.getfixturevalue("visitor")()
    someone.log_in()
    someone.post("/logout")
    someone.token = ""
    someone.log_in()

    [mail] = rows(Mail)
    assert mail.recipient == OWNER
    assert "Chrome on Android, which is new" in mail.body


def test_where_a_factor_is_demanded_no_file_is_served_before(
    demanded, inside, deliver, work, message, provider
):
    """Also not by the short way past Flask."""
    deliver(message(media=[provider.serve(picture(60, 40), content_type="image/jpeg")]).payload())
    work()
    [photo] = rows(MediaAttachment)

    for path in (f"/media/{photo.id}", f"/media/{photo.id}/thumbnail"):
        assert inside.fetch(path).location == "/account#factors"
    set_up_app(inside)
    assert inside.fetch(f"/media/{photo.id}/thumbnail").status_code == 200


def test_the_clock_of_a_session_is_not_moved_by_a_second_step(secret, visitor, clock):
    someone = visitor()
    first_step(someone)
    someone.post("/login/factor", code=code_of(secret))
    [row] = rows(UserSession)

    assert row.confirmed_at == now()
    assert now() - row.created_at < timedelta(seconds=1)
