"""What is new on a page that is open: asked every few seconds, so the answer is mostly "nothing".

An answer is a piece of HTML and its ETag; 304 as long as the browser has it.
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

WATCHED = 200  # messages of an open page; of a longer one, its newest


@bp.get("/conversations/<uuid:conversation_id>/news")
def conversation(conversation_id: uuid.UUID) -> BaseResponse:
    """The messages between `since` and `until` that are not as the browser has them."""
    row = find_conversation(conversation_id)
    since, until = request.args.get("since"), request.args.get("until")
    if until is None:  # the page shows the newest; nobody asks for a page that is not looked at
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
    """The list of the inbox as it is narrowed, alone."""
    return fresh(render_template("conversations/_inbox_list.html", **read_inbox()))


def fresh(html: str) -> BaseResponse:
    """A piece of a page, or 304 if the browser has just this."""
    etag = hashlib.sha256(html.encode()).hexdigest()[:32]
    response = _tagged(Response(html), etag)
    return response.make_conditional(request.environ)


def _unchanged(etag: str) -> BaseResponse:
    return _tagged(Response(status=304), etag)


def _tagged(response: Response, etag: str) -> Response:
    response.set_etag(etag, weak=True)  # the same words, in whichever compression
    return response
