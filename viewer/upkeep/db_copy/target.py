"""The database that is copied into: empty, then whole, and nothing between.

All rows come in one transaction. Before it there are at most the empty tables of this code's
schema, which the migrations make (on PostgreSQL in a transaction of their own); so a copy that is
killed is simply begun again.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import flask_migrate
import sqlalchemy as sa

from viewer.extensions import db, now
from viewer.failpoint import failpoint
from viewer.models import MediaAttachment, ScheduledTask
from viewer.upkeep import schema
from viewer.upkeep.db_copy import rows
from viewer.upkeep.db_copy.errors import CannotCopy, words_of
from viewer.upkeep.db_copy.rows import Row

MEMORY = "256MB"  # for making an index
_NOT_EMPTY = "A copy is there whole or not at all, and is never added to rows that are there."
_INDEXES = sa.text(
    "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i"
    " WHERE i.indrelid = CAST(:name AS regclass)"
    " AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)"
)


def prepare() -> None:
    """Migrate the current application's database, if it is new. Raises CannotCopy."""
    try:
        versions = schema.versions()
        if versions.is_new:
            flask_migrate.upgrade()
        elif not versions.are_equal:
            raise CannotCopy(
                f"The target has tables of another kind (version {versions.found or 'none'}, and"
                f" this code's is {versions.needed}). Name an empty database."
            )
        with db.engine.connect() as connection:
            _must_be_empty(connection)
    except sa.exc.DBAPIError as error:
        raise CannotCopy(f"The target cannot be used: {words_of(error.orig)}") from error
    except ImportError as error:
        raise CannotCopy(
            f"The driver for PostgreSQL is not installed ({error}); the extra `postgres` brings it."
        ) from error
    failpoint("db_copy.migrated")


@contextlib.contextmanager
def opened() -> Iterator["Target"]:
    """The current application's database, in one transaction that ends well with the block.

    Raises CannotCopy where the database refuses something; then nothing is there.
    """
    try:
        with db.engine.begin() as connection:
            postgres = connection.dialect.name == "postgresql"
            target = _Postgres(connection) if postgres else Target(connection)
            target.begin()
            _must_be_empty(connection)
            yield target
            target.finish()
            _end_what_was_going_on(connection)
            failpoint("db_copy.finished")
    except sa.exc.DBAPIError as error:
        raise CannotCopy(f"The target refuses it: {words_of(error.orig)}") from error
    except db.engine.dialect.loaded_dbapi.Error as error:
        raise CannotCopy(f"The target refuses it: {words_of(error)}") from error


def _must_be_empty(connection: sa.Connection) -> None:
    for table in db.metadata.sorted_tables:
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
            raise CannotCopy(f"The target is not empty: {table.name} has rows. {_NOT_EMPTY}")


def _end_what_was_going_on(connection: sa.Connection) -> None:
    """Nobody runs on either database: leases name processes that are no more."""
    media, tasks = MediaAttachment, ScheduledTask
    connection.execute(sa.update(tasks).values(holder=None, until=None))
    connection.execute(
        sa.update(media)
        .where(media.state == media.State.DOWNLOADING)
        .values(state=media.State.PENDING, lease_until=None, next_attempt_at=now())
    )


@dataclass
class Target:
    """SQLite. Its triggers keep the full text while rows come in."""

    connection: sa.Connection

    def begin(self) -> None:
        """The engine has taken the write lock."""

    def write(self, table: sa.Table, batches: Iterator[list[Row]]) -> None:
        """Insert all rows."""
        driver: Any = self.connection.connection.driver_connection
        marks = ", ".join("?" * len(table.columns))
        for batch in batches:
            driver.executemany(f"INSERT INTO {_names(table)} VALUES ({marks})", batch)  # noqa: S608

    def indexes(self) -> Sequence[Callable[[], None]]:
        """What makes the indexes that were left for the end, one call each."""
        return ()

    def finish(self) -> None:
        """Know the tables' statistics."""
        if self.connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise CannotCopy("A row of the source refers to one that is not there.")
        self.connection.exec_driver_sql("ANALYZE")


@dataclass
class _Postgres(Target):
    """PostgreSQL. Full text is a generated column: it comes with the row."""

    _left: list[str] = field(default_factory=list)  # statements that make indexes

    def begin(self) -> None:
        """Lock all tables, and take off what would be kept up row by row."""
        for setting in (
            "idle_in_transaction_session_timeout = 0",
            "TimeZone = 'UTC'",  # the canonical form of a time names no zone
            f"maintenance_work_mem = '{MEMORY}'",
        ):
            self.connection.exec_driver_sql(f"SET LOCAL {setting}")
        for table in db.metadata.sorted_tables:
            self.connection.exec_driver_sql(f'LOCK TABLE "{table.name}" IN ACCESS EXCLUSIVE MODE')
            # They would make anew what is copied: the search words of work records.
            self.connection.exec_driver_sql(f'ALTER TABLE "{table.name}" DISABLE TRIGGER USER')
            for name, statement in self.connection.execute(_INDEXES, {"name": table.name}).all():
                self._left.append(statement)
                self.connection.exec_driver_sql(f"DROP INDEX {name}")

    def write(self, table: sa.Table, batches: Iterator[list[Row]]) -> None:
        driver: Any = self.connection.connection.driver_connection
        with driver.cursor().copy(f"COPY {_names(table)} FROM STDIN") as copy:
            for batch in batches:
                for row in batch:
                    copy.write_row(row)

    def indexes(self) -> Sequence[Callable[[], None]]:
        return [lambda one=one: self._make_index(one) for one in self._left]  # type: ignore[misc]

    def _make_index(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def finish(self) -> None:
        """Let counters go on behind the last row; know the tables' statistics."""
        for table in db.metadata.sorted_tables:
            name = table.name
            self.connection.exec_driver_sql(f'ALTER TABLE "{name}" ENABLE TRIGGER USER')
            for column in table.primary_key:
                if isinstance(column.type, sa.Integer):
                    self._set_counter(table, column)
            self.connection.exec_driver_sql(f'ANALYZE "{name}"')

    def _set_counter(self, table: sa.Table, column: sa.Column[Any]) -> None:
        counter = sa.func.pg_get_serial_sequence(table.name, column.name)
        last = sa.select(sa.func.max(column)).scalar_subquery()
        self.connection.execute(sa.select(sa.func.setval(counter, last)))


def _names(table: sa.Table) -> str:
    return f'"{table.name}" ({", ".join(f"{chr(34)}{one.name}{chr(34)}" for one in table.columns)})'


def count(target: Target, table: sa.Table) -> int:
    return rows.count(target.connection, table)
