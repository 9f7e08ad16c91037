"""Rows 75 to 83 of the fault catalogue: the queue and its workers forget, refuse, hang and die.

The queue is a reminder: whatever happens to it, every delivery is answered, every photo comes home.
"""

import json
import multiprocessing
import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
import sqlalchemy as sa
import time_machine
from rq.serializers import JSONSerializer

from tests.support import servers
from tests.support.pictures import HeldPicture, picture
from tests.support.stored_files import row
from tests.support.webhooks import SECRET
from viewer import jobs
from viewer.extensions import db, now
from viewer.intake import collect, ingest, sweep
from viewer.models import MediaAttachment, WebhookEvent
from viewer.upkeep import health

State = MediaAttachment.State
VALKEY = re.compile(r"valkey.*(unixsocket|:0)")  # it renames itself
LATER = collect.LEASE + timedelta(seconds=1)


@pytest.fixture
def queue(app, valkey_url) -> Iterator[redis.Redis]:
    with redis.from_url(valkey_url) as connection:
        yield connection


@pytest.fixture
def announced(deliver, message, provider, queue) -> Callable[..., Any]:
    """The id of a photo that is announced and not yet collected; nobody is reminded of it."""

    def announce(content: Any = None) -> Any:
        deliver(message(media=[provider.serve(content or picture())]).payload())
        [event] = db.session.scalars(sa.select(WebhookEvent).filter_by(state="received"))
        media = ingest.ingest(event.id)
        db.session.commit()
        queue.flushall()
        return media[0]

    return announce


def swept() -> None:
    """What the scheduler does every ten seconds."""
    jobs.remind_of(sweep.sweep())


def worked() -> None:
    """A real worker, in a process of its own, until nothing is due."""
    db.session.rollback()  # nothing open may cross the fork
    db.engine.dispose()
    process = multiprocessing.get_context("fork").Process(
        target=jobs.work, args=(jobs.QUEUES,), kwargs={"burst": True}
    )
    process.start()
    process.join()


# --- 75, 77: Redis -----------------------------------------------------------------------------


def test_75_a_queue_that_is_killed_while_a_photo_comes_costs_neither_it_nor_the_next(
    up, provider, message
):
    held = HeldPicture()
    host = up()
    door = f"{host.url}/webhooks/quo"
    provider.deliver(door, message(media=[provider.serve(held)]).payload(), secret=SECRET)
    assert held.is_asked_for.wait(60)
    [valkey] = [pid for pid, command in host.family().items() if VALKEY.search(command)]
    os.kill(valkey, signal.SIGKILL)
    second = message(media=[provider.serve(picture(colour="red"))])
    while_dead = provider.deliver(door, second.payload(), secret=SECRET)
    held.may_go.set()

    stored = "SELECT count(*) FROM media_attachments WHERE state = 'stored'"
    servers.wait_until(lambda: host.rows(stored) == [(2,)])
    servers.wait_until(lambda: valkey not in host.family())
    assert while_dead.status_code == 204


TROUBLES = {
    "full": ["CONFIG SET maxmemory 1"],
    "replica": ["REPLICAOF 127.0.0.1 1"],
    "password": ["CONFIG SET requirepass sesame"],
}
REMEDIES = {
    "full": ["CONFIG SET maxmemory 0"],
    "replica": ["REPLICAOF NO ONE"],
    "password": ["CONFIG SET requirepass ''"],
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_77_a_redis_that_refuses_to_be_written_costs_no_delivery_and_is_an_alarm(
    trouble, settings, request, message, provider
):
    with servers.running_valkey() as url, redis.from_url(url) as admin:
        settings["REDIS_URL"] = url
        client, deliver, work = map(request.getfixturevalue, ("client", "deliver", "work"))
        for command in TROUBLES[trouble]:
            admin.execute_command(*command.replace("''", "").split(" "))

        answer = deliver(message(media=[provider.serve(picture())]).payload())
        with time_machine.travel(now() + health.UNREAD + timedelta(seconds=1)):
            swept()
            alarms = {alarm["name"] for alarm in client.get("/healthz").json["broken"]}
            for command in REMEDIES[trouble]:
                admin.execute_command(*command.replace("''", "").split(" "))
            work()

    assert answer.status_code == 204
    assert alarms & {"events_unread", "redis_silent"}
    [photo] = db.session.scalars(sa.select(MediaAttachment))
    assert photo.state is State.STORED


# --- 78, 80, 81: what is in the queue ------------------------------------------------------------


def test_78_a_job_whose_worker_died_before_it_began_is_reminded_of_again(
    announced, queue, provider
):
    media_id = announced()
    swept()
    taken = queue.lmove("rq:queue:intake", "rq:queue:intake:intermediate")  # and there it died

    swept()
    worked()

    assert taken is not None
    assert row(media_id).state is State.STORED
    assert provider.gets(row(media_id).openphone_url) == 1


class Pwned:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_80_rubbish_in_the_queue_runs_nothing_and_holds_nothing_up(announced, queue, tmp_path):
    mark = tmp_path / "pwned"
    media_id = announced()
    job = {"created_at": "2026-01-01T00:00:00.000000Z", "origin": "intake", "status": "queued"}
    evil = {
        "pickle": pickle.dumps(Pwned(mark)),
        "rubbish": b"\xff\x00\xfe",
        "nothing": b"",
        "nobody": json.dumps(["viewer.jobs.collect_media", None, ["no id"], {}]).encode(),
        "args": json.dumps(["viewer.jobs.collect_media", None, [], {}]).encode(),
    }
    for name, payload in evil.items():
        queue.hset(f"rq:job:{name}", mapping=job | {"data": payload})
    queue.rpush("rq:queue:intake", "never-was", *evil)

    for _ in range(2):  # the first clears it away, and the next sweep finds the queue empty
        swept()
        worked()

    assert not mark.exists()
    assert queue.llen("rq:queue:intake") == 0
    assert row(media_id).state is State.STORED


def test_80_jobs_from_before_a_restore_do_nothing(announced, queue, provider):
    media_id = announced()
    photo = row(media_id).openphone_url
    old = rq.Queue("intake", connection=queue, serializer=JSONSerializer)
    for function, row_id in (
        ("collect_media", str(media_id)),
        ("collect_media", "11111111-0000-4000-8000-000000000000"),
        ("ingest_event", "22222222-0000-4000-8000-000000000000"),
    ):
        old.enqueue_call(f"viewer.jobs.{function}", args=(row_id,))
    jobs.remind(jobs.INTAKE)
    db.session.execute(sa.delete(MediaAttachment))
    db.session.commit()

    worked()

    assert db.session.scalars(sa.select(MediaAttachment)).all() == []
    assert provider.gets(photo) == 0
    assert queue.llen("rq:queue:intake") == 0


def test_81_a_deploy_whose_jobs_cannot_be_found_touches_no_row(announced, queue):
    media_id = announced()
    before = row(media_id).attempts, row(media_id).state
    broken = rq.Queue("intake", connection=queue, serializer=JSONSerializer)
    for name in ("viewer.jobs.nonesuch", "viewer.nonesuch.collect_media"):
        broken.enqueue_call(name, args=(str(media_id),), job_id=f"collect_media_{media_id}")
        worked()
    after = row(media_id).attempts, row(media_id).state

    swept()  # by the version before
    worked()

    assert after == before
    assert row(media_id).state is State.STORED


# --- 82, 83: workers -----------------------------------------------------------------------------


def test_82_a_download_that_hangs_is_ended_and_the_others_go_on(up, provider, message, tmp_path):
    """By its own deadline; beyond that, the supervisor ends the worker (test_supervise.py)."""
    held = HeldPicture()
    host = up(TRANSFER_SECONDS="1")
    text = message(media=[provider.serve(held), provider.serve(picture(colour="red"))])
    provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)

    stored = "SELECT count(*) FROM media_attachments WHERE state = 'stored'"
    servers.wait_until(lambda: host.rows(stored) == [(1,)])
    waits = "SELECT problem FROM media_attachments WHERE state = 'pending'"
    servers.wait_until(lambda: "took longer" in str(host.rows(waits)))
    held.may_go.set()
    servers.wait_until(lambda: host.rows(stored) == [(2,)])


def test_83_a_worker_that_the_kernel_kills_counts_as_an_attempt_and_is_no_tight_loop(
    announced, queue, provider, monkeypatch
):
    media_id = announced()
    monkeypatch.setenv("VIEWER_FAILPOINTS", "storage.sealed=kill")  # memory ran out
    for _ in range(4):
        swept()
        worked()
    at_once = row(media_id).attempts
    with time_machine.travel(now() + LATER):
        for _ in range(3):
            swept()
            worked()
    after_the_lease = row(media_id).attempts
    asked = provider.gets(row(media_id).openphone_url)
    monkeypatch.delenv("VIEWER_FAILPOINTS")

    with time_machine.travel(now() + 2 * LATER):
        swept()
        worked()

    assert (at_once, after_the_lease, asked) == (1, 2, 2)
    assert (row(media_id).state, row(media_id).attempts) == (State.STORED, 3)


def test_83_a_photo_that_kills_its_worker_each_time_is_told_to_a_person(announced, monkeypatch):
    media_id = announced()
    monkeypatch.setenv("VIEWER_FAILPOINTS", "collect.claimed=kill")
    swept()
    worked()

    with time_machine.travel(now() + collect.PATIENCE + LATER):
        swept()

    assert row(media_id).state is State.NEEDS_ATTENTION


def test_83_a_photo_that_kills_its_worker_each_time_is_an_alarm(announced, client, monkeypatch):
    announced()
    monkeypatch.setenv("VIEWER_FAILPOINTS", "collect.claimed=kill")
    for minutes in (0, 16):
        with time_machine.travel(now() + timedelta(minutes=minutes)):
            swept()
            worked()
            alarms = {alarm["name"] for alarm in client.get("/healthz").json["broken"]}

    assert "media_late" in alarms
