"""Share links: created by staff, opened by people without an account."""

from flask import Blueprint

from viewer.web.sharing import manage, public

bp = Blueprint("sharing", __name__)
for part in (manage, public):
    bp.register_blueprint(part.bp)
