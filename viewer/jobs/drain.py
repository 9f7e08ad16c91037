"""Do what is due in one queue until nothing is: events in turn, files and copies several at once.

The main thread looks for what is due, ingests, and hands ids to threads. They wait most of the
time: for the network, for the disk, for a decoder in a process of its own.
"""

import fcntl
import logging
import os
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import redis
from flask import Flask
from sqlalchemy.exc import OperationalError

from viewer import derive
from viewer.config import settings
from viewer.extensions import db, note_outage
from viewer.intake import collect, sweep
from viewer.jobs import queues, units
from viewer.models import WebhookEvent
from viewer.watchdog import Watchdog

log = logging.getLogger(__name__)

DOWNLOADS, DECODERS = 4, 2  # at once in one worker
INGEST_SECONDS = 60.0  # an event takes milliseconds
BATCH = 16  # rows of one look: what other workers take meanwhile is looked at for nothing
POLL = 0.02  # seconds between two looks for new work while threads are busy
LINGER = 0.2  # seconds that a worker stays awake, so that a burst needs no more reminders
LONGEST = 600.0  # seconds; then it takes up no more files, so that what failed has its turn


class Worker(Protocol):
    """What a drain asks of the worker that runs it."""

    linger: float  # seconds
    units_done: int
    watchdog: Watchdog

    def must_stop(self) -> bool: ...

    def tell_alive(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Unit:
    do: Callable[[str], None]
    seconds: float  # after which it hangs


class Drain:
    """One worker's way through one queue."""

    def __init__(self, app: Flask, queue: str, worker: Worker) -> None:
        self._app, self._queue, self._worker = app, queue, worker
        self._failed: set[uuid.UUID] = set()  # not looked at again in this drain
        self._turn = Turn(settings().data_dir, is_needed=db.engine.dialect.name == "sqlite")
        self._has_database = True
        if queue == queues.INTAKE:
            self._ingest = _Unit(units.ingest_event, INGEST_SECONDS)
            # In the order of arrival: of two messages of one second, the first is shown first.
            self._events = _LookAhead(
                lambda: sweep.due_events(BATCH, WebhookEvent.attempts == 0), in_order=True
            )
            # Twice: without a length, a second download is compared with the first.
            longest = settings().TRANSFER_SECONDS * collect.LONGEST_TRANSFER
            self._unit = _Unit(units.collect_media, longest * 2 + 120)
            self._files = _LookAhead(lambda: sweep.due_media(BATCH))
            self._threads = DOWNLOADS
        else:
            self._events = _LookAhead(list)
            longest = derive.LONGEST_SECONDS + settings().TRANSFER_SECONDS + 120
            self._unit = _Unit(units.derive_media, longest)
            self._files = _LookAhead(lambda: sweep.due_copies(BATCH))
            self._threads = DECODERS

    def run(self, *, retries: bool) -> None:
        """Work until nothing is due or the worker must stop. `retries`: failed events, too."""
        end = time.monotonic() + LONGEST
        try:
            if retries:
                self._retry_events()
            self._work_with_threads(end)
        except OperationalError as error:
            self._wait_for_database(error)
        except Exception:  # the edge of this drain: the sweep sends another reminder
            log.exception("%s could not go on", self._queue)
        with suppress(redis.RedisError):
            queues.remove_mark(self._queue)
            if time.monotonic() >= end or self._worker.must_stop():
                queues.pass_on(self._queue)

    def _wait_for_database(self, error: OperationalError) -> None:
        with self._app.app_context():
            if not note_outage(error):
                log.warning("%s waits for the database: %s", self._queue, error.orig)

    def _retry_events(self) -> None:
        """One at a time, before all else: one that kills its process disturbs nothing."""
        for event_id in sweep.due_events(BATCH, WebhookEvent.attempts > 0):
            self._do(self._ingest, event_id)

    def _work_with_threads(self, end: float) -> None:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._queue)
        must_wait = True
        try:
            self._work(pool, end)
        except SystemExit:  # told to stop for the second time: what runs ends with the process
            must_wait = False
            raise
        finally:
            pool.shutdown(wait=must_wait, cancel_futures=not must_wait)
            self._turn.give_up()

    def _work(self, pool: ThreadPoolExecutor, end: float) -> None:
        busy: dict[Future[None], uuid.UUID] = {}
        quiet_since, told_at, is_marked, last_look_at = 0.0, 0.0, True, 0.0
        while True:
            is_last_look = not is_marked and time.monotonic() >= last_look_at
            busy = {future: row_id for future, row_id in busy.items() if not future.done()}
            must_end = not self._has_database or self._worker.must_stop()
            if must_end:
                self._turn.give_up()
            has_begun = not must_end and self._ingest_next()
            moment = time.monotonic()
            if not must_end and moment < end:
                free = self._threads - len(busy)
                for row_id in self._files.take(free, self._failed, busy.values()):
                    busy[pool.submit(self._do, self._unit, row_id)] = row_id
                    has_begun = True
            if has_begun or busy or self._events.has_more:
                quiet_since, is_marked = moment, True
                if moment - told_at > 1.0:
                    told_at = moment
                    self._tell(is_full=len(busy) == self._threads)
            if has_begun:
                continue
            if busy:
                wait(busy, POLL, FIRST_COMPLETED)
            elif self._events.has_more and not must_end:
                time.sleep(POLL)  # another worker ingests; what it leaves is ours
            elif must_end or moment >= end:
                return
            elif moment - quiet_since < self._worker.linger:
                time.sleep(POLL)
            elif is_marked:
                with suppress(redis.RedisError):
                    queues.remove_mark(self._queue)
                # Look once more, when all who found the mark, or found it a moment before, have
                # committed. A worker that does not linger leaves the latter to the sweep.
                is_marked = False
                last_look_at = time.monotonic() + 2 * queues.SEEN_FOR * bool(self._worker.linger)
                self._events.look_at = self._files.look_at = last_look_at
            elif is_last_look:
                return
            else:
                time.sleep(POLL)

    def _ingest_next(self) -> bool:
        if not self._events.look_ahead():
            self._turn.give_up()
            return False
        if not self._turn.take():
            self._events.forget()  # the other worker is at them
            return False
        for event_id in self._events.take(1, self._failed):
            self._do(self._ingest, event_id)
            return True
        return False

    def _tell(self, *, is_full: bool) -> None:
        """Say that this worker lives and is awake; if it cannot do it all now, wake another."""
        with suppress(redis.RedisError):
            self._worker.tell_alive()
            queues.keep_mark(self._queue)
            helps = self._events.has_more and not self._turn.is_needed
            if helps or (is_full and self._files.has_more):
                queues.pass_on(self._queue)

    def _do(self, unit: _Unit, row_id: uuid.UUID) -> None:
        """Work on one row. Its failure is logged, and ends nothing else."""
        try:
            with self._app.app_context(), self._worker.watchdog.watch(row_id, unit.seconds):
                unit.do(str(row_id))
        except OperationalError as error:
            self._wait_for_database(error)
            self._has_database = False
        except Exception:  # the edge of this unit: the others go on
            log.exception("%s failed on %s", unit.do.__name__, row_id)
            self._failed.add(row_id)
        self._worker.units_done += 1


class _LookAhead:
    """Ids of what is due, looked up a few at a time; in random order, two workers rarely meet."""

    def __init__(self, look: Callable[[], list[uuid.UUID]], *, in_order: bool = False) -> None:
        self.look_at = 0.0  # on the monotonic clock: not again before
        self._look, self._in_order = look, in_order
        self._ids: deque[uuid.UUID] = deque()
        self.has_more = False

    def look_ahead(self) -> bool:
        """Whether there is anything, as far as we know."""
        if not self._ids and time.monotonic() >= self.look_at:
            ids = self._look()
            if not self._in_order:
                random.shuffle(ids)
            self._ids.extend(ids)
            self.look_at = 0.0 if ids else time.monotonic() + POLL
            self.has_more = bool(ids)
        return bool(self._ids)

    def forget(self) -> None:
        """Look again a little later."""
        self._ids.clear()
        self.look_at = time.monotonic() + POLL

    def take(self, count: int, *without: Collection[uuid.UUID]) -> list[uuid.UUID]:
        """Up to so many ids, and none of those that are in `without`."""
        found: list[uuid.UUID] = []
        if count:
            self.look_ahead()
        while self._ids and len(found) < count:
            row_id = self._ids.popleft()
            if not any(row_id in ids for ids in without):
                found.append(row_id)
        self.has_more = bool(self._ids)
        return found


class Turn:
    """Which worker of this host ingests: SQLite has one writer, so two would only do work twice.

    A flock(2) lock on the data folder itself: it ends with its process.
    """

    def __init__(self, folder: Path, *, is_needed: bool) -> None:
        self.is_needed = is_needed
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Whether it is ours now."""
        if not self.is_needed or self._descriptor is not None:
            return True
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # some network file systems do not support flock
            os.close(descriptor)
            self.is_needed = False
            return True
        self._descriptor = descriptor
        return True

    def give_up(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
