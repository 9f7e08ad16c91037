"""A worker: several files at once, one process for all, and what its death costs."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
import sqlalchemy as sa

from tests.support.pictures import HeldPicture, picture
from tests.support.servers import wait_until
from viewer import jobs
from viewer.extensions import db, one_query
from viewer.intake import ingest, sweep
from viewer.jobs import worker
from viewer.jobs.drain import Turn
from viewer.models import MediaAttachment, WebhookEvent
from viewer.watchdog import Watchdog

State = MediaAttachment.State


@pytest.fixture
def worker_process(settings: dict[str, Any], tmp_path: Path) -> Iterator[Any]:
    """A worker in a process of its own until nothing is due; `log` is what it says."""
    log = tmp_path / "worker.log"
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        given = {name: str(value) for name, value in settings.items()}
        given["TRANSFER_SECONDS"] = "60"  # the provider below holds its answer back
        with log.open("ab") as stderr:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "viewer", "work", jobs.INTAKE, "--burst"],
                    env=os.environ | given,
                    stderr=stderr,
                )
            )
        return started[-1]

    yield start, log
    for process in started:
        process.kill()
        process.wait()


def events() -> list[sa.Row[Any]]:
    with one_query() as connection:
        return list(connection.execute(sa.select(WebhookEvent).order_by(WebhookEvent.received_at)))


def states() -> list[State]:
    with one_query() as connection:
        return list(connection.scalars(sa.select(MediaAttachment.state)))


def worked(watchdog: Watchdog | None = None) -> jobs.Ended:
    db.session.rollback()  # else SQLite would let no worker write
    return jobs.work([jobs.INTAKE], burst=True, watchdog=watchdog)


def test_a_second_worker_does_not_disturb_a_download(
    deliver: Callable[..., Any],
    message: Callable[..., Any],
    provider: Any,
    worker_process: Any,
    valkey_url: str,
) -> None:
    start, log = worker_process
    held = HeldPicture()
    deliver(message(media=[provider.serve(held)]).payload())
    first = start()
    assert held.is_asked_for.wait(60), log.read_text()
    jobs.remind_of(sweep.Due([], [uuid.uuid4()], []))
    start().wait(60)  # it finds the row claimed, and ends first
    held.may_go.set()
    first.wait(60)

    assert "Traceback" not in log.read_text()
    assert states() == [State.STORED]
    [attempts] = db.session.scalars(sa.select(MediaAttachment.attempts))
    assert attempts == 1
    with redis.from_url(valkey_url) as connection:
        registry = rq.Queue(jobs.INTAKE, connection=connection).failed_job_registry
        assert registry.get_job_ids() == []


def test_files_are_downloaded_several_at_once_and_events_are_read_meanwhile(
    deliver, message, provider, worker_process
):
    start, log = worker_process
    held = [HeldPicture(colour) for colour in ("red", "green", "blue")]
    deliver(message(media=[provider.serve(one) for one in held]).payload())
    process = start()
    assert all(one.is_asked_for.wait(60) for one in held), log.read_text()

    deliver(message(text="And this?").payload())

    wait_until(lambda: [e.state for e in events()] == [WebhookEvent.State.PROCESSED] * 2)
    for one in held:
        one.may_go.set()
    assert process.wait(60) == 0
    assert states() == [State.STORED] * 3


def test_an_event_that_fails_keeps_no_other_waiting_and_is_tried_again(
    deliver, message, monkeypatch
):
    original, failing = ingest.ingest, []

    def fails_on_the_first(event_id: uuid.UUID) -> Any:
        if not failing:
            failing.append(event_id)
        if event_id == failing[0]:
            raise ValueError("our own mistake")
        return original(event_id)

    monkeypatch.setattr(ingest, "ingest", fails_on_the_first)
    for _ in range(3):
        deliver(message().payload())
    worked()
    first = {event.id: (event.state, event.attempts) for event in events()}

    for _ in range(ingest.TRIES):
        jobs.remind_of(sweep.Due([failing[0]], [], []))
        worked()

    assert first.pop(failing[0]) == (WebhookEvent.State.RECEIVED, 1)
    assert {state for state, _ in first.values()} == {WebhookEvent.State.PROCESSED}
    [given_up] = [event for event in events() if event.id == failing[0]]
    assert (given_up.state, given_up.attempts) == (WebhookEvent.State.UNPARSED, ingest.TRIES)


def test_an_event_at_which_the_process_died_is_tried_last_and_then_given_up(deliver, message):
    for _ in range(2):
        deliver(message().payload())
    [deadly, harmless] = [event.id for event in events()]
    watchdog = Watchdog()

    def die() -> None:
        with watchdog.watch(deadly, 60):
            watchdog.clear()  # as the supervisor does when it has found the process dead

    die()
    worked(watchdog)
    after_one = {event.id: (event.state, event.attempts) for event in events()}
    for _ in range(ingest.TRIES - 1):
        die()
        worked(watchdog)

    assert after_one[harmless][0] is WebhookEvent.State.PROCESSED
    assert after_one[deadly] == (WebhookEvent.State.RECEIVED, 1)
    [given_up] = [event for event in events() if event.id == deadly]
    assert given_up.state is WebhookEvent.State.UNPARSED
    assert given_up.problem == "Our program failed on it (ProcessDied)."


@pytest.mark.parametrize(("limit", "value"), [("MOST_UNITS", 2), ("MOST_GROWTH", -1)])
def test_a_worker_that_is_worn_out_hands_over_between_two_units(
    limit, value, deliver, message, monkeypatch
):
    for _ in range(4):
        deliver(message().payload())
    monkeypatch.setattr(worker, limit, value)

    ended = worked()
    done = [event.state for event in events()].count(WebhookEvent.State.PROCESSED)
    monkeypatch.undo()
    last = worked()  # by the reminder that the first one left

    assert ended is jobs.Ended.TO_RESTART
    assert done == max(value, 0)
    assert last is jobs.Ended.STOPPED
    assert {event.state for event in events()} == {WebhookEvent.State.PROCESSED}


def test_a_file_on_which_our_code_fails_keeps_no_other_waiting(
    deliver, message, provider, monkeypatch
):
    bad, good = provider.serve(picture()), provider.serve(picture(colour="red"))
    deliver(message(media=[bad, good]).payload())
    fetched = jobs.units.collect.fetch_file

    def fails(url: str, *words: Any) -> Any:
        if url == bad:
            raise ValueError("our own mistake")
        return fetched(url, *words)

    monkeypatch.setattr(jobs.units.collect, "fetch_file", fails)

    worked()

    assert sorted(states()) == [State.DOWNLOADING, State.STORED]  # its lease ends soon


def test_events_are_read_in_the_order_of_arrival(deliver, message, monkeypatch):
    original, order = ingest.ingest, []

    def note(event_id: uuid.UUID) -> Any:
        order.append(event_id)
        return original(event_id)

    monkeypatch.setattr(ingest, "ingest", note)
    for _ in range(20):
        deliver(message().payload())
    arrived = [event.id for event in events()]

    worked()

    assert order == arrived


def test_one_worker_ingests_and_another_goes_on_where_it_ended(tmp_path):
    mine, other = Turn(tmp_path, is_needed=True), Turn(tmp_path, is_needed=True)

    assert (mine.take(), mine.take(), other.take()) == (True, True, False)

    mine.give_up()
    assert other.take()


@pytest.mark.on_sqlite("workers take turns for its write lock alone")
def test_a_worker_waits_for_its_turn_and_leaves_no_event(
    deliver, message, settings, worker_process
):
    start, log = worker_process
    turn = Turn(Path(settings["DATA_DIR"]), is_needed=True)
    assert turn.take()  # as a worker that looked just before this event came
    deliver(message().payload())
    process = start()

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    unread = [event.state for event in events()]
    turn.give_up()

    assert process.wait(60) == 0, log.read_text()
    assert unread == [WebhookEvent.State.RECEIVED]
    assert [event.state for event in events()] == [WebhookEvent.State.PROCESSED]
