"""What a restored database must not say any more: other folders, leases, claims, logins."""

import uuid
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore, ScheduledTask, UserSession
from viewer.office import findings

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState

BATCH = 1000  # rows of one statement


def take_over_stores(storage: uuid.UUID, *, with_s3: bool) -> None:
    """Let every row that was in a folder, of whichever host, be in this one. Idempotent. Commits.

    `with_s3`: also what was in S3. The folder keeps the id that the oldest one had: by it, backups
    know whose they are.
    """
    media, stores = MediaAttachment, RegisteredStore
    taken = sa.select(stores.id)
    if not with_s3:
        taken = taken.filter_by(kind=stores.Kind.FOLDER)
    folders = set(db.session.scalars(taken))
    others = folders - {storage}
    if storage not in folders:
        db.session.add(stores(id=storage))
        db.session.flush()
    _update(
        sa.update(stores).where(stores.id == storage).values(address=holdings.unproven().address)
    )
    _update_all(media.storage.in_(others), storage=storage)
    # Only what is read from its row's store was restored.
    _update_all(media.former_storage.in_(folders | {storage}), former_storage=None)
    db.session.execute(sa.delete(stores).where(stores.id.in_(others)))
    db.session.commit()


def end_what_was_going_on() -> None:
    """Leases, claims, logins and scheduled tasks of the machine before. Does not commit."""
    media, moment = MediaAttachment, now()
    _update(
        sa.update(media)
        .where(media.state == State.DOWNLOADING)
        .values(state=State.PENDING, lease_until=None, next_attempt_at=moment)
    )
    _update(
        sa.update(media)
        .where(media.copy_state == CopyState.DUE)
        .values(copy_due_at=moment, copy_attempts=0)
    )
    db.session.execute(sa.delete(UserSession))
    db.session.execute(sa.delete(ScheduledTask))


def note_verified(storage: uuid.UUID) -> None:
    """All bytes in this store were hashed just now. Idempotent. Commits."""
    media = MediaAttachment
    is_right = media.is_in("kept") & (media.storage == storage) & ~findings.is_known_damaged()
    _update_all(is_right, verified_at=now())


def _update_all(condition: sa.ColumnElement[bool], **values: Any) -> None:
    """Change every row of which this is true, in batches. Commits.

    One statement for a million rows would hold all that it changes in memory.
    """
    media, last = MediaAttachment, uuid.UUID(int=0)
    page = sa.select(media.id).order_by(media.id).limit(BATCH)
    while ids := db.session.scalars(page.where(media.id > last)).all():
        _update(sa.update(media).where(media.id.in_(ids), condition).values(**values))
        db.session.commit()
        last = ids[-1]


def _update(change: sa.Update) -> None:
    db.session.execute(change.execution_options(synchronize_session=False))
