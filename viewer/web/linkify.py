"""Linkify: turn URLs, email addresses and phone numbers in plain text into links.

Each piece is escaped on its own. Allow-list of schemes: http, https, mailto and tel. The link text
is always the target as written: no target hides behind other words.

Customers write the texts, so each page has a bound: so many links, and so many characters that
are searched for phone numbers, which take 14 µs each where almost-numbers stand. What was searched
is cached, and what is beyond that bound is linked by a later look.
"""

import functools
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import phonenumbers
from flask import Flask, has_request_context, request
from markupsafe import Markup, escape

# Excluded: quotes, angle brackets, control characters, and the invisible characters (zero-width,
# bidirectional) that make a URL read differently from what it is.
_SIGN = r"[^\s<>\"“”«»\x00-\x20\x7f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]"
_ADDRESS = re.compile(
    rf"""
    (?<![\w@.%+/-])
    (?:
        (?P<web> https?://{_SIGN}++ )
      | (?P<mail> [a-z0-9._%+'-]{{1,64}} @ (?:[a-z0-9-]{{1,63}}\.){{1,6}} [a-z]{{2,24}} ) (?![\w@-])
      | (?P<bare> (?:www\.)? (?:[a-z0-9-]{{1,63}}\.){{1,6}} (?:com|net|org|gov|edu)
                  (?![\w@-]|\.\w) (?:[/?#]{_SIGN}*+)? )
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLOSING = {")": "(", "]": "[", "}": "{"}
_RFC3966 = phonenumbers.PhoneNumberFormat.RFC3966
_HOME = "US"  # region of a number without a country code
_LONGEST_URL = 2_000  # characters
_LONGEST = 20_000  # characters; no phone numbers are searched in a longer text
# Where phone numbers may stand: digits of one line, and what stands between them at most.
_STRETCH = re.compile(r"\d(?:[^\d\n]{0,12}+\d)*+")
_BESIDE = 6  # characters before and after, which decide whether it is one
_DIGIT = re.compile(r"\d")
_LONGEST_STRETCH = 1_000  # characters
# For each page
SEARCHED = 3_000  # characters that may hold phone numbers and were not cached: 40 ms at worst
LINKED = 1_000  # links; 20 µs each


class _Spent(Exception):
    """This page has searched enough."""


def init_app(app: Flask) -> None:
    app.add_template_filter(tappable, tappable.__name__)


def tappable(words: str) -> Markup:
    """Return the text as safe HTML, with links."""
    return Markup("").join(_pieces(words))


def _pieces(words: str) -> Iterator[Markup]:
    if "." not in words and "://" not in words:  # as most texts: then there is no URL, no email
        yield from _numbers(words)
        return
    done = 0
    for found in _ADDRESS.finditer(words):
        written = _trimmed(found.group())
        href = _href(found.lastgroup or "", written)
        if href is None:
            continue
        if not _may_spend("viewer.links", 1, LINKED):
            break
        yield from _numbers(words[done : found.start()])
        yield _link(href, written, is_away=found.lastgroup != "mail")
        done = found.start() + len(written)
    yield from _numbers(words[done:])


def _trimmed(written: str) -> str:
    """Strip trailing punctuation, and a closing bracket whose opening one is not in the URL."""
    surplus = {close: written.count(close) - written.count(_CLOSING[close]) for close in _CLOSING}
    end = len(written)
    while end:
        last = written[end - 1]
        if last in _CLOSING and surplus[last] > 0:
            surplus[last] -= 1
        elif last not in ".,;:!?'’…*_~":
            break
        end -= 1
    return written[:end]


def _href(kind: str, written: str) -> str | None:
    if len(written) > _LONGEST_URL:
        return None
    if kind == "mail":
        return f"mailto:{written}"
    address = written if kind == "web" else f"https://{written}"
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_one = is_one and "@" not in parts.netloc  # https://bank.example@elsewhere.example
    except ValueError:
        return None
    return address if is_one else None


def _numbers(words: str) -> Iterator[Markup]:
    done = 0
    for start, end, href in _numbers_in(words) if len(words) <= _LONGEST else ():
        if not _may_spend("viewer.links", 1, LINKED):
            break
        yield escape(words[done:start])
        yield _link(href, words[start:end], is_away=False)
        done = end
    yield escape(words[done:])


def _numbers_in(words: str) -> Iterator[tuple[int, int, str]]:
    """Phone numbers: start, end, href."""
    for found in _STRETCH.finditer(words):
        if len(_DIGIT.findall(found[0])) < 7 or len(found[0]) > _LONGEST_STRETCH:
            continue
        before = words[max(0, found.start() - _BESIDE) : found.start()].rpartition("\n")[2]
        after = words[found.end() : found.end() + _BESIDE].partition("\n")[0]
        try:
            numbers = _search(before + found[0] + after)
        except _Spent:
            return
        first = found.start() - len(before)
        yield from ((first + start, first + end, href) for start, end, href in numbers)


@functools.lru_cache(maxsize=4096)
def _search(stretch: str) -> tuple[tuple[int, int, str], ...]:
    if not _may_spend("viewer.searched", len(stretch), SEARCHED):
        raise _Spent  # which is not cached
    return tuple(
        (one.start, one.end, phonenumbers.format_number(one.number, _RFC3966))
        for one in phonenumbers.PhoneNumberMatcher(stretch, _HOME)
    )


def _may_spend(what: str, cost: int, most: int) -> bool:
    """Count the cost against what this page may spend."""
    if not has_request_context():
        return True
    spent: int = request.environ.get(what, 0) + cost
    request.environ[what] = spent
    return spent <= most


def _link(href: str, written: str, *, is_away: bool) -> Markup:
    # In a new window, so that a voicemail in this one keeps playing.
    away = Markup(' target="_blank" rel="noopener noreferrer nofollow"') if is_away else Markup("")
    return Markup('<a href="{}"{}>{}</a>').format(href, away, written)
