"""Find people and messages by what they are called, and by what was said.

Several words are all wanted; “side by side” in quotation marks; the last word may be a beginning.
Case, accents and the notation of a number make no difference. Nothing that is typed is an error.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from viewer.models import SearchEntry, Term
from viewer.models.searching import stamp_of
from viewer.search.tokens import READ, endings_of, numbers_in, words_of

LONGEST = 500  # characters of a search that are read
MOST = 12  # words of it that are looked for
AROUND = 60, 180  # characters of a text that are shown, at most, before a hit and from it on

_QUOTED = re.compile('["“”„«»]([^"“”„«»]*)["“”„«»]')

Pieces = list[tuple[str, bool]]  # of a text; whether it is what was looked for


def search(
    terms: Sequence[Term],
    *,
    people: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
    below: int | None = None,
    limit: int,
) -> list[int]:
    """Ids of the entries of messages, or of people, in which all of this is; newest first.

    No words are in nothing.
    """
    if not terms:
        return []
    base = SearchEntry.PEOPLE if people else 0
    first = base + (stamp_of(since) if since else 0)
    end = stamp_of(until) if until else SearchEntry.PEOPLE
    return SearchEntry.matching(
        terms,
        first=max(first, base),
        below=min(base + max(end, 0), below if below is not None else 2 * SearchEntry.PEOPLE),
        limit=limit,
    )


def read_terms(asked: str) -> list[Term]:
    """What somebody typed, as what is to be found: words, phrases, numbers."""
    terms: list[Term] = []
    is_open = False  # the last word may go on
    for place, part in enumerate(_QUOTED.split(asked[:LONGEST])):
        found = [tuple(word.folded for word in words_of(part))] if place % 2 else _read_typed(part)
        terms += [Term(words) for words in found if words]
        is_open = bool(found) and not place % 2 if part.strip() else is_open
    terms = list(dict.fromkeys(terms))[:MOST]
    if is_open and terms and len(terms[-1].words[-1]) > 1:
        terms[-1] = replace(terms[-1], is_prefix=True)
    return terms


def _read_typed(text: str) -> list[tuple[str, ...]]:
    """Numbers, and what stands between spaces: the parts of “e-mail” stand side by side."""
    found: list[tuple[int, tuple[str, ...]]] = []
    for number in list(numbers_in(text)):
        found.append((number.start, (number.folded,)))
        text = text[: number.start] + " " * (number.end - number.start) + text[number.end :]
    for piece in re.finditer(r"\S+", text):
        words = tuple(word.folded for word in words_of(piece[0]))
        found.append((piece.start(), words))
    return [words for _, words in sorted(found)]


def snippet(text: str, terms: Sequence[Term]) -> Pieces:
    """So much of a text as shows the first hit among its neighbours."""
    first = next(iter(hits(text, terms)), (0, 0))[0]
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
    for start, end, _ in sorted(hits(text, terms)):
        if end > done:
            cut += [(text[done : max(start, done)], False), (text[max(start, done) : end], True)]
            done = end
    return [piece for piece in [*cut, (text[done:], False)] if piece[0]]


def hits(text: str, terms: Sequence[Term]) -> list[tuple[int, int, int]]:
    """Where each of the terms stands: start, end, which. One pass, however many terms there are."""
    if not terms:
        return []
    text = text[:READ]
    found = []
    wanted: dict[str, list[tuple[int, Term]]] = {}
    for which, term in enumerate(terms):
        wanted.setdefault(term.words[0], []).append((which, term))
    beginnings = tuple(term.words[0] for term in terms if term.is_prefix and len(term.words) == 1)
    everything = [pair for pairs in wanted.values() for pair in pairs]
    words = list(words_of(text))
    for place, word in enumerate(words):
        is_begun = bool(beginnings) and word.folded.startswith(beginnings)
        for which, term in everything if is_begun else wanted.get(word.folded, ()):
            run = words[place : place + len(term.words)]
            if _is_said(term, [one.folded for one in run]):
                found.append((word.start, run[-1].end, which))
    digits = [(which, term) for which, term in everything if _may_be_a_number(term)]
    for number in numbers_in(text) if digits else ():
        endings = endings_of(number.folded)
        found += [
            (number.start, number.end, which)
            for which, term in digits
            if any(_is_said(term, [end]) for end in endings)
        ]
    return sorted(found)


def _may_be_a_number(term: Term) -> bool:
    return len(term.words) == 1 and term.words[0].isdigit()


def _is_said(term: Term, words: list[str]) -> bool:
    *body, last = term.words
    return words[:-1] == body and (
        words[-1].startswith(last) if term.is_prefix else words[-1] == last
    )
