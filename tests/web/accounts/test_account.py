"""Accounts: who comes in, for how long, and that nobody guesses their way in."""

import contextvars
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import argon2
import pytest
import redis
from flask import Flask

from tests.conftest import BOTH
from tests.support.crowds import run_all
from tests.support.visitors import (
    ANOTHER,
    OWNER,
    PASSWORD,
    START,
    Visitor,
    rows,
    trail,
    watched,
)
from viewer import create_app
from viewer.extensions import db
from viewer.models import ApiToken, AuditEntry, Invitation, Throttle, User, UserSession
from viewer.office import accounts

ANOTHER_KEY = "one-more-for-tests-0123456789abcdef"
IN_PRODUCTION = {
    "VIEWER_ENV": "production", "MEDIA_ALLOW_LOOPBACK": False,
    "PUBLIC_URL": "https://viewer.example",
}  # fmt: skip
WRONG = "do not belong together"


@pytest.fixture
def crew(app: Flask, hashed: str) -> list[str]:
    """Many names; comparing with a name that nobody has takes a tenth of a second each time."""
    names = [f"user{number}@crack.example" for number in range(40)]
    for name in names:
        accounts.add(name, User.Role.FIELD, password_hash=hashed)
    db.session.commit()
    return names


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One item for each password that was really compared: whether a transaction was open."""
    seen: list[bool] = []
    real = argon2.PasswordHasher.verify

    def verify(self: Any, *words: Any) -> Any:
        seen.append(db.session().in_transaction())
        return real(self, *words)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    return seen


# -- the door --------------------------------------------------------------------------------------


def test_the_right_password_opens_the_door_and_leads_where_one_wanted_to_go(owner, visitor):
    someone = visitor()
    asked = someone.get("/status?a=1")

    answer = someone.log_in(" Olivia@Crack.EXAMPLE ", next="/status?a=1")

    assert asked.location == "/login?next=/status?a%3D1"
    assert (answer.status_code, answer.location) == (303, "/status?a=1")
    assert someone.get("/status").status_code == 200
    assert [(e.who, e.address) for e in trail("login")] == [(OWNER, "203.0.113.1")]


@pytest.mark.on_sqlite("compares statements, which on PostgreSQL include its locks")
def test_an_unknown_name_is_answered_exactly_as_a_wrong_password(owner, office, visitor, checked):
    accounts.disable(office)
    accounts.add("new@crack.example", User.Role.FIELD)  # has chosen no password yet
    db.session.commit()

    def try_as(number: int, email: str) -> tuple[int, str, list[str], int]:
        someone, statements = visitor(f"203.0.113.{number}"), []
        someone.get("/login")
        with watched(statements):
            answer = someone.log_in(email, "something else")
        text = re.sub(r'value="[^"]{40,}"', "", answer.text).replace(email, "…")
        return answer.status_code, text, statements, len(checked)

    known, unknown, disabled, invited = (
        try_as(number, email)
        for number, email in enumerate(
            (OWNER, "nobody@crack.example", "omar@crack.example", "new@crack.example")
        )
    )

    assert known[0] == 401
    assert WRONG in known[1]
    assert known[:3] == unknown[:3] == disabled[:3] == invited[:3]
    assert [one[3] for one in (known, unknown, disabled, invited)] == [1, 2, 3, 4]


def test_nobody_waits_for_the_database_while_a_password_is_compared(owner, visitor, checked):
    someone = visitor()
    someone.log_in(password="something else")
    someone.log_in()
    someone.post("/account/password", password=PASSWORD, new_password=ANOTHER, repeated=ANOTHER)

    assert checked == [False, False, False]


@pytest.mark.proof
@pytest.mark.parametrize(
    "words", ["", "\0", "a\0b@c", "é" * 4_000, "x" * 20_000, "' OR 1=1 --", "{{7*7}}"]
)
@BOTH
def test_nothing_that_is_typed_breaks_the_door(words, owner, visitor):
    answer = visitor().log_in(words, words)

    assert answer.status_code == 401
    assert WRONG in answer.text


def test_what_was_typed_is_still_there_after_a_wrong_password(owner, visitor):
    answer = visitor().log_in("olivia@crack.exampel", PASSWORD, next="/status")

    assert 'value="olivia@crack.exampel"' in answer.text
    assert 'name="next" value="/status"' in answer.text
    assert PASSWORD not in answer.text


def test_whoever_is_in_already_is_not_asked_again(owner, visitor):
    someone = visitor()
    someone.log_in()

    assert someone.get("/login?next=/status").location == "/status"
    assert someone.get("/login?next=//evil.example").location == "/"


# -- guessing --------------------------------------------------------------------------------------


@pytest.fixture
def behind_a_proxy(settings: dict[str, Any]) -> None:
    settings["PROXY_HOPS"] = 1


@pytest.mark.proof
def test_a_thousand_guesses_from_fifty_addresses_get_nowhere(
    behind_a_proxy, owner, visitor, checked
):
    """And the owner comes in all the while, on a device that was here before."""
    at_home = visitor(forwarded="198.51.100.7")
    at_home.log_in()
    at_home.post("/logout")
    checked.clear()
    crowd = [visitor(forwarded=f"203.0.113.{number}") for number in range(50)]

    answers = [
        someone.log_in(password=f"guess number {number} {turn}").status_code
        for turn in range(20)
        for number, someone in enumerate(crowd)
    ]

    assert len(answers) == 1_000
    assert set(answers) == {401, 429}
    assert answers.count(401) == len(checked) == 10
    assert crowd[0].log_in(password=PASSWORD).status_code == 429  # even the right one
    at_home.token = ""
    assert at_home.log_in().status_code == 303


@pytest.mark.proof
def test_a_thousand_guesses_at_many_names_from_one_address_get_nowhere(
    owner, crew, visitor, checked
):
    someone = visitor()

    answers = [
        someone.log_in(name, f"guess {turn}").status_code for turn in range(25) for name in crew
    ]

    assert answers.count(401) == len(checked) == 30
    assert someone.log_in(password=PASSWORD).status_code == 429
    assert visitor("203.0.113.2").log_in().status_code == 303


@pytest.mark.proof
@BOTH
def test_guesses_sent_at_one_moment_get_no_further_than_guesses_in_turn(app, owner, checked):
    owner.password_hash = accounts.hash_password(PASSWORD)  # so that comparing takes its time
    db.session.commit()
    crowd = [Visitor(app.test_client(), f"203.0.113.{number}") for number in range(30)]
    for someone in crowd:
        someone.get("/login")
    start, answers = threading.Barrier(len(crowd)), []

    def guess(someone: Visitor) -> None:
        start.wait()
        answers.append(someone.log_in(password="guess").status_code)

    threads = [threading.Thread(target=guess, args=(someone,)) for someone in crowd]
    run_all(threads)

    assert len(answers) == len(crowd)
    assert len(checked) == answers.count(401) == 10


def test_the_wait_grows_to_an_hour_and_ends(owner, visitor, checked, clock):
    someone, waits = visitor(), []
    for _ in range(10):
        assert someone.log_in(password="guess").status_code == 401
    for _ in range(9):
        refused = someone.log_in(password="guess")
        assert refused.status_code == 429
        waits.append(int(refused.headers["Retry-After"]))
        clock.shift(timedelta(seconds=waits[-1]))
        assert someone.log_in(password="guess").status_code == 401

    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert "Wait 60 minutes" in someone.log_in().text
    clock.shift(timedelta(hours=1))
    assert someone.log_in().status_code == 303  # a stranger's device, but the right password


def test_trying_during_the_wait_makes_it_no_longer(owner, visitor, clock):
    someone = visitor()
    for _ in range(40):
        someone.log_in(password="guess")
    clock.shift(timedelta(minutes=1))

    assert someone.log_in().status_code == 303


def test_a_day_of_guessing_is_some_forty_guesses(owner, visitor, checked, clock):
    someone = visitor()
    for _ in range(24 * 3):
        for _ in range(2):
            someone.log_in(password="guess")
        clock.shift(timedelta(minutes=20))

    assert len(checked) < 50


def test_a_known_device_has_an_allowance_of_its_own_and_no_more(owner, visitor, checked):
    someone = visitor()
    someone.log_in()
    someone.post("/logout")
    someone.token = ""
    checked.clear()

    answers = [someone.log_in(password="guess").status_code for _ in range(12)]

    assert answers == [401] * 10 + [429] * 2
    assert len(checked) == 10
    assert visitor().log_in().status_code == 303  # it used up nobody else's


def test_the_right_password_gives_back_what_was_mistyped(owner, visitor):
    someone = visitor()
    for _ in range(4):
        for _ in range(9):
            someone.log_in(password="mistyped")
        assert someone.log_in().status_code == 303
        someone.post("/logout")
        someone.token = ""

    assert {row.key.partition(":")[0]: row.failures for row in rows(Throttle)} == {"address": 9}


@pytest.mark.parametrize("how", ["another user's", "forged", "of another key", "junk"])
def test_a_device_is_known_only_to_whom_logged_in_on_it(how, owner, office, visitor, app, settings):
    insider = visitor()
    insider.log_in("omar@crack.example")
    insider.post("/logout")
    cookie = insider.client.get_cookie("viewer-device").value
    if how == "forged":
        cookie = f"WyJ4Il0{cookie[7:]}"
    elif how == "of another key":
        stranger = Visitor(create_app(settings | {"SECRET_KEY": ANOTHER_KEY}).test_client())
        stranger.log_in()
        cookie = stranger.client.get_cookie("viewer-device").value
    elif how == "junk":
        cookie = "é.." * 400
    crowd = [visitor(f"203.0.113.{number}") for number in range(12)]
    for someone in crowd:
        someone.client.set_cookie("viewer-device", cookie)

    answers = [someone.log_in(password="guess").status_code for someone in crowd]

    assert answers == [401] * 10 + [429] * 2


def test_an_address_is_the_true_one_whatever_the_request_claims(crew, visitor, checked):
    """Without a proxy in front its header is anybody's words."""
    for number, name in enumerate(crew):
        visitor(forwarded=f"203.0.113.{number}").log_in(name, "guess")

    assert len(checked) == 30


def test_only_the_last_hop_is_believed(behind_a_proxy, crew, visitor, checked):
    for number, name in enumerate(crew):
        visitor(forwarded=f"198.51.100.{number}, 203.0.113.9").log_in(name, "guess")

    assert len(checked) == 30


def test_an_ipv6_customer_has_one_address_not_2_to_the_64(crew, visitor, checked):
    for number, name in enumerate(crew):
        visitor(f"2001:db8:1:2::{number + 1:x}").log_in(name, "guess")
    neighbour = visitor("2001:db8:1:3::1").log_in(crew[-1], "guess")
    mapped = [
        visitor(address).log_in(crew[-1], "guess")
        for address in ("::ffff:203.0.113.5", "203.0.113.5", "fe80::1%eth0", "", "unix:")
    ]

    assert (len(checked), neighbour.status_code) == (36, 401)
    assert [answer.status_code for answer in mapped] == [401] * 5
    keys = {row.key for row in rows(Throttle) if row.key.startswith("address:")}
    assert keys == {
        "address:2001:db8:1:2::/64", "address:2001:db8:1:3::/64", "address:203.0.113.5",
        "address:fe80::/64", "address:unknown",
    }  # fmt: skip


def test_guessing_is_stopped_without_redis_too(settings, owner_in, checked):
    settings["REDIS_URL"] = "redis://127.0.0.1:1"
    app = create_app(settings)
    owner_in(app)
    with pytest.raises(redis.ConnectionError):
        redis.from_url(settings["REDIS_URL"]).ping()

    someone = Visitor(app.test_client())
    answers = [someone.log_in(password="guess").status_code for _ in range(12)]

    assert answers == [401] * 10 + [429] * 2


@pytest.fixture
def owner_in(hashed: str) -> Iterator[Callable[[Flask], None]]:
    """The owner, in another application with the same settings."""
    used: list[Flask] = []

    def add(app: Flask) -> None:
        used.append(app)
        with app.app_context():
            accounts.add(OWNER, User.Role.OWNER, "Olivia", hashed)
            db.session.commit()

    yield add
    for app in used:
        with app.app_context():
            db.engine.dispose()


@pytest.mark.proof
def test_a_flood_of_guesses_is_a_few_lines_in_the_trail(owner, visitor, clock):
    for number in range(20):
        someone = visitor(f"203.0.113.{number}")
        someone.log_in(password="guess")
        someone.log_in(f"secret-in-the-wrong-field-{number}@crack.example", "guess")

    lines = trail("login.failed")
    assert [(e.who, e.times, e.words) for e in lines] == [
        (OWNER, 10, "Further tries had to wait."),
        ("nobody we know", 20, ""),
    ]
    assert lines[0].address == "203.0.113.9"
    clock.shift(timedelta(hours=1))
    visitor("203.0.113.200").log_in(password="guess")
    assert [e.times for e in trail("login.failed")] == [10, 20, 1]
    assert trail("access.refused") == []  # a login is no refusal of a page


def test_a_password_that_is_changed_while_it_is_compared_opens_nothing(owner, visitor, monkeypatch):
    """A login under way must not outlive the change."""
    real = argon2.PasswordHasher.verify

    def verify(self: Any, *words: Any) -> Any:
        result = real(self, *words)
        accounts.set_password(accounts.find_user(OWNER), "another hash")
        db.session.commit()
        return result

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)

    assert visitor().log_in().status_code == 401
    assert len(rows(UserSession)) == 0


# -- sessions --------------------------------------------------------------------------------------


def test_a_cookie_kept_from_before_the_logout_is_worth_nothing(owner, visitor, app):
    someone, thief = visitor(), visitor()
    someone.log_in()
    thief.client.set_cookie("viewer", someone.client.get_cookie("viewer").value)
    assert thief.is_in

    answer = someone.post("/logout")

    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert not someone.is_in
    assert not thief.is_in
    assert someone.client.get_cookie("viewer-device")  # still known


def test_logging_in_again_ends_the_login_before(owner, office, visitor):
    someone, thief = visitor(), visitor()
    someone.log_in()
    thief.client.set_cookie("viewer", someone.client.get_cookie("viewer").value)

    someone.log_in("omar@crack.example")

    assert not thief.is_in
    assert "Omar" in someone.get("/account").text


def test_a_session_that_was_planted_is_not_the_one_that_is_logged_in(owner, visitor):
    attacker, victim = visitor(), visitor()
    attacker.get("/login")
    planted = attacker.client.get_cookie("viewer").value
    victim.client.set_cookie("viewer", planted)

    victim.get("/login")
    victim.log_in()

    assert victim.is_in
    assert not attacker.is_in
    assert victim.client.get_cookie("viewer").value != planted


@pytest.mark.parametrize(
    ("idle", "days", "away", "is_in"),
    [(2, 90, 119, True), (2, 90, 121, False), (48, 1, 60 * 24 - 1, True), (48, 1, 60 * 25, False)],
)
def test_a_device_is_logged_out_after_a_while(
    idle, days, away, is_in, settings, request, clock, hashed
):
    settings |= {"SESSION_IDLE_HOURS": idle, "SESSION_DAYS": days}
    request.getfixturevalue("owner")
    someone = request.getfixturevalue("visitor")()
    someone.log_in()

    clock.shift(timedelta(minutes=away))

    assert someone.is_in == is_in


def test_use_puts_off_the_end_by_idleness_but_not_the_absolute_one(
    settings, request, clock, hashed
):
    settings |= {"SESSION_IDLE_HOURS": 2, "SESSION_DAYS": 1}
    request.getfixturevalue("owner")
    someone = request.getfixturevalue("visitor")()
    someone.log_in()

    lasted = []
    for _ in range(30):
        clock.shift(timedelta(hours=1))
        lasted.append(someone.is_in)

    assert lasted == [True] * 24 + [False] * 6


def test_rows_of_sessions_that_are_over_go_away(owner, visitor, clock):
    for number in range(3):
        visitor(f"203.0.113.{number}").log_in()
    clock.shift(timedelta(days=91))

    visitor("203.0.113.9").log_in()

    assert len(rows(UserSession)) == 1


def test_over_https_the_cookie_is_for_this_host_alone(settings, owner_in, valkey_url):
    settings |= IN_PRODUCTION
    app = create_app(settings)
    owner_in(app)
    someone = Visitor(app.test_client(), base="https://viewer.example")

    cookies = someone.log_in().headers.getlist("Set-Cookie")

    assert {cookie.partition("=")[0] for cookie in cookies} == {
        "__Host-viewer", "__Host-viewer-device",
    }  # fmt: skip
    for cookie in cookies:
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= parts
        assert not any(part.startswith("domain") for part in parts)
    assert someone.is_in
    assert someone.get("/account").headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_new_secret_key_keeps_everybody_in_while_the_old_one_is_a_fallback(
    settings, request, hashed
):
    request.getfixturevalue("owner")
    someone = request.getfixturevalue("visitor")()
    someone.log_in()
    cookies = [someone.client.get_cookie(name) for name in ("viewer", "viewer-device")]

    def with_keys(**keys: str) -> Visitor:
        other = Visitor(create_app(settings | keys).test_client())
        for cookie in cookies:
            other.client.set_cookie(cookie.key, cookie.value)
        return other

    rotated = with_keys(SECRET_KEY=ANOTHER_KEY, SECRET_KEY_FALLBACKS=settings["SECRET_KEY"])
    assert rotated.is_in
    assert not with_keys(SECRET_KEY=ANOTHER_KEY).is_in
    rotated.get("/account")
    rotated.post("/logout")
    rotated.token = ""
    assert rotated.log_in(password="guess").status_code == 401
    assert {row.key.partition(":")[0] for row in rows(Throttle)} == {"device"}  # still known


# -- one's own account -----------------------------------------------------------------------------


def test_a_changed_password_logs_out_every_other_device_at_once(owner, visitor):
    here, there, thief = visitor(), visitor(), visitor()
    here.log_in()
    there.log_in()
    thief.client.set_cookie("viewer", here.client.get_cookie("viewer").value)

    answer = here.post(
        "/account/password", password=PASSWORD, new_password=ANOTHER, repeated=ANOTHER
    )

    assert answer.status_code == 303
    assert here.is_in
    assert not there.is_in
    assert not thief.is_in  # the cookie of before, on the same device
    assert visitor().log_in().status_code == 401
    assert visitor().log_in(password=ANOTHER).status_code == 303
    assert [e.who for e in trail("password.change")] == [OWNER]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"password": "wrong"}, "not your password"),
        ({"repeated": "three cracks in it"}, "not the same"),
        ({"new_password": "eleven char", "repeated": "eleven char"}, "12 to 128 characters"),
        ({"new_password": "x" * 129, "repeated": "x" * 129}, "12 to 128 characters"),
        ({"new_password": "Password1234", "repeated": "Password1234"}, "first that anybody"),
        ({"new_password": "aaaaaaaaaaaa", "repeated": "aaaaaaaaaaaa"}, "first that anybody"),
        ({"new_password": "", "repeated": ""}, "12 to 128 characters"),
    ],
)
def test_a_password_is_not_changed_by_mistake(form, words, owner, visitor, hashed):
    someone = visitor()
    someone.log_in()

    answer = someone.post(
        "/account/password",
        **{"password": PASSWORD, "new_password": ANOTHER, "repeated": ANOTHER, **form},
    )

    assert answer.status_code == 400
    assert words in unescape(answer.text)
    assert rows(User)[0].password_hash == hashed


def test_an_open_browser_does_not_let_one_guess_the_password(owner, visitor, checked):
    someone = visitor()
    someone.log_in()
    checked.clear()

    texts = [
        someone.post(
            "/account/password", password="guess", new_password=ANOTHER, repeated=ANOTHER
        ).text
        for _ in range(12)
    ]

    assert len(checked) == 10
    assert "Wait a minute" in texts[-1]
    assert visitor().log_in().status_code == 303


def test_one_sees_where_one_is_logged_in_and_ends_it(owner, office, visitor):
    here, there = visitor(), visitor(agent="Mozilla/5.0 (iPhone) Version/26 Safari/604.1")
    stranger = visitor()
    here.log_in()
    there.log_in()
    stranger.log_in("omar@crack.example")
    page = here.get("/account").text
    ends = re.findall(r'action="(/account/devices/[^"]+/logout)"', page)

    assert len(ends) == 2
    assert "Chrome on Android" in page
    assert "Safari on iPhone" in page
    assert page.count("this device") == 1
    for address in ends:  # of another user: nothing
        assert stranger.post(address).status_code == 303
    assert here.is_in
    assert there.is_in
    other = next(a for a in ends if str(rows(UserSession, device=there.agent)[0].id) in a)
    assert here.post(other).location == "/account#devices"
    assert here.is_in
    assert not there.is_in
    mine = next(a for a in ends if a != other)
    assert here.post(mine).location == "/login"
    assert not here.is_in
    assert stranger.is_in


def test_one_logs_out_everywhere(owner, visitor):
    here, there = visitor(), visitor()
    here.log_in()
    there.log_in()

    assert here.post("/account/devices/logout").location == "/login"

    assert not here.is_in
    assert not there.is_in
    assert len(rows(UserSession)) == 0


# -- tokens of programs ----------------------------------------------------------------------------


@pytest.fixture
def make_token(visitor: Callable[..., Visitor]) -> Callable[..., str]:
    def make(email: str = OWNER, name: str = "Prometheus", **form: Any) -> str:
        someone = visitor()
        someone.log_in(email)
        form = {"scope": ["read", "metrics"]} | form
        page = someone.post("/account/tokens", name=name, password=PASSWORD, **form)
        assert page.status_code == 200
        assert page.headers["Cache-Control"] == "no-store"
        [token] = re.findall(r'value="(viewer_[\w-]{43})"', page.text)
        assert token not in someone.get("/account").text  # shown once
        return str(token)

    return make


def ask(app: Flask, token: str, path: str = "/metrics") -> int:
    headers = {"Authorization": f"Bearer {token}"}
    answer = contextvars.Context().run(app.test_client().get, path, headers=headers)
    return int(answer.status_code)


def test_a_program_reads_the_metrics_with_an_owners_token(owner, make_token, app):
    token = make_token()

    assert ask(app, token) == 200
    assert ask(app, token + "x") == 401
    assert ask(app, "") == 401
    assert ask(app, token, "/status") == 401  # only what is for programs
    assert token not in str([vars(row) for row in rows(ApiToken) + rows(AuditEntry)])


def test_a_token_does_what_its_user_may_and_no_more(owner, office, make_token, app):
    token = make_token("omar@crack.example")
    assert ask(app, token) == 403

    omar = accounts.find_user("omar@crack.example")
    accounts.change(omar, role=User.Role.OWNER, name="Omar")
    db.session.commit()
    assert ask(app, token) == 200

    accounts.disable(accounts.find_user("omar@crack.example"))
    db.session.commit()
    assert ask(app, token) == 401
    accounts.enable(accounts.find_user("omar@crack.example"))
    db.session.commit()
    assert ask(app, token) == 401  # enabled again is not everything again


def test_a_token_that_is_revoked_opens_nothing(owner, office, make_token, visitor, app):
    token = make_token()
    [row] = rows(ApiToken)
    someone = visitor()
    someone.log_in("omar@crack.example")

    someone.post(f"/account/tokens/{row.id}/revoke")
    assert ask(app, token) == 200  # it is not theirs

    someone.log_in()
    assert "Prometheus" in someone.get("/account").text
    someone.post(f"/account/tokens/{row.id}/revoke")
    assert ask(app, token) == 401
    assert "Prometheus" not in someone.get("/account").text
    assert [(e.who, e.words) for e in trail("token.revoke")] == [(OWNER, "Prometheus")]


def test_a_monitors_token_reads_the_metrics_and_nothing_else(owner, make_token, app):
    token = make_token(scope="metrics")

    assert ask(app, token) == 200
    assert ask(app, token, "/api/v1/conversations") == 403
    assert ask(app, make_token(scope="read")) == 403


def test_a_token_ends_after_ninety_days_and_its_user_is_warned(
    owner, make_token, visitor, app, clock
):
    token = make_token(name="CRM")
    someone = visitor()

    def page() -> str:
        someone.log_in()
        return str(someone.get("/account").text)

    assert "make a new one" not in page()
    clock.shift(timedelta(days=76))
    assert "make a new one for that program before" in page()
    clock.shift(timedelta(days=14, seconds=-1))
    assert ask(app, token) == 200
    clock.shift(timedelta(seconds=1))

    answer = contextvars.Context().run(
        app.test_client().get, "/api/v1/media", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 401
    assert answer.json["message"] == "This token has ended: make a new one."
    assert "Ended: the program that has it needs a new one" in page()


@pytest.mark.parametrize(("lasts", "days"), [("30", 30), ("no-end", None), ("9999", 90), ("", 90)])
def test_a_token_lasts_as_long_as_was_chosen(lasts, days, owner, make_token, clock):
    make_token(lasts=lasts)

    [row] = rows(ApiToken)
    assert row.expires_at == (START + timedelta(days=days) if days else None)


def test_a_new_password_ends_tokens_but_those_kept_on_purpose(owner, make_token, visitor, app):
    usual, kept = make_token(name="CRM"), make_token(outlives_password="yes")
    someone = visitor()
    someone.log_in()

    answer = someone.post(
        "/account/password", password=PASSWORD, new_password=ANOTHER, repeated=ANOTHER
    )

    assert answer.status_code == 303
    assert (ask(app, usual), ask(app, kept)) == (401, 200)
    assert [e.words for e in trail("token.revoke")] == ["CRM: the password was changed"]


def test_a_new_password_ends_no_token_where_that_was_said(owner, make_token, visitor, app):
    token = make_token()
    someone = visitor()
    someone.log_in()
    assert "Programs keep their tokens" in someone.get("/account").text

    someone.post(
        "/account/password", password=PASSWORD, new_password=ANOTHER, repeated=ANOTHER,
        keeps_tokens="yes",
    )  # fmt: skip

    assert ask(app, token) == 200


def test_a_link_to_choose_a_new_password_ends_tokens(owner, office, make_token, visitor, app):
    token = make_token("omar@crack.example", scope="read")
    secret = accounts.invite(accounts.find_user("omar@crack.example"))
    db.session.commit()
    omar = visitor()
    omar.get(f"/invitations/{secret}")

    omar.post(f"/invitations/{secret}", new_password=ANOTHER, repeated=ANOTHER)

    assert ask(app, token, "/api/v1/media") == 401


def test_a_lower_role_ends_tokens_for_good(owner, office, make_token, app):
    token = make_token("omar@crack.example", scope="read", outlives_password="yes")
    omar = accounts.find_user("omar@crack.example")

    accounts.change(omar, role=User.Role.OFFICE, name="Omar O.")
    db.session.commit()
    assert ask(app, token, "/api/v1/media") == 200
    accounts.change(omar, role=User.Role.FIELD, name="Omar O.")
    accounts.change(omar, role=User.Role.OWNER, name="Omar O.")
    db.session.commit()

    assert ask(app, token, "/api/v1/media") == 401


def test_the_page_offers_what_the_role_may(owner, office, visitor):
    boss, omar = visitor(), visitor()
    boss.log_in()
    omar.log_in("omar@crack.example")

    def offered(page: str) -> list[str]:
        return re.findall(r'name="scope" value="(\w+)"', page)

    assert offered(boss.get("/account").text) == ["read", "link", "write", "metrics"]
    assert offered(omar.get("/account").text) == ["read", "link", "write"]


def test_a_token_without_a_scope_is_not_made(owner, visitor):
    someone = visitor()
    someone.log_in()

    answer = someone.post("/account/tokens", name="CRM", password=PASSWORD, scope="everything")

    assert answer.status_code == 400
    assert "Choose what it may do" in answer.text
    assert rows(ApiToken) == []


def test_when_a_token_was_used_is_noted_once_an_hour(owner, make_token, app, clock):
    token = make_token()
    used = []
    for _ in range(4):
        clock.shift(timedelta(minutes=25))
        ask(app, token)
        used.append(rows(ApiToken)[0].used_at - START)

    assert used == [timedelta(minutes=minutes) for minutes in (25, 25, 25, 100)]


def test_an_open_browser_is_not_enough_to_make_a_token(owner, visitor):
    someone = visitor()
    someone.log_in()

    wrong = someone.post("/account/tokens", name="a thief", password="guess")
    nameless = someone.post("/account/tokens", name=" \u200b ", password=PASSWORD)

    assert (wrong.status_code, nameless.status_code) == (400, 400)
    assert 'value="a thief"' in wrong.text  # nothing typed is lost
    assert "Give it a name" in nameless.text
    assert rows(ApiToken) == []


# -- invitations -----------------------------------------------------------------------------------


def link_in(answer: Any) -> str:
    [link] = re.findall(r'value="http://localhost(/invitations/[\w-]{43})"', answer.text)
    return str(link)


@pytest.fixture
def boss(owner: User, visitor: Callable[..., Visitor]) -> Visitor:
    someone = visitor(agent="the owner's")
    someone.log_in()
    return someone


def test_an_owner_adds_somebody_who_chooses_a_password(boss, visitor):
    shown = boss.post("/users", email="Fay@Crack.example", name=" Fay  F. ", role="field")
    link, fay = link_in(shown), visitor()

    assert shown.headers["Cache-Control"] == "no-store"
    page = fay.get(link)
    assert "Hello Fay F." in page.text
    assert 'value="fay@crack.example"' in page.text
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    answer = fay.post(link, new_password=ANOTHER, repeated=ANOTHER)
    assert (answer.status_code, answer.location) == (303, "/")
    assert fay.is_in
    assert fay.get("/users").status_code == 403
    assert visitor().log_in("fay@crack.example", ANOTHER).status_code == 303
    assert [(e.who, e.words) for e in trail("user.add")][-1] == (
        OWNER, "fay@crack.example as field",
    )  # fmt: skip


def test_an_invitation_has_the_public_address_where_that_is_known(settings, request):
    settings["PUBLIC_URL"] = "https://photos.example"
    boss = request.getfixturevalue("boss")

    shown = boss.post("/users", email="fay@crack.example", role="field")

    assert re.search(r'value="https://photos\.example/invitations/[\w-]{43}"', shown.text)


def test_an_invitation_works_once_and_looking_at_it_uses_nothing_up(boss, visitor, caplog):
    caplog.set_level(logging.DEBUG)
    link = link_in(boss.post("/users", email="fay@crack.example", role="field"))
    for _ in range(3):  # a messenger's preview
        assert visitor().get(link).status_code == 200
    fay = visitor()
    fay.get(link)
    short = fay.post(link, new_password="short", repeated="short")
    assert (short.status_code, "12 to 128" in short.text) == (400, True)
    assert fay.post(link, new_password=ANOTHER, repeated=ANOTHER).status_code == 303

    thief = visitor()
    again = thief.get(link)
    assert again.status_code == 404
    assert "was used already" in again.text
    thief.get("/login")
    assert thief.post(link, new_password="x" * 5 + ANOTHER, repeated=PASSWORD).status_code == 404
    assert visitor().log_in("fay@crack.example", ANOTHER).status_code == 303
    secret = link.rpartition("/")[2]
    assert secret not in caplog.text
    assert secret not in str([vars(row) for row in rows(AuditEntry) + rows(Invitation)])


def test_an_invitation_holds_for_a_week_and_only_the_newest(clock, boss, visitor):
    first = link_in(boss.post("/users", email="fay@crack.example", role="field"))
    [fay] = rows(User, email="fay@crack.example")
    second = link_in(boss.post(f"/users/{fay.id}/invitations"))

    assert visitor().get(first).status_code == 404
    clock.shift(timedelta(days=7, seconds=-1))
    assert visitor().get(second).status_code == 200
    late = visitor()
    late.get(second)
    clock.shift(timedelta(seconds=1))
    assert visitor().get(second).status_code == 404
    assert late.post(second, new_password=ANOTHER, repeated=ANOTHER).status_code == 404


def test_somebody_who_forgot_the_password_gets_a_new_one_through_all_guessing(boss, visitor):
    """No crowd of guesses closes this way in, and old sessions end."""
    before = visitor(agent="old phone")
    before.log_in()
    for number in range(15):
        visitor(f"203.0.113.{number}").log_in(password="guess")
    [olivia] = rows(User)
    link, phone = link_in(boss.post(f"/users/{olivia.id}/invitations")), visitor("198.51.100.1")
    assert phone.log_in().status_code == 429

    phone.get(link)
    assert phone.post(link, new_password=ANOTHER, repeated=ANOTHER).status_code == 303

    assert phone.is_in
    assert not before.is_in
    assert visitor("198.51.100.2").log_in(password=ANOTHER).status_code == 303


def test_an_invitation_ends_with_the_password_that_it_was_to_replace(boss, visitor):
    link = link_in(boss.post("/users", email="fay@crack.example", role="field"))
    fay, thief = visitor(), visitor()
    fay.get(link)
    fay.post(link, new_password=ANOTHER, repeated=ANOTHER)
    [row] = rows(User, email="fay@crack.example")
    forgotten = link_in(boss.post(f"/users/{row.id}/invitations"))
    thief.get(forgotten)

    # It came back to her; the link still lies in her messages.
    new = f"{ANOTHER} of brick"
    fay.get("/account")
    changed = fay.post("/account/password", password=ANOTHER, new_password=new, repeated=new)

    assert changed.status_code == 303
    assert thief.get(forgotten).status_code == 404
    assert thief.post(forgotten, new_password=ANOTHER, repeated=ANOTHER).status_code == 404


@BOTH
def test_of_two_who_accept_at_once_one_is_in(app, owner, hashed):
    accounts.add("fay@crack.example", User.Role.FIELD)
    token = accounts.invite(accounts.find_user("fay@crack.example"))
    db.session.commit()
    passwords = [f"{word} cracks in the wall" for word in ("one", "two", "three", "four")]
    crowd = [Visitor(app.test_client()) for _ in passwords]
    for someone in crowd:
        someone.get(f"/invitations/{token}")
    start, answers = threading.Barrier(len(crowd)), {}

    def accept(someone: Visitor, password: str) -> None:
        start.wait()
        answer = someone.post(f"/invitations/{token}", new_password=password, repeated=password)
        answers[password] = answer.status_code

    threads = [
        threading.Thread(target=accept, args=pair) for pair in zip(crowd, passwords, strict=True)
    ]
    run_all(threads)

    assert sorted(answers.values()) == [303, 404, 404, 404]
    [winner] = [password for password, status in answers.items() if status == 303]
    [fay] = rows(User, email="fay@crack.example")
    assert accounts.password_matches(fay.password_hash, winner)
    assert len(rows(UserSession)) == 1


def test_accepting_while_somebody_else_is_logged_in_logs_them_out(boss, visitor):
    link = link_in(boss.post("/users", email="fay@crack.example", role="field"))

    boss.get(link)
    boss.post(link, new_password=ANOTHER, repeated=ANOTHER)

    assert "fay@crack.example" in boss.get("/account").text
    [fay] = rows(User, email="fay@crack.example")
    assert [row.user_id for row in rows(UserSession)] == [fay.id]


def test_an_invitation_works_over_https_where_no_referer_is_sent(settings, owner_in):
    settings |= IN_PRODUCTION
    app = create_app(settings)
    owner_in(app)
    with app.app_context():
        token = accounts.invite(accounts.find_user(OWNER))
        db.session.commit()
    someone = Visitor(app.test_client(), base="https://viewer.example")

    someone.get(f"/invitations/{token}")
    answer = someone.post(f"/invitations/{token}", new_password=ANOTHER, repeated=ANOTHER)

    assert answer.status_code == 303
    assert someone.is_in


# -- users -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"email": "fay"}, "is not an e-mail address"),
        ({"email": "a b@c"}, "is not an e-mail address"),
        ({"email": "<script>@x"}, "There is"),
        ({"email": "olivia@crack.example "}, "There is a user olivia@crack.example already"),
        ({"email": ""}, "is not an e-mail address"),
        ({"role": "king"}, "Choose what they may do"),
        ({"role": ""}, "Choose what they may do"),
    ],
)
def test_a_user_is_not_added_by_mistake_and_nothing_typed_is_lost(form, words, boss):
    typed = {"email": "fay@crack.example", "name": "Fay <F>", "role": "office", **form}

    answer = boss.post("/users", **typed)

    if words == "There is":  # odd, but an address; it is shown as words
        assert answer.status_code == 200
        assert "<script>" not in answer.text
        return
    assert answer.status_code == 400
    assert words in unescape(answer.text)
    assert 'value="Fay &lt;F&gt;"' in answer.text
    if typed["role"] == "office":
        assert re.search(r'value="office" required checked', answer.text)
    assert len(rows(User)) == 1


def test_a_disabled_user_is_out_at_once_and_may_be_let_in_again(boss, office, visitor):
    omar = visitor(agent="Omar's")
    omar.log_in("omar@crack.example")
    link = link_in(boss.post(f"/users/{office.id}/invitations"))

    assert boss.post(f"/users/{office.id}/disable").status_code == 303

    assert not omar.is_in
    assert visitor().log_in("omar@crack.example").status_code == 401
    assert visitor().get(link).status_code == 404
    assert boss.post(f"/users/{office.id}/invitations").status_code == 400
    assert "disabled" in boss.get("/users").text
    boss.post(f"/users/{office.id}/enable")
    assert visitor().log_in("omar@crack.example").status_code == 303
    assert not omar.is_in
    assert visitor().get(link).status_code == 404
    assert [e.words for e in trail("user.disable") + trail("user.enable")] == [
        "omar@crack.example", "omar@crack.example",
    ]  # fmt: skip


def test_a_changed_role_holds_from_the_next_click_on(boss, office, visitor):
    omar = visitor(agent="Omar's")
    omar.log_in("omar@crack.example")
    assert omar.get("/status").status_code == 200

    boss.post(f"/users/{office.id}", role="field", name="Omar O.")

    assert omar.get("/status").status_code == 403
    assert "Omar O." in omar.get("/account").text
    assert [e.words for e in trail("user.role")] == ["omar@crack.example: office to field"]


def test_the_last_owner_stays(boss, owner, office):
    demoted = boss.post(f"/users/{owner.id}", role="office", name="Olivia Two")
    disabled = boss.post(f"/users/{owner.id}/disable")

    for answer in (demoted, disabled):
        assert answer.status_code == 400
        assert "the only owner" in answer.text
    assert 'value="Olivia Two"' in demoted.text
    [kept] = rows(User, email=OWNER)
    assert (kept.role, kept.is_enabled) == ("owner", True)
    boss.post(f"/users/{office.id}", role="owner", name="Omar")
    assert boss.post(f"/users/{owner.id}/disable").status_code == 303
    assert not boss.is_in


@BOTH
def test_two_owners_who_demote_each_other_at_once_leave_one(app, owner, office):
    accounts.change(office, role=User.Role.OWNER, name="Omar")
    db.session.commit()
    olivia, omar = Visitor(app.test_client()), Visitor(app.test_client())
    olivia.log_in()
    omar.log_in("omar@crack.example")
    start, ids = threading.Barrier(2), (office.id, owner.id)

    def demote(someone: Visitor, other: Any) -> None:
        start.wait()
        someone.post(f"/users/{other}", role="field", name="x")

    threads = [
        threading.Thread(target=demote, args=pair) for pair in zip((olivia, omar), ids, strict=True)
    ]
    run_all(threads)

    assert sorted(user.role for user in rows(User)) == ["field", "owner"]


def test_every_user_is_seen_with_what_they_may_do(boss, office, visitor):
    page = unescape(re.sub(r"<[^>]+>", " ", boss.get("/users").text))

    assert re.search(r"Olivia\s+olivia@crack.example · seen [^·]+ owner", page)
    assert re.search(r"Omar\s+omar@crack.example · not logged in\s+office", page)


# -- the trail -------------------------------------------------------------------------------------


@pytest.fixture
def history(owner: User) -> None:
    """Two lines a day, for a hundred days."""
    for number in range(100):
        at = START + timedelta(days=number)
        db.session.add(AuditEntry(at=at, who=OWNER, action="login", words=""))
        db.session.add(
            AuditEntry(at=at, who="omar@crack.example", action="share.add", words=f"share {number}")
        )
    db.session.commit()


def lines(answer: Any) -> list[str]:
    found = re.findall(r'<li class="row trail__line">(.*?)</li>', answer.text, re.S)
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", line)).split()) for line in found]


@BOTH
def test_the_trail_pages_without_gap_or_repeat(history, log_in):
    client, path, seen, pages = log_in("owner", OWNER), "/trail", [], 0
    while path:
        answer = client.get(path)
        seen += lines(answer)
        pages += 1
        found = re.search(r'href="(/trail\?before=[^"]+)"', answer.text)
        path = unescape(found[1]) if found else None

    assert pages == 3
    assert len(seen) == len(rows(AuditEntry))
    assert [line for line in seen if "share" in line] == [
        f"share.add share {number} omar@crack.example 10:00 AM"
        if number < 41
        else f"share.add share {number} omar@crack.example 9:00 AM"
        for number in reversed(range(100))
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("who=omar@crack.example", 100),
        ("action=share.add", 100),
        ("action=share.add&who=olivia@crack.example", 0),
        ("action=share.add&since=2026-09-23", 98),
        ("action=share.add&until=2026-09-23", 3),
        ("action=share.add&since=2026-09-23&until=2026-09-23", 1),
        ("action=share.add&since=2026-09-24&until=2026-09-23", 2),  # turned
        ("who=%00&action=%00", None),
        ("since=yesterday&until=9999-12-31&action=login", 100),
        ("who=' OR 1=1 --", 0),
    ],
)
@BOTH
def test_the_trail_is_narrowed_by_person_action_and_day(query, expected, history, log_in):
    answer = log_in("owner", OWNER).get(f"/trail?{query}")

    assert answer.status_code == 200
    if expected is not None:
        assert len(lines(answer)) == expected


@pytest.mark.parametrize("place", ["x", "-1", "9" * 40, "1e9", "1.5", " "])
def test_a_place_that_cannot_be_is_no_crash(place, client):
    assert client.get("/trail", query_string={"before": place}).status_code == 400


def test_the_trail_tells_what_was_done_in_words(boss, office, visitor, client):
    visitor("203.0.113.7").log_in(password="guess")
    visitor("203.0.113.7").log_in(password="guess")
    boss.post(f"/users/{office.id}", role="owner", name="Omar")

    page = " · ".join(lines(client.get("/trail")))

    assert "Changed a role omar@crack.example: office to owner" in page
    assert re.search(
        r"Wrong password 2 times within an hour Look at it olivia@crack.example , from 203.0.113.7",
        page,
    )


def test_trying_a_file_again_is_in_the_trail(deliver, message, provider, work, client):
    deliver(message(media=[provider.serve(b"", status=404)]).payload())
    work()
    page = client.get("/status").text
    [address] = set(re.findall(r"/media/[^/]+/attempts", page))

    client.post(address)

    assert [(e.who, f"/media/{e.subject_id}/attempts") for e in trail("media.retry")] == [
        ("owner@crack.example", address)
    ]
