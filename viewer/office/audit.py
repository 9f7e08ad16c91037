"""The trail: who did what, and when."""

import uuid

from flask import g, has_request_context, request

from viewer.extensions import db
from viewer.models import AuditEntry, User


def note(
    action: str,
    words: str = "",
    *,
    by: User | None = None,
    subject: tuple[str, uuid.UUID] | None = None,
) -> None:
    """Add a line to the trail, in the transaction of what it tells. Does not commit.

    `by` is who asks, if not said; without a request it is the system.
    """
    user: User | None = by or (g.get("user") if has_request_context() else None)
    kind, identity = subject or (None, None)
    db.session.add(
        AuditEntry(
            user_id=user.id if user else None,
            who=user.email if user else "system",
            action=action,
            subject_type=kind,
            subject_id=identity,
            words=words[:500],
            address=request.remote_addr if has_request_context() else None,
        )
    )
