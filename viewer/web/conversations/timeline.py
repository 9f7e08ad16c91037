"""A page of a conversation's messages, and the version of each that browsers hold.

A version is a short digest of everything the page shows of a message, computed from its rows. The
ETag of a page is the concatenation of its versions: so a polling browser states what it has
(If-None-Match), and receives only what differs. No version column to maintain: any write to a row
is detected, by whatever code.
"""

import base64
import hashlib
import itertools
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import load_only
from sqlalchemy.orm.attributes import set_committed_value

from viewer.extensions import db
from viewer.models import MediaAttachment, MediaLink, Message, WorkRecord
from viewer.web import wording
from viewer.web.formatting import local
from viewer.web.pagination import Cursor, newer, older

DIGEST = 4  # bytes per message in an ETag: a change collides, so is missed, once in four billion
RUN = timedelta(minutes=10)  # messages of one sender within this time are grouped
IN_SIGHT = 6  # messages, or photos, that fit on a screen

# Columns a version is computed from. The other columns, above all the text, derive from these:
# `said` holds the fields that deliveries reported, with the time of each report.
_TOLD = (Message.id, Message.conversation_id, Message.kind, Message.direction, Message.sender,
         Message.colleague, Message.status, Message.error_code, Message.sent_at,
         Message.said)  # fmt: skip
_OF_A_FILE = (MediaAttachment.id, MediaAttachment.message_id, MediaAttachment.position,
              MediaAttachment.role, MediaAttachment.media_type, MediaAttachment.state,
              MediaAttachment.trouble, MediaAttachment.accepted_at, MediaAttachment.closed_as,
              MediaAttachment.closed_reason,
              MediaAttachment.problem, MediaAttachment.copy_state, MediaAttachment.copy_problem,
              MediaAttachment.thumbnail_path, MediaAttachment.preview_path,
              MediaAttachment.playable_path, MediaAttachment.mime_type,
              MediaAttachment.declared_type, MediaAttachment.file_name,
              MediaAttachment.file_size, MediaAttachment.width, MediaAttachment.height,
              MediaAttachment.duration_seconds, MediaAttachment.caption,
              MediaAttachment.is_unfiled, MediaAttachment.not_needed_at,
              MediaAttachment.created_at)  # fmt: skip
_UNSHOWN = {"created_at", "message_id", "state"}  # of a file; _file_version handles its state
# Columns that the page shows besides. Loading all columns of a file takes twice as long.
_OF_A_SHOWN_FILE = (*_OF_A_FILE, MediaAttachment.conversation_id, MediaAttachment.openphone_url,
                    MediaAttachment.placeholder, MediaAttachment.peaks,
                    MediaAttachment.sent_at)  # fmt: skip
_OF_A_RECORD = (WorkRecord.id, WorkRecord.kind, WorkRecord.number, WorkRecord.title,
                WorkRecord.visit, WorkRecord.starts_at, WorkRecord.created_at)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as shown in the timeline."""

    message: Message
    media: Sequence[MediaAttachment]  # those not in the trash
    receipt: wording.Receipt | None
    cursor: str
    follows: bool  # grouped with the message above it: the name is not repeated
    files: str  # id:version of each file shown
    words: str  # version of the text
    version: bytes  # of everything shown, including receipt and delivery status
    is_first_new: bool = False
    is_seen_first: bool = False  # visible when the page opens: its photos are not lazy-loaded

    @property
    def has_stored(self) -> bool:
        return any(media.is_stored for media in self.media)


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    entries: list[Entry]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive messages, oldest first, and whether there are older or newer ones."""

    entries: list[Entry]
    has_older: bool
    has_newer: bool

    @property
    def days(self) -> list[Day]:
        return days_of(self.entries)

    @property
    def first(self) -> str | None:
        return self.entries[0].cursor if self.entries else None

    @property
    def last(self) -> str | None:
        return self.entries[-1].cursor if self.entries else None


def days_of(entries: Iterable[Entry]) -> list[Day]:
    return [
        Day(date, list(group))
        for date, group in itertools.groupby(
            entries, key=lambda entry: local(entry.message.sent_at).date()
        )
    ]


def newest(conversation_id: uuid.UUID, size: int, new_since: datetime | None = None) -> Stretch:
    found = _read_messages(_messages_of(conversation_id).order_by(*_DOWN).limit(size + 1))
    return Stretch(
        _in_sight(_entries(found[:size][::-1], new_since=new_since)),
        has_older=len(found) > size,
        has_newer=False,
    )


def before(conversation_id: uuid.UUID, cursor: str, size: int) -> Stretch:
    query = _messages_of(conversation_id).where(older(Message.sent_at, Message.id, cursor))
    found = _read_messages(query.order_by(*_DOWN).limit(size + 1))
    return Stretch(
        _entries(found[:size][::-1]),
        has_older=len(found) > size,
        has_newer=True,
    )


def after(conversation_id: uuid.UUID, cursor: str, size: int) -> Stretch:
    query = _messages_of(conversation_id).where(newer(Message.sent_at, Message.id, cursor))
    found = _read_messages(query.order_by(*_UP).limit(size + 1))
    at_or_below = _messages_of(conversation_id).where(~newer(Message.sent_at, Message.id, cursor))
    return Stretch(
        _entries(found[:size]),
        has_older=db.session.scalar(sa.select(at_or_below.exists())) or False,
        has_newer=len(found) > size,
    )


def around(conversation_id: uuid.UUID, cursor: str, size: int) -> Stretch:
    """Load the message at this cursor with as many messages above it as below."""
    half = size // 2
    above = _messages_of(conversation_id).where(~newer(Message.sent_at, Message.id, cursor))
    below = _messages_of(conversation_id).where(newer(Message.sent_at, Message.id, cursor))
    upper = _read_messages(above.order_by(*_DOWN).limit(half + 1))
    lower = _read_messages(below.order_by(*_UP).limit(half + 1))
    return Stretch(
        _entries(upper[:half][::-1] + lower[:half]),
        has_older=len(upper) > half,
        has_newer=len(lower) > half,
    )


def is_among_newest(message: Message, size: int) -> bool:
    """Whether fewer than `size` messages of its conversation are newer."""
    newer_ones = (
        _messages_of(message.conversation_id)
        .where(newer(Message.sent_at, Message.id, _cursor_of(message)))
        .limit(size)
        .subquery()
    )
    return (db.session.scalar(sa.select(sa.func.count()).select_from(newer_ones)) or 0) < size


def watched_stretch(
    conversation_id: uuid.UUID, since: str | None, until: str | None, limit: int
) -> Stretch:
    """Load the newest `limit` messages between two cursors, inclusive, for their versions only.

    The texts are not loaded: `load_whole` loads them.
    """
    query = _messages_of(conversation_id)
    if since:
        query = query.where(~older(Message.sent_at, Message.id, since))
    if until:
        query = query.where(~newer(Message.sent_at, Message.id, until))
    found = _read_messages(query.order_by(*_DOWN).limit(limit + 1), light=True)
    return Stretch(
        _entries(found[:limit][::-1], above=found[limit] if len(found) > limit else None),
        has_older=len(found) > limit,
        has_newer=until is not None,
    )


def load_whole(entries: Iterable[Entry]) -> None:
    """Load the remaining columns of these messages, with the same few queries for any number."""
    ids = [entry.message.id for entry in entries]
    if ids:
        _read_messages(sa.select(Message).where(Message.id.in_(ids)))


# --- Versions ------------------------------------------------------------------------------


def etag_of(entries: Iterable[Entry], *more: object) -> str:
    digests = [entry.version for entry in entries] + [_digest(one) for one in more]
    return base64.urlsafe_b64encode(b"".join(digests)).decode().rstrip("=")


def known_by(if_none_match: str) -> set[bytes]:
    """Parse the versions from the ETags of an If-None-Match header; invalid ones are ignored."""
    known: set[bytes] = set()
    for tag in re.findall(r'"([\w-]*)(?::\w+)?"', if_none_match):
        try:
            found = base64.urlsafe_b64decode(tag + "=" * (-len(tag) % 4))
        except ValueError:
            continue
        known.update(found[i : i + DIGEST] for i in range(0, len(found), DIGEST))
    return known


def digests_of(entries: Iterable[Entry], *more: object) -> set[bytes]:
    return {entry.version for entry in entries} | {_digest(one) for one in more}


def _digest(*told: object) -> bytes:
    written = json.dumps(told, default=str, sort_keys=True)
    return hashlib.blake2b(written.encode(), digest_size=DIGEST).digest()


# --- Reading -------------------------------------------------------------------------------

_DOWN = (Message.sent_at.desc(), Message.id.desc())
_UP = (Message.sent_at, Message.id)


def _messages_of(conversation_id: uuid.UUID) -> sa.Select[Message]:
    return sa.select(Message).filter_by(conversation_id=conversation_id)


def _read_messages(query: sa.Select[Message], *, light: bool = False) -> list[Message]:
    """Load messages with their files and linked records, in the same two queries for any number."""
    if light:
        query = query.options(_LIGHT)
    messages = list(db.session.scalars(query.execution_options(populate_existing=True)))
    files = _read_files([message.id for message in messages], light=light)
    for message in messages:
        found = files.get(message.id, [])
        set_committed_value(message, "media", found)
        for media in found:
            set_committed_value(media, "message", message)
    return messages


_LIGHT = load_only(*_TOLD)
# One query with its records, built once, instead of `selectinload` of media and of links: a third
# of the time.
_FILES, _FILES_LIGHT = (
    sa.select(MediaAttachment, MediaLink, WorkRecord)
    .outerjoin(MediaLink, MediaLink.media_id == MediaAttachment.id)
    .outerjoin(WorkRecord, WorkRecord.id == MediaLink.record_id)
    .where(MediaAttachment.message_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(
        MediaAttachment.position, MediaAttachment.created_at, MediaAttachment.id, MediaLink.id
    )
    .options(load_only(*columns), load_only(*_OF_A_RECORD))
    .execution_options(populate_existing=True)
    for columns in (_OF_A_SHOWN_FILE, _OF_A_FILE)
)


def _read_files(
    message_ids: Sequence[uuid.UUID], *, light: bool
) -> dict[uuid.UUID, list[MediaAttachment]]:
    """Load the files of these messages with their links, by message, in the order sent."""
    files: dict[uuid.UUID, list[MediaAttachment]] = {}
    if not message_ids:
        return files
    links: dict[uuid.UUID, list[MediaLink]] = {}
    for media, link, record in db.session.execute(
        _FILES_LIGHT if light else _FILES, {"ids": message_ids}
    ):
        if media.id not in links:
            files.setdefault(media.message_id, []).append(media)
            links[media.id] = []
        if link is not None:
            set_committed_value(link, "record", record)
            links[media.id].append(link)
    for found in files.values():
        for media in found:
            set_committed_value(media, "links", links[media.id])
    return files


def _entries(
    messages: Sequence[Message],
    *,
    above: Message | None = None,
    new_since: datetime | None = None,
) -> list[Entry]:
    """Build the entries, each grouped with the message above it where it continues that."""
    is_new = (m for m in messages if new_since and m.is_incoming and m.sent_at >= new_since)
    first_new = next(is_new, None)
    return [
        _entry(
            message,
            follows=previous is not None and _continues(previous, message),
            is_first_new=message is first_new,
        )
        for previous, message in zip([above, *messages], messages, strict=False)
    ]


def _in_sight(entries: list[Entry]) -> list[Entry]:
    """Mark the entries visible when the page opens: from the first new one, else at the end."""
    first_new = next((i for i, entry in enumerate(entries) if entry.is_first_new), None)
    order = range(len(entries))[::-1] if first_new is None else range(first_new, len(entries))
    photos = 0
    for index in order[:IN_SIGHT]:
        photos += len(entries[index].media)
        if photos > IN_SIGHT and index != order[0]:
            break
        entries[index] = replace(entries[index], is_seen_first=True)
    return entries


def _continues(above: Message, message: Message) -> bool:
    return (
        not (above.is_call or message.is_call)
        and (above.direction, above.sender, above.colleague)
        == (message.direction, message.sender, message.colleague)
        and message.sent_at - above.sent_at < RUN
        and local(above.sent_at).date() == local(message.sent_at).date()
    )


def _entry(message: Message, *, follows: bool, is_first_new: bool) -> Entry:
    cursor, media = _cursor_of(message), wording.shown_files(message)
    files = " ".join(f"{one.id.hex[:8]}:{_file_version(one)}" for one in media)
    words = _digest(message.said, message.kind, message.direction, follows).hex()
    receipt = wording.receipt(media)
    return Entry(
        message=message,
        media=media,
        receipt=receipt,
        cursor=cursor,
        follows=follows,
        files=files,
        words=words,
        version=_digest(cursor, files, words, receipt and receipt.words, message.status),
        is_first_new=is_first_new,
    )


def _cursor_of(message: Message) -> str:
    return Cursor(message.sent_at, message.id).encode()


def _file_version(media: MediaAttachment) -> str:
    """Return the version of a file. Pending and downloading look alike, so count as one state."""
    state = "on its way" if media.is_on_its_way else media.state
    shown = [getattr(media, column.key) for column in _OF_A_FILE if column.key not in _UNSHOWN]
    links = [
        _link_facts(link.record) for link in sorted(media.links, key=lambda link: str(link.id))
    ]
    return _digest(state, shown, links).hex()


def _link_facts(record: WorkRecord) -> tuple[object, ...]:
    return record.id, record.number, record.title, record.visit, record.starts_at
