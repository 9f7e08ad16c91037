"""What lists and jobs need of indexes: partial ones, and a page that begins within one.

A partial index holds the few rows that a list or a job asks for. SQLite takes it only for a query
that says its condition in the very same words, without parameters. So a condition is written once,
as SQL, for the index and for the queries.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

if TYPE_CHECKING:
    from viewer.extensions import Model


def partial_index(name: str, condition: str, *columns: str) -> sa.Index:
    where = sa.text(condition)
    return sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


def condition_on(model: type["Model"], condition: str) -> sa.ColumnElement[bool]:
    """The condition of a partial index, for a query that may also name other tables."""
    columns = "|".join(model.__table__.columns.keys())
    words = re.sub(rf"\b({columns})\b", rf"{model.__tablename__}.\1", condition)
    return sa.and_(sa.text(f"({words})"))


def beyond(
    columns: Sequence[InstrumentedAttribute[Any]], key: Sequence[Any], *, forward: bool
) -> sa.ColumnElement[bool]:
    """Keyset pagination: rows whose sort key is larger (`forward`) or smaller than this one.

    Compared as one row value, so that both databases begin in the index at the key. With AND and OR
    they would read from the index's end.
    """
    values = (sa.literal(value, one.type) for value, one in zip(key, columns, strict=True))
    here, ours = sa.tuple_(*values), sa.tuple_(*columns)
    return ours > here if forward else ours < here
