"""Whoever looks at the newest messages of a conversation has read it."""

import uuid
from datetime import datetime

from viewer.extensions import begin_writing, db
from viewer.office import reading
from viewer.web.access import the_user


def seen(conversation_id: uuid.UUID) -> datetime | None:
    """Note it, and say since when something was new. Ask before anything else is loaded."""
    since = reading.unread_since(the_user(), conversation_id)
    if since is not None:
        begin_writing()
        reading.mark_read(the_user(), conversation_id)
        db.session.commit()
    return since
