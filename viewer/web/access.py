"""Who may come in. Denied unless allowed: a new route needs a session without being told so.

The cookie holds a random token, the row of its fingerprint is the session: what ends the row ends
the login. Flask-Login would bring a proxy for the user and a second, unused way to stay logged in.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask_wtf.csrf import CSRFError, CSRFProtect
from sqlalchemy.orm import joinedload
from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Response

from viewer.config import settings
from viewer.extensions import begin_writing, db, now
from viewer.models import ApiToken, User, UserSession, fingerprint, new_token
from viewer.office import accounts
from viewer.web import middleware

Role = User.Role
View = TypeVar("View", bound=Callable[..., object])

# Who asks these makes no difference: they never look for a session, nor wait for the database.
MACHINES = frozenset(
    {
        "static",
        "sheets",
        "conversations.offline.worker",  # a program that is the same for everybody
        "conversations.offline.manifest",
        "webhooks.receive",  # its signature
        "status.healthz",  # whether, never what
        "api.description",  # of operations, not of anybody
    }
)
# The whole list of what may be asked without a session. Each of these answers for itself.
OPEN = MACHINES | frozenset(
    {
        "accounts.account.login",
        "accounts.account.enter",
        "accounts.account.invitation",  # its token
        "accounts.account.accept",
        "sharing.public.page",  # these: the link's own secret
        "sharing.public.unlock",
        "sharing.public.one",
        "sharing.public.thumbnail",
        "sharing.public.picture",
        "sharing.public.play",
        "sharing.public.download",
    }
)

SEEN_EVERY = timedelta(minutes=5)  # how often a session notes that it is in use
LONGEST_NEXT = 2_000  # signs
BEARERS = frozenset({"api", "status.metrics"})  # blueprints and endpoints for other programs

csrf = CSRFProtect()


def init_app(app: Flask) -> None:
    app.before_request(_identify)
    app.before_request(_gate)
    _secure_cookies(app)
    csrf.init_app(app)  # its check comes after ours: who may not come in is told so first
    app.register_error_handler(CSRFError, _form_of_another_login)
    app.context_processor(lambda: {"user": current_user(), "Role": Role})


def current_user() -> User | None:
    """Who asks; None for a stranger."""
    found: User | None = g.get("user")
    return found


def the_user() -> User:
    """Who asks, behind the gate."""
    found = current_user()
    assert found is not None, "only routes that are not OPEN may ask"  # noqa: S101
    return found


def needs(role: Role) -> Callable[[View], View]:
    """Only users of this role, or a higher one, may use the view."""

    def mark(view: View) -> View:
        view.needs = role  # type: ignore[attr-defined]
        return view

    return mark


def needed_role(endpoint: str) -> Role:
    found: Role = getattr(current_app.view_functions[endpoint], "needs", Role.FIELD)
    return found


def current_session() -> UserSession | None:
    """The login by which they ask; None for a stranger and for a program."""
    found: UserSession | None = g.get("session_row")
    return found


def start_session(user: User) -> None:
    """Log in on this device, with a new token: one planted before is worth nothing.

    Whoever was logged in here before is logged out. Does not commit.
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
        )
    )
    session.permanent = True
    session["token"] = token


def end_session() -> None:
    """Log out on this device. Does not commit."""
    if token := session.get("token"):
        mine = sa.delete(UserSession).filter_by(fingerprint=fingerprint(str(token)))
        db.session.execute(mine)
    session.clear()


def local_path(wanted: str | None) -> str:
    """`next` as a path of ours; the inbox for whatever a browser could read as another host."""
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


def is_for_programs() -> bool:
    """Whether this route takes a token in place of a session; then no cookie counts."""
    return request.blueprint in BEARERS or (
        request.endpoint in BEARERS and "Authorization" in request.headers
    )


def _of_session(token: str) -> User | None:
    row = _live_session(token)
    # A page that asks for news by itself is nobody at work: a forgotten one must log out in time.
    if (
        row is not None
        and request.blueprint != "conversations.live"
        and now() > row.seen_at + SEEN_EVERY
    ):
        _note_use(sa.update(UserSession).filter_by(id=row.id).values(seen_at=now()))
        row = _live_session(token)  # it may have ended meanwhile
    g.session_row = row
    return row.user if row is not None else None


def _live_session(token: str) -> UserSession | None:
    row = db.session.scalar(
        sa.select(UserSession)
        .filter_by(fingerprint=fingerprint(token))
        .options(joinedload(UserSession.user))
    )
    if row is None or not row.user.is_enabled:
        return None
    moment, limits = now(), settings()
    if moment > row.created_at + timedelta(days=limits.SESSION_DAYS):
        return None
    if moment > row.seen_at + timedelta(hours=limits.SESSION_IDLE_HOURS):
        return None
    return row


def _bearer() -> User | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        return None
    row = _live_token(token.strip())
    if row is not None and (
        row.used_at is None or now() > row.used_at + accounts.TOKEN_NOTED_EVERY
    ):
        _note_use(sa.update(ApiToken).filter_by(id=row.id).values(used_at=now()))
        row = _live_token(token.strip())
    return row.user if row is not None else None


def _live_token(token: str) -> ApiToken | None:
    row = db.session.scalar(
        sa.select(ApiToken)
        .filter_by(fingerprint=fingerprint(token))
        .options(joinedload(ApiToken.user))
    )
    return row if row is not None and row.user.is_enabled else None


def _note_use(statement: sa.Update) -> None:
    """Write, although this may be a page that is only looked at."""
    begin_writing()
    db.session.execute(statement)
    db.session.commit()
    g.pop("writes", None)


def _gate() -> Response | None:
    endpoint = request.endpoint
    if endpoint is None or endpoint in OPEN:  # None: there is no such page, for anybody
        return None
    user = current_user()
    if user is None:
        return _ask_to_log_in()
    if not user.role.covers(needed_role(endpoint)):
        abort(403, f"This is for the {needed_role(endpoint)}; you are logged in as {user.role}.")
    return None


def _ask_to_log_in() -> Response:
    if is_for_programs():
        raise Unauthorized("A token is needed.", www_authenticate=None)
    wants = request.accept_mimetypes.best_match(["text/plain", "text/html"])
    if request.method in ("GET", "HEAD") and wants == "text/html":
        path = request.full_path.rstrip("?")
        answer = redirect(
            url_for("accounts.account.login", next=path if path != "/" else None), 302
        )
        if "token" in session:  # of a login that has ended: what it kept on the device goes
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
    """The session cookie: over https only this host can set it, and only https carries it."""
    is_production = app.config["SETTINGS"].VIEWER_ENV == "production"
    app.config.update(
        SESSION_COOKIE_NAME="__Host-viewer" if is_production else "viewer",
        SESSION_COOKIE_SECURE=is_production,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=app.config["SETTINGS"].SESSION_DAYS),
        # Its look at the Referer guards against cookies planted over http. A __Host- cookie cannot
        # be, and pages with a secret in their address send no Referer.
        WTF_CSRF_SSL_STRICT=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: a form filled in slowly is not lost
        SECRET_KEY_FALLBACKS=list(app.config["SETTINGS"].secret_key_fallbacks),
    )
