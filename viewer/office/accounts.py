"""Accounts of the staff: passwords, invitations, tokens for programs, and their end.

Hashing takes a tenth of a second on purpose: do it before a transaction begins, never inside.
"""

import functools
import re
import threading
import unicodedata
import uuid
from datetime import timedelta

import argon2
import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from viewer.extensions import Lock, db, lock, now
from viewer.models import ApiToken, Invitation, User, UserSession, fingerprint, new_token
from viewer.office import audit, throttle

SHORTEST, LONGEST = 10, 200  # characters of a password
INVITATION_LASTS = timedelta(days=7)
MOST_TOKENS = 20  # of one user
TOKEN_PREFIX = "viewer_"  # noqa: S105 - so that whoever finds one knows what it opens
TOKEN_NOTED_EVERY = timedelta(hours=1)

# What people choose when told to take ten characters. Longer lists help little: guessing is slow.
COMMON = (
    "1234567890 12345678910 0123456789 0987654321 1q2w3e4r5t qwertyuiop qwerty12345 qwerty1234"
    " 1qaz2wsx3edc password12 password123 password1234 password12345 passw0rd123 iloveyou123"
    " welcome123 welcome1234 changeme123 administrator admin12345 letmein1234 abc1234567"
    " abcdefghij football123 baseball123 basketball sunshine123 princess123 superman123"
    " foundation foundation1 conversation viewerviewer"
)

_hasher = argon2.PasswordHasher()
# Each takes 64 MB: a crowd at the door must not take all of the memory.
_at_once = threading.BoundedSemaphore(2)


class Refused(Exception):
    """What was asked for cannot be; the message says why, for a person."""


# -- passwords -------------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Raises Refused if it is too short, too long, or the first that anybody would try."""
    password = _as_typed_anywhere(password)
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(f"A password has {SHORTEST} to {LONGEST} characters.")
    if password.lower() in COMMON.split() or len(set(password)) < 4:
        raise Refused("That password is among the first that anybody would try.")
    with _at_once:
        return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Whether it is the password. Takes as long for a user that does not exist (None)."""
    password = _as_typed_anywhere(password[: 2 * LONGEST])
    if len(password) > LONGEST:
        password_hash = None  # nobody has one so long
    try:
        with _at_once:
            nobody = _nobody()  # made with the first login of a process, known or not
            _hasher.verify(password_hash or nobody, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return password_hash is not None


@functools.cache
def _nobody() -> str:
    """For names that nobody has: telling them from known ones by the clock must not work."""
    return _hasher.hash("nobody has this password")


def _as_typed_anywhere(password: str) -> str:
    """An ü is one sign on one keyboard and two on another."""
    return unicodedata.normalize("NFKC", password)


# -- users -----------------------------------------------------------------------------------------


def find_user(email: str) -> User | None:
    return db.session.scalar(sa.select(User).filter_by(email=canonical_email(email)))


def canonical_email(email: str) -> str:
    return email.replace("\0", "").strip().lower()[:254]


def add(email: str, role: User.Role, name: str = "", password_hash: str | None = None) -> User:
    """A new user. Raises Refused. Does not commit."""
    email = canonical_email(email)
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,189}", email) or not email.isprintable():
        raise Refused(f"“{email}” is not an e-mail address.")
    if find_user(email) is not None:
        raise Refused(f"There is a user {email} already.")
    user = User(email=email, role=role, name=_tidy_name(name), password_hash=password_hash)
    try:
        with db.session.begin_nested():
            db.session.add(user)
    except sa.exc.IntegrityError:  # somebody added them a moment ago
        raise Refused(f"There is a user {email} already.") from None
    audit.note("user.add", f"{email} as {role}", subject=("user", user.id))
    return user


def change(user: User, *, role: User.Role, name: str) -> None:
    """Another role, another name. Raises Refused. Does not commit."""
    if role is not User.Role.OWNER:
        _leave_an_owner(user)
    if role is not user.role:
        audit.note("user.role", f"{user.email}: {user.role} to {role}", subject=("user", user.id))
    user.role, user.name = role, _tidy_name(name)


def disable(user: User) -> None:
    """No way in any more; what they did stays theirs. Raises Refused. Does not commit."""
    _leave_an_owner(user)
    if not user.is_enabled:
        return
    user.disabled_at = now()
    end_sessions(user)
    for table in (Invitation, ApiToken):
        db.session.execute(sa.delete(table).filter_by(user_id=user.id))
    audit.note("user.disable", user.email, subject=("user", user.id))


def enable(user: User) -> None:
    """They may come in again, with the password they had. Does not commit."""
    if not user.is_enabled:
        user.disabled_at = None
        audit.note("user.enable", user.email, subject=("user", user.id))


def _leave_an_owner(user: User) -> None:
    """Raises Refused if nobody but this user could manage users."""
    lock(Lock.OWNERS)  # two owners who demote each other at one moment
    db.session.refresh(user)
    if user.role is not User.Role.OWNER or not user.is_enabled:
        return
    others = sa.select(User.id).where(
        User.role == User.Role.OWNER, User.disabled_at.is_(None), User.id != user.id
    )
    if db.session.scalar(others.limit(1)) is None:
        raise Refused("That is the only owner: make somebody else an owner first.")


def _tidy_name(name: str) -> str:
    return " ".join("".join(sign for sign in name if sign.isprintable()).split())[:120]


# -- ways in, and their end ------------------------------------------------------------------------


def still_has_password(user: User, password_hash: str | None) -> bool:
    """Whether the user may come in with the password that was checked a moment ago.

    Until this transaction ends nobody changes it: a login that was under way while the password
    was changed must not outlive the change.
    """
    found = db.session.scalar(
        sa.select(User)
        .where(User.id == user.id, User.password_hash == password_hash, User.disabled_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found is not None


def set_password(user: User, password_hash: str) -> None:
    """A new password; whoever was logged in with the old one is out, and so is whoever holds an
    invitation to choose another. Does not commit."""
    user.password_hash = password_hash
    end_sessions(user)
    db.session.execute(sa.delete(Invitation).filter_by(user_id=user.id, used_at=None))
    throttle.forget_failures(strangers(user.email))
    audit.note("password.change", user.email, subject=("user", user.id))


def end_sessions(user: User) -> None:
    """Logged out on every device. Does not commit."""
    db.session.flush()  # the row first: a login under way waits for it, and is seen below
    db.session.execute(sa.delete(UserSession).filter_by(user_id=user.id))


def end_session(user: User, session_id: uuid.UUID) -> bool:
    """Logged out on this device; whether it was one of theirs. Does not commit."""
    return _rows(sa.delete(UserSession).filter_by(user_id=user.id, id=session_id)) == 1


def forget_old_sessions(idle: timedelta, longest: timedelta) -> None:
    """Rows that open nothing any more. Does not commit."""
    moment = now()
    db.session.execute(
        sa.delete(UserSession).where(
            sa.or_(UserSession.seen_at < moment - idle, UserSession.created_at < moment - longest)
        )
    )


def strangers(email: str) -> throttle.Allowance:
    """What may fail for an account from devices that were never logged in to it.

    Ten guesses, then one after a minute, after two, … an hour: some forty in a day, from however
    many addresses.
    """
    key = f"account:{fingerprint(canonical_email(email))}"
    return throttle.Allowance(key, free=10, memory=timedelta(days=1))


def invite(user: User) -> str:
    """The secret of a link by which they choose a password; earlier links are void.

    Raises Refused. Does not commit.
    """
    if not user.is_enabled:
        raise Refused(f"{user.email} is disabled: enable them first.")
    token = new_token()
    db.session.execute(sa.delete(Invitation).filter_by(user_id=user.id))
    db.session.add(
        Invitation(
            user_id=user.id, fingerprint=fingerprint(token), expires_at=now() + INVITATION_LASTS
        )
    )
    audit.note("user.invite", user.email, subject=("user", user.id))
    return token


def invited(token: str) -> User | None:
    """Whom this invitation is for, if it still holds."""
    return db.session.scalar(
        sa.select(User)
        .join(Invitation, Invitation.user_id == User.id)
        .where(_holds(token), User.disabled_at.is_(None))
    )


def accept(token: str, password_hash: str) -> User | None:
    """Use an invitation, once: of two at the same moment one gets None. Does not commit."""
    user = invited(token)
    if user is None:
        return None
    db.session.refresh(user, with_for_update=True)  # disabled a moment ago
    if not user.is_enabled:
        return None
    if _rows(sa.update(Invitation).where(_holds(token)).values(used_at=now())) != 1:
        return None
    set_password(user, password_hash)
    return user


def _holds(token: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        Invitation.fingerprint == fingerprint(token),
        Invitation.used_at.is_(None),
        Invitation.expires_at > now(),
    )


def add_token(user: User, name: str) -> str:
    """A secret by which a program acts for this user. Raises Refused. Does not commit."""
    name = _tidy_name(name)
    if not name:
        raise Refused("Give it a name, so that you know later which program has it.")
    count = sa.select(sa.func.count()).select_from(ApiToken).filter_by(user_id=user.id)
    if (db.session.scalar(count) or 0) >= MOST_TOKENS:
        raise Refused(f"You have {MOST_TOKENS} tokens: revoke one that is not used any more.")
    token = TOKEN_PREFIX + new_token()
    row = ApiToken(user_id=user.id, fingerprint=fingerprint(token), name=name)
    db.session.add(row)
    db.session.flush()
    audit.note("token.add", name, subject=("token", row.id))
    return token


def revoke_token(user: User, token_id: uuid.UUID) -> bool:
    """Whether it was one of theirs. Does not commit."""
    row = db.session.scalar(sa.select(ApiToken).filter_by(user_id=user.id, id=token_id))
    if row is None:
        return False
    audit.note("token.revoke", row.name, subject=("token", row.id))
    db.session.delete(row)
    return True


def _rows(statement: sa.Delete | sa.Update) -> int:
    result = db.session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker
    return result.rowcount
