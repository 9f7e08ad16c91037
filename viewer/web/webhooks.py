"""Webhook endpoint of the provider: verify, store, commit, respond. Processing is asynchronous."""

import logging
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

import sqlalchemy as sa
from flask import Blueprint, Flask, abort, current_app, request
from flask.sansio.blueprints import BlueprintSetupState
from sqlalchemy.exc import DBAPIError
from werkzeug.datastructures import EnvironHeaders

from viewer import jobs, quo
from viewer.config import settings
from viewer.extensions import HURRY, db, note_outage, now
from viewer.failpoint import failpoint
from viewer.intake.subscription import WEBHOOK_PATH
from viewer.models import WebhookEvent
from viewer.web import middleware
from viewer.web.access import csrf
from viewer.web.group_commit import GroupCommit, Stuck
from viewer.web.refusals import Refusals

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")
csrf.exempt(bp)  # authenticated by its signature
log = logging.getLogger(__name__)

MIB = 1024 * 1024  # bytes
MAX_BODY = MIB  # bytes, of the usual delivery, and of one that claims no signature
# Larger ones, such as transcripts, are few: so many are read at once, in each process. Whoever
# sends none of ours does not fill our memory with them.
LARGE_AT_ONCE = 2
WAIT_FOR_LARGE = 5.0  # seconds
PATH = WEBHOOK_PATH
_TROUBLE = "viewer.webhook.trouble"  # in the environ: what the short way met


def init_app(app: Flask) -> None:
    """Wrap the application. Call it before ProxyFix does: host and scheme are corrected there."""
    app.wsgi_app = _ShortWay(app, app.wsgi_app)  # type: ignore[method-assign, assignment]


class NotKept(Exception):
    """The database did not take the delivery."""


@bp.post("/quo")
def receive() -> tuple[str, int]:
    """Store the delivery, then respond 204. Idempotent. A worker ingests it.

    401 for an invalid signature, 413 for a large body, 503 if the database does not take it, or
    too many large ones come at once.
    """
    try:
        if trouble := request.environ.get(_TROUBLE):
            raise trouble
        _take(request.headers, _read_body())
    except quo.NotFromQuo as refusal:
        _refuse(refusal)
    except NotKept:
        abort(503)  # so not acknowledged: the provider retries for more than a day
    return "", 204


def _take(headers: quo.Headers, body: bytes) -> None:
    """Verify and store. Raises quo.NotFromQuo and NotKept."""
    delivery = quo.open_delivery(headers, body, settings().webhook_secrets, now())
    failpoint("webhook.verified")
    try:
        event_id, is_new = _commits().run((delivery, body))
    except (DBAPIError, Stuck) as trouble:
        first = _first_trouble(trouble)
        if isinstance(first, Stuck):
            log.error("delivery=%s could not be kept: others are at the database", delivery.id)
        elif not note_outage(first):
            # Only the driver's message: SQLAlchemy's would contain the body.
            log.error("delivery=%s could not be kept: %s", delivery.id, first.orig)
        raise NotKept from None
    if is_new:
        log.info("event=%s kept bytes=%d scheme=%s", event_id, len(body), delivery.scheme)


class _ShortWay:
    """WSGI middleware: take the usual delivery without Flask, whose 0.3 ms it does not need.

    What is unusual, and the answer to all trouble, is left to `receive`.
    """

    def __init__(self, app: Flask, otherwise: "WSGIApplication") -> None:
        self._app, self._otherwise = app, otherwise
        self._trusted = app.config["TRUSTED_HOSTS"]

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if not (environ.get("PATH_INFO") == PATH and self._is_usual(environ)):
            return self._otherwise(environ, start)
        length = int(environ["CONTENT_LENGTH"])
        body = environ["wsgi.input"].read(length)
        if len(body) < length:
            return self._otherwise(environ, start)
        with self._app.app_context():
            try:
                _take(EnvironHeaders(environ), body)
            except Exception as trouble:  # noqa: BLE001 - `receive` raises it again
                environ[_TROUBLE] = trouble
                return self._otherwise(environ, start)
            _write_refusals(None)
        start("204 No Content", list(middleware.SAFE_HEADERS.items()))
        return ()

    def _is_usual(self, environ: "WSGIEnvironment") -> bool:
        length = environ.get("CONTENT_LENGTH") or ""
        return (
            "HTTP_TRANSFER_ENCODING" not in environ
            and length.isdecimal()
            and length.isascii()
            and 0 < int(length) <= MAX_BODY
            and middleware.is_plain(environ, "POST", self._trusted)
        )


_Received = tuple[quo.Delivery, bytes]
_Kept = tuple[uuid.UUID, bool]  # the id of its row, and whether it is new


def _keep(connection: sa.Connection, received: _Received) -> _Kept:
    delivery, body = received
    kept = WebhookEvent.keep(connection, delivery.id, delivery.scheme, body, delivery.sent_at)
    failpoint("webhook.inserted")
    return kept


def _remind(kept: Sequence[_Kept]) -> None:
    failpoint("webhook.committed")
    if any(is_new for _, is_new in kept):
        jobs.remind(jobs.INTAKE)


def _commits() -> GroupCommit[_Received, _Kept]:
    found: GroupCommit[_Received, _Kept] = current_app.extensions["webhook_commits"]
    return found


def body_limit(headers: quo.Headers) -> int:
    """How many bytes a delivery may have, by its headers."""
    return settings().WEBHOOK_MAX_MB * MIB if quo.claims_signature(headers) else MAX_BODY


def _read_body() -> bytes:
    length = request.content_length or 0  # in chunks: only the usual size
    if length <= MAX_BODY:
        return _read_at_most(MAX_BODY)
    limit = body_limit(request.headers)
    if length > limit:
        abort(413)  # before the body is read
    room: threading.BoundedSemaphore = current_app.extensions["large_deliveries"]
    if not room.acquire(timeout=WAIT_FOR_LARGE):
        abort(503)  # the provider retries
    try:
        return _read_at_most(limit)
    finally:
        room.release()


def _read_at_most(limit: int) -> bytes:
    # One byte more than we accept: werkzeug truncates a chunked body at its limit without an error.
    request.max_content_length = limit + 1
    body = request.get_data(cache=False)
    if len(body) > limit:
        abort(413)
    if len(body) < (request.content_length or 0):
        abort(400)  # the client has gone: nobody's signature is wrong
    return body


def _first_trouble(trouble: DBAPIError | Stuck) -> DBAPIError | Stuck:
    """On a full disk the rollback to the savepoint fails as well."""
    first = trouble.__context__
    return first if isinstance(trouble, DBAPIError) and isinstance(first, DBAPIError) else trouble


def _refuse(refusal: quo.NotFromQuo) -> NoReturn:
    reason = refusal.reason.value
    names = ",".join(sorted({name.lower() for name, _ in request.headers}))
    if refusal.age is not None:  # perhaps clock skew between the sender and us
        names = f"{refusal.age.total_seconds():.0f} s old; {names}"
    _refusals().add(reason, 1, names[:500])
    abort(401, reason)


@bp.teardown_request
def _write_refusals(_error: BaseException | None) -> None:
    if _refusals().is_due():
        _refusals().write()


@bp.record
def _prepare(state: BlueprintSetupState) -> None:
    app: Flask = state.app  # type: ignore[assignment]
    app.extensions["refusals"] = Refusals(app)
    app.extensions["large_deliveries"] = threading.BoundedSemaphore(LARGE_AT_ONCE)
    with app.app_context():
        # Without a session: nothing is mapped here.
        app.extensions["webhook_commits"] = GroupCommit(
            db.engine.execution_options(**HURRY),
            _keep,
            order=lambda received: received[0].id,
            committed=_remind,
        )


def _refusals() -> "Refusals":
    found: Refusals = current_app.extensions["refusals"]
    return found
