"""Staff accounts: passwords, sessions, invitations, API tokens, and their revocation.

Hashing takes 0.1 s on purpose: do it before a transaction begins, never inside one.
"""

import functools
import re
import threading
import unicodedata
import uuid
from collections.abc import Collection
from datetime import timedelta

import argon2
import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from viewer.config import Settings
from viewer.extensions import Lock, db, lock, now
from viewer.models import ApiToken, Invitation, User, UserSession, fingerprint, new_token
from viewer.office import audit, common_passwords, mail, throttle

SHORTEST, LONGEST = 12, 128  # characters of a new password, as ASVS 4 asks
LONGEST_EVER = 200  # one may have been set while that many were allowed
INVITATION_LASTS = timedelta(days=7)
MOST_TOKENS = 20  # per user
TOKEN_LASTS = timedelta(days=90)  # unless said otherwise; as long as the longest session
TOKEN_PREFIX = "viewer_"  # noqa: S105 - identifies a leaked token to secret scanners and people
TOKEN_NOTED_EVERY = timedelta(hours=1)

_hasher = argon2.PasswordHasher()
# Each hash takes 64 MB: a burst of logins must not exhaust the memory.
_at_once = threading.BoundedSemaphore(2)


class Refused(Exception):
    """The request cannot be fulfilled; the message tells the user why."""


# -- passwords -------------------------------------------------------------------------------------


def hash_password(password: str) -> str:
    """Argon2 hash. Raises Refused if the password is too short, too long or too common."""
    password = _as_typed_anywhere(password)
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(f"A password has {SHORTEST} to {LONGEST} characters.")
    if common_passwords.is_common(password) or len(set(password)) < 4:
        raise Refused("That password is among the first that anybody would try.")
    with _at_once:
        return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is right. Takes as long for a user that does not exist (None)."""
    password = _as_typed_anywhere(password[: 2 * LONGEST_EVER])
    if len(password) > LONGEST_EVER:
        password_hash = None  # longer than any password we accept
    try:
        with _at_once:
            nobody = _nobody()  # cached by a process's first login, of a known user or not
            _hasher.verify(password_hash or nobody, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return password_hash is not None


@functools.cache
def _nobody() -> str:
    """A dummy hash for unknown users: response time must not reveal which accounts exist."""
    return _hasher.hash("nobody has this password")


def _as_typed_anywhere(password: str) -> str:
    """NFKC: an ü is one code point from one keyboard and two from another."""
    return unicodedata.normalize("NFKC", password)


# -- users -----------------------------------------------------------------------------------------


def find_user(email: str) -> User | None:
    return db.session.scalar(sa.select(User).filter_by(email=canonical_email(email)))


def canonical_email(email: str) -> str:
    return email.replace("\0", "").strip().lower()[:254]


def add(email: str, role: User.Role, name: str = "", password_hash: str | None = None) -> User:
    """Add a user. Raises Refused. Does not commit."""
    email = canonical_email(email)
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,189}", email) or not email.isprintable():
        raise Refused(f"“{email}” is not an e-mail address.")
    if find_user(email) is not None:
        raise Refused(f"There is a user {email} already.")
    user = User(email=email, role=role, name=tidy_name(name), password_hash=password_hash)
    try:
        with db.session.begin_nested():
            db.session.add(user)
    except sa.exc.IntegrityError:  # added concurrently
        raise Refused(f"There is a user {email} already.") from None
    audit.note("user.add", f"{email} as {role}", subject=("user", user.id))
    return user


def change(user: User, *, role: User.Role, name: str) -> None:
    """Change role and name; a lower role ends all API tokens.

    Raises Refused for the last owner. Does not commit.
    """
    if role is User.Role.OWNER:
        hold(user)
    else:
        _leave_an_owner(user)
    if not role.covers(user.role):
        end_tokens(user, "the role was lowered", every=True)
    if role is not user.role:
        audit.note("user.role", f"{user.email}: {user.role} to {role}", subject=("user", user.id))
    user.role, user.name = role, tidy_name(name)


def disable(user: User) -> None:
    """Disable the user: end sessions, delete invitations and API tokens.

    The user's row stays, with what refers to it. Idempotent. Raises Refused for the last owner.
    Does not commit.
    """
    _leave_an_owner(user)
    if not user.is_enabled:
        return
    user.disabled_at = now()
    end_sessions(user)
    for table in (Invitation, ApiToken):
        db.session.execute(sa.delete(table).filter_by(user_id=user.id))
    audit.note("user.disable", user.email, subject=("user", user.id))


def enable(user: User) -> None:
    """Enable the user again, with the old password. Idempotent. Does not commit."""
    hold(user)
    if not user.is_enabled:
        user.disabled_at = None
        audit.note("user.enable", user.email, subject=("user", user.id))


def must_have_factor(role: User.Role, limits: Settings) -> bool:
    """Whether SECOND_FACTOR demands a second factor of this role."""
    demanded = limits.SECOND_FACTOR
    return demanded == "all" or (demanded == "office" and role.covers(User.Role.OFFICE))


def _leave_an_owner(user: User) -> None:
    """Raises Refused if this user is the last enabled owner."""
    lock(Lock.OWNERS)  # two owners could demote each other concurrently
    hold(user)
    if user.role is not User.Role.OWNER or not user.is_enabled:
        return
    others = sa.select(User.id).where(
        User.role == User.Role.OWNER, User.disabled_at.is_(None), User.id != user.id
    )
    if db.session.scalar(others.limit(1)) is None:
        raise Refused("That is the only owner: make somebody else an owner first.")


def hold(user: User) -> None:
    """Lock the user's row until the transaction ends, and reload it.

    Whoever changes a role, disables, or gives something to enabled users only, decides by it.
    """
    # Not the key: an audit entry that names the user need not wait.
    db.session.refresh(user, with_for_update={"key_share": True})


def tidy_name(name: str) -> str:
    """One line of printable characters, as long as a name may be."""
    return " ".join("".join(sign for sign in name if sign.isprintable()).split())[:120]


# -- sessions, invitations, tokens -----------------------------------------------------------------


def still_has_password(user: User, password_hash: str | None) -> bool:
    """Recheck that the user is enabled and has the password hash verified a moment ago.

    Locks the user's row until the transaction ends: a login in progress while the password is
    changed must not survive the change.
    """
    found = db.session.scalar(
        sa.select(User)
        .where(User.id == user.id, User.password_hash == password_hash, User.disabled_at.is_(None))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found is not None


def set_password(user: User, password_hash: str, *, keeps_tokens: bool = False) -> None:
    """Set a new password; end sessions and API tokens, void open invitations. Does not commit.

    Tokens that were made to outlive the password stay.
    """
    user.password_hash = password_hash
    end_sessions(user)
    if not keeps_tokens:
        end_tokens(user, "the password was changed")
    db.session.execute(sa.delete(Invitation).filter_by(user_id=user.id, used_at=None))
    throttle.forget_failures(strangers(user.email))
    mail.send_notice(user, "Your password was changed", "Your password was changed.")
    audit.note("password.change", user.email, subject=("user", user.id))


def end_sessions(user: User) -> None:
    """Log the user out on every device. Does not commit."""
    db.session.flush()  # lock the user's row first: a concurrent login waits, or is deleted below
    db.session.execute(sa.delete(UserSession).filter_by(user_id=user.id))


def end_session(user: User, session_id: uuid.UUID) -> bool:
    """Log one device out. Returns False if the session is not the user's. Does not commit."""
    return _rows(sa.delete(UserSession).filter_by(user_id=user.id, id=session_id)) == 1


def forget_old_sessions(idle: timedelta, longest: timedelta) -> None:
    """Delete expired sessions. Does not commit."""
    moment = now()
    db.session.execute(
        sa.delete(UserSession).where(
            sa.or_(UserSession.seen_at < moment - idle, UserSession.created_at < moment - longest)
        )
    )


def strangers(email: str) -> throttle.Allowance:
    """The rate limit of an account for devices that were never logged in to it.

    Ten guesses, then one after a minute, after two, … an hour: some forty a day, from any number of
    addresses.
    """
    key = f"account:{fingerprint(canonical_email(email))}"
    return throttle.Allowance(key, free=10, memory=timedelta(days=1))


def invite(user: User) -> str:
    """Create an invitation to choose a password; void earlier ones. Returns its secret token.

    Raises Refused for a disabled user. Does not commit.
    """
    hold(user)
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
    """The enabled user this invitation is for; None if it is used, expired or unknown."""
    return db.session.scalar(
        sa.select(User)
        .join(Invitation, Invitation.user_id == User.id)
        .where(_holds(token), User.disabled_at.is_(None))
    )


def accept(token: str, password_hash: str) -> User | None:
    """Use an invitation, once: of two concurrent calls one gets None. Does not commit."""
    user = invited(token)
    if user is None:
        return None
    db.session.refresh(user, with_for_update=True)  # may have been disabled concurrently
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


def add_token(
    user: User,
    name: str,
    scopes: Collection[ApiToken.Scope],
    *,
    lasts: timedelta | None = TOKEN_LASTS,
    outlives_password: bool = False,
) -> str:
    """Add an API token, which acts as this user. Returns the secret. Raises Refused.

    `lasts` None: until it is revoked. Does not commit.
    """
    name = tidy_name(name)
    if not name:
        raise Refused("Give it a name, so that you know later which program has it.")
    if not scopes:
        raise Refused("Choose what it may do.")
    hold(user)
    if not user.is_enabled:
        raise Refused(f"{user.email} is disabled: enable them first.")
    count = sa.select(sa.func.count()).select_from(ApiToken).filter_by(user_id=user.id)
    if (db.session.scalar(count) or 0) >= MOST_TOKENS:
        raise Refused(f"You have {MOST_TOKENS} tokens: revoke one that is not used any more.")
    token = TOKEN_PREFIX + new_token()
    row = ApiToken(
        user_id=user.id,
        fingerprint=fingerprint(token),
        name=name,
        scopes=[scope.value for scope in ApiToken.Scope if scope in scopes],
        expires_at=None if lasts is None else now() + lasts,
        outlives_password=outlives_password,
    )
    db.session.add(row)
    db.session.flush()
    audit.note("token.add", f"{name}: {', '.join(row.scopes)}", subject=("token", row.id))
    return token


def revoke_token(user: User, token_id: uuid.UUID) -> bool:
    """Revoke an API token. Returns False if it is not the user's. Does not commit."""
    name = db.session.scalar(
        sa.delete(ApiToken).filter_by(user_id=user.id, id=token_id).returning(ApiToken.name)
    )
    if name is None:
        return False
    audit.note("token.revoke", name, subject=("token", token_id))
    return True


def end_tokens(user: User, reason: str, *, every: bool = False) -> None:
    """Revoke the user's API tokens; those that outlive the password only if `every`.

    Does not commit.
    """
    rows = sa.delete(ApiToken).filter_by(user_id=user.id)
    rows = rows if every else rows.filter_by(outlives_password=False)
    for token_id, name in db.session.execute(rows.returning(ApiToken.id, ApiToken.name)).all():
        audit.note("token.revoke", f"{name}: {reason}", subject=("token", token_id))


def _rows(statement: sa.Delete | sa.Update) -> int:
    result = db.session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker
    return result.rowcount
