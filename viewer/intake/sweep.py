"""Find what is due, expired or half-done, so that workers are reminded of it.

Rows are the truth; the queue may forget. The sweep writes little and downloads nothing. It may run
on every host: `ScheduledTask` gives one of them the lease.
"""

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db, now, one_query
from viewer.intake import collect
from viewer.models import MediaAttachment, WebhookEvent

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds; what was interrupted is taken up within a lease and one of these
AT_ONCE = 2_000  # of a kind; the rest comes with the next sweep
UNREAD_AFTER = timedelta(seconds=5)  # the webhook's own reminder comes first
FURTHEST = timedelta(days=1)  # a clock that jumped must not put work off for years
PART_AGE = 3600.0  # seconds
TIDY_EVERY = 600.0  # seconds

State = MediaAttachment.State


@dataclass(frozen=True, slots=True)
class Due:
    events: list[uuid.UUID]
    media: list[uuid.UUID]
    copies: list[uuid.UUID]

    def __str__(self) -> str:
        found = {
            "deliveries to read": self.events,
            "files to collect": self.media,
            "copies to make": self.copies,
        }
        return ", ".join(f"{len(ids)} {what}" for what, ids in found.items() if ids) or "all done"


def sweep() -> Due:
    """Take back what the clock led astray, and list what is due. Idempotent. Commits.

    It decides outside the write lock, by indexes over the few open rows, and writes only what is to
    change.
    """
    _bring_back_from_the_future()
    _tell_a_person()
    return due()


def tidy() -> int:
    """Delete parts that dead writers left. Returns how many.

    Call it without an open transaction: a disk that hangs must not block the database.
    """
    return holdings.spool().tidy(older_than=PART_AGE)


def due() -> Due:
    moment = now()
    fresh = (
        # The webhook's own reminder comes first.
        (WebhookEvent.received_at <= moment - UNREAD_AFTER)
        # Received while the clock ran ahead.
        | (WebhookEvent.received_at > moment + timedelta(minutes=1))
    )
    return Due(
        events=due_events(AT_ONCE, fresh), media=due_media(AT_ONCE), copies=due_copies(AT_ONCE)
    )


def due_events(limit: int, *which: sa.ColumnElement[bool]) -> list[uuid.UUID]:
    """The oldest events that are not yet ingested."""
    return _ids(
        sa.select(WebhookEvent.id)
        .where(WebhookEvent.state == WebhookEvent.State.RECEIVED, *which)
        .order_by(WebhookEvent.received_at)
        .limit(limit)
    )


def due_media(limit: int) -> list[uuid.UUID]:
    """The files that are to be downloaded now, or again."""
    media, moment = MediaAttachment, now()
    has_address = media.openphone_url.is_not(None)
    # Three queries, so that an index answers each, however many files wait for a later attempt.
    dropped = (
        sa.select(media.id)
        .where(media.has_expired_lease(moment), has_address)
        .order_by(media.lease_until)
    )
    waiting = (
        sa.select(media.id)
        .where(media.is_in("to_collect"), media.is_attempt_due(moment), has_address)
        .order_by(media.next_attempt_at)
    )
    incomplete = (
        sa.select(media.id).where(media.is_due_to_ask_again(moment)).order_by(media.next_attempt_at)
    )
    found = [one for query in (dropped, waiting, incomplete) for one in _ids(query.limit(limit))]
    return found[:limit]


def due_copies(limit: int) -> list[uuid.UUID]:
    """The originals whose copies are to be made now."""
    media = MediaAttachment
    return _ids(
        sa.select(media.id)
        .where(media.is_due_to_derive(now()))
        .order_by(media.copy_due_at)
        .limit(limit)
    )


def _ids(query: sa.Select[uuid.UUID]) -> list[uuid.UUID]:
    with one_query() as connection:
        return list(connection.scalars(query))


def _bring_back_from_the_future() -> None:
    media, moment = MediaAttachment, now()
    _change(
        media.is_in("to_collect")
        & media.state.in_((State.PENDING, State.NEEDS_ATTENTION))
        & (media.next_attempt_at > moment + FURTHEST + timedelta(hours=1)),
        next_attempt_at=moment,
    )
    _change(
        media.is_in("leased") & (media.lease_until > moment + collect.LEASE + timedelta(minutes=1)),
        lease_until=moment,
    )
    _change(media.is_in("to_derive") & (media.copy_due_at > moment + FURTHEST), copy_due_at=moment)


def _tell_a_person() -> None:
    """Flag what has waited too long, also if no attempt was ever made."""
    media, moment = MediaAttachment, now()
    long_ago = moment - collect.PATIENCE
    changed = sum(
        _change(
            sa.and_(
                media.is_in("open"),
                has_nobody,
                media.created_at < long_ago,
                sa.func.coalesce(media.first_failed_at, media.created_at) < long_ago,
            ),
            state=State.NEEDS_ATTENTION,
            problem=sa.func.coalesce(
                media.problem, "Not here after 15 minutes; nobody has tried yet."
            ),
            trouble=sa.func.coalesce(media.trouble, MediaAttachment.Trouble.UNAVAILABLE),
        )
        # Also what kills its worker again and again: its lease has ended, nobody has it now.
        for has_nobody in (media.state == State.PENDING, media.has_expired_lease(moment))
    )
    if changed:
        log.warning("media that wait for too long: %d", changed)


def _change(condition: sa.ColumnElement[bool], **values: object) -> int:
    """Update the rows that meet the condition, if there are any. Commits. Returns how many."""
    if not _ids(sa.select(MediaAttachment.id).where(condition).limit(1)):
        return 0
    done = db.session.execute(
        sa.update(MediaAttachment)
        .where(condition)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    return int(done.rowcount)  # type: ignore[attr-defined]
