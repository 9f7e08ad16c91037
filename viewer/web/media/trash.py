"""The trash: move a file to it, restore it, purge files after their retention period."""

import uuid

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.office import filing, trash
from viewer.office.names import names_of, title_of
from viewer.plurals import plural
from viewer.storage import StorageError
from viewer.web import pagination
from viewer.web.access import Role, needs, recent_login_required, the_user
from viewer.web.media import files
from viewer.web.media.details import find_file, to_details
from viewer.web.wording import what

bp = Blueprint("trash", __name__)

State = MediaAttachment.State
PAGE = 40


@bp.get("/trash")
@needs(Role.OFFICE)
def show() -> str:
    """List the files in the trash with their retention, or with `?show=deleted` the purged ones."""
    show = request.args.get("show", "")
    if show not in ("", "deleted"):
        abort(404, "There is no such list.")
    before = request.args.get("before")
    key = MediaAttachment.trashed_at, MediaAttachment.id
    after = pagination.older(*key, before) if before else None
    found = trash.in_trash(PAGE + 1, after, purged=show == "deleted")
    page = found[:PAGE]
    ids = {media.conversation_id: media.conversation for media in page}
    names = names_of(number for one in ids.values() for number in one.numbers)
    uses = filing.uses_of([media.id for media in page])
    return render_template(
        "media/trash.html",
        files=page,
        show=show,
        titles={key: title_of(one, names) for key, one in ids.items()},
        uses={key: [filing.name_of(link.record) for link in some] for key, some in uses.items()},
        kept=trash.KEPT,
        kept_until=trash.kept_until,
        quarantine_days=settings().QUARANTINE_DAYS,
        now=now(),
        purgeable=len(trash.purgeable()) if the_user().role.covers(Role.OWNER) else 0,
        older=pagination.next_cursor(found, PAGE, *key),
    )


@bp.get("/trash/<uuid:media_id>/thumbnail")
@needs(Role.OFFICE)
def thumbnail(media_id: uuid.UUID) -> Response:
    """Serve the thumbnail of a file in the trash, to identify it; nothing else of it is served."""
    media = db.session.get(MediaAttachment, media_id)
    if (
        media is None
        or media.state is not State.TRASHED
        or media.purged_at is not None
        or media.thumbnail_path is None
    ):
        abort(404, "There is no such picture in the trash.")
    return files.send(
        media,
        media.thumbnail_path,
        "image/jpeg",
        f'"{(media.sha256 or "")[:32]}-trashed"',
        disposition="inline",
        caching="private, no-store",
    )


@bp.post("/media/<uuid:media_id>/trash")
@needs(Role.OFFICE)
def put_in_trash(media_id: uuid.UUID) -> Response | str:
    """Move a file to the trash. If it is in use, show where and ask for confirmation first."""
    media = find_file(media_id)
    uses = trash.uses_of(media)
    if uses and "sure" not in request.form and media.state is not State.TRASHED:
        return render_template(
            "media/confirm_trash.html",
            media=media,
            links=[filing.name_of(link.record) for link in uses.links],
            evidence=uses.evidence,
            shares=uses.shares,
            kept=trash.KEPT,
        )
    try:
        trash.trash(media, the_user())
    except trash.Refused as refusal:
        db.session.rollback()
        flash(str(refusal), "error")
        return to_details(media)
    db.session.commit()
    flash(f"The {what(media)} is in the trash. Its bytes are kept; it can be restored.", "done")
    return redirect(url_for(".show"), 303)


@bp.post("/media/<uuid:media_id>/restoration")
@needs(Role.OFFICE)
def restore(media_id: uuid.UUID) -> Response:
    """Restore a file from the trash."""
    media = find_file(media_id)
    try:
        trash.restore(media, the_user())
    except trash.Refused as refusal:
        db.session.rollback()
        flash(str(refusal), "error")
        return redirect(url_for(".show"), 303)
    db.session.commit()
    flash(f"The {what(media)} is back where it was.", "done")
    return to_details(media)


@bp.post("/trash/purges")
@needs(Role.OWNER)
@recent_login_required
def purge() -> Response:
    """Purge the named file, or all files whose retention period is over. Requires confirmation."""
    if "sure" not in request.form:
        flash("Nothing was deleted: say that you are sure.", "error")
        return redirect(url_for(".show"), 303)
    named = request.form.get("media")
    try:
        ids = [uuid.UUID(named)] if named else trash.purgeable()
    except ValueError:
        abort(404, "There is no such file.")
    user = the_user()
    try:
        count = trash.purge(ids, user)
    except StorageError as trouble:
        flash(f"{trouble} The rest is done the next time.", "error")
        return redirect(url_for(".show"), 303)
    if count:
        flash(f"{count} {plural(count, 'file')} deleted for good.", "done")
    else:
        flash(
            "Nothing was deleted: it is in use, was restored, or its time is not over yet.", "error"
        )
    return redirect(url_for(".show"), 303)
