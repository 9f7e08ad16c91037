"""What the search looks through: words of messages, names and numbers of conversations."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import sqlalchemy as sa
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from viewer.extensions import Model, db
from viewer.models.conversations import Conversation, Message

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Term:
    """Words that stand side by side, folded; of a prefix, the last is only how a word begins."""

    words: tuple[str, ...]
    is_prefix: bool = False


class SearchEntry(Model):
    """The words of one message, or the names and numbers of one conversation.

    `words` is folded: lower case, no accents, so that both databases find alike. SQLite's FTS5
    table and PostgreSQL's index stand beside it; the migrations make them.

    The id is the entry's time in microseconds, people after all messages: so the newest are first
    in the order in which a full text gives its rows anyway, and a page of a hundred thousand hits
    costs as much as one of fifty.
    """

    __tablename__ = "search_entries"

    PEOPLE = 1 << 60  # ids of names and numbers begin here

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
    at: Mapped[datetime]
    words: Mapped[str] = mapped_column(sa.Text)

    message: Mapped[Message | None] = relationship()
    conversation: Mapped[Conversation | None] = relationship()

    __table_args__ = (
        sa.CheckConstraint("(message_id IS NULL) != (conversation_id IS NULL)", name="one_subject"),
    )

    @classmethod
    def of_message(cls, message: Message, words: str) -> Self:
        # The provider's times are of milliseconds: what is below tells messages of one apart.
        stamp = stamp_of(message.sent_at) // 1000 * 1000 + message.id.int % 1000
        return cls(id=stamp, message_id=message.id, at=message.sent_at, words=words)

    @classmethod
    def of_people(cls, conversation: Conversation, words: str) -> Self:
        """Its time is the day of the newest message: it moves once a day, not with each message."""
        stamp = stamp_of(conversation.latest_at) // _DAY * _DAY + conversation.id.int % _DAY
        return cls(
            id=cls.PEOPLE + stamp,
            conversation_id=conversation.id,
            at=conversation.latest_at,
            words=words,
        )

    @classmethod
    def matching(cls, terms: Sequence[Term], *, first: int, below: int, limit: int) -> list[int]:
        """Ids of entries with all of these terms, first <= id < below, newest first."""
        if db.engine.dialect.name == "postgresql":
            return _in_postgres(terms, first, below, limit)
        return _in_sqlite(terms, first, below, limit)


def as_fts5(terms: Sequence[Term]) -> str:
    """All of these terms, in the language of SQLite's full text."""
    return " AND ".join(
        f'"{" ".join(term.words)}"{" *" if term.is_prefix else ""}' for term in terms
    )


def as_tsquery(terms: Sequence[Term]) -> str:
    """All of these terms, in the language of PostgreSQL's full text."""
    return " & ".join(_tsquery(term) for term in terms)


def stamp_of(moment: datetime) -> int:
    """The moment in microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


# Words are letters and digits alone, so no word can be read as a part of the query's language.


def _in_sqlite(terms: Sequence[Term], first: int, below: int, limit: int) -> list[int]:
    return list(
        db.session.scalars(
            sa.text(
                "SELECT rowid FROM search_words WHERE search_words MATCH :query"
                " AND rowid >= :first AND rowid < :below ORDER BY rowid DESC LIMIT :limit"
            ),
            {"query": as_fts5(terms), "first": first, "below": below, "limit": limit},
        )
    )


def _in_postgres(terms: Sequence[Term], first: int, below: int, limit: int) -> list[int]:
    """Messages: by its counts of words it walks from the newest, or gathers the few hits.

    What messages say often, people are hardly ever called. They have an index of their own, and
    are gathered; left alone, it would walk through all of them.
    """
    query = _PEOPLE if first >= SearchEntry.PEOPLE else _MESSAGES
    wanted = {"query": as_tsquery(terms), "first": first, "below": below, "limit": limit}
    return list(db.session.scalars(query, wanted))


_MESSAGES = sa.text(
    "SELECT id FROM search_entries WHERE search_words @@ to_tsquery('simple', :query)"
    " AND id >= :first AND id < :below ORDER BY id DESC LIMIT :limit"
)
_PEOPLE = sa.text(
    "WITH hits AS MATERIALIZED (SELECT id FROM search_entries"
    " WHERE search_words @@ to_tsquery('simple', :query)"
    " AND id >= 1152921504606846976)"  # SearchEntry.PEOPLE, as a number, as in the index
    " SELECT id FROM hits WHERE id >= :first AND id < :below ORDER BY id DESC LIMIT :limit"
)


def _tsquery(term: Term) -> str:
    neighbours = " <-> ".join(f"'{word}'" for word in term.words)
    return f"({neighbours}{':*' if term.is_prefix else ''})"
