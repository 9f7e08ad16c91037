"""The second step of a login, after the password; and the passkey, which needs no password."""

import math

from flask import Blueprint, flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.models import User
from viewer.office import accounts, audit, passkeys, second_factor, throttle
from viewer.plurals import plural
from viewer.web import access, confirmation, devices
from viewer.web.accounts import entering
from viewer.web.relying_party import find_relying_party

bp = Blueprint("second_step", __name__)

NO_PASSKEY = "That passkey does not log in here. Use your password."


@bp.get("/login/factor")
def ask() -> str | Response:
    """Ask for a code or a passkey; back to the login if no password was right just before."""
    user = entering.pending_user()
    if user is None:
        return redirect(url_for("accounts.account.login", next=request.args.get("next")))
    return _page(user)


@bp.post("/login/factor")
def check() -> Response | tuple[str, int]:
    """Log in with the code of an authenticator app, or a recovery code, rate limited."""
    user = entering.pending_user()
    if user is None:
        flash("That took too long, or your password was changed. Begin again.", "error")
        return redirect(url_for("accounts.account.login", next=request.form.get("next")), 303)
    budget = devices.factor_allowance(user)
    try:
        is_last = throttle.count_attempt(budget)
    except throttle.TooMany as refusal:
        db.session.rollback()
        return _too_many(refusal, user)
    used = second_factor.check_code(user, request.form.get("code", ""))
    if used is None or not accounts.still_has_password(user, user.password_hash):
        audit.count_failed_login(user, must_wait=is_last)
        db.session.commit()
        flash(second_factor.WRONG_CODE, "error")
        return _page(user), 401
    throttle.forget_failures(budget)
    left = second_factor.codes_left(user) if used == second_factor.RECOVERY else None
    answer = entering.welcome(user, _next(), f"with {used}")
    if left is not None:
        words = f"You used a recovery code. {left} {plural(left, 'code')} left."
        flash(f"{words} Make new ones on your account page before you run out.", "error")
    return answer


@bp.post("/login/passkey/options")
def passkey_options() -> Response:
    """A challenge for a passkey, for whoever is there."""
    party = find_relying_party()
    if party is None:
        return _json('{"message": "Passkeys do not work at this address."}', 404)
    try:
        throttle.count_attempt(devices.passkey_allowance())  # given back by a login
    except throttle.TooMany as refusal:
        db.session.rollback()
        return _json('{"message": "Too many tries. Wait, or use your password."}', 429, refusal)
    options = passkeys.authentication_options(party, None)
    db.session.commit()
    return _json(options)


@bp.post("/login/passkey")
def use_passkey() -> Response | tuple[str, int]:
    """Log in with a passkey alone: it verified its user, and proves this host."""
    party = find_relying_party()
    try:
        if party is None:
            raise passkeys.NotProven("no passkeys at this address")
        passkey = passkeys.authenticate(party, None, request.form.get("credential", ""))
        user = db.session.get(User, passkey.user_id)
        if user is None or not accounts.still_has_password(user, user.password_hash):
            raise passkeys.NotProven("its user is disabled")
    except passkeys.NotProven:
        db.session.commit()  # the challenge is used up all the same
        flash(NO_PASSKEY, "error")
        return render_template("accounts/login.html", email="", next=_raw_next()), 401
    throttle.forget_failures(devices.passkey_allowance())
    return entering.welcome(user, _next(), f"with the passkey {passkey.name}")


def _page(user: User) -> str:
    return render_template(
        "accounts/second_step.html",
        next=request.values.get("next", ""),
        takes_passkeys=find_relying_party() is not None and bool(second_factor.passkeys_of(user)),
    )


def _next() -> str:
    return access.local_path(_raw_next())


def _raw_next() -> str:
    return request.form.get("next", "")


def _too_many(refusal: throttle.TooMany, user: User) -> Response:
    flash(
        f"{confirmation.wait_words(refusal)} If it is urgent: an owner can reset your second"
        " factor.",
        "error",
    )
    response = make_response(_page(user), 429)
    response.headers["Retry-After"] = str(math.ceil(refusal.wait.total_seconds()))
    return response


def _json(words: str, status: int = 200, refusal: throttle.TooMany | None = None) -> Response:
    response = make_response(words, status)
    response.mimetype = "application/json"
    response.headers["Cache-Control"] = "no-store"
    if refusal is not None:
        response.headers["Retry-After"] = str(math.ceil(refusal.wait.total_seconds()))
    return response
