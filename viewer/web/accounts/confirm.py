"""The page that asks again who it is, for pages; forms come back by themselves."""

from flask import Blueprint, make_response, redirect, request, url_for
from werkzeug.wrappers import Response

from viewer.extensions import db
from viewer.office import passkeys
from viewer.web import access, confirmation
from viewer.web.relying_party import find_relying_party

bp = Blueprint("confirm", __name__, url_prefix="/confirm")


@bp.get("")
def ask() -> Response:
    """Ask, then go on to `next`; there at once if they proved it a few minutes ago."""
    here = access.current_session()
    if here is not None and confirmation.is_recent(here):
        return redirect(access.local_path(request.args.get("next")), 302)
    return _show({}, 200)


@bp.post("")
def check() -> Response:
    """Check the password, code or passkey."""
    here = access.current_session()
    errors = confirmation.check(access.the_user(), here) if here is not None else {}
    if errors:
        return _show(errors, 403)
    return redirect(access.local_path(request.form.get("next")), 303)


@bp.post("/passkey/options")
def passkey_options() -> Response:
    """A challenge for one of the user's passkeys."""
    party = find_relying_party()
    if party is None:
        return make_response({"message": "Passkeys do not work at this address."}, 404)
    options = passkeys.authentication_options(party, access.the_user())
    db.session.commit()
    response = make_response(options)
    response.mimetype = "application/json"
    response.headers["Cache-Control"] = "no-store"
    return response


def _show(errors: dict[str, str], status: int) -> Response:
    form = [("next", request.values.get("next", ""))]
    return confirmation.show(url_for(".check"), form, errors, status)
