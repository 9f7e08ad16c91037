"""A backlog of deliveries: texts with three photos, their repeats in another dialect, and calls.

They spread over 300 conversations and five readers.
"""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import flask_migrate
import sqlalchemy as sa
from flask import Flask

from tests.payloads import Message as Text
from tests.payloads import load
from viewer.extensions import db
from viewer.models import User, WebhookEvent

CONVERSATIONS, READERS = 300, 5
BEGAN = datetime(2026, 9, 21, 8, tzinfo=UTC)
KINDS = "text with 3 photos", "repeat", "call"


def customer(number: int) -> str:
    return f"+1{201 + number // 100}5550{100 + number % 100}"


def payload(number: int) -> tuple[str, dict[str, Any]]:
    """One of the backlog: of ten, seven texts, a repeat, a call, and the call's voicemail."""
    place = number % 10
    if place == 7:
        return "repeat", text(number - 7).payload("d1")
    if place < 7:
        return "text with 3 photos", text(number).payload("d3")
    sample = load("d3_call_missed" if place == 8 else "d3_call_voicemail")
    group = (number // 10) % CONVERSATIONS
    told = json.dumps(sample).replace("+16175550123", customer(group))
    for name, new in (("ACcall-demo-21", f"ACcall-bench-{number // 10}"),
                      ("CNdemo1", f"CNbench{group}"), ("PNdemo1", "PNtest"),
                      ("VMdemo1", f"VMbench{number}"), ("ACvm-demo-1", f"ACvm-bench-{number}"),
                      ("demo-vm-2", f"bench-vm-{number}")):  # fmt: skip
        told = told.replace(name, new)
    return "call", json.loads(told)


def text(number: int) -> Text:
    place = (number * 7) % CONVERSATIONS
    return Text(
        number=number,
        text=f"The crack number {number} is by the window, the other one by the stairs",
        media=[f"https://media.example.com/bench/{number:x}/{one}.jpg" for one in range(3)],
        sender=customer(place),
        conversation=f"CNbench{place}",
        sent_at=BEGAN + timedelta(seconds=number),
    )


def prepare(app: Flask, events: int) -> None:
    """The tables, the readers and the backlog."""
    with app.app_context():
        flask_migrate.upgrade()
        for number in range(READERS):
            db.session.add(
                User(email=f"reader{number}@bench.example", created_at=BEGAN - timedelta(days=1))
            )
        for number in range(events):
            kind, told = payload(number)
            event = WebhookEvent(
                delivery_id=f"bench-{number}", scheme="standard", body=json.dumps(told).encode(),
                received_at=BEGAN + timedelta(seconds=number), kind=kind,
            )  # fmt: skip
            db.session.add(event)
        db.session.commit()
        db.engine.dispose()


def waiting() -> list[tuple[uuid.UUID, str]]:
    found = db.session.execute(
        sa.select(WebhookEvent.id, WebhookEvent.kind).order_by(WebhookEvent.received_at)
    ).all()
    db.session.rollback()
    return [(row.id, row.kind or "") for row in found]
