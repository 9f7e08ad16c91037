"""The conversation page, where staff spend the day."""

import uuid
from datetime import date, datetime, time

import sqlalchemy as sa
from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import Conversation, Message, Unread
from viewer.office.names import names_of, title_of
from viewer.web.access import the_user
from viewer.web.conversations import timeline
from viewer.web.conversations.counts import counts_of
from viewer.web.conversations.seen import mark_seen
from viewer.web.formatting import local
from viewer.web.pagination import Cursor
from viewer.web.redirects import find_conversation

bp = Blueprint("pages", __name__)

MESSAGES_PAGE = 50


@bp.get("/conversations/<uuid:conversation_id>")
def show(conversation_id: uuid.UUID) -> str | Response:
    """Show a conversation with its newest messages at the bottom; older ones load on demand."""
    conversation, unread_since = _find_with_unread(conversation_id)
    if wanted := request.args.get("on"):
        return redirect(_address_of_day(conversation, wanted))
    stretch = _stretch(conversation, unread_since)
    senders = {entry.message.sender for entry in stretch.entries if entry.message.sender}
    names = names_of({*conversation.numbers, *senders})
    return render_template(
        "conversations/show.html",
        conversation=conversation,
        title=title_of(conversation, names),
        names=names,
        stretch=stretch,
        etag=timeline.etag_of(stretch.entries, *_newest_beyond(conversation, stretch)),
        counts=counts_of([conversation.id])[conversation.id],
        today=local(now()).date(),
    )


@bp.get("/messages/<uuid:message_id>")
def at_message(message_id: uuid.UUID) -> Response:
    """Redirect to the page of the conversation that holds this message."""
    message = db.session.get(Message, message_id)
    if message is None:
        abort(404, "There is no such message.")
    cursor = Cursor(message.sent_at, message.id).encode()
    on_first_page = timeline.is_among_newest(message, MESSAGES_PAGE)
    return redirect(
        url_for(
            ".show",
            conversation_id=message.conversation_id,
            around=None if on_first_page else cursor,
            _anchor=f"message-{message.id}",
        )
    )


_CONVERSATION = (
    sa.select(Conversation, Unread.since)
    .outerjoin(
        Unread,
        (Unread.conversation_id == Conversation.id) & (Unread.user_id == sa.bindparam("user_id")),
    )
    .where(Conversation.id == sa.bindparam("conversation_id"))
)


def _find_with_unread(conversation_id: uuid.UUID) -> tuple[Conversation, datetime | None]:
    """Load the conversation, and since when this user has not read it. Aborts with 404."""
    keys = {"conversation_id": conversation_id, "user_id": the_user().id}
    found = db.session.execute(_CONVERSATION, keys).first()
    if found is None:  # merged into another, or never there
        return find_conversation(conversation_id), None
    return found.Conversation, found.since


def _stretch(conversation: Conversation, unread_since: datetime | None) -> timeline.Stretch:
    """Load the messages that the query asks for: the newest by default."""
    for way in (timeline.before, timeline.after, timeline.around):
        if cursor := request.args.get(way.__name__):
            return way(conversation.id, cursor, MESSAGES_PAGE)
    return timeline.newest(conversation.id, MESSAGES_PAGE, mark_seen(conversation.id, unread_since))


def _newest_beyond(conversation: Conversation, stretch: timeline.Stretch) -> list[object]:
    """ETag input of a page that ends before the newest message: changes when one arrives."""
    return [conversation.latest_at] if stretch.has_newer else []


def _address_of_day(conversation: Conversation, wanted: str) -> str:
    """URL that shows the first message on or after that day at the top. Aborts with 400."""
    try:
        day = date.fromisoformat(wanted)
        midnight = datetime.combine(day, time.min, settings().zone)
        cursor = Cursor(midnight, uuid.UUID(int=0)).encode()
    except (ValueError, OverflowError):
        abort(400, "That is no date. Write it as 2026-09-21.")
    is_later = conversation.latest_at < midnight
    return url_for(
        ".show",
        conversation_id=conversation.id,
        after=None if is_later else cursor,
        _anchor=None if is_later else "main",
    )
