"""Login, logout, invitations, and each user's own account: password, devices, API tokens."""

import math
import uuid
from collections.abc import Iterable
from datetime import timedelta

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

from viewer.config import settings
from viewer.extensions import db
from viewer.models import ApiToken, User, UserSession
from viewer.office import accounts, audit, second_factor, throttle, totp
from viewer.web import access, confirmation, devices
from viewer.web.accounts import entering
from viewer.web.relying_party import find_relying_party

bp = Blueprint("account", __name__)

Page = tuple[str, int]
Scope = ApiToken.Scope

NOT_THE_SAME = "The two are not the same."
# What each scope of a token allows, in words, and the role without which it allows nothing.
SCOPES = {
    Scope.READ: ("reads conversations, files and work", User.Role.FIELD),
    Scope.LINK: ("links files to work", User.Role.FIELD),
    Scope.WRITE: ("changes whatever the API can change, links included", User.Role.OFFICE),
    Scope.METRICS: ("reads the metrics, for a monitor", User.Role.OWNER),
}
LASTS = (30, 90, 365)  # days offered for a new token
NO_INVITATION = (
    "This invitation was used already, or is older than a week. Ask an owner for a new one."
)


# -- login and logout ------------------------------------------------------------------------------


@bp.get("/login")
def login() -> str | Response:
    """Show the login form; redirect if already logged in."""
    if access.current_user():
        return redirect(access.local_path(request.args.get("next")))
    return render_template("accounts/login.html", email="", next=request.args.get("next", ""))


@bp.post("/login")
def enter() -> str | Response | Page:
    """Log in, rate limited; who has a second factor goes on to it.

    401 is the same for a wrong password and an unknown email address.
    """
    email, password = request.form.get("email", ""), request.form.get("password", "")
    user = accounts.find_user(email)
    known_hash = user.password_hash if user and user.is_enabled else None
    budget = devices.allowances(email, user)
    try:
        is_last = throttle.count_attempt(*budget)
    except throttle.TooMany as refusal:
        db.session.rollback()
        return _too_many(refusal, "accounts/login.html", email=email, next=_next())
    db.session.commit()  # release the transaction before the slow hash
    is_right = accounts.password_matches(known_hash, password)
    if user is None or not is_right or not accounts.still_has_password(user, known_hash):
        audit.count_failed_login(user, must_wait=is_last)
        db.session.commit()
        flash("That e-mail address and password do not belong together.", "error")
        return render_template("accounts/login.html", email=email, next=_next()), 401
    throttle.forget_failures(*budget)
    if user.has_second_factor:
        db.session.commit()
        return entering.ask_for_factor(user, access.local_path(_next()))
    return entering.welcome(user, access.local_path(_next()))


def _next() -> str:
    return request.form.get("next", "")


def _too_many(refusal: throttle.TooMany, template: str, **words: object) -> Response:
    flash(
        f"{confirmation.wait_words(refusal)} If it is urgent: a device where you logged in before"
        " may still work, and an owner can give you a link by which you choose a new password.",
        "error",
    )
    response = make_response(render_template(template, **words), 429)
    response.headers["Retry-After"] = str(math.ceil(refusal.wait.total_seconds()))
    return response


@bp.post("/logout")
def logout() -> Response:
    """Log out on this device, and clear its offline data."""
    audit.note("logout")
    access.end_session()
    db.session.commit()
    return _goodbye()


def _goodbye() -> Response:
    response = redirect(url_for(".login"), 303)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response


# -- invitations -----------------------------------------------------------------------------------


@bp.get("/invitations/<token>")
def invitation(token: str) -> Response:
    """Show the form to choose a password. A GET does not use up the token: messengers prefetch."""
    user = accounts.invited(token)
    if user is None:
        abort(404, NO_INVITATION)
    return _of_invitation(user)


@bp.post("/invitations/<token>")
def accept(token: str) -> Response:
    """Set the password and log in. The token works once. 404 if used or expired."""
    invited = accounts.invited(token)
    if invited is None:
        abort(404, NO_INVITATION)
    db.session.rollback()  # release the transaction before the slow hash
    chosen, errors = _new_password()
    if chosen is None:
        return _of_invitation(invited, errors)
    user = accounts.accept(token, chosen)
    if user is None:
        db.session.rollback()
        abort(404, NO_INVITATION)
    address = url_for("conversations.inbox.show")
    if user.has_second_factor:  # whoever got hold of the link still lacks that
        db.session.commit()
        return secretive(entering.ask_for_factor(user, address))
    return secretive(entering.welcome(user, address))


def _of_invitation(user: User, errors: dict[str, str] | None = None) -> Response:
    page = render_template(
        "accounts/invitation.html", invited=user, errors=errors or {}, shortest=accounts.SHORTEST
    )
    return secretive(make_response(page, 400 if errors else 200))


def secretive(response: Response) -> Response:
    """Set headers for a response with a secret in its URL or body: no Referer, no caching."""
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


def _new_password() -> tuple[str | None, dict[str, str]]:
    """Hash the new password if both inputs match; else return None and the errors by field."""
    password = request.form.get("new_password", "")
    if password != request.form.get("repeated", ""):
        return None, {"repeated": NOT_THE_SAME}
    try:
        return accounts.hash_password(password), {}
    except accounts.Refused as refusal:
        return None, {"new_password": str(refusal)}


# -- one's own account -----------------------------------------------------------------------------


@bp.get("/account")
def show() -> Response:
    """Show the user's own account, devices and API tokens."""
    return _own_page()


@bp.post("/account/password")
def change_password() -> Response:
    """Change the password; logs out every other device, and ends tokens unless they are kept."""
    user = access.the_user()
    known_hash = user.password_hash
    if wrong := confirmation.check_password(user, request.form.get("password", "")):
        return _own_page("password", {"password": wrong})
    chosen, errors = _new_password()
    if chosen is None:
        return _own_page("password", errors)
    if not accounts.still_has_password(user, known_hash):
        return _own_page("password", {"password": confirmation.WRONG_PASSWORD})
    accounts.set_password(user, chosen, keeps_tokens="keeps_tokens" in request.form)
    access.start_session(user)
    db.session.commit()
    flash("Your password is changed, and every other device is logged out.", "done")
    return redirect(url_for(".show"), 303)


@bp.post("/account/devices/<uuid:session_id>/logout")
def end_device(session_id: uuid.UUID) -> Response:
    """Log out on one device. Idempotent."""
    here = access.current_session()
    if here is not None and here.id == session_id:
        return logout()
    if accounts.end_session(access.the_user(), session_id):
        audit.note("logout", "on another device")
    db.session.commit()
    flash("That device is logged out.", "done")
    return redirect(url_for(".show", _anchor="devices"), 303)


@bp.post("/account/devices/known")
def know_devices() -> Response:
    """Say that the new devices are one's own. A new device cannot say so of itself."""
    user, here = access.the_user(), access.current_session()
    if here is not None:
        sessions = db.session.scalars(sa.select(UserSession).filter_by(user_id=user.id)).all()
        for session in _strange_to(here, sessions):
            session.is_new_device = False
    db.session.commit()
    return redirect(url_for(".show", _anchor="devices"), 303)


@bp.post("/account/devices/logout")
def end_everywhere() -> Response:
    """Log out on every device, including this one."""
    audit.note("logout", "on every device")
    accounts.end_sessions(access.the_user())
    access.end_session()
    db.session.commit()
    return _goodbye()


@bp.post("/account/tokens")
@access.recent_login_required
def add_token() -> Response:
    """Create an API token, shown only this once."""
    user = access.the_user()
    try:
        token = accounts.add_token(
            user,
            request.form.get("name", ""),
            _scopes(),
            lasts=_lasts(),
            outlives_password="outlives_password" in request.form,
        )
    except accounts.Refused as refusal:
        return _own_page("token", {"name": str(refusal)})
    db.session.commit()
    return _own_page(token=token)


def _scopes() -> list[Scope]:
    wanted = request.form.getlist("scope")
    return [scope for scope in Scope if scope in wanted]


def _lasts() -> timedelta | None:
    """How long the token is to last; None: it has no end. What is not offered is the default."""
    wanted = request.form.get("lasts", "")
    if wanted == "no-end":
        return None
    return timedelta(days=int(wanted)) if wanted in map(str, LASTS) else accounts.TOKEN_LASTS


@bp.post("/account/tokens/<uuid:token_id>/revoke")
def revoke_token(token_id: uuid.UUID) -> Response:
    """Revoke an API token. Idempotent."""
    accounts.revoke_token(access.the_user(), token_id)
    db.session.commit()
    flash("That token opens nothing any more.", "done")
    return redirect(url_for(".show", _anchor="tokens"), 303)


def _own_page(
    form: str = "", errors: dict[str, str] | None = None, token: str | None = None
) -> Response:
    """Render the account page. `form` is the one with `errors`; `token` is shown only this once."""
    user, here = access.the_user(), access.current_session()
    sessions = db.session.scalars(
        sa.select(UserSession)
        .filter_by(user_id=user.id)
        .order_by(UserSession.seen_at.desc(), UserSession.id)
        .limit(100)
    ).all()
    tokens = db.session.scalars(
        sa.select(ApiToken).filter_by(user_id=user.id).order_by(ApiToken.created_at, ApiToken.id)
    ).all()
    page = render_template(
        "accounts/account.html",
        sessions=sessions,
        here=here,
        strange=_strange_to(here, sessions) if here is not None else [],
        tokens=tokens,
        token=token,
        form=form,
        errors=errors or {},
        has_app=user.totp_secret is not None,
        is_app_readable=user.totp_secret is None or _can_read_app(user),
        passkeys=second_factor.passkeys_of(user),
        takes_passkeys=find_relying_party() is not None,
        codes_left=second_factor.codes_left(user) if user.has_second_factor else 0,
        lacks_factor=access.lacks_factor(user, settings()),
        scopes={s: words for s, (words, role) in SCOPES.items() if user.role.covers(role)},
        lasts=LASTS,
        typed=_typed_token() if form == "token" else NEW_TOKEN,
        shortest=accounts.SHORTEST,
    )
    response = make_response(page, 400 if errors else 200)
    return secretive(response) if token else response


def _strange_to(here: UserSession, sessions: Iterable[UserSession]) -> list[UserSession]:
    """The logins on new devices that this one can judge: not its own, nor those before it if it is
    new itself."""
    return [
        one
        for one in sessions
        if one.is_new_device
        and one.id != here.id
        and (not here.is_new_device or one.created_at > here.created_at)
    ]


def _can_read_app(user: User) -> bool:
    return totp.unseal(user.totp_secret or "", user.id) is not None


NEW_TOKEN = {
    "name": "",
    "scopes": [Scope.READ],
    "lasts": str(accounts.TOKEN_LASTS.days),
    "outlives_password": False,
}


def _typed_token() -> dict[str, object]:
    form = request.form
    return {
        "name": form.get("name", ""),
        "scopes": _scopes(),
        "lasts": form.get("lasts", ""),
        "outlives_password": "outlives_password" in form,
    }


bp.app_template_filter("device")(devices.device_words)
