"""Redirects from URLs that have moved."""

import uuid

from flask import abort, redirect, request, url_for

from viewer.models import Conversation


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
