"""Authentication and authorization. Deny by default: only the allow-list `OPEN` needs no login.

Sessions are server-side: the cookie holds a random token, and the `UserSession` row with its
fingerprint is the session, so deleting the row ends the login. No Flask-Login: it would add a proxy
for the user and a second, unused way to stay logged in.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.orm import joinedload
from sqlalchemy.orm.attributes import set_committed_value
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from viewer.config import Settings, settings
from viewer.extensions import begin_writing, db, now
from viewer.models import ApiToken, User, UserSession, fingerprint, new_token
from viewer.office import accounts
from viewer.web import middleware

Role = User.Role
Scope = ApiToken.Scope
View = TypeVar("View", bound=Callable[..., object])

# The answer does not depend on the caller: no session lookup, so no wait for the database.
MACHINES = frozenset(
    {
        "static",
        "sheets",
        "conversations.offline.worker",  # the service worker: the same script for everybody
        "conversations.offline.manifest",
        "webhooks.receive",  # authenticated by its signature
        "status.healthz",  # whether all is well; what is not, only for `user_of_a_machine`
        "api.description",  # describes operations, holds no data
    }
)
# Allow-list: every endpoint that needs no session. Each of these does its own authentication.
OPEN = MACHINES | frozenset(
    {
        "accounts.account.login",
        "accounts.account.enter",
        "accounts.account.invitation",  # authenticated by its token
        "accounts.account.accept",
        "accounts.second_step.ask",  # authenticated by the password that was right just before
        "accounts.second_step.check",
        "accounts.second_step.passkey_options",
        "accounts.second_step.use_passkey",  # authenticated by the passkey's signature
        "sharing.public.page",  # these: authenticated by the secret in the share link
        "sharing.public.unlock",
        "sharing.public.one",
        "sharing.public.thumbnail",
        "sharing.public.picture",
        "sharing.public.play",
        "sharing.public.download",
    }
)

# What remains for somebody whose role demands a second factor that they do not have yet.
WITHOUT_FACTOR = frozenset(
    {
        "accounts.account.show",
        "accounts.account.logout",
        "accounts.account.change_password",
        "accounts.account.end_device",
        "accounts.account.end_everywhere",
        "accounts.account.know_devices",
        "accounts.confirm.ask",
        "accounts.confirm.check",
        "accounts.confirm.passkey_options",
        "accounts.factors.app",
        "accounts.factors.add_app",
        "accounts.factors.passkey_options",
        "accounts.factors.add_passkey",
    }
)

SEEN_EVERY = timedelta(minutes=5)  # minimum interval between two updates of `seen_at`
LONGEST_NEXT = 2_000  # characters
BEARERS = frozenset({"api", "status.metrics"})  # blueprints and endpoints that take a bearer token

csrf = CSRFProtect()


def init_app(app: Flask) -> None:
    app.before_request(_identify)
    app.before_request(_gate)
    _secure_cookies(app)
    csrf.init_app(app)  # after _gate: the unauthorized get the login page or 403, no CSRF error
    app.register_error_handler(CSRFError, _form_of_another_login)
    app.context_processor(lambda: {"user": current_user(), "Role": Role})


def current_user() -> User | None:
    """Return the authenticated user; None for an anonymous request."""
    found: User | None = g.get("user")
    return found


def the_user() -> User:
    """Return the authenticated user, in a view that is not in `OPEN`."""
    found = current_user()
    assert found is not None, "only routes that are not OPEN may ask"  # noqa: S101
    return found


def needs(role: Role) -> Callable[[View], View]:
    """Restrict the view to users with this role or a higher one; others get 403."""

    def mark(view: View) -> View:
        view.needs = role  # type: ignore[attr-defined]
        return view

    return mark


def needed_role(endpoint: str) -> Role:
    found: Role = getattr(current_app.view_functions[endpoint], "needs", Role.FIELD)
    return found


def recent_login_required(view: View) -> View:
    """Ask again who it is before this view, unless they proved it a few minutes ago.

    For grave acts. `web.confirmation` asks; a form that was sent is not lost by it.
    """
    view.needs_recent_login = True  # type: ignore[attr-defined]
    return view


def needs_recent_login(endpoint: str) -> bool:
    return getattr(current_app.view_functions[endpoint], "needs_recent_login", False)


def needs_scope(*scopes: Scope) -> Callable[[View], View]:
    """Let API tokens with one of these scopes use the view; without this, no token can."""

    def mark(view: View) -> View:
        view.scopes = frozenset(scopes)  # type: ignore[attr-defined]
        return view

    return mark


def needed_scopes(endpoint: str) -> frozenset[Scope]:
    found: frozenset[Scope] = getattr(current_app.view_functions[endpoint], "scopes", frozenset())
    return found


def current_session() -> UserSession | None:
    """Return the session of this request; None for an anonymous or a bearer-token request."""
    found: UserSession | None = g.get("session_row")
    return found


def current_token() -> ApiToken | None:
    """Return the token of this request; None for everybody but a program."""
    found: ApiToken | None = g.get("token_row")
    return found


def start_session(user: User, *, is_new_device: bool = False) -> None:
    """Log the user in on this device, with a new token, against session fixation.

    Logs out whoever was logged in here before. Does not commit.
    """
    end_session()
    limits = settings()
    accounts.forget_old_sessions(
        timedelta(hours=limits.SESSION_IDLE_HOURS), timedelta(days=limits.SESSION_DAYS)
    )
    token = new_token()
    db.session.add(
        UserSession(
            user_id=user.id,
            fingerprint=fingerprint(token),
            device=request.headers.get("User-Agent", "")[:255] or None,
            is_new_device=is_new_device,
        )
    )
    session.permanent = True
    session["token"] = token


def end_session() -> None:
    """Log out on this device. Idempotent. Does not commit."""
    if token := session.get("token"):
        mine = sa.delete(UserSession).filter_by(fingerprint=fingerprint(str(token)))
        db.session.execute(mine)
    session.clear()


def local_path(wanted: str | None) -> str:
    """Return `wanted` if it is a path on this host, else the inbox: prevents an open redirect.

    Falls back for everything that a browser could read as another host.
    """
    fallback = url_for("conversations.inbox.show")
    if not wanted or len(wanted) > LONGEST_NEXT or not wanted.startswith("/"):
        return fallback
    if wanted.startswith(("//", "/\\")):
        return fallback
    if any(ord(sign) < 0x21 or sign == "\\" for sign in wanted):
        return fallback
    parts = urlsplit(wanted)
    return fallback if parts.scheme or parts.netloc else wanted


def _identify() -> None:
    g.user = g.session_row = None
    if request.endpoint in MACHINES:
        return
    if is_for_programs():
        g.user = _bearer()
    elif token := session.get("token"):
        g.user = _of_session(str(token))


def user_of_a_machine() -> User | None:
    """Return the user of a request for an endpoint of `MACHINES`, by bearer token or session.

    A token needs the scope `metrics`. Such a request is no sign of somebody at work: the session's
    idle timeout goes on.
    """
    if "Authorization" in request.headers:
        user, token = _bearer(), current_token()
        return user if token is not None and Scope.METRICS in token.scopes else None
    row = _live_session(str(session["token"])) if "token" in session else None
    return row.user if row is not None else None


def is_for_programs() -> bool:
    """Whether this route takes a bearer token instead of a session; cookies are then ignored."""
    return request.blueprint in BEARERS or (
        request.endpoint in BEARERS and "Authorization" in request.headers
    )


def _of_session(token: str) -> User | None:
    row = _live_session(token)
    # Polling is not activity: a page left open must still reach the idle timeout.
    if (
        row is not None
        and request.blueprint != "conversations.live"
        and is_due_to_note(row.seen_at)
    ):
        _note_use(sa.update(UserSession).filter_by(id=row.id).values(seen_at=now()))
        row = _live_session(token)  # it may have ended in the meantime
    g.session_row = row
    return row.user if row is not None else None


# Every page asks this: built once, it takes 140 µs; built each time as a joined load, 300 µs.
_SESSION = (
    sa.select(UserSession, User)
    .join(UserSession.user)
    .where(UserSession.fingerprint == sa.bindparam("fingerprint"))
)


def _live_session(token: str) -> UserSession | None:
    found = db.session.execute(_SESSION, {"fingerprint": fingerprint(token)}).first()
    if found is None or not found.User.is_enabled:
        return None
    row: UserSession = found.UserSession
    set_committed_value(row, "user", found.User)
    return None if has_ended(row.created_at, row.seen_at, settings()) else row


def has_ended(created_at: datetime, seen_at: datetime, limits: Settings) -> bool:
    """Whether a session is over: it lasted too long, or was idle for too long."""
    moment = now()
    return moment > created_at + timedelta(
        days=limits.SESSION_DAYS
    ) or moment > seen_at + timedelta(hours=limits.SESSION_IDLE_HOURS)


def is_due_to_note(seen_at: datetime) -> bool:
    """Whether the next activity of the session is written down."""
    return now() > seen_at + SEEN_EVERY


def _bearer() -> User | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    row = _live_token(token.strip())
    if (
        row is not None
        and not row.has_ended
        and (row.used_at is None or now() > row.used_at + accounts.TOKEN_NOTED_EVERY)
    ):
        _note_use(sa.update(ApiToken).filter_by(id=row.id).values(used_at=now()))
        row = _live_token(token.strip())
    g.token_row = row
    return row.user if row is not None and not row.has_ended else None


def _live_token(token: str) -> ApiToken | None:
    row = db.session.scalar(
        sa.select(ApiToken)
        .filter_by(fingerprint=fingerprint(token))
        .options(joinedload(ApiToken.user))
    )
    return row if row is not None and row.user.is_enabled else None


def _note_use(statement: sa.Update) -> None:
    """Write and commit within what may be a GET: restart its transaction as a write."""
    begin_writing()
    db.session.execute(statement)
    db.session.commit()


def _gate() -> Response | None:
    endpoint = request.endpoint
    if endpoint is None or endpoint in OPEN:  # None: no route matches, so it is a 404 for everybody
        return None
    user = current_user()
    if user is None:
        return _ask_to_log_in()
    if not user.role.covers(needed_role(endpoint)):
        abort(403, f"This is for the {needed_role(endpoint)}; you are logged in as {user.role}.")
    if is_for_programs():
        _check_scope(endpoint)
        return None
    if lacks_factor(user, settings()) and endpoint not in WITHOUT_FACTOR:
        return _ask_for_factor()
    return None


def lacks_factor(user: User, limits: Settings) -> bool:
    """Whether SECOND_FACTOR keeps this user out until they have one. Tokens are not affected."""
    return not user.has_second_factor and accounts.must_have_factor(user.role, limits)


def _ask_for_factor() -> Response:
    wants = request.accept_mimetypes.best_match(["text/plain", "text/html"])
    if request.method not in ("GET", "HEAD") or wants != "text/html":
        abort(403, "Set up a second factor first, on the account page.")
    return redirect(url_for("accounts.account.show", _anchor="factors"), 302)


def _check_scope(endpoint: str) -> None:
    """Refuse a token without a scope for this view. Deny by default: a view may declare none."""
    token, needed = current_token(), needed_scopes(endpoint)
    scopes = token.scopes if token is not None else []
    if needed.isdisjoint(scopes):
        named = " or ".join(scope for scope in Scope if scope in needed) or "that no token has"
        abort(403, f"This takes the scope {named}; this token has {', '.join(scopes)}.")


def _ask_to_log_in() -> Response:
    if is_for_programs():
        token = current_token()
        has_ended = token is not None and token.has_ended
        words = "This token has ended: make a new one." if has_ended else "A token is needed."
        raise Unauthorized(words, www_authenticate=None)
    wants = request.accept_mimetypes.best_match(["text/plain", "text/html"])
    if request.method in ("GET", "HEAD") and wants == "text/html":
        path = request.full_path.rstrip("?")
        answer = redirect(
            url_for("accounts.account.login", next=path if path != "/" else None), 302
        )
        if "token" in session:  # that login has ended: clear its offline data from the device
            answer.headers["Clear-Site-Data"] = '"storage"'
        return answer
    raise Unauthorized("Log in first.")


def _form_of_another_login(error: CSRFError) -> middleware.Answer:
    error.description = (
        "This page is from before you logged in, or was open for too long, so nothing was done."
        " Go back, load it again, and send it once more."
    )
    return middleware.say(error)


def _secure_cookies(app: Flask) -> None:
    """Configure the session cookie.

    In production: `__Host-`, so that only this host can set it, over https; and Secure, so that
    only https carries it. Not before there is a public address: Safari keeps no Secure cookie of
    http://127.0.0.1, and until then no other host name is answered.
    """
    current = app.config["SETTINGS"]
    is_secure = current.VIEWER_ENV == "production" and not current.is_for_this_machine_alone
    app.config.update(
        SESSION_COOKIE_NAME="__Host-viewer" if is_secure else "viewer",
        SESSION_COOKIE_SECURE=is_secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=current.SESSION_DAYS),
        # The Referer check guards against cookies planted over http. A __Host- cookie cannot be
        # planted, and pages with a secret in their URL send no Referer.
        WTF_CSRF_SSL_STRICT=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a form filled in slowly is not lost
        SECRET_KEY_FALLBACKS=list(current.secret_key_fallbacks),
    )
