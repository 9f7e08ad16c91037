"""The layout shared by all pages: navigation, versioned static files, CSRF field, icons."""

import functools
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, Response, abort, current_app, g, request
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from viewer.config import settings
from viewer.extensions import db
from viewer.loopback import is_loopback
from viewer.models import User
from viewer.office import filing, reading
from viewer.web import access
from viewer.web.urls import url_for

Role = User.Role


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the navigation."""

    endpoint: str
    words: str
    icon: str  # a template in templates/icons/
    role: Role = Role.FIELD
    # How many items wait there; counting stops at 100.
    count: sa.ScalarSelect[int] | None = None  # of `user_id`
    counted: str = ""  # the unit of the count: "unread"
    also: tuple[str, ...] = ()  # other blueprints that highlight this entry
    waiting: str = ""  # the count as shown: "3", "99+", or empty

    @property
    def url(self) -> str:
        return url_for(self.endpoint)

    @property
    def is_here(self) -> bool:
        return request.blueprint in (self.endpoint.rpartition(".")[0], *self.also)


ITEMS = (
    Item(
        "conversations.inbox.show",
        "Inbox",
        "inbox",
        count=reading.UNREAD_CONVERSATIONS,
        counted="unread",
        also=("conversations.pages",),
    ),
    Item("media.gallery.everything", "Photos", "photos"),
    Item("work.unfiled.show", "Unfiled", "tray", count=filing.UNFILED, counted="unfiled"),
    Item("work.records.index", "Work", "work", also=("work.evidence", "work.linking")),
    Item("status.show", "Status", "status", Role.OFFICE),
)
_COUNTED = tuple(item for item in ITEMS if item.count is not None)
_WAITING = sa.select(*(item.count for item in _COUNTED if item.count is not None))


def absolute_url(endpoint: str, **values: Any) -> str | None:
    """Build an absolute URL, under PUBLIC_URL. None if that is not set: people would be sent there.

    Never under the request's host: whoever sends the request chooses that. Loopback is the
    exception, for a viewer on the machine of whoever tries it: it leads nowhere else.
    """
    base = settings().PUBLIC_URL
    if not base and is_loopback(urlsplit(request.host_url).hostname or ""):
        base = request.host_url.rstrip("/")
    return base + url_for(endpoint, **values) if base else None


def webhook_url() -> str:
    """The address that the phone provider has to know."""
    return absolute_url("webhooks.receive") or f"https://YOUR-HOST{url_for('webhooks.receive')}"


def static_address(folder: Path) -> str:
    """Return `/static/<version>`, where the version is a checksum of all files below `folder`.

    Cache busting: any change gives new URLs, so browsers may cache each URL for ever. The version
    is in the path, not in the query, so that JavaScript modules inherit it when they import each
    other.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return f"/static/{digest.hexdigest()[:12]}"


def init_app(app: Flask) -> None:
    app.context_processor(lambda: {"navigation": navigation, "csrf_token": generate_csrf})
    app.add_template_global(csrf_field)
    app.add_template_global(webhook_url)
    app.add_template_global(icon)
    app.add_template_global(stylesheet)
    app.add_url_rule(f"{app.static_url_path}/sheets/<names>.css", "sheets", sheets)
    app.before_request(_forget_counts)
    app.after_request(_keep_static)


def navigation() -> list[Item]:
    """List the entries that this user's role allows, with their counts."""
    user = access.current_user()
    if user is None:
        return []
    return [
        item if item.count is None else replace(item, waiting=_at_most_99(count_of(item.endpoint)))
        for item in ITEMS
        if user.role.covers(item.role)
    ]


def count_of(endpoint: str) -> int:
    """How many items wait at this entry of the navigation, at most 100.

    One query counts for all entries, once in a request.
    """
    if "waiting" not in g:
        user = access.the_user()
        row = db.session.execute(_WAITING, {"user_id": user.id}).one()
        g.waiting = dict(zip((item.endpoint for item in _COUNTED), row, strict=True))
    return int(g.waiting[endpoint])


def _forget_counts() -> None:
    g.pop("waiting", None)  # requests that share an application context must not share it


def _at_most_99(count: int) -> str:
    return "99+" if count > 99 else str(count or "")


def csrf_field() -> Markup:
    """Render the hidden CSRF field that every form needs."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def icon(name: str) -> Markup:
    """Return a decorative SVG; the text beside it carries the meaning."""
    return _read_icon(str(current_app.template_folder), name)


@functools.cache  # a page of 48 tiles names 30: read and rendered each time, one took 0.1 ms
def _read_icon(templates: str, name: str) -> Markup:
    svg = (Path(templates) / "icons" / f"{name}.svg").read_text()
    return Markup(svg.removesuffix("\n"))  # noqa: S704 - our own files


def stylesheet(*names: str) -> str:
    """Return the URL of these static/css/ files as one bundle: each request costs a phone 0.2 s."""
    return url_for("sheets", names=".".join(names))


def sheets(names: str) -> Response:
    """Serve these stylesheets as one file, in this order, without comments and indentation."""
    if not re.fullmatch(r"[a-z_]{1,30}(\.[a-z_]{1,30}){,40}", names):
        abort(404)
    folder = Path(current_app.static_folder or "") / "css"
    files = [folder / f"{name}.css" for name in names.split(".")]
    if not all(file.is_file() for file in files):
        abort(404)
    words = "\n".join(file.read_text() for file in files)
    response = Response(re.sub(r"/\*.*?\*/|^ +", "", words, flags=re.S | re.M), mimetype="text/css")
    response.add_etag()
    return response.make_conditional(request.environ)  # type: ignore[return-value]


def _keep_static(response: Response) -> Response:
    if request.endpoint in ("static", "sheets") and response.status_code in (200, 304):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
