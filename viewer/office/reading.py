"""Unread markers: a row for each user and unread conversation, deleted by reading it.

Nothing here commits.
"""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from viewer.extensions import db, now, run_upsert
from viewer.models import Conversation, Message, Unread, User

MANY = 100  # counting stops here: nobody needs a larger exact figure


_unread, _message = Unread.__table__, Message.__table__

# The number of unread conversations of `user_id`, at most MANY: a column of another query.
UNREAD_CONVERSATIONS = (
    sa.select(sa.func.count())
    .select_from(
        sa.select(_unread.c.user_id)
        .where(_unread.c.user_id == sa.bindparam("user_id"))
        .limit(MANY)
        .subquery()
    )
    .scalar_subquery()
)
_new = (
    sa.select(_message.c.id)
    .where(
        _message.c.conversation_id == _unread.c.conversation_id,
        _message.c.sent_at >= _unread.c.since,
        _message.c.direction == Message.Direction.INCOMING,
    )
    .correlate(_unread)
    .limit(MANY)
    .subquery()
)
# The number of new messages of a conversation for `user_id`, at most MANY: a column of a query of
# conversations. None if it is read; it may be 0: the user marked it as unread to come back to it.
NEW_MESSAGES = (
    sa.select(sa.select(sa.func.count()).select_from(_new).scalar_subquery())
    .select_from(_unread)
    .where(
        _unread.c.user_id == sa.bindparam("user_id"),
        _unread.c.conversation_id == Conversation.__table__.c.id,
    )
    .correlate(Conversation.__table__)
    .scalar_subquery()
)


def unread_since(user: User, conversation_id: uuid.UUID) -> datetime | None:
    """When the first unread message was sent; None if the conversation is read."""
    row = db.session.get(Unread, (user.id, conversation_id))
    return row.since if row else None


def mark_read(user: User, conversation_id: uuid.UUID) -> None:
    db.session.execute(
        sa.delete(Unread).filter_by(user_id=user.id, conversation_id=conversation_id)
    )


def mark_all_read(user: User, until: datetime) -> int:
    """Mark all read, except conversations with messages newer than `until`. Returns how many."""
    seen = sa.select(Conversation.id).where(
        Conversation.id == Unread.conversation_id, Conversation.latest_at <= until
    )
    # Sent before `until` but received after it: a delivery may be late.
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
    """Mark the conversation unread, from its last incoming message on. Idempotent."""
    since = db.session.scalar(
        sa.select(Message.sent_at)
        .filter_by(conversation_id=conversation_id, direction=Message.Direction.INCOMING)
        .order_by(Message.sent_at.desc())
        .limit(1)
    )
    # Ingest, or a second click, may insert the same row now.
    run_upsert(_unread_row, user_id=user.id, conversation_id=conversation_id, since=since or now())


def _unread_row(insert: Any) -> sa.Insert:
    made: sa.Insert = insert(Unread.__table__).on_conflict_do_nothing()
    return made
