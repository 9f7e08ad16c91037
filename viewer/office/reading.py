"""What each of the staff has read. A row says that something is new; reading takes the row away.

Nothing here commits.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now
from viewer.models import Conversation, Message, Unread, User

MANY = 100  # nobody reads an exact figure beyond: counting stops there


def unread_conversations(user: User) -> int:
    """In how many conversations something is new; MANY for that many or more."""
    some = sa.select(Unread.user_id).filter_by(user_id=user.id).limit(MANY).subquery()
    return db.session.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def unread_messages(user: User, ids: list[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Of these conversations the unread ones, and how many messages are new (at most MANY).

    None is a number, too: somebody marked a conversation as unread to come back to it.
    """
    new = (
        sa.select(Message.id)
        .where(
            Message.conversation_id == Unread.conversation_id,
            Message.sent_at >= Unread.since,
            Message.direction == Message.Direction.INCOMING,
        )
        .correlate(Unread)
        .limit(MANY)
        .subquery()
    )
    counted = sa.select(sa.func.count()).select_from(new).scalar_subquery()
    rows = db.session.execute(
        sa.select(Unread.conversation_id, counted).where(
            Unread.user_id == user.id, Unread.conversation_id.in_(ids)
        )
    )
    return {row.conversation_id: row[1] for row in rows}


def unread_since(user: User, conversation_id: uuid.UUID) -> datetime | None:
    """When the first message was sent that is new to this user; None where nothing is."""
    row = db.session.get(Unread, (user.id, conversation_id))
    return row.since if row else None


def mark_read(user: User, conversation_id: uuid.UUID) -> None:
    db.session.execute(
        sa.delete(Unread).filter_by(user_id=user.id, conversation_id=conversation_id)
    )


def mark_all_read(user: User, until: datetime) -> int:
    """Nothing is new any more, but for conversations that moved on after `until`. How many were."""
    seen = sa.select(Conversation.id).where(
        Conversation.id == Unread.conversation_id, Conversation.latest_at <= until
    )
    # Sent before and brought after: a delivery may be late.
    late = sa.select(Message.id).where(
        Message.conversation_id == Unread.conversation_id,
        Message.sent_at >= Unread.since,
        Message.created_at > until,
    )
    done = db.session.execute(
        sa.delete(Unread)
        .where(Unread.user_id == user.id, seen.exists(), ~late.exists())
        .execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def mark_unread(user: User, conversation_id: uuid.UUID) -> None:
    """Come back to it later: its last message from outside is new again."""
    lock(Lock.INGEST)  # which tells readers of news: two rows of one would be one too many
    if db.session.get(Unread, (user.id, conversation_id)) is not None:
        return
    since = db.session.scalar(
        sa.select(Message.sent_at)
        .filter_by(conversation_id=conversation_id, direction=Message.Direction.INCOMING)
        .order_by(Message.sent_at.desc())
        .limit(1)
    )
    db.session.add(Unread(user_id=user.id, conversation_id=conversation_id, since=since or now()))
