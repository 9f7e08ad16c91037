"""Is everything safe? A page for the owner, an answer for machines."""

from datetime import timedelta

import sqlalchemy as sa
from flask import Blueprint, Response, abort, jsonify, redirect, render_template, url_for
from sqlalchemy.exc import OperationalError
from werkzeug.wrappers import Response as BaseResponse

from viewer import jobs
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, RefusedDelivery, WebhookEvent

bp = Blueprint("status", __name__)

State = MediaAttachment.State


@bp.get("/status")
def show() -> str:
    """What is safe, what is on its way, what needs a person."""
    media = MediaAttachment
    counts = dict(
        db.session.execute(sa.select(media.state, sa.func.count()).group_by(media.state)).tuples()
    )
    troubled = db.session.execute(
        sa.select(media, Conversation)
        .join(Conversation, media.conversation_id == Conversation.id)
        .where(media.state.in_((State.NEEDS_ATTENTION, State.DAMAGED)))
        .order_by(media.created_at)
        .limit(100)
    ).all()
    unparsed = db.session.scalars(
        sa.select(WebhookEvent)
        .where(WebhookEvent.state == WebhookEvent.State.UNPARSED)
        .order_by(WebhookEvent.received_at.desc())
        .limit(50)
    ).all()
    refused = db.session.execute(
        sa.select(
            RefusedDelivery.reason,
            sa.func.sum(RefusedDelivery.count),
            sa.func.max(RefusedDelivery.last_at),
        )
        .where(RefusedDelivery.hour >= now() - timedelta(days=7))
        .group_by(RefusedDelivery.reason)
        .order_by(RefusedDelivery.reason)
    ).all()
    return render_template(
        "status/show.html",
        counts=counts,
        on_its_way=counts.get(State.PENDING, 0) + counts.get(State.DOWNLOADING, 0),
        bytes_stored=db.session.scalar(
            sa.select(sa.func.sum(media.file_size)).where(media.state == State.STORED)
        ),
        oldest=db.session.scalar(
            sa.select(sa.func.min(media.created_at)).where(
                media.state.in_((State.PENDING, State.DOWNLOADING))
            )
        ),
        last_event=db.session.scalar(sa.select(sa.func.max(WebhookEvent.received_at))),
        troubled=troubled,
        unparsed=unparsed,
        refused=refused,
        depths=jobs.queue_depths(),
    )


@bp.get("/status/events/<uuid:event_id>")
def event(event_id: object) -> Response:
    """One delivery exactly as it arrived, as plain text."""
    row = db.session.get(WebhookEvent, event_id)
    if row is None:
        abort(404, "There is no such event.")
    return Response(row.body, content_type="text/plain; charset=utf-8")


@bp.post("/status/events/<uuid:event_id>/readings")
def read_again(event_id: object) -> BaseResponse:
    """Read an event again, perhaps with newer code."""
    row = db.session.get(WebhookEvent, event_id)
    if row is None:
        abort(404, "There is no such event.")
    if row.state is WebhookEvent.State.UNPARSED:
        row.state, row.attempts = WebhookEvent.State.RECEIVED, 0
        db.session.commit()
        jobs.enqueue(jobs.ingest_event, row.id)
    return redirect(url_for(".show"), 303)


@bp.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 while webhooks can be kept; else 503 and why."""
    problems = []
    try:
        db.session.execute(sa.select(1))
    except OperationalError:
        problems.append("the database does not answer")
    # Without Redis nothing is lost, only slower: said, but no reason to take this host out.
    redis_answers = jobs.queue_depths() is not None
    return jsonify(ok=not problems, problems=problems, redis=redis_answers), (
        503 if problems else 200
    )
