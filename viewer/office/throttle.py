"""How often somebody may try in vain. It is rows that count, so it works without Redis.

A try is counted before it is made and given back if it succeeds: a hundred guesses sent at one
moment get no further than a hundred sent in turn. Whoever used up an allowance waits a minute,
then two, four, at most an hour; tries made meanwhile are refused unseen and make it no longer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now
from viewer.models import Throttle

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
KEPT = timedelta(days=1)  # no allowance remembers longer
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may fail without a wait, and how long a quiet time until it is all there again."""

    key: str
    free: int
    memory: timedelta
    is_shared: bool = False  # one person's success says nothing about the others


class TooMany(Exception):
    """No try now."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(str(wait))
        self.wait = wait


def count_attempt(*allowances: Allowance) -> bool:
    """Count a try in each, before it is made. Whether it was the last one for a while.

    Raises TooMany if one of them is used up, and then counts nothing. Does not commit.
    """
    lock(Lock.THROTTLE)
    moment = now()
    rows = _rows(allowances)
    waits = [wait for row in rows.values() if (wait := _left(row, moment))]
    if waits:
        raise TooMany(max(waits))
    ends = False
    for allowance in allowances:
        row = rows.get(allowance.key)
        if row is None:
            row = Throttle(key=allowance.key, failures=0, first_at=moment, until=moment)
            db.session.add(row)
        elif row.until is None or moment > row.until + allowance.memory:
            row.failures, row.first_at = 0, moment
        row.failures += 1
        wait = _wait(row.failures - allowance.free)
        row.until = moment + wait
        ends = ends or bool(wait)
    _tidy(moment)
    return ends


def forget_failures(*allowances: Allowance) -> None:
    """The try was right: forget every failure, or, of what is shared, only this one.

    Does not commit.
    """
    lock(Lock.THROTTLE)
    rows = _rows(allowances)
    for allowance in allowances:
        row = rows.get(allowance.key)
        if row is not None and allowance.is_shared and row.failures > 1:
            row.failures, row.until = row.failures - 1, now()
        elif row is not None:
            db.session.delete(row)


def _rows(allowances: tuple[Allowance, ...]) -> dict[str, Throttle]:
    found = db.session.scalars(
        sa.select(Throttle)
        .where(Throttle.key.in_([allowance.key for allowance in allowances]))
        .execution_options(populate_existing=True)
    )
    return {row.key: row for row in found}


def _left(row: Throttle, moment: datetime) -> timedelta | None:
    if row.until is None or row.until <= moment:
        return None
    left = row.until - moment
    return left if left <= LONGEST_WAIT else None  # a clock that was wrong locks nobody out


def _wait(beyond: int) -> timedelta:
    """After the last free try a minute, and twice as long after each one more."""
    if beyond < 0:
        return timedelta()
    return min(FIRST_WAIT * (1 << min(beyond, 10)), LONGEST_WAIT)


def _tidy(moment: datetime) -> None:
    """The table stays small, whoever tries whatever from wherever."""
    without_looking = {"synchronize_session": False}
    old = sa.delete(Throttle).where(Throttle.until < moment - KEPT)
    db.session.execute(old, execution_options=without_looking)
    surplus = (db.session.scalar(sa.select(sa.func.count()).select_from(Throttle)) or 0) - MOST_ROWS
    if surplus > 0:
        # Those with the fewest failures: a crowd of made-up names must not wash away the one
        # account that is really being guessed at.
        least = (
            sa.select(Throttle.key).order_by(Throttle.failures, Throttle.until).limit(surplus + 100)
        )
        crowd = sa.delete(Throttle).where(Throttle.key.in_(least))
        db.session.execute(crowd, execution_options=without_looking)
