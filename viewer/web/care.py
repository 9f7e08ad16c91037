"""One file and its story: the passport, its caption, a check; the trash and what leaves it."""

import contextlib
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from viewer import derive
from viewer.extensions import db, lock, media_store, now
from viewer.intake import indexing
from viewer.models import AuditEntry, MediaAttachment
from viewer.office import care, filing, sharing
from viewer.office.names import names_of, title_of
from viewer.storage import StorageError, in_words
from viewer.web import listing
from viewer.web import media as files
from viewer.web.access import Role, needs, the_user
from viewer.web.filters import plural
from viewer.web.wording import what

bp = Blueprint("care", __name__)

State = MediaAttachment.State
PAGE = 40
MOST_HISTORY = 200
# A look at what the camera wrote is a courtesy: no page waits long for it.
CAMERA_LIMITS = derive.Limits(cpu_seconds=5, wall_seconds=8)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of ours, and how large it is."""

    name: str
    address: str
    size: int | None  # bytes; None: it is not there


# --- The passport --------------------------------------------------------------------------


@bp.get("/media/<uuid:media_id>/passport")
def passport(media_id: uuid.UUID) -> str:
    """All we know of a file: where from, which bytes, what became of it."""
    return _passport(_find(media_id))


def _passport(media: MediaAttachment, caption: str | None = None, error: str | None = None) -> str:
    message, conversation = media.message, media.conversation
    names = names_of({*conversation.numbers, *filter(None, [message.sender])})
    user = the_user()
    is_office = user.role.covers(Role.OFFICE)
    history = db.session.scalars(
        sa.select(AuditEntry)
        .filter_by(subject_id=media.id)
        .order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        .limit(MOST_HISTORY)
    ).all()
    deliveries = care.deliveries_of(media) if is_office else []
    shares = sharing.shares_of(media)
    uses = filing.uses(media)
    db.session.commit()  # nobody waits for the database while the store and a child are asked
    return render_template(
        "care/passport.html",
        media=media,
        message=message,
        conversation=conversation,
        title=title_of(conversation, names),
        names=names,
        caption=media.caption or "" if caption is None else caption,
        error=error,
        most_caption=care.LONGEST_CAPTION,
        is_office=is_office,
        deliveries=deliveries,
        copies=_copies(media),
        camera=_camera(media),
        uses=uses,
        shares=shares,
        checks=[entry for entry in history if entry.action == "check"],
        history=history,
        actions=ACTIONS,
        kept_until=care.kept_until(media),
    )


# What the trail's words for actions read like on a page.
ACTIONS = {
    "caption": "Caption",
    "check": "Checked",
    "trash": "Put in the trash",
    "restore": "Restored",
    "purge": "Deleted for good",
    "link": "Linked",
    "unlink": "Unlinked",
    "not_needed": "Marked as not needed",
    "needed": "Marked as needed after all",
    "retry": "Tried again",
}


def _copies(media: MediaAttachment) -> list[Copy]:
    store, found = media_store(), []
    for name, key in media.copies.items():
        size = None
        with contextlib.suppress(StorageError):
            size = store.stat(key).size
        label = "full size" if name == "full" else name
        found.append(Copy(label, url_for(f"media.{name}", media_id=media.id), size))
    return found


def _camera(media: MediaAttachment) -> derive.Described | None:
    """What the camera wrote into a photo; None if it wrote nothing, or cannot be read."""
    if not media.is_stored or media.media_type is not MediaAttachment.MediaType.PHOTO:
        return None
    try:
        with sharing.workplace() as (source, folder):
            with in_words(), media_store().open(media.file_path) as original:
                source.write_bytes(original.read())
            found = derive.describe(source, media.mime_type or "", folder, CAMERA_LIMITS)
    except (derive.DeriveError, StorageError):
        return None
    return found if any((found.camera, found.lens, found.taken_at, found.place)) else None


@bp.post("/media/<uuid:media_id>/caption")
def caption(media_id: uuid.UUID) -> Response | tuple[str, int]:
    """What people call it."""
    lock("ingest")  # which writes the search's entries, too
    media, words = _find(media_id), request.form.get("caption", "")
    try:
        care.set_caption(media, words)
    except care.Refused as refusal:
        return _passport(media, words, str(refusal)), 422
    indexing.index_messages([media.message])
    db.session.commit()
    flash("The caption is kept." if media.caption else "There is no caption now.", "done")
    return _back(media)


@bp.post("/media/<uuid:media_id>/checks")
@needs(Role.OFFICE)
def check(media_id: uuid.UUID) -> Response:
    """Read the bytes in the store again: are they those that came?"""
    media = _find(media_id)
    if media.state not in (State.STORED, State.DAMAGED):
        abort(409, "There is nothing to check: the file is not in the store.")
    db.session.commit()  # nobody waits for the database while a film is read
    try:
        finding = care.look(media)
    except StorageError as trouble:
        flash(f"It could not be checked now. {trouble}", "error")
        return _back(media)
    care.note_finding(media, finding)
    db.session.commit()
    if finding is care.Finding.SAME:
        flash("Checked: the bytes in the store are exactly those that came.", "done")
    else:
        flash(
            f"Checked: {care.DAMAGE if finding is care.Finding.DIFFERENT else care.LOSS}"
            " The file is marked as damaged; it has to come back from the backup.",
            "error",
        )
    return _back(media)


# --- The trash -----------------------------------------------------------------------------


@bp.get("/trash")
@needs(Role.OFFICE)
def trash() -> str:
    """What was put away, for how long it is kept, and what was deleted for good."""
    show = request.args.get("show", "")
    if show not in ("", "deleted"):
        abort(404, "There is no such list.")
    before = request.args.get("before")
    place = (
        listing.older(MediaAttachment.trashed_at, MediaAttachment.id, before)  # type: ignore[arg-type]
        if before
        else None
    )
    found = care.in_trash(PAGE + 1, place, purged=show == "deleted")
    page = found[:PAGE]
    ids = {media.conversation_id: media.conversation for media in page}
    names = names_of(number for one in ids.values() for number in one.numbers)
    uses = filing.uses_of([media.id for media in page])
    last = page[-1] if len(found) > PAGE else None
    return render_template(
        "care/trash.html",
        files=page,
        show=show,
        titles={key: title_of(one, names) for key, one in ids.items()},
        uses={key: [filing.name_of(link.record) for link in some] for key, some in uses.items()},
        kept=care.KEPT,
        kept_until=care.kept_until,
        now=now(),
        purgeable=len(care.purgeable()) if the_user().role.covers(Role.OWNER) else 0,
        older=listing.position(last.trashed_at, last.id) if last and last.trashed_at else None,
    )


@bp.get("/trash/<uuid:media_id>/thumbnail")
@needs(Role.OFFICE)
def trashed_thumbnail(media_id: uuid.UUID) -> Response:
    """The one picture of a file in the trash that anybody is shown: what is it?"""
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
    """Put a file away. Where it is used, that is said first, and asked."""
    media = _find(media_id)
    uses = care.uses(media)
    if uses and "sure" not in request.form and media.state is not State.TRASHED:
        return render_template(
            "care/sure.html",
            media=media,
            links=[filing.name_of(link.record) for link in uses.links],
            evidence=uses.evidence,
            shares=uses.shares,
            kept=care.KEPT,
        )
    lock("ingest")
    try:
        care.trash(media, the_user())
    except care.Refused as refusal:
        db.session.rollback()
        flash(str(refusal), "error")
        return _back(media)
    indexing.index_messages([media.message])  # without its caption
    db.session.commit()
    flash(f"The {what(media)} is in the trash. Its bytes are kept; it can be restored.", "done")
    return redirect(url_for(".trash"), 303)


@bp.post("/media/<uuid:media_id>/restoration")
@needs(Role.OFFICE)
def restore(media_id: uuid.UUID) -> Response:
    """Bring a file back to where it was."""
    media = _find(media_id)
    lock("ingest")
    try:
        care.restore(media, the_user())
    except care.Refused as refusal:
        db.session.rollback()
        flash(str(refusal), "error")
        return redirect(url_for(".trash"), 303)
    indexing.index_messages([media.message])
    db.session.commit()
    flash(f"The {what(media)} is back where it was.", "done")
    return _back(media)


@bp.post("/trash/purges")
@needs(Role.OWNER)
def purge() -> Response:
    """Delete for good: the file that is named, or everything whose time is over."""
    if "sure" not in request.form:
        flash("Nothing was deleted: say that you are sure.", "error")
        return redirect(url_for(".trash"), 303)
    named = request.form.get("media")
    try:
        ids = [uuid.UUID(named)] if named else care.purgeable()
    except ValueError:
        abort(404, "There is no such file.")
    user = the_user()
    try:
        count = care.purge(ids, user)
    except StorageError as trouble:
        flash(f"{trouble} The rest is done the next time.", "error")
        return redirect(url_for(".trash"), 303)
    if count:
        flash(f"{count} {plural(count, 'file')} deleted for good.", "done")
    else:
        flash(
            "Nothing was deleted: it is in use, was restored, or its time is not over yet.", "error"
        )
    return redirect(url_for(".trash"), 303)


def _find(media_id: uuid.UUID) -> MediaAttachment:
    media = db.session.scalar(
        sa.select(MediaAttachment)
        .filter_by(id=media_id)
        .options(joinedload(MediaAttachment.message), joinedload(MediaAttachment.conversation))
    )
    if media is None:
        abort(404, "There is no such file.")
    return media


def _back(media: MediaAttachment) -> Response:
    return redirect(url_for(".passport", media_id=media.id), 303)
