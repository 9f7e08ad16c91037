"""Settle a file that did not come, or not as it should: close it, ask for it again, accept it."""

import uuid
from urllib.parse import quote

import sqlalchemy as sa
from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from viewer import holdings, jobs
from viewer.extensions import db
from viewer.intake import collect
from viewer.models import ConversationAlias, MediaAttachment, PhoneLine
from viewer.office import closing
from viewer.office.names import names_of, title_of
from viewer.storage import Missing, StorageError, keys
from viewer.web.access import Role, local_path, needs
from viewer.web.formatting import local, short_day
from viewer.web.media import files
from viewer.web.media.details import find_file
from viewer.web.undo import flash_with_undo
from viewer.web.wording import availability, what

bp = Blueprint("closing", __name__, url_prefix="/media")

State, Trouble, Closing = MediaAttachment.State, MediaAttachment.Trouble, MediaAttachment.Closing


@bp.post("/<uuid:media_id>/closing")
@needs(Role.OFFICE)
def close(media_id: uuid.UUID) -> BaseResponse:
    """Wait for a file no longer: it came another way, or is given up. Idempotent."""
    media = find_file(media_id)
    try:
        how = Closing(request.form.get("how", ""))
    except ValueError:
        abort(400, "Say how it is closed: it came another way, or is given up.")
    if closing.close(media, how, request.form.get("reason", "")):
        db.session.commit()
        _flash_with_undo(f"{_name(media)}: {availability(media).lower()}.", media, ".reopen")
    else:
        db.session.rollback()
        flash(f"{_name(media)}: {availability(media).lower()}. Nothing was changed.", "error")
    return _back(media)


@bp.post("/<uuid:media_id>/reopening")
@needs(Role.OFFICE)
def reopen(media_id: uuid.UUID) -> BaseResponse:
    """Wait for a closed file again. Idempotent."""
    media = find_file(media_id)
    if closing.reopen(media):
        db.session.commit()
        jobs.remind(jobs.INTAKE)
        flash(f"{_name(media)} is waited for again.", "done")
    return _back(media)


@bp.post("/<uuid:media_id>/acceptance")
@needs(Role.OFFICE)
def accept(media_id: uuid.UUID) -> BaseResponse:
    """Accept what is here as all there is; or what came in place of the file as the file."""
    media = find_file(media_id)
    if media.state is State.NEEDS_ATTENTION:
        return _accept_rejected(media)
    if closing.accept_incomplete(media):
        db.session.commit()
        words = f"{_name(media)} is marked as all there is."
        _flash_with_undo(words, media, ".take_back_acceptance")
    return _back(media)


def _accept_rejected(media: MediaAttachment) -> BaseResponse:
    db.session.commit()  # release the transaction before files are copied
    try:
        is_here = collect.accept(media.id)
    except Missing:
        flash("What came is not kept any more. It can be tried again.", "error")
        return _back(media)
    except StorageError as trouble:
        flash(f"It could not be kept now. {trouble}", "error")
        return _back(media)
    if is_here:
        closing.note_acceptance(media)
        db.session.commit()
        jobs.remind(jobs.COPIES)
        flash("What came is kept as the file.", "done")
    return _back(media)


@bp.post("/<uuid:media_id>/acceptance/withdrawal")
@needs(Role.OFFICE)
def take_back_acceptance(media_id: uuid.UUID) -> BaseResponse:
    """Ask people to look at an incomplete file again. Idempotent."""
    media = find_file(media_id)
    if closing.take_back_acceptance(media):
        db.session.commit()
        flash(f"{_name(media)} needs attention again.", "done")
    return _back(media)


@bp.post("/<uuid:media_id>/refusal")
@needs(Role.OFFICE)
def refuse(media_id: uuid.UUID) -> BaseResponse:
    """Say that what came is not the file. Idempotent."""
    media = find_file(media_id)
    if closing.refuse(media):
        db.session.commit()
        flash("Noted: what came is not the file.", "done")
    return _back(media)


@bp.get("/<uuid:media_id>/rejected")
@needs(Role.OFFICE)
def rejected(media_id: uuid.UUID) -> Response:
    """Download what came in place of the file, as bytes of an unknown kind."""
    media = find_file(media_id)
    if media.trouble not in (Trouble.NOT_THE_FILE, Trouble.DOUBTFUL):
        abort(404, "Nothing came in place of this file.")
    key = keys.rejected(media.id)
    db.session.commit()
    try:
        opened = holdings.own().open(key)
    except Missing:
        abort(404, "What came is not kept any more.")
    return files.send_bytes(opened, f"what-came-{media.id}.bin")


# --- Asking the customer ---------------------------------------------------------------------


@bp.get("/<uuid:media_id>/asking")
@needs(Role.OFFICE)
def ask(media_id: uuid.UUID) -> str:
    """Show a drafted text that asks the sender for the file, to be sent in the provider's app."""
    media = find_file(media_id)
    message, conversation = media.message, media.conversation
    if not message.is_incoming or not message.sender:
        abort(404, "We sent this file, or nobody knows who did: there is nobody to ask.")
    line = db.session.scalar(sa.select(PhoneLine).filter_by(provider_id=conversation.line))
    alias = db.session.scalar(
        sa.select(ConversationAlias.provider_id)
        .filter_by(conversation_id=conversation.id)
        .where(ConversationAlias.provider_id.startswith("CN"))
        .limit(1)
    )
    names = names_of([*conversation.numbers, message.sender])
    draft = _draft(media)
    return render_template(
        "media/ask.html",
        media=media,
        title=title_of(conversation, names),
        draft=draft,
        in_app=_in_app(message.sender, line.number if line else None, draft),
        in_browser=f"https://my.quo.com/inbox/{quote(conversation.line, safe='')}/c/"
        f"{quote(alias, safe='')}"
        if conversation.line and alias
        else None,
    )


def _draft(media: MediaAttachment) -> str:
    then = local(media.sent_at)
    sent = f"{then:%A, %B} {then.day}"  # never "today": the text may be sent tomorrow
    came = "came through only in part" if media.is_stored else "did not come through"
    if media.role is MediaAttachment.Role.VOICEMAIL:
        return f"Hi, your voicemail of {sent} {came}. Could you please call or text us again?"
    return (
        f"Hi, the {what(media)} you sent us on {sent} {came}. Could you please send it again?"
        " Thank you!"
    )


def _in_app(number: str, ours: str | None, text: str) -> str:
    """The provider's URL that opens its phone app with this draft.

    Source: support.openphone.com, "Deep linking"; phones only.
    """
    given = {"number": number, "from": ours or "", "text": text}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items() if value)
    return f"openphone://message?{query}"


# --- Answers ---------------------------------------------------------------------------------


def _name(media: MediaAttachment) -> str:
    return f"{what(media).capitalize()} of {short_day(media.sent_at)}"


def _flash_with_undo(words: str, media: MediaAttachment, undo: str) -> None:
    flash_with_undo(words, url_for(undo, media_id=media.id), next=request.form.get("next"))


def _back(media: MediaAttachment) -> BaseResponse:
    if wanted := request.form.get("next"):
        return redirect(local_path(wanted), 303)
    return redirect(_message_url(media), 303)


def _message_url(media: MediaAttachment) -> str:
    return url_for(
        "conversations.pages.show",
        conversation_id=media.conversation_id,
        _anchor=f"message-{media.message_id}",
    )
