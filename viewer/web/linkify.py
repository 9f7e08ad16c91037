"""Linkify: turn URLs, email addresses and phone numbers in plain text into links.

Each piece is escaped on its own. Allow-list of schemes: http, https, mailto and tel. The link text
is always the target as written: no target hides behind other words.
"""

import functools
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import phonenumbers
from flask import Flask
from markupsafe import Markup, escape

# Excluded: quotes, angle brackets, control characters, and the invisible characters (zero-width,
# bidirectional) that make a URL read differently from what it is.
_SIGN = r"[^\s<>\"“”«»\x00-\x20\x7f\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]"
_ADDRESS = re.compile(
    rf"""
    (?<![\w@.%+/-])
    (?:
        (?P<web> https?://{_SIGN}{{1,2000}}+ (?!{_SIGN}) )
      | (?P<mail> [a-z0-9._%+'-]{{1,64}} @ (?:[a-z0-9-]{{1,63}}\.){{1,6}} [a-z]{{2,24}} ) (?![\w@-])
      | (?P<bare> (?:www\.)? (?:[a-z0-9-]{{1,63}}\.){{1,6}} (?:com|net|org|gov|edu)
                  (?![\w@-]|\.\w) (?:[/?#]{_SIGN}{{0,2000}}+ (?!{_SIGN}))? )
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CLOSING = {")": "(", "]": "[", "}": "{"}
_HOME = "US"  # region of a number without a country code
_LONGEST = 20_000  # characters; no phone numbers are searched in a longer text
_CACHED = 1_000  # characters; a longer text is linkified each time it is shown
_DIGIT = re.compile(r"\d")


def init_app(app: Flask) -> None:
    app.add_template_filter(tappable, tappable.__name__)


def tappable(words: str) -> Markup:
    """Return the text as safe HTML, with links."""
    return _cached_html(words) if len(words) <= _CACHED else _html(words)


def _html(words: str) -> Markup:
    return Markup("").join(_pieces(words))


# Searching a text that holds a phone number takes 0.2 ms; a conversation is opened again and again.
_cached_html = functools.lru_cache(maxsize=4096)(_html)


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
        yield from _numbers(words[done : found.start()])
        yield _link(href, written, is_away=found.lastgroup != "mail")
        done = found.start() + len(written)
    yield from _numbers(words[done:])


def _trimmed(written: str) -> str:
    """Strip trailing punctuation, and a closing bracket whose opening one is not in the URL."""
    while written:
        last = written[-1]
        if last in ".,;:!?'’…*_~" or (
            last in _CLOSING and written.count(last) > written.count(_CLOSING[last])
        ):
            written = written[:-1]
        else:
            break
    return written


def _href(kind: str, written: str) -> str | None:
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
    if len(words) <= _LONGEST and len(_DIGIT.findall(words)) >= 7:
        for found in phonenumbers.PhoneNumberMatcher(words, _HOME):
            href = phonenumbers.format_number(found.number, phonenumbers.PhoneNumberFormat.RFC3966)
            yield escape(words[done : found.start])
            yield _link(href, found.raw_string, is_away=False)
            done = found.end
    yield escape(words[done:])


def _link(href: str, written: str, *, is_away: bool) -> Markup:
    # In a new window, so that a voicemail in this one keeps playing.
    away = Markup(' target="_blank" rel="noopener noreferrer nofollow"') if is_away else Markup("")
    return Markup('<a href="{}"{}>{}</a>').format(href, away, written)
