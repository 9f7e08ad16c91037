"""What ends by itself: the quarantine, and by settings recordings of calls and raw deliveries.

Nothing here touches a file that a work record, an evidence or an open link needs, and nothing that
a row still names: what goes from the quarantine was deleted for good by a person long before.
"""

import logging
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer import holdings
from viewer.config import settings
from viewer.extensions import db, now, one_query
from viewer.failpoint import failpoint
from viewer.models import (
    Checkpoint,
    EvidenceItem,
    MediaAttachment,
    MediaLink,
    Message,
    Share,
    ShareItem,
    WebhookEvent,
)
from viewer.office import audit
from viewer.plurals import counted
from viewer.search import indexing
from viewer.storage import StorageError, keys

log = logging.getLogger(__name__)

EVERY = 3600.0  # seconds
AT_ONCE = 200  # deliveries of one transaction
_SINCE = "quarantine ends"  # since when this code counts: before, nobody was told that it ends

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


# --- The quarantine ----------------------------------------------------------------------------


def empty_quarantine() -> int:
    """Erase what lay there for QUARANTINE_DAYS, if this host has it. How many files. Commits.

    What other hosts have in their folders, they erase. Raises StorageError.
    """
    before = now() - timedelta(days=settings().QUARANTINE_DAYS)
    if _since() > before:
        return 0
    media = MediaAttachment
    with one_query() as connection:
        found = list(
            connection.scalars(
                sa.select(media.id)
                .where(media.is_in("quarantined"), media.quarantined_at <= before)
                .where(holdings.is_within_reach())
                .order_by(media.quarantined_at)
            )
        )
    count, trouble = 0, None
    for media_id in found:
        try:
            count += _empty(media_id)
        except StorageError as error:
            log.warning("media=%s stays in quarantine: %s", media_id, error)
            trouble = error
    if count:
        days = settings().QUARANTINE_DAYS
        audit.note("quarantine", f"{counted(count, 'file')} after {days:g} days")
        db.session.commit()
    if trouble is not None:
        raise trouble
    return count


def _since() -> datetime:
    found = Checkpoint.read_moment(_SINCE)
    if found is None:
        found = now()
        Checkpoint.write(_SINCE, found.isoformat())
    db.session.commit()
    return found


def _empty(media_id: uuid.UUID) -> bool:
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
    db.session.commit()
    if media.purged_at is None or media.quarantined_at is None:  # the second look
        return False
    store = holdings.store_of(media)
    names = keys.put_aside(media.id, media.file_path)
    names += [key for key, _ in store.keys(keys.damaged_of(media.id))]
    for key in names:
        store.erase(key)
    failpoint("quarantine.erased")
    is_empty = MediaAttachment.change_if(
        media.id,
        MediaAttachment.purged_at.is_not(None),
        MediaAttachment.quarantine_emptied_at.is_(None),
        quarantine_emptied_at=now(),
    )
    db.session.commit()
    return is_empty


def in_quarantine() -> tuple[int, datetime | None]:
    """How many files lie there, and since when the oldest does."""
    query = sa.select(sa.func.count(), sa.func.min(MediaAttachment.quarantined_at)).where(
        MediaAttachment.is_in("quarantined")
    )
    count, oldest = db.session.execute(query).one()
    return count, oldest


# --- By settings -------------------------------------------------------------------------------


def end_what_is_old() -> str:
    """Do what RECORDING_DAYS and RAW_DELIVERY_DAYS ask for. One line. Commits."""
    current, said = settings(), []
    for days, kind, end in (
        (current.RECORDING_DAYS, "recording", _end_recordings),
        (current.RAW_DELIVERY_DAYS, "raw delivery", _end_deliveries),
    ):
        if days is None:
            continue
        if count := end(now() - timedelta(days=days)):
            words = f"{counted(count, kind)} after {days} days"
            audit.note("retention", words)
            db.session.commit()
            said.append(words)
    return "; ".join(said) or "nothing is old enough"


def _end_recordings(before: datetime) -> int:
    """Delete recordings for good; their rows stay as tombstones, their words as they are."""
    with one_query() as connection:
        found = list(connection.scalars(sa.select(MediaAttachment.id).where(*_is_over(before))))
    return sum(_end_recording(media_id, before) for media_id in found)


def _end_recording(media_id: uuid.UUID, before: datetime) -> bool:
    media = MediaAttachment
    found = db.session.execute(
        sa.select(Message.provider_id, media.message_id, media.sha256)
        .join(Message.media)
        .where(media.id == media_id)
    ).first()
    if found is None:
        return False
    provider_id = found.provider_id
    Message.hold(provider_id)  # its caption is in the search entry that ingest writes
    moment = now()
    values: dict[str, object] = {
        "state": State.TRASHED, "trashed_at": moment, "trashed_by": audit.SYSTEM,
        "purged_at": moment, "placeholder": None, "peaks": None,
        "copy_state": CopyState.IMPOSSIBLE, "copy_due_at": None,
        "copy_problem": "The recording was kept long enough.",
    }  # fmt: skip
    is_over = media.change_if(media_id, *_is_over(before), **values)
    if is_over:
        db.session.execute(  # the recording ends, not one of its rows
            sa.update(media)
            .where(media.message_id == found.message_id, media.role == media.Role.RECORDING)
            .where(media.sha256 == found.sha256, media.state == State.DUPLICATE)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
        message = db.session.scalars(
            sa.select(Message)
            .filter_by(provider_id=provider_id)
            .execution_options(populate_existing=True)
        ).one()
        indexing.index_messages([message])
        log.info("media=%s was kept long enough", media_id)
    db.session.commit()
    failpoint("retention.ended")
    return is_over


def _is_over(before: datetime) -> Iterable[sa.ColumnElement[bool]]:
    media = MediaAttachment
    is_shared = (
        sa.exists()
        .where(ShareItem.media_id == media.id, ShareItem.share_id == Share.id)
        .where(Share.revoked_at.is_(None), Share.expires_at > now())
    )
    return (
        media.is_in("recordings"),
        media.sent_at < before,
        ~sa.exists().where(EvidenceItem.media_id == media.id),
        ~sa.exists().where(MediaLink.media_id == media.id),
        ~is_shared,
    )


def _end_deliveries(before: datetime) -> int:
    """Erase what processed deliveries said. Their ids and digests stay, so repeats are known."""
    event, count = WebhookEvent, 0
    query = (
        sa.select(event.id)
        .where(event.received_at < before, event.erased_at.is_(None))
        .where(event.state == event.State.PROCESSED)
        .order_by(event.received_at)
    )
    with one_query() as connection:
        found = list(connection.scalars(query))
    for start in range(0, len(found), AT_ONCE):
        rows = db.session.scalars(
            sa.select(event)
            .where(event.id.in_(found[start : start + AT_ONCE]), event.erased_at.is_(None))
            .where(event.state == event.State.PROCESSED)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()
        for row in rows:
            row.erase_body()
        count += len(rows)
        db.session.commit()
    return count
