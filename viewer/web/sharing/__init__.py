"""Share links: made by staff, opened by strangers."""

from flask import Blueprint

from viewer.web.sharing import manage, public

bp = Blueprint("sharing", __name__)
for part in (manage, public):
    bp.register_blueprint(part.bp)
