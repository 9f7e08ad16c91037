"""Slow or no network: ETags for pages, and conversations saved on the device for offline use.

Only what the user asked for is saved. It is deleted after a week, and at logout.
"""

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    g,
    jsonify,
    render_template,
    request,
    session,
    url_for,
)

from viewer import derive
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.office.names import names_of, title_of
from viewer.web.conversations.pages import MESSAGES_PAGE
from viewer.web.wording import plays

bp = Blueprint("offline", __name__)

MESSAGES = 200  # of a saved conversation, the newest: four pages
DAYS = 7  # until a saved conversation is deleted

# To estimate the download size: measured on our derivatives of photos of cracked walls.
THUMBNAIL = 27_000  # bytes
PER_PIXEL = 0.17  # bytes of a preview
PER_SECOND = 12_000  # bytes of a recording

MediaType, State = MediaAttachment.MediaType, MediaAttachment.State


def init_app(app: Flask) -> None:
    app.after_request(_same_again)


@bp.get("/conversations/<uuid:conversation_id>/pack")
def pack(conversation_id: uuid.UUID) -> Response:
    """List the URLs to save for reading this conversation offline, and their size in bytes."""
    conversation = db.session.get(Conversation, conversation_id)
    if conversation is None:
        abort(404, "There is no such conversation.")
    media = db.session.scalars(_newest_media(conversation.id))
    copies = [copy for one in media for copy in _copies(one)]
    response = jsonify(
        id=str(conversation.id),
        title=title_of(conversation, names_of(conversation.numbers)),
        page=url_for("conversations.pages.show", conversation_id=conversation.id),
        pages=MESSAGES // MESSAGES_PAGE,
        days=DAYS,
        size=sum(size for _, size in copies),
        files=[address for address, _ in copies],
        programs=_programs(),
        offline=url_for(".show"),
    )
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.get("/offline")
def show() -> str:
    """Show what this device has saved; a script on the page reads that from the device."""
    return render_template("conversations/offline.html", days=DAYS, messages=MESSAGES)


@bp.get("/service-worker.js")
def worker() -> Response:
    """Serve the service worker from the root, so that its scope is all pages."""
    program = Path(current_app.static_folder or "") / "service-worker.js"
    response = Response(program.read_text(), mimetype="text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return response.make_conditional(request.environ)  # type: ignore[return-value]


@bp.get("/manifest.webmanifest")
def manifest() -> Response:
    """Serve the web app manifest, by which a phone installs the site as an app."""

    def icon(name: str, size: int, purpose: str) -> dict[str, str]:
        address = url_for("static", filename=f"icons/{name}.png")
        return {
            "src": address,
            "sizes": f"{size}x{size}",
            "type": "image/png",
            "purpose": purpose,
        }

    response = jsonify(
        id="/",
        name="Conversation viewer",
        short_name="Viewer",
        description="Photos and voicemails of the phone line",
        start_url="/",
        scope="/",
        display="standalone",
        background_color="#f4f2ee",
        theme_color="#f4f2ee",
        icons=[
            icon("icon-192", 192, "any"),
            icon("icon-512", 512, "any"),
            icon("maskable-512", 512, "maskable"),
        ],
        shortcuts=[
            {"name": "Photos", "url": url_for("media.gallery.everything")},
            {"name": "Offline", "url": url_for(".show")},
        ],
    )
    response.mimetype = "application/manifest+json"
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]


def _newest_media(conversation_id: uuid.UUID) -> sa.Select[MediaAttachment]:
    newest = (
        sa.select(Message.id)
        .filter_by(conversation_id=conversation_id)
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(MESSAGES)
        .subquery()
    )
    return (
        sa.select(MediaAttachment)
        .join(newest, MediaAttachment.message_id == newest.c.id)
        .where(MediaAttachment.state == State.STORED)
        .order_by(MediaAttachment.sent_at.desc(), MediaAttachment.id)
    )


def _copies(media: MediaAttachment) -> Iterator[tuple[str, int]]:
    """Yield the URLs of pictures and recordings to save, each with its estimated size in bytes."""
    if media.thumbnail_path:
        yield url_for("media.files.thumbnail", media_id=media.id), THUMBNAIL
    if media.preview_path:
        yield url_for("media.files.preview", media_id=media.id), _about(media)
    if media.media_type is MediaType.AUDIO and plays(media):
        size = int((media.duration_seconds or 0) * PER_SECOND) or media.file_size or 0
        yield url_for("media.files.playable", media_id=media.id), size


def _about(media: MediaAttachment) -> int:
    width, height = media.width or 0, media.height or 0
    longest = max(width, height, 1)
    shrunk = min(1.0, derive.preview_box(max(width, 1), max(height, 1))[0] / longest)
    return int(width * height * shrunk**2 * PER_PIXEL)


def _programs() -> list[str]:
    """List all scripts, also those imported on demand: without them a saved page is only text."""
    folder = Path(current_app.static_folder or "")
    found = [
        *folder.glob("js/*.js"),
        *folder.glob("vendor/**/*.js"),
        *folder.glob("vendor/**/*.css"),
    ]
    return [
        url_for("static", filename=path.relative_to(folder).as_posix()) for path in sorted(found)
    ]


def _same_again(response: Response) -> Response:
    """Set an ETag on HTML pages, and respond 304 if the page is unchanged.

    The CSRF token differs on each rendering, so the digest excludes it: the token in the browser's
    copy stays valid as long as its session, and the session's secret is part of the digest.
    """
    if (
        request.method not in ("GET", "HEAD")
        or response.status_code != 200
        or response.mimetype != "text/html"
        or response.is_streamed
        or "ETag" in response.headers
        or response.cache_control.no_store
    ):
        return response
    words = response.get_data()
    if token := g.get("csrf_token"):
        words = words.replace(token.encode(), b"")
    digest = hashlib.sha256(str(session.get("csrf_token", "")).encode() + b"\0" + words)
    response.set_etag(digest.hexdigest()[:32], weak=True)
    return response.make_conditional(request)  # type: ignore[return-value]
