"""Find people and messages by what they are called, and by what was said.

Several words are all wanted; “side by side” in quotation marks; the last word may be a beginning.
Case, accents and the notation of a number make no difference. Nothing that is typed is an error.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, render_template, request
from sqlalchemy.orm import joinedload

from viewer import quo
from viewer.extensions import db
from viewer.intake import indexing
from viewer.models import Contact, ContactNumber, Conversation, Message, SearchEntry, Term
from viewer.models.searching import stamp_of
from viewer.office.names import names_of, title_of
from viewer.spelling import READ, endings_of, numbers_in, words_of
from viewer.web.dates import Span, read_span

bp = Blueprint("search", __name__)

PEOPLE_SHOWN = 5  # above the messages
HITS_PAGE = 30
LONGEST = 500  # characters of a search that are read
MOST = 12  # words of it that are looked for
AROUND = 60, 180  # characters of a text that are shown, at most, before a hit and from it on

_QUOTED = re.compile('["“”„«»]([^"“”„«»]*)["“”„«»]')

Pieces = list[tuple[str, bool]]  # of a text; whether it is what was looked for


@dataclass(frozen=True, slots=True)
class PersonFound:
    conversation: Conversation
    title: Pieces
    details: Pieces  # numbers and companies


@dataclass(frozen=True, slots=True)
class MessageFound:
    message: Message
    title: str
    speaker: str
    part: str  # "Voicemail", "Transcript"; empty for a text
    words: Pieces


@bp.get("/search")
def show() -> str:
    """People first, then messages, the newest first."""
    asked, kind = request.args.get("q", ""), request.args.get("show", "")
    if kind not in ("", "people"):
        abort(404, "There is no such list.")
    terms, span, before = read(asked), read_span(request.args), _place()
    people = messages = None
    if terms and kind == "people":
        people = search(terms, people=True, below=before, limit=HITS_PAGE + 1)
    elif terms:
        messages = search(terms, span=span, below=before, limit=HITS_PAGE + 1)
        if before is None and not span:
            people = search(terms, people=True, limit=PEOPLE_SHOWN + 1)
    most = HITS_PAGE if kind else PEOPLE_SHOWN
    return render_template(
        "search/show.html",
        asked=asked,
        terms=terms,
        kind=kind,
        span=span,
        people=_people((people or [])[:most], terms),
        has_more_people=people is not None and len(people) > most,
        messages=_messages((messages or [])[:HITS_PAGE], terms),
        older=_older(people if kind else messages),
        is_first=before is None,
        is_complete=indexing.is_complete(),
    )


def search(
    terms: Sequence[Term],
    *,
    people: bool = False,
    span: Span | None = None,
    below: int | None = None,
    limit: int = HITS_PAGE,
) -> list[int]:
    """Ids of the entries of messages, or of people, in which all of this is; newest first.

    No words are in nothing.
    """
    if not terms:
        return []
    base = SearchEntry.PEOPLE if people else 0
    first = base + (stamp_of(span.begin) if span and span.begin else 0)
    end = stamp_of(span.end) if span and span.end else SearchEntry.PEOPLE
    return SearchEntry.matching(
        terms,
        first=max(first, base),
        below=min(base + max(end, 0), below if below is not None else 2 * SearchEntry.PEOPLE),
        limit=limit,
    )


def read(asked: str) -> list[Term]:
    """What somebody typed, as what is to be found: words, phrases, numbers."""
    terms: list[Term] = []
    is_open = False  # the last word may go on
    for place, part in enumerate(_QUOTED.split(asked[:LONGEST])):
        found = [tuple(word.folded for word in words_of(part))] if place % 2 else _typed(part)
        terms += [Term(words) for words in found if words]
        is_open = bool(found) and not place % 2 if part.strip() else is_open
    terms = list(dict.fromkeys(terms))[:MOST]
    if is_open and terms and len(terms[-1].words[-1]) > 1:
        terms[-1] = replace(terms[-1], is_prefix=True)
    return terms


def _typed(text: str) -> list[tuple[str, ...]]:
    """Numbers, and what stands between spaces: the parts of “e-mail” stand side by side."""
    found: list[tuple[int, tuple[str, ...]]] = []
    for number in list(numbers_in(text)):
        found.append((number.start, (number.folded,)))
        text = text[: number.start] + " " * (number.end - number.start) + text[number.end :]
    for piece in re.finditer(r"\S+", text):
        words = tuple(word.folded for word in words_of(piece[0]))
        found.append((piece.start(), words))
    return [words for _, words in sorted(found)]


# --- What a page says about what was found -------------------------------------------------


def _people(ids: Sequence[int], terms: Sequence[Term]) -> list[PersonFound]:
    conversations = [
        entry.conversation
        for entry in _entries(ids, joinedload(SearchEntry.conversation))
        if entry.conversation
    ]
    numbers = {number for row in conversations for number in row.numbers}
    names, companies = names_of(numbers), _companies(numbers)
    found = []
    for row in conversations:
        details = [quo.display(number) for number in row.numbers if number in names]
        details += [companies[number] for number in row.numbers if number in companies]
        found.append(
            PersonFound(
                conversation=row,
                title=pieces(title_of(row, names), terms),
                details=pieces(" · ".join(details), terms),
            )
        )
    return found


def _companies(numbers: Iterable[str]) -> dict[str, str]:
    """Of people with a name; others are called by their company."""
    rows = db.session.execute(
        sa.select(ContactNumber.number, Contact)
        .join(Contact)
        .where(ContactNumber.number.in_(numbers), Contact.deleted.is_(False))
    ).all()
    return {
        number: contact.company
        for number, contact in rows
        if contact.company and contact.company != contact.name
    }


def _messages(ids: Sequence[int], terms: Sequence[Term]) -> list[MessageFound]:
    messages = [
        entry.message
        for entry in _entries(
            ids,
            joinedload(SearchEntry.message).joinedload(Message.conversation),
            joinedload(SearchEntry.message).selectinload(Message.media),
        )
        if entry.message
    ]
    senders = {message.sender for message in messages if message.sender}
    names = names_of({*(n for row in messages for n in row.conversation.numbers), *senders})
    found = []
    for message in messages:
        part, words = _best_part(message, terms)
        found.append(
            MessageFound(
                message=message,
                title=title_of(message.conversation, names),
                speaker=_speaker(message, names),
                part=part,
                words=snippet(words, terms),
            )
        )
    return found


def _entries(ids: Sequence[int], *load: Any) -> Sequence[SearchEntry]:
    return db.session.scalars(
        sa.select(SearchEntry)
        .where(SearchEntry.id.in_(ids))
        .order_by(SearchEntry.id.desc())
        .options(*load)
    ).all()


def _speaker(message: Message, names: dict[str, str]) -> str:
    if message.is_call:
        return ""
    if not message.is_incoming:
        return "You"
    if len(message.conversation.numbers) < 2:
        return ""  # the title says it
    return names.get(message.sender or "") or quo.display(message.sender or "unknown")


def _best_part(message: Message, terms: Sequence[Term]) -> tuple[str, str]:
    """Of all that a message says, the part with most of what was looked for."""
    captions = [media.caption for media in message.media if media.caption]
    parts = [*indexing.spoken(message), *(("Caption", caption) for caption in captions)]
    return max(
        parts, key=lambda part: len({term for *_, term in _hits(part[1], terms)}), default=("", "")
    )


def snippet(text: str, terms: Sequence[Term]) -> Pieces:
    """So much of a text as shows the first hit among its neighbours."""
    first = next(iter(_hits(text, terms)), (0, 0))[0]
    start, end = max(0, first - AROUND[0]), first + AROUND[1]
    if start:
        start = max(text.find(" ", start, first) + 1, start)
    if end < len(text):
        end = max(text.rfind(" ", first + 1, end), first + 1)
        end = end if end > first + 1 else first + AROUND[1]
    shown = pieces(text[start:end], terms)
    return [
        *([("… ", False)] if start else []),
        *shown,
        *([(" …", False)] if end < len(text) else []),
    ]


def pieces(text: str, terms: Sequence[Term]) -> Pieces:
    """The text, cut where a hit begins and ends."""
    cut: Pieces = []
    done = 0
    for start, end, _ in sorted(_hits(text, terms)):
        if end > done:
            cut += [(text[done : max(start, done)], False), (text[max(start, done) : end], True)]
            done = end
    return [piece for piece in [*cut, (text[done:], False)] if piece[0]]


def _hits(text: str, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """Where each of the terms stands: start, end, which."""
    words = list(words_of(text[:READ]))
    found = []
    for which, term in enumerate(terms):
        length = len(term.words)
        for first in range(len(words) - length + 1):
            if _is_said(term, [word.folded for word in words[first : first + length]]):
                found.append((words[first].start, words[first + length - 1].end, which))
        if length == 1:
            found += [
                (number.start, number.end, which)
                for number in numbers_in(text[:READ])
                if any(_is_said(term, [end]) for end in endings_of(number.folded))
            ]
    return sorted(found)


def _is_said(term: Term, words: list[str]) -> bool:
    *body, last = term.words
    return words[:-1] == body and (
        words[-1].startswith(last) if term.is_prefix else words[-1] == last
    )


def _place() -> int | None:
    """Which entry the page goes on below."""
    if not (place := request.args.get("before")):
        return None
    if not re.fullmatch("[0-9]{1,19}", place):
        abort(400, "That is no place in this list.")
    return min(int(place), 2 * SearchEntry.PEOPLE)


def _older(found: Sequence[int] | None) -> int | None:
    return found[HITS_PAGE - 1] if found and len(found) > HITS_PAGE else None
