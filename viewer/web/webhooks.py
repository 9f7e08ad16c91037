"""The provider's door: verify, keep, commit, answer. Nothing else happens here."""

import logging
import threading
import time

from flask import Blueprint, Flask, abort, current_app, request
from sqlalchemy.exc import OperationalError

from viewer import jobs, quo
from viewer.config import settings
from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.models import RefusedDelivery, WebhookEvent

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")
log = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes


@bp.post("/quo")
def receive() -> tuple[str, int]:
    """Keep the delivery, then answer. Understanding it is the worker's business."""
    request.max_content_length = MAX_BODY
    body = request.get_data(cache=False)
    try:
        delivery = quo.open_delivery(request.headers, body, settings().webhook_secrets, now())
    except quo.NotFromQuo as refusal:
        _refuse(refusal.reason.value)
    failpoint("webhook.verified")
    try:
        event, is_new = WebhookEvent.record(delivery.id, delivery.scheme, body, delivery.sent_at)
        failpoint("webhook.inserted")
        db.session.commit()
    except OperationalError:
        # Not kept, so not confirmed: the provider comes again, for more than a day.
        db.session.rollback()
        log.exception("delivery=%s could not be kept", delivery.id)
        abort(503)
    failpoint("webhook.committed")
    if is_new:
        log.info("event=%s kept bytes=%d scheme=%s", event.id, len(body), delivery.scheme)
        jobs.enqueue(jobs.ingest_event, event.id)
    return "", 204


def _refuse(reason: str) -> None:
    names = ",".join(sorted(name.lower() for name in request.headers.keys()))  # noqa: SIM118
    log.warning("delivery refused: %s; headers: %s", reason, names)
    refusals.count(current_app._get_current_object(), reason, names)  # type: ignore[attr-defined]
    abort(401, reason)


class Refusals:
    """Counts refused deliveries, and writes at most once a second: a flood must cost no disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._timer: threading.Timer | None = None
        self._written = 0.0

    def count(self, app: Flask, reason: str, header_names: str) -> None:
        with self._lock:
            names = next((n for r, n in self._counts if r == reason), header_names)
            self._counts[reason, names] = self._counts.get((reason, names), 0) + 1
            if self._timer is not None:
                return
            wait = max(0.0, self._written + 1.0 - time.monotonic())
            self._timer = threading.Timer(wait, self.write, (app,))
            self._timer.daemon = True
            self._timer.start()

    def write(self, app: Flask) -> None:
        with self._lock:
            counts, self._counts = self._counts, {}
            self._timer, self._written = None, time.monotonic()
        with app.app_context():
            try:
                for (reason, names), count in counts.items():
                    RefusedDelivery.add(reason, count, names)
                db.session.commit()
            except OperationalError:
                db.session.rollback()
                log.warning("refused deliveries could not be counted: %s", counts)


refusals = Refusals()
