"""Keyset pagination: a long list, a page at a time, stable while the list grows.

A page's cursor is the sort key of a row, encoded for a URL: `?before=<cursor>`. The database seeks
there by an index; an OFFSET would read and discard all rows before it.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from flask import abort
from sqlalchemy.orm import InstrumentedAttribute

from viewer.extensions import UtcDateTime
from viewer.models.indexes import beyond

Column = InstrumentedAttribute[Any]
Value = datetime | uuid.UUID | int

INVALID = "This page link is no longer valid."
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cursor:
    """The sort key of one row. Encoded: `1790000000.000000_0190…`, `48210`."""

    def __init__(self, *key: Value) -> None:
        self.key = key

    @classmethod
    def of_row(cls, row: object, columns: Sequence[Column]) -> Self:
        return cls(*(getattr(row, column.key) for column in columns))

    def encode(self) -> str:
        return "_".join(
            f"{value.timestamp():.6f}" if isinstance(value, datetime) else str(value)
            for value in self.key
        )

    @classmethod
    def decode(cls, text: str, columns: Sequence[Column]) -> Self:
        """Parse a cursor over these columns. Aborts with 400 if `encode` cannot have written it."""
        parts = text.split("_")
        try:
            return cls(*(_decode(part, one) for part, one in zip(parts, columns, strict=True)))
        except (ValueError, OverflowError, OSError):
            abort(400, INVALID)


def _decode(text: str, column: Column) -> Value:
    kind = column.type
    if isinstance(kind, sa.Uuid):
        return uuid.UUID(text)
    if isinstance(kind, UtcDateTime):
        if text.isdecimal():  # microseconds: the old format of work lists' links
            return _EPOCH + timedelta(microseconds=int(text))
        return datetime.fromtimestamp(float(text), tz=UTC)
    largest = 2**63 if isinstance(kind, sa.BigInteger) else 2**31
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < largest):
        raise ValueError("no id of ours")
    return int(text)


def next_cursor(found: Sequence[object], size: int, *columns: Column) -> str | None:
    """Return the cursor of the next page; None on the last page.

    `found` holds up to `size` + 1 rows: one more than the page tells that there is a next one.
    """
    return Cursor.of_row(found[size - 1], columns).encode() if len(found) > size else None


def older(moment: Column, row_id: Column, cursor: str) -> sa.ColumnElement[bool]:
    """Match the rows before this one in time: the next page of a newest-first list."""
    return _beyond((moment, row_id), cursor, forward=False)


def newer(moment: Column, row_id: Column, cursor: str) -> sa.ColumnElement[bool]:
    """Match the rows after this one in time: the previous page of a newest-first list."""
    return _beyond((moment, row_id), cursor, forward=True)


def _beyond(columns: Sequence[Column], cursor: str, *, forward: bool) -> sa.ColumnElement[bool]:
    return beyond(columns, Cursor.decode(cursor, columns).key, forward=forward)
