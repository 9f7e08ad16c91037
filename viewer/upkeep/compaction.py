"""Take out of the database's own files what its tables do not hold any more.

A deleted row stays in free pages, in the log, in segments of the full text and, with PostgreSQL, as
a dead version. Writers wait meanwhile (PostgreSQL: readers, too), so a large database waits for the
night. What nothing here reaches: the write-ahead log of PostgreSQL until its segments are used
again, and the blocks of the disk.
"""

import contextlib
import time
from typing import Any

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import db, now
from viewer.upkeep import snapshots
from viewer.upkeep.backup import database

LARGE = 256 * 1024 * 1024  # bytes; a smaller one takes a second or two
NIGHT = range(1, 5)  # hours of the day in TZ_DISPLAY
CHECKPOINT_TRIES = 50
PAUSE = 0.2  # seconds between them: a reader keeps the log from being emptied
FULL_TEXTS = ("search_words", "work_words")


class Busy(Exception):
    """Somebody reads or writes for too long: old bytes may be left. Try again later."""


def is_time() -> bool:
    """Whether nobody is kept waiting for long."""
    return database.size() < LARGE or now().astimezone(settings().zone).hour in NIGHT


def compact() -> None:
    """Hold no transaction open. Raises Busy, OperationalError."""
    db.session.rollback()
    if db.engine.dialect.name == "sqlite":
        _compact_sqlite()
    else:
        _compact_postgresql()


def _compact_sqlite() -> None:
    # The driver's own connection: the engine would begin a transaction, and VACUUM runs in none.
    with contextlib.closing(db.engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        try:
            _rewrite(driver)
        except db.engine.dialect.loaded_dbapi.OperationalError as locked:
            raise Busy from locked
    for path in snapshots.folder_of(settings().data_dir).glob("*.db"):
        path.unlink(missing_ok=True)  # copies of before a migration, with everybody in them


def _rewrite(driver: Any) -> None:
    for table in FULL_TEXTS:
        driver.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608
    samples = "SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat4'"
    if driver.execute(samples).fetchone():
        driver.execute("ANALYZE")  # its samples are values of rows
    driver.execute("VACUUM")
    _empty_log(driver)


def _empty_log(driver: Any) -> None:
    for _ in range(CHECKPOINT_TRIES):
        is_busy = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not is_busy:
            return
        time.sleep(PAUSE)
    raise Busy


def _compact_postgresql() -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in db.metadata.sorted_tables:
            # ANALYZE as well: the statistics hold the commonest values.
            connection.execute(sa.text(f"VACUUM (FULL, ANALYZE) {table.name}"))
        with contextlib.suppress(sa.exc.ProgrammingError):  # not everybody may
            # The statistics of before: their dead versions hold phone numbers.
            connection.execute(sa.text("VACUUM (FULL) pg_statistic"))
            connection.execute(sa.text("CHECKPOINT"))
