"""Rows in one canonical form, whichever database holds them: the form in which SQLite keeps them.

NULL is None; ids are 32 hexadecimal digits; times are `2026-09-21 16:00:00.000000`, in UTC; dates
are `2026-09-21`; booleans are 0 and 1; JSON is its text, to the letter; the rest is itself. Both
databases take these values, and what they then hold reads back as the same values.
"""

import hashlib
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

Row = tuple[int | float | str | bytes | None, ...]

BATCH = 2000  # rows in memory
NUL, REPLACEMENT = "\0", "\ufffd"  # the second stands for what cannot be shown
_TIME = len("2026-09-21 16:00:00.000000")
_RAW = sa.types.NullType()  # the driver's own value


class Reader:
    """Read the rows of one table. Counts those in which it replaced a NUL.

    PostgreSQL's text holds no NUL; ingest replaces each by U+FFFD, and so does a copy into it from
    a SQLite database that older code wrote. Bytes, such as those of a delivery, stay as they are.
    """

    def __init__(self, connection: sa.Connection, table: sa.Table, *, without_nul: bool) -> None:
        self.replaced = 0
        self._connection = connection
        is_postgres = connection.dialect.name == "postgresql"
        express = _in_postgres if is_postgres else _in_sqlite
        self._query = sa.select(*map(express, table.columns)).select_from(table)
        self._times = [] if is_postgres else _places(table, sa.DateTime)
        self._texts = _places(table, (sa.String, sa.JSON)) if without_nul else []
        self._times_of, self._texts_of = _getter(self._times), _getter(self._texts)

    def batches(self) -> Iterator[list[Row]]:
        streaming = {"stream_results": True, "max_row_buffer": BATCH}
        result = self._connection.execute(self._query, execution_options=streaming)
        with result:
            for rows in result.partitions(BATCH):
                yield [self._canonical(tuple(row)) for row in rows]

    def _canonical(self, row: Row) -> Row:
        # In C for nearly every row: asked column by column, it took as long as sending them.
        if NUL in "".join(filter(None, self._texts_of(row))):
            self.replaced += 1
            for place in self._texts:
                row = _changed(row, place, lambda text: text.replace(NUL, REPLACEMENT))
        if {*map(len, filter(None, self._times_of(row)))} - {_TIME}:
            for place in self._times:
                row = _changed(row, place, _as_time)
        return row


def digest(batches: Iterable[Sequence[Row]]) -> tuple[int, str]:
    """How many rows, and a hash of all of them that does not depend on their order.

    The sum of the rows' SHA-256, modulo 2**256: databases sort text each in its own way, and rows
    that are the same are counted as often as they are there.
    """
    count = total = 0
    for rows in batches:
        count += len(rows)
        for row in rows:
            total += int.from_bytes(hashlib.sha256(repr(row).encode()).digest())
        total %= 1 << 256
    return count, f"{total:064x}"


def count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def _getter(places: Sequence[int]) -> Callable[[Row], Sequence[Any]]:
    """What takes these values out of a row."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda row: [row[place] for place in places]


def _changed(row: Row, place: int, change: Callable[[Any], Any]) -> Row:
    value = row[place]
    return row if value is None else (*row[:place], change(value), *row[place + 1 :])


def _as_time(value: str) -> str:
    """A time that something else than this code wrote, in the usual form."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ", timespec="microseconds")


def _in_sqlite(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.type_coerce(column, _RAW)


def _in_postgres(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    match _plain(column):
        case sa.Uuid():
            return sa.func.replace(sa.cast(column, sa.Text), "-", "")
        case sa.DateTime():
            in_utc = sa.func.timezone("UTC", column)
            return sa.func.to_char(in_utc, "YYYY-MM-DD HH24:MI:SS.US", type_=_RAW)
        case sa.Date():
            return sa.func.to_char(column, "YYYY-MM-DD", type_=_RAW)
        case sa.Boolean():
            return sa.cast(column, sa.Integer)
        case sa.JSON():
            return sa.cast(column, sa.Text)
    return sa.type_coerce(column, _RAW)


def _places(table: sa.Table, kinds: Any) -> list[int]:
    return [
        place for place, column in enumerate(table.columns) if isinstance(_plain(column), kinds)
    ]


def _plain(column: sa.Column[Any]) -> Any:
    kind = column.type
    return kind.impl_instance if isinstance(kind, sa.TypeDecorator) else kind
