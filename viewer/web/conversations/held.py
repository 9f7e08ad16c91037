"""What is held about a customer: hand it out, have it forgotten; and their consent to recordings.

No address has a number in it: addresses end up in the logs of proxies.
"""

import uuid

import sqlalchemy as sa
from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer import quo
from viewer.config import settings
from viewer.extensions import db
from viewer.models import Conversation, Forgetting, Message, RecordingConsent
from viewer.office import audit, disclosure, forgetting
from viewer.office.names import names_of, title_of
from viewer.web.access import Role, needs, recent_login_required, the_user
from viewer.web.conversations.archive import archive_of
from viewer.web.media import zips
from viewer.web.redirects import find_conversation

bp = Blueprint("held", __name__)

REASONS = {
    Forgetting.Reason.REQUEST: "The customer asked for it",
    Forgetting.Reason.CONSENT: "The customer took back a consent",
    Forgetting.Reason.PURPOSE: "It is needed for nothing any more",
    Forgetting.Reason.MISTAKE: "It came by mistake",
    Forgetting.Reason.ORDER: "A court or an authority ordered it",
}
CONSENTS = {
    RecordingConsent.UNKNOWN: "Not known",
    RecordingConsent.ANNOUNCED: "Recording was announced, and they stayed on the line",
    RecordingConsent.AGREED: "They agreed",
    RecordingConsent.REFUSED: "They refused",
}
STATES = {
    Forgetting.State.WAITING: "Waiting",
    Forgetting.State.REVOKED: "Taken back",
    Forgetting.State.ERASING: "Being erased",
    Forgetting.State.CLEARING: "Files are being erased",
    Forgetting.State.COMPACTING: "Last traces go tonight",
    Forgetting.State.DONE: "Forgotten",
}
# A snapshot is kept for twelve months that have one; a month is given to the last of them.
IN_BACKUPS = 13  # months
PAGE = 200  # receipts


# --- Everything held ---------------------------------------------------------------------------


@bp.get("/conversations/<uuid:conversation_id>/held")
@needs(Role.OWNER)
def show(conversation_id: uuid.UUID) -> str:
    """Show what is held about one of the people of a conversation."""
    return _page(*_find(conversation_id))


@bp.post("/conversations/<uuid:conversation_id>/held/archive")
@needs(Role.OWNER)
@recent_login_required
def archive(conversation_id: uuid.UUID) -> Response:
    """Download everything as a ZIP. 503 if the store does not answer."""
    _, number = _find_named(conversation_id)
    made = disclosure.disclose(number)
    if made is None:
        abort(404, "Nothing is held about this customer.")
    found = archive_of(made)
    disclosure.note_disclosure(made)
    db.session.commit()
    return zips.answer(found.entries, found.file_name, found.texts, is_about_texts=True)


@bp.post("/conversations/<uuid:conversation_id>/held/forgetting")
@needs(Role.OWNER)
@recent_login_required
def forget(conversation_id: uuid.UUID) -> Response | tuple[str, int]:
    """Have the customer forgotten after the waiting time."""
    conversation, number = _find_named(conversation_id)
    try:
        reason = Forgetting.Reason(request.form.get("reason", ""))
    except ValueError:
        return _page(conversation, number, "Choose a reason."), 422
    if not request.form.get("sure"):
        return _page(conversation, number, "Tick the box: it cannot be undone."), 422
    try:
        found = forgetting.ask(number, reason, request.form.get("note", ""), the_user())
    except forgetting.NotOne as refusal:
        return _page(conversation, number, str(refusal)), 422
    except (forgetting.UnderWay, forgetting.NothingHeld):
        flash("That was asked for already.", "error")
    else:
        db.session.commit()
        flash(f"They will be forgotten from {found.due_at:%B} {found.due_at.day} on.", "done")
    person = conversation.numbers.index(number) + 1
    return redirect(url_for(".show", conversation_id=conversation.id, person=person), 303)


def _find(conversation_id: uuid.UUID) -> tuple[Conversation, str]:
    """The conversation, and the number of the one of its people that `?person=` counts to.

    Aborts with 404.
    """
    conversation = find_conversation(conversation_id)
    person = request.args.get("person", 1, int)
    if not 1 <= person <= len(conversation.numbers):
        abort(404, "Nobody like that takes part in this conversation.")
    number = conversation.numbers[person - 1]
    if not quo.is_number(number):
        abort(404, "This is no phone number of one customer.")
    return conversation, number


def _find_named(conversation_id: uuid.UUID) -> tuple[Conversation, str]:
    """The same for a form, which names the number: who takes part may have changed meanwhile."""
    conversation, number = _find(conversation_id)
    if request.form.get("number") != number:
        abort(409, "Who takes part in this conversation has changed. Load the page again.")
    return conversation, number


def _page(conversation: Conversation, number: str, error: str | None = None) -> str:
    held = forgetting.held_of(number)
    waiting = forgetting.of_number(number)
    since = waiting and db.session.scalar(
        sa.select(sa.func.count())
        .select_from(Message)
        .where(held.messages(), Message.created_at > waiting.asked_at)
    )
    return render_template(
        "customers/held.html",
        conversation=conversation,
        person=conversation.numbers.index(number) + 1,
        number=number,
        held=held,
        counts={kind: count for kind, count in held.counts().items() if count},
        waiting=waiting,
        since=since,
        reasons=REASONS,
        states=STATES,
        days=settings().FORGET_AFTER_DAYS,
        months=IN_BACKUPS,
        has_backups=bool(settings().BACKUP_TARGETS),
        error=error,
    )


# --- Receipts ----------------------------------------------------------------------------------


@bp.get("/forgotten")
@needs(Role.OWNER)
def receipts() -> str:
    """List who waits to be forgotten, and the receipts of the others."""
    found = db.session.scalars(
        sa.select(Forgetting).order_by(Forgetting.asked_at.desc(), Forgetting.id).limit(PAGE)
    ).all()
    return render_template(
        "customers/receipts.html",
        forgettings=found,
        names=names_of({one.number for one in found if one.number}),
        reasons=REASONS,
        states=STATES,
        months=IN_BACKUPS,
    )


@bp.post("/forgotten/<uuid:forgetting_id>/revocation")
@needs(Role.OWNER)
def revoke(forgetting_id: uuid.UUID) -> Response:
    """Leave the customer as they are. Idempotent."""
    if db.session.get(Forgetting, forgetting_id) is None:
        abort(404, "There is no such request.")
    try:
        forgetting.revoke(forgetting_id, the_user())
    except forgetting.TooLate:
        flash("It is too late: it has begun.", "error")
    else:
        db.session.commit()
        flash("The customer stays.", "done")
    return redirect(url_for(".receipts"), 303)


# --- Consent -----------------------------------------------------------------------------------


@bp.get("/conversations/<uuid:conversation_id>/consent")
@needs(Role.OFFICE)
def consent(conversation_id: uuid.UUID) -> str:
    """Show what the customer said to calls being recorded."""
    conversation = find_conversation(conversation_id)
    return render_template(
        "customers/consent.html",
        conversation=conversation,
        title=title_of(conversation, names_of(conversation.numbers)),
        consents=CONSENTS,
    )


@bp.post("/conversations/<uuid:conversation_id>/consent")
@needs(Role.OFFICE)
def set_consent(conversation_id: uuid.UUID) -> Response:
    """Note what the customer said to calls being recorded. Idempotent."""
    conversation = find_conversation(conversation_id)
    try:
        said = RecordingConsent(request.form.get("consent", ""))
    except ValueError:
        abort(400, "That is none of the answers.")
    if conversation.recording_consent is not said:
        conversation.recording_consent = said
        audit.note("consent", said.value, subject=("conversation", conversation.id))
    db.session.commit()
    flash("Noted.", "done")
    return redirect(url_for(".consent", conversation_id=conversation.id), 303)
