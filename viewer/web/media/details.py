"""File details: provenance and history, caption, integrity check."""

import uuid
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import joinedload
from werkzeug.wrappers import Response

from viewer import derive, holdings
from viewer.extensions import db
from viewer.holdings import Finding
from viewer.models import AuditEntry, MediaAttachment
from viewer.office import audit, filing, findings, sharing, trash
from viewer.office.names import names_of, title_of
from viewer.storage import StorageError, decoder_workspace
from viewer.web.access import Role, needs, the_user

bp = Blueprint("details", __name__)

State = MediaAttachment.State
MOST_HISTORY = 200
# EXIF data is optional: the page must not wait long for it.
CAMERA_LIMITS = derive.Limits(cpu_seconds=5, wall_seconds=8)


@dataclass(frozen=True, slots=True)
class Copy:
    """A derivative and its URL."""

    name: str
    address: str


# --- The details page ----------------------------------------------------------------------


@bp.get("/media/<uuid:media_id>/passport")
def passport(media_id: uuid.UUID) -> str:
    """Show all we know of a file: provenance, checksum, links, shares, history."""
    return _passport(find_file(media_id))


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
    deliveries = trash.deliveries_of(media) if is_office else []
    shares = sharing.shares_of(media)
    uses = filing.links_from(media)
    db.session.commit()  # release the transaction before the slow store and child process
    return render_template(
        "media/details.html",
        media=media,
        message=message,
        conversation=conversation,
        title=title_of(conversation, names),
        names=names,
        caption=media.caption or "" if caption is None else caption,
        error=error,
        is_office=is_office,
        deliveries=deliveries,
        copies=_copies(media),
        camera=_camera(media),
        uses=uses,
        shares=shares,
        checks=[entry for entry in history if entry.action in ("check", "damage")],
        history=history,
        describe_action=audit.describe_action_here,
        kept_until=trash.kept_until(media),
    )


def _copies(media: MediaAttachment) -> list[Copy]:
    return [
        Copy(
            "full size" if name == "full" else name,
            url_for(f"media.files.{name}", media_id=media.id),
        )
        for name in media.copies
    ]


def _camera(media: MediaAttachment) -> derive.Described | None:
    """Read a photo's EXIF data in a sandbox; None if it has none, or cannot be read."""
    if not media.is_stored or media.media_type is not MediaAttachment.MediaType.PHOTO:
        return None
    try:
        original = holdings.open_file(media, media.file_path)
        with decoder_workspace(holdings.spool(), original) as (source, folder):
            found = derive.describe(source, media.mime_type or "", folder, CAMERA_LIMITS)
    except (derive.DeriveError, StorageError):
        return None
    return found if any((found.camera, found.lens, found.taken_at, found.place)) else None


@bp.post("/media/<uuid:media_id>/caption")
def caption(media_id: uuid.UUID) -> Response | tuple[str, int]:
    """Set or clear the caption."""
    media, words = find_file(media_id), request.form.get("caption", "")
    try:
        trash.set_caption(media, words)
    except trash.Refused as refusal:
        return _passport(media, words, str(refusal)), 422
    db.session.commit()
    flash("The caption is kept." if media.caption else "There is no caption now.", "done")
    return to_details(media)


@bp.post("/media/<uuid:media_id>/checks")
@needs(Role.OFFICE)
def check(media_id: uuid.UUID) -> Response:
    """Verify the stored bytes against the checksum; mark the file as damaged or as stored."""
    media = find_file(media_id)
    if media.state not in (State.STORED, State.DAMAGED):
        abort(409, "There is nothing to check: the file is not in the store.")
    db.session.commit()  # release the transaction before a long read
    try:
        finding = holdings.check_file(media)
    except StorageError as trouble:
        flash(f"It could not be checked now. {trouble}", "error")
        return to_details(media)
    findings.note_finding(media, finding)
    db.session.commit()
    if finding is Finding.SAME:
        flash("Checked: the bytes in the store are exactly those that came.", "done")
    else:
        flash(
            f"Checked: {findings.PROBLEMS[finding]}"
            " The file is marked as damaged; it has to come back from the backup.",
            "error",
        )
    return to_details(media)


def find_file(media_id: uuid.UUID) -> MediaAttachment:
    media = db.session.scalar(
        sa.select(MediaAttachment)
        .filter_by(id=media_id)
        .options(joinedload(MediaAttachment.message), joinedload(MediaAttachment.conversation))
    )
    if media is None:
        abort(404, "There is no such file.")
    return media.shown_as()


def to_details(media: MediaAttachment) -> Response:
    return redirect(url_for("media.details.passport", media_id=media.id), 303)
