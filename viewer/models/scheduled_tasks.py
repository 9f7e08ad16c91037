"""Leases of scheduled tasks: one process at a time, on any host; and when each last ran."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Lock, Model, db, lock, now

SKEW = timedelta(minutes=1)  # that two hosts' clocks may differ by
FIRST_BACKOFF = 5.0  # seconds after the first failure; doubled with each further one


class ScheduledTask(Model):
    """The sweep, the catch-up: who does it now, when it last went well, and how it last failed.

    The state alone. What is to be done, and how often, is `schedule.TaskDefinition`.
    """

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str | None] = mapped_column(String(120))
    until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    said: Mapped[str | None] = mapped_column(sa.Text)  # one line about the last time
    # Of the failures since it last went well:
    failed_at: Mapped[datetime | None]  # the newest
    problem: Mapped[str | None] = mapped_column(sa.Text)
    failures: Mapped[int] = mapped_column(default=0, server_default="0")

    @classmethod
    def take_lease(cls, name: str, holder: str, seconds: float, every: float) -> bool:
        """Take the lease for `holder` if the task is due and not leased. False otherwise."""
        lock(Lock.SCHEDULED_TASK, name)
        task = db.session.get(cls, name, populate_existing=True)
        moment = now()  # after the lock was waited for (SQLite waits in the line above)
        if task is None:
            task = cls(name=name, failures=0)
            db.session.add(task)
        # A clock that was set back must not stop a task for ever: the far future counts as never.
        # The near future is another host's clock, a little ahead of ours.
        leased, lately = moment + timedelta(seconds=seconds), moment - timedelta(seconds=every)
        if task.until is not None and moment < task.until <= leased + SKEW:
            return False
        if task.done_at is not None and lately < task.done_at <= moment + SKEW:
            return False
        tried = moment - task.backoff(every)
        if task.failed_at is not None and tried < task.failed_at <= moment + SKEW:
            return False
        task.holder, task.until = holder, moment + timedelta(seconds=seconds)
        return True

    @classmethod
    def renew(cls, name: str, holder: str, seconds: float) -> bool:
        """Extend the lease; whether `holder` still had it."""
        task = cls._held(name, holder)
        if task is not None:
            task.until = now() + timedelta(seconds=seconds)
        return task is not None

    @classmethod
    def finish(cls, name: str, holder: str, said: str) -> bool:
        """Record a run that went well, unless `holder` lost the lease; whether it was recorded."""
        task = cls._held(name, holder)
        if task is not None:
            task.holder = task.until = None
            task.done_at, task.said = now(), said
            task.failed_at, task.problem, task.failures = None, None, 0
        return task is not None

    @classmethod
    def fail(cls, name: str, holder: str, problem: str) -> bool:
        """Record a run that failed, unless `holder` lost the lease; whether it was recorded."""
        task = cls._held(name, holder)
        if task is not None:
            task.holder = task.until = None
            task.failed_at, task.problem = now(), problem
            task.failures += 1
        return task is not None

    def backoff(self, every: float) -> timedelta:
        """The pause after the last failure: exponential, but never longer than the usual one."""
        # The exponent is bounded: after a year of failures 2**failures is no number of seconds.
        return timedelta(seconds=min(FIRST_BACKOFF * 2 ** min(self.failures - 1, 20), every))

    @classmethod
    def _held(cls, name: str, holder: str) -> "ScheduledTask | None":
        """The row, if this holder has the lease; locked until the transaction ends."""
        lock(Lock.SCHEDULED_TASK, name)
        task = db.session.get(cls, name, populate_existing=True)
        return task if task is not None and task.holder == holder else None
