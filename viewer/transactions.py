"""Short write transactions: read and think first, hold SQLite's write lock for the writing alone.

SQLite has one writer, and everybody waits for it, webhooks too. So work is thought out on a
snapshot (optimistic concurrency control): what it read is read again once the write lock is held,
and if anything differs, it is thought out anew. On PostgreSQL, work locks what it touches.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm.exc import StaleDataError

from viewer.extensions import ONE_QUERY, READS, Lock, begin_immediate, db, lock, one_query

DEADLOCK = "40P01"  # PostgreSQL's code; it undoes one of the two, which then begins again
TRIES = 3  # then it is done under the lock, which always comes to an end

# Both get `alone`, whether nobody else writes what ingest writes. `think` reads and changes objects
# of the session; unless alone, it does not flush. It returns what writes: that may flush, and runs
# statements of its own.
T = TypeVar("T")
Think = Callable[[bool], Callable[[], T]]


class NotAlone(Exception):
    """The work reaches further than the locks it holds: it must begin again, alone."""


class Conflict(Exception):
    """What was read is not so any more."""


def run(think: Think[T]) -> T:
    """Think, write and commit. Within a transaction of the caller's: do it there, do not commit."""
    if db.session().in_transaction():
        lock(Lock.INGEST)
        return think(True)()
    for _ in range(TRIES):
        try:
            return _thought_out_first(think)
        except NotAlone:
            db.session.rollback()
            break
        except (Conflict, IntegrityError, StaleDataError):
            db.session.rollback()
        except OperationalError as error:
            db.session.rollback()
            if getattr(error.orig, "sqlstate", None) != DEADLOCK:
                raise
    lock(Lock.INGEST)
    result = think(True)()
    db.session.commit()
    return result


@contextmanager
def snapshot() -> Iterator[None]:
    """Read without SQLite's write lock, in a transaction that ends with the block."""
    db.session.connection(execution_options={READS: []})
    try:
        yield
    finally:
        db.session.commit()


@contextmanager
def frozen() -> Iterator[sa.Connection]:
    """A connection for many queries that all see one state of the database. Writes nothing.

    No writer waits for it; SQLite's WAL grows until the block ends. SQLite without WAL would keep
    everybody from writing: there each query sees the state of its own moment.
    """
    with db.engine.connect() as connection:
        yield connection.execution_options(**_options_of_a_reader())


def _options_of_a_reader() -> dict[str, Any]:
    if db.engine.dialect.name != "sqlite":
        return {"isolation_level": "REPEATABLE READ"}
    with one_query() as connection:
        has_wal = connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    # Nobody asks again what was read: the list that the queries are added to keeps none.
    return {READS: deque(maxlen=0)} if has_wal else ONE_QUERY


def _thought_out_first(think: Think[T]) -> T:
    is_sqlite = db.engine.dialect.name == "sqlite"
    reads: list[tuple[str, Any]] = []
    connection = db.session.connection(execution_options={READS: reads} if is_sqlite else {})
    with db.session.no_autoflush:
        write = think(False)
    if is_sqlite:
        _take_write_lock(connection, reads)
    result = write()
    db.session.commit()
    return result


def _take_write_lock(connection: sa.Connection, reads: list[tuple[str, Any]]) -> None:
    """Exchange the snapshot for the write lock. Raises Conflict if it shows anything else."""
    raw: Any = connection.connection.dbapi_connection
    asked = [read for read in reads if _is_query(read[0])]
    # A query costs the driver a hundredth of a millisecond: far less than to compare objects.
    before = [raw.execute(*query).fetchall() for query in asked]
    raw.execute("ROLLBACK")
    begin_immediate(connection)
    if before != [raw.execute(*query).fetchall() for query in asked]:
        raise Conflict


def _is_query(statement: str) -> bool:
    if not statement.startswith("SELECT"):
        raise AssertionError("it wrote before it had the write lock")
    return True
