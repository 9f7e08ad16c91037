"""The inbox: who wrote or called last, and where something is new."""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from viewer import quo
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, Message, PhoneLine, Unread
from viewer.office import filing, reading
from viewer.office.names import names_of, title_of, titles_of
from viewer.plurals import plural
from viewer.web.access import the_user
from viewer.web.conversations.counts import counts_of
from viewer.web.date_range import Span, read_span
from viewer.web.pagination import next_cursor, older

bp = Blueprint("inbox", __name__)

INBOX_PAGE = 40
FEW = 400  # conversations; what fewer have is looked up from there, not by walking the inbox

Role, State, MediaType = MediaAttachment.Role, MediaAttachment.State, MediaAttachment.MediaType

# What the inbox can be narrowed to: the word in the address, and what people read.
FILTERS = {
    "unread": "Unread",
    "photos": "Photos",
    "voicemail": "Voicemail",
    "unfiled": "Unfiled photos",
    "attention": "Needs attention",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody narrowed the inbox to. It stands in the address, so it can be kept and sent."""

    shown: tuple[str, ...]  # of FILTERS; all must hold
    line: str | None
    span: Span

    def __bool__(self) -> bool:
        return bool(self.shown or self.line or self.span)

    def url(self, **changed: Any) -> str:
        """The inbox narrowed like this, but for what is changed."""
        given: dict[str, Any] = {"show": self.shown, "line": self.line, **self.span.args}
        return url_for("conversations.inbox.show", **{**given, **changed})

    @property
    def news(self) -> str:
        """Where an open page asks what this list is like now."""
        given: dict[str, Any] = {"show": self.shown, "line": self.line, **self.span.args}
        return url_for("conversations.live.inbox", **given)

    @property
    def kept(self) -> list[tuple[str, str]]:
        """What a form that asks for line and days has to carry along."""
        return [("show", word) for word in self.shown]

    def toggled(self, word: str) -> str:
        """With this filter also, or no longer."""
        shown = [one for one in FILTERS if (one in self.shown) != (one == word)]
        return self.url(show=shown)


@dataclass(frozen=True, slots=True)
class InboxLine:
    conversation: Conversation
    title: str
    last: Message | None
    speaker: str  # who said it, in a group
    unread: int | None  # messages; None: it is read; 0: somebody wants to come back to it
    attention: int
    files: list[str]  # how many of each kind, in words


@bp.get("/")
def show() -> str:
    """Conversations, newest first."""
    phone_lines = _phone_lines()
    found = read_inbox()
    # On the first page only: what is to be done, not what was.
    visits = [] if found["chosen"] or not found["is_first"] else filing.visits_soon()
    return render_template(
        "conversations/inbox.html",
        **found,
        soon=list(zip(visits, titles_of([one.conversation for one in visits]), strict=True)),
        phone_lines=phone_lines,
        line_name=dict(phone_lines).get(found["chosen"].line or "", "a line that is not known"),
        unread=reading.unread_conversations(the_user()),
        now=now(),
    )


def read_inbox() -> dict[str, Any]:
    """What the address asks for, as _list.html needs it."""
    chosen = _read_choice()
    cursor = request.args.get("before")
    found = db.session.scalars(_narrow_query(chosen, cursor).limit(INBOX_PAGE + 1)).all()
    page = found[:INBOX_PAGE]
    return {
        "lines": _inbox_lines(page),
        "filters": FILTERS,
        "chosen": chosen,
        "is_first": not cursor,
        "older": next_cursor(found, INBOX_PAGE, Conversation.latest_at, Conversation.id),
    }


@bp.post("/read")
def read_all() -> Response:
    """Nothing is new to this user any more, but for what came after the page they looked at."""
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
    """Come back to this one later."""
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
        line=request.args.get("line", "").replace("\0", "") or None,  # PostgreSQL takes no NUL
        span=read_span(request.args),
    )


def _narrow_query(chosen: Choice, cursor: str | None) -> sa.Select[Conversation]:
    """The conversations, newest first, from this cursor on.

    What is frequent is met by walking the inbox and looking what each conversation has. What is
    seldom would be looked for through all of it: there we begin with the few that have it.
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
        return query.with_only_columns(Conversation).order_by(
            Conversation.latest_at.desc(), Conversation.id.desc()
        )
    # The limit takes nothing away. It keeps the few apart, so that they are found before sorting.
    found = query.limit(FEW).subquery()
    return (
        sa.select(Conversation)
        .join(found, found.c.id == Conversation.id)
        .order_by(found.c.latest_at.desc(), found.c.id.desc())
    )


def _conversations_having(word: str) -> sa.Select[uuid.UUID]:
    """The conversations that a filter lets through."""
    if word == "unread":
        return sa.select(Unread.conversation_id).where(Unread.user_id == the_user().id)
    part = "voicemails" if word == "voicemail" else word
    return sa.select(MediaAttachment.conversation_id).where(MediaAttachment.is_in(part))


def _are_few(those: sa.Select[uuid.UUID]) -> bool:
    some = those.distinct().limit(FEW + 1).subquery()
    count = db.session.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    return count <= FEW


def _phone_lines() -> list[tuple[str, str]]:
    """Where there are several: each line's id, and what people call it."""
    lines = db.session.scalars(
        sa.select(PhoneLine).where(PhoneLine.provider_id.is_not(None)).order_by(PhoneLine.number)
    ).all()
    if len(lines) < 2:
        return []
    return [
        (line.provider_id or "", line.name or quo.display(line.number or "") or "A line")
        for line in lines
    ]


def _inbox_lines(page: Sequence[Conversation]) -> list[InboxLine]:
    ids = [conversation.id for conversation in page]
    last, counts, unread = (
        _last_messages(ids),
        counts_of(ids),
        reading.unread_messages(the_user(), ids),
    )
    senders = (message.sender for message in last.values() if message.sender)
    names = names_of({*(number for row in page for number in row.numbers), *senders})
    return [
        InboxLine(
            conversation=conversation,
            title=title_of(conversation, names),
            last=(message := last.get(conversation.id)),
            speaker=_speaker(conversation, message, names),
            unread=unread.get(conversation.id),
            attention=counts[conversation.id]["attention"],
            files=_describe_counts(counts[conversation.id]),
        )
        for conversation in page
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


def _last_messages(ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Message]:
    """The newest of each: one look into the index for a conversation, however long it is."""
    newest = (
        sa.select(Message.id)
        .where(Message.conversation_id == Conversation.id)
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = db.session.scalars(
        sa.select(Message)
        .where(Message.id.in_(sa.select(newest).where(Conversation.id.in_(ids))))
        .options(selectinload(Message.media))
    )
    return {message.conversation_id: message for message in rows}
