"""Mark a conversation as read when a user opens its newest messages."""

import uuid
from datetime import datetime

from viewer.extensions import begin_writing, db
from viewer.office import reading
from viewer.web.access import the_user


def seen(conversation_id: uuid.UUID) -> datetime | None:
    """Mark the conversation as read, and return since when it was unread; None if it was not.

    Commits. Call it before anything else is loaded: it restarts the transaction as a write.
    """
    return mark_seen(conversation_id, reading.unread_since(the_user(), conversation_id))


def mark_seen(conversation_id: uuid.UUID, since: datetime | None) -> datetime | None:
    """The same, for a caller who knows since when it is unread. Returns that."""
    if since is not None:
        begin_writing()
        reading.mark_read(the_user(), conversation_id)
        db.session.commit()
    return since
