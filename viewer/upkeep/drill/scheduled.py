"""Drills by the clock: each target of the settings once a week."""

from datetime import timedelta

from viewer.extensions import db, now
from viewer.upkeep import runs
from viewer.upkeep.backup import scheduled as backups
from viewer.upkeep.drill import run as drills
from viewer.upkeep.drill.scratch import Busy

EVERY = 900.0  # seconds between two looks at whether one is due
LEASE = 1800.0  # seconds
APART = timedelta(days=7)
AGAIN = timedelta(days=1)  # after one that was red


def task_of(url: str) -> str:
    """The name of the scheduled task of a target."""
    return backups.task_of(url).replace("backup-", "drill-")


def is_due(url: str) -> bool:
    """The first drill follows the first good backup."""
    last = runs.latest(runs.Kind.DRILL, url)
    backup = runs.latest(runs.Kind.BACKUP, url, runs.Outcome.GOOD)
    db.session.commit()
    if last is None:
        return backup is not None
    ago = now() - last.started_at
    apart = APART if last.outcome is runs.Outcome.GOOD else AGAIN
    return ago > apart or ago < -AGAIN  # of a clock that was ahead


def run(url: str) -> str:
    """Drill a target of the settings, if it is due. How it went, in a line."""
    if not is_due(url):
        return "not due"
    try:
        return drills.drill(url).words
    except Busy as busy:
        return str(busy)
