"""Rate limit on failed attempts, with exponential backoff. Kept in rows, so it needs no Redis.

An attempt is counted before it is made and given back if it succeeds: a hundred concurrent guesses
get no further than a hundred sequential ones. After the last free attempt the wait is one minute,
then two, four, at most an hour. Attempts during a wait are refused unchecked and do not extend it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now
from viewer.models import Throttle

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
KEPT = timedelta(days=1)  # row lifetime: no allowance has a longer memory
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limit of one key: `free` failures without a wait, restored after `memory` of quiet."""

    key: str
    free: int
    memory: timedelta
    is_shared: bool = False  # several people share the key: one's success must not clear it
    longest: timedelta = LONGEST_WAIT


class TooMany(Exception):
    """Rate limited: no attempt is allowed for another `wait`."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(str(wait))
        self.wait = wait


def count_attempt(*allowances: Allowance) -> bool:
    """Count an attempt against each allowance, before it is made.

    Returns whether the next one will have to wait. Raises TooMany if any allowance is used up, and
    then counts nothing. Does not commit.
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
        wait = min(_wait(row.failures - allowance.free), allowance.longest)
        row.until = moment + wait
        ends = ends or bool(wait)
    _tidy(moment)
    return ends


def forget_failures(*allowances: Allowance) -> None:
    """After a successful attempt, reset each allowance; give a shared one only this attempt back.

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
    return left if left <= LONGEST_WAIT else None  # a clock that was wrong must lock nobody out


def _wait(beyond: int) -> timedelta:
    """Exponential backoff: a minute after the last free attempt, doubled by each further one."""
    if beyond < 0:
        return timedelta()
    return min(FIRST_WAIT * (1 << min(beyond, 10)), LONGEST_WAIT)


def _tidy(moment: datetime) -> None:
    """Bound the table: delete expired rows, and the surplus over MOST_ROWS."""
    without_looking = {"synchronize_session": False}
    old = sa.delete(Throttle).where(Throttle.until < moment - KEPT)
    db.session.execute(old, execution_options=without_looking)
    surplus = (db.session.scalar(sa.select(sa.func.count()).select_from(Throttle)) or 0) - MOST_ROWS
    if surplus > 0:
        # Evict the rows with the fewest failures: a flood of made-up names must not evict the one
        # account that is really under attack.
        least = (
            sa.select(Throttle.key).order_by(Throttle.failures, Throttle.until).limit(surplus + 100)
        )
        crowd = sa.delete(Throttle).where(Throttle.key.in_(least))
        db.session.execute(crowd, execution_options=without_looking)
