"""The journey of a copy, from the held source into one transaction of the target.

hold the source ▸ migrate the target ▸ rows ▸ indexes ▸ compare ▸ counters, statistics ▸ commit
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import make_url

from viewer.config import BadSetting, settings
from viewer.extensions import UnsafeDatabase, db
from viewer.failpoint import failpoint
from viewer.plurals import counted
from viewer.upkeep import schema
from viewer.upkeep.db_copy import source, target
from viewer.upkeep.db_copy.errors import CannotCopy, Different
from viewer.upkeep.db_copy.rows import Reader, Row, count, digest
from viewer.upkeep.db_copy.target import Target
from viewer.upkeep.progress import Progress, Unwatched

NewApp = Callable[[dict[str, Any]], Flask]


@dataclass
class Result:
    """What is in the target now, compared row by row."""

    tables: dict[str, int] = field(default_factory=dict)  # rows
    hashes: dict[str, str] = field(default_factory=dict)  # of their rows, in any order
    replaced: dict[str, int] = field(default_factory=dict)  # rows with a NUL in their text
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage

    @property
    def rows(self) -> int:
        return sum(self.tables.values())

    def __str__(self) -> str:
        return (
            f"{counted(self.rows, 'row')} of {len(self.tables)} tables copied in"
            f" {sum(self.seconds.values()):,.0f} s; counts and hashes of every table are equal"
        )


def copy(url: str, new_app: NewApp, progress: Progress | None = None) -> Result:
    """Copy the current application's database to this address. Raises CannotCopy, WrongSchema.

    The caller holds `host_lock.hold_alone`. Nobody can write to the source meanwhile. The target
    must be empty; it holds everything in the end, or nothing.
    """
    schema.check()
    _must_be_another(url)
    with source.held() as connection, _application(url, new_app).app_context():
        try:
            target.prepare()
            with target.opened() as there:
                result = _Copy(connection, there, progress or Unwatched()).do()
        finally:
            db.session.remove()
            db.engine.dispose()
    failpoint("db_copy.committed")
    return result


def _application(url: str, new_app: NewApp) -> Flask:
    try:
        return new_app({"DATABASE_URL": url})
    except (BadSetting, UnsafeDatabase) as trouble:
        raise CannotCopy(f"--to: {str(trouble).removeprefix('DATABASE_URL: ')}") from trouble
    except sa.exc.DBAPIError as error:
        raise CannotCopy(f"--to: it cannot be used: {error.orig}") from error


def _must_be_another(url: str) -> None:
    """Raises CannotCopy. Two addresses of one PostgreSQL are found by its rows, or our lock."""
    try:
        ours, theirs = make_url(settings().database_url), make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # its message would show the password
        raise CannotCopy("--to: is not a database address.") from None
    is_file = {ours.get_backend_name(), theirs.get_backend_name()} == {"sqlite"}
    same = (
        os.path.realpath(ours.database or "") == os.path.realpath(theirs.database or "")
        if is_file
        else ours.set(drivername="postgresql") == theirs.set(drivername="postgresql")
    )
    if same:
        raise CannotCopy("--to: is the database that is to be copied.")


@dataclass
class _Copy:
    """Both ends, ready."""

    source: sa.Connection
    target: Target
    progress: Progress
    result: Result = field(default_factory=Result)
    begun: float = 0.0  # the current stage

    def do(self) -> Result:
        tables = db.metadata.sorted_tables  # what others refer to comes first
        self.result.tables = {table.name: count(self.source, table) for table in tables}
        self._begin("copying", self.result.rows)
        for table in tables:
            self._bring(table)
        failpoint("db_copy.copied")
        making = self.target.indexes()
        self._begin("indexing", len(making))
        for make in making:
            make()
            self.progress.advance(1)
        self._begin("comparing", 2 * self.result.rows)
        for table in tables:
            self._compare(table)
        failpoint("db_copy.compared")
        self._begin("", 0)
        return self.result

    def _begin(self, stage: str, length: int) -> None:
        moment, seconds = time.monotonic(), self.result.seconds
        if seconds:
            last = next(reversed(seconds))
            seconds[last] = moment - self.begun
        if stage:
            self.begun, seconds[stage] = moment, 0.0
            self.progress.begin(stage, length)

    def _bring(self, table: sa.Table) -> None:
        reader = self._reader(table)
        self.target.write(table, self._watched(reader.batches()))
        if reader.replaced:
            self.result.replaced[table.name] = reader.replaced

    def _compare(self, table: sa.Table) -> None:
        """Read both sides anew: what was sent proves nothing. Raises Different."""
        name = table.name
        sent = digest(self._watched(self._reader(table).batches()))
        there = Reader(self.target.connection, table, without_nul=False)
        found = digest(self._watched(there.batches()))
        if sent[0] != self.result.tables[name] or found[0] != target.count(self.target, table):
            raise Different(f"{name} was not read whole.")
        if found[0] != sent[0]:
            raise Different(
                f"{name} has {counted(found[0], 'row')} in the target, not {sent[0]:,}."
            )
        if found != sent:
            raise Different(f"{name} has other rows in the target than in the source.")
        self.result.hashes[name] = found[1]

    def _reader(self, table: sa.Table) -> Reader:
        is_postgres = self.target.connection.dialect.name == "postgresql"
        return Reader(self.source, table, without_nul=is_postgres)

    def _watched(self, batches: Iterator[list[Row]]) -> Iterator[list[Row]]:
        for batch in batches:
            yield batch
            self.progress.advance(len(batch))
