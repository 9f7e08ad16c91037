"""Show two rows of one message as one where their bytes are the same.

Two generations of webhooks may give one photo different addresses. Nothing in them says that it is
one, so both are downloaded, and only then it is known. Rows and bytes stay.
"""

import uuid

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from viewer.extensions import db
from viewer.models import EvidenceItem, MediaAttachment, MediaLink, Message, ShareItem

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


def hold_message_of(media_id: uuid.UUID) -> uuid.UUID | None:
    """Lock its message until the transaction ends: of two files stored at once one sees the other.

    Returns the message's id. Call it before taking any row lock.
    """
    found = db.session.execute(
        sa.select(Message.id, Message.provider_id)
        .join(Message.media)
        .where(MediaAttachment.id == media_id)
    ).one_or_none()
    if found is None:
        return None
    message_id, provider_id = found
    Message.hold(provider_id)  # not its row: ingest locks the files first, then the row
    return message_id


def hide(message_id: uuid.UUID) -> None:
    """Hide what this message has already, by role and checksum. Does not commit.

    The first that was stored is shown, also if it lies in the trash, where a person put this photo.
    What a person did something with is never hidden.
    """
    media, shown = MediaAttachment, aliased(MediaAttachment)
    is_earlier = (shown.downloaded_at < media.downloaded_at) | (
        (shown.downloaded_at == media.downloaded_at) & (shown.id < media.id)
    )
    has_another = (
        sa.exists()
        .where(
            shown.message_id == media.message_id,
            shown.id != media.id,
            shown.role == media.role,
            shown.sha256 == media.sha256,
            shown.state.in_((State.STORED, State.TRASHED)),
            shown.purged_at.is_(None),
            is_earlier | _is_used(shown),
        )
        .correlate(media)
    )
    is_due = media.copy_state == CopyState.DUE  # nobody would see them
    db.session.execute(
        sa.update(media)
        .where(
            media.message_id == message_id,
            media.state == State.STORED,
            ~_is_used(media),
            has_another,
        )
        .values(
            state=State.DUPLICATE,
            is_unfiled=False,
            next_attempt_at=None,
            copy_state=sa.case((is_due, CopyState.WAITING), else_=media.copy_state),
            copy_due_at=None,
        )
        .execution_options(synchronize_session=False)
    )


def _is_used(media: type[MediaAttachment]) -> sa.ColumnElement[bool]:
    """Whether a person did something with it."""
    return sa.or_(
        media.caption.is_not(None),
        media.not_needed_at.is_not(None),
        *(
            sa.exists().where(use.media_id == media.id).correlate(media)
            for use in (MediaLink, ShareItem, EvidenceItem)
        ),
    )
