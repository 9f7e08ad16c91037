"""A worker: an RQ worker that does its jobs in its own process, where everything is imported.

What RQ's fork for each job gave is here in other ways: the supervisor kills a unit that hangs
(`Watchdog`), a new process takes over after so many units or so much memory, and an event at which
a process died counts that as a failure.
"""

import enum
import logging
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
import rq
from flask import Flask, current_app
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from viewer.config import settings
from viewer.extensions import db
from viewer.intake import ingest
from viewer.jobs import queues
from viewer.jobs.drain import LINGER, Drain
from viewer.jobs.units import fresh_context
from viewer.watchdog import Watchdog

log = logging.getLogger(__name__)

MOST_UNITS = 5_000  # then a new process: leaks are bounded
MOST_GROWTH = 200  # MB of memory more than at the start, with the same effect
WORKER_TTL = 60  # seconds

_running: "_Worker | None" = None


class Ended(enum.Enum):
    """Why a worker ended."""

    STOPPED = "stopped"
    TO_RESTART = "to restart"


class ProcessDied(Exception):
    """The process died while it worked on this row."""


def work(names: Sequence[str], *, burst: bool = False, watchdog: Watchdog | None = None) -> Ended:
    """Be a worker on these queues until told to stop (burst: until nothing is due)."""
    global _running
    watchdog = watchdog or Watchdog()
    for row_id in watchdog.interrupted:
        _note_death(row_id)
    connection = redis.from_url(
        settings().redis_url,
        # An outage is waited out; without this a worker dies in the middle of a job.
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries=60),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )
    worker = _Worker(
        [queues.queue(name, connection) for name in names],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL,
        maintenance_interval=60,
        log_job_description=False,
    )
    worker.watchdog = watchdog
    worker.linger = 0.0 if burst else LINGER
    worker.memory_at_start = _memory()
    _running = worker
    try:
        worker.work(burst=burst, logging_level="WARNING")
    finally:
        _running = None
    return Ended.TO_RESTART if worker.is_worn_out() else Ended.STOPPED


def work_intake(*, retries: bool = False) -> None:
    """The job of a reminder: ingest and collect what is due."""
    _want(queues.INTAKE, retries=retries)


def work_copies() -> None:
    """The job of a reminder: make the copies that are due."""
    _want(queues.COPIES)


def _want(queue: str, *, retries: bool = False) -> None:
    assert _running is not None, "a job runs in a worker"  # noqa: S101
    _running.wanted = queue, retries


def _note_death(row_id: uuid.UUID) -> None:
    """If it was an event, it has failed once more. A file's lease says the same."""
    log.warning("a worker died at %s", row_id)
    with fresh_context():
        ingest.note_failure(row_id, ProcessDied())
        db.session.commit()


class _NoTimeout(BaseDeathPenalty):
    """RQ's own timeout, SIGALRM, reaches neither threads nor what hangs in C."""

    def setup_death_penalty(self) -> None:
        pass

    def cancel_death_penalty(self) -> None:
        pass


class _Worker(rq.SimpleWorker):
    death_penalty_class = _NoTimeout

    watchdog: Watchdog
    linger: float
    memory_at_start: float  # MB
    wanted: tuple[str, bool] | None = None  # queue, and whether failed events are retried
    units_done = 0
    is_told_to_stop = False
    _measure_at = _growth = 0.0

    def must_stop(self) -> bool:
        return self.is_told_to_stop or self.is_worn_out()

    def is_worn_out(self) -> bool:
        return self.units_done >= MOST_UNITS or self._has_grown()

    def _has_grown(self) -> bool:
        if time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + 1.0
            self._growth = _memory() - self.memory_at_start
        return self._growth > MOST_GROWTH

    def tell_alive(self) -> None:
        # Not over RQ's own connection, which waits out an outage of Redis.
        with current_app.extensions["redis"].pipeline() as pipe:
            self.heartbeat(pipeline=pipe)
            pipe.execute()

    def heartbeat(self, *words: Any, **options: Any) -> None:
        """Tell Redis and the supervisor that this worker lives. RQ calls it between its jobs."""
        self.watchdog.beat()
        super().heartbeat(*words, **options)

    def handle_warm_shutdown_request(self) -> None:
        self.is_told_to_stop = True

    def subscribe(self) -> None:
        """Not to RQ's commands: nobody sends any, and leaving takes a second."""

    def procline(self, message: str) -> None:
        """The process keeps the name that its supervisor gave it."""

    def execute_job(self, job: Any, queue: Any) -> None:
        """Do the job, then what it reminds of: RQ would take a long job for abandoned."""
        super().execute_job(job, queue)
        if wanted := self._take_wanted():
            name, retries = wanted
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
            self.set_state(WorkerStatus.BUSY)  # else a signal would stop us in the middle
            Drain(app, name, self).run(retries=retries)
            self.set_state(WorkerStatus.IDLE)
        if self.must_stop():
            self._stop_requested = True

    def _take_wanted(self) -> tuple[str, bool] | None:
        wanted, self.wanted = self.wanted, None
        return wanted


def _memory() -> float:
    """Resident memory of this process in MB; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
