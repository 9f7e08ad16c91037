"""What people do with single files: name them, check them, put them away, give them up.

Originals are never altered. What is put away keeps its bytes for 35 days; then an owner may purge
it: first the row becomes a tombstone with its hash, then the bytes move to the store's quarantine.
In the other order a photo that is restored at the wrong moment would be a row without bytes.
"""

import enum
import logging
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import joinedload

from viewer.extensions import Lock, db, lock, media_store, now
from viewer.failpoint import failpoint
from viewer.models import (
    Evidence,
    EvidenceItem,
    MediaAttachment,
    MediaLink,
    Share,
    User,
    WebhookEvent,
)
from viewer.models.media import LONGEST_CAPTION
from viewer.office import audit, filing, sharing
from viewer.search import indexing
from viewer.storage import Missing, StorageError, checksum, keys

log = logging.getLogger(__name__)

KEPT = timedelta(days=35)  # in the trash, at least
DAMAGE = "The bytes in the store are not those that came."
LOSS = "The file is missing from the store."

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


class Refused(Exception):
    """It cannot be; the message says why, for a person."""


# --- Caption -------------------------------------------------------------------------------


def set_caption(media: MediaAttachment, caption: str) -> None:
    """What people call it, on one line; nothing takes it away. Raises Refused. Does not commit."""
    _hold_for_indexing(media)
    words = " ".join(caption.replace("\0", "").split())
    if len(words) > LONGEST_CAPTION:
        raise Refused(f"A caption has at most {LONGEST_CAPTION} characters; this has {len(words)}.")
    if words != (media.caption or ""):
        media.caption = words or None
        audit.note("caption", words or "taken away", subject=("media", media.id))
        indexing.index_messages([media.message])


def _hold_for_indexing(media: MediaAttachment) -> None:
    """Ingest writes the same search entries: wait for it, then read again what it may have changed.

    First of all locks, as ingest takes it. Held until this transaction ends.
    """
    lock(Lock.INGEST)
    db.session.refresh(media)
    db.session.refresh(media.message)


# --- Check ---------------------------------------------------------------------------------


class Finding(enum.StrEnum):
    """What a look at the bytes in the store said."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"


def check_file(media: MediaAttachment) -> Finding:
    """Read all of the original again. Takes a while: hold no transaction open meanwhile.

    Raises Unavailable where the store says nothing, which is no word about the file.
    """
    try:
        found = checksum(media_store(), media.file_path)
    except Missing:
        return Finding.MISSING
    return Finding.SAME if found.sha256 == media.sha256 else Finding.DIFFERENT


def note_finding(media: MediaAttachment, finding: Finding) -> None:
    """What was found, on the row and on the trail. A damaged file that is whole again is stored.

    Does not commit.
    """
    is_same = finding is Finding.SAME
    problem = {Finding.DIFFERENT: DAMAGE, Finding.MISSING: LOSS}.get(finding)
    db.session.execute(
        sa.update(MediaAttachment)
        .where(
            MediaAttachment.id == media.id,
            MediaAttachment.state == (State.DAMAGED if is_same else State.STORED),
            MediaAttachment.sha256 == media.sha256,
        )
        .values(state=State.STORED if is_same else State.DAMAGED, problem=problem)
    )
    audit.note("check", problem or "The bytes are those that came.", subject=("media", media.id))
    if problem:
        log.error("media=%s checked: %s", media.id, finding)


# --- Where it is used ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Uses:
    """What would miss a file."""

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
    """By which deliveries the provider told of its message, the first one first."""
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
    """Put it away: nobody is shown it, its links and its bytes stay. Twice is fine.

    Raises Refused for what is not here yet, or damaged. Does not commit.
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
        indexing.index_messages([media.message])  # without its caption
    elif media.state is State.DAMAGED:
        raise Refused("This file is damaged; it can be put in the trash once it is repaired.")
    elif media.state is not State.TRASHED:
        raise Refused("This file is on its way. Wait until it is here, then try again.")


def restore(media: MediaAttachment, by: User) -> None:
    """Bring it back to where it was, with its links. Twice is fine.

    Raises Refused for what was purged. Does not commit.
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
            # What never came has no moment at which it came.
            state=sa.case(
                (MediaAttachment.downloaded_at.is_(None), State.NEEDS_ATTENTION),
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
    """What was put away, the newest first; or what was given up for good."""
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
    """Until when nobody may purge it."""
    return (media.trashed_at or now()) + KEPT


# --- Purge ---------------------------------------------------------------------------------


def purgeable() -> list[uuid.UUID]:
    """What may be given up now, the oldest first."""
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
    """Give these up for good, those that may be. How many there were.

    Commits, one after the other: whatever was restored or linked in the meantime stays. What an
    earlier run left half done is finished, too. Raises StorageError.
    """
    count = 0
    for media_id in ids:
        if _give_up(media_id, by):
            count += 1
        db.session.commit()
        failpoint("purge.given_up")
    _finish_purges()
    return count


def _give_up(media_id: uuid.UUID, by: User | None) -> bool:
    # Two statements: the second sees what others committed while the first waited for the row.
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
    media.placeholder = media.peaks = None  # a blur is a picture, too
    if media.copy_state in (CopyState.WAITING, CopyState.DUE):
        media.copy_state, media.copy_due_at = CopyState.IMPOSSIBLE, None
        media.copy_problem = "The file was deleted."
    audit.note("purge", f"SHA-256 {media.sha256}", by=by, subject=("media", media.id))
    log.warning("media=%s is purged", media.id)
    return True


def _finish_purges() -> None:
    """Let the bytes follow their rows. Commits after each."""
    for media in db.session.scalars(
        sa.select(MediaAttachment).where(
            MediaAttachment.is_in("trash"),
            MediaAttachment.purged_at.is_not(None),
            MediaAttachment.quarantined_at.is_(None),
        )
    ).all():
        db.session.commit()  # nobody waits for the database while files move
        _quarantine(media)
        media.quarantined_at = now()
        media.thumbnail_path = media.preview_path = media.full_path = media.playable_path = None
        db.session.commit()


def quarantine_key(media: MediaAttachment) -> str:
    """Where the bytes of what was purged lie until an administrator empties the folder."""
    return keys.quarantined(media.id, media.file_path)


def _quarantine(media: MediaAttachment) -> None:
    store = media_store()
    for key in (*media.copies.values(), *sharing.clean_keys(media)):
        store.remove(key)
    try:
        if media.downloaded_at is not None:
            store.move(media.file_path, quarantine_key(media))
    except Missing:
        log.error("media=%s was purged, and its bytes were not there", media.id)
    except StorageError:
        log.error("media=%s is purged, and its bytes could not be moved", media.id)
        raise
