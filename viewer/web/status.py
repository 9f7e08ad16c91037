"""Health: the status page for people, /healthz for monitors, /metrics for Prometheus."""

import itertools
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from flask import Blueprint, Response, abort, jsonify, redirect, render_template
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import OperationalError
from werkzeug.wrappers import Response as BaseResponse

from viewer import jobs, quo
from viewer.config import settings
from viewer.extensions import db, note_outage, now
from viewer.intake.phone_lines import OwnLines
from viewer.models import Conversation, MediaAttachment, Message, WebhookEvent
from viewer.models.media import availability_of
from viewer.office import retention
from viewer.office.names import names_of, title_of_numbers
from viewer.upkeep import health
from viewer.web import growth
from viewer.web.access import Role, Scope, needs, needs_scope, user_of_a_machine
from viewer.web.formatting import exact_time, short_time
from viewer.web.urls import url_for
from viewer.web.wording import AVAILABILITY, explain, what_is

bp = Blueprint("status", __name__)

State = MediaAttachment.State
CUT_REASONS = {  # of `viewer.serving`
    "slow_head": "The request did not come within its time",
    "slow_body": "What was sent with it did not come within its time",
    "slow_reader": "The answer was not read",
    "crowded": "There were too many connections",
    "no_room": "Too many large requests came at once",
}
LONGEST_GLIMPSE = 64 * 1024  # bytes of a delivery that is looked into; one of a message has 2,000


@bp.get("/status")
@needs(Role.OFFICE)
def show() -> str:
    """Show what is stored, what is in progress, and what needs a person."""
    found = _check_health()
    outlook = found.outlook
    return render_template(
        "status/show.html",
        health=found,
        forecasts=[growth.in_words(name, one) for name, one in outlook.forecasts.items()],
        plot=growth.draw(outlook),
        troubled=_troubled_files(),
        unparsed=_unparsed(),
        cut_reasons=CUT_REASONS,
        quarantine=retention.in_quarantine(),
        quarantine_days=settings().QUARANTINE_DAYS,
    )


class TroubledFile(NamedTuple):
    """A file that needs attention, in words."""

    id: uuid.UUID
    message_url: str
    what: str
    customer: str
    sent_at: str  # with its message: for machines, as a tooltip, and for the eye
    exact_time: str
    short_time: str
    availability: str
    problem: str
    may_settle: bool  # whether it can be tried again, asked for or closed
    has_url: bool
    may_ask: bool


def _troubled_files() -> list[TroubledFile]:
    rows = db.session.execute(_TROUBLED).all()
    numbers_of = {row.id: row.participants.split(",") if row.participants else [] for row in rows}
    names = names_of(itertools.chain.from_iterable(numbers_of.values()))
    found = []
    for row in rows:
        state = availability_of(row.state, row.trouble, None)
        page = url_for("conversations.pages.show", conversation_id=row.conversation_id)
        found.append(
            TroubledFile(
                row.id,
                f"{page}#message-{row.message_id}",
                what_is(row.role, row.media_type).capitalize(),
                title_of_numbers(numbers_of[row.id], names),
                row.sent_at.isoformat(),
                exact_time(row.sent_at),
                short_time(row.sent_at),
                AVAILABILITY[state],
                explain(state, row.problem, row.copy_problem),
                may_settle=row.state is State.NEEDS_ATTENTION,
                has_url=row.has_url,
                may_ask=row.direction is Message.Direction.INCOMING and bool(row.sender),
            )
        )
    return found


class Unparsed(NamedTuple):
    """A delivery that could not be read: what it seems to tell, and when it came."""

    id: uuid.UUID
    customer: str  # empty where no number could be made out
    sent_at: datetime | None  # of what it tells of, by its own word
    received_at: datetime
    problem: str | None


def _unparsed() -> list[Unparsed]:
    rows = db.session.execute(_UNPARSED).all()
    if not rows:
        return []
    glimpses = [quo.glimpse(row.body) if row.body else quo.Glimpse() for row in rows]
    lines = OwnLines.read()
    others = [sorted(lines.others(seen.numbers, None)) for seen in glimpses]
    names = names_of(number for numbers in others for number in numbers)
    return [
        Unparsed(
            row.id,
            title_of_numbers(numbers, names) if numbers else "",
            seen.sent_at,
            row.received_at,
            row.problem,
        )
        for row, seen, numbers in zip(rows, glimpses, others, strict=True)
    ]


# Columns, by statements that are built once: 100 objects of the session took 3 ms.
_media, _event = MediaAttachment.__table__.c, WebhookEvent.__table__.c
_message, _conversation = Message.__table__.c, Conversation.__table__.c
_TROUBLED = (
    sa.select(
        _media.id, _media.conversation_id, _media.message_id, _media.role, _media.media_type,
        _media.state, _media.trouble, _media.problem, _media.copy_problem, _media.sent_at,
        _media.openphone_url.is_not(None).label("has_url"),
        _message.direction, _message.sender, _conversation.participants,
    )
    .join_from(MediaAttachment.__table__, Message.__table__, _message.id == _media.message_id)
    .join(Conversation.__table__, _conversation.id == _media.conversation_id)
    .where(MediaAttachment.is_in("attention"))
    .order_by(_media.created_at, _media.id)
    .limit(100)
)  # fmt: skip
_UNPARSED = (
    sa.select(
        _event.id, _event.received_at, _event.problem,
        sa.case((sa.func.length(_event.body) <= LONGEST_GLIMPSE, _event.body)).label("body"),
    )
    .where(_event.state == WebhookEvent.State.UNPARSED)
    .order_by(_event.received_at.desc())
    .limit(50)
)  # fmt: skip


@bp.get("/status/events/<uuid:event_id>")
@needs(Role.OFFICE)
def event(event_id: object) -> Response:
    """Return the raw body of a delivery as plain text."""
    row = db.session.get(WebhookEvent, event_id)
    if row is None:
        abort(404, "There is no such event.")
    return Response(row.body, content_type="text/plain; charset=utf-8")


@bp.post("/status/events/<uuid:event_id>/readings")
@needs(Role.OFFICE)
def read_again(event_id: object) -> BaseResponse:
    """Retry the ingest of an unparsed event, for example after an upgrade. Idempotent."""
    if db.session.get(WebhookEvent, event_id) is None:
        abort(404, "There is no such event.")
    if WebhookEvent.read_again(WebhookEvent.id == event_id):
        db.session.commit()
        jobs.remind(jobs.INTAKE)
    return redirect(url_for(".show"), 303)


@bp.get("/healthz")
def healthz() -> tuple[Response, int]:
    """Health check for a monitor: 200, or 503. Needs no session: strangers get a bare word.

    The reasons are for the office, by session or token: what is late, how much of it, and which
    part does not run, would tell a stranger how the company and an attack are doing.
    """
    try:
        found = _check_health()
        user = user_of_a_machine()
    except OperationalError as error:
        note_outage(error)
        return jsonify(ok=False, status=health.Level.BROKEN), 503
    code = 503 if found.is_broken else 200
    if user is None or not user.role.covers(Role.OFFICE):
        return jsonify(ok=not found.is_broken, status=found.worst or "ok"), code
    by_level = {
        level: [
            {"name": alarm.name, "words": alarm.words}
            for alarm in found.alarms
            if alarm.level is level
        ]
        for level in health.Level
    }
    said = {"ok": not found.is_broken, "status": found.worst or "ok"}
    return jsonify(**said, **by_level, redis=found.workers is not None), code


@bp.get("/metrics")
@needs(Role.OWNER)
@needs_scope(Scope.METRICS)
def metrics() -> Response:
    """Export the same health data as Prometheus metrics."""
    registry = CollectorRegistry()

    def gauge(name: str, words: str, values: Mapping[str, float], label: str = "") -> None:
        made = Gauge(f"viewer_{name}", words, [label] if label else [], registry=registry)
        for key, value in values.items():
            (made.labels(key) if label else made).set(value)

    found, moment = _check_health(), now()

    def ages(moments: Iterable[tuple[str, datetime | None]]) -> dict[str, float]:
        return {name: (moment - then).total_seconds() for name, then in moments if then}

    gauge(
        "media", "Files by state", {state: found.states.get(state, 0) for state in State}, "state"
    )
    gauge("media_stored_bytes", "Bytes of all originals", {"": found.bytes_stored})
    if found.oldest_waiting:
        age = (moment - found.oldest_waiting).total_seconds()
        gauge("oldest_media_on_its_way_seconds", "Age of the oldest", {"": age})
    if found.last_event:
        age = (moment - found.last_event).total_seconds()
        gauge("last_webhook_age_seconds", "Since the last delivery", {"": age})
    gauge("events_unread", "Deliveries that no worker has read", {"": found.unread_events})
    gauge("events_unparsed", "Deliveries not understood", {"": found.unparsed_events})
    gauge("refused_deliveries", "In the last 24 hours", found.refused, "reason")
    gauge("cut_connections", "In the last 24 hours", found.cut, "reason")
    waiting = found.waiting
    depths = {jobs.INTAKE: waiting.events + waiting.files, jobs.COPIES: waiting.copies}
    gauge("queue_depth", "Deliveries, files and copies due; counted to 10,000", depths, "queue")
    gauge("workers", "Workers alive", found.workers or {}, "queue")
    gauge(
        "duty_age_seconds",
        "Since a duty was last done",
        ages((task.name, task.done_at) for task in found.tasks),
        "duty",
    )
    checks = found.checks
    if checks.last:
        age = (moment - checks.last.started_at).total_seconds()
        gauge("verify_age_seconds", "Since the originals were last checked", {"": age})
    if checks.oldest_read_at:
        age = (moment - checks.oldest_read_at).total_seconds()
        gauge("oldest_verified_age_seconds", "Since the original read longest ago", {"": age})
    gauge("orphan_files", "Files in a store that no row names", {"": checks.orphans})
    gauge("originals", "Files whose bytes are kept", {"": found.protection.originals})
    gauge(
        "originals_in_two_places",
        "In a store and in a verified backup",
        {"": found.protection.in_two_places},
    )
    targets = found.backups.targets
    gauge(
        "backup_age_seconds",
        "Since the last verified backup to a target",
        ages((target.url, target.verified_at) for target in targets),
        "target",
    )
    gauge(
        "drill_age_seconds",
        "Since a drill last restored the backup of a target",
        ages((target.url, target.proven_at) for target in targets),
        "target",
    )
    gauge("backup_files", "Covered", {target.url: target.files for target in targets}, "target")
    gauge("disk_free_bytes", "Free", {disk.name: disk.free for disk in found.disks}, "disk")
    gauge("disk_size_bytes", "Size", {disk.name: disk.total for disk in found.disks}, "disk")
    counted = [disk for disk in found.disks if disk.inodes]
    gauge("disk_free_inodes", "Free", {disk.name: disk.free_inodes for disk in counted}, "disk")
    gauge("disk_inodes", "In all", {disk.name: disk.inodes for disk in counted}, "disk")
    outlook = found.outlook
    if pace := outlook.growth.pace:
        gauge("growth_bytes_per_day", "Of originals, in the last 13 weeks", {"": pace.usual})
    days = {name: one.likely for name, one in outlook.forecasts.items() if one.likely is not None}
    gauge("days_until", "At that pace: 100 GB in folders, a full disk for photos", days, "limit")
    gauge("alarm", "Alarms that are on", {alarm.name: 1 for alarm in found.alarms}, "name")
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _check_health() -> health.Health:
    return health.read_health(jobs.workers_alive())
