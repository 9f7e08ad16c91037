"""What accounts promise beneath their pages: passwords, and the limits of guessing."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from viewer.extensions import db
from viewer.models import AuditEntry, Throttle, User
from viewer.office import accounts, audit, common_passwords, throttle

START = datetime(2026, 9, 21, 14, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def test_a_password_is_the_same_from_every_keyboard():
    on_a_phone, on_a_mac = "Gr\u00fcne W\u00e4nde 12", "Gru\u0308ne Wa\u0308nde 12"

    assert accounts.password_matches(accounts.hash_password(on_a_phone), on_a_mac)


def test_only_the_whole_password_matches():
    longest = "0123456789ab" * 10 + "01234567"
    found = accounts.hash_password(longest)

    assert accounts.password_matches(found, longest)
    assert not accounts.password_matches(found, longest + "x")
    assert not accounts.password_matches(found, longest[:-1])
    assert len(longest) == accounts.LONGEST
    assert not accounts.password_matches("no hash at all", longest)
    assert not accounts.password_matches(None, "nobody has this password")


@pytest.mark.parametrize(
    "email",
    ["", "olivia", "@crack.example", "olivia@", "a@b@c", "a b@c.example", "a\u200b@c.example",
     "a\u202e@c.example", "x" * 65 + "@c.example", "a@" + "x" * 250],
)  # fmt: skip
def test_what_is_no_address_makes_no_user(app, email):
    with pytest.raises(accounts.Refused, match="not an e-mail address"):
        accounts.add(email, User.Role.FIELD)


@BOTH
def test_an_address_is_one_user_however_it_is_written(app):
    accounts.add(" Fay@Crack.example", User.Role.FIELD)

    with pytest.raises(accounts.Refused, match="already"):
        accounts.add("fay@crack.EXAMPLE ", User.Role.FIELD)
    assert accounts.find_user("FAY@crack.example") is not None


def test_a_name_is_one_short_line_of_signs_that_can_be_seen(app):
    user = accounts.add(
        "fay@crack.example", User.Role.FIELD, " Fay\r\n\u202e\0 <b>F.</b>" + "x" * 200
    )

    assert user.name == ("Fay <b>F.</b>" + "x" * 200)[:120]


@BOTH
def test_the_trail_takes_whatever_it_is_told(app):
    audit.note("share.add", "a\0b\n" + "é" * 1_000)
    db.session.commit()

    assert db.session.scalars(sa.select(AuditEntry.words)).one() == ("ab\n" + "é" * 1_000)[:500]


def allowance(key: str, free: int = 3) -> throttle.Allowance:
    return throttle.Allowance(key, free=free, memory=DAY)


@BOTH
def test_a_try_is_refused_if_one_of_its_allowances_is_used_up_and_then_counts_in_none(app, clock):
    for _ in range(3):
        throttle.count_attempt(allowance("account:a"))
    with pytest.raises(throttle.TooMany) as refusal:
        throttle.count_attempt(allowance("account:a"), allowance("address:b"))
    db.session.commit()

    assert refusal.value.wait == timedelta(minutes=1)
    assert db.session.get(Throttle, "address:b") is None


@BOTH
def test_failures_are_forgotten_after_a_quiet_time(app, clock):
    for _ in range(3):
        throttle.count_attempt(allowance("account:a"))
        db.session.commit()
    clock.shift(timedelta(minutes=1) + DAY + timedelta(seconds=1))

    assert [throttle.count_attempt(allowance("account:a")) for _ in range(3)] == [
        False,
        False,
        True,
    ]


def test_a_clock_that_was_wrong_locks_nobody_out(app, clock):
    clock.shift(timedelta(days=3650))
    for _ in range(3):
        throttle.count_attempt(allowance("account:a"))
    db.session.commit()
    clock.move_to(START)

    throttle.count_attempt(allowance("account:a"))


@pytest.mark.proof
@BOTH
def test_the_table_stays_small_and_keeps_the_account_that_is_guessed_at(app, clock, monkeypatch):
    monkeypatch.setattr(throttle, "MOST_ROWS", 200)
    for _ in range(3):
        throttle.count_attempt(allowance("account:owner"))
    for number in range(600):
        throttle.count_attempt(allowance(f"account:{number}"))
    db.session.commit()

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Throttle)) <= 200
    with pytest.raises(throttle.TooMany):
        throttle.count_attempt(allowance("account:owner"))
    clock.shift(DAY + timedelta(hours=2))
    throttle.count_attempt(allowance("account:new"))
    assert db.session.scalars(sa.select(Throttle.key)).all() == ["account:new"]


@pytest.mark.parametrize(
    "password",
    ["Password1234", "123456654321", "QwertyuiopQwertyuiop", "Dragon2026!!", "monkeymonkey",
     "!!sunshine99", "trustno1trustno1", "ＰＡＳＳＷＯＲＤ１２３４", "BASKETBALL20",
     "aaaaaaaaaaab"],
)  # fmt: skip
def test_a_password_that_anybody_would_try_is_refused(password):
    with pytest.raises(accounts.Refused, match="first that anybody would try"):
        accounts.hash_password(password)


@pytest.mark.parametrize(
    "password",
    ["a crack in the wall", "dragon with monkeys", "gable-rafter-joist", "Tr0ub4dor&3xy"],
)
def test_a_password_of_ones_own_is_taken(password):
    assert accounts.hash_password(password)


def test_the_list_holds_the_commonest_ten_thousand():
    words = common_passwords._common_passwords()

    assert len(words) >= 10_000
    assert {"123456", "password", "dragon", "qwerty123456"} <= words
    assert all(word == word.casefold() for word in words)
