"""Hold this viewer's database so that nobody writes to it, as long as it is copied.

SQLite: under an exclusive lock on the file, which is refused while anything else has it open.
PostgreSQL: under a lock on every table, and only if nobody else is connected as this user.
The caller holds `host_lock` too: it knows of parts that run here and happen to have nothing open.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from viewer.config import settings
from viewer.extensions import db, sqlite_driver
from viewer.upkeep.db_copy.errors import CannotCopy, words_of

PATIENCE = 2.0  # seconds in which what was just stopped may still close its connections

_STOP = "Stop every viewer that uses it first, on every host."
_OTHERS = sa.text(
    "SELECT coalesce(nullif(application_name, ''), 'a program') || coalesce(' on ' ||"
    " client_addr, '') FROM pg_stat_activity WHERE datname = current_database()"
    " AND usename = current_user AND pid != pg_backend_pid() AND backend_type = 'client backend'"
)


@contextlib.contextmanager
def held() -> Iterator[sa.Connection]:
    """A connection to the database; until the block ends, nobody writes. Raises CannotCopy."""
    db.session.remove()
    db.engine.dispose()  # our own connections, too, would be in the way
    with _held_sqlite() if db.engine.dialect.name == "sqlite" else _held_postgres() as connection:
        yield connection


@contextlib.contextmanager
def _held_sqlite() -> Iterator[sa.Connection]:
    file = sqlite_file(settings().database_url)
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: _lock_file(file),
        module=sqlite_driver,
        poolclass=sa.NullPool,
        hide_parameters=True,
    )
    with engine.connect() as connection:
        yield connection


def _lock_file(file: Path) -> Any:
    connection = sqlite_driver.connect(file, timeout=PATIENCE, isolation_level=None)
    try:
        # Before the first read: a write-ahead log is then opened without sharing it, for which
        # nobody else may have the file open, not even to read.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite_driver.OperationalError as error:
        connection.close()
        raise CannotCopy(f"{file} is in use ({error}). {_STOP}") from error
    return connection


def sqlite_file(url: str) -> Path:
    """The file of such an address. Raises CannotCopy."""
    name = make_url(url).database or ""
    if name.startswith("file:"):
        raise CannotCopy("A copy needs the plain path of the SQLite file.")
    return Path(name)


@contextlib.contextmanager
def _held_postgres() -> Iterator[sa.Connection]:
    with db.engine.connect() as connection:
        # It waits while the target makes its indexes, and must not be ended for that.
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        _must_be_alone(connection)
        names = ", ".join(f'"{name}"' for name in db.metadata.tables)
        try:
            connection.exec_driver_sql(f"LOCK TABLE {names} IN EXCLUSIVE MODE")
        except sa.exc.OperationalError as error:
            raise CannotCopy(f"The database is in use ({words_of(error.orig)}). {_STOP}") from error
        yield connection


def _must_be_alone(connection: sa.Connection) -> None:
    """Raises CannotCopy where others are connected: they have nothing locked, but would write."""
    deadline = time.monotonic() + PATIENCE
    while others := connection.scalars(_OTHERS).all():
        if time.monotonic() > deadline:
            raise CannotCopy(f"The database is in use by {', '.join(sorted(set(others)))}. {_STOP}")
        time.sleep(0.1)
        connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
