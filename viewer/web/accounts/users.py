"""User management, for owners: add, change, invite, disable, enable."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from flask import (
    Blueprint,
    abort,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import User, UserSession
from viewer.office import accounts, second_factor
from viewer.web.access import Role, needs, recent_login_required
from viewer.web.accounts.account import secretive
from viewer.web.layout import absolute_url

bp = Blueprint("users", __name__, url_prefix="/users")

# Permissions of each role; shown wherever a role can be chosen.
ROLES = {
    Role.FIELD: "sees conversations, plays voicemails, links photos",
    Role.OFFICE: "also edits quotes, appointments and invoices, shares, tries again",
    Role.OWNER: "also manages users, status and storage",
}


@bp.get("")
@needs(Role.OWNER)
def index() -> Response:
    """List all users, enabled ones first."""
    return _list()


@bp.post("")
@needs(Role.OWNER)
@recent_login_required
def add() -> Response:
    """Add a user, and show the invitation link by which they choose a password."""
    role = _role()
    if role is None:
        return _list({"role": "Choose what they may do."})
    try:
        user = accounts.add(request.form.get("email", ""), role, request.form.get("name", ""))
        token = accounts.invite(user)
    except accounts.Refused as refusal:
        db.session.rollback()
        return _list({"email": str(refusal)})
    db.session.commit()
    return _show(user, token=token)


@bp.get("/<uuid:user_id>")
@needs(Role.OWNER)
def show(user_id: uuid.UUID) -> Response:
    """Show one user: name, role, invitation, whether enabled."""
    return _show(_find_user(user_id))


@bp.post("/<uuid:user_id>")
@needs(Role.OWNER)
@recent_login_required
def change(user_id: uuid.UUID) -> Response:
    """Change name or role; takes effect on the user's next request."""
    user, role = _find_user(user_id), _role()
    if role is None:
        return _show(user, {"role": "Choose what they may do."})
    try:
        accounts.change(user, role=role, name=request.form.get("name", ""))
    except accounts.Refused as refusal:
        db.session.rollback()
        return _show(user, {"role": str(refusal)})
    db.session.commit()
    flash("Saved.", "done")
    return _back(user)


@bp.post("/<uuid:user_id>/invitations")
@needs(Role.OWNER)
@recent_login_required
def invite(user_id: uuid.UUID) -> Response:
    """Create a link to choose a password: an invitation, or a password reset."""
    user = _find_user(user_id)
    try:
        token = accounts.invite(user)
    except accounts.Refused as refusal:
        db.session.rollback()
        return _show(user, {"invitation": str(refusal)})
    db.session.commit()
    return _show(user, token=token)


@bp.post("/<uuid:user_id>/disable")
@needs(Role.OWNER)
@recent_login_required
def disable(user_id: uuid.UUID) -> Response:
    """Disable a user: ends all sessions and revokes API tokens at once. Idempotent."""
    user = _find_user(user_id)
    try:
        accounts.disable(user)
    except accounts.Refused as refusal:
        db.session.rollback()
        return _show(user, {"disable": str(refusal)})
    db.session.commit()
    flash(f"{user.title} is logged out everywhere and cannot log in.", "done")
    return _back(user)


@bp.post("/<uuid:user_id>/factor-reset")
@needs(Role.OWNER)
@recent_login_required
def reset_factor(user_id: uuid.UUID) -> Response:
    """Take a user's second factors away, as they are lost; ends all their sessions. Idempotent."""
    user = _find_user(user_id)
    second_factor.reset(user)
    db.session.commit()
    flash(
        f"{user.title} logs in with the password alone, and is logged out everywhere. Ask them to"
        " set up a new second factor.",
        "done",
    )
    return _back(user)


@bp.post("/<uuid:user_id>/enable")
@needs(Role.OWNER)
@recent_login_required
def enable(user_id: uuid.UUID) -> Response:
    """Enable a user. Idempotent."""
    user = _find_user(user_id)
    accounts.enable(user)
    db.session.commit()
    flash(f"{user.title} may log in again.", "done")
    return _back(user)


def _find_user(user_id: uuid.UUID) -> User:
    user = db.session.get(User, user_id)
    if user is None:
        abort(404, "There is no such user.")
    return user


def _role() -> Role | None:
    try:
        return Role(request.form.get("role", ""))
    except ValueError:
        return None


def _back(user: User) -> Response:
    return redirect(url_for(".show", user_id=user.id), 303)


def _list(errors: dict[str, str] | None = None) -> Response:
    users = db.session.scalars(
        sa.select(User).order_by(User.disabled_at.is_not(None), User.email)
    ).all()
    page = render_template(
        "accounts/users.html",
        users=users,
        seen=_last_seen([user.id for user in users]),
        roles=ROLES,
        errors=errors or {},
        typed=request.form,
    )
    return make_response(page, 400 if errors else 200)


def _show(user: User, errors: dict[str, str] | None = None, token: str | None = None) -> Response:
    """Render the user's page. `token` is the secret of an invitation, shown only this once."""
    page = render_template(
        "accounts/user.html",
        person=user,
        seen=_last_seen([user.id]).get(user.id),
        roles=ROLES,
        errors=errors or {},
        chosen=_role() or user.role,
        is_invited=token is not None,
        link=absolute_url("accounts.account.invitation", token=token) if token else None,
        days=accounts.INVITATION_LASTS.days,
    )
    response = make_response(page, 400 if errors else 200)
    return secretive(response) if token else response


def _last_seen(ids: list[uuid.UUID]) -> dict[uuid.UUID, datetime]:
    rows = db.session.execute(
        sa.select(UserSession.user_id, sa.func.max(UserSession.seen_at).label("seen_at"))
        .where(UserSession.user_id.in_(ids))
        .group_by(UserSession.user_id)
    )
    return {row.user_id: row.seen_at for row in rows}
