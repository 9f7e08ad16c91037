"""Backups by the clock: which targets, how often, and one run of each."""

import hashlib

import sqlalchemy as sa

from viewer.config import settings
from viewer.upkeep.backup import database, record
from viewer.upkeep.lease import Busy

LEASE = 1800.0  # seconds
LARGE = 1_000_000_000  # bytes of a database that is copied less often
USUAL, FOR_LARGE = 1.0, 6.0  # hours


def targets() -> tuple[str, ...]:
    return settings().BACKUP_TARGETS


def task_of(url: str) -> str:
    """The name of the scheduled task of a target: each has one, and fails alone."""
    return f"backup-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def every() -> float:
    """Seconds from one backup to the next."""
    given = settings().BACKUP_EVERY_HOURS
    if given is None:
        try:
            given = FOR_LARGE if database.size() > LARGE else USUAL
        except sa.exc.OperationalError:
            given = USUAL  # the database is away: the scheduler starts all the same
    return given * 3600


def run(url: str) -> str:
    """Back up to a target of the settings. How it went, in a line; the run is on record."""
    try:
        return record.back_up(url).words
    except Busy as busy:
        return str(busy)
