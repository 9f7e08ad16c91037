"""The pages that benchmarks ask a company for: the same for all sizes, as far as their rows go."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from benchmarks import company
from benchmarks.rows import LINE, NOW, RARE, Company
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: addresses that take turns."""

    name: str
    addresses: list[str]
    who: str = "owner"
    form: dict[str, list[str]] = field(default_factory=dict)  # of a POST


def all_pages(app: Flask, client: FlaskClient, messages: int) -> list[Page]:
    """The pages of this company; the same for both, as far as their rows go."""
    with app.app_context():
        is_large = messages > 100_000
        month = (400, 370) if is_large else (700, 400)
        found = [
            Page("inbox", ["/"]),
            *(
                Page(f"inbox, {word}", [f"/?show={word}"])
                for word in ("unread", "photos", "voicemail", "unfiled", "attention")
            ),
            Page("inbox, unread, never read", ["/?show=unread"], "office"),
            Page("inbox, photos and voicemail", ["/?show=photos&show=voicemail"]),
            Page("inbox, unfiled and photos", ["/?show=unfiled&show=photos"]),
            Page("inbox, unread and unfiled", ["/?show=unread&show=unfiled"], "office"),
            Page("inbox, unread, photos, dates", [_dated("/?show=unread&show=photos", 900, 10)]),
            Page("inbox, days", [_dated("/?", *month)]),
            Page("inbox, of the line", [f"/?line={LINE}"]),
            Page("inbox, of the line, with photos", [f"/?line={LINE}&show=photos"]),
            Page("inbox, 10th page", [_follow(client, "/", 9)]),
            Page("inbox, 3rd page with photos", [_follow(client, "/?show=photos", 2)]),
            Page("conversation, typical", conversations(15)),
            Page("conversation, long", long := conversations(250)),
            Page("conversation, long, older", [_follow(client, one, 2) for one in long]),
            Page("search, rare word", [f"/search?q={RARE}"]),
            Page("search, frequent words", ["/search?q=crack", "/search?q=basement"]),
            Page("search, less frequent words", _said(messages, 100)),
            Page("search, words of a page or two", _said(messages, 6_500 if is_large else 65)),
            Page("search, name", ["/search?q=maria", "/search?q=priya"]),
            Page("search, number", [f"/search?q={number}" for number in _numbers(long)]),
            Page("search, last four digits", [f"/search?q={n[-4:]}" for n in _numbers(long)]),
            Page("search, two words", ["/search?q=crack+basement", "/search?q=sump+quote"]),
            Page("search, phrase", ["/search?q=%22the+crack%22"]),
            Page("search, beginning", ["/search?q=cra", "/search?q=foundat", "/search?q=ba"]),
            Page("search, 3rd page", [_follow(client, "/search?q=crack", 2)]),
            Page("search, days", [_dated("/search?q=water", *month)]),
        ]
        found += [
            Page("gallery", ["/photos"]),
            *(
                Page(f"gallery, {words}", [f"/photos?{words}"])
                for words in (
                    "kind=photos", "kind=sounds", "filed=linked",
                    "filed=unfiled", "state=safe", "state=attention",
                    "kind=photos&filed=linked", "kind=photos&state=attention",
                )
            ),
            Page("gallery, days", [_dated("/photos?kind=photos", *month)]),
            Page("gallery, 3rd page", [_follow(client, "/photos", 2)]),
            Page("gallery, of a number", [f"/photos?sender={n}" for n in _numbers(long)]),
            Page("gallery of a conversation", [f"{one}/photos" for one in long]),
        ]  # fmt: skip
        found += _other()
        db.session.remove()
    return found


def _other() -> list[Page]:
    """What is no list: health, the lightbox, files and a ZIP of them."""
    real = sa.select(MediaAttachment.id).where(MediaAttachment.file_size == company.SIZE)
    ids = db.session.scalars(
        real.where(MediaAttachment.media_type == MediaAttachment.MediaType.PHOTO)
        .order_by(MediaAttachment.id)
        .limit(company.REAL)
    ).all()
    return [
        Page("health", ["/healthz"]),
        Page("metrics", ["/metrics"]),
        Page("status", ["/status"]),
        Page("slides", ["/photos/slides"]),
        Page("slides, from the end", ["/photos/slides?at=end"]),
        Page("thumbnail", [f"/media/{one}/thumbnail" for one in ids]),
        Page("original", [f"/media/{one}" for one in ids]),
        Page("ZIP of eight files", ["/photos/zip"], form={"media": [str(one) for one in ids]}),
    ]


def _dated(address: str, first: int, last: int) -> str:
    """Between so many days ago and so many."""
    since, until = (f"{NOW - timedelta(days=days):%Y-%m-%d}" for days in (first, last))
    return f"{address}&since={since}&until={until}"


def _follow(client: FlaskClient, address: str, times: int) -> str:
    """The address behind “older”, so many times; the last that there is."""
    for _ in range(times):
        answer = client.get(address).text
        place = answer.rfind("before=")
        if place < 0:
            break
        start = answer.rfind('href="', 0, place) + 6
        address = answer[start : answer.index('"', place)].replace("&amp;", "&")
    return address


def conversations(length: int) -> list[str]:
    """Some conversations of about this many messages."""
    rows = db.session.execute(
        sa.text(
            "SELECT conversation_id, count(*) FROM messages GROUP BY conversation_id"
            " ORDER BY abs(count(*) - :length), conversation_id LIMIT 4"
        ),
        {"length": length},
    )
    return [f"/conversations/{uuid.UUID(str(row[0]))}" for row in rows]


def _said(messages: int, rank: int) -> list[str]:
    """Searches for words of about this rank: so many others are said more often."""
    words = Company(messages).words
    return [f"/search?q={words[rank + more]}" for more in range(3)]


def _numbers(addresses: list[str]) -> list[str]:
    """Of the people of these conversations, without the country."""
    ids = [uuid.UUID(address.rpartition("/")[2]) for address in addresses]
    rows = db.session.scalars(sa.select(Conversation).where(Conversation.id.in_(ids)))
    return [row.numbers[0][2:] for row in rows]
