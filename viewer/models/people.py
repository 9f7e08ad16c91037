"""Users, sessions, tokens, unread marks and the audit log."""

import enum
import hashlib
import secrets
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model, now
from viewer.models.indexes import condition_on, partial_index

TOKEN_BYTES = 32
TOKEN_ENDS_SOON = timedelta(days=14)  # before that its user is warned


def new_token() -> str:
    """A secret for a URL or a cookie. Store only its `fingerprint`."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def fingerprint(token: str) -> str:
    """The hash stored for a token. The token is long and random, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


class User(Model):
    """One of the staff."""

    __tablename__ = "users"

    class Role(enum.StrEnum):
        FIELD = "field"  # see, play, link
        OFFICE = "office"  # also edit work records, share, retry
        OWNER = "owner"  # also users, status, storage, purge

        def covers(self, wanted: "User.Role") -> bool:
            """Whether this role may do what `wanted` may."""
            ranks = list(type(self))
            return ranks.index(self) >= ranks.index(wanted)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    email: Mapped[str] = mapped_column(String(254), unique=True)  # lower case
    name: Mapped[str] = mapped_column(String(120), default="")
    role: Mapped[Role] = mapped_column(default=Role.FIELD)
    password_hash: Mapped[str | None] = mapped_column(String(255))  # None until they chose one
    created_at: Mapped[datetime] = mapped_column(default=now)
    disabled_at: Mapped[datetime | None]
    playback_rate: Mapped[float] = mapped_column(default=1.0)  # of voicemails
    totp_secret: Mapped[str | None] = mapped_column(String(255))  # encrypted: office/totp.py
    totp_step: Mapped[int | None] = mapped_column(sa.BigInteger)  # of the last code used
    has_second_factor: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    factors_reset_at: Mapped[datetime | None]  # until they were told

    sessions: Mapped[list["UserSession"]] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None

    @property
    def title(self) -> str:
        return self.name or self.email


class UserSession(Model):
    """A login on one device. Deleting the row ends it at once, whatever the cookie says."""

    __tablename__ = "user_sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    device: Mapped[str | None] = mapped_column(String(255))  # the browser's own words
    # When they last proved who they are; None: not since that is noted.
    confirmed_at: Mapped[datetime | None] = mapped_column(default=now)
    # Its user never logged in there before, and has not said since that it was them.
    is_new_device: Mapped[bool] = mapped_column(default=False, server_default=sa.false())

    user: Mapped[User] = relationship(back_populates="sessions")


class Invitation(Model):
    """A link with which a person sets a password: the first, or one to replace a forgotten one."""

    __tablename__ = "invitations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()


class ApiToken(Model):
    """A token with which another program acts for a user.

    It may do what is both in its scopes and allowed to the user's role.
    """

    __tablename__ = "api_tokens"

    class Scope(enum.StrEnum):
        READ = "read"  # conversations, files, work records
        LINK = "link"  # link files to work records, and unlink them
        WRITE = "write"  # whatever the API can change, links included
        METRICS = "metrics"  # /metrics alone

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(120))
    scopes: Mapped[list[Any]] = mapped_column(default=list)  # values of Scope
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]  # None: when somebody revokes it
    outlives_password: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()

    @property
    def has_ended(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()

    @property
    def ends_soon(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now() + TOKEN_ENDS_SOON


class Throttle(Model):
    """A rate limit's counter of failed attempts, by account, address or device. Needs no Redis."""

    __tablename__ = "throttles"

    key: Mapped[str] = mapped_column(String(120), primary_key=True)  # "account:…", "address:…"
    failures: Mapped[int] = mapped_column(default=0)
    first_at: Mapped[datetime] = mapped_column(default=now)
    until: Mapped[datetime | None]  # no try before; in the past: when the last one was


class AuditEntry(Model):
    """An entry of the audit log: who did what, and when. Outlives the user and the object.

    Append-only, except that what can be repeated at will is counted, one entry an hour. A sealed
    entry is a link of the hash chain (`audit_chain`); of it, only words, who and address may be
    erased, together with the salt.
    """

    __tablename__ = "audit_entries"

    UNSEALED = "chain IS NULL"

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    who: Mapped[str] = mapped_column(String(254))  # the e-mail address then, or "system"
    action: Mapped[str] = mapped_column(String(60))  # "login", "link", "share.revoke"
    subject_type: Mapped[str | None] = mapped_column(String(30))  # "media", "record", "user", …
    subject_id: Mapped[uuid.UUID | None]
    words: Mapped[str] = mapped_column(String(500), default="")
    address: Mapped[str | None] = mapped_column(String(60))  # of the client
    times: Mapped[int] = mapped_column(default=1)

    # The seal. `place` counts in the order of commits, without gaps; `id` does neither.
    place: Mapped[int | None] = mapped_column(sa.BigInteger)
    sealed_at: Mapped[datetime | None]  # long after `at`: the entry is older than the chain
    salt: Mapped[str | None] = mapped_column(String(32))  # None: its words were erased
    digest: Mapped[str | None] = mapped_column(String(64))  # of salt, words, who, address
    chain: Mapped[str | None] = mapped_column(String(64))  # of the one before, and all else

    __table_args__ = (
        sa.Index("uq_audit_entries_place", "place", unique=True),
        # What is counted in this hour, and what is to be sealed: few rows.
        partial_index("ix_audit_entries_unsealed", UNSEALED, "action", "subject_id"),
        sa.Index("ix_audit_entries_subject", "subject_id", "at"),
        # What the trail is filtered by, newest first.
        sa.Index("ix_audit_entries_who", "who", "id"),
        sa.Index("ix_audit_entries_action", "action", "id"),
    )

    @classmethod
    def is_unsealed(cls) -> sa.ColumnElement[bool]:
        return condition_on(cls, cls.UNSEALED)


class AuditChain(Model):
    """The head of the audit log's hash chain, and how far it was verified. One row.

    Whoever adds a link locks it, as the last thing before the commit.
    """

    __tablename__ = "audit_chain"

    START = "0" * 64  # what the first link is chained to

    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    chain: Mapped[str] = mapped_column(String(64), default=START)
    verified_place: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    verified_chain: Mapped[str] = mapped_column(String(64), default=START)
    verified_at: Mapped[datetime | None]  # the last time, whatever it found
    verified_fully_at: Mapped[datetime | None]  # the last time from the first link on, found whole
    problem: Mapped[str | None] = mapped_column(sa.Text)  # what the last time found


class Unread(Model):
    """A conversation with something new that this user has not opened since."""

    __tablename__ = "unread"

    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    conversation_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    since: Mapped[datetime]  # when the first unread message was sent
