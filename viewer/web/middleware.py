"""Middleware: security headers, reverse proxies, compression, and error responses."""

import functools
import gzip
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import brotli
from flask import Flask, Response, current_app, g, jsonify, render_template, request
from flask_compress import Compress
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException, SecurityError, ServiceUnavailable
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wsgi import get_host

from viewer import holdings
from viewer.extensions import note_outage
from viewer.intake.subscription import WEBHOOK_PATH
from viewer.loopback import is_loopback
from viewer.web import proxies

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # data: only for the blurred placeholders, which we generate
        "media-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

SAFE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
STRICT_TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")

Answer = Response | tuple[str, int] | HTTPException

# Replace Werkzeug's descriptions, which talk of URLs and servers.
WORDS = {
    404: "There is no such page.",
    405: "This address cannot be used like that.",
    413: "That is more than fits.",
    500: "Something went wrong on our side, and was noted. Please try again.",
}

# Text shrinks to a quarter. Media files are already compressed, and are requested in ranges.
COMPRESSED = (
    "text/html",
    "text/css",
    "text/javascript",
    "application/json",
    "application/manifest+json",
    "image/svg+xml",
)


UNKNOWN_HOST = (
    "The viewer does not answer to this host name. Whoever runs it: set PUBLIC_URL to the address"
    " that people open, or add the name to TRUSTED_HOSTS, and restart."
)

AWAY = "The database does not answer. Nothing is lost; please try again in a moment."

# Paths that a monitor on this machine may request by a loopback host, without it in TRUSTED_HOSTS.
FOR_MONITORS = frozenset({"/healthz", "/metrics"})
FOR_DELIVERIES = frozenset({WEBHOOK_PATH})
LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


def init_app(app: Flask) -> None:
    found = app.config["SETTINGS"]
    hops = found.PROXY_HOPS
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    if found.answered_hosts:
        # Outside ProxyFix: there REMOTE_ADDR is still the address of the real peer.
        app.wsgi_app = _admit_machines(  # type: ignore[method-assign, assignment]
            app.wsgi_app,
            found.answered_hosts[0].removeprefix("."),
            # TRUSTED_HOSTS is somebody's word, and holds for deliveries too.
            frozenset() if found.TRUSTED_HOSTS else FOR_DELIVERIES,
        )
    app.wsgi_app = proxies.Watch(app, app.wsgi_app, FOR_MONITORS)  # type: ignore[method-assign, assignment]
    app.after_request(_safe_headers)
    _compress(app)
    app.register_error_handler(HTTPException, say)
    app.register_error_handler(DBAPIError, _say_outage)


def _say_outage(error: DBAPIError) -> Answer:
    """503 while the database is away, and no traceback for each page that somebody asks for."""
    if not note_outage(error):
        raise error
    g.user = g.session_row = None  # the page of the error asks the database nothing
    return say(ServiceUnavailable(AWAY))


def _admit_machines(
    answer: "WSGIApplication", ours: str, deliveries: frozenset[str]
) -> "WSGIApplication":
    """WSGI middleware: set a trusted Host on a monitor's request from loopback to loopback.

    And on whatever comes to `deliveries`: a delivery proves itself by its signature, and a photo
    must not be lost for want of a setting. Safe: no such response contains a URL built from Host,
    and `/metrics` still authenticates.
    """

    def answer_machines(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if (
            environ.get("PATH_INFO") in FOR_MONITORS
            and is_loopback(environ.get("REMOTE_ADDR", ""))
            and LOOPBACK_HOST.fullmatch(environ.get("HTTP_HOST", ""))
        ):
            environ["HTTP_HOST"] = ours
        elif environ.get("PATH_INFO") in deliveries:
            environ["HTTP_HOST"] = ours
            environ.pop("HTTP_X_FORWARDED_HOST", None)
        return answer(environ, start)

    return answer_machines


def is_plain(environ: "WSGIEnvironment", method: str, trusted_hosts: list[str] | None) -> bool:
    """Whether this is a plain request: for WSGI middleware that leaves all others to Flask.

    It has this method, a host that is ours, and neither a query nor a mount point.
    """
    if (
        environ["REQUEST_METHOD"] != method
        or environ.get("QUERY_STRING")
        or environ.get("SCRIPT_NAME")
    ):
        return False
    try:
        get_host(environ, trusted_hosts)
    except SecurityError:
        return False
    return True


def _compress(app: Flask) -> None:
    app.config.update(
        COMPRESS_MIMETYPES=COMPRESSED,
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_STREAMS=False,  # streaming would leave the files of static/ open
    )
    Compress(app)
    app.after_request(_compress_file)  # the last registered runs first


def _compress_file(response: Response) -> Response:
    """Compress a static file at the highest level, once, and cache the result.

    Static files are immutable, so the effort pays: a sixth smaller than at the level for pages.
    Scripts also lose their comments on the way: another tenth.
    """
    if request.endpoint not in ("static", "sheets") or response.status_code != 200:
        return response
    coding = request.accept_encodings.best_match(list(_CODINGS))
    if coding is None or response.mimetype not in COMPRESSED:
        return response
    response.direct_passthrough = False
    is_script = response.mimetype == "text/javascript"
    response.set_data(_compressed(coding, response.get_data(), is_script))
    response.headers["Content-Encoding"] = coding
    etag, is_weak = response.get_etag()
    if etag:
        response.set_etag(f"{etag}:{coding}", weak=bool(is_weak))
    response.make_conditional(request.environ)
    return response


# Whole lines only: those are in no string, and in no template (a test looks).
_COMMENTS = re.compile(rb"^[ \t]*//.*\n", re.MULTILINE)
_CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.compress,
    "gzip": functools.partial(gzip.compress, mtime=0),
}


@functools.lru_cache(maxsize=64)
def _compressed(coding: str, content: bytes, is_script: bool) -> bytes:
    return _CODINGS[coding](_COMMENTS.sub(b"", content) if is_script else content)


def _safe_headers(response: Response) -> Response:
    headers = response.headers
    given = {name.lower() for name, _ in headers}
    if current_app.config["SETTINGS"].MEDIA_REDIRECT and "content-security-policy" not in given:
        headers.add("Content-Security-Policy", _policy_beyond(holdings.browser_origins()))
        given.add("content-security-policy")
    for name, value in SAFE_HEADERS.items():  # a sixth of the time of setdefault()
        if name.lower() not in given:
            headers.add(name, value)
    if current_app.config["SESSION_COOKIE_SECURE"] and request.is_secure:
        headers.setdefault(*STRICT_TRANSPORT)
    if response.mimetype == "text/html":
        headers.setdefault("Cache-Control", "private, no-cache")
    elif response.mimetype == "application/json" and request.path.startswith("/api/"):
        # Whom a stranger's link leads here sees no page made of our data (ASVS 14.4.2).
        headers.setdefault("Content-Disposition", 'attachment; filename="api.json"')
    if "X-Accel-Redirect" in headers:
        # nginx copies Cache-Control to its own response, even to a 404 for a missing file. It
        # ignores this name, so our nginx site sets Cache-Control from it, with the file only.
        headers["X-Media-Cache-Control"] = headers.pop("Cache-Control")
    return response


@functools.lru_cache(maxsize=16)
def _policy_beyond(origins: tuple[str, ...]) -> str:
    """The policy of a viewer that sends browsers to these addresses for pictures and sounds.

    A service worker passes their requests on: that is a connection of its own.
    """
    policy = POLICY
    for directive in ("img-src", "media-src", "connect-src"):
        policy = policy.replace(f"{directive} 'self'", " ".join((directive, "'self'", *origins)))
    return policy


def _error_words(error: HTTPException) -> str:
    """Return the description given to abort(), or else our text for the status code."""
    if isinstance(error, SecurityError):
        return UNKNOWN_HOST  # its own words repeat the host
    is_said = error.description and error.description != type(error).description
    ours = None if is_said else WORDS.get(error.code or 500)
    return ours or error.description or error.name


def _as_json(error: HTTPException) -> Response:
    response = jsonify(status=error.code, message=_error_words(error), fields={})
    response.status_code = error.code or 500
    if error.code == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.code == 405:
        response.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ())
    return response


def say(error: HTTPException) -> Answer:
    """Render an HTTP error: an HTML page for a browser, JSON for the API, else a line of text."""
    if error.code is None or error.code < 400:
        return error
    if request.path.startswith("/api/"):
        return _as_json(error)
    # Under an untrusted host name url_for() fails, so the page cannot be rendered either.
    machines = request.blueprint == "webhooks" or isinstance(error, SecurityError)
    wants = request.accept_mimetypes.best_match(["text/plain", "text/html"])
    if wants == "text/html" and not machines:
        return render_template(
            "errors/error.html", error=error, words=_error_words(error)
        ), error.code
    response = Response(
        f"{_error_words(error)}\n", error.code, content_type="text/plain; charset=utf-8"
    )
    if error.code == 503:
        response.headers["Retry-After"] = "5"
    return response
