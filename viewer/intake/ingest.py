"""Understand an event, once: from what the provider said to conversation, message and media rows.

Everything here may be heard twice, in any order, in three dialects, from webhooks and from REST.
Rows are found by the provider's ids, and what is said about one field is kept by when it was said,
so every order ends in the same rows. One ingest runs at a time (`lock`): it takes milliseconds, and
two halves of one conversation never race.
"""

import dataclasses
import hashlib
import logging
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlunsplit

import sqlalchemy as sa

from viewer import quo
from viewer.config import settings
from viewer.extensions import db, lock, now
from viewer.failpoint import failpoint
from viewer.intake import naming
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    Line,
    MediaAttachment,
    Message,
    WebhookEvent,
)

log = logging.getLogger(__name__)

TRIES = 5

# Later states win, whatever order they arrive in.
STATUS_ORDER = (
    "queued", "accepted", "scheduled", "sending", "receiving", "sent", "received",
    "delivered", "read", "partially_delivered", "canceled", "undelivered", "failed",
)  # fmt: skip

# Parts of an address that only say who may read it and until when: two signed addresses of one
# file differ in nothing else.
_SIGNING = ("x-amz-", "x-goog-", "expires", "signature", "policy", "key-pair-id", "googleaccessid",
            "awsaccesskeyid", "sig", "se", "sp", "sv", "sr", "st", "token", "hmac")  # fmt: skip


def ingest(event_id: uuid.UUID) -> list[uuid.UUID]:
    """Read one event. The media that are now to be collected."""
    lock("ingest")
    event = db.session.get(WebhookEvent, event_id, populate_existing=True)
    if event is None or event.state is not WebhookEvent.State.RECEIVED:
        return []
    event.attempts += 1
    try:
        payload = quo.read_json(event.body)
        seen = quo.understand(payload, received_at=event.received_at)
    except quo.NotUnderstood as reason:
        event.mark_unparsed(str(reason))
        log.warning("event=%s unparsed: %s", event.id, reason)
        return []

    media = take(seen, event.received_at)
    event.mark_processed(quo.kind_of(payload))
    if overlooked := _overlooked(seen, payload):
        # The provider may have renamed a field: a photo we don't see is a photo lost.
        event.mark_unparsed(f"{overlooked} addresses in it were not understood.")
        log.warning("event=%s has addresses that were not understood", event.id)
    log.info("event=%s kind=%s media=%d", event.id, event.kind, len(media))
    failpoint("ingest.read")
    return media


def _overlooked(seen: quo.Seen, payload: object) -> int:
    """How many addresses an event names that no file of it was made from."""
    if not isinstance(seen, quo.MessageSeen | quo.CallSeen):
        return 0
    return len(set(quo.urls_in(payload)) - {item.url for item in seen.media})


def note_failure(event_id: uuid.UUID, error: Exception) -> None:
    """Our own code failed on this event. After some tries it waits, visibly, for better code."""
    event = db.session.get(WebhookEvent, event_id)
    if event is None:
        return
    event.attempts += 1
    if event.attempts >= TRIES:
        event.mark_unparsed(f"Our program failed on it ({type(error).__name__}).")


def take(seen: quo.Seen, received_at: datetime) -> list[uuid.UUID]:
    """Write down what was seen. The media that are now to be collected. Does not commit."""
    match seen:
        case quo.MessageSeen():
            return _take_message(seen, received_at)
        case quo.CallSeen():
            return _take_call(seen, received_at)
        case quo.ContactSeen():
            _take_contact(seen)
    return []


def _take_message(seen: quo.MessageSeen, received_at: datetime) -> list[uuid.UUID]:
    message = _message(seen.provider_id, Message.Kind.TEXT, seen.parties, received_at)
    message.hear(
        seen.said_at,
        direction=Message.Direction(seen.direction.value),
        sender=seen.parties.sender,
        colleague=seen.user,
        body=seen.body,
        error_code=seen.error_code,
        sent_at=_believable(seen.sent_at, received_at),
    )
    message.status = _furthest(message.status, seen.status)
    return _settle(message, seen.media, seen.said_at)


def _take_call(seen: quo.CallSeen, received_at: datetime) -> list[uuid.UUID]:
    message = _message(seen.provider_id, Message.Kind.CALL, seen.parties, received_at)
    message.hear(
        seen.said_at,
        direction=seen.direction and Message.Direction(seen.direction.value),
        sender=seen.parties.sender,
        colleague=seen.user,
        status=seen.status,
        sent_at=_believable(seen.sent_at, received_at),
        answered_at=seen.answered_at,
        completed_at=seen.completed_at,
        duration_seconds=seen.duration_seconds,
        # "No voicemail" is said before the voicemail is ready; it never takes one back.
        has_voicemail=seen.has_voicemail or None,
        voicemail_transcript=seen.voicemail_transcript,
        transcript=[dataclasses.asdict(line) for line in seen.transcript] or None,
        summary=list(seen.summary) or None,
        next_steps=list(seen.next_steps) or None,
    )
    return _settle(message, seen.media, seen.said_at)


def _take_contact(seen: quo.ContactSeen) -> None:
    contact = db.session.scalar(sa.select(Contact).filter_by(provider_id=seen.provider_id))
    if contact is None:
        contact = Contact(provider_id=seen.provider_id, deleted=False, known_numbers=[])
        db.session.add(contact)
    contact.hear(
        seen.said_at,
        first_name=seen.first_name,
        last_name=seen.last_name,
        company=seen.company,
        role=seen.role,
        known_numbers=None if seen.numbers is None else sorted(set(seen.numbers)),
        deleted=seen.deleted,
    )
    wanted = set() if contact.deleted else set(contact.known_numbers)
    contact.numbers = [row for row in contact.numbers if row.number in wanted] + [
        ContactNumber(number=number)
        for number in sorted(wanted - {row.number for row in contact.numbers})
    ]


# --- Where a message belongs ---------------------------------------------------------------


def _message(
    provider_id: str, kind: Message.Kind, parties: quo.Parties, received_at: datetime
) -> Message:
    """The row of this message, in the conversation where it belongs by all that is known."""
    for number in parties.ours:
        _learn_line(parties.line, number)
    message = db.session.scalar(sa.select(Message).filter_by(provider_id=provider_id))
    if message is None:
        home = _home(parties, received_at) or _lonely_home(received_at)
        message = Message(
            provider_id=provider_id, kind=kind, conversation=home, sent_at=received_at, said={}
        )
        db.session.add(message)
        db.session.flush()
        return message
    proven = _home(parties, received_at)
    here = message.conversation
    if proven is not None and proven is not here:
        if not here.participants or not proven.participants:
            _merge(here, proven)
        elif parties.conversation:  # the provider's own word outweighs our guess by numbers
            _move([message], proven)
    return message


def _home(parties: quo.Parties, received_at: datetime) -> Conversation | None:
    """The conversation of these parties; None if nothing is said about them."""
    key = _key(parties)
    known = _by_alias(parties.conversation) if parties.conversation else None
    alike = _by_people(key, parties.line)
    if known and alike and known is not alike and not known.participants:
        known = _merge(known, alike)
    home = known or alike
    if home is None:
        if not key and not parties.conversation:
            return None
        home = Conversation(participants=key, line=parties.line, latest_at=received_at)
        db.session.add(home)
        db.session.flush()
    if parties.conversation and known is None:
        _add_alias(parties.conversation, home)
    home.line = home.line or parties.line
    # Somebody may name fewer people than there are; the fullest list stands.
    if (key.count(",") + bool(key), key) > (len(home.numbers), home.participants):
        home.participants = key
        home = _merge_alike(home)
    return home


def _lonely_home(received_at: datetime) -> Conversation:
    """For a call of which nothing but an aftermath is known yet. It is shown, and merged later."""
    home = Conversation(participants="", latest_at=received_at)
    db.session.add(home)
    db.session.flush()
    return home


def _key(parties: quo.Parties) -> str:
    """The other parties, sorted."""
    ours = own_numbers()
    others = {number for number in parties.numbers if number not in ours}
    if not others:  # two lines of ours spoke with each other
        line = db.session.scalar(sa.select(Line.number).filter_by(provider_id=parties.line))
        others = set(parties.numbers) - {line} if line else set()
    return ",".join(sorted(others))


def own_numbers() -> set[str]:
    """Every number that is ours: from the settings, and learnt."""
    learnt = db.session.scalars(sa.select(Line.number).where(Line.number.is_not(None)))
    return {number for number in learnt if number} | set(settings().QUO_NUMBERS)


def _learn_line(line_id: str | None, number: str) -> None:
    if not number.startswith("+"):
        return
    line = db.session.scalar(sa.select(Line).filter_by(number=number))
    if line is None:
        known = number in own_numbers()
        line = db.session.scalar(sa.select(Line).filter_by(provider_id=line_id, number=None))
        if line is None:
            line = Line()
            db.session.add(line)
        line.number = number
        db.session.flush()
        if not known:
            _take_out(number)
    if line_id and line.provider_id is None:
        taken = db.session.scalar(sa.select(Line).filter_by(provider_id=line_id))
        if taken is None:  # a ported line keeps its first number here; both stay ours
            line.provider_id = line_id
    db.session.flush()


def _take_out(number: str) -> None:
    """A number turned out to be ours: it is nobody's other party any more."""
    for conversation in db.session.scalars(
        sa.select(Conversation).where(Conversation.participants.contains(number, autoescape=True))
    ).all():
        others = [other for other in conversation.numbers if other != number]
        if others and len(others) < len(conversation.numbers):
            conversation.participants = ",".join(others)
            _merge_alike(conversation)


def _by_alias(provider_id: str) -> Conversation | None:
    return db.session.scalar(
        sa.select(Conversation)
        .join(ConversationAlias, ConversationAlias.conversation_id == Conversation.id)
        .where(ConversationAlias.provider_id == provider_id)
    )


def _by_people(key: str, line: str | None) -> Conversation | None:
    if not key:
        return None
    query = sa.select(Conversation).filter_by(participants=key)
    if line:
        query = query.where((Conversation.line == line) | Conversation.line.is_(None))
    return db.session.scalars(
        query.order_by(Conversation.line.is_(None), Conversation.created_at, Conversation.id)
    ).first()


def _add_alias(provider_id: str, conversation: Conversation) -> None:
    db.session.add(ConversationAlias(provider_id=provider_id, conversation_id=conversation.id))
    db.session.flush()


def _merge_alike(conversation: Conversation) -> Conversation:
    """One conversation for one set of people on one line."""
    db.session.flush()
    for other in db.session.scalars(
        sa.select(Conversation)
        .filter_by(participants=conversation.participants)
        .where(Conversation.id != conversation.id)
    ).all():
        if None in (other.line, conversation.line) or other.line == conversation.line:
            conversation = _merge(other, conversation)
    return conversation


def _merge(one: Conversation, other: Conversation) -> Conversation:
    """Make one of two. The one that stays is the one whose people are known, then the older."""
    stay, go = sorted(
        (one, other), key=lambda row: (not row.participants, row.created_at, str(row.id))
    )
    db.session.flush()
    _move(db.session.scalars(sa.select(Message).filter_by(conversation_id=go.id)).all(), stay)
    db.session.execute(
        sa.update(ConversationAlias)
        .filter_by(conversation_id=go.id)
        .values(conversation_id=stay.id)
    )
    stay.line = stay.line or go.line
    stay.latest_at = max(stay.latest_at, go.latest_at)
    _add_alias(str(go.id), stay)  # its page's address goes on working
    db.session.expire(go)
    db.session.delete(go)
    db.session.flush()
    return stay


def _move(messages: Iterable[Message], home: Conversation) -> None:
    for message in messages:
        left = message.conversation
        message.conversation = home
        db.session.execute(
            sa.update(MediaAttachment)
            .filter_by(message_id=message.id)
            .values(conversation_id=home.id)
        )
        home.latest_at = max(home.latest_at, message.sent_at)
        db.session.flush()
        _set_latest(left)


# --- What came with it ---------------------------------------------------------------------


def _settle(
    message: Message, media: tuple[quo.MediaSeen, ...], said_at: datetime
) -> list[uuid.UUID]:
    """The last step for a message: its files have rows, its conversation knows its newest."""
    db.session.flush()
    rows = list(
        db.session.scalars(sa.select(MediaAttachment).filter_by(message_id=message.id)).all()
    )
    for position, item in enumerate(media):
        _take_media(message, rows, item, position, said_at)
    db.session.flush()
    _set_latest(message.conversation)
    return [
        row.id for row in rows if row.state is MediaAttachment.State.PENDING and row.openphone_url
    ]


def _take_media(
    message: Message,
    rows: list[MediaAttachment],
    item: quo.MediaSeen,
    position: int,
    said_at: datetime,
) -> None:
    row = _same_file(rows, item)
    if row is None:
        row = _new_media(message, item)
        rows.append(row)
        db.session.add(row)
    had_address = row.openphone_url is not None
    row.position = position if row.position is None else min(row.position, position)
    row.hear(
        said_at,
        openphone_url=item.url,
        declared_type=item.declared_type,
        provider_id=item.provider_id,
        # What decoding found is exact; the provider rounds.
        duration_seconds=None if row.is_stored else item.duration_seconds,
    )
    if item.url and not had_address:
        row.source_key, row.problem = source_key(item), None
        row.state, row.next_attempt_at = MediaAttachment.State.PENDING, now()
    db.session.flush()


def _same_file(rows: list[MediaAttachment], item: quo.MediaSeen) -> MediaAttachment | None:
    """The row of this file: by address, else by the provider's id of it."""
    key = source_key(item)
    by_address = next((row for row in rows if row.source_key == key), None)
    by_id = next(
        (
            row
            for row in rows
            if item.provider_id and row.provider_id == item.provider_id and row.role.value == item.role.value
        ),
        None,
    )
    if by_address and by_id and by_address is not by_id and by_id.openphone_url is None:
        # Announced by id without an address, then by address without the id: one file.
        rows.remove(by_id)
        db.session.delete(by_id)
        db.session.flush()
    return by_address or by_id


def _new_media(message: Message, item: quo.MediaSeen) -> MediaAttachment:
    ours = own_numbers()
    sender = message.sender if message.sender and message.sender not in ours else None
    customer = sender or next(iter(message.conversation.numbers), "") or quo.canonical(None)
    path, stem = _free_path(
        naming.stem(
            item.role,
            message.sent_at,
            customer,
            naming.clean_name(item.role, item.url, item.declared_type),
        ),
        naming.first_extension(item.role, item.url, item.declared_type),
    )
    return MediaAttachment(
        message_id=message.id,
        conversation_id=message.conversation_id,
        role=MediaAttachment.Role(item.role.value),
        source_key=source_key(item),
        file_path=path,
        file_stem=stem,
        file_name=naming.file_name(item.url),
        media_type=_first_guess(item),
        state=MediaAttachment.State.PENDING,
        next_attempt_at=now() if item.url else None,
        problem=None if item.url else "The phone provider has not said yet where the file is.",
        said={},
        attempts=0,
    )


def _free_path(stem: str, extension: str) -> tuple[str, str]:
    """The first name of stem, stem-2, stem-3 … that no file has, in any spelling of its case."""
    taken = set(
        db.session.scalars(
            sa.select(MediaAttachment.file_stem).where(
                MediaAttachment.file_stem.startswith(stem.lower(), autoescape=True)
            )
        )
    )
    count, candidate = 1, stem
    while candidate.lower() in taken:
        count += 1
        candidate = f"{stem}-{count}"
    return candidate + extension, candidate.lower()


def source_key(item: quo.MediaSeen) -> str:
    """What is the same for one file in every telling: its address without signatures, else its id."""
    if item.url is None:
        told = f"id:{item.provider_id}"
    elif (parts := naming.split(item.url)) is None:
        told = item.url
    else:
        query = [
            (name, value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if not any(
                name.lower() == mark or (mark.endswith("-") and name.lower().startswith(mark))
                for mark in _SIGNING
            )
        ]
        told = urlunsplit(
            (parts.scheme.lower(), parts.netloc.lower(), parts.path, urlencode(query), "")
        )
    return hashlib.sha256(f"{item.role.value} {told}".encode()).hexdigest()


def _first_guess(item: quo.MediaSeen) -> MediaAttachment.MediaType:
    if item.role is not quo.Role.ATTACHMENT:
        return MediaAttachment.MediaType.AUDIO
    family = (item.declared_type or "image/").partition("/")[0].lower()
    guesses = {
        "image": MediaAttachment.MediaType.PHOTO,
        "video": MediaAttachment.MediaType.VIDEO,
        "audio": MediaAttachment.MediaType.AUDIO,
    }
    return guesses.get(family, MediaAttachment.MediaType.DOCUMENT)


def _set_latest(conversation: Conversation) -> None:
    newest = db.session.scalar(
        sa.select(sa.func.max(Message.sent_at)).where(Message.conversation_id == conversation.id)
    )
    if newest is not None:
        conversation.latest_at = newest


def _furthest(one: str | None, other: str | None) -> str | None:
    def rank(status: str) -> tuple[int, str]:
        return (STATUS_ORDER.index(status) if status in STATUS_ORDER else -1, status)

    known = [status for status in (one, other) if status]
    return max(known, key=rank) if known else None


def _believable(sent_at: datetime | None, received_at: datetime) -> datetime | None:
    """A time that orders the page and names a folder: not 1970, not next year."""
    if sent_at is None:
        return None
    if datetime(2015, 1, 1, tzinfo=UTC) <= sent_at <= received_at + timedelta(days=1):
        return sent_at
    return received_at
