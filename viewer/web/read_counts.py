"""Count downloads, opened share links, what programs read and who was refused, for the audit log.

The first of an hour is written in its own request, before a byte goes out. The further ones are
counted in the process, and written every half minute by whoever comes next, or at its exit: no GET
waits for SQLite's write lock only to be counted once more. A process that is killed loses those of
its last half minute.
"""

import atexit
import logging
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from flask import Flask, Response, current_app, request
from sqlalchemy.exc import DBAPIError

from viewer.extensions import begin_writing, db, now
from viewer.office import audit
from viewer.web import access

log = logging.getLogger(__name__)

WRITE_EVERY = 30.0  # seconds; of what is not the first of its hour
MOST_KNOWN = 10_000  # first ones of this hour that a process remembers


@dataclass(frozen=True, slots=True)
class Read:
    """What is counted as one entry of the audit log."""

    action: str
    who: str
    user_id: uuid.UUID | None
    subject: tuple[str, uuid.UUID] | None
    words: str
    hour: datetime


@dataclass(slots=True)
class _Count:
    times: int
    address: str | None
    at: datetime


class ReadCounts:
    """The counters of one process."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._counts: dict[Read, _Count] = {}
        self._known: set[Read] = set()  # written at least once
        self._hour: datetime | None = None
        self._written = time.monotonic()

    def add(self, read: Read, address: str | None, at: datetime) -> bool:
        """Count one. Whether to write now: it is the first of its hour, or it is time."""
        with self._lock:
            if self._hour != read.hour:
                self._hour = read.hour
                self._known.clear()
            is_first = read not in self._known and len(self._known) < MOST_KNOWN
            if is_first:
                self._known.add(read)
            if not self._counts:
                atexit.register(self.write_at_exit)
            count = self._counts.setdefault(read, _Count(0, address, at))
            count.times, count.address = count.times + 1, address
            return is_first or time.monotonic() >= self._written + WRITE_EVERY

    def write(self) -> None:
        """Write the counts, and commit. If the database fails, they are kept for the next write."""
        with self._lock:
            counts, self._counts = self._counts, {}
            self._written = time.monotonic()
            atexit.unregister(self.write_at_exit)
        try:
            for read, count in sorted(counts.items(), key=lambda one: str(one[0].subject)):
                audit.count(
                    read.action, count.times, who=read.who, user_id=read.user_id,
                    subject=read.subject, words=read.words, address=count.address, at=count.at,
                )  # fmt: skip
            db.session.commit()
        except DBAPIError as trouble:
            db.session.rollback()
            log.warning("what was read is not in the audit log yet: %s", trouble.orig)
            with self._lock:
                for read, count in counts.items():
                    kept = self._counts.setdefault(read, _Count(0, count.address, count.at))
                    kept.times += count.times

    def write_at_exit(self) -> None:
        with self._app.app_context():
            self.write()


def init_app(app: Flask) -> None:
    app.extensions["read_counts"] = ReadCounts(app)
    app.after_request(_note_refused)


def note_read(action: str, subject: tuple[str, uuid.UUID], words: str = "") -> None:
    """Count this GET. Ends the transaction: call it when all was read, before bytes go out."""
    if request.method != "HEAD" and _add(action, audit.STRANGER, subject, words):
        db.session.commit()  # SQLite without WAL lets nobody commit while this reads
        begin_writing()
        _counts().write()


def _note_refused(response: Response) -> Response:
    """Count who was refused what; those whom an open route refuses are its own to count."""
    if response.status_code not in (401, 403) or request.endpoint in access.OPEN:
        return response
    words = f"{response.status_code} {request.method} {request.url_rule}"
    if _add("access.refused", audit.NOBODY, None, words):
        try:
            db.session.rollback()
            begin_writing()
            _counts().write()
        except DBAPIError as trouble:
            log.warning("a refusal is not in the audit log yet: %s", trouble.orig)
    return response


def _add(action: str, nobody: str, subject: tuple[str, uuid.UUID] | None, words: str) -> bool:
    """Count one of this request's user. Whether it is time to write."""
    user, moment = access.current_user(), now()
    read = Read(
        action,
        user.email if user else nobody,
        user.id if user else None,
        subject,
        words,
        moment.replace(minute=0, second=0, microsecond=0),
    )
    return _counts().add(read, audit.client_address(), moment)


def _counts() -> ReadCounts:
    found: ReadCounts = current_app.extensions["read_counts"]
    return found
