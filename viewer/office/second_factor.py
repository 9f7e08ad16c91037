"""Second factors of a user: add, check, remove, reset; and the recovery codes that stand in.

`User.has_second_factor` says whether a password alone still logs in. Each login reads the user's
row anyway, so whoever has no second factor pays nothing for it. It is written here alone, under a
lock of that row.
"""

import base64
import os
import uuid

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import Passkey, RecoveryCode, User, fingerprint
from viewer.office import accounts, audit, mail, totp
from viewer.office.accounts import Refused

CODES = 10
BYTES = 15  # of a recovery code: 120 random bits are too many to guess from a fast hash
MOST_PASSKEYS = 20  # of one user
APP, RECOVERY = "an authenticator app", "a recovery code"
WRONG_CODE = "That code is not right, or was used before. Wait for the next one."


def check_code(user: User, code: str) -> str | None:
    """Use a code of the app, or a recovery code: return which it was, or None if it is wrong.

    Each works once. Does not commit.
    """
    typed = "".join(code.split()).replace("-", "").upper()
    if _use_step(user, typed):
        return APP
    used = (
        sa.update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user.id,
            RecoveryCode.fingerprint == fingerprint(typed),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now())
    )
    if _rows(used) == 0:
        return None
    audit.note("factor.recovery", f"{codes_left(user)} left", by=user, subject=("user", user.id))
    mail.send_notice(user, "A recovery code was used", "A recovery code was used to log in.")
    return RECOVERY


def _use_step(user: User, code: str) -> bool:
    secret = totp.unseal(user.totp_secret, user.id) if user.totp_secret else None
    if secret is None:
        return False
    step = totp.matching_step(secret, code, now(), user.totp_step)
    if step is None:
        return False
    fresh = (
        sa.update(User)
        .where(User.id == user.id, sa.or_(User.totp_step.is_(None), User.totp_step < step))
        # Sealed anew: with the newest SECRET_KEY, should that have changed.
        .values(totp_step=step, totp_secret=totp.seal(secret, user.id))
    )
    return _rows(fresh) == 1  # 0: used at this moment by somebody who saw it


def add_app(user: User, secret: str, code: str) -> list[str]:
    """Set up an authenticator app that shows this code. Returns recovery codes, if they are new.

    Raises Refused. Does not commit.
    """
    step = totp.matching_step(secret, "".join(code.split()), now(), None)
    if step is None:
        raise Refused("That is not the code that this key gives now. Is the phone's clock right?")
    accounts.hold(user)
    user.totp_secret, user.totp_step = totp.seal(secret, user.id), step
    audit.note("factor.add", APP, subject=("user", user.id))
    mail.send_notice(user, "An authenticator app was added", "An authenticator app was set up.")
    return _first_codes(user)


def add_passkey(user: User, passkey: Passkey) -> list[str]:
    """Add a passkey. Returns recovery codes, if they are new. Raises Refused. Does not commit."""
    accounts.hold(user)
    count = sa.select(sa.func.count()).select_from(Passkey).filter_by(user_id=user.id)
    if (db.session.scalar(count) or 0) >= MOST_PASSKEYS:
        raise Refused(f"You have {MOST_PASSKEYS} passkeys: remove one that is not used any more.")
    passkey.name = accounts.tidy_name(passkey.name) or "Passkey"
    db.session.add(passkey)
    audit.note("factor.add", f"the passkey {passkey.name}", subject=("user", user.id))
    mail.send_notice(user, "A passkey was added", f"The passkey “{passkey.name}” was added.")
    return _first_codes(user)


def remove_app(user: User) -> None:
    """Remove the authenticator app. Idempotent. Raises Refused. Does not commit."""
    accounts.hold(user)
    if user.totp_secret is None:
        return
    user.totp_secret = user.totp_step = None
    _note_removal(user, APP)


def remove_passkey(user: User, passkey_id: uuid.UUID) -> None:
    """Remove a passkey. Idempotent. Raises Refused. Does not commit."""
    accounts.hold(user)
    row = db.session.scalar(sa.select(Passkey).filter_by(user_id=user.id, id=passkey_id))
    if row is None:
        return
    db.session.delete(row)
    _note_removal(user, f"the passkey {row.name}")


def _note_removal(user: User, what: str) -> None:
    _count(user)
    audit.note("factor.remove", what, subject=("user", user.id))
    mail.send_notice(user, "A second factor was removed", f"Removed: {what}.")


def new_codes(user: User) -> list[str]:
    """Make ten recovery codes; those from before open nothing any more. Does not commit."""
    accounts.hold(user)
    audit.note("factor.codes", subject=("user", user.id))
    return _make_codes(user)


def codes_left(user: User) -> int:
    count = sa.select(sa.func.count()).select_from(RecoveryCode)
    return db.session.scalar(count.filter_by(user_id=user.id, used_at=None)) or 0


def reset(user: User) -> None:
    """Take all second factors away, as they are lost; log the user out everywhere.

    The password alone logs in then. Idempotent. Does not commit.
    """
    accounts.hold(user)
    for table in (Passkey, RecoveryCode):
        db.session.execute(sa.delete(table).filter_by(user_id=user.id))
    user.totp_secret = user.totp_step = None
    user.has_second_factor = False
    user.factors_reset_at = now()
    accounts.end_sessions(user)
    audit.note("factor.reset", user.email, subject=("user", user.id))
    mail.send_notice(
        user,
        "Your second factor was reset",
        "Your passkeys, authenticator app and recovery codes were taken away, and you are logged"
        " out on every device. Log in with your password, and set up a new second factor.",
    )


def passkeys_of(user: User) -> list[Passkey]:
    rows = sa.select(Passkey).filter_by(user_id=user.id)
    return list(db.session.scalars(rows.order_by(Passkey.created_at, Passkey.id)))


def _first_codes(user: User) -> list[str]:
    """Whoever gets a first second factor gets recovery codes with it."""
    had_one, user.has_second_factor = user.has_second_factor, True
    return [] if had_one else _make_codes(user)


def _make_codes(user: User) -> list[str]:
    db.session.execute(sa.delete(RecoveryCode).filter_by(user_id=user.id))
    codes = [base64.b32encode(os.urandom(BYTES)).decode() for _ in range(CODES)]
    db.session.add_all(
        RecoveryCode(user_id=user.id, fingerprint=fingerprint(code)) for code in codes
    )
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _count(user: User) -> None:
    """After a removal: without any factor, recovery codes go, too. Raises Refused."""
    db.session.flush()
    passkey = db.session.scalar(sa.select(Passkey.id).filter_by(user_id=user.id).limit(1))
    user.has_second_factor = user.totp_secret is not None or passkey is not None
    if not user.has_second_factor:
        if accounts.must_have_factor(user.role, settings()):
            raise Refused("You need a second factor here: add another one first.")
        db.session.execute(sa.delete(RecoveryCode).filter_by(user_id=user.id))


def _rows(statement: sa.Update) -> int:
    result = db.session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker
    return result.rowcount
