"""What stands around every page: the navigation, static files by version, form fields."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flask import Flask, Response, render_template, request, url_for
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from viewer.models import User
from viewer.office import filing, reading
from viewer.web import access

Role = User.Role


@dataclass(frozen=True, slots=True)
class Item:
    """One place of the navigation."""

    endpoint: str
    words: str
    icon: str  # a template in templates/icons/
    role: Role = Role.FIELD
    count: Callable[[User], int] | None = None  # of what waits there; at most a hundred is told
    counted: str = ""  # what those are: "unread"
    waiting: str = ""  # that count: 3, 99+, or nothing

    @property
    def url(self) -> str:
        return url_for(self.endpoint)

    @property
    def is_here(self) -> bool:
        return request.blueprint == self.endpoint.partition(".")[0]


ITEMS = (
    Item(
        "conversations.inbox",
        "Inbox",
        "inbox",
        count=reading.unread_conversations,
        counted="unread",
    ),
    Item("filing.tray", "Unfiled", "tray", count=filing.waiting, counted="unfiled"),
    Item("work.index", "Work", "work"),
    Item("gallery.everything", "Photos", "photos"),
    Item("status.show", "Status", "status", Role.OFFICE),
)


def static_address(folder: Path) -> str:
    """`/static/<version>`: what changed has another address, so browsers keep the rest for ever.

    The version is in the path, not in a query: modules that import each other inherit it.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return f"/static/{digest.hexdigest()[:12]}"


def init_app(app: Flask) -> None:
    app.context_processor(lambda: {"navigation": navigation, "csrf_token": generate_csrf})
    app.add_template_global(csrf_field)
    app.add_template_global(icon)
    app.after_request(_keep_static)


def navigation() -> list[Item]:
    """The places this user may go to, and how much waits there."""
    user = access.current_user()
    if user is None:
        return []
    return [
        replace(item, waiting=_at_most_99(item.count(user))) if item.count else item
        for item in ITEMS
        if user.role.covers(item.role)
    ]


def _at_most_99(count: int) -> str:
    return "99+" if count > 99 else str(count or "")


def csrf_field() -> Markup:
    """The hidden field that every form carries."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def icon(name: str) -> Markup:
    """A drawing that stands beside words which say the same."""
    return Markup(render_template(f"icons/{name}.svg"))  # noqa: S704 - our own files


def _keep_static(response: Response) -> Response:
    if request.endpoint == "static" and response.status_code in (200, 304):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
