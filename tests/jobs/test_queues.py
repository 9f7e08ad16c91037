"""Reminders: one wakes a worker for whatever is due; losing one loses nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tests.support.pictures import picture
from viewer import jobs
from viewer.extensions import db
from viewer.intake import sweep
from viewer.jobs import drain, queues
from viewer.models import MediaAttachment, WebhookEvent

State = MediaAttachment.State


@pytest.fixture
def queue(app: Any, valkey_url: str) -> Iterator[redis.Redis]:
    with redis.from_url(valkey_url) as connection:
        yield connection


def waiting(queue: redis.Redis, name: str = jobs.INTAKE) -> int:
    found: int = queue.llen(f"rq:queue:{name}")
    return found


def worked(*names: str) -> None:
    db.session.rollback()  # else SQLite would let no worker write
    jobs.work(names or jobs.QUEUES, burst=True)


def test_a_burst_of_webhooks_leaves_one_notice_and_all_of_it_is_done(deliver, message, queue):
    for _ in range(20):
        deliver(message().payload())
    reminders = waiting(queue)

    worked()

    assert reminders == 1
    states = db.session.scalars(sa.select(WebhookEvent.state)).all()
    assert states == [WebhookEvent.State.PROCESSED] * 20
    assert waiting(queue) == 0


def test_what_comes_after_a_worker_went_to_sleep_wakes_one_again(deliver, message, queue):
    deliver(message().payload())
    worked()

    deliver(message().payload())

    assert waiting(queue) == 1


def test_a_worker_takes_its_mark_away_before_it_looks_for_the_last_time(
    deliver, message, queue, monkeypatch
):
    """Who finds the mark sends no reminder: his event must be found by that look."""
    late = [message()]
    remove = queues.remove_mark

    def deliver_just_before(name: str) -> None:
        if late:
            deliver(late.pop().payload())
        remove(name)

    monkeypatch.setattr(queues, "remove_mark", deliver_just_before)
    deliver(message().payload())

    worked(jobs.INTAKE)

    states = db.session.scalars(sa.select(WebhookEvent.state)).all()
    assert states == [WebhookEvent.State.PROCESSED] * 2


def test_a_worker_that_has_more_than_it_can_take_up_wakes_another(
    deliver, message, provider, queue, monkeypatch
):
    monkeypatch.setattr(drain, "DOWNLOADS", 1)
    seen = []

    def look() -> bytes:
        seen.append(waiting(queue))
        return picture()

    deliver(message(media=[provider.serve(look) for _ in range(3)]).payload())

    worked(jobs.INTAKE)

    assert max(seen) == 1
    assert seen[-1] <= 1  # never one for each file


def test_a_worker_in_a_long_drain_passes_on_what_is_left(
    deliver, message, provider, queue, monkeypatch
):
    monkeypatch.setattr(drain, "LONGEST", 0.0)
    jobs_begun = []
    run = drain.Drain.run

    def begin(self: drain.Drain, *, retries: bool) -> None:
        jobs_begun.append(jobs.INTAKE)
        if len(jobs_begun) == 3:
            monkeypatch.setattr(drain, "LONGEST", 600.0)
        run(self, retries=retries)

    monkeypatch.setattr(drain.Drain, "run", begin)
    deliver(message(media=[provider.serve(picture())]).payload())

    worked(jobs.INTAKE)

    assert jobs_begun == [jobs.INTAKE] * 3
    [media] = db.session.scalars(sa.select(MediaAttachment))
    assert media.state is State.STORED


def test_jobs_of_the_version_before_are_done(deliver, message, provider, queue, work):
    deliver(message(media=[provider.serve(picture())]).payload())
    [event_id] = db.session.scalars(sa.select(WebhookEvent.id))
    queue.flushall()
    old = queues.queue(jobs.INTAKE, queue)
    old.enqueue_call("viewer.jobs.ingest_event", args=(str(event_id),), timeout=600)

    worked(jobs.INTAKE)

    [event] = db.session.scalars(sa.select(WebhookEvent))
    assert event.state is WebhookEvent.State.PROCESSED
    assert len(sweep.due().media) == 1
