"""The inbox: who wrote or called last, and where something is new."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from flask import abort, render_template, request
from sqlalchemy.orm import selectinload

from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.web.conversations import bp  # one door: the inbox, and what opens from it
from viewer.web.counts import counts_of
from viewer.web.listing import older, position
from viewer.web.names import names_of, title_of

INBOX_PAGE = 40

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
    if place := request.args.get("before"):
        query = query.where(older(Conversation.latest_at, Conversation.id, place))
    found = db.session.scalars(query.limit(INBOX_PAGE + 1)).all()
    page = found[:INBOX_PAGE]
    return render_template(
        "inbox/show.html",
        lines=_lines(page),
        filters={word: words for word, (words, _) in FILTERS.items()},
        chosen=chosen,
        older=position(page[-1].latest_at, page[-1].id) if len(found) > INBOX_PAGE else None,
    )


def _lines(page: Sequence[Conversation]) -> list[InboxLine]:
    names = names_of(number for conversation in page for number in conversation.numbers)
    ids = [conversation.id for conversation in page]
    last, counts = _last_messages(ids), counts_of(ids)
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
