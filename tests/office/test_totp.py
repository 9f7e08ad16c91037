"""Codes of an authenticator app, and their secrets."""

import base64
import uuid
from datetime import UTC, datetime

import pytest

from viewer import create_app
from viewer.office import totp

# RFC 6238, appendix B, SHA-1. Ours have six digits: the last six of the eight there.
VECTORS = [
    (59, "94287082"), (1111111109, "07081804"), (1111111111, "14050471"),
    (1234567890, "89005924"), (2000000000, "69279037"), (20000000000, "65353130"),
]  # fmt: skip
SECRET = base64.b32encode(b"12345678901234567890").decode()


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_the_vectors_of_rfc_6238(seconds, code):
    assert totp.matching_step(SECRET, code[-6:], at(seconds), None) == seconds // 30


@pytest.mark.parametrize(("off", "is_right"), [(-60, False), (-30, True), (30, True), (60, False)])
def test_a_phones_clock_may_be_half_a_minute_off(off, is_right):
    seconds, code = VECTORS[2]

    found = totp.matching_step(SECRET, code[-6:], at(seconds + off), None)

    assert (found is not None) == is_right


def test_a_code_that_was_used_and_any_before_it_is_refused():
    seconds, code = VECTORS[2]
    step = seconds // 30

    assert totp.matching_step(SECRET, code[-6:], at(seconds), step - 1) == step
    assert totp.matching_step(SECRET, code[-6:], at(seconds), step) is None
    assert totp.matching_step(SECRET, code[-6:], at(seconds), step + 1) is None


@pytest.mark.parametrize(
    "code", ["", VECTORS[0][1], "28708", "28708２", "２８７０８２", "-87082", "é"]
)
def test_what_is_no_code_is_refused(code):
    assert totp.matching_step(SECRET, code, at(59), None) is None


def test_a_secret_is_sealed_for_one_user_by_one_key(settings, app):
    mine, other = uuid.uuid4(), uuid.uuid4()
    sealed = totp.seal(SECRET, mine)
    old, new = settings["SECRET_KEY"], "one-more-for-tests-0123456789abcdef"

    def read_with(**keys: str) -> str | None:
        with create_app(settings | keys).app_context():
            return totp.unseal(sealed, mine)

    assert SECRET not in sealed
    assert totp.seal(SECRET, mine) != sealed
    assert totp.unseal(sealed, mine) == SECRET
    assert totp.unseal(sealed, other) is None  # moved to another row
    assert totp.unseal(sealed[:-8] + "AAAAAAA=", mine) is None
    assert [totp.unseal(words, mine) for words in ("", "x", "é", "A" * 12)] == [None] * 4
    assert read_with(SECRET_KEY=new, SECRET_KEY_FALLBACKS=old) == SECRET
    assert read_with(SECRET_KEY=new) is None
