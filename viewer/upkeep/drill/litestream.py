"""Restore what Litestream keeps of a SQLite database, where it is configured beside the backup."""

import contextlib
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from viewer.config import settings
from viewer.extensions import db, now, sqlite_driver
from viewer.models import WebhookEvent
from viewer.storage import StorageError
from viewer.storage.child import start
from viewer.upkeep.backup.database import problem_in
from viewer.upkeep.drill.scratch import DrillFailed, Scratch

DEADLINE = 3600.0  # seconds
BEHIND = timedelta(minutes=5)  # deliveries older than that must be in it


def prove(scratch: Scratch) -> str | None:
    """Restore its copy into the scratch folder. What to say of it; None where there is none.

    Raises DrillFailed.
    """
    config = settings().LITESTREAM_CONFIG
    if config is None or db.engine.dialect.name != "sqlite":
        return None
    expected = _newest_delivery()
    path = scratch.folder / "litestream.db"
    database = Path(make_url(settings().database_url).database or "").absolute()
    try:
        running = start(
            ["litestream", "restore", "-config", str(config), "-o", str(path), str(database)],
            "Litestream", DEADLINE,
        )  # fmt: skip
        with contextlib.closing(running):
            running.read_all()
            running.finish()
    except StorageError as trouble:
        raise DrillFailed(f"What Litestream keeps cannot be restored: {trouble}") from trouble
    _check(path, expected)
    return "What Litestream keeps was restored, too, and is whole."


def _newest_delivery() -> str | None:
    """The id of the newest one that Litestream had time for."""
    event = WebhookEvent
    query = sa.select(event.id).where(event.received_at < now() - BEHIND)
    found = db.session.scalar(query.order_by(event.received_at.desc()).limit(1))
    db.session.commit()
    return found.hex if found else None


def _check(path: Path, expected: str | None) -> None:
    try:
        with contextlib.closing(sqlite_driver.connect(path)) as copy:
            problem = problem_in(copy)
            found = copy.execute(
                "SELECT 1 FROM webhook_events WHERE id = ?", (expected,)
            ).fetchone()
    except sqlite_driver.Error as error:
        raise DrillFailed(f"What Litestream keeps cannot be read: {error}.") from error
    if problem:
        raise DrillFailed(f"What Litestream keeps is damaged: {problem}.")
    if expected and found is None:
        minutes = BEHIND.total_seconds() / 60
        raise DrillFailed(f"Litestream is more than {minutes:.0f} minutes behind: does it run?")
