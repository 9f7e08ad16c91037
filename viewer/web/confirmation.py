"""Confirm who it is before a grave act: a browser left open must not do it for anybody.

A view marked with `access.recent_login_required` runs if its user logged in, or confirmed, in the
last ten minutes. Otherwise they are asked for the password, a code, or a passkey. A form that was
sent comes back with the question, in hidden fields, and is sent again to the same address with the
answer: nothing typed is lost, and it works without JavaScript. A page that was asked for follows
the question.
"""

import math
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask, abort, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import begin_writing, db, now
from viewer.models import User, UserSession
from viewer.office import accounts, audit, passkeys, second_factor, throttle
from viewer.web import access, devices
from viewer.web.relying_party import find_relying_party

LASTS = timedelta(minutes=10)
FIELDS = ("confirm_password", "confirm_code", "confirm_passkey")
WRONG_PASSWORD = "That is not your password."  # noqa: S105
WRONG_PASSKEY = "That passkey did not work here. Try again, or take another way."


def init_app(app: Flask) -> None:
    """Call it after access.init_app: the form token is checked before the password is."""
    app.before_request(_ask_before_grave_acts)


def require() -> None:
    """In a view, before it does something grave. Does not return if it must be asked first.

    Raises an HTTP exception with the question; the form comes back whole, as with the decorator.
    """
    if (question := _question()) is not None:
        abort(question)


def _ask_before_grave_acts() -> Response | None:
    endpoint = request.endpoint
    if endpoint is None or not access.needs_recent_login(endpoint):
        return None
    return _question()


def _question() -> Response | None:
    """The page that asks; None if they proved who they are, now or a few minutes ago."""
    here = access.current_session()
    if here is None or is_recent(here):
        return None  # without a session: the gate has refused it, or a token's scopes decide
    if request.method in ("GET", "HEAD"):
        path = request.full_path.rstrip("?")
        return redirect(url_for("accounts.confirm.ask", next=path), 302)
    errors: dict[str, str] = {}
    if any(request.form.get(name) for name in FIELDS):
        errors = check(access.the_user(), here)
        if not errors:
            return None
    form = [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name != "csrf_token" and name not in FIELDS
    ]
    return show(request.full_path.rstrip("?"), form, errors)


def is_recent(session: UserSession) -> bool:
    return session.confirmed_at is not None and now() < session.confirmed_at + LASTS


def show(
    action: str, form: list[tuple[str, str]], errors: dict[str, str], status: int = 403
) -> Response:
    """The question, as a form for this address. 403: what was sent is not done yet."""
    user = access.the_user()
    page = render_template(
        "accounts/confirm.html",
        action=action,
        form=form,
        errors=errors,
        has_app=user.totp_secret is not None,
        has_passkeys=find_relying_party() is not None and bool(second_factor.passkeys_of(user)),
        has_password=user.password_hash is not None,
        minutes=int(LASTS / timedelta(minutes=1)),
    )
    response = make_response(page, status)
    response.headers["Cache-Control"] = "no-store"
    return response


def check(user: User, session: UserSession) -> dict[str, str]:
    """Check what the form proves, rate limited; returns the errors by field. Commits."""
    field = next((name for name in FIELDS if request.form.get(name)), FIELDS[0])
    proof = request.form.get(field, "")
    if field == "confirm_password":
        error = check_password(user, proof)
    elif field == "confirm_code":
        error = _check_code(user, proof)
    else:
        error = _check_passkey(user, proof)
    if error:
        return {field: error}
    begin_writing()
    confirmed = sa.update(UserSession).filter_by(id=session.id).values(confirmed_at=now())
    db.session.execute(confirmed)
    audit.note("confirm", field.removeprefix("confirm_"))
    db.session.commit()
    return {}


def check_password(user: User, password: str) -> str | None:
    """Check the user's own password, rate limited: return the error to show, or None.

    Commits before hashing: the slow hash must not hold a transaction.
    """
    budget = throttle.Allowance(f"password:{user.id}", free=10, memory=timedelta(days=1))
    try:
        throttle.count_attempt(budget)
    except throttle.TooMany as refusal:
        db.session.rollback()
        return wait_words(refusal)
    known_hash = user.password_hash
    db.session.commit()
    if not accounts.password_matches(known_hash, password):
        return WRONG_PASSWORD
    throttle.forget_failures(budget)
    db.session.commit()
    return None


def _check_code(user: User, code: str) -> str | None:
    budget = devices.factor_allowance(user)
    try:
        throttle.count_attempt(budget)
    except throttle.TooMany as refusal:
        db.session.rollback()
        return wait_words(refusal)
    if second_factor.check_code(user, code) is None:
        db.session.commit()
        return second_factor.WRONG_CODE
    throttle.forget_failures(budget)
    db.session.commit()
    return None


def _check_passkey(user: User, answer: str) -> str | None:
    party = find_relying_party()
    try:
        if party is None:
            return WRONG_PASSKEY
        passkeys.authenticate(party, user, answer)
    except passkeys.NotProven:
        db.session.commit()  # the challenge is used up all the same
        return WRONG_PASSKEY
    db.session.commit()
    return None


def wait_words(refusal: throttle.TooMany) -> str:
    minutes = math.ceil(refusal.wait / timedelta(minutes=1))
    return (
        "That was wrong too often. Wait"
        f" {'a minute' if minutes == 1 else f'{minutes} minutes'}, then try again."
    )
