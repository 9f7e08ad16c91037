"""Fresh URLs for files: the provider's signed URLs expire within minutes, and REST gives new ones.

`freshen` asks for one file right after its URL proved dead; the catch-up asks for every file
without a working URL.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db, now
from viewer.intake import file_matching
from viewer.models import MediaAttachment, Message
from viewer.quo import rest

log = logging.getLogger(__name__)

QUICK_ADDRESSES = 3  # tried at once for one file

State = MediaAttachment.State

# One file: our row, what the provider tells of it, and by what it is recognised.
Matched = tuple[MediaAttachment, quo.MediaSeen, file_matching.Marks]


def freshen(media_id: uuid.UUID, client: rest.Client) -> bool:
    """Ask for a fresh URL right after the old one proved dead. True if the row has another one now.

    The failure count stays: a provider that hands out one dead URL after the other is asked a few
    times quickly, then with the row's own backoff. Commits. Raises RestError.
    """
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
    found = find_again(media, client)
    if found is None:
        return False
    item, marks = found
    Message.hold(db.session.get_one(MediaAttachment, media_id).message.provider_id)
    # A person may close it now, a job claim it: what is decided next is about the row as it is.
    media = db.session.get_one(
        MediaAttachment, media_id, populate_existing=True, with_for_update=True
    )
    failures, since, later = media.failures, media.first_failed_at, media.next_attempt_at
    is_fresh = take_address(media, item)
    if is_fresh:
        file_matching.remember(media, marks, media_of([media.message_id]))
        media.failures, media.first_failed_at = failures, since
        if failures > QUICK_ADDRESSES:
            media.next_attempt_at = later
    db.session.commit()
    return is_fresh


def find_again(
    media: MediaAttachment, client: rest.Client
) -> tuple[quo.MediaSeen, file_matching.Marks] | None:
    """Look this file up at the provider. None without a new URL. Commits before it asks."""
    message = db.session.get_one(Message, media.message_id)
    rows = media_of([message.id])
    db.session.commit()
    seen = ask_for_files(client, message.provider_id, media.role)
    for row, item, marks in match_files(rows, seen.media if seen else ()):
        if row.id == media.id and item.url and item.url != media.openphone_url:
            return item, marks
    return None


def ask_for_files(
    client: rest.Client, provider_id: str, role: MediaAttachment.Role
) -> quo.MessageSeen | quo.CallSeen | None:
    """Fetch what the provider reports about a message's files. None if it knows nothing of them."""
    found: Any
    try:
        match role:
            case MediaAttachment.Role.ATTACHMENT:
                kind, call_id, found = "message", None, client.message(provider_id)
            case MediaAttachment.Role.RECORDING:
                kind, call_id, found = "recording", provider_id, client.recordings(provider_id)
            case MediaAttachment.Role.VOICEMAIL:
                kind, call_id, found = "voicemail", provider_id, client.voicemail(provider_id)
        seen = quo.understand_rest(kind, found, said_at=now(), call_id=call_id)
    except (rest.NotThere, quo.NotUnderstood):
        return None
    return seen if isinstance(seen, quo.MessageSeen | quo.CallSeen) else None


def needs_an_address() -> sa.ColumnElement[bool]:
    media = MediaAttachment
    return (media.state == State.NEEDS_ATTENTION) | (
        (media.state == State.PENDING) & (media.openphone_url.is_(None) | (media.failures > 0))
    )


def take_address(media: MediaAttachment, item: quo.MediaSeen) -> bool:
    """Retry a stuck file with this URL, if it is another one. True if it will be retried."""
    if not wants_address(media, item):
        return False
    # With its moment: a repeat of the old delivery must not bring the dead address back.
    media.merge(now(), openphone_url=item.url)
    media.state, media.problem, media.trouble = State.PENDING, None, None
    media.failures, media.first_failed_at, media.next_attempt_at = 0, None, now()
    log.info("media=%s has a fresh address", media.id)
    return True


def wants_address(media: MediaAttachment, item: quo.MediaSeen) -> bool:
    """Whether the file is stuck, and this URL is another one than the one it has."""
    is_stuck = media.state is State.NEEDS_ATTENTION or (
        media.state is State.PENDING and media.failures > 0
    )
    # One that has no URL yet gets it from ingest, which gives it its name, too.
    return is_stuck and bool(item.url) and media.openphone_url not in (None, item.url)


def media_of(message_ids: Iterable[uuid.UUID]) -> list[MediaAttachment]:
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.message_id.in_(list(message_ids)))
            .order_by(MediaAttachment.position, MediaAttachment.created_at, MediaAttachment.id)
            .execution_options(populate_existing=True)
        )
    )


def match_files(rows: Sequence[MediaAttachment], items: Sequence[quo.MediaSeen]) -> list[Matched]:
    """Match rows to reported files: by URL, by the provider's id, else by position.

    A fresh URL may differ in everything. Position counts only where there are equally many of both:
    a photo stored twice is better than a photo lost.
    """
    found: list[Matched] = []
    everything = list(zip(items, file_matching.marks(items), strict=True))
    for role in quo.Role:
        left = [row for row in rows if row.role.value == role.value]
        told = [one for one in everything if one[0].role is role]
        as_many = len(left) == len(told)
        for is_same in (_is_exactly, _is_alike):
            for one in list(told):
                row = next((row for row in left if is_same(row, *one)), None)
                if row is not None:
                    found.append((row, *one))
                    left.remove(row)
                    told.remove(one)
        if as_many:
            found += ((row, *one) for row, one in zip(left, told, strict=True))
    return found


def _is_exactly(row: MediaAttachment, item: quo.MediaSeen, marks: file_matching.Marks) -> bool:
    return file_matching.is_exactly(row, marks)


def _is_alike(row: MediaAttachment, item: quo.MediaSeen, marks: file_matching.Marks) -> bool:
    return bool(file_matching.alike([row], item, marks))
