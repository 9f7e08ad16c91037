"""Addresses that have moved."""

import uuid

from flask import abort, redirect, request, url_for

from viewer.models import Conversation


def find_conversation(conversation_id: uuid.UUID) -> Conversation:
    """The conversation of this address; 404 for one that nobody knows.

    Two that proved to be one have one page: the other's address is redirected there, as asked.
    """
    found = Conversation.find(conversation_id)
    if found is None:
        abort(404, "There is no such conversation.")
    if found.id != conversation_id:
        asked = request.args.to_dict(flat=False)
        # A value for the path wins over one of the same name in the query.
        values = {**asked, **(request.view_args or {}), "conversation_id": found.id}
        abort(redirect(url_for(request.endpoint or "", **values), 301))
    return found
