"""Compare what the provider reports about a message or call with our row, and complete it."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from viewer import quo, transactions
from viewer.extensions import Lock, db, lock, now
from viewer.failpoint import failpoint
from viewer.intake import addresses, file_matching, forgotten, ingest
from viewer.intake.message_files import Known
from viewer.models import Message

Told = quo.MessageSeen | quo.CallSeen


def known(provider_ids: list[str]) -> dict[str, Known]:
    """Load those of these messages and calls that we have, by provider id."""
    messages = db.session.scalars(
        sa.select(Message)
        .where(Message.provider_id.in_(provider_ids))
        .options(selectinload(Message.conversation))
        .execution_options(populate_existing=True)
    ).all()
    media = addresses.media_of([message.id for message in messages])
    return {
        message.provider_id: Known(message, [row for row in media if row.message_id == message.id])
        for message in messages
    }


def is_complete(seen: Told, known: Known) -> bool:
    """Whether the report has nothing for us: `complete` would write nothing."""
    pairs = addresses.match_files(known.media, seen.media)
    return not has_news(seen, known, pairs) and all(
        file_matching.is_remembered(media, marks, known.media)
        and not addresses.wants_address(media, item)
        for media, item, marks in pairs
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report brought."""

    is_new: bool  # no webhook had brought it
    is_completed: bool
    media: set[uuid.UUID]  # files that are now to be collected


def complete(seen: Told) -> Outcome:
    """Ingest what never arrived, and what is missing in the rows we have. Idempotent. Commits."""
    return transactions.run(lambda alone: _plan(seen, now(), alone=alone))


def _plan(seen: Told, moment: datetime, *, alone: bool) -> Callable[[], Outcome]:
    lock(Lock.INGEST, shared=not alone)
    said = forgotten.without_forgotten(seen)
    if not isinstance(said, Told):
        return lambda: Outcome(is_new=False, is_completed=False, media=set())
    seen = said
    held = ingest.hold(seen, alone=alone)
    known = held.known
    has_address, freshened, news = set[uuid.UUID](), set[uuid.UUID](), True
    if known is not None:
        rows = sorted(known.media, key=lambda row: (row.position, row.created_at, row.id))
        pairs = addresses.match_files(rows, seen.media)
        has_address = {media.id for media in rows if media.openphone_url}
        for media, _, marks in pairs:
            # A file that now has another address must not become two.
            file_matching.remember(media, marks, rows)
        news = has_news(seen, known, pairs)
        freshened = {media.id for media, item, _ in pairs if addresses.take_address(media, item)}
    planned = ingest.plan_held(seen, moment, held, alone=alone) if news else ingest.Plan()

    def write() -> Outcome:
        planned.write()
        failpoint("catch_up.text")
        return Outcome(
            is_new=known is None,
            is_completed=known is not None and (news or bool(freshened)),
            media=(set(planned.to_collect) - has_address) | freshened,
        )

    return write


def has_news(seen: Told, known: Known, matched: Sequence[addresses.Matched]) -> bool:
    """Whether the report has more than the row: a file, a URL, a field, a later status."""
    return (
        len(matched) < len(seen.media)
        or any(item.url and not media.openphone_url for media, item, _ in matched)
        or any(value and name not in known.message.said for name, value in _fields(seen).items())
        or _is_further(seen, known.message)
        or bool(seen.parties.numbers and not known.message.conversation.participants)
    )


def _fields(seen: Told) -> dict[str, object]:
    """The reported values by our column names."""
    if isinstance(seen, quo.MessageSeen):
        names: tuple[str, ...] = ("direction", "body", "error_code", "sent_at")
    else:
        names = ("direction", "sent_at", "answered_at", "completed_at", "duration_seconds",
                 "has_voicemail", "voicemail_transcript", "transcript", "summary", "next_steps",
                 "status")  # fmt: skip
    said = {name: getattr(seen, name) for name in names}
    return said | {"sender": seen.parties.sender, "colleague": seen.user}


def _is_further(seen: Told, message: Message) -> bool:
    """Whether the reported delivery status is later than the stored one."""
    if isinstance(seen, quo.CallSeen) or seen.status not in ingest.STATUS_ORDER:
        return False
    ranks = {status: rank for rank, status in enumerate(ingest.STATUS_ORDER)}
    return ranks[seen.status] > ranks.get(message.status or "", -1)
