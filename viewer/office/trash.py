"""Operations on single files: caption, trash, restore, purge.

Originals are never altered. A trashed file keeps its bytes for at least 35 days; then an owner may
purge it: first the row becomes a tombstone with its checksum, then the bytes move to the store's
quarantine. In the other order a concurrent restore would leave a row without bytes.
"""

import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from viewer import holdings
from viewer.extensions import db, now, one_query
from viewer.failpoint import failpoint
from viewer.models import (
    Evidence,
    EvidenceItem,
    MediaAttachment,
    MediaLink,
    Message,
    Share,
    User,
    WebhookEvent,
)
from viewer.office import audit, captions, filing, findings, sharing
from viewer.search import indexing
from viewer.storage import Missing, StorageError, keys

log = logging.getLogger(__name__)

KEPT = timedelta(days=35)  # in the trash, at least

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


class Refused(Exception):
    """The request cannot be fulfilled; the message tells the user why."""


# --- Caption -------------------------------------------------------------------------------


def set_caption(media: MediaAttachment, caption: str) -> None:
    """Set the caption, one line; empty removes it. Raises Refused if too long. Does not commit."""
    _hold_for_indexing(media)
    try:
        words = captions.clean(caption)
    except captions.TooLong as refusal:
        raise Refused(str(refusal)) from None
    if words != (media.caption or ""):
        media.caption = words or None
        audit.note("caption", words or "taken away", subject=("media", media.id))
        indexing.index_messages([media.message])


def _hold_for_indexing(media: MediaAttachment) -> None:
    """Lock its message, then reload: ingest writes the same search entry.

    Call it before taking any other lock, in ingest's lock order. Held until the transaction ends.
    """
    Message.hold(media.message.provider_id)
    db.session.refresh(media)
    db.session.refresh(media.message)


# --- Uses ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uses:
    """What refers to a file."""

    links: list[MediaLink]
    evidence: list[Evidence]
    shares: list[Share]  # open ones

    def __bool__(self) -> bool:
        return bool(self.links or self.evidence or self.shares)


def uses_of(media: MediaAttachment) -> Uses:
    evidence = db.session.scalars(
        sa.select(Evidence)
        .join(EvidenceItem)
        .where(EvidenceItem.media_id == media.id)
        .order_by(Evidence.taken_at.desc())
    )
    shares = [one for one in sharing.shares_of(media) if one.is_open]
    return Uses(filing.links_from(media), list(evidence), shares)


def deliveries_of(media: MediaAttachment) -> list[WebhookEvent]:
    """The events that concern its message, oldest first, at most 50."""
    return list(
        db.session.scalars(
            sa.select(WebhookEvent)
            .filter_by(tells_of=media.message.provider_id)
            .order_by(WebhookEvent.received_at, WebhookEvent.id)
            .limit(50)
        )
    )


# --- Trash ---------------------------------------------------------------------------------


def trash(media: MediaAttachment, by: User) -> None:
    """Move the file to the trash: hidden everywhere, but with links and bytes kept. Idempotent.

    Raises Refused if it is not stored yet, or damaged. Does not commit.
    """
    _hold_for_indexing(media)
    done = db.session.execute(
        sa.update(MediaAttachment)
        .where(
            MediaAttachment.id == media.id,
            MediaAttachment.state.in_((State.STORED, State.NEEDS_ATTENTION)),
        )
        .values(state=State.TRASHED, trashed_at=now(), trashed_by=by.email)
    )
    db.session.refresh(media)
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("trash", media.caption or "", by=by, subject=("media", media.id))
        indexing.index_messages([media.message])  # removes its caption from the index
    elif media.state is State.DAMAGED:
        raise Refused("This file is damaged; it can be put in the trash once it is repaired.")
    elif media.state is not State.TRASHED:
        raise Refused("This file is on its way. Wait until it is here, then try again.")


def restore(media: MediaAttachment, by: User) -> None:
    """Restore the file from the trash, with its links. Idempotent.

    Raises Refused if it was purged. Does not commit.
    """
    _hold_for_indexing(media)
    done = db.session.execute(
        sa.update(MediaAttachment)
        .where(
            MediaAttachment.id == media.id,
            MediaAttachment.state == State.TRASHED,
            MediaAttachment.purged_at.is_(None),
        )
        .values(
            # A file that was never downloaded goes back to needing attention, and one that was
            # found damaged in the trash to being damaged.
            state=sa.case(
                (MediaAttachment.downloaded_at.is_(None), State.NEEDS_ATTENTION),
                (MediaAttachment.problem.in_(findings.PROBLEMS.values()), State.DAMAGED),
                else_=State.STORED,
            ),
            trashed_at=None,
            trashed_by=None,
        )
    )
    db.session.refresh(media)
    if done.rowcount:  # type: ignore[attr-defined]
        audit.note("restore", by=by, subject=("media", media.id))
        indexing.index_messages([media.message])
    elif media.purged_at is not None:
        raise Refused("This file was deleted for good.")


def in_trash(
    limit: int, after: sa.ColumnElement[bool] | None, *, purged: bool
) -> list[MediaAttachment]:
    """One page of the trash, newest first: purged files or those that can be restored.

    `after` is the keyset condition that continues the pagination.
    """
    gone = MediaAttachment.purged_at
    query = (
        sa.select(MediaAttachment)
        .where(MediaAttachment.is_in("trash"), gone.is_not(None) if purged else gone.is_(None))
        .order_by(MediaAttachment.trashed_at.desc(), MediaAttachment.id.desc())
        .options(joinedload(MediaAttachment.conversation))
    )
    if after is not None:
        query = query.where(after)
    return list(db.session.scalars(query.limit(limit)))


def kept_until(media: MediaAttachment) -> datetime:
    """The earliest time at which it may be purged."""
    return (media.trashed_at or now()) + KEPT


# --- Purge ---------------------------------------------------------------------------------


def purgeable() -> list[uuid.UUID]:
    """Ids of the files that may be purged now, oldest first."""
    return list(
        db.session.scalars(
            sa.select(MediaAttachment.id)
            .where(MediaAttachment.is_in("trash"), *_may_be_purged())
            .order_by(MediaAttachment.trashed_at, MediaAttachment.id)
        )
    )


def _may_be_purged() -> tuple[sa.ColumnElement[bool], ...]:
    media = MediaAttachment
    return (
        media.state == State.TRASHED,
        media.purged_at.is_(None),
        media.trashed_at <= now() - KEPT,
        ~sa.exists().where(EvidenceItem.media_id == media.id),
        ~sa.exists().where(MediaLink.media_id == media.id),
    )


def purge(ids: Iterable[uuid.UUID], by: User | None) -> int:
    """Purge those of these files that may be purged. Returns how many.

    Commits after each: a file that was restored or linked in the meantime stays. Also finishes what
    an interrupted run left. Raises StorageError.
    """
    count = 0
    for media_id in ids:
        if _give_up(media_id, by):
            count += 1
        db.session.commit()
        failpoint("purge.given_up")
    finish_purges()
    return count


def _give_up(media_id: uuid.UUID, by: User | None) -> bool:
    # Two statements: the second sees what others committed while the first waited for the lock.
    locked = sa.select(MediaAttachment.id).filter_by(id=media_id).with_for_update()
    if db.session.scalar(locked) is None:
        return False
    media = db.session.scalar(
        sa.select(MediaAttachment)
        .where(MediaAttachment.id == media_id, *_may_be_purged())
        .execution_options(populate_existing=True)
    )
    if media is None:
        return False
    media.purged_at = now()
    media.placeholder = media.peaks = None  # the blurred placeholder also shows the picture
    if media.copy_state in (CopyState.WAITING, CopyState.DUE):
        media.copy_state, media.copy_due_at = CopyState.IMPOSSIBLE, None
        media.copy_problem = "The file was deleted."
    # Deleted for good is the photo, not one of its rows.
    db.session.execute(
        sa.update(MediaAttachment)
        .filter_by(
            message_id=media.message_id,
            role=media.role,
            sha256=media.sha256,
            state=State.DUPLICATE,
        )
        .values(
            state=State.TRASHED,
            trashed_at=media.trashed_at,
            trashed_by=media.trashed_by,
            purged_at=media.purged_at,
            placeholder=None,
            peaks=None,
        )
    )
    audit.note("purge", f"SHA-256 {media.sha256}", by=by, subject=("media", media.id))
    log.warning("media=%s is purged", media.id)
    return True


def finish_purges() -> None:
    """Quarantine the bytes of purged rows, if this host has them. Commits after each. Idempotent.

    What another host has in its folder, its own schedule puts away. Raises StorageError.
    """
    purged = sa.select(MediaAttachment.id).where(
        MediaAttachment.is_in("trash"),
        MediaAttachment.purged_at.is_not(None),
        MediaAttachment.quarantined_at.is_(None),
        holdings.is_within_reach(),
    )
    with one_query() as connection:  # hold no transaction while files move
        found = list(connection.scalars(purged))
    for media_id in found:
        media = db.session.get_one(MediaAttachment, media_id)
        db.session.commit()
        _quarantine(media)
        media.quarantined_at = now()
        media.thumbnail_path = media.preview_path = media.full_path = media.playable_path = None
        db.session.commit()


def quarantine_key(media: MediaAttachment) -> str:
    """The key of a purged original in the quarantine, which ends after QUARANTINE_DAYS."""
    return keys.quarantined(media.id, media.file_path)


def _quarantine(media: MediaAttachment) -> None:
    store = holdings.store_of(media)
    holdings.remove_everywhere(media, (*media.copies.values(), *sharing.clean_keys(media)))
    try:
        if media.downloaded_at is not None:
            store.move(media.file_path, quarantine_key(media))
            if media.former_storage is not None:
                holdings.store(media.former_storage).remove(media.file_path)
    except Missing:
        log.error("media=%s was purged, and its bytes were not there", media.id)
    except StorageError:
        log.error("media=%s is purged, and its bytes could not be moved", media.id)
        raise
