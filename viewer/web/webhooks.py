"""Webhook endpoint of the provider: verify, store, commit, respond. Processing is asynchronous."""

import atexit
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import NoReturn

import sqlalchemy as sa
from flask import Blueprint, Flask, abort, current_app, request
from flask.sansio.blueprints import BlueprintSetupState
from sqlalchemy.exc import DBAPIError

from viewer import jobs, quo
from viewer.config import settings
from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.models import RefusedDelivery, WebhookEvent
from viewer.web.access import csrf
from viewer.web.group_commit import GroupCommit, Stuck

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")
csrf.exempt(bp)  # authenticated by its signature
log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
WRITE_EVERY = 1.0  # seconds; minimum interval between two writes of refusals, per process


@bp.post("/quo")
def receive() -> tuple[str, int]:
    """Store the delivery, then respond 204. Idempotent. A worker ingests it.

    401 for an invalid signature, 413 for a large body, 503 if the database does not take it.
    """
    body = _read_body()
    try:
        delivery = quo.open_delivery(request.headers, body, settings().webhook_secrets, now())
    except quo.NotFromQuo as refusal:
        _refuse(refusal)
    failpoint("webhook.verified")
    try:
        event_id, is_new = _commits().run((delivery, body))
    except (DBAPIError, Stuck) as trouble:
        # Not stored, so not acknowledged: the provider retries for more than a day.
        log.error("delivery=%s could not be kept: %s", delivery.id, _describe_trouble(trouble))
        abort(503)
    if is_new:
        log.info("event=%s kept bytes=%d scheme=%s", event_id, len(body), delivery.scheme)
    return "", 204


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


def _read_body() -> bytes:
    if (request.content_length or 0) > MAX_BODY:
        abort(413)  # before the body is read
    # One byte more than we accept: werkzeug truncates a chunked body at its limit without an error.
    request.max_content_length = MAX_BODY + 1
    body = request.get_data(cache=False)
    if len(body) > MAX_BODY:
        abort(413)
    return body


def _describe_trouble(trouble: DBAPIError | Stuck) -> str:
    if isinstance(trouble, Stuck):
        return "another one has been at the database for too long"
    # Log only the driver's message: SQLAlchemy's would contain the body. And of the first error: on
    # a full disk the rollback to the savepoint fails as well.
    first = trouble.__context__
    return str(first.orig if isinstance(first, DBAPIError) else trouble.orig)


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
    with app.app_context():
        # Without a session: nothing is mapped here.
        app.extensions["webhook_commits"] = GroupCommit(
            db.engine, _keep, order=lambda received: received[0].id, committed=_remind
        )


def _refusals() -> "Refusals":
    found: Refusals = current_app.extensions["refusals"]
    return found


class Refusals:
    """Count refused deliveries; log and write them at most once a second, so a flood fills no disk.

    The first refusal of a burst is written in its own request. No background thread flushes the
    rest: the first webhook request a second later does, or the exit of the process.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: dict[str, tuple[int, str]] = {}
        self._written = float("-inf")

    def add(self, reason: str, count: int, header_names: str) -> None:
        with self._lock:
            if not self._counts:
                atexit.register(self.write)
            before, _ = self._counts.get(reason, (0, ""))
            self._counts[reason] = before + count, header_names

    def is_due(self) -> bool:
        return bool(self._counts) and time.monotonic() >= self._written + WRITE_EVERY

    def write(self) -> None:
        """Log and write the counts. If the database fails, they are kept for the next write."""
        # While one request waits for a locked database, the others only count and do not block.
        if not self._writing.acquire(blocking=False):
            return
        try:
            with self._lock:
                counts, self._counts = self._counts, {}
                atexit.unregister(self.write)
            self._keep(counts)
        finally:
            self._written = time.monotonic()
            self._writing.release()

    def _keep(self, counts: dict[str, tuple[int, str]]) -> None:
        for reason, (count, names) in counts.items():
            log.warning("delivery refused: %s, times: %d; headers: %s", reason, count, names)
        with self._app.app_context():
            try:
                for reason, (count, names) in counts.items():
                    RefusedDelivery.add(reason, count, names)
                db.session.commit()
            except DBAPIError as trouble:
                db.session.rollback()
                log.warning("refusals are not written yet: %s", trouble.orig)
                for reason, (count, names) in counts.items():
                    self.add(reason, count, names)
