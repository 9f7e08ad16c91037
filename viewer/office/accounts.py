"""Accounts of the staff: passwords, invitations, and their end.

Hashing takes a tenth of a second on purpose: do it before a transaction begins, never inside.
"""

import re

import argon2
import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.models import User, UserSession
from viewer.office import audit

SHORTEST, LONGEST = 10, 200  # characters of a password

_hasher = argon2.PasswordHasher()
# For names nobody has: telling them from known ones by the clock must not work.
_NOBODY = _hasher.hash("nobody has this password")


class Refused(Exception):
    """What was asked for cannot be; the message says why, for a person."""


def hash_password(password: str) -> str:
    """Raises Refused if it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(f"A password has {SHORTEST} to {LONGEST} characters.")
    return _hasher.hash(password)


def matches(password_hash: str | None, password: str) -> bool:
    """Whether it is the password. Takes as long for a user that does not exist (None)."""
    try:
        _hasher.verify(password_hash or _NOBODY, password[:LONGEST])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return password_hash is not None


def find(email: str) -> User | None:
    return db.session.scalar(sa.select(User).filter_by(email=canonical_email(email)))


def canonical_email(email: str) -> str:
    return email.strip().lower()


def add(email: str, role: User.Role, name: str = "", password_hash: str | None = None) -> User:
    """A new user. Raises Refused. Does not commit."""
    email = canonical_email(email)
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,189}", email):
        raise Refused(f"{email!r} is not an e-mail address.")
    if find(email) is not None:
        raise Refused(f"There is a user {email} already.")
    user = User(email=email, role=role, name=name.strip()[:120], password_hash=password_hash)
    db.session.add(user)
    db.session.flush()
    audit.note("user.add", f"{email} as {role}", subject=("user", user.id))
    return user


def set_password(user: User, password_hash: str) -> None:
    """A new password; whoever was logged in with the old one is out. Does not commit."""
    user.password_hash = password_hash
    end_sessions(user)
    audit.note("password.change", user.email, subject=("user", user.id))


def disable(user: User) -> None:
    """No way in any more; what they did stays theirs. Raises Refused. Does not commit."""
    others = sa.select(User.id).where(
        User.role == User.Role.OWNER, User.disabled_at.is_(None), User.id != user.id
    )
    if user.role is User.Role.OWNER and db.session.scalar(others.limit(1)) is None:
        raise Refused("That is the only owner: make somebody else an owner first.")
    user.disabled_at = user.disabled_at or now()
    end_sessions(user)
    audit.note("user.disable", user.email, subject=("user", user.id))


def end_sessions(user: User) -> None:
    db.session.execute(sa.delete(UserSession).filter_by(user_id=user.id))
