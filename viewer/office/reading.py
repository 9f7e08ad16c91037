"""Unread markers: a row for each user and unread conversation, deleted by reading it.

Nothing here commits.
"""

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer.extensions import db, now, run_upsert
from viewer.models import Checkpoint, Conversation, Message, Unread, User

UNDO_WITHIN = timedelta(hours=1)  # of marking all as read
_AT_ONCE = 500  # ids in one query
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


def mark_all_read(user: User, until: datetime) -> tuple[int, str]:
    """Mark all read, except conversations with messages newer than `until`.

    Returns how many, and the name of this act for `unmark_all_read`.
    """
    seen = sa.select(Conversation.id).where(
        Conversation.id == Unread.conversation_id, Conversation.latest_at <= until
    )
    # Sent before `until` but received after it: a delivery may be late.
    late = sa.select(Message.id).where(
        Message.conversation_id == Unread.conversation_id,
        Message.sent_at >= Unread.since,
        Message.created_at > until,
    )
    was = db.session.execute(
        sa.delete(Unread)
        .where(Unread.user_id == user.id, seen.exists(), ~late.exists())
        .returning(Unread.conversation_id, Unread.since)
        .execution_options(synchronize_session=False)
    ).all()
    act = uuid.uuid4().hex
    if was:
        rows = [[row.conversation_id.hex, row.since.isoformat()] for row in was]
        Checkpoint.write(_undo_of(user), json.dumps({"act": act, "was": rows}))
    return len(was), act


class TooLate(Exception):
    """Nothing to undo any more: too long ago, undone, or followed by another such act."""


def unmark_all_read(user: User, act: str) -> int:
    """Make unread again exactly what `mark_all_read` found unread. Returns how many conversations.

    What came, or was marked, since then stays unread. Raises TooLate. Does not commit.
    """
    mark = db.session.get(Checkpoint, _undo_of(user), populate_existing=True)
    kept = json.loads(mark.value) if mark and now() - mark.updated_at <= UNDO_WITHIN else {}
    if kept.get("act") != act:
        raise TooLate
    was = {uuid.UUID(one): datetime.fromisoformat(since) for one, since in kept["was"]}
    ids = list(was)
    known: set[uuid.UUID] = set()  # some may have been merged into another meanwhile
    for start in range(0, len(ids), _AT_ONCE):
        wanted = Conversation.id.in_(ids[start : start + _AT_ONCE])
        known |= set(db.session.scalars(sa.select(Conversation.id).where(wanted)))
    for conversation_id in sorted(known):  # in one order: no deadlock
        run_upsert(
            _unread_again, user_id=user.id, conversation_id=conversation_id,
            since=was[conversation_id],
        )  # fmt: skip
    Checkpoint.forget(_undo_of(user))
    return len(known)


def _undo_of(user: User) -> str:
    """One for each user: the newest act is the one that can be undone."""
    return f"undo read {user.id.hex}"


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


def _unread_again(insert: Any) -> sa.Insert:
    """Unread from the earlier of both moments on: new messages stay new."""
    made = insert(Unread.__table__)
    since = sa.case(
        (made.excluded.since < _unread.c.since, made.excluded.since), else_=_unread.c.since
    )
    changed: sa.Insert = made.on_conflict_do_update(
        index_elements=[_unread.c.user_id, _unread.c.conversation_id], set_={"since": since}
    )
    return changed
