"""Rows are the truth: whatever the queue forgot, the sweep finds."""

import fcntl
import os
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.pictures import picture
from tests.support.query_plans import noted_plans
from tests.support.stored_files import row
from viewer import holdings, jobs, schedule
from viewer.extensions import db, now
from viewer.intake import collect, derivatives, ingest, sweep
from viewer.models import MediaAttachment, WebhookEvent
from viewer.storage import Workspace

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


@pytest.fixture
def flush(app, valkey_url):
    """Redis loses everything, and it was long ago that this process saw a mark."""

    def forget() -> None:
        redis.from_url(valkey_url).flushall()
        app.extensions["marks_seen"].clear()

    return forget


@pytest.fixture
def waiting(app, valkey_url):
    """How many reminders wait in each queue."""

    def count() -> dict[str, int]:
        connection = redis.from_url(valkey_url)
        return {name: connection.llen(f"rq:queue:{name}") for name in jobs.QUEUES}

    return count


@pytest.fixture
def lose_reminders(app, valkey_url):
    """Empty the queues; their marks stay."""
    return lambda: redis.from_url(valkey_url).delete(*(f"rq:queue:{name}" for name in jobs.QUEUES))


@pytest.fixture
def pending(deliver, message, provider):
    """The row of a photo that is announced and not yet collected."""

    def announce() -> MediaAttachment:
        deliver(message(media=[provider.serve(picture(60, 40))]).payload())
        event = db.session.scalars(
            sa.select(WebhookEvent).where(WebhookEvent.state == WebhookEvent.State.RECEIVED)
        ).one()
        [media_id] = ingest.ingest(event.id)
        db.session.commit()
        return row(media_id)

    return announce


def change(media: MediaAttachment, **values: Any) -> None:
    db.session.execute(sa.update(MediaAttachment).filter_by(id=media.id).values(**values))
    db.session.commit()


def swept() -> sweep.Due:
    return sweep.sweep()


@BOTH
def test_what_redis_forgot_at_every_station_is_taken_up_again(
    database, deliver, message, provider, flush, app
):
    deliver(message(media=[provider.serve(picture(60, 40))]).payload())

    for later in (10, 20, 30):  # event, file, copies: what follows is forgotten each time
        flush()
        with time_machine.travel(now() + timedelta(seconds=later)):
            run(swept())

    db.session.expire_all()  # the row may still be in the session, as it was
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    assert (media.state, media.copy_state) == (State.STORED, CopyState.MADE)


def run(due: sweep.Due) -> None:
    """Do what the sweep named, and no more."""
    for event_id in due.events:
        ingest.ingest(event_id)
        db.session.commit()
    for media_id in due.media:
        collect.collect(media_id)
    for media_id in due.copies:
        derivatives.make_copies(media_id)


def test_a_fresh_event_is_left_to_its_own_reminder(deliver, message):
    deliver(message().payload())

    assert swept().events == []

    with time_machine.travel(now() + sweep.UNREAD_AFTER + timedelta(seconds=1)):
        assert len(swept().events) == 1


def test_an_expired_lease_is_taken_back_and_a_living_one_is_not(pending):
    media = pending()
    assert collect._claim(media.id)
    assert swept().media == []

    with time_machine.travel(now() + collect.LEASE + timedelta(seconds=1)):
        assert swept().media == [media.id]
        assert collect.collect(media.id)

    assert row(media.id).state is State.STORED


def test_copies_whose_maker_died_are_due_again(pending):
    media = pending()
    collect.collect(media.id)
    derivatives._claim(media.id)
    assert swept().copies == []

    with time_machine.travel(now() + timedelta(minutes=10)):
        assert swept().copies == [media.id]


@pytest.mark.parametrize("state", [State.PENDING, State.NEEDS_ATTENTION])
def test_work_that_a_wrong_clock_put_off_for_years_is_due_now(state, pending):
    media = pending()
    change(media, state=state, next_attempt_at=now() + timedelta(days=1000))

    assert swept().media == [media.id]


def test_a_lease_from_the_future_is_no_lease(pending):
    media = pending()
    change(media, state=State.DOWNLOADING, lease_until=now() + timedelta(days=1000))

    swept()

    with time_machine.travel(now() + timedelta(seconds=1)):
        assert swept().media == [media.id]


def test_copies_that_a_wrong_clock_put_off_are_due_now(pending):
    media = pending()
    collect.collect(media.id)
    change(media, copy_due_at=now() + timedelta(days=1000))

    assert swept().copies == [media.id]


def test_a_try_that_is_rightly_a_day_away_stays_there(pending):
    media = pending()
    tomorrow = now() + timedelta(hours=23)
    change(media, state=State.NEEDS_ATTENTION, next_attempt_at=tomorrow)

    assert swept().media == []

    assert row(media.id).next_attempt_at == tomorrow


def test_what_nobody_tried_for_a_quarter_of_an_hour_is_told_to_a_person(pending):
    media = pending()

    with time_machine.travel(now() + collect.PATIENCE + timedelta(seconds=1)):
        assert swept().media == [media.id]

    media = row(media.id)
    assert media.state is State.NEEDS_ATTENTION
    assert media.problem == "Not here after 15 minutes; nobody has tried yet."


@pytest.mark.parametrize("state", [State.STORED, State.TRASHED, State.DAMAGED, State.CLOSED])
def test_what_is_settled_is_never_due(state, pending):
    media = pending()
    collect.collect(media.id)
    # Of a file that is here a next attempt means that it came cut off.
    again_at = None if state is State.STORED else now()
    change(media, state=state, copy_state=CopyState.MADE, next_attempt_at=again_at)

    with time_machine.travel(now() + timedelta(days=1)):
        assert swept() == sweep.Due([], [], [])


def test_one_notice_waits_however_much_is_due(pending, flush, waiting):
    pending(), pending()
    flush()

    for _ in range(5):
        jobs.remind_of(swept())

    assert waiting() == {jobs.INTAKE: 1, jobs.COPIES: 0}


def test_a_notice_that_was_lost_is_sent_again_although_its_mark_is_there(
    pending, waiting, flush, lose_reminders
):
    pending()
    flush()
    jobs.remind(jobs.INTAKE)
    lose_reminders()  # as a worker that died with one leaves it

    jobs.remind(jobs.INTAKE)
    with_mark = waiting()
    jobs.remind_of(swept())

    assert with_mark == {jobs.INTAKE: 0, jobs.COPIES: 0}
    assert waiting() == {jobs.INTAKE: 1, jobs.COPIES: 0}


def test_a_sweep_without_redis_waits_for_the_next(pending, settings, app):
    media = pending()
    app.extensions["redis"] = redis.from_url("unix:///nowhere/at/all")

    jobs.remind_of(swept())

    assert swept().media == [media.id]


@pytest.mark.parametrize("job", [jobs.ingest_event, jobs.collect_media, jobs.derive_media])
def test_a_reminder_of_a_row_that_is_no_more_does_nothing(job, app):
    job("00000000-0000-4000-8000-000000000000")

    assert db.session.scalars(sa.select(MediaAttachment)).all() == []


def test_a_reminder_of_a_trashed_file_does_nothing(pending, provider):
    media = pending()
    change(media, state=State.TRASHED)

    jobs.collect_media(str(media.id))
    jobs.derive_media(str(media.id))

    assert provider.gets(media.openphone_url) == 0
    assert row(media.id).state is State.TRASHED


def test_a_disk_that_hangs_while_it_is_tidied_keeps_nobody_from_the_database(
    app, deliver, message, monkeypatch
):
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> int:
        hangs.set()
        goes_on.wait(60)
        return 0

    monkeypatch.setattr(Workspace, "tidy", hang)

    def scheduled() -> None:
        with app.app_context():
            for name, do in (("sweep", schedule._sweep), ("tidy", schedule._tidy)):
                schedule.do_if_due(schedule.TaskDefinition(name, 0, 60, do), "me")

    host = threading.Thread(target=scheduled)
    host.start()
    assert hangs.wait(60)
    answer = deliver(message().payload())
    goes_on.set()
    host.join()

    assert answer.status_code == 204


def test_parts_of_dead_writers_are_cleared_and_of_the_living_are_not(app):
    living, dead = holdings.spool().new_part(), holdings.spool().new_part()
    fcntl.flock(dead.file, fcntl.LOCK_UN)  # as its death would
    long_ago = time.time() - sweep.PART_AGE - 1
    for part in (living, dead):
        os.utime(part.path, (long_ago, long_ago))

    assert sweep.tidy() == 1

    assert (living.path.exists(), dead.path.exists()) == (True, False)
    living.discard()
    dead.discard()


@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_no_question_of_the_sweep_reads_all_files_that_wait(app):
    """A thousand that nobody can bring home must not slow what comes every ten seconds."""
    with noted_plans() as plans:
        swept()

    assert len(plans) == 9
    for text, plan in plans.items():
        assert [line.split()[0] for line in plan] == ["SEARCH"], text
