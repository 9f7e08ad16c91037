"""What a person decides about a file that did not come, or not as it should.

Nothing here deletes anything, and each decision can be taken back.
"""

import uuid

import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.models.media import LONGEST_REASON
from viewer.office import audit

State, Trouble, Closing = MediaAttachment.State, MediaAttachment.Trouble, MediaAttachment.Closing


def close(media: MediaAttachment, how: MediaAttachment.Closing, reason: str) -> bool:
    """Wait for the file no longer. Whether it was waited for. Does not commit.

    It is not tried again, unless the provider announces another address for it.
    """
    words = " ".join(reason.replace("\0", "").split())[:LONGEST_REASON]
    done = _change(
        media,
        MediaAttachment.state.in_((State.NEEDS_ATTENTION, State.PENDING)),
        state=State.CLOSED,
        closed_at=now(),
        closed_as=how,
        closed_reason=words or None,
        next_attempt_at=None,
    )
    if done:
        audit.note("close", _LABELS[how] + (f": {words}" if words else ""), subject=_of(media))
    return done


_LABELS = {Closing.CAME_ANOTHER_WAY: "Came another way", Closing.GIVEN_UP: "Given up"}


def reopen(media: MediaAttachment) -> bool:
    """Wait for a closed file again, and try at once. Whether it was closed. Does not commit."""
    db.session.refresh(media, with_for_update=True)
    if media.state is not State.CLOSED:
        return False
    media.reopen(now())
    audit.note("reopen", subject=_of(media))
    return True


def accept_incomplete(media: MediaAttachment) -> bool:
    """Note that what is here is all there is. Whether that was open. Does not commit.

    The file stays marked as incomplete; nobody is asked to look at it, or for more of it.
    """
    done = _change(
        media,
        MediaAttachment.is_in("incomplete"),
        accepted_at=now(),
        next_attempt_at=None,
    )
    if done:
        audit.note("accept", "It is all there is.", subject=_of(media))
    return done


def note_acceptance(media: MediaAttachment) -> None:
    """Record that what came in place of the file was taken for it. Does not commit."""
    audit.note("accept", "What came is the file.", subject=_of(media))


def take_back_acceptance(media: MediaAttachment) -> bool:
    """Ask people to look at an incomplete file again. Does not commit."""
    is_accepted = (
        (MediaAttachment.state == State.STORED)
        & (MediaAttachment.trouble == Trouble.INCOMPLETE)
        & MediaAttachment.accepted_at.is_not(None)
    )
    done = _change(media, is_accepted, accepted_at=None)
    if done:
        audit.note("accept", "Taken back.", subject=_of(media))
    return done


def refuse(media: MediaAttachment) -> bool:
    """Note that what came is not the file. Whether that was in doubt. Does not commit."""
    is_doubtful = (MediaAttachment.state == State.NEEDS_ATTENTION) & (
        MediaAttachment.trouble == Trouble.DOUBTFUL
    )
    done = _change(media, is_doubtful, trouble=Trouble.NOT_THE_FILE)
    if done:
        audit.note("refuse", subject=_of(media))
    return done


def _change(media: MediaAttachment, condition: sa.ColumnElement[bool], **values: object) -> bool:
    done = MediaAttachment.change_if(media.id, condition, **values)
    db.session.refresh(media)
    return done


def _of(media: MediaAttachment) -> tuple[str, uuid.UUID]:
    return "media", media.id
