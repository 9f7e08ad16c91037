"""What is done by the clock fails alone, says so, is tried again, and keeps its lease meanwhile."""

import logging
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import BOTH
from tests.support.alarms import alarms_beside_setup
from tests.support.servers import wait_until
from viewer import holdings, schedule
from viewer.extensions import db, now
from viewer.models import ScheduledTask
from viewer.quo import rest
from viewer.schedule import TaskDefinition
from viewer.upkeep import health, host_tasks

ALL_WELL = {"intake": 1, "copies": 1}


class Unexpected(Exception):
    pass


def broken() -> str:
    raise Unexpected("+16175550123 said hello")


def row(name: str) -> ScheduledTask:
    return db.session.get_one(ScheduledTask, name, populate_existing=True)


def alarms() -> dict[str, health.Level]:
    found = alarms_beside_setup(ALL_WELL)
    return {one.name: one.level for one in found if one.name != "backup_unconfigured"}


@pytest.fixture
def swept(app: Any) -> None:
    schedule.do_if_due(TaskDefinition("sweep", 10, 60, schedule._sweep), "test")


def test_a_task_that_fails_unexpectedly_is_logged_recorded_and_shown(
    swept: None, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ran = schedule.do_if_due(TaskDefinition("totals", 600, 1800, broken), "host1")
    page, machine = client.get("/status").text, client.get("/healthz").json

    assert ran
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is Unexpected
    assert row("totals").failed_at is not None
    assert (row("totals").holder, row("totals").done_at, row("totals").failures) == (None, None, 1)
    assert str(row("totals").problem).startswith("Unexpected in test_schedule.py, line ")
    assert str(row("totals").problem) in page
    assert "Counting all files failed" in page
    assert "totals_failed" in {alarm["name"] for alarm in machine["attention"]}
    assert "5550123" not in page + str(machine)


def test_a_sweep_that_fails_is_broken_and_one_that_keeps_failing_is_silent(
    swept: None, time_machine_at: Callable[..., Any]
) -> None:
    begin = now()
    found = []
    for seconds in (11, 61, 122):
        with time_machine_at(begin + timedelta(seconds=seconds)):
            assert schedule.do_if_due(TaskDefinition("sweep", 10, 60, broken), "host1")
            found.append(alarms())

    broken_level = health.Level.BROKEN
    assert found[0] == {"sweep_failed": broken_level}
    assert found[-1] == {"sweep_failed": broken_level, "sweep_silent": broken_level}


def test_success_ends_the_alarm(swept: None, time_machine_at: Callable[..., Any]) -> None:
    schedule.do_if_due(TaskDefinition("totals", 600, 1800, broken), "host1")
    before = alarms()
    with time_machine_at(now() + timedelta(seconds=6)):
        schedule.do_if_due(TaskDefinition("totals", 600, 1800, lambda: "done"), "host2")

        assert before == {"totals_failed": health.Level.ATTENTION}
        assert alarms() == {}
    assert (row("totals").said, row("totals").problem, row("totals").failures) == ("done", None, 0)


@pytest.mark.parametrize(
    ("every", "tried"),
    [(600, [0, 5, 15, 35, 75, 155, 315, 635, 1235, 1835]), (10, [0, 5, 15, 25, 35])],
)
def test_a_task_that_failed_is_tried_again_with_backoff_up_to_its_usual_pause(
    app: Any, time_machine_at: Callable[..., Any], every: float, tried: list[int]
) -> None:
    begin = now()
    ran = []
    for seconds in range(0, tried[-1] + 1, 5):
        with time_machine_at(begin + timedelta(seconds=seconds)):
            if schedule.do_if_due(
                TaskDefinition("totals", every, 60, broken), f"host{seconds % 2}"
            ):
                ran.append(seconds)

    assert ran == tried


def test_a_failure_on_a_clock_that_was_years_ahead_delays_nothing(
    app: Any, time_machine_at: Callable[..., Any]
) -> None:
    with time_machine_at(now() + timedelta(days=900)):
        schedule.do_if_due(TaskDefinition("totals", 600, 60, broken), "host1")

    assert schedule.do_if_due(TaskDefinition("totals", 600, 60, lambda: "done"), "host1")


def test_trouble_that_passes_is_recorded_without_a_traceback(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> str:
        raise rest.Unreachable("The provider does not answer.")

    schedule.do_if_due(TaskDefinition("catch_up", 600, 1800, away), "host1")

    assert row("catch_up").problem == "The provider does not answer."
    assert [record for record in caplog.records if record.exc_info] == []


def test_what_a_failed_run_wrote_is_not_kept(app: Any) -> None:
    def writes_and_fails() -> str:
        db.session.add(ScheduledTask(name="half done"))
        db.session.flush()
        return broken()

    schedule.do_if_due(TaskDefinition("totals", 600, 1800, writes_and_fails), "host1")

    assert db.session.scalars(sa.select(ScheduledTask.name)).all() == ["totals"]


@BOTH
def test_a_lease_is_renewed_while_the_task_runs(app: Any, database: str) -> None:
    seen: list[Any] = []

    def until() -> Any:
        found = row("totals").until
        db.session.rollback()  # SQLite lets nobody else write meanwhile
        return found

    def slow() -> str:
        first = until()
        wait_until(lambda: until() > first)
        seen.append(ScheduledTask.take_lease("totals", "host2", seconds=6, every=0))
        return "done"

    schedule.do_if_due(TaskDefinition("totals", 600, 6, slow), "host1")

    assert seen == [False]
    assert (row("totals").holder, row("totals").said) == (None, "done")
    assert [thread for thread in threading.enumerate() if thread.name.startswith("lease")] == []


@BOTH
@pytest.mark.parametrize("end", [lambda: "done", broken], ids=["done", "failed"])
def test_a_run_that_lost_its_lease_records_nothing(app: Any, database: str, end: Any) -> None:
    seen: list[bool] = []

    def overtaken() -> str:
        row("totals").until = now() - timedelta(seconds=1)  # as if this host had slept
        seen.append(ScheduledTask.take_lease("totals", "host2", seconds=60, every=600))
        db.session.commit()
        seen.append(ScheduledTask.renew("totals", "host1", seconds=60))
        db.session.commit()
        return str(end())

    schedule.do_if_due(TaskDefinition("totals", 600, 60, overtaken), "host1")

    assert seen == [True, False]
    found = row("totals")
    assert (found.holder, found.done_at, found.failed_at) == ("host2", None, None)


def test_a_task_that_hangs_or_fails_stops_no_other(app: Any) -> None:
    stop, hangs, goes_on = threading.Event(), threading.Event(), threading.Event()
    swept: list[int] = []

    def hang() -> str:
        hangs.set()
        goes_on.wait(60)
        return "done"

    def leave() -> str:
        raise SystemExit(3)

    tasks = [
        TaskDefinition("totals", 600, 1800, hang),
        TaskDefinition("search", 600, 1800, broken),
        TaskDefinition("statistics", 600, 1800, leave),
        TaskDefinition("sweep", 0, 60, lambda: str(swept.append(1))),
    ]
    scheduler = threading.Thread(target=schedule.run_tasks, args=(app, tasks, stop))
    scheduler.start()

    def failed() -> set[str]:
        names = db.session.scalars(sa.select(ScheduledTask.name).where(ScheduledTask.failures > 0))
        found = set(names)
        db.session.rollback()
        return found

    try:
        assert hangs.wait(60)
        wait_until(lambda: failed() == {"search", "statistics"})
        so_far = len(swept)
        wait_until(lambda: len(swept) > so_far + 1)
        is_running = scheduler.is_alive() and not stop.is_set()
    finally:
        goes_on.set()
        stop.set()
        scheduler.join()

    assert is_running


def test_every_task_has_a_rule_for_its_alarms(app: Flask) -> None:
    tasks = schedule.definitions(with_catch_up=True, with_mail=True)
    names = [task.name for task in tasks]
    own = [task.name for task in schedule.host_definitions()]

    assert sorted(names) == sorted(health.TASK_RULES)
    assert sorted(map(host_tasks.task_of, own)) == sorted(health.HOST_RULES)
    assert all(len(name) <= 40 for name in own)  # the column


@BOTH
def test_each_host_does_its_own_tasks_and_two_hosts_do_not_share_them(
    app: Flask, database: str
) -> None:
    tasks = schedule.host_definitions()

    assert [schedule.do_if_due(task, "host1") for task in tasks] == [True] * len(tasks)

    assert {row(task.name).said for task in tasks} == {
        "0 leftovers cleared", "0 files pushed", "nothing is waiting", "not due", "0 files erased",
    }  # fmt: skip
    holdings.expect(other := uuid.uuid4())
    assert {task.name for task in schedule.host_definitions()}.isdisjoint(
        task.name for task in tasks
    )
    assert all(task.name.endswith(other.hex[:12]) for task in schedule.host_definitions())
