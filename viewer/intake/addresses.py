"""Fresh addresses: the provider's die within minutes, and it hands out another when asked.

One file is asked for right after its address proved dead (`freshen`); the catch-up asks for all
that have none that works.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import Lock, db, lock, now
from viewer.intake import file_matching
from viewer.models import MediaAttachment, Message
from viewer.quo import rest

log = logging.getLogger(__name__)

QUICK_ADDRESSES = 3  # tried at once for one file

State = MediaAttachment.State

# One file: our row, what the provider tells of it, and by what it is recognised.
Matched = tuple[MediaAttachment, quo.MediaSeen, file_matching.Marks]


def freshen(media_id: uuid.UUID, client: rest.Client) -> bool:
    """Right after an address proved dead: whether the provider had another, now in the row.

    The failures stay counted. A provider that hands out one dead address after the other is asked
    a few times quickly, then at the pace of the row's own next attempts. Commits; raises RestError.
    """
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
    found = find_again(media, client)
    if found is None:
        return False
    item, marks = found
    lock(Lock.INGEST)
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
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
    """This file as the provider tells of it now, under another address; commits before asking."""
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
    """What the provider says now about the files of a message; None if it knows nothing of them."""
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
    """Try again under this address, if it is another one and the old one got us nowhere."""
    is_stuck = media.state is State.NEEDS_ATTENTION or (
        media.state is State.PENDING and media.failures > 0
    )
    if not is_stuck or not item.url or item.url == media.openphone_url:
        return False
    if media.openphone_url is None:  # ingest gives it its name, too
        return False
    # With its moment: a repeat of the old delivery must not bring the dead address back.
    media.merge(now(), openphone_url=item.url)
    media.state, media.problem = State.PENDING, None
    media.failures, media.first_failed_at, media.next_attempt_at = 0, None, now()
    log.info("media=%s has a fresh address", media.id)
    return True


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
    """Which row is which file: by address, by the provider's id, else by place.

    A fresh address may differ in everything. By place only where there are as many of either:
    rather a photo twice than a photo never.
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
