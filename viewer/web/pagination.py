"""Keyset pagination: a long list, a page at a time, stable while the list grows.

The cursor of a page is the sort key of a row, written for an address: `?before=<cursor>`. The
database begins there by an index; nothing is counted off, as an offset would.
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
    """The sort key of one row: `1790000000.000000_0190…`, `48210`."""

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
        """A cursor over these columns. Answers 400 for what no page of ours wrote."""
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
        if text.isdecimal():  # microseconds, as lists of work wrote them once
            return _EPOCH + timedelta(microseconds=int(text))
        return datetime.fromtimestamp(float(text), tz=UTC)
    largest = 2**63 if isinstance(kind, sa.BigInteger) else 2**31
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < largest):
        raise ValueError("no id of ours")
    return int(text)


def next_cursor(found: Sequence[object], size: int, *columns: Column) -> str | None:
    """Where the next page begins, if more was found than the page holds."""
    return Cursor.of_row(found[size - 1], columns).encode() if len(found) > size else None


def older(moment: Column, row_id: Column, cursor: str) -> sa.ColumnElement[bool]:
    """What comes after this row where the newest come first."""
    return _beyond((moment, row_id), cursor, forward=False)


def newer(moment: Column, row_id: Column, cursor: str) -> sa.ColumnElement[bool]:
    """What comes before this row where the newest come first."""
    return _beyond((moment, row_id), cursor, forward=True)


def _beyond(columns: Sequence[Column], cursor: str, *, forward: bool) -> sa.ColumnElement[bool]:
    return beyond(columns, Cursor.decode(cursor, columns).key, forward=forward)
