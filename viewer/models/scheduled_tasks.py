"""Work that one process does at a time, on whichever host, and when it was last done."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Lock, Model, db, lock, now

SKEW = timedelta(minutes=1)  # that two hosts' clocks may differ by


class ScheduledTask(Model):
    """The sweep, the catch-up, the backup: who does it now, and when it last went well."""

    __tablename__ = "duties"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str | None] = mapped_column(String(120))
    until: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    said: Mapped[str | None] = mapped_column(sa.Text)  # one line about the last time

    @classmethod
    def take_lease(cls, name: str, holder: str, seconds: float, every: float) -> bool:
        """Whether `holder` may do it now: nobody is at it, and it was done `every` seconds ago."""
        lock(Lock.SCHEDULED_TASK, name)
        duty = db.session.get(cls, name, populate_existing=True)
        moment = now()  # after the lock was waited for (SQLite waits in the line above)
        if duty is None:
            duty = cls(name=name)
            db.session.add(duty)
        # A clock that was set back must not stop a duty for ever: the far future counts as never.
        # The near future is another host's clock, a little ahead of ours.
        leased, lately = moment + timedelta(seconds=seconds), moment - timedelta(seconds=every)
        if duty.until is not None and moment < duty.until <= leased + SKEW:
            return False
        if duty.done_at is not None and lately < duty.done_at <= moment + SKEW:
            return False
        duty.holder, duty.until = holder, moment + timedelta(seconds=seconds)
        return True

    @classmethod
    def finish(cls, name: str, holder: str, said: str) -> None:
        duty = db.session.get(cls, name, populate_existing=True)
        if duty is not None and duty.holder == holder:
            duty.holder = duty.until = None
            duty.done_at, duty.said = now(), said
