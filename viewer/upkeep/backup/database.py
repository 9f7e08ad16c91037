"""Copy the database in one step, and prove that the copy can be read before anything relies on it.

The list of files is read from the copy, never from the live database: so the copy and the list
agree, whatever is written meanwhile.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext

from viewer.extensions import db, sqlite_driver
from viewer.failpoint import failpoint
from viewer.models import RegisteredStore
from viewer.office import audit_chain
from viewer.storage import fsync_file
from viewer.upkeep.backup import dump
from viewer.upkeep.backup.dump import DamagedDatabase, NoCopy

SQLITE, POSTGRES = "database.sqlite3", "database.dump"


@dataclass(frozen=True, slots=True)
class Copy:
    """A sealed copy of the database, and a connection that reads exactly what it holds."""

    path: Path
    connection: sa.Connection

    @property
    def name(self) -> str:
        return self.path.name

    def facts(self) -> dict[str, Any]:
        """What is compared later: schema, folder, rows of each table, the audit log's head."""
        counted = {
            name: self.connection.scalar(sa.select(sa.func.count()).select_from(table))
            for name, table in sorted(db.metadata.tables.items())
        }
        revision = MigrationContext.configure(self.connection).get_current_revision()
        stores = RegisteredStore
        folder = self.connection.scalar(
            sa.select(stores.id)
            .filter_by(kind=stores.Kind.FOLDER)
            .order_by(stores.created_at, stores.id)
        )
        return {
            "revision": revision,
            "folder": str(folder),
            "tables": counted,
            "audit": audit_chain.head_of(self.connection),
        }


def check_tools() -> None:
    """Raises NoCopy where a program is missing: at the start, not after an hour."""
    if not _is_sqlite():
        dump.check_tools(_server_version())


def size() -> int:
    """The bytes that a copy may take."""
    with db.engine.connect() as connection:
        query = "SELECT pg_database_size(current_database())"
        if _is_sqlite():
            query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        return int(connection.exec_driver_sql(query).scalar_one())


@contextlib.contextmanager
def copied(folder: Path) -> Iterator[Copy]:
    """A copy of the database in this folder. Raises NoCopy."""
    if _is_sqlite():
        with _copied_sqlite(folder / SQLITE) as connection:
            yield Copy(folder / SQLITE, connection)
    else:
        with _copied_postgres(folder / POSTGRES) as connection:
            yield Copy(folder / POSTGRES, connection)


@contextlib.contextmanager
def _copied_sqlite(path: Path) -> Iterator[sa.Connection]:
    try:
        _copy_sqlite(path)
        path.chmod(0o400)  # customers' messages: for this user alone
        fsync_file(path)
    except (sqlite_driver.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NoCopy(f"The database could not be copied: {reason}.") from error
    failpoint("backup.copied")
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite_driver.connect(f"file:{path}?mode=ro&immutable=1", uri=True),
        module=sqlite_driver,
        poolclass=sa.NullPool,
        hide_parameters=True,
    )
    with engine.connect() as connection:
        yield connection


def _copy_sqlite(path: Path) -> None:
    """Raises NoCopy, sqlite_driver.Error."""
    with (
        contextlib.closing(db.engine.raw_connection()) as source,
        contextlib.closing(sqlite_driver.connect(path)) as copy,
    ):
        driver: Any = source.driver_connection
        # All pages at once: in steps it begins anew with each write, and under load never ends.
        driver.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode = DELETE")  # else it would need a -wal beside it
        if problem := problem_in(copy):
            raise DamagedDatabase(f"The database is damaged, and was not backed up: {problem}.")


def problem_in(connection: Any) -> str | None:
    """What SQLite finds wrong in a file; None if it is whole. Raises sqlite_driver.Error."""
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if problems != ["ok"]:
        return str(problems[0])
    broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    return f"a row of {broken[0]} refers to none" if broken else None


@contextlib.contextmanager
def _copied_postgres(path: Path) -> Iterator[sa.Connection]:
    isolated = db.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with isolated as connection:
        # It has nothing to do while pg_dump works, and must not be ended for that.
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        snapshot = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one()
        dump.write(connection.connection.driver_connection, snapshot, path)
        failpoint("backup.copied")
        yield connection


def _server_version() -> int:
    with db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        return int(driver.info.server_version) // 10_000


def _is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"
