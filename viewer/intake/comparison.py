"""Compare what the provider reports about a message or call with our row."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from viewer import quo
from viewer.extensions import db
from viewer.intake import addresses, ingest
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
