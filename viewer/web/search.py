"""The search page: people first, then messages, with the hits highlighted."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa
from flask import Blueprint, abort, render_template, request
from sqlalchemy.orm import contains_eager, load_only

from viewer import quo
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message, SearchEntry, Term
from viewer.models.conversations import full_name
from viewer.office.names import contacts_of, names_of, title_of
from viewer.search import indexing, query
from viewer.web.date_range import read_span
from viewer.web.pagination import Cursor

bp = Blueprint("search", __name__)

PEOPLE_SHOWN = 5  # above the messages
SCANNED_PAGE = 300_000  # characters of messages in which hits are highlighted; six long transcripts
HITS_PAGE = 30


@dataclass(frozen=True, slots=True)
class PersonFound:
    conversation: Conversation
    title: query.Pieces
    details: query.Pieces  # numbers and companies


@dataclass(frozen=True, slots=True)
class MessageFound:
    message: Message
    title: str
    speaker: str
    part: str  # "Voicemail", "Transcript"; empty for a text
    words: query.Pieces


@bp.get("/search")
def show() -> str:
    """Search people, then messages, newest first. Keyset pagination by `?before=`."""
    asked, kind = request.args.get("q", ""), request.args.get("show", "")
    if kind not in ("", "people"):
        abort(404, "There is no such list.")
    terms, span, before = query.read_terms(asked), read_span(request.args), _before()
    people = messages = None
    if terms and kind == "people":
        people = query.search(terms, people=True, below=before, limit=HITS_PAGE + 1)
    elif terms:
        messages = query.search(
            terms, since=span.begin, until=span.end, below=before, limit=HITS_PAGE + 1
        )
        if before is None and not span:
            people = query.search(terms, people=True, limit=PEOPLE_SHOWN + 1)
    most = HITS_PAGE if kind else PEOPLE_SHOWN
    return render_template(
        "search/show.html",
        asked=asked,
        terms=terms,
        kind=kind,
        span=span,
        people=_people_found((people or [])[:most], terms),
        has_more_people=people is not None and len(people) > most,
        messages=_messages_found((messages or [])[:HITS_PAGE], terms),
        older=_older(people if kind else messages),
        is_first=before is None,
        is_complete=indexing.is_complete(),
    )


# --- Presentation of the results -----------------------------------------------------------


def _people_found(ids: Sequence[int], terms: Sequence[Term]) -> list[PersonFound]:
    if not ids:
        return []
    conversations = list(db.session.scalars(_CONVERSATIONS, {"ids": ids}))
    numbers = {number for row in conversations for number in row.numbers}
    names, companies = names_of(numbers), _companies(numbers)
    found = []
    for row in conversations:
        details = [quo.display(number) for number in row.numbers if number in names]
        details += [companies[number] for number in row.numbers if number in companies]
        found.append(
            PersonFound(
                conversation=row,
                title=query.pieces(title_of(row, names), terms),
                details=query.pieces(" · ".join(details), terms),
            )
        )
    return found


def _companies(numbers: Iterable[str]) -> dict[str, str]:
    """Map numbers to companies, only where the company is not already the name shown."""
    return {
        number: company
        for number, first_name, last_name, company in contacts_of(numbers)
        if company and company != full_name(first_name, last_name, company)
    }


def _messages_found(ids: Sequence[int], terms: Sequence[Term]) -> list[MessageFound]:
    if not ids:
        return []
    messages = list(db.session.scalars(_MESSAGES, {"ids": ids}))
    captions = _captions([message.id for message in messages])
    senders = {message.sender for message in messages if message.sender}
    names = names_of({*(n for row in messages for n in row.conversation.numbers), *senders})
    found = []
    left = SCANNED_PAGE
    for message in messages:
        terms = terms if left > 0 else ()  # the rest of the page shows how its texts begin
        part, words = _best_part(message, captions.get(message.id, ()), terms)
        left -= sum(len(said) for _, said in indexing.spoken_parts(message))
        found.append(
            MessageFound(
                message=message,
                title=title_of(message.conversation, names),
                speaker=_speaker(message, names),
                part=part,
                words=query.snippet(words, terms),
            )
        )
    return found


# Built once, and without the columns that no hit shows: a third of the time.
_IS_FOUND = SearchEntry.id.in_(sa.bindparam("ids", expanding=True))
_CONVERSATIONS = (
    sa.select(Conversation)
    .join(SearchEntry, SearchEntry.conversation_id == Conversation.id)
    .where(_IS_FOUND)
    .order_by(SearchEntry.id.desc())
)
_MESSAGES = (
    sa.select(Message)
    .join(SearchEntry, SearchEntry.message_id == Message.id)
    .join(Message.conversation)
    .where(_IS_FOUND)
    .order_by(SearchEntry.id.desc())
    .options(
        load_only(
            Message.conversation_id, Message.kind, Message.direction, Message.sender,
            Message.body, Message.sent_at, Message.voicemail_transcript, Message.summary,
            Message.next_steps, Message.transcript, raiseload=True,
        ),
        contains_eager(Message.conversation),
    )
)  # fmt: skip
_media = MediaAttachment.__table__.c
_CAPTIONS = (
    sa.select(_media.message_id, _media.caption)
    .where(_media.message_id.in_(sa.bindparam("ids", expanding=True)), _media.caption.is_not(None))
    .order_by(_media.position)
)


def _captions(message_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    """The captions of the files of each message, in the order sent."""
    captions: dict[uuid.UUID, list[str]] = {}
    for message_id, caption in db.session.execute(_CAPTIONS, {"ids": message_ids}):
        captions.setdefault(message_id, []).append(caption)
    return captions


def _speaker(message: Message, names: dict[str, str]) -> str:
    if message.is_call:
        return ""
    if not message.is_incoming:
        return "You"
    if len(message.conversation.numbers) < 2:
        return ""  # the title names the sender
    return names.get(message.sender or "") or quo.display(message.sender or "unknown")


def _best_part(message: Message, captions: Sequence[str], terms: Sequence[Term]) -> tuple[str, str]:
    """Return the label and text of the part of a message that matches most of the search terms."""
    parts = [*indexing.spoken_parts(message), *(("Caption", one) for one in captions if one)]
    if len(parts) == 1:  # as nearly all of them
        return parts[0]
    return max(
        parts,
        key=lambda part: len({term for *_, term in query.hits(part[1], terms)}),
        default=("", ""),
    )


def _before() -> int | None:
    """Read the cursor: the id of the last entry on the previous page."""
    if not (cursor := request.args.get("before")):
        return None
    [entry_id] = Cursor.decode(cursor, (SearchEntry.id,)).key
    return cast(int, entry_id)


def _older(found: Sequence[int] | None) -> str | None:
    return Cursor(found[HITS_PAGE - 1]).encode() if found and len(found) > HITS_PAGE else None
