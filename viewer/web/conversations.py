"""The inbox and the conversation: what staff look at all day."""

import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa
from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy.orm import InstrumentedAttribute, selectinload
from werkzeug.wrappers import Response

from viewer import quo
from viewer.extensions import db
from viewer.models import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    MediaAttachment,
    Message,
)
from viewer.web.filters import local

bp = Blueprint("conversations", __name__)

INBOX_PAGE = 40
MESSAGES_PAGE = 50

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType

# What the inbox can be narrowed to: the word in the address, what people read, what must exist.
FILTERS: dict[str, tuple[str, sa.ColumnElement[bool] | None]] = {
    "": ("All", None),
    "photos": ("Photos", MediaAttachment.media_type == MediaType.PHOTO),
    "voicemail": ("Voicemail", MediaAttachment.role == Role.VOICEMAIL),
    "attention": (
        "Needs attention",
        MediaAttachment.state.in_((State.NEEDS_ATTENTION, State.DAMAGED)),
    ),
}


@dataclass(frozen=True, slots=True)
class InboxLine:
    conversation: Conversation
    title: str
    last: Message | None
    photos: int
    voicemails: int
    attention: int


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    messages: list[Message]


@bp.get("/")
def inbox() -> str:
    """Conversations, newest first."""
    chosen = request.args.get("show", "")
    if chosen not in FILTERS:
        abort(404, "There is no such filter.")
    query = sa.select(Conversation).order_by(Conversation.latest_at.desc(), Conversation.id.desc())
    must_exist = FILTERS[chosen][1]
    if must_exist is not None:
        query = query.where(Conversation.media.any(must_exist))
    if position := request.args.get("before"):
        query = query.where(_older(Conversation.latest_at, Conversation.id, position))
    found = db.session.scalars(query.limit(INBOX_PAGE + 1)).all()
    page = found[:INBOX_PAGE]
    return render_template(
        "conversations/inbox.html",
        lines=_lines(page),
        filters={word: words for word, (words, _) in FILTERS.items()},
        chosen=chosen,
        older=_position(page[-1].latest_at, page[-1].id) if len(found) > INBOX_PAGE else None,
    )


@bp.get("/conversations/<uuid:conversation_id>")
def show(conversation_id: uuid.UUID) -> str | Response:
    """One conversation: the newest messages, at the bottom; older ones on demand."""
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is None:
        return _moved(conversation_id)
    query = (
        sa.select(Message)
        .filter_by(conversation_id=conversation.id)
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .options(selectinload(Message.media))
    )
    position = request.args.get("before")
    if position:
        query = query.where(_older(Message.sent_at, Message.id, position))
    found = db.session.scalars(query.limit(MESSAGES_PAGE + 1)).all()
    messages = list(reversed(found[:MESSAGES_PAGE]))
    names = names_of({*conversation.numbers, *(m.sender for m in messages if m.sender)})
    return render_template(
        "conversations/show.html",
        conversation=conversation,
        title=title_of(conversation, names),
        names=names,
        days=_days(messages),
        older=_position(messages[0].sent_at, messages[0].id)
        if len(found) > MESSAGES_PAGE
        else None,
        is_newest=position is None,
        counts=_counts([conversation.id])[conversation.id],
    )


def _moved(conversation_id: uuid.UUID) -> Response:
    """Two conversations that proved to be one have one page; the other's address leads there."""
    alias = db.session.get(ConversationAlias, str(conversation_id))
    if alias is None:
        abort(404, "There is no such conversation.")
    return redirect(url_for(".show", conversation_id=alias.conversation_id), 301)


def names_of(numbers: Iterable[str]) -> dict[str, str]:
    """What the address book calls these numbers. Two people with one phone are both named."""
    rows = db.session.execute(
        sa.select(ContactNumber.number, Contact)
        .join(Contact)
        .where(ContactNumber.number.in_(set(numbers)), Contact.deleted.is_(False))
        .order_by(Contact.first_name, Contact.id)
    ).all()
    names: dict[str, list[str]] = {}
    for number, contact in rows:
        if contact.name and contact.name not in names.setdefault(number, []):
            names[number].append(contact.name)
    return {number: " & ".join(found) for number, found in names.items() if found}


def title_of(conversation: Conversation, names: dict[str, str]) -> str:
    return (
        ", ".join(names.get(number) or quo.display(number) for number in conversation.numbers)
        or "Unknown caller"
    )


def _lines(page: Sequence[Conversation]) -> list[InboxLine]:
    names = names_of(number for conversation in page for number in conversation.numbers)
    ids = [conversation.id for conversation in page]
    last, counts = _last_messages(ids), _counts(ids)
    return [
        InboxLine(
            conversation=conversation,
            title=title_of(conversation, names),
            last=last.get(conversation.id),
            photos=counts[conversation.id]["photos"],
            voicemails=counts[conversation.id]["voicemails"],
            attention=counts[conversation.id]["attention"],
        )
        for conversation in page
    ]


def _last_messages(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Message]:
    newest = (
        sa.select(Message.conversation_id, sa.func.max(Message.sent_at).label("sent_at"))
        .where(Message.conversation_id.in_(ids))
        .group_by(Message.conversation_id)
        .subquery()
    )
    rows = db.session.scalars(
        sa.select(Message)
        .join(
            newest,
            (Message.conversation_id == newest.c.conversation_id)
            & (Message.sent_at == newest.c.sent_at),
        )
        .order_by(Message.id)
        .options(selectinload(Message.media))
    )
    return {message.conversation_id: message for message in rows}


def _counts(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counter[str]]:
    counts: dict[uuid.UUID, Counter[str]] = {one: Counter() for one in ids}
    rows = db.session.execute(
        sa.select(
            MediaAttachment.conversation_id,
            MediaAttachment.media_type,
            MediaAttachment.role,
            MediaAttachment.state,
            sa.func.count(),
        )
        .where(MediaAttachment.conversation_id.in_(ids), MediaAttachment.state != State.TRASHED)
        .group_by(
            MediaAttachment.conversation_id,
            MediaAttachment.media_type,
            MediaAttachment.role,
            MediaAttachment.state,
        )
    )
    for conversation_id, media_type, role, state, count in rows:
        tally = counts[conversation_id]
        tally["all"] += count
        tally["photos"] += count if media_type is MediaType.PHOTO else 0
        tally["voicemails"] += count if role is Role.VOICEMAIL else 0
        tally["attention"] += count if state in (State.NEEDS_ATTENTION, State.DAMAGED) else 0
    return counts


def _days(messages: Sequence[Message]) -> list[Day]:
    return [
        Day(date, list(group))
        for date, group in itertools.groupby(messages, key=lambda m: local(m.sent_at).date())
    ]


def _position(moment: datetime, row_id: uuid.UUID) -> str:
    """A place in a list that stays the same place while the list grows."""
    return f"{moment.timestamp():.6f}_{row_id}"


def _older(
    moment: InstrumentedAttribute[datetime], row_id: InstrumentedAttribute[uuid.UUID], position: str
) -> sa.ColumnElement[bool]:
    stamp, _, identity = position.partition("_")
    try:
        then = datetime.fromtimestamp(float(stamp), tz=UTC)
        last = uuid.UUID(identity)
    except (ValueError, OverflowError, OSError):
        abort(400, "That is no place in this list.")
    return (moment < then) | ((moment == then) & (row_id < last))
