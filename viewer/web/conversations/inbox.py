"""The inbox: conversations by latest message, with unread counts and filters."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import load_only
from sqlalchemy.orm.attributes import set_committed_value
from werkzeug.wrappers import Response

from viewer import quo
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, Message, PhoneLine, Unread
from viewer.office import filing, reading
from viewer.office.names import names_of, title_of, titles_of
from viewer.plurals import plural
from viewer.web import layout
from viewer.web.access import the_user
from viewer.web.conversations.counts import counts_of
from viewer.web.date_range import Span, read_span
from viewer.web.pagination import next_cursor, older

bp = Blueprint("inbox", __name__)

INBOX_PAGE = 40
FEW = 400  # conversations; a filter that matches at most these is resolved first: see _narrow_query

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType

# Filters: the value in the URL, and the label.
FILTERS = {
    "unread": "Unread",
    "photos": "Photos",
    "voicemail": "Voicemail",
    "unfiled": "Unfiled photos",
    "attention": "Needs attention",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen filters. They are all in the URL, so it can be bookmarked and shared."""

    shown: tuple[str, ...]  # keys of FILTERS, combined with AND
    line: str | None
    span: Span

    def __bool__(self) -> bool:
        return bool(self.shown or self.line or self.span)

    def url(self, **changed: Any) -> str:
        """Return the URL of the inbox with these filters, except for the changes."""
        given: dict[str, Any] = {"show": self.shown, "line": self.line, **self.span.args}
        return url_for("conversations.inbox.show", **{**given, **changed})

    @property
    def news(self) -> str:
        """URL that an open page polls for updates of this list."""
        given: dict[str, Any] = {"show": self.shown, "line": self.line, **self.span.args}
        return url_for("conversations.live.inbox", **given)

    @property
    def kept(self) -> list[tuple[str, str]]:
        """Hidden fields for the form that changes only line and dates."""
        return [("show", word) for word in self.shown]

    def toggled(self, word: str) -> str:
        """Return the URL with this filter toggled."""
        shown = [one for one in FILTERS if (one in self.shown) != (one == word)]
        return self.url(show=shown)


@dataclass(frozen=True, slots=True)
class InboxLine:
    conversation: Conversation
    title: str
    last: Message | None
    speaker: str  # sender of the last message; only in a group
    unread: int | None  # messages; None: read; 0: marked as unread by the user
    attention: int
    files: list[str]  # a text for each kind: "3 photos, 1 unfiled"


@bp.get("/")
def show() -> str:
    """List conversations, newest first. Keyset pagination by `?before=`."""
    phone_lines = _phone_lines()
    found = read_inbox()
    # On the first page only: visits are still to come, older pages show the past.
    visits = [] if found["chosen"] or not found["is_first"] else filing.visits_soon()
    return render_template(
        "conversations/inbox.html",
        **found,
        soon=list(zip(visits, titles_of([one.conversation for one in visits]), strict=True)),
        phone_lines=phone_lines,
        line_name=dict(phone_lines).get(found["chosen"].line or "", "a line that is not known"),
        unread=layout.count_of("conversations.inbox.show"),
        now=now(),
    )


def read_inbox() -> dict[str, Any]:
    """Load the inbox page that the query asks for, as the context of _list.html."""
    chosen = _read_choice()
    cursor = request.args.get("before")
    query = _narrow_query(chosen, cursor).limit(INBOX_PAGE + 1)
    rows = db.session.execute(query, {"user_id": the_user().id}).all()
    found = [row.Conversation for row in rows]
    return {
        "lines": _inbox_lines(found[:INBOX_PAGE], [row.unread for row in rows[:INBOX_PAGE]]),
        "filters": FILTERS,
        "chosen": chosen,
        "is_first": not cursor,
        "older": next_cursor(found, INBOX_PAGE, Conversation.latest_at, Conversation.id),
    }


@bp.post("/read")
def read_all() -> Response:
    """Mark all as read for this user, except what arrived after the page was loaded."""
    try:
        seen = datetime.fromtimestamp(float(request.form.get("seen", "")), tz=UTC)
    except (ValueError, OverflowError, OSError):
        abort(400, "It is not said what was seen.")
    count = reading.mark_all_read(the_user(), seen)
    db.session.commit()
    flash(f"{count} {plural(count, 'conversation')} marked as read.", "done")
    return redirect(url_for(".show"), 303)


@bp.post("/conversations/<uuid:conversation_id>/unread")
def mark_unread(conversation_id: uuid.UUID) -> Response:
    """Mark a conversation as unread for this user."""
    if db.session.get(Conversation, conversation_id) is None:
        abort(404, "There is no such conversation.")
    reading.mark_unread(the_user(), conversation_id)
    db.session.commit()
    return redirect(url_for(".show"), 303)


def _read_choice() -> Choice:
    words = request.args.getlist("show")
    if unknown := set(words) - {*FILTERS, ""}:
        abort(404, f"There is no filter “{min(unknown)[:40]}”.")
    return Choice(
        shown=tuple(word for word in FILTERS if word in words),
        line=request.args.get("line", "").replace("\0", "") or None,  # PostgreSQL rejects NUL
        span=read_span(request.args),
    )


def _narrow_query(chosen: Choice, cursor: str | None) -> sa.Select[Conversation, int | None]:
    """Select the conversations that match, newest first, from this cursor on; with new messages.

    A frequent filter is fast as EXISTS, checked along the index on `latest_at`. A rare one would
    scan the whole inbox that way: there we start with the few conversations that match it.
    """
    query = sa.select(Conversation.id, Conversation.latest_at)
    if chosen.line:
        query = query.where(Conversation.line == chosen.line)
    query = query.where(*chosen.span.conditions(Conversation.latest_at))
    if cursor:
        query = query.where(older(Conversation.latest_at, Conversation.id, cursor))
    few = False
    for word in chosen.shown:
        those = _conversations_having(word)
        if not few and word not in ("photos", "voicemail") and _are_few(those):
            few = True
            query = query.where(Conversation.id.in_(those))
        else:
            own = those.selected_columns[0] == Conversation.id
            query = query.where(those.where(own).correlate(Conversation).exists())
    if not few:
        return query.with_only_columns(Conversation, _UNREAD).order_by(
            Conversation.latest_at.desc(), Conversation.id.desc()
        )
    # The limit cuts nothing off: it is an optimization fence, so the few are found before sorting.
    found = query.limit(FEW).subquery()
    return (
        sa.select(Conversation, _UNREAD)
        .join(found, found.c.id == Conversation.id)
        .order_by(found.c.latest_at.desc(), found.c.id.desc())
    )


def _conversations_having(word: str) -> sa.Select[uuid.UUID]:
    """Select the ids of the conversations that match a filter."""
    if word == "unread":
        return sa.select(Unread.conversation_id).where(Unread.user_id == the_user().id)
    part = "voicemails" if word == "voicemail" else word
    return sa.select(MediaAttachment.conversation_id).where(MediaAttachment.is_in(part))


def _are_few(those: sa.Select[uuid.UUID]) -> bool:
    some = those.distinct().limit(FEW + 1).subquery()
    count = db.session.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    return count <= FEW


def _phone_lines() -> list[tuple[str, str]]:
    """List id and name of each phone line; empty if there is only one to choose from."""
    lines = db.session.execute(_LINES).all()
    if len(lines) < 2:
        return []
    return [
        (line.provider_id or "", line.name or quo.display(line.number or "") or "A line")
        for line in lines
    ]


_UNREAD = reading.NEW_MESSAGES.label("unread")


def _inbox_lines(page: Sequence[Conversation], unread: Sequence[int | None]) -> list[InboxLine]:
    ids = [conversation.id for conversation in page]
    last, counts = _last_messages(ids), counts_of(ids)
    senders = (message.sender for message in last.values() if message.sender)
    names = names_of({*(number for row in page for number in row.numbers), *senders})
    return [
        InboxLine(
            conversation=conversation,
            title=title_of(conversation, names),
            last=(message := last.get(conversation.id)),
            speaker=_speaker(conversation, message, names),
            unread=new,
            attention=counts[conversation.id]["attention"],
            files=_describe_counts(counts[conversation.id]),
        )
        for conversation, new in zip(page, unread, strict=True)
    ]


def _describe_counts(counts: Counter[str]) -> list[str]:
    words = []
    for kind in ("photo", "voicemail", "video", "file"):
        count, unfiled = counts[kind], counts[f"unfiled_{kind}"]
        if not count:
            continue
        said = f"{count} {plural(count, kind)}"
        if unfiled:
            some = f"{unfiled} " if unfiled < count else "all " if count > 1 else ""
            said += f", {some}unfiled"
        words.append(said)
    return words


def _speaker(conversation: Conversation, message: Message | None, names: dict[str, str]) -> str:
    if message is None or not message.is_incoming or len(conversation.numbers) < 2:
        return ""
    return names.get(message.sender or "") or quo.display(message.sender or "unknown")


def _last_messages(ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Message]:
    """Load the newest message of each: one index lookup per conversation, whatever its length."""
    files: dict[uuid.UUID, list[MediaAttachment]] = {}
    messages: dict[uuid.UUID, Message] = {}
    for message, media in db.session.execute(_LAST, {"ids": ids}):
        messages[message.conversation_id] = message
        found = files.setdefault(message.id, [])
        if media is not None:
            found.append(media)
    for message in messages.values():
        set_committed_value(message, "media", files[message.id])
    return messages


_newest = (
    sa.select(Message.id)
    .where(Message.conversation_id == Conversation.id)
    .order_by(Message.sent_at.desc(), Message.id.desc())
    .limit(1)
    .scalar_subquery()
)
_SPACES = "".join(filter(str.isspace, map(chr, range(1, 0x3001))))  # what str.strip() takes off
# Built once, and without the large columns: half of the time. Files come along where the message
# is told by them: a call, or a text without words.
_is_told_by_files = (Message.kind == Message.Kind.CALL) | (
    sa.func.ltrim(sa.func.coalesce(Message.body, ""), _SPACES) == ""
)
_LAST = (
    sa.select(Message, MediaAttachment)
    .outerjoin(MediaAttachment, (MediaAttachment.message_id == Message.id) & _is_told_by_files)
    .where(
        Message.id.in_(
            sa.select(_newest).where(Conversation.id.in_(sa.bindparam("ids", expanding=True)))
        )
    )
    .order_by(Message.id, MediaAttachment.position)
    .options(
        load_only(
            Message.conversation_id, Message.kind, Message.direction, Message.sender,
            Message.body, Message.answered_at, Message.completed_at, Message.duration_seconds,
            Message.has_voicemail, Message.voicemail_transcript, Message.summary,
            raiseload=True,
        ),
        load_only(
            MediaAttachment.message_id, MediaAttachment.role, MediaAttachment.media_type,
            MediaAttachment.state, raiseload=True,
        ),
    )
)  # fmt: skip
_line = PhoneLine.__table__.c
_LINES = (
    sa.select(_line.provider_id, _line.number, _line.name)
    .where(_line.provider_id.is_not(None))
    .order_by(_line.number)
)
