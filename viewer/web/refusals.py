"""Refused deliveries, counted by reason."""

import atexit
import logging
import threading
import time

from flask import Flask
from sqlalchemy.exc import DBAPIError

from viewer.extensions import db
from viewer.models import RefusedDelivery

log = logging.getLogger(__name__)

WRITE_EVERY = 1.0  # seconds; minimum interval between two writes, per process


class Refusals:
    """Count refused deliveries; log and write them at most once a second, so a flood fills no disk.

    The first refusal of a burst is written in its own request. No background thread flushes the
    rest: the first webhook request a second later does, or the exit of the process.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counts: dict[str, tuple[int, str]] = {}
        self._written = float("-inf")

    def add(self, reason: str, count: int, header_names: str) -> None:
        with self._lock:
            if not self._counts:
                atexit.register(self.write)
            before, _ = self._counts.get(reason, (0, ""))
            self._counts[reason] = before + count, header_names

    def is_due(self) -> bool:
        return bool(self._counts) and time.monotonic() >= self._written + WRITE_EVERY

    def write(self) -> None:
        """Log and write the counts. If the database fails, they are kept for the next write."""
        # While one request waits for a locked database, the others only count and do not block.
        if not self._writing.acquire(blocking=False):
            return
        try:
            with self._lock:
                counts, self._counts = self._counts, {}
                atexit.unregister(self.write)
            self._keep(counts)
        finally:
            self._written = time.monotonic()
            self._writing.release()

    def _keep(self, counts: dict[str, tuple[int, str]]) -> None:
        for reason, (count, names) in counts.items():
            log.warning("delivery refused: %s, times: %d; headers: %s", reason, count, names)
        with self._app.app_context():
            try:
                for reason, (count, names) in counts.items():
                    RefusedDelivery.add(reason, count, names)
                db.session.commit()
            except DBAPIError as trouble:
                db.session.rollback()
                log.warning("refusals are not written yet: %s", trouble.orig)
                for reason, (count, names) in counts.items():
                    self.add(reason, count, names)
