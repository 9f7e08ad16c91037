"""One's own second factors: passkeys, an authenticator app, recovery codes."""

import uuid

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.office import passkeys, second_factor, totp
from viewer.office.accounts import Refused
from viewer.web import access
from viewer.web.access import recent_login_required
from viewer.web.accounts.account import secretive
from viewer.web.relying_party import find_relying_party

bp = Blueprint("factors", __name__, url_prefix="/account")

NO_PASSKEY = "The passkey was not added. Try again, or use another device."


@bp.get("/authenticator")
@recent_login_required
def app() -> Response:
    """Show a new key for an authenticator app, as a QR code and in letters."""
    return _setup(totp.new_secret())


@bp.post("/authenticator")
@recent_login_required
def add_app() -> Response:
    """Set the app up, once it shows the right code. It replaces the one from before."""
    user = access.the_user()
    secret = totp.unseal(request.form.get("key", ""), user.id)
    if secret is None:
        return redirect(url_for(".app"), 303)
    try:
        codes = second_factor.add_app(user, secret, request.form.get("code", ""))
    except Refused as refusal:
        db.session.rollback()
        return _setup(secret, {"code": str(refusal)})
    db.session.commit()
    return _done("The authenticator app is set up.", codes)


@bp.post("/authenticator/removal")
@recent_login_required
def remove_app() -> Response:
    """Remove the authenticator app. Idempotent."""
    try:
        second_factor.remove_app(access.the_user())
    except Refused as refusal:
        return _refused(refusal)
    db.session.commit()
    return _done("The authenticator app is removed.", [])


@bp.post("/passkeys/options")
@recent_login_required
def passkey_options() -> Response:
    """What the browser needs to make a passkey."""
    party = find_relying_party()
    if party is None:
        return _json('{"message": "Passkeys do not work at this address."}', 404)
    options = passkeys.registration_options(party, access.the_user())
    db.session.commit()
    return _json(options)


@bp.post("/passkeys")
@recent_login_required
def add_passkey() -> Response:
    """Add the passkey that the browser made."""
    user, party, form = access.the_user(), find_relying_party(), request.form
    try:
        if party is None:
            raise passkeys.NotProven("no passkeys at this address")
        passkey = passkeys.register(party, user, form.get("credential", ""), form.get("name", ""))
        codes = second_factor.add_passkey(user, passkey)
    except passkeys.NotProven:
        db.session.commit()  # the challenge is used up all the same
        flash(NO_PASSKEY, "error")
        return _back()
    except Refused as refusal:
        return _refused(refusal)
    db.session.commit()
    return _done(f"The passkey “{passkey.name}” is added.", codes)


@bp.post("/passkeys/<uuid:passkey_id>/removal")
@recent_login_required
def remove_passkey(passkey_id: uuid.UUID) -> Response:
    """Remove a passkey. Idempotent."""
    try:
        second_factor.remove_passkey(access.the_user(), passkey_id)
    except Refused as refusal:
        return _refused(refusal)
    db.session.commit()
    return _done("The passkey is removed.", [])


@bp.post("/recovery-codes")
@recent_login_required
def new_codes() -> Response:
    """Make new recovery codes, shown only this once; the old ones work no more."""
    user = access.the_user()
    if not user.has_second_factor:
        return _back()
    codes = second_factor.new_codes(user)
    db.session.commit()
    return _done("These are your new recovery codes. The old ones open nothing any more.", codes)


def _setup(secret: str, errors: dict[str, str] | None = None) -> Response:
    user = access.the_user()
    page = render_template(
        "accounts/authenticator.html",
        qr_code=Markup(totp.draw_qr_code(secret, user.email)),  # noqa: S704 - segno's own drawing
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        key=totp.seal(secret, user.id),
        errors=errors or {},
    )
    return secretive(make_response(page, 400 if errors else 200))


def _done(words: str, codes: list[str]) -> Response:
    """Back to the account; recovery codes are shown on the way, once."""
    if not codes:
        flash(words, "done")
        return _back()
    page = render_template("accounts/recovery_codes.html", words=words, codes=codes)
    return secretive(make_response(page))


def _refused(refusal: Refused) -> Response:
    db.session.rollback()
    flash(str(refusal), "error")
    return _back()


def _back() -> Response:
    return redirect(url_for("accounts.account.show", _anchor="factors"), 303)


def _json(words: str, status: int = 200) -> Response:
    response = make_response(words, status)
    response.mimetype = "application/json"
    response.headers["Cache-Control"] = "no-store"
    return response
