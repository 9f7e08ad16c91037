"""What the status page is told: how old the newest verified backup is, and of which target."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.upkeep import runs
from viewer.upkeep.backup import coverage

A, B = "folder:/mnt/a", "folder:/mnt/b"


@pytest.fixture
def settings(settings):
    return settings | {"BACKUP_TARGETS": "/mnt/a"}


def ended(url: str, outcome: runs.Outcome = runs.Outcome.GOOD, **counts: int) -> None:
    runs.finish(runs.begin(runs.Kind.BACKUP, url), outcome, f"it is {outcome}", counts, snapshot=1)


def test_k48_a_target_that_was_never_backed_up_to_is_late_from_the_first_day(app):
    found = coverage.read()

    assert [(one.url, one.is_configured, one.last) for one in found.targets] == [(A, True, None)]
    assert (found.is_unconfigured, found.is_late(now())) == (False, True)
    assert [one.url for one in found.late(now())] == [A]


def test_k48_a_day_and_two_hours_without_a_verified_backup_are_late(app):
    ended(A, files=3, snapshots=2)
    ended(A, runs.Outcome.BAD)
    found = coverage.read()
    [target] = found.targets

    assert (target.files, target.snapshots, target.is_bad) == (3, 2, True)
    assert not found.is_late(now() + timedelta(hours=25))
    assert found.is_late(now() + timedelta(hours=27))


def test_what_a_comparison_found_stays_said_until_another_one_was_made(app):
    """A target that is away since says nothing about what was wrong in it."""
    ended(A, files=3)
    ended(A, runs.Outcome.BAD, is_mass_change=1, healed=2)
    ended(A, runs.Outcome.FAILED)
    [target] = coverage.read().targets

    assert (target.is_bad, target.is_mass_change, target.healed) == (True, True, 2)
    assert (target.failure, target.files) == ("it is failed", 3)
    ended(A)
    [target] = coverage.read().targets
    assert (target.is_bad, target.is_mass_change, target.healed) == (False, False, 0)
    assert target.failure is None


def test_k48_a_backup_by_cron_counts_although_no_setting_names_its_target(app):
    ended(B)
    found = coverage.read()

    assert [(one.url, one.is_configured) for one in found.targets] == [(A, True), (B, False)]
    assert not found.is_late(now())
    assert [one.url for one in found.late(now())] == [A]


def test_a_run_of_a_clock_that_was_ahead_is_no_backup_for_three_years(app, time_machine_at):
    with time_machine_at(now() + timedelta(days=1000)):
        ended(A)

    assert coverage.read().is_late(now())
    ended(A)
    assert not coverage.read().is_late(now())


def test_a_run_that_never_ended_is_no_backup(app):
    runs.begin(runs.Kind.BACKUP, A)

    assert coverage.read().is_late(now())


def test_it_is_two_queries_however_many_runs_there_were(app):
    for _ in range(3):
        ended(A)
        ended(B, runs.Outcome.BAD)
    asked = []
    listen = (db.engine, "before_cursor_execute", lambda *words: asked.append(words[2]))
    sa.event.listen(*listen)
    found = coverage.read()
    sa.event.remove(*listen)

    assert len(found.targets) == 2
    assert len([one for one in asked if one.startswith("SELECT")]) == 2
