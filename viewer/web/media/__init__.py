"""Media pages: file downloads, gallery, lightbox, file details, trash, audio player."""

from flask import Blueprint

from viewer.web.media import closing, details, files, gallery, player, slides, trash

bp = Blueprint("media", __name__)
for part in (closing, details, files, gallery, player, slides, trash):
    bp.register_blueprint(part.bp)
