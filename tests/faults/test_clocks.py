"""Rows 84 to 88 of the fault catalogue: clocks that jump, stand wrong, or disagree.

A wrong clock may make a photo late by a lease or a sweep. It never loses one, never puts work off
for years, and never makes two files of one.
"""

from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.payloads import signed
from tests.support.alarms import alarms_beside_setup
from tests.support.pictures import picture
from tests.support.stored_files import originals_below, photos
from tests.support.webhooks import LEGACY_SECRET
from viewer import jobs
from viewer.extensions import db, now
from viewer.intake import collect, ingest, sweep
from viewer.models import MediaAttachment, ScheduledTask, WebhookEvent

State = MediaAttachment.State
YEARS = timedelta(days=3 * 365)
BOTH_WAYS = pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["ahead", "behind"])


# --- 85: years -------------------------------------------------------------------------------


@BOTH_WAYS
def test_85_work_done_while_the_clock_is_years_off_is_done_and_stays_done(
    jump, deliver, message, provider, work, app, tmp_path
):
    urls = [provider.serve(picture()), provider.serve(picture(colour="red"), fail_first=1)]
    deliver(message(media=urls).payload())
    with time_machine.travel(now() + jump):
        jobs.work(jobs.QUEUES, burst=True)  # the first photo, and a first try of the second
        wrong = [row.state for row in photos()]

    with time_machine.travel(now() + timedelta(minutes=1)):  # the clock is set right
        sweep.sweep()
        db.session.commit()
        work()

    assert State.STORED in wrong
    assert [row.state for row in photos()] == [State.STORED] * 2
    assert [provider.gets(url) for url in urls] == [1, 2]
    assert all(row.file_path.startswith("2026/09/21/") for row in photos())


@BOTH_WAYS
def test_85_a_clock_that_jumps_in_the_middle_of_a_download_does_not_cut_it(
    jump, deliver, message, provider, app, tmp_path, request
):
    traveller = time_machine.travel(now())
    clock = traveller.start()
    request.addfinalizer(traveller.stop)

    def jumping() -> bytes:
        clock.shift(jump)
        return picture()

    url = provider.serve(jumping)
    deliver(message(media=[url]).payload())

    jobs.work(jobs.QUEUES, burst=True)
    [event] = db.session.scalars(sa.select(WebhookEvent))
    [photo] = photos()

    assert event.state is WebhookEvent.State.PROCESSED
    assert (photo.state, photo.attempts, provider.gets(url)) == (State.STORED, 1, 1)


def test_85_a_delivery_that_was_kept_by_a_clock_that_ran_ahead_is_read_when_it_is_right(
    client, message, valkey_url, app
):
    ahead = now() + timedelta(hours=40)  # legacy signatures are good for two days
    body, headers = signed(message().payload("d1"), "legacy", LEGACY_SECRET)
    with time_machine.travel(ahead):
        kept = client.post("/webhooks/quo", data=body, headers=headers)
    app.extensions["redis"].flushall()  # and its reminder is lost

    with time_machine.travel(now() + timedelta(minutes=5)):
        due = sweep.due()

    assert kept.status_code == 204
    assert len(due.events) == 1


def test_85_no_duty_waits_for_a_clock_that_was_years_ahead(app):
    with time_machine.travel(now() + YEARS):
        assert ScheduledTask.take_lease("sweep", "host1", seconds=60, every=10)
        ScheduledTask.finish("sweep", "host1", "done in the future")
        db.session.commit()
    with time_machine.travel(now() + timedelta(seconds=1)):
        after_done = ScheduledTask.take_lease("sweep", "host1", seconds=60, every=10)
    with time_machine.travel(now() + 2 * YEARS):
        assert ScheduledTask.take_lease("sweep", "host2", seconds=60, every=10)  # and dies at it
        db.session.commit()

    with time_machine.travel(now() + timedelta(seconds=2)):
        after_death = ScheduledTask.take_lease("sweep", "host1", seconds=60, every=10)

    assert after_done
    assert after_death


@BOTH
@pytest.mark.parametrize("state", ["at it", "done"])
def test_84_126_hosts_whose_clocks_differ_by_a_second_do_not_do_a_duty_twice(state, app, database):
    with time_machine.travel(now() + timedelta(seconds=2), tick=False):
        assert ScheduledTask.take_lease("sweep", "host1", seconds=60, every=10)
        if state == "done":
            ScheduledTask.finish("sweep", "host1", "done")
        db.session.commit()

    assert not ScheduledTask.take_lease("sweep", "host2", seconds=60, every=10)


# --- 84, 86: minutes ---------------------------------------------------------------------------


@BOTH
def test_84_a_host_whose_clock_is_ahead_takes_a_lease_early_and_still_there_is_one_file(
    deliver, message, provider, app, database, tmp_path
):
    """The worst it may do: a second download, and one of the two has no effect."""
    stolen: list[bool] = []

    def while_it_comes() -> bytes:
        if not stolen:
            stolen.append(True)
            with app.app_context(), time_machine.travel(now() + timedelta(minutes=2)):
                stolen.append(collect.collect(media_id))
        return picture()

    url = provider.serve(while_it_comes)
    deliver(message(media=[url]).payload())
    [event] = db.session.scalars(sa.select(WebhookEvent))
    [media_id] = ingest.ingest(event.id)
    db.session.commit()

    slow_one = collect.collect(media_id)

    [photo] = photos()
    assert (slow_one, stolen) == (False, [True, True])
    assert (photo.state, photo.attempts, provider.gets(url)) == (State.STORED, 2, 2)
    assert originals_below(tmp_path / "media") == [picture()]


@pytest.mark.parametrize("minutes", [-10, 10])
def test_86_a_clock_ten_minutes_off_refuses_and_says_stale_and_loses_nothing_that_is_repeated(
    minutes, deliver, message, provider, work, app
):
    payload = message(media=[provider.serve(picture())]).payload()
    really = now()
    with time_machine.travel(really + timedelta(minutes=minutes)):
        refused = deliver(payload, delivery_id="msg_1", at=really.timestamp())
        alarms = alarms_beside_setup({"intake": 1, "copies": 1})
        db.session.commit()
    kept_then = db.session.scalar(sa.select(sa.func.count()).select_from(WebhookEvent))

    repeat = deliver(payload, delivery_id="msg_1")
    work()

    assert (refused.status_code, refused.text.strip()) == (401, "stale")
    said = {alarm.name: alarm.words for alarm in alarms}
    age = int(said["refused_stale"].partition("signed ")[2].partition(" seconds")[0])
    assert abs(age - minutes * 60) <= 1  # a signature's time has no fractions
    assert (kept_then, repeat.status_code) == (0, 204)
    assert [row.state for row in photos()] == [State.STORED]


# --- 88 ------------------------------------------------------------------------------------------


@BOTH
def test_88_two_photos_of_one_second_and_one_name_are_two_files_and_a_repeat_is_none(
    deliver, message, provider, work, tmp_path
):
    one, other = (
        provider.serve(picture(colour=colour), path_suffix="/crack.jpg")
        for colour in ("red", "blue")
    )
    texts = [message(media=[one]), message(media=[other])]
    for text in texts:
        deliver(text.payload(), delivery_id=f"msg_{text.number}")
    work()

    with time_machine.travel(now() + timedelta(minutes=10)):
        deliver(texts[0].payload(), delivery_id="msg_again")
        work()

    assert len({row.file_stem for row in photos()}) == 2
    assert originals_below(tmp_path / "media").count(picture(colour="red")) == 1
    assert originals_below(tmp_path / "media").count(picture(colour="blue")) == 1
    assert (provider.gets(one), provider.gets(other)) == (1, 1)
