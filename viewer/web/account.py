"""The door for people: login and logout."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.office import accounts, audit
from viewer.web import access

bp = Blueprint("account", __name__)


@bp.get("/login")
def login() -> str | Response:
    """The form, unless somebody is logged in already."""
    if access.current_user():
        return redirect(access.local_path(request.args.get("next")))
    return render_template("account/login.html", email="", next=request.args.get("next", ""))


@bp.post("/login")
def enter() -> str | Response | tuple[str, int]:
    """Log in. The answer is the same for a wrong password and for a name nobody has."""
    email, password = request.form.get("email", ""), request.form.get("password", "")
    user = accounts.find(email)
    known_hash = user.password_hash if user and user.is_enabled else None
    db.session.rollback()  # nobody waits for the database while this hashes
    if user is None or not accounts.matches(known_hash, password):
        flash("That e-mail address and password do not belong together.", "error")
        return (
            render_template("account/login.html", email=email, next=request.form.get("next", "")),
            401,
        )
    access.start_session(user)
    audit.note("login", by=user)
    db.session.commit()
    return redirect(access.local_path(request.form.get("next")), 303)


@bp.post("/logout")
def logout() -> Response:
    """Log out on this device, and forget on it what was kept for bad links."""
    audit.note("logout")
    access.end_session()
    db.session.commit()
    response = redirect(url_for(".login"), 303)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    return response
