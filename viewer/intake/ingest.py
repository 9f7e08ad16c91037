"""Ingest an event: upsert conversation, message and media rows from a payload. Idempotent.

Payloads arrive twice, in any order, in three dialects, from webhooks and from REST. Rows are found
by the provider's ids, and each field keeps the time of its statement (last write wins), so every
order of arrival ends in the same rows. One ingest runs at a time (`Lock.INGEST`): it takes
milliseconds, and two halves of one conversation never race.
"""

import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from viewer import quo
from viewer.config import settings
from viewer.extensions import Lock, db, lock, now
from viewer.failpoint import failpoint
from viewer.intake import file_matching, naming
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    MediaAttachment,
    MediaLink,
    Message,
    PhoneLine,
    Unread,
    User,
    WebhookEvent,
    WorkRecord,
)
from viewer.search import indexing

log = logging.getLogger(__name__)

TRIES = 5

State = MediaAttachment.State

# Later states win, whatever order they arrive in.
STATUS_ORDER = (
    "queued", "accepted", "scheduled", "sending", "receiving", "sent", "received",
    "delivered", "read", "partially_delivered", "canceled", "undelivered", "failed",
)  # fmt: skip


def ingest(event_id: uuid.UUID) -> list[uuid.UUID]:
    """Parse one event and upsert its rows. Returns the ids of the media to collect."""
    lock(Lock.INGEST)
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

    media = upsert(seen, event.received_at)
    event.tells_of = getattr(seen, "provider_id", None)
    event.mark_processed(quo.kind_of(payload))
    if overlooked := _overlooked(seen, payload):
        # The provider may have renamed a field: a photo we don't see is a photo lost.
        event.mark_unparsed(f"{overlooked} addresses in it were not understood.")
        log.warning("event=%s has addresses that were not understood", event.id)
    log.info("event=%s kind=%s media=%d", event.id, event.kind, len(media))
    failpoint("ingest.read")
    return media


def _overlooked(seen: quo.Seen, payload: object) -> int:
    """How many URLs of the event belong to no file of ours, perhaps in a renamed field."""
    if not isinstance(seen, quo.MessageSeen | quo.CallSeen):
        return 0
    unread = set(quo.urls_in(payload)) - {item.url for item in seen.media}
    # And whatever else went wrong: as many files as were announced have rows of their own.
    rows = Counter(
        role.value
        for role in db.session.scalars(
            sa.select(MediaAttachment.role)
            .join(Message, MediaAttachment.message_id == Message.id)
            .where(Message.provider_id == seen.provider_id)
        )
    )
    return len(unread) + (file_matching.address_count(seen.media) - rows).total()


def note_failure(event_id: uuid.UUID, error: Exception) -> None:
    """Record that our code failed on this event. After some attempts it waits for a fix."""
    event = db.session.get(WebhookEvent, event_id)
    if event is None:
        return
    event.attempts += 1
    if event.attempts >= TRIES:
        event.mark_unparsed(f"Our program failed on it ({type(error).__name__}).")


def upsert(seen: quo.Seen, received_at: datetime) -> list[uuid.UUID]:
    """Upsert what a payload reports. Returns the ids of the media to collect. Does not commit."""
    match seen:
        case quo.MessageSeen():
            return _take_message(seen, received_at)
        case quo.CallSeen():
            return _take_call(seen, received_at)
        case quo.ContactSeen():
            _take_contact(seen)
    return []


def _take_message(seen: quo.MessageSeen, received_at: datetime) -> list[uuid.UUID]:
    message = _message(seen.provider_id, Message.Kind.TEXT, seen.parties, seen.said_at)
    message.merge(
        seen.said_at,
        direction=Message.Direction(seen.direction.value),
        sender=seen.parties.sender,
        colleague=seen.user,
        body=seen.body,
        error_code=seen.error_code,
        sent_at=_believable(seen.sent_at, received_at),
    )
    message.status = _furthest(message.status, seen.status)
    return _finish_message(message, seen.media, seen.said_at)


def _take_call(seen: quo.CallSeen, received_at: datetime) -> list[uuid.UUID]:
    message = _message(seen.provider_id, Message.Kind.CALL, seen.parties, seen.said_at)
    message.merge(
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
        transcript=[asdict(line) for line in seen.transcript] or None,
        summary=list(seen.summary) or None,
        next_steps=list(seen.next_steps) or None,
    )
    return _finish_message(message, seen.media, seen.said_at)


def _take_contact(seen: quo.ContactSeen) -> None:
    contact = db.session.scalar(sa.select(Contact).filter_by(provider_id=seen.provider_id))
    if contact is None:
        contact = Contact(provider_id=seen.provider_id, deleted=False, known_numbers=[])
        db.session.add(contact)
    contact.merge(
        seen.said_at,
        first_name=seen.first_name,
        last_name=seen.last_name,
        company=seen.company,
        role=seen.role,
        known_numbers=None if seen.numbers is None else sorted(set(seen.numbers)),
        deleted=seen.deleted,
    )
    wanted = set() if contact.deleted else set(contact.known_numbers)
    stirred = wanted | {row.number for row in contact.numbers}
    contact.numbers = [row for row in contact.numbers if row.number in wanted] + [
        ContactNumber(number=number)
        for number in sorted(wanted - {row.number for row in contact.numbers})
    ]
    indexing.index_people(stirred)


# --- Where a message belongs ---------------------------------------------------------------
#
# What is known of a message only grows, and where it belongs follows from all that is known, so the
# order of arrival makes no difference. What certainly belongs together is a thread: the messages to
# which the provider gave one conversation id, else a single message. Threads with the same people
# on the same line are one conversation.


def _message(
    provider_id: str, kind: Message.Kind, parties: quo.Parties, said_at: datetime
) -> Message:
    """Get or create the message row, in the conversation where it belongs by all we know."""
    for number in parties.ours:
        learn_line(parties.line, number)
    known = _by_alias(parties.conversation)
    message = db.session.scalar(sa.select(Message).filter_by(provider_id=provider_id))
    if message is None:
        home = known or _alike(parties) or _new_conversation()
        message = Message(
            provider_id=provider_id, kind=kind, conversation=home, sent_at=said_at, said={}
        )
        db.session.add(message)
    elif "sent_at" not in message.said:  # nobody has said when: not after what is said of it
        message.sent_at = min(message.sent_at, said_at)
    message.learn(parties.conversation, parties.line, parties.numbers)
    if not _is_at_home(message, parties, known):
        _regroup({message.conversation} | ({known} if known else set()))
    return message


def _is_at_home(message: Message, parties: quo.Parties, known: Conversation | None) -> bool:
    """Whether this report changes no grouping, the fast path of nearly all deliveries."""
    home = message.conversation
    if not message.threads:
        key = _key(message.numbers, message.line)
        return bool(key) and (home.participants, home.line) == (key, message.line)
    return (
        len(message.threads) == 1
        and (known is home or not parties.conversation)
        and parties.line in (None, home.line)
        and _others(parties.numbers, parties.line) <= set(home.numbers)
    )


def _regroup(stirred: set[Conversation]) -> None:
    """Regroup the messages of these conversations and of those they turn out to equal."""
    groups = _groups(stirred)
    while alike := _with_people({key for _, key, _ in groups}) - stirred:
        stirred = stirred | alike
        groups = _groups(stirred)

    homes, empty = set[Conversation](), set(stirred)
    moved_to: dict[Conversation, Conversation] = {}
    for (line, key, _), messages in groups.items():
        home = _row_for(key, messages, empty)
        homes.add(home)
        empty.discard(home)
        home.line, home.participants = line, key
        for left in _move(messages, home):
            moved_to.setdefault(left, home)
    for left in empty & moved_to.keys():
        _replace(left, moved_to[left])
    db.session.flush()
    for home in homes:
        _set_latest(home)
    indexing.index_conversations(homes)
    for row in db.session.scalars(
        _files().where(
            MediaAttachment.conversation_id.in_([home.id for home in homes]),
            MediaAttachment.attempts == 0,
        )
    ):
        _name_file(row, row.message)


# Line, people, and the thread where nobody has said who they are.
_Group = tuple[str | None, str, str]


def _groups(conversations: set[Conversation]) -> dict[_Group, list[Message]]:
    """The messages of these conversations, grouped by where they belong."""
    db.session.flush()
    threads: dict[str, list[Message]] = {}
    for message in db.session.scalars(
        sa.select(Message)
        .where(Message.conversation_id.in_([row.id for row in conversations]))
        .order_by(Message.created_at, Message.id)
    ):
        threads.setdefault(next(iter(message.threads), str(message.id)), []).append(message)

    people: dict[str, tuple[str | None, str]] = {}
    lines: dict[str, str] = {}  # for threads whose line nobody has said
    for thread, messages in threads.items():
        line = min((message.line for message in messages if message.line), default=None)
        # Somebody may name fewer people than there are.
        key = _key({number for message in messages for number in message.numbers}, line)
        people[thread] = line, key
        if line and key:
            lines[key] = min(line, lines.get(key, line))

    groups: dict[_Group, list[Message]] = {}
    for thread, (line, key) in people.items():
        group = (line or lines.get(key), key, "" if key else thread)
        groups.setdefault(group, []).extend(threads[thread])
    return groups


def _row_for(key: str, messages: list[Message], empty: set[Conversation]) -> Conversation:
    """The conversation that stays: the oldest that fits."""
    return (
        min(
            {message.conversation for message in messages} & empty,
            key=lambda row: (row.participants != key, row.created_at, str(row.id)),
            default=None,
        )
        or _new_conversation()
    )


def _move(messages: list[Message], home: Conversation) -> list[Conversation]:
    """Move messages, media and aliases here. Returns the conversations they left."""
    moved = [message for message in messages if message.conversation is not home]
    left = [message.conversation for message in moved]
    for message in moved:
        message.conversation = home
        db.session.execute(
            sa.update(MediaAttachment)
            .filter_by(message_id=message.id)
            .values(conversation_id=home.id)
        )
    db.session.flush()
    for thread in {thread for message in messages for thread in message.threads}:
        _call(thread, home)
    return left


def _replace(left: Conversation, home: Conversation) -> None:
    """Merge an emptied conversation into another: its page redirects there."""
    db.session.execute(
        sa.update(ConversationAlias)
        .filter_by(conversation_id=left.id)
        .values(conversation_id=home.id)
    )
    _call(str(left.id), home)
    db.session.execute(
        sa.update(WorkRecord).filter_by(conversation_id=left.id).values(conversation_id=home.id)
    )
    known = sa.select(Unread.user_id).filter_by(conversation_id=home.id)
    db.session.execute(
        sa.update(Unread)
        .where(Unread.conversation_id == left.id, Unread.user_id.not_in(known))
        .values(conversation_id=home.id)
        .execution_options(synchronize_session=False)
    )
    db.session.flush()
    db.session.expire(left)
    db.session.delete(left)


def _new_conversation() -> Conversation:
    conversation = Conversation(id=uuid.uuid4(), participants="", created_at=now())
    db.session.add(conversation)
    return conversation


def _by_alias(thread: str | None) -> Conversation | None:
    alias = db.session.get(ConversationAlias, thread) if thread else None
    return db.session.get(Conversation, alias.conversation_id) if alias else None


def _call(thread: str, conversation: Conversation) -> None:
    """Add an alias: an id of the provider's, or of a merged conversation."""
    alias = db.session.get(ConversationAlias, thread)
    if alias is None:
        alias = ConversationAlias(provider_id=thread)
        db.session.add(alias)
    alias.conversation_id = conversation.id


def _alike(parties: quo.Parties) -> Conversation | None:
    """Find the conversation of exactly these participants on this line."""
    key = _key(parties.numbers, parties.line)
    if not key:
        return None
    return db.session.scalar(sa.select(Conversation).filter_by(participants=key, line=parties.line))


def _with_people(keys: set[str]) -> set[Conversation]:
    return set(
        db.session.scalars(
            sa.select(Conversation).where(Conversation.participants.in_(keys - {""}))
        )
    )


def _key(numbers: Iterable[str], line: str | None) -> str:
    return ",".join(sorted(_others(numbers, line)))


def _others(numbers: Iterable[str], line: str | None) -> set[str]:
    """The participants other than our own numbers."""
    named = set(numbers)
    if others := named - own_numbers():
        return others
    # Two lines of ours spoke with each other.
    ours = (
        db.session.scalar(sa.select(PhoneLine.number).filter_by(provider_id=line)) if line else None
    )
    return named - {ours} if ours else set()


def own_numbers() -> set[str]:
    """Our own numbers: from the settings, and learnt."""
    learnt = db.session.scalars(sa.select(PhoneLine.number).where(PhoneLine.number.is_not(None)))
    return {number for number in learnt if number} | set(settings().QUO_NUMBERS)


def learn_line(line_id: str | None, number: str) -> None:
    """Record that this number is ours, and its line."""
    if not number.startswith("+"):
        return
    line = db.session.scalar(sa.select(PhoneLine).filter_by(number=number))
    is_new = line is None
    if line is None:
        line = db.session.scalar(sa.select(PhoneLine).filter_by(provider_id=line_id, number=None))
        line = line or PhoneLine()
        line.number = number
        db.session.add(line)
        db.session.flush()
    if line_id and (line.provider_id is None or line_id < line.provider_id):
        # A ported line had several numbers: the first in order is its own, and all stay ours.
        holder = db.session.scalar(sa.select(PhoneLine).filter_by(provider_id=line_id))
        if holder is None or number < (holder.number or ""):
            if holder is not None:
                holder.provider_id = None
                db.session.flush()
            line.provider_id, is_new = line_id, True
            db.session.flush()
    if is_new:
        _regroup(
            set(
                db.session.scalars(
                    sa.select(Conversation).where(
                        Conversation.participants.contains(number, autoescape=True)
                        # Two lines of ours spoke there, and only now we know which is which.
                        | ((Conversation.line == line_id) & (Conversation.participants == ""))
                    )
                )
            )
        )


# --- What came with it ---------------------------------------------------------------------


def _finish_message(
    message: Message, media: tuple[quo.MediaSeen, ...], said_at: datetime
) -> list[uuid.UUID]:
    """Upsert a message's files, update its conversation, index both. Returns media to collect."""
    is_news = Message.Direction.INCOMING in sa.inspect(message).attrs.direction.history.added
    db.session.flush()
    rows = list(db.session.scalars(_files().filter_by(message_id=message.id)))
    _take_files(message, rows, media, said_at)
    _drop_announced_voicemail(rows)
    file_matching.set_source_keys(rows)
    for row in rows:
        _name_file(row, message)
        row.sent_at = message.sent_at
        db.session.add(row)
        db.session.flush()
    _file_message(rows, message)
    _set_latest(message.conversation)
    indexing.index_messages([message])
    indexing.index_conversations([message.conversation])
    if is_news:
        _tell_readers(message)
    return [row.id for row in rows if row.state is State.PENDING and row.openphone_url]


def _files() -> sa.Select[MediaAttachment]:
    """Select media rows FOR UPDATE: one that is being claimed keeps its name."""
    return (
        sa.select(MediaAttachment)
        .order_by(MediaAttachment.created_at, MediaAttachment.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _take_files(
    message: Message,
    rows: list[MediaAttachment],
    media: tuple[quo.MediaSeen, ...],
    said_at: datetime,
) -> None:
    """Assign the files of one delivery to rows, certain matches first."""
    told = [*enumerate(zip(media, file_matching.marks(media), strict=True))]
    told.sort(key=lambda one: not any(file_matching.is_exactly(row, one[1][1]) for row in rows))
    taken: list[MediaAttachment] = []
    for position, (item, marks) in told:
        row = _row_of(message, rows, item, file_matching.alike(rows, item, marks, taken), position)
        taken.append(row)
        file_matching.remember(row, marks, rows)
        _take_media(row, item, position, said_at)


def _take_media(
    row: MediaAttachment, item: quo.MediaSeen, position: int, said_at: datetime
) -> None:
    known_address = row.openphone_url
    row.position = min(row.position, position)
    row.merge(
        said_at,
        openphone_url=item.url,
        declared_type=item.declared_type,
        provider_id=item.provider_id,
        # What decoding found is exact; the provider rounds.
        duration_seconds=None if row.is_stored else item.duration_seconds,
    )
    if row.openphone_url != known_address and row.state in (State.PENDING, State.NEEDS_ATTENTION):
        row.next_attempt_at = now()  # a fresh address is tried at once
        if known_address is None:
            row.state, row.problem = State.PENDING, None


def _row_of(
    message: Message,
    rows: list[MediaAttachment],
    item: quo.MediaSeen,
    same: list[MediaAttachment],
    position: int,
) -> MediaAttachment:
    """The row of this file.

    Two rows that prove to be one file become one, unless both downloads have begun: bytes stay.
    """
    if not same:
        rows.append(_new_media(message, item, position))
        return rows[-1]
    row, *others = sorted(same, key=lambda row: (row.attempts == 0, row.is_stored))
    for other in others:
        if other.attempts == 0:
            row.merge_from(other)
            row.position = min(row.position, other.position)
            _drop(other, rows)
    return row


def _file_message(rows: list[MediaAttachment], message: Message) -> None:
    """Mark a customer's files as unfiled: they wait in the tray."""
    linked = set(
        db.session.scalars(
            sa.select(MediaLink.media_id).where(MediaLink.media_id.in_([row.id for row in rows]))
        )
        if rows
        else ()
    )
    for row in rows:
        row.is_unfiled = row.waits_in_tray(
            is_incoming=message.is_incoming, is_linked=row.id in linked
        )


def _drop_announced_voicemail(rows: list[MediaAttachment]) -> None:
    """Drop the voicemail announced without URL and id once the real one is known."""
    voicemails = [row for row in rows if row.role is MediaAttachment.Role.VOICEMAIL]
    announced = [row for row in voicemails if not row.openphone_url and not row.provider_id]
    if len(announced) < len(voicemails):
        for row in announced:
            _drop(row, rows)


def _drop(row: MediaAttachment, rows: list[MediaAttachment]) -> None:
    rows.remove(row)
    if row in db.session:
        db.session.delete(row)
        db.session.flush()


def _new_media(message: Message, item: quo.MediaSeen, position: int) -> MediaAttachment:
    return MediaAttachment(
        message_id=message.id,
        conversation_id=message.conversation_id,
        role=MediaAttachment.Role(item.role.value),
        source_key="",  # follows from all its rows
        position=position,
        state=State.PENDING,
        next_attempt_at=None,
        problem="The phone provider has not said yet where the file is.",
        said={},
        attempts=0,
    )


def _name_file(row: MediaAttachment, message: Message) -> None:
    """Set the columns derived from all reports of a file. Its first download fixes its name."""
    if row.attempts:
        return
    role = quo.Role(row.role.value)
    row.file_name = naming.file_name(row.openphone_url)
    row.media_type = _first_guess(role, row.declared_type)
    name = naming.clean_name(role, row.openphone_url, row.declared_type)
    stem = naming.stem(role, message.sent_at, _customer(message), name)
    has_it = row.file_stem and re.fullmatch(re.escape(stem.lower()) + r"(-\d+)?", row.file_stem)
    found = row.file_path.rpartition(".")[0] if has_it else _free_stem(stem)
    row.file_stem = found.lower()
    row.file_path = found + naming.first_extension(role, row.openphone_url, row.declared_type)


def _customer(message: Message) -> str:
    """The number whose folder a message's files go to."""
    if message.sender and message.sender not in own_numbers():
        return message.sender
    return next(iter(message.conversation.numbers), "") or quo.canonical(None)


def _free_stem(stem: str) -> str:
    """The first free name of stem, stem-2, stem-3 …, case-insensitively."""
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
    return candidate


def _first_guess(role: quo.Role, declared_type: str | None) -> MediaAttachment.MediaType:
    if role is not quo.Role.ATTACHMENT:
        return MediaAttachment.MediaType.AUDIO
    family = (declared_type or "image/").partition("/")[0].lower()
    guesses = {
        "image": MediaAttachment.MediaType.PHOTO,
        "video": MediaAttachment.MediaType.VIDEO,
        "audio": MediaAttachment.MediaType.AUDIO,
    }
    return guesses.get(family, MediaAttachment.MediaType.DOCUMENT)


def _tell_readers(message: Message) -> None:
    """Mark the conversation unread for every user who had an account when this was sent."""
    readers = sa.select(User.id).where(
        User.disabled_at.is_(None), User.created_at <= message.sent_at
    )
    # It came later than a younger one. In one statement: who opens it now takes the row away.
    db.session.execute(
        sa.update(Unread)
        .where(
            Unread.conversation_id == message.conversation_id,
            Unread.since > message.sent_at,
            Unread.user_id.in_(readers),
        )
        .values(since=message.sent_at)
    )
    known = sa.select(Unread.user_id).filter_by(conversation_id=message.conversation_id)
    for user_id in db.session.scalars(readers.where(User.id.not_in(known))):
        db.session.add(
            Unread(user_id=user_id, conversation_id=message.conversation_id, since=message.sent_at)
        )


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
    """Clamp a reported time, which sorts the page and names a folder: not 1970, not next year."""
    earliest, latest = datetime(2015, 1, 1, tzinfo=UTC), received_at + timedelta(days=1)
    return sent_at if sent_at and earliest <= sent_at <= latest else None
