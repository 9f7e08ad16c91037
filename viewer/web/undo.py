"""Messages with an undo button."""

from flask import flash, render_template
from markupsafe import Markup

from viewer.models import WorkRecord


def flash_with_undo(
    words: str, undo: str, show: WorkRecord | None = None, **fields: object
) -> None:
    """Flash a message with an undo button, and with a link to the record `show`, if given."""
    page = render_template("work/_undo.html", words=words, undo=undo, record=show, fields=fields)
    flash(Markup(page))  # noqa: S704 - our own template, which escapes
