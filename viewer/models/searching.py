"""What the search looks through: words of messages, names and numbers of conversations."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model
from viewer.models.conversations import Conversation, Message


class SearchEntry(Model):
    """The words of one message, or the names and numbers of one conversation.

    `words` is folded: lower case, no accents, so that both databases find alike. SQLite's FTS5
    table and PostgreSQL's tsvector column stand beside it; the migration makes them.
    """

    __tablename__ = "search_entries"

    id: Mapped[int] = mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    message_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("messages.id", ondelete="CASCADE"), unique=True
    )
    # Of an entry of names; a message's conversation is the message's business.
    conversation_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), unique=True
    )
    at: Mapped[datetime]  # newest first
    words: Mapped[str] = mapped_column(sa.Text)

    message: Mapped[Message | None] = relationship()
    conversation: Mapped[Conversation | None] = relationship()

    __table_args__ = (
        sa.Index("ix_search_entries_at", "at", "id"),
        sa.CheckConstraint("(message_id IS NULL) != (conversation_id IS NULL)", name="one_subject"),
    )
