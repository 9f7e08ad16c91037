"""Live updates: open pages poll every few seconds, so most responses are 304 Not Modified.

A response is an HTML fragment with an ETag; 304 while the browser's version is current.
"""

import hashlib
import uuid

from flask import Blueprint, Response, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from viewer.office.names import names_of
from viewer.web.conversations import timeline
from viewer.web.conversations.inbox import read_inbox
from viewer.web.conversations.seen import seen
from viewer.web.redirects import find_conversation

bp = Blueprint("live", __name__)

WATCHED = 200  # messages of an open page that are watched: the newest


@bp.get("/conversations/<uuid:conversation_id>/news")
def conversation(conversation_id: uuid.UUID) -> BaseResponse:
    """Return the messages between `since` and `until` that differ from those the browser has."""
    row = find_conversation(conversation_id)
    since, until = request.args.get("since"), request.args.get("until")
    if until is None:  # the page shows the newest; a hidden page does not poll
        seen(row.id)
    stretch = timeline.watched_stretch(row.id, since, until, WATCHED)
    beyond = [row.latest_at] if until else []
    known = timeline.known_by(request.headers.get("If-None-Match", ""))
    etag = timeline.etag_of(stretch.entries, *beyond)
    if known == timeline.digests_of(stretch.entries, *beyond):
        return _unchanged(etag)
    changed = [entry for entry in stretch.entries if entry.version not in known]
    timeline.load_whole(changed)
    senders = {entry.message.sender for entry in changed if entry.message.sender}
    html = render_template(
        "conversations/_news.html",
        conversation=row,
        names=names_of({*row.numbers, *senders}),
        stretch=stretch,
        days=timeline.days_of(changed),
    )
    return _tagged(Response(html), etag)


@bp.get("/inbox/news")
def inbox() -> BaseResponse:
    """Return only the list of the inbox, with its filters."""
    return fresh(render_template("conversations/_inbox_list.html", **read_inbox()))


def fresh(html: str) -> BaseResponse:
    """Respond with an HTML fragment, or with 304 if the browser has it."""
    etag = hashlib.sha256(html.encode()).hexdigest()[:32]
    response = _tagged(Response(html), etag)
    return response.make_conditional(request.environ)


def _unchanged(etag: str) -> BaseResponse:
    return _tagged(Response(status=304), etag)


def _tagged(response: Response, etag: str) -> Response:
    response.set_etag(etag, weak=True)  # weak: the same content, whatever its compression
    return response
