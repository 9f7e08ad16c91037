"""Count the files of conversations by kind."""

import uuid
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.models.media import asks_for_attention

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType

_KINDS = {MediaType.PHOTO: "photo", MediaType.VIDEO: "video"}

_media = MediaAttachment.__table__.c
_kinds = (
    _media.conversation_id,
    _media.media_type,
    _media.role,
    _media.state,
    _media.trouble,
    _media.accepted_at,
    _media.is_unfiled,
)
_COUNTS = (
    sa.select(*_kinds, sa.func.count())
    .where(
        _media.conversation_id.in_(sa.bindparam("ids", expanding=True)),
        _media.state.not_in(sa.bindparam("hidden", expanding=True)),
        MediaAttachment.was_sent(),
    )
    .group_by(*_kinds)
)


def counts_of(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counter[str]]:
    """Count per conversation: all, attention, photo, voicemail, video, file, unfiled_<kind>.

    One query. Excludes trash and duplicates. A call recording counts in `all`, `attention` only.
    """
    counts: dict[uuid.UUID, Counter[str]] = {one: Counter() for one in ids}
    rows = db.session.execute(_COUNTS, {"ids": ids, "hidden": [State.TRASHED, State.DUPLICATE]})
    for conversation_id, media_type, role, state, trouble, accepted_at, is_unfiled, count in rows:
        tally = counts[conversation_id]
        tally["all"] += count
        tally["attention"] += count if asks_for_attention(state, trouble, accepted_at) else 0
        if role is not Role.RECORDING:
            kind = "voicemail" if role is Role.VOICEMAIL else _KINDS.get(media_type, "file")
            tally[kind] += count
            tally[f"unfiled_{kind}"] += count if is_unfiled and state is State.STORED else 0
    return counts
