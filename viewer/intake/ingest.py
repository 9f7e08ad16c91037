"""Ingest an event: upsert conversation, message and media rows from a payload. Idempotent.

Payloads arrive twice, in any order, in three dialects, from webhooks and from REST. Rows are found
by the provider's ids, and each field keeps the time of its statement (last write wins), so every
order of arrival ends in the same rows.

Everything is read and decided first and written at the end, in few statements (`transactions`).
What moves messages from one conversation to another is rare, and is done alone.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer import quo, transactions
from viewer.extensions import Lock, db, lock, run_upsert
from viewer.failpoint import failpoint
from viewer.intake import file_matching, forgotten, grouping, message_files
from viewer.intake.phone_lines import OwnLines
from viewer.models import (
    Contact,
    ContactNumber,
    Forgetting,
    MediaAttachment,
    Message,
    SearchEntry,
    Unread,
    User,
    WebhookEvent,
)
from viewer.search import indexing

log = logging.getLogger(__name__)

TRIES = 5

# Later states win, whatever order they arrive in.
STATUS_ORDER = (
    "queued", "accepted", "scheduled", "sending", "receiving", "sent", "received",
    "delivered", "read", "partially_delivered", "canceled", "undelivered", "failed",
)  # fmt: skip


@dataclass
class Plan:
    """What a payload changes, beside the objects of the session, and what came of it."""

    files: list[MediaAttachment] = field(default_factory=list)  # all of the message
    entries: list[tuple[SearchEntry, bool]] = field(default_factory=list)  # and whether it is new
    news: Message | None = None

    @property
    def to_collect(self) -> list[uuid.UUID]:
        return [row.id for row in self.files if message_files.is_to_collect(row)]

    def write(self) -> None:
        db.session.flush()
        for entry, is_new in self.entries:
            indexing.write_entry(entry, is_new=is_new)
        if self.news is not None:
            _tell_readers(self.news)


@dataclass(frozen=True, slots=True)
class Held:
    """What was read for a report of a message or call, and is locked."""

    lines: OwnLines
    known: message_files.Known | None  # None: it is new


def ingest(event_id: uuid.UUID) -> list[uuid.UUID]:
    """Parse one event and upsert its rows. Returns the ids of the media to collect.

    Commits, unless the caller has a transaction open: then it is all part of that.
    """
    return transactions.run(lambda alone: _read_event(event_id, alone=alone))


def _read_event(event_id: uuid.UUID, *, alone: bool) -> Callable[[], list[uuid.UUID]]:
    lock(Lock.INGEST, shared=not alone)
    event = db.session.scalar(
        sa.select(WebhookEvent)
        .filter_by(id=event_id, state=WebhookEvent.State.RECEIVED)
        .with_for_update(skip_locked=True)  # whoever has it, ingests it
        .execution_options(populate_existing=True)
    )
    if event is None:
        return list
    event.attempts += 1
    try:
        payload = quo.read_json(event.body)
        told = quo.understand(payload, received_at=event.received_at)
    except quo.NotUnderstood as reason:
        event.mark_unparsed(str(reason))
        log.warning("event=%s unparsed: %s", event.id, reason)
        return list

    seen = forgotten.without_forgotten(told)
    if seen is None:
        event.mark_processed(quo.kind_of(payload))
        event.erase_body()
        log.info("event=%s is of somebody who was forgotten", event.id)
        return _drop
    planned = plan(seen, event.received_at, alone=alone)
    event.tells_of = getattr(seen, "provider_id", None)
    event.mark_processed(quo.kind_of(payload))
    overlooked = _overlooked(seen, payload, planned.files)
    if overlooked:
        # The provider may have renamed a field: a photo we don't see is a photo lost.
        event.mark_unparsed(f"{overlooked} addresses in it were not understood.")
    elif seen is not told:
        event.erase_body()  # it names somebody who was forgotten

    def write() -> list[uuid.UUID]:
        planned.write()
        if event.erased_at:
            Forgetting.note_repeat()
        media = planned.to_collect
        if overlooked:
            log.warning("event=%s has addresses that were not understood", event.id)
        log.info("event=%s kind=%s media=%d", event.id, event.kind, len(media))
        failpoint("ingest.read")
        return media

    return write


def _drop() -> list[uuid.UUID]:
    db.session.flush()
    Forgetting.note_repeat()
    return []


def _overlooked(seen: quo.Seen, payload: object, files: list[MediaAttachment]) -> int:
    """How many URLs of the event belong to no file of ours, perhaps in a renamed field."""
    if not isinstance(seen, quo.MessageSeen | quo.CallSeen):
        return 0
    unread = set(quo.urls_in(payload)) - {item.url for item in seen.media}
    # And whatever else went wrong: as many files as were announced have rows of their own.
    rows = Counter(row.role.value for row in files)
    return len(unread) + (file_matching.address_count(seen.media) - rows).total()


def note_failure(event_id: uuid.UUID, error: Exception) -> None:
    """Record that our code failed on this event. After some attempts it waits for a fix."""
    event = db.session.scalar(
        sa.select(WebhookEvent)
        .filter_by(id=event_id, state=WebhookEvent.State.RECEIVED)
        .with_for_update()  # another worker may have read it since
        .execution_options(populate_existing=True)
    )
    if event is None:
        return
    event.attempts += 1
    if event.attempts >= TRIES:
        event.mark_unparsed(f"Our program failed on it ({type(error).__name__}).")


def upsert(seen: quo.Seen, received_at: datetime) -> list[uuid.UUID]:
    """Upsert what a payload reports. Returns the ids of the media to collect.

    Commits, unless the caller has a transaction open.
    """

    def think(alone: bool) -> Callable[[], list[uuid.UUID]]:
        lock(Lock.INGEST, shared=not alone)
        said = forgotten.without_forgotten(seen)
        planned = plan(said, received_at, alone=alone) if said else Plan()

        def write() -> list[uuid.UUID]:
            planned.write()
            return planned.to_collect

        return write

    return transactions.run(think)


def plan(seen: quo.Seen, received_at: datetime, *, alone: bool) -> Plan:
    """Decide what a payload changes. `Lock.INGEST` is held, shared unless alone."""
    match seen:
        case quo.MessageSeen() | quo.CallSeen():
            return plan_held(seen, received_at, hold(seen, alone=alone), alone=alone)
        case quo.ContactSeen():
            return _plan_contact(seen, alone=alone)
    return Plan()


def hold(seen: quo.MessageSeen | quo.CallSeen, *, alone: bool) -> Held:
    """Learn whose numbers are ours, then lock and read the rows there are of this message."""
    lines = grouping.learn_lines(seen.parties.line, seen.parties.ours, alone=alone)
    if not alone:
        grouping.hold(seen.provider_id, seen.parties, lines)
    message = grouping.find_message(seen.provider_id)
    if message is None:
        return Held(lines, None)
    files = db.session.scalars(message_files.select_files().filter_by(message_id=message.id))
    return Held(lines, message_files.Known(message, list(files)))


def plan_held(
    seen: quo.MessageSeen | quo.CallSeen, received_at: datetime, held: Held, *, alone: bool
) -> Plan:
    """Decide what this report of a message or call changes."""
    lines, known = held.lines, held.known
    before = known.message.sent_at if known else None
    words = indexing.spoken_parts(known.message) if known else None
    message = grouping.place(
        seen.provider_id,
        Message.Kind.TEXT if isinstance(seen, quo.MessageSeen) else Message.Kind.CALL,
        seen.parties,
        seen.said_at,
        lines,
        arrived_at=received_at,
        message=known.message if known else None,
        alone=alone,
    )
    _merge(message, seen, received_at)
    home = message.conversation
    planned = Plan()
    # Before anything flushes, which forgets what is new.
    if Message.Direction.INCOMING in sa.inspect(message).attrs.direction.history.added:
        planned.news = message
    planned.files = message_files.take(
        message, known.media if known else [], seen.media, seen.said_at, lines, alone=alone
    )
    if alone:
        db.session.flush()
        grouping.set_latest(home)
        indexing.index_messages([message])
        indexing.index_conversations([home])
        return planned
    day, is_first = home.latest_at.date(), home in db.session.new
    grouping.update_latest(message, before)
    if message.sent_at != before or indexing.spoken_parts(message) != words:
        entry = indexing.message_entry(message, planned.files)
        planned.entries.append((entry, known is None))
    if is_first or home.latest_at.date() != day:  # its entry moves once a day
        planned.entries.append((indexing.people_entry(home), is_first))
    return planned


def _merge(message: Message, seen: quo.MessageSeen | quo.CallSeen, received_at: datetime) -> None:
    """Merge the fields of a delivery into the message."""
    sent_at = _believable(seen.sent_at, received_at)
    if isinstance(seen, quo.MessageSeen):
        message.merge(
            seen.said_at,
            direction=Message.Direction(seen.direction.value),
            sender=seen.parties.sender,
            colleague=seen.user,
            body=seen.body,
            error_code=seen.error_code,
            sent_at=sent_at,
        )
        message.status = _furthest(message.status, seen.status)
        return
    message.merge(
        seen.said_at,
        direction=seen.direction and Message.Direction(seen.direction.value),
        sender=seen.parties.sender,
        colleague=seen.user,
        status=seen.status,
        sent_at=sent_at,
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


def _plan_contact(seen: quo.ContactSeen, *, alone: bool) -> Plan:
    if not alone:
        raise transactions.NotAlone  # a name is in the words of any conversation
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
    return Plan()


def _tell_readers(message: Message) -> None:
    """Mark the conversation unread for every user who had an account when this was sent."""
    run_upsert(_unread_rows, conversation_id=message.conversation.id, sent_at=message.sent_at)


def _unread_rows(insert: Any) -> sa.Insert:
    conversation_id = sa.bindparam("conversation_id", type_=Unread.conversation_id.type)
    sent_at = sa.bindparam("sent_at", type_=Unread.since.type)
    readers = (
        sa.select(User.id, conversation_id, sent_at)
        .where(User.disabled_at.is_(None), User.created_at <= sent_at)
        .order_by(User.id)  # in one order: two of these never wait for each other
    )
    new = insert(Unread.__table__).from_select(["user_id", "conversation_id", "since"], readers)
    made: sa.Insert = new.on_conflict_do_update(
        index_elements=["user_id", "conversation_id"],
        # It may have come later than a younger one.
        set_={"since": new.excluded.since},
        where=Unread.since > new.excluded.since,
    )
    return made


def _furthest(one: str | None, other: str | None) -> str | None:
    def rank(status: str) -> tuple[int, str]:
        return (STATUS_ORDER.index(status) if status in STATUS_ORDER else -1, status)

    known = [status for status in (one, other) if status]
    return max(known, key=rank) if known else None


def _believable(sent_at: datetime | None, received_at: datetime) -> datetime | None:
    """Clamp a reported time, which sorts the page and names a folder: not 1970, not next year."""
    earliest, latest = datetime(2015, 1, 1, tzinfo=UTC), received_at + timedelta(days=1)
    return sent_at if sent_at and earliest <= sent_at <= latest else None
