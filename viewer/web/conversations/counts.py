"""Count the files of conversations by kind."""

import uuid
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from viewer.extensions import db
from viewer.models import MediaAttachment

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType

_KINDS = {MediaType.PHOTO: "photo", MediaType.VIDEO: "video"}


def counts_of(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counter[str]]:
    """Count per conversation: all, attention, photo, voicemail, video, file, unfiled_<kind>.

    One query. Excludes the trash. A call recording counts in `all` and `attention` only.
    """
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
        tally["attention"] += count if state in (State.NEEDS_ATTENTION, State.DAMAGED) else 0
        if role is not Role.RECORDING:
            kind = "voicemail" if role is Role.VOICEMAIL else _KINDS.get(media_type, "file")
            tally[kind] += count
            tally[f"unfiled_{kind}"] += count if is_unfiled and state is State.STORED else 0
    return counts
