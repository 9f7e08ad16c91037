"""Where a message belongs: the conversation of its participants on its line.

What is known of a message only grows, and where it belongs follows from all that is known, so the
order of arrival makes no difference. What certainly belongs together is a thread: the messages to
which the provider gave one conversation id, else a single message. Threads with the same people on
the same line are one conversation.

Nearly every delivery moves nothing. One that does is ingested alone: it may touch any conversation.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from viewer import quo
from viewer.extensions import db, lock_parts, now
from viewer.intake import message_files, phone_lines
from viewer.intake.phone_lines import OwnLines
from viewer.models import (
    Conversation,
    ConversationAlias,
    MediaAttachment,
    Message,
    Unread,
    WorkRecord,
)
from viewer.search import indexing
from viewer.transactions import NotAlone


def learn_lines(line: str | None, numbers: tuple[str, ...], *, alone: bool) -> OwnLines:
    """Record that these numbers of ours are on this line. Returns all that we know of our lines."""
    lines = OwnLines.read()
    if not any(lines.teaches(line, number) for number in numbers):
        return lines
    if not alone:
        raise NotAlone
    for number in numbers:
        learn_line(line, number)
    return OwnLines.read()


def learn_line(line_id: str | None, number: str) -> None:
    """Record that this number is ours, and its line, and regroup what follows from it. Alone."""
    if phone_lines.learn(line_id, number):
        _regroup(
            set(
                db.session.scalars(
                    sa.select(Conversation).where(
                        Conversation.participants.contains(number, autoescape=True)
                        # Two lines of ours spoke there, and only now we know which is which.
                        | ((Conversation.line == line_id) & (Conversation.participants == ""))
                    )
                )
            ),
            OwnLines.read(),
        )


def hold(provider_id: str, parties: quo.Parties, lines: OwnLines) -> None:
    """Lock what a delivery about this message may touch; `Lock.INGEST` is held, shared.

    Its row and its files, the name of its thread, and that people have a conversation at all.
    """
    lock_parts(
        Message.part(provider_id),
        *([f"thread {parties.conversation}"] if parties.conversation else []),
        *(f"number {number}" for number in lines.others(parties.numbers, parties.line)),
    )


def place(
    provider_id: str,
    kind: Message.Kind,
    parties: quo.Parties,
    said_at: datetime,
    lines: OwnLines,
    *,
    arrived_at: datetime,
    message: Message | None,
    alone: bool,
) -> Message:
    """Create the message's row, or take the given one, in the conversation where it belongs."""
    if message is not None and parties.conversation in message.threads:
        known: Conversation | None = message.conversation
    else:
        known = _by_alias(parties.conversation)
    is_settled = False
    if message is None:
        home = known
        if home is None:
            home, is_settled = _home_of_people(parties, lines)
        message = Message(
            id=Message.new_id(arrived_at), provider_id=provider_id, kind=kind,
            conversation=home, sent_at=said_at, said={},
        )  # fmt: skip
        db.session.add(message)
    elif "sent_at" not in message.said:  # nobody has said when: not after what is said of it
        message.sent_at = min(message.sent_at, said_at)
    message.learn(parties.conversation, parties.line, parties.numbers)
    if is_settled:
        if parties.conversation:
            db.session.add(
                ConversationAlias(
                    provider_id=parties.conversation, conversation=message.conversation
                )
            )
    elif not _is_at_home(message, parties, known, lines):
        if not alone:
            raise NotAlone
        _regroup({message.conversation} | ({known} if known else set()), lines)
    return message


def find_message(provider_id: str) -> Message | None:
    """The row of this message, with its conversation, which nobody else then changes."""
    return db.session.scalar(
        sa.select(Message)
        .filter_by(provider_id=provider_id)
        .join(Message.conversation)
        .options(contains_eager(Message.conversation))
        .with_for_update(of=Conversation, key_share=True)
        .execution_options(populate_existing=True)
    )


def _home_of_people(parties: quo.Parties, lines: OwnLines) -> tuple[Conversation, bool]:
    """The conversation of a new message whose thread is not known, and whether that is certain.

    It is, if these people have none, or only the one on this line. If they have others, a thread
    whose line nobody has said may have to move.
    """
    key = lines.key(parties.numbers, parties.line)
    found = _select_conversations().filter_by(participants=key).order_by(Conversation.id)
    alike = db.session.scalars(found).all() if key else ()
    ours = next((row for row in alike if row.line == parties.line), None)
    if not key or len(alike) > 1 or (alike and ours is None):
        return ours or _new_conversation(), False
    if ours is None:
        ours = _new_conversation()
        ours.participants, ours.line = key, parties.line
    return ours, True


def _select_conversations() -> sa.Select[Conversation]:
    return (
        sa.select(Conversation)
        .with_for_update(of=Conversation, key_share=True)
        .execution_options(populate_existing=True)
    )


def _is_at_home(
    message: Message, parties: quo.Parties, known: Conversation | None, lines: OwnLines
) -> bool:
    """Whether this report changes no grouping, the fast path of nearly all deliveries."""
    home = message.conversation
    if not message.threads:
        key = lines.key(message.numbers, message.line)
        return bool(key) and (home.participants, home.line) == (key, message.line)
    return (
        len(message.threads) == 1
        and (known is home or not parties.conversation)
        and parties.line in (None, home.line)
        and lines.others(parties.numbers, parties.line) <= set(home.numbers)
    )


def _regroup(stirred: set[Conversation], lines: OwnLines) -> None:
    """Regroup the messages of these conversations and of those they turn out to equal."""
    groups = _groups(stirred, lines)
    while alike := _with_people({key for _, key, _ in groups}) - stirred:
        stirred = stirred | alike
        groups = _groups(stirred, lines)

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
        set_latest(home)
    indexing.index_conversations(homes)
    for row in db.session.scalars(
        message_files.select_files().where(
            MediaAttachment.conversation_id.in_([home.id for home in homes]),
            MediaAttachment.attempts == 0,
        )
    ):
        message_files.name([row], row.message, lines)


# Line, people, and the thread where nobody has said who they are.
_Group = tuple[str | None, str, str]


def _groups(conversations: set[Conversation], own: OwnLines) -> dict[_Group, list[Message]]:
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
        key = own.key({number for message in messages for number in message.numbers}, line)
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
    moment = now()
    conversation = Conversation(
        id=uuid.uuid4(), participants="", line=None, created_at=moment, latest_at=moment
    )
    db.session.add(conversation)
    return conversation


def _by_alias(thread: str | None) -> Conversation | None:
    if not thread:
        return None
    return db.session.scalar(
        _select_conversations().join(ConversationAlias).filter_by(provider_id=thread)
    )


def _call(thread: str, conversation: Conversation) -> None:
    """Add an alias: an id of the provider's, or of a merged conversation."""
    alias = db.session.get(ConversationAlias, thread)
    if alias is None:
        alias = ConversationAlias(provider_id=thread)
        db.session.add(alias)
    alias.conversation_id = conversation.id


def _with_people(keys: set[str]) -> set[Conversation]:
    return set(
        db.session.scalars(
            sa.select(Conversation).where(Conversation.participants.in_(keys - {""}))
        )
    )


def set_latest(conversation: Conversation) -> None:
    """Update the conversation's time from all of its messages."""
    newest = db.session.scalar(
        sa.select(sa.func.max(Message.sent_at)).where(Message.conversation_id == conversation.id)
    )
    if newest is not None:
        conversation.latest_at = newest


def update_latest(message: Message, before: datetime | None) -> None:
    """Update the conversation's time. `before` is when this message was sent, as far as known."""
    home = message.conversation
    if before is None and home in db.session.new:
        home.latest_at = message.sent_at
    elif before is not None and message.sent_at < before >= home.latest_at:  # no more the newest
        others = db.session.scalar(
            sa.select(sa.func.max(Message.sent_at)).where(
                Message.conversation_id == home.id, Message.id != message.id
            )
        )
        home.latest_at = max(message.sent_at, others or message.sent_at)
    elif message.sent_at != before:
        home.latest_at = max(home.latest_at, message.sent_at)
