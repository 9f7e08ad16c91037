"""The conversation: what staff look at all day."""

import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa
from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import Conversation, ConversationAlias, Message
from viewer.web.counts import counts_of
from viewer.web.filters import local
from viewer.web.listing import older, position
from viewer.web.names import names_of, title_of

bp = Blueprint("conversations", __name__)

MESSAGES_PAGE = 50


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    messages: list[Message]


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
    place = request.args.get("before")
    if place:
        query = query.where(older(Message.sent_at, Message.id, place))
    found = db.session.scalars(query.limit(MESSAGES_PAGE + 1)).all()
    messages = list(reversed(found[:MESSAGES_PAGE]))
    names = names_of({*conversation.numbers, *(m.sender for m in messages if m.sender)})
    return render_template(
        "conversations/show.html",
        conversation=conversation,
        title=title_of(conversation, names),
        names=names,
        days=_days(messages),
        older=position(messages[0].sent_at, messages[0].id) if len(found) > MESSAGES_PAGE else None,
        is_newest=place is None,
        counts=counts_of([conversation.id])[conversation.id],
    )


def _moved(conversation_id: uuid.UUID) -> Response:
    """Two conversations that proved to be one have one page; the other's address leads there."""
    alias = db.session.get(ConversationAlias, str(conversation_id))
    if alias is None:
        abort(404, "There is no such conversation.")
    return redirect(url_for(".show", conversation_id=alias.conversation_id), 301)


def _days(messages: Sequence[Message]) -> list[Day]:
    return [
        Day(date, list(group))
        for date, group in itertools.groupby(messages, key=lambda m: local(m.sent_at).date())
    ]
