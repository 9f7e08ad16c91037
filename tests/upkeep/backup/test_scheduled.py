"""The schedule backs up to each target by itself, and suffers from none."""

import pytest

from tests.crash import disks
from viewer import schedule
from viewer.extensions import db
from viewer.models import ScheduledTask
from viewer.upkeep import runs
from viewer.upkeep.backup import database, scheduled


@pytest.fixture
def settings(settings, tmp_path):
    return settings | {"BACKUP_TARGETS": f"{tmp_path / 'one'},{tmp_path / 'two'}"}


def test_each_target_has_a_task_with_a_name_that_fits(app, settings):
    tasks = schedule.backup_definitions()

    assert [task.every for task in tasks] == [3600, 3600]
    assert len({task.name for task in tasks}) == 2
    assert max(len(task.name) for task in tasks) <= ScheduledTask.name.type.length


def test_a_large_database_is_copied_every_six_hours(app, monkeypatch):
    monkeypatch.setattr(scheduled, "LARGE", 1000)
    assert database.size() > 1000

    assert scheduled.every() == 6 * 3600


def test_a_failing_backup_is_on_record_and_the_task_goes_on(keep, tmp_path):
    """The target is on our own file system: each run is refused."""
    keep()
    [task, _] = schedule.backup_definitions()

    assert schedule.do_if_due(task, "host1")

    row = db.session.get_one(ScheduledTask, task.name)
    assert (row.failures, row.holder) == (0, None)
    assert "on the same file system" in str(row.said)
    run = runs.latest(runs.Kind.BACKUP, f"folder:{tmp_path / 'one'}")
    assert run is not None
    assert run.outcome is runs.Outcome.FAILED


@pytest.mark.proof
def test_a_target_on_its_own_disk_is_backed_up_to_by_the_clock(keep, stack, tmp_path):
    disks.needs_mounts()
    keep()
    stack.enter_context(disks.tmpfs(tmp_path / "one", "size=16m"))
    [task, _] = schedule.backup_definitions()

    assert schedule.do_if_due(task, "host1")

    assert str(db.session.get_one(ScheduledTask, task.name).said).startswith("Snapshot 1: ")
