"""The inbox: conversations by latest message, with unread counts and filters."""

import itertools
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request
from werkzeug.wrappers import Response

from viewer import quo
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, Message, PhoneLine, Unread
from viewer.office import filing, reading
from viewer.office.names import names_of, title_of_numbers, titles_of
from viewer.plurals import plural
from viewer.web import layout
from viewer.web.access import the_user
from viewer.web.conversations.counts import counts_of
from viewer.web.date_range import Span, read_span
from viewer.web.formatting import exact_time, short_time
from viewer.web.pagination import next_cursor, older
from viewer.web.undo import flash_with_undo
from viewer.web.urls import url_for
from viewer.web.wording import in_short, text_in_short

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
        shown = tuple(one for one in FILTERS if (one in self.shown) != (one == word))
        return self.url(show=shown)


@dataclass(frozen=True, slots=True)
class InboxLine:
    """A conversation of the inbox, in words."""

    url: str
    title: str
    latest_at: str  # of its newest message: for machines, as a tooltip, and for the eye
    exact_time: str
    short_time: str
    last: str  # the newest message in one line; empty if there is none
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
    query = _narrow_query(chosen, cursor) if chosen or cursor else _EVERYTHING
    rows = db.session.execute(query, {"user_id": the_user().id, "limit": INBOX_PAGE + 1})
    # A conversation has a row for each file that describes its last message, and at least one.
    by_conversation = [list(files) for _, files in itertools.groupby(rows, key=lambda row: row.id)]
    found = [files[0] for files in by_conversation]
    return {
        "lines": _inbox_lines(by_conversation[:INBOX_PAGE]),
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
    count, act = reading.mark_all_read(the_user(), seen)
    db.session.commit()
    words = f"{count} {plural(count, 'conversation')} marked as read."
    if count:
        flash_with_undo(words, url_for(".undo_read_all"), act=act)
    else:
        flash(words, "done")
    return redirect(url_for(".show"), 303)


@bp.post("/read/undo")
def undo_read_all() -> Response:
    """Make unread again what “Mark all as read” found unread, within an hour. Idempotent."""
    try:
        count = reading.unmark_all_read(the_user(), request.form.get("act", ""))
    except reading.TooLate:
        flash("This was undone already, or is more than an hour ago. Nothing was changed.", "error")
    else:
        db.session.commit()
        flash(f"{count} {plural(count, 'conversation')} unread again.", "done")
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


def _narrow_query(chosen: Choice, cursor: str | None) -> sa.Select[Any]:
    """Select the conversations that match, newest first, from this cursor on: rows of a page.

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
        return _read_page(query.order_by(Conversation.latest_at.desc(), Conversation.id.desc()))
    # The limit cuts nothing off: it is an optimization fence, so the few are found before sorting.
    found = query.limit(FEW).subquery()
    return _read_page(
        sa.select(Conversation.id)
        .join(found, found.c.id == Conversation.id)
        .order_by(found.c.latest_at.desc(), found.c.id.desc())
    )


def _read_page(conversations: sa.Select[*tuple[Any, ...]]) -> sa.Select[Any]:
    """Select the first `limit` of these conversations with all that their lines are made of.

    One statement, of columns: loaded as conversations, messages and files by two statements, a
    page took 2.3 ms instead of 0.6. The newest message is one index lookup per conversation,
    whatever its length. Files come along where they describe it: a call, or a text without words.
    """
    page_query = conversations.with_only_columns(
        _conversation.id, _conversation.participants, _conversation.latest_at, _UNREAD
    )
    page = page_query.limit(sa.bindparam("limit", type_=sa.Integer)).subquery("page")
    newest = (
        sa.select(_message.id)
        .where(_message.conversation_id == page.c.id)
        .order_by(_message.sent_at.desc(), _message.id.desc())
        .limit(1)
        .correlate(page)
        .scalar_subquery()
    )
    described_by_files = (_message.kind == Message.Kind.CALL) | (
        sa.func.ltrim(sa.func.coalesce(_message.body, ""), _SPACES) == ""
    )
    return (
        sa.select(
            *page.c,
            *(getattr(_message, name) for name in _TOLD),
            _media.role,
            _media.media_type,
            _media.state,
        )
        .outerjoin_from(page, Message.__table__, _message.id == newest)
        .outerjoin(
            MediaAttachment.__table__, (_media.message_id == _message.id) & described_by_files
        )
        .order_by(page.c.latest_at.desc(), page.c.id.desc(), _media.position)
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


def _inbox_lines(page: Sequence[Sequence[sa.Row[Any]]]) -> list[InboxLine]:
    found = [files[0] for files in page]
    numbers_of = {row.id: row.participants.split(",") if row.participants else [] for row in found}
    counts = counts_of(list(numbers_of))
    senders = (row.sender for row in found if row.sender)
    names = names_of(itertools.chain(senders, *numbers_of.values()))
    return [
        InboxLine(
            url=url_for("conversations.pages.show", conversation_id=row.id),
            title=title_of_numbers(numbers := numbers_of[row.id], names),
            latest_at=row.latest_at.isoformat(),
            exact_time=exact_time(row.latest_at),
            short_time=short_time(row.latest_at),
            last=_last_words(files),
            speaker=_speaker(row, numbers, names),
            unread=row.unread,
            attention=counts[row.id]["attention"],
            files=_describe_counts(counts[row.id]),
        )
        for row, files in zip(found, page, strict=True)
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


def _speaker(row: sa.Row[Any], numbers: Sequence[str], names: dict[str, str]) -> str:
    if row.direction is not Message.Direction.INCOMING or len(numbers) < 2:
        return ""
    return names.get(row.sender or "") or quo.display(row.sender or "unknown")


def _last_words(files: Sequence[sa.Row[Any]]) -> str:
    row = files[0]
    if row.kind is None:
        return ""
    if row.kind is Message.Kind.TEXT and (words := (row.body or "").strip()):
        return text_in_short(words, is_incoming=row.direction is Message.Direction.INCOMING)
    message = Message(**{name: getattr(row, name) for name in _TOLD})  # in no session
    message.media = [
        MediaAttachment(role=one.role, media_type=one.media_type, state=one.state)
        for one in files
        if one.role is not None
    ]
    return in_short(message)


_SPACES = "".join(filter(str.isspace, map(chr, range(1, 0x3001))))  # what str.strip() takes off
# The columns of a message by which `in_short` describes it, and its sender.
_TOLD = (
    "kind", "direction", "sender", "body", "answered_at", "completed_at", "duration_seconds",
    "has_voicemail", "voicemail_transcript", "summary",
)  # fmt: skip
_UNREAD = reading.NEW_MESSAGES.label("unread")
_conversation, _message = Conversation.__table__.c, Message.__table__.c
_media, _line = MediaAttachment.__table__.c, PhoneLine.__table__.c
# The inbox without a filter, built once.
_EVERYTHING = _narrow_query(Choice((), None, read_span({})), None)
_LINES = (
    sa.select(_line.provider_id, _line.number, _line.name)
    .where(_line.provider_id.is_not(None))
    .order_by(_line.number)
)
