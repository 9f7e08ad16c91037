"""Addresses and numbers in what people wrote, as links to tap.

Everything is escaped piece by piece; a link is only made to http, https, mailto and tel, and only
of what was written out: nothing is hidden behind other words.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import phonenumbers
from flask import Flask
from markupsafe import Markup, escape

# Not: quotes, brackets of mark-up, controls, and the invisible signs that make an address read
# otherwise than it is.
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
_HOME = "US"  # where a number without a country is dialed
_LONGEST = 20_000  # characters in which numbers are looked for


def init_app(app: Flask) -> None:
    app.add_template_filter(tappable, tappable.__name__)


def tappable(words: str) -> Markup:
    """The same words, safe, with links in them."""
    return Markup("").join(_pieces(words))


def _pieces(words: str) -> Iterator[Markup]:
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
    """Without the signs that end a sentence, or close a bracket opened before it."""
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
    if len(words) <= _LONGEST and sum(sign.isdigit() for sign in words) >= 7:
        for found in phonenumbers.PhoneNumberMatcher(words, _HOME):
            href = phonenumbers.format_number(found.number, phonenumbers.PhoneNumberFormat.RFC3966)
            yield escape(words[done : found.start])
            yield _link(href, found.raw_string, is_away=False)
            done = found.end
    yield escape(words[done:])


def _link(href: str, written: str, *, is_away: bool) -> Markup:
    # In a window of its own: the voicemail in this one goes on playing.
    away = Markup(' target="_blank" rel="noopener noreferrer nofollow"') if is_away else Markup("")
    return Markup('<a href="{}"{}>{}</a>').format(href, away, written)
