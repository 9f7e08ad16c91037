"""Nobody holds SQLite's write lock while they think, read files or wait for another program.

How long a hold takes is measured by `benchmarks.ingest`; here is what makes it short.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.payloads import load
from tests.support.pictures import picture
from tests.support.write_locks import Hold, Recorder, recording, watching
from viewer import derive, quo, schedule
from viewer.demo.rest import Workspace
from viewer.extensions import db, now
from viewer.intake import catch_up, file_matching, ingest, naming
from viewer.models import Conversation, MediaAttachment, Message, SearchEntry, WebhookEvent
from viewer.quo import rest
from viewer.search import indexing, tokens

pytestmark = [
    pytest.mark.on_sqlite("watches its one write lock"),
    pytest.mark.on_folder("counts the writes of a file that stays here"),
]

# Statements of one write transaction, at most. What begins a conversation is read again (5: event,
# lines, message, thread, people; names of people and of files: 2), then written: event,
# conversation, thread, message, three files, two search entries, unread rows.
MOST_OF_INGEST = 17
MOST_OF_A_PAGE = 20  # of a person's click, who is looked up first
MOST_OF_A_TASK = 8

THINKING = (quo.read_json, quo.understand, quo.understand_rest, file_matching.marks,
            naming.clean_name, derive.sniff)  # fmt: skip


@pytest.fixture
def recorder(app: Any, client: Any, deliver: Any, message: Any) -> Iterator[Recorder]:
    """Records what follows, once our number is known: to learn it, all of ingest is locked."""
    deliver(message(sender="+16175550199", conversation="CNfirst").payload())
    ingest_all()
    db.session.remove()
    with recording(db.engine) as found, watching(found, *THINKING):
        yield found
        db.session.remove()


def ingest_all() -> list[uuid.UUID]:
    ids = db.session.scalars(sa.select(WebhookEvent.id).filter_by(state="received")).all()
    db.session.remove()
    return [media_id for event_id in ids for media_id in ingest.ingest(event_id)]


def written(recorder: Recorder) -> list[Hold]:
    """The holds since the last time."""
    db.session.remove()
    holds, recorder.holds = recorder.holds, []
    return holds


def assert_short(holds: list[Hold], most: int) -> None:
    for hold in holds:
        assert hold.slow == [], hold
        assert len(hold.statements) <= most, hold


def writes(hold: Hold) -> list[str]:
    return [one for one in hold.statements if not one.startswith("SELECT")]


def photos(provider: Any, count: int) -> list[str]:
    return [provider.serve(picture(40 + number, 30)) for number in range(count)]


def call(name: str) -> Any:
    """The sample, on the line and in the conversation of our texts."""
    sample = json.dumps(load(name))
    return json.loads(sample.replace("PNdemo1", "PNtest").replace("CNdemo1", "CNtest1"))


def test_a_delivery_is_thought_out_before_the_lock_and_written_at_once(
    recorder, deliver, message, provider
):
    text = message(media=photos(provider, 3))
    told = [text.payload(), message().payload(), text.payload("d1"), call("d3_call_missed"),
            call("d3_call_voicemail")]  # fmt: skip
    counts = []

    for payload in told:
        deliver(payload)
        [row] = written(recorder)
        ingest_all()
        [_, hold] = written(recorder)
        assert_short([row], 3)
        assert_short([hold], MOST_OF_INGEST)
        counts.append(len(writes(hold)))

    assert hold.is_committed
    # A new conversation with three files; another text in it; a repeat; a call, and its voicemail.
    assert counts[:3] == [8, 4, 1]
    assert max(counts[3:]) <= 7


def in_context(app: Flask, event_id: uuid.UUID) -> None:
    with app.app_context():
        ingest.ingest(event_id)


def test_whoever_meets_another_ingest_thinks_again_without_the_lock(
    app, recorder, deliver, message
):
    """The other commits between the reading and the writing, in the same conversation."""
    deliver(message().payload())
    deliver(message().payload())
    ids = db.session.scalars(sa.select(WebhookEvent.id).filter_by(state="received")).all()
    written(recorder)
    others = [threading.Thread(target=in_context, args=(app, ids[0]))]

    def interfere(state: Any) -> None:
        if others and "conversation_aliases" in str(state.statement):
            other = others.pop()
            other.start()
            other.join()

    sa.event.listen(db.session, "do_orm_execute", interfere)
    ingest.ingest(ids[1])
    sa.event.remove(db.session, "do_orm_execute", interfere)

    assert others == []
    assert_short(written(recorder), MOST_OF_INGEST)
    [conversation] = db.session.scalars(sa.select(Conversation).filter_by(
        participants="+16175550123"))  # fmt: skip
    assert len(conversation.messages) == 2


@pytest.fixture
def caught_up(provider: Any) -> Callable[[int], catch_up.Summary]:
    """Catch up with so many texts at the provider, of which we know only what is told twice."""
    workspace = Workspace(key="test-key-1", rate=10_000)
    sent_at = now().replace(microsecond=0) - timedelta(days=2)

    def run(count: int) -> catch_up.Summary:
        for number in range(count):
            stamp = f"{sent_at + timedelta(minutes=number):%Y-%m-%dT%H:%M:%S}.000Z"
            workspace.messages[f"ACtext-{number}"] = {
                "id": f"ACtext-{number}", "from": "+16175550123", "to": ["+16175550100"],
                "text": f"Hello {number}", "direction": "incoming", "status": "received",
                "media": [{"url": f"{provider.url}/static/{number}", "type": "image/jpeg"}],
                "conversationId": "CNtest1", "phoneNumberId": "PNtest", "userId": "UStest",
                "createdAt": stamp, "updatedAt": stamp,
            }  # fmt: skip
        address = workspace.mount(provider)
        with rest.Client("test-key-1", address, per_second=10_000, pauses=(0,)) as client:
            return catch_up.catch_up(client)

    return run


def test_a_caught_up_text_is_written_by_itself_and_a_known_one_not_at_all(recorder, caught_up):
    assert caught_up(30).arrived == 30
    first = written(recorder)
    assert caught_up(30).arrived == 0
    again = written(recorder)

    assert_short(first + again, MOST_OF_INGEST)
    told = [one for one in first if any("INSERT INTO messages" in sql for sql in writes(one))]
    assert len(told) == 30
    assert not any("messages" in sql or "media" in sql for one in again for sql in writes(one))


def test_a_photo_comes_home_in_short_transactions(recorder, deliver, message, provider, work):
    deliver(message(media=photos(provider, 2)).payload())

    work()

    assert_short(written(recorder), MOST_OF_INGEST)
    states = set(db.session.scalars(sa.select(MediaAttachment.copy_state)))
    assert states == {MediaAttachment.CopyState.MADE}


def test_a_page_that_marks_something_is_rendered_after_it(
    recorder, client, deliver, message, provider, work
):
    deliver(message(media=photos(provider, 2)).payload())
    work()
    first, second = db.session.scalars(sa.select(MediaAttachment))
    conversation = f"/conversations/{first.conversation_id}"
    written(recorder)

    client.get(conversation)
    [opened] = written(recorder)
    client.get(conversation)
    assert written(recorder) == []
    for address, form in (
        (f"{conversation}/unread", {}),
        (f"/media/{first.id}/caption", {"caption": "East wall"}),
        ("/unfiled/not-needed", {"media": [str(second.id)]}),
        (f"/media/{first.id}/trash", {"sure": "1"}),
        (f"/media/{first.id}/restoration", {}),
    ):
        assert client.post(address, data=form).status_code < 400
        assert_short(written(recorder), MOST_OF_A_PAGE)

    assert_short([opened], 3)
    assert len(writes(opened)) == 1


def test_the_index_is_filled_a_few_rows_at_a_time(recorder, talk):
    talk(messages=50, body="needle {}")
    indexing.start_over()
    db.session.commit()
    written(recorder)

    with watching(recorder, tokens.folded):
        assert indexing.fill_index() >= 50
        holds = written(recorder)

    # The rows, their entries and their ids are read again; each entry is inserted.
    assert_short(holds, indexing.AT_ONCE + 8)
    entries = db.session.scalars(sa.select(SearchEntry.message_id)).all()
    assert set(db.session.scalars(sa.select(Message.id).where(Message.body != "Here is the crack"))
               ) <= set(entries)  # fmt: skip


def test_a_scheduled_task_takes_and_returns_its_lease_in_short_transactions(recorder):
    for task in schedule.definitions(with_catch_up=False, with_mail=False):
        if task.name in ("tidy", "search", "verify"):
            assert schedule.do_if_due(task, "test")
            assert_short(written(recorder), MOST_OF_A_TASK)
