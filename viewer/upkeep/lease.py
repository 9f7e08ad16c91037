"""One run of a kind at a time, from any host, by the schedule, cron or hand."""

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from flask import Flask, current_app

from viewer import leases
from viewer.extensions import db
from viewer.models import ScheduledTask

LEASE = 120.0  # seconds; whoever died holds it no longer than that
RENEWALS = 3  # in each lease


class Busy(Exception):
    """Another run is at it."""


class LostLease(Exception):
    """This run stood still for so long that another may be at it now."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to be the one run."""

    name: str
    holder: str
    seconds: float
    lost: threading.Event = field(default_factory=threading.Event)

    def renew(self) -> bool:
        is_ours = ScheduledTask.renew(self.name, self.holder, seconds=self.seconds)
        db.session.commit()
        if not is_ours:
            self.lost.set()
        return is_ours

    def check(self) -> None:
        """Raises LostLease. Asked before each step that others would see."""
        if self.lost.is_set() or not self.renew():
            raise LostLease("This run stood still, and another one is at it now.")


@contextlib.contextmanager
def held(name: str, what: str, seconds: float | None = None) -> Iterator[Lease]:
    """Hold the lease of this name, and renew it while the block runs. Raises Busy.

    `seconds`: `LEASE`, unless said. `what` begins a sentence: `Another backup to /mnt/backup`.
    """
    seconds = LEASE if seconds is None else seconds
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    lease = Lease(name, holder, seconds)
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    taken = ScheduledTask.take_lease(lease.name, lease.holder, seconds=seconds, every=0)
    db.session.commit()
    if not taken:
        raise Busy(
            f"{what} is running. If it was killed, its lease ends within {seconds:.0f} seconds."
        )

    def renew() -> bool:
        with app.app_context():
            return lease.renew()

    try:
        with leases.renewed(renew, seconds / RENEWALS, f"lease {name}"):
            yield lease
    finally:
        db.session.rollback()
        ScheduledTask.finish(lease.name, lease.holder, "")
        db.session.commit()
