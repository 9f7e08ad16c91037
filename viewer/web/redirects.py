"""Redirects from URLs that have moved, and redirects told to a script that cannot follow them."""

import uuid
from http import HTTPStatus

from flask import Flask, Response, abort, redirect, request, url_for

from viewer.models import Conversation


def init_app(app: Flask) -> None:
    app.after_request(_tell_location)


def _tell_location(response: Response) -> Response:
    """Say in a header where a redirect leads, if a script asks so: fetch() shows it to none.

    The page that sent a form stays as it is until the answer is known, and goes on by itself.
    """
    if request.headers.get("X-Follow") == "no" and response.location:
        response.headers["X-Location"] = response.location
        del response.headers["Location"]
        response.status_code = HTTPStatus.OK
        response.set_data(b"")
    return response


def find_conversation(conversation_id: uuid.UUID) -> Conversation:
    """Load the conversation of this URL. Aborts with 404 if there is none.

    The URL of a conversation merged into another is redirected there (301), with its query.
    """
    found = Conversation.find(conversation_id)
    if found is None:
        abort(404, "There is no such conversation.")
    if found.id != conversation_id:
        asked = request.args.to_dict(flat=False)
        # Path values win over query values of the same name.
        values = {**asked, **(request.view_args or {}), "conversation_id": found.id}
        abort(redirect(url_for(request.endpoint or "", **values), 301))
    return found
