"""Pages as a browser reads them, what strangers may write on them, and what they ask for."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient

from viewer.extensions import db
from viewer.models import MediaAttachment

NASTY = (
    "<script>alert(1)</script>",
    '"onmouseover="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "\u202egpj.exe\u202c",
    "&lt;b&gt; & </p></article>",
    "zero\u200bwidth",
)


class Page(HTMLParser):
    """A page as a browser reads it: its elements, and the words between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.html = html
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attrs
            for name, attrs in self.elements
            if name == tag and all(attrs.get(k.rstrip("_")) == v for k, v in wanted.items())
        ]

    def links(self, part: str) -> list[str]:
        return [href for a in self.all("a") if part in (href := a.get("href") or "")]

    def strange_scripts(self) -> list[dict[str, str | None]]:
        """Programs that are not a file of ours."""
        return [s for s in self.all("script") if not (s.get("src") or "").startswith("/static/")]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that the database is asked meanwhile."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("PRAGMA"):
            seen.append(statement)

    db.session.rollback()
    db.session.expunge_all()
    sa.event.listen(db.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(db.engine, "before_cursor_execute", note)
    db.session.rollback()


def ids(media: Iterable[MediaAttachment]) -> list[str]:
    return [str(one.id) for one in media]


def press_undo(client: FlaskClient, html: str) -> Any:
    """Press Undo in the notice on this page, as a browser would."""
    form = re.search(r'<form class="notice__undo".*?</form>', html, re.DOTALL)[0]
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'name="([^"]+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(value)
    return client.post(re.search(r'action="([^"]+)"', form)[1], data=fields, follow_redirects=False)


def notice(client: FlaskClient) -> str:
    """The page after a redirect, which says what was done."""
    return client.get("/unfiled").text
