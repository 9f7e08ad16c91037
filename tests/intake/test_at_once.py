"""However many workers ingest at once, in whatever order, the rows end as if one had."""

import json
import random
import threading
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.business_day import OURS, RECEIVED, STORY, derived_rows, rows
from viewer.extensions import Base, db
from viewer.intake import ingest
from viewer.models import (
    Conversation,
    MediaAttachment,
    Message,
    SearchEntry,
    User,
    WebhookEvent,
)

WORKERS = 4


def received(payloads: list[dict[str, Any]]) -> list[uuid.UUID]:
    """Events of these deliveries, which nobody has ingested yet."""
    ids = []
    for number, payload in enumerate(payloads):
        event, _ = WebhookEvent.record(f"test-{number}", "standard", json.dumps(payload).encode())
        event.received_at = RECEIVED
        ids.append(event.id)
    db.session.commit()
    return ids


def ingest_at_once(app: Any, shares: list[list[uuid.UUID]]) -> None:
    """Each share by a worker of its own."""
    barrier, problems = threading.Barrier(len(shares)), []

    def work(share: list[uuid.UUID]) -> None:
        try:
            with app.app_context():
                barrier.wait()
                for event_id in share:
                    ingest.ingest(event_id)
                    db.session.remove()
        except Exception as problem:  # noqa: BLE001 - told in the main thread
            problems.append(problem)

    db.session.remove()
    workers = [threading.Thread(target=work, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems == []


def everything() -> dict[str, list[Any]]:
    db.session.expire_all()
    found = rows() | derived_rows()
    states = {event.state for event in db.session.scalars(sa.select(WebhookEvent))}
    assert states == {WebhookEvent.State.PROCESSED}
    assert {event.attempts for event in db.session.scalars(sa.select(WebhookEvent))} == {1}
    return found


def forget_all_but_users() -> None:
    db.session.remove()
    for table in reversed(Base.metadata.sorted_tables):
        if table.name not in ("users", "stores"):
            db.session.execute(sa.delete(table))
    db.session.commit()


@BOTH
@pytest.mark.parametrize("our_number", ["told", "learnt"])
def test_workers_at_once_end_in_the_rows_of_one(our_number, settings, request, database):
    settings["QUO_NUMBERS"] = OURS if our_number == "told" else ""
    app = request.getfixturevalue("app")
    db.session.add(User(email="reader@crack.example", created_at=RECEIVED.replace(year=2020)))
    db.session.commit()
    ingest_at_once(app, [received(STORY)])
    expected = everything()

    for seed in range(4):
        chance = random.Random(seed)
        forget_all_but_users()
        ids = received(STORY)
        # Each event is given to two: a reminder may come twice.
        told = [*ids, *ids]
        chance.shuffle(told)
        ingest_at_once(app, [told[number::WORKERS] for number in range(WORKERS)])

        assert everything() == expected


@BOTH
def test_texts_of_one_conversation_at_once_are_all_there(app, database):
    told = [
        dict(STORY[0], id=f"EVtest-{number}") | {"data": {"object": STORY[0]["data"]["object"] | {
            "id": f"ACmsg-test-{number}", "media": [f"https://m.example.com/{number}/photo.jpg"],
        }}}
        for number in range(24)
    ]  # fmt: skip
    ids = received(told)

    ingest_at_once(app, [ids[number::WORKERS] for number in range(WORKERS)])

    [conversation] = db.session.scalars(sa.select(Conversation))
    assert len(conversation.messages) == 24
    files = db.session.scalars(sa.select(MediaAttachment)).all()
    assert len({row.file_stem for row in files}) == 24
    entries = db.session.scalars(sa.select(SearchEntry.message_id)).all()
    assert set(entries) == {None, *db.session.scalars(sa.select(Message.id))}
    assert conversation.latest_at == max(message.sent_at for message in conversation.messages)
