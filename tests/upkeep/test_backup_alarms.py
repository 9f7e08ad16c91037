"""How well the originals are protected: on the page, for the monitor, as metrics."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support.stored_files import keep
from viewer import schedule
from viewer.extensions import db, now
from viewer.models import RegisteredStore
from viewer.upkeep import health, runs
from viewer.upkeep.backup import scheduled
from viewer.upkeep.health import Level

A, B = "folder:/mnt/a", "folder:/mnt/b"
DAY = timedelta(days=1)


@pytest.fixture
def settings(settings):
    return settings | {"BACKUP_TARGETS": "/mnt/a,/mnt/b"}


@pytest.fixture(name="unconfigured")
def _unconfigured(app):
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update={"BACKUP_TARGETS": ()})


def ended(url=A, outcome=runs.Outcome.GOOD, words="Snapshot 1: as told.", **counts):
    runs.finish(runs.begin(runs.Kind.BACKUP, url), outcome, words, counts, snapshot=1)


def alarms() -> dict[str, Level]:
    found = health.read_health(None).alarms
    return {one.name: one.level for one in found if one.name.startswith("backup_")}


def drilled(url=A, outcome=runs.Outcome.GOOD, words="Snapshot 1 restored."):
    runs.finish(runs.begin(runs.Kind.DRILL, url), outcome, words, {}, snapshot=1)


def drill_alarms() -> dict[str, Level]:
    found = health.read_health(None).alarms
    return {one.name: one.level for one in found if one.name.startswith("drill_")}


def grow_old(age: timedelta) -> None:
    """The viewer was installed so long ago."""
    db.session.execute(sa.update(RegisteredStore).values(created_at=now() - age))
    db.session.commit()


def test_where_no_backup_is_set_up_a_person_is_told_from_the_first_day(unconfigured):
    assert alarms() == {"backup_unconfigured": Level.ATTENTION}


def test_a_first_backup_may_take_a_day_and_then_it_is_an_alarm(app):
    on_the_first_day = alarms()
    grow_old(2 * DAY)

    assert on_the_first_day == {"backup_late": Level.ATTENTION}
    assert alarms() == {"backup_late": Level.BROKEN}


def test_k48_an_old_backup_is_an_alarm_whoever_made_it(unconfigured, time_machine_at):
    with time_machine_at(now() - 2 * DAY):
        ended("folder:/mnt/by-cron")

    assert alarms() == {"backup_late": Level.BROKEN}


def test_fresh_backups_are_no_alarm(app):
    ended(A)
    ended(B)

    assert alarms() == {}


def test_one_late_target_of_two_wants_attention(app):
    ended(A)

    assert alarms() == {"backup_target_late": Level.ATTENTION}


@pytest.mark.parametrize("outcome", [runs.Outcome.BAD, runs.Outcome.FAILED])
def test_a_backup_that_was_not_good_wants_attention_while_another_is_fresh(outcome, app):
    ended(A)
    ended(B)
    ended(B, outcome)

    assert alarms() == {"backup_bad": Level.ATTENTION}


def test_many_originals_that_changed_are_an_alarm_at_once(app):
    ended(A)
    ended(B)
    ended(B, runs.Outcome.BAD, is_mass_change=True)

    assert alarms() == {"backup_mass_change": Level.BROKEN}


def test_a_target_whose_files_had_to_be_written_again_wants_attention(app):
    ended(A)
    ended(B, healed=2)

    assert alarms() == {"backup_healed": Level.ATTENTION}


def test_the_monitor_hears_of_no_path(app, client):
    ended(A, runs.Outcome.BAD, "The target /mnt/a/secret is full.")
    grow_old(2 * DAY)

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert "backup_late" in {one["name"] for one in answer.json["broken"]}
    assert "/mnt" not in answer.text


# --- Proven --------------------------------------------------------------------------------


def test_a_backup_that_no_drill_restored_yet_wants_attention(app):
    before = drill_alarms()
    ended(A)

    assert (before, drill_alarms()) == ({}, {"drill_late": Level.ATTENTION})


def test_a_proven_backup_is_no_alarm_for_eight_days(app, time_machine_at):
    ended(A)
    ended(B)
    drilled(A)
    drilled(B)
    fresh = drill_alarms()
    with time_machine_at(now() + 8.1 * DAY):
        old = drill_alarms()

    assert (fresh, old) == ({}, {"drill_late": Level.BROKEN})


def test_a_drill_that_could_not_restore_is_an_alarm_until_one_can(app):
    ended(A)
    ended(B)
    drilled(B)
    drilled(A)
    drilled(A, runs.Outcome.BAD)
    red = drill_alarms()
    drilled(A)

    assert (red, drill_alarms()) == ({"drill_bad": Level.BROKEN}, {})


def test_page_and_metrics_say_what_was_proven(app, client):
    ended(A)
    drilled(A, words="Snapshot 1 restored: 3 originals in the backup.")

    page = re.sub(r"\s+", " ", client.get("/status").text)
    metrics = client.get("/metrics").text

    assert "Snapshot 1 restored: 3 originals in the backup." in page
    assert "Proven to restore</dt><dd><time" in page
    assert f'viewer_drill_age_seconds{{target="{A}"}}' in metrics


# --- In two places -------------------------------------------------------------------------


def protection() -> tuple[int, int]:
    found = health.read_health(None).protection
    return found.in_two_places, found.originals


def test_an_original_is_in_two_places_once_a_verified_backup_began_after_it(app):
    keep()
    keep()
    before = protection()
    ended(A, runs.Outcome.BAD)
    bad = protection()
    ended(A)
    keep()

    assert (before, bad, protection()) == ((0, 2), (0, 2), (2, 3))


def test_what_has_no_right_copy_anywhere_is_in_no_two_places(app):
    keep()
    keep()
    ended(A, lost=1)

    assert protection() == (1, 2)


def test_a_purged_original_is_counted_nowhere(app):
    media = keep()
    ended(A)
    media.purged_at = now()
    db.session.commit()

    assert protection() == (0, 0)


def test_page_and_metrics_say_how_many_are_in_two_places_and_where(app, client):
    keep()
    ended(A, files=1, snapshots=4)
    keep()
    ended(B, runs.Outcome.BAD, "The target is full.")

    page = re.sub(r"\s+", " ", client.get("/status").text)
    metrics = client.get("/metrics").text

    assert "<dd>1 of 2</dd>" in page
    assert "1 not in the backup of" in page
    assert f"Store: {app.config['SETTINGS'].media_root}" in page
    assert f"Backup: {A} " in page
    assert "4 snapshots kept." in page
    assert "The target is full." in page
    assert "viewer_originals_in_two_places 1.0" in metrics
    assert f'viewer_backup_files{{target="{A}"}} 1.0' in metrics
    assert f'viewer_backup_age_seconds{{target="{A}"}}' in metrics


def test_a_backup_that_ends_unexpectedly_is_shown(app, client, monkeypatch):
    def broken(_url: str) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(scheduled, "run", broken)
    [task, *_] = schedule.backup_definitions()
    schedule.do_if_due(task, "test")

    assert "ZeroDivisionError in test_backup_alarms.py" in client.get("/status").text
    assert f"{task.name}_failed" in {one.name for one in health.read_health(None).alarms}
