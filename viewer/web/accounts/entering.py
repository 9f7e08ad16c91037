"""The end of each way in: a password, a second factor, a passkey or an invitation."""

import uuid

from flask import flash, redirect, request, session, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db, now
from viewer.models import User, fingerprint
from viewer.office import audit, mail
from viewer.web import access, devices
from viewer.web.formatting import exact_time

SECOND_STEP_LASTS = 600  # seconds from the right password to the second factor


def welcome(user: User, address: str, words: str = "") -> Response:
    """Log the user in on this device, and go on to this address. Commits."""
    is_new_device = not devices.is_known_to(user)
    access.start_session(user, is_new_device=is_new_device)
    audit.note("login", words, by=user)
    if is_new_device:
        _tell_of_new_device(user)
    if user.factors_reset_at is not None:
        flash(
            f"Your second factor was reset on {exact_time(user.factors_reset_at)}. If you did not"
            " ask for that, change your password and tell an owner. Set up a new one below.",
            "error",
        )
        user.factors_reset_at, address = None, url_for("accounts.account.show", _anchor="factors")
    db.session.commit()
    response = redirect(address, 303)
    response.headers["Clear-Site-Data"] = '"storage"'  # offline data of another user of this device
    devices.remember(response, user)
    return response


def _tell_of_new_device(user: User) -> None:
    where = devices.device_words(request.headers.get("User-Agent"))
    mail.send_notice(
        user, "A login on a new device", f"Somebody logged in as you with {where}, which is new."
    )


def ask_for_factor(user: User, address: str) -> Response:
    """After the right password: go on to the second factor. The cookie is signed, not a login."""
    access.end_session()
    session["pending"] = [str(user.id), _state_of(user), int(now().timestamp())]
    return redirect(url_for("accounts.second_step.ask", next=address), 303)


def pending_user() -> User | None:
    """Who gave the right password on this device a few minutes ago, and is to give a factor."""
    try:
        user_id, state, at = session.get("pending") or (None, None, 0)
        is_over = now().timestamp() > at + SECOND_STEP_LASTS
    except (TypeError, ValueError):
        return None
    if user_id is None or is_over:
        return None
    user = db.session.get(User, uuid.UUID(user_id))
    if user is None or not user.is_enabled or _state_of(user) != state:
        return None
    return user


def _state_of(user: User) -> str:
    """Changes with the password: the first step is void then."""
    return fingerprint(user.password_hash or "")[:16]
