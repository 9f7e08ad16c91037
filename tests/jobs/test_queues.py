"""Reminders: one wakes a worker for whatever is due; losing one loses nothing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tests.payloads import signed
from tests.support.pictures import picture
from tests.support.webhooks import DOOR, SECRET
from viewer import create_app, jobs
from viewer.extensions import db
from viewer.intake import sweep
from viewer.jobs import drain, queues
from viewer.models import MediaAttachment, WebhookEvent
from viewer.watchdog import Watchdog

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


def test_who_found_the_mark_a_moment_ago_does_not_ask_again(deliver, message, queue, monkeypatch):
    monkeypatch.setattr(queues, "SEEN_FOR", 60.0)
    deliver(message().payload())
    asked = queue.info("commandstats")["cmdstat_set"]["calls"]

    for _ in range(5):
        deliver(message().payload())

    assert queue.info("commandstats")["cmdstat_set"]["calls"] == asked
    assert waiting(queue) == 1


def test_the_last_look_finds_what_came_from_one_who_did_not_ask_again(
    settings, app, deliver, message, queue, monkeypatch
):
    """Another process found the mark, and the worker removed it before that one's next delivery."""
    elsewhere = create_app(settings)
    late = message()
    remove = queues.remove_mark

    def remove_and_deliver(name: str) -> None:
        remove(name)
        if late not in delivered:
            delivered.append(late)
            elsewhere.extensions["marks_seen"][jobs.INTAKE] = time.monotonic()  # just now
            body, headers = signed(late.payload(), "standard", SECRET)
            assert elsewhere.test_client().post(DOOR, data=body, headers=headers).status_code == 204

    delivered: list[Any] = []
    monkeypatch.setattr(queues, "remove_mark", remove_and_deliver)
    deliver(message().payload())
    db.session.rollback()
    reminders = waiting(queue)

    drain.Drain(app, jobs.INTAKE, Lingering()).run(retries=False)

    states = db.session.scalars(sa.select(WebhookEvent.state)).all()
    assert states == [WebhookEvent.State.PROCESSED] * 2
    assert waiting(queue) == reminders  # it sent none


class Lingering:
    """What a drain asks of a worker that stays awake."""

    linger = 0.05
    units_done = 0

    def __init__(self) -> None:
        self.watchdog = Watchdog()

    def must_stop(self) -> bool:
        return False

    def tell_alive(self) -> None:
        pass


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
