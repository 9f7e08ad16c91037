"""How many files conversations hold, and of which kind."""

import uuid
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from viewer.extensions import db
from viewer.models import MediaAttachment

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType


def counts_of(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counter[str]]:
    """For each conversation: all, photos, voicemails, attention, unfiled. Not what was trashed."""
    counts: dict[uuid.UUID, Counter[str]] = {one: Counter() for one in ids}
    kinds = (
        MediaAttachment.conversation_id,
        MediaAttachment.media_type,
        MediaAttachment.role,
        MediaAttachment.state,
        MediaAttachment.is_unfiled,
    )
    rows = db.session.execute(
        sa.select(*kinds, sa.func.count())
        .where(MediaAttachment.conversation_id.in_(ids), MediaAttachment.state != State.TRASHED)
        .group_by(*kinds)
    )
    for conversation_id, media_type, role, state, is_unfiled, count in rows:
        tally = counts[conversation_id]
        tally["all"] += count
        tally["photos"] += count if media_type is MediaType.PHOTO else 0
        tally["voicemails"] += count if role is Role.VOICEMAIL else 0
        tally["attention"] += count if state in (State.NEEDS_ATTENTION, State.DAMAGED) else 0
        tally["unfiled"] += count if is_unfiled and state is State.STORED else 0
    return counts
