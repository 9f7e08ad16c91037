"""Find what is due, expired or half-done, and name it to be enqueued again.

Rows are the truth; the queue may forget. The sweep writes little and downloads nothing. It may run
on every host: `ScheduledTask` gives one of them the lease.
"""

import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db, now
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
    """Take back expired leases and list what is due. Idempotent. Does not commit."""
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
    media = MediaAttachment
    return Due(
        events=list(
            db.session.scalars(
                sa.select(WebhookEvent.id)
                .where(WebhookEvent.state == WebhookEvent.State.RECEIVED)
                .where(
                    (WebhookEvent.received_at <= moment - UNREAD_AFTER)
                    # Received while the clock ran ahead.
                    | (WebhookEvent.received_at > moment + timedelta(minutes=1))
                )
                .order_by(WebhookEvent.received_at)
                .limit(AT_ONCE)
            )
        ),
        media=list(
            db.session.scalars(
                sa.select(media.id)
                .where(media.is_due(moment))
                .order_by(media.next_attempt_at)
                .limit(AT_ONCE)
            )
        ),
        copies=list(
            db.session.scalars(
                sa.select(media.id)
                .where(media.is_due_to_derive(moment))
                .order_by(media.copy_due_at)
                .limit(AT_ONCE)
            )
        ),
    )


def _bring_back_from_the_future() -> None:
    media, moment = MediaAttachment, now()
    for column, limit, states in (
        (
            media.next_attempt_at,
            FURTHEST + timedelta(hours=1),
            (State.PENDING, State.NEEDS_ATTENTION),
        ),
        (media.lease_until, collect.LEASE + timedelta(minutes=1), (State.DOWNLOADING,)),
    ):
        db.session.execute(
            sa.update(media)
            .where(media.state.in_(states), column > moment + limit)
            .values({column: moment})
            .execution_options(synchronize_session=False)
        )
    db.session.execute(
        sa.update(media)
        .where(media.copy_state == media.CopyState.DUE, media.copy_due_at > moment + FURTHEST)
        .values(copy_due_at=moment)
        .execution_options(synchronize_session=False)
    )


def _tell_a_person() -> None:
    """Flag what has waited too long, also if no attempt was ever made."""
    media = MediaAttachment
    changed = db.session.execute(
        sa.update(media)
        .where(
            # Also what kills its job again and again: its lease has ended, nobody has it now.
            (media.state == State.PENDING) | media.has_expired_lease(now())
        )
        .where(media.created_at < now() - collect.PATIENCE)
        .where(sa.func.coalesce(media.first_failed_at, media.created_at) < now() - collect.PATIENCE)
        .values(
            state=State.NEEDS_ATTENTION,
            problem=sa.func.coalesce(
                media.problem, "Not here after 15 minutes; nobody has tried yet."
            ),
        )
        .execution_options(synchronize_session=False)
    )
    if changed.rowcount:  # type: ignore[attr-defined]
        log.warning("media that wait for too long: %d", changed.rowcount)  # type: ignore[attr-defined]
