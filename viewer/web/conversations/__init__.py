"""The inbox and the conversations that open from it."""

from flask import Blueprint

from viewer.web.conversations import held, inbox, live, offline, pages

bp = Blueprint("conversations", __name__)
for part in (held, inbox, live, offline, pages):
    bp.register_blueprint(part.bp)
