"""Conversations, messages and contacts. A message is a text or a call, both in one timeline."""

import enum
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Lock, Model, db, lock, lock_parts, now
from viewer.models.media import MediaAttachment
from viewer.models.merging import LastWriteWins

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PhoneLine(Model):
    """A phone line of ours: the provider's id of it, and its number once we know it."""

    __tablename__ = "lines"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    provider_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    number: Mapped[str | None] = mapped_column(String(60), unique=True)
    name: Mapped[str | None] = mapped_column(String(255))


class RecordingConsent(enum.StrEnum):
    """What the customer said to calls being recorded."""

    UNKNOWN = "unknown"
    ANNOUNCED = "announced"  # they were told, and stayed on the line
    AGREED = "agreed"
    REFUSED = "refused"  # recordings are not played


class Conversation(Model):
    """All messages between one line of ours and the same participants."""

    __tablename__ = "conversations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    # The other parties' numbers, sorted and joined by commas. Empty while nobody said who they are.
    participants: Mapped[str] = mapped_column(sa.Text, default="")
    line: Mapped[str | None] = mapped_column(String(255))  # PN…
    created_at: Mapped[datetime] = mapped_column(default=now)
    # The time of the newest message: what the inbox is sorted by.
    latest_at: Mapped[datetime] = mapped_column(default=now)
    # What the customer said to calls being recorded; who noted it is in the audit log.
    recording_consent: Mapped[RecordingConsent] = mapped_column(
        default=RecordingConsent.UNKNOWN, server_default="unknown"
    )

    messages: Mapped[list["Message"]] = relationship(back_populates="conversation")
    media: Mapped[list[MediaAttachment]] = relationship(back_populates="conversation")

    __table_args__ = (
        sa.Index("ix_conversations_latest", "latest_at", "id"),
        sa.Index("ix_conversations_line_latest", "line", "latest_at", "id"),
        # A group of hundreds is longer than an entry of PostgreSQL's usual index may be.
        sa.Index("ix_conversations_participants", "participants", postgresql_using="hash"),
    )

    @property
    def numbers(self) -> list[str]:
        return self.participants.split(",") if self.participants else []

    @classmethod
    def find(cls, conversation_id: uuid.UUID) -> Self | None:
        """Find by id, or by the id it had before it was merged into another."""
        found = db.session.get(cls, conversation_id)
        if found is None and (alias := db.session.get(ConversationAlias, str(conversation_id))):
            found = db.session.get(cls, alias.conversation_id)
        return found


class ConversationAlias(Model):
    """An id by which the provider knows a conversation (CN…)."""

    __tablename__ = "conversation_aliases"

    provider_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id"), index=True)

    conversation: Mapped[Conversation] = relationship()  # so that both are inserted in this order


class Message(LastWriteWins, Model):
    """A text or a call."""

    __tablename__ = "messages"

    class Kind(enum.StrEnum):
        TEXT = "text"
        CALL = "call"

    class Direction(enum.StrEnum):
        INCOMING = "incoming"
        OUTGOING = "outgoing"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id"))
    provider_id: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[Kind]
    direction: Mapped[Direction | None]
    sender: Mapped[str | None] = mapped_column(String(60))  # canonical number
    colleague: Mapped[str | None] = mapped_column(String(255))  # US…, who of us wrote or answered
    body: Mapped[str | None] = mapped_column(sa.Text)
    status: Mapped[str | None] = mapped_column(String(40))
    error_code: Mapped[str | None] = mapped_column(String(40))
    sent_at: Mapped[datetime] = mapped_column(default=now)
    created_at: Mapped[datetime] = mapped_column(default=now)

    # Calls
    answered_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    duration_seconds: Mapped[float | None]
    has_voicemail: Mapped[bool | None]
    voicemail_transcript: Mapped[str | None] = mapped_column(sa.Text)
    transcript: Mapped[list[Any] | None]  # [{text, start, end, number, user}]
    summary: Mapped[list[Any] | None]
    next_steps: Mapped[list[Any] | None]

    conversation: Mapped[Conversation] = relationship(back_populates="messages")
    media: Mapped[list[MediaAttachment]] = relationship(
        back_populates="message", order_by="MediaAttachment.position"
    )

    __table_args__ = (
        sa.Index("ix_messages_timeline", "conversation_id", "sent_at", "id"),
        sa.Index("ix_messages_sender", "sender", "sent_at"),
    )

    @staticmethod
    def new_id(arrived_at: datetime) -> uuid.UUID:
        """An id that grows with the time of arrival (UUID version 7, to the microsecond).

        By it lists order what was sent at one moment: the order of arrival, which another import
        of the same events keeps. Rows from before have random ones.
        """
        milliseconds, rest = divmod((arrived_at - _EPOCH) // timedelta(microseconds=1), 1000)
        chance = uuid.uuid4().int & ((1 << 62) - 1)
        return uuid.UUID(int=milliseconds << 80 | 7 << 76 | rest << 64 | 2 << 62 | chance)

    @classmethod
    def hold(cls, *provider_ids: str) -> None:
        """Lock these messages, their files and their search entries: ingest waits. Idempotent.

        Until the transaction ends. Call it before taking any row lock, in ingest's lock order.
        """
        lock(Lock.INGEST, shared=True)
        lock_parts(*map(cls.part, provider_ids))

    @staticmethod
    def part(provider_id: str) -> str:
        """For `lock_parts`: a message, which may not be there yet, and all that belongs to it."""
        return f"message {provider_id}"

    def learn(self, thread: str | None, line: str | None, numbers: Iterable[str]) -> None:
        """Add the participants a delivery named. All of them decide where the message belongs."""
        self.add("threads", *filter(None, [thread]))
        self.add("lines", *filter(None, [line]))
        self.add("numbers", *numbers)

    @property
    def threads(self) -> list[str]:
        """The provider's ids (CN…) of its conversation: none or one, as far as anybody knows."""
        return self.members("threads")

    @property
    def line(self) -> str | None:
        return next(iter(self.members("lines")), None)

    @property
    def numbers(self) -> list[str]:
        """All participants, our own numbers included."""
        return self.members("numbers")

    @property
    def is_call(self) -> bool:
        return self.kind is self.Kind.CALL

    @property
    def is_incoming(self) -> bool:
        return self.direction is self.Direction.INCOMING

    @property
    def is_missed(self) -> bool:
        return (
            self.is_call
            and self.is_incoming
            and self.answered_at is None
            and self.completed_at is not None
        )

    @property
    def seconds(self) -> float | None:
        """How long the call was spoken; some dialects leave the subtraction to us."""
        if self.duration_seconds is not None:
            return self.duration_seconds
        if self.answered_at and self.completed_at:
            return max(0.0, (self.completed_at - self.answered_at).total_seconds())
        return None


class Contact(LastWriteWins, Model):
    """A person in the provider's address book."""

    __tablename__ = "contacts"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    provider_id: Mapped[str] = mapped_column(String(255), unique=True)
    first_name: Mapped[str | None] = mapped_column(String(255))
    last_name: Mapped[str | None] = mapped_column(String(255))
    company: Mapped[str | None] = mapped_column(String(255))
    role: Mapped[str | None] = mapped_column(String(255))
    deleted: Mapped[bool] = mapped_column(default=False)
    known_numbers: Mapped[list[Any]] = mapped_column(default=list)  # as heard; rows in `numbers`

    numbers: Mapped[list["ContactNumber"]] = relationship(
        back_populates="contact", cascade="all, delete-orphan"
    )

    @property
    def name(self) -> str:
        return full_name(self.first_name, self.last_name, self.company)


def full_name(first_name: str | None, last_name: str | None, company: str | None) -> str:
    """What a contact is called: the person's name, or else the company's."""
    return " ".join(part for part in (first_name, last_name) if part) or company or ""


class ContactNumber(Model):
    """One number of a contact. Two contacts may share one: spouses do."""

    __tablename__ = "contact_numbers"

    contact_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[str] = mapped_column(String(60), primary_key=True, index=True)

    contact: Mapped[Contact] = relationship(back_populates="numbers")
