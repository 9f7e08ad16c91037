"""Our webhook subscription at the provider: its state, and the deliveries it gave up on."""

import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db, now
from viewer.intake import ingest
from viewer.models import Checkpoint, WebhookEvent
from viewer.models.checkpoints import parse_moment
from viewer.quo import rest

log = logging.getLogger(__name__)

CHECKPOINT = "subscription"  # its state, and a sentence for the status page
HEARD_WITHIN = timedelta(days=3)  # then a webhook that the API hides is believed in
LOG_SCHEME = "log"  # of an event that came from the provider's log of failed deliveries
WEBHOOK_PATH = "/webhooks/quo"
# Without one of these, photos or voicemails come late.
NEEDED = {"message.received", "message.delivered", "call.completed", "call.recording.completed"}
NEEDED_NEW = NEEDED | {"call.voicemail.completed"}  # the older generation tells it otherwise
# Since then the log says which event a delivery is about, except for test deliveries.
_TESTS_TOLD_SINCE = datetime(2026, 9, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Our webhooks at the provider, and whether they deliver everything we need."""

    hooks: list[rest.Webhook]
    state: str  # good, unseen, missing, disabled, incomplete
    words: str

    @property
    def is_good(self) -> bool:
        return self.state in ("good", "unseen")


def check(client: rest.Client) -> Subscription:
    """Check our subscription: the provider may have disabled it after an outage of ours.

    Commits. Raises rest.RestError.
    """
    hooks = [hook for hook in client.webhooks() if _is_ours(hook)]
    heard_at = db.session.scalar(
        sa.select(sa.func.max(WebhookEvent.received_at)).where(WebhookEvent.scheme != LOG_SCHEME)
    )
    is_heard = heard_at is not None and now() - heard_at < HEARD_WITHIN
    found = Subscription(hooks, *_judge(hooks, is_heard))
    Checkpoint.write(CHECKPOINT, found.state, found.words)
    db.session.commit()
    return found


def _is_ours(hook: rest.Webhook) -> bool:
    try:
        parts = urlsplit(hook.url)
    except ValueError:
        return False
    return settings().trusts(parts.hostname or "") and parts.path.rstrip("/") == WEBHOOK_PATH


def _judge(hooks: list[rest.Webhook], is_heard: bool) -> tuple[str, str]:
    """The state of the subscription, with a sentence for staff."""
    if not hooks:
        if is_heard:
            return "unseen", "The provider delivers, through a webhook that its API does not show."
        return "missing", "The provider has no webhook for us: nothing will arrive by itself."
    enabled = [hook for hook in hooks if hook.enabled]
    if not enabled:
        return "disabled", "Our webhook at the provider is switched off: nothing will arrive."
    events = {event for hook in enabled for event in hook.events}
    needed = NEEDED_NEW if any(hook.is_new for hook in enabled) else NEEDED
    missing = sorted(needed - events)
    if missing and "*" not in events:
        return "incomplete", f"Our webhook at the provider leaves out: {', '.join(missing)}."
    return "good", "Our webhook at the provider is switched on."


def unknown_deliveries(page: Sequence[rest.Json]) -> list[rest.Json]:
    """Deliveries that never arrived, without the provider's test samples."""
    ids = [str(delivery.get("id")) for delivery in page]
    known = set(
        db.session.scalars(
            sa.select(WebhookEvent.delivery_id).where(WebhookEvent.delivery_id.in_(ids))
        )
    )
    db.session.commit()
    return [
        delivery
        for delivery in page
        if isinstance(delivery.get("id"), str)
        and delivery["id"] not in known
        and not _is_test(delivery)
    ]


def replay(client: rest.Client, hook_id: str, delivery: rest.Json) -> list[uuid.UUID] | None:
    """Store and ingest a delivery that the provider gave up on. Returns the media to collect.

    None if it holds nothing new. Commits. Raises rest.RestError.
    """
    try:
        found = client.delivery(hook_id, delivery["id"])
    except rest.NotThere:
        return None
    body = _body_of(found.get("requestBody"), {**found, **delivery})
    if body is None:
        return None
    event, is_new = WebhookEvent.record(delivery["id"], LOG_SCHEME, body)
    db.session.commit()  # kept, whatever becomes of reading it
    if not is_new:
        return None
    media = ingest.ingest(event.id)
    db.session.commit()
    log.info("event=%s replayed from the provider's log", event.id)
    return media


def _is_test(delivery: rest.Json) -> bool:
    """Whether this is a test delivery, whose sample must not become a message."""
    created_at = parse_moment(delivery.get("createdAt"))
    return (
        delivery.get("eventId") is None
        and created_at is not None
        and created_at >= _TESTS_TOLD_SINCE
    )


def _body_of(payload: object, delivery: rest.Json) -> bytes | None:
    if isinstance(payload, str):
        return payload.encode()
    if not isinstance(payload, dict):
        return None
    # Some samples show the payload without its envelope; the log knows what was on it.
    envelope = {
        "id": delivery.get("eventId"),
        "type": delivery.get("eventType"),
        "createdAt": delivery.get("createdAt"),
    }
    return json.dumps(envelope | payload, separators=(",", ":"), ensure_ascii=False).encode()
